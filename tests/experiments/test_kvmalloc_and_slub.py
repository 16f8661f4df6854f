"""The experiments about kvmalloc's fallback and the contention of SLUB: READMEs, results and configs fit together."""

from types import ModuleType

import pandas as pd
import pytest

from experiments.figures import fill_numbers
from kmsim.config import load
from tests.experiments.test_experiments import script

kvmalloc, slub = script("kvmalloc_fallback"), script("slub_contention")


@pytest.mark.parametrize("experiment", [kvmalloc, slub], ids=["kvmalloc_fallback", "slub_contention"])
def test_the_config_and_the_figure_are_there(experiment: ModuleType) -> None:
    assert load(experiment.STUDY).name == experiment.STUDY.stem
    assert experiment.FIGURE.read_bytes()[:8] == b"\x89PNG\r\n\x1a\n"


def test_readme_of_kvmalloc_says_what_results_say() -> None:
    readme = kvmalloc.README.read_text(encoding="utf-8")
    results, flushes = pd.read_csv(kvmalloc.RESULTS), pd.read_csv(kvmalloc.TLB_RESULTS)
    assert fill_numbers(readme, kvmalloc.numbers(results, flushes)) == readme
    for way in ("slab", "pages", "vmalloc", "mean_ns", "p99_ns"):
        changed = kvmalloc.numbers(results.assign(**{way: 2 * results[way]}), flushes)
        assert fill_numbers(readme, changed) != readme
    assert fill_numbers(readme, kvmalloc.numbers(results, flushes.assign(flush_us=1.0))) != readme


@pytest.mark.parametrize("measure", ["operations_per_us", "list_lock_wait_percent", "slab_bytes_per_live_byte"])
def test_readme_of_slub_says_what_results_say(measure: str) -> None:
    readme = slub.README.read_text(encoding="utf-8")
    results = pd.read_csv(slub.RESULTS)
    assert fill_numbers(readme, slub.numbers(results)) == readme
    assert fill_numbers(readme, slub.numbers(results.assign(**{measure: 2 * results[measure]}))) != readme


def test_results_of_kvmalloc_have_every_point() -> None:
    results = pd.read_csv(kvmalloc.RESULTS)
    points = [(*point, seed) for point in kvmalloc.POINTS for seed in kvmalloc.SEEDS]
    assert list(results[[*kvmalloc.POINT, "seed"]].itertuples(index=False, name=None)) == points
    assert (results[list(kvmalloc.WAYS)].sum(axis="columns") == results["requests"]).all()
    assert (results["failed"] == 0).all()
    flushes = pd.read_csv(kvmalloc.TLB_RESULTS)
    assert list(flushes[["arch", "cpus"]].itertuples(index=False, name=None)) == kvmalloc.TLB_POINTS


def test_results_of_slub_have_every_point() -> None:
    results = pd.read_csv(slub.RESULTS)
    assert list(results[slub.POINT].itertuples(index=False, name=None)) == slub.POINTS
    assert (results["failed"] == 0).all()


def test_the_pages_of_a_kvmalloc_study_change_and_its_bytes_do_not() -> None:
    for page, (largest, measured) in kvmalloc.ORDERS.items():
        machine = kvmalloc.study_of(page, 0.5, 256, 1).machine
        assert (machine.page_size << machine.max_page_order, page << measured) == (4 << 20, 256)
        assert (machine.max_page_order, machine.state.aged.order) == (largest, measured)


@pytest.mark.parametrize(("objects", "written"), [(0, 0), (slub.DEFAULT, None), (1024, 1024)])
def test_a_slub_study_has_the_cpu_partial_that_was_asked_for(objects: int, written: int | None) -> None:
    study = slub.study_of(objects, 0.5, 16)
    assert study.machine.caches[0].cpu_partial == written
    assert (study.machine.cpus, study.workload.threads[0].remote_frees) == (16, 0.5)


@pytest.mark.slow
def test_points_of_kvmalloc_come_out_as_in_results() -> None:
    results = pd.read_csv(kvmalloc.RESULTS).set_index([*kvmalloc.POINT, "seed"])
    for point in ((4, 1.0, kvmalloc.MIX, 2), (64, kvmalloc.INDEX_OF_SIZES, 256, 1)):
        row = kvmalloc.row_of(*point)
        assert {key: row[key] for key in results.columns} == pytest.approx(results.loc[point].to_dict(), rel=1e-5)


@pytest.mark.slow
def test_a_point_of_flushes_comes_out_as_in_results() -> None:
    flushes = pd.read_csv(kvmalloc.TLB_RESULTS).set_index(["arch", "cpus"])
    for arch in kvmalloc.ARCHES:
        row = kvmalloc.tlb_row_of(arch, 8)
        expected = flushes.loc[(arch, 8)].to_dict()
        assert {key: row[key] for key in expected} == pytest.approx(expected, rel=1e-5)
    assert flushes.loc[("x86-64", 8), "flush_us"] > 8 * flushes.loc[("arm64", 8), "flush_us"]


@pytest.mark.slow
def test_points_of_slub_come_out_as_in_results() -> None:
    results = pd.read_csv(slub.RESULTS)
    mine = (results["cpus"] == 4) & (results["remote_frees"] == 0.1)
    rows = pd.DataFrame([slub.row_of(objects, 0.1, 4) for objects in slub.CPU_PARTIAL])
    pd.testing.assert_frame_equal(rows, results[mine].reset_index(drop=True), rtol=1e-5, check_dtype=False)
    assert len(rows) == 3
    assert rows["list_lock_per_1000"].is_monotonic_decreasing
