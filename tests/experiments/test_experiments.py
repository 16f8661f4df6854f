"""Experiments that a script runs: their READMEs, results and configs fit together, and the scripts still run."""

import importlib.util
from pathlib import Path
from types import ModuleType

import pandas as pd
import pytest

from experiments.figures import fill_numbers
from kmsim.config import load

EXPERIMENTS = Path(__file__).parents[2] / "experiments"


def script(name: str) -> ModuleType:
    """An experiment's script as a module."""
    spec = importlib.util.spec_from_file_location(name, EXPERIMENTS / name / f"{name}.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


pcp_high = script("pcp_high")


def test_readme_says_what_results_say() -> None:
    readme = pcp_high.README.read_text(encoding="utf-8")
    results = pd.read_csv(pcp_high.RESULTS)
    assert fill_numbers(readme, pcp_high.numbers(results)) == readme
    assert fill_numbers(readme, pcp_high.numbers(results.assign(p99_ns=2 * results["p99_ns"]))) != readme


def test_the_config_and_the_figure_are_there() -> None:
    assert load(pcp_high.STUDY).name == pcp_high.STUDY.stem
    assert pcp_high.FIGURE.read_bytes()[:8] == b"\x89PNG\r\n\x1a\n"


def test_results_have_every_number_of_cpus() -> None:
    results = pd.read_csv(pcp_high.RESULTS)
    assert list(results[["work", "lists", "cpus"]].itertuples(index=False, name=None)) == pcp_high.POINTS
    assert not results.isna().any(axis=None)
    assert (results["failed"] == 0).all()


@pytest.mark.parametrize("lists", pcp_high.LISTS)
def test_a_point_of_lists_is_one_load_on_its_cpus(lists: str) -> None:
    for work in pcp_high.LOADS:
        study = pcp_high.study_of(work, lists, 16)
        (thread,) = study.workload.threads
        assert thread.name == {"processes": "shell", "single pages": "shell"}.get(work, work)
        assert {request.order for request in thread.requests if work == "single pages"} <= {0}
        assert (study.machine.cpus, study.machine.pcp.auto_tune) == (16, lists == "tuned")


@pytest.mark.slow
def test_a_point_of_lists_comes_out_as_in_results() -> None:
    points = [point for point in pcp_high.POINTS if point[2] == 4]
    results = pd.read_csv(pcp_high.RESULTS)
    expected = results[results["cpus"] == 4].reset_index(drop=True)
    pd.testing.assert_frame_equal(pd.DataFrame([pcp_high.row_of(*point) for point in points]), expected, rtol=1e-5)
    assert len(expected) == len(points) == 2 * len(pcp_high.LOADS)


def test_tuned_lists_help_bursts_and_single_pages_and_cost_processes_that_ask_for_orders_to_3() -> None:
    """What README answers: the sign turns with the orders, on every number of CPUs on which lists are filled."""
    table = pd.read_csv(pcp_high.RESULTS).set_index(["work", "cpus", "lists"])["acquisitions_per_1000"].unstack()
    busy = [cpus for cpus in pcp_high.CPUS if cpus >= 8]
    for cpus in busy:
        assert table.loc[("bursts", cpus), "tuned"] < table.loc[("bursts", cpus), "fixed"] / 100
        assert table.loc[("processes", cpus), "tuned"] > 2 * table.loc[("processes", cpus), "fixed"]
    most = table.loc[("single pages", pcp_high.CPUS[-1])]
    assert most["tuned"] < most["fixed"]


@pytest.mark.slow
def test_small_bursts_run_with_both_lists() -> None:
    rows = [pcp_high.row_of("bursts", lists, 2, 5000) for lists in pcp_high.LISTS]
    assert [row["operations"] for row in rows] == [10000, 10000]
    assert rows[0]["high_pages_at_end"] < rows[1]["high_pages_at_end"]
    assert rows[0]["acquisitions"] > rows[1]["acquisitions"]
