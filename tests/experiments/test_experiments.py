"""Experiments that a script runs: their READMEs, results and configs fit together, and the scripts still run."""

import importlib.util
from pathlib import Path
from types import ModuleType

import pandas as pd
import pytest

import kmsim
from experiments.figures import fill_numbers
from kmsim.config import load

EXPERIMENTS = Path(__file__).parents[2] / "experiments"
NAMES = ("page_size_and_max_order", "pcp_high")


def script(name: str) -> ModuleType:
    """An experiment's script as a module."""
    spec = importlib.util.spec_from_file_location(name, EXPERIMENTS / name / f"{name}.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


page_size, pcp_high = map(script, NAMES)


@pytest.mark.parametrize(("experiment", "measure"), [(page_size, "value"), (pcp_high, "p99_ns")], ids=NAMES)
def test_readme_says_what_results_say(experiment: ModuleType, measure: str) -> None:
    readme = experiment.README.read_text(encoding="utf-8")
    results = pd.read_csv(experiment.RESULTS)
    assert fill_numbers(readme, experiment.numbers(results)) == readme
    assert fill_numbers(readme, experiment.numbers(results.assign(**{measure: 2 * results[measure]}))) != readme


@pytest.mark.parametrize("experiment", [page_size, pcp_high], ids=NAMES)
def test_the_config_and_the_figure_are_there(experiment: ModuleType) -> None:
    assert load(experiment.STUDY).name == experiment.STUDY.stem
    assert experiment.FIGURE.read_bytes()[:8] == b"\x89PNG\r\n\x1a\n"


def test_results_have_every_page_size_and_largest_block() -> None:
    results = pd.read_csv(page_size.RESULTS)
    points = {(page_kib, order, seed) for page_kib, order in page_size.POINTS for seed in page_size.SEEDS}
    assert set(results[[*page_size.POINT, "seed"]].itertuples(index=False, name=None)) == points
    assert not results.duplicated(page_size.KEYS).any()
    assert not results.isna().any(axis=None)
    assert results.groupby([*page_size.POINT, "seed"]).size().nunique() == 1


def test_results_have_every_number_of_cpus() -> None:
    results = pd.read_csv(pcp_high.RESULTS)
    assert list(results[["work", "lists", "cpus"]].itertuples(index=False, name=None)) == pcp_high.POINTS
    assert not results.isna().any(axis=None)
    assert (results["failed"] == 0).all()


@pytest.mark.parametrize(("page_kib", "order"), page_size.POINTS)
def test_a_point_of_page_sizes_is_legal_and_asks_for_the_same_bytes(page_kib: int, order: int) -> None:
    machine = page_size.study_of(page_kib, order, 1).machine
    assert (machine.page_size, machine.max_page_order) == (page_kib << 10, order)
    results = pd.read_csv(page_size.RESULTS)
    requested = results[results["measure"] == "requested_mib"].set_index([*page_size.POINT, "seed", "request"])["value"]
    assert requested.loc[(page_kib, order)].equals(requested.loc[page_size.POINTS[0]])


@pytest.mark.parametrize("lists", pcp_high.LISTS)
def test_a_point_of_lists_is_one_load_on_its_cpus(lists: str) -> None:
    for work in pcp_high.LOADS:
        study = pcp_high.study_of(work, lists, 16)
        assert [thread.name for thread in study.workload.threads] == [work]
        assert (study.machine.cpus, study.machine.pcp.auto_tune) == (16, lists == "tuned")


@pytest.mark.slow
def test_a_small_demand_is_the_same_with_all_page_sizes() -> None:
    requested = []
    for page_kib, order in page_size.DEFAULTS.items():
        study = page_size.study_of(page_kib, order, 1, page_size.Demand(mixed=1000, kept=10, dropped=2))
        rows = pd.DataFrame(page_size.rows_of(study, kmsim.run(study)))
        requested.append(rows[rows["measure"] == "requested_mib"]["value"].tolist())
    assert requested[0] == requested[1] == requested[2]


@pytest.mark.slow
def test_a_point_of_page_sizes_comes_out_as_in_results() -> None:
    page_kib, order = page_size.POINTS[-1]
    study = page_size.study_of(page_kib, order, 1)
    fresh = pd.DataFrame(page_size.rows_of(study, kmsim.run(study))).set_index(["request", "measure"])["value"]
    results = pd.read_csv(page_size.RESULTS).set_index([*page_size.KEYS[:2], "seed", "request", "measure"])["value"]
    expected = results.loc[(page_kib, order, 1)]
    assert fresh.to_dict() == pytest.approx(expected.to_dict(), rel=1e-5)
    assert expected["all", "failed"] > 0
    sysctl = study.machine.sysctl.model_copy(update={"watermark_boost_factor": 0})
    unboosted = study.model_copy(update={"machine": study.machine.model_copy(update={"sysctl": sysctl})})
    assert kmsim.run(unboosted).operations["failed"].sum() == 0


@pytest.mark.slow
def test_a_point_of_lists_comes_out_as_in_results() -> None:
    points = [point for point in pcp_high.POINTS if point[2] == 4]
    results = pd.read_csv(pcp_high.RESULTS)
    expected = results[results["cpus"] == 4].reset_index(drop=True)
    pd.testing.assert_frame_equal(pd.DataFrame([pcp_high.row_of(*point) for point in points]), expected, rtol=1e-5)
    assert len(expected) == len(points) == 4


@pytest.mark.slow
def test_small_bursts_run_with_both_lists() -> None:
    rows = [pcp_high.row_of("bursts", lists, 2, 5000) for lists in pcp_high.LISTS]
    assert [row["operations"] for row in rows] == [10000, 10000]
    assert rows[0]["high_pages_at_end"] < rows[1]["high_pages_at_end"]
    assert rows[0]["acquisitions"] > rows[1]["acquisitions"]
