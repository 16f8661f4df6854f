"""A result beside measurements: which runs do what a point is of, and how far they are off."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest

import kmsim
from kmsim.study.beside import beside
from kmsim.study.measured import read_points
from kmsim.study.results import StudyResult, load_study
from kmsim.study.store import NotAResult

MACHINE = {"extends": "x86-laptop", "memory": "64MiB", "cpus": 2}
HEAD = "workload,order,bytes,cpus,operation,gfp,ns,error_percent\n"


def study_of(folder: Path, cpus: list[list[int]], **request: Any) -> StudyResult:
    """The benchmark `repeat` on these CPUs, a point of the design for each."""
    thread = {"name": "mine", "live": 1, "operations": 100, "requests": [request]}
    axis = {"name": "where", "variants": {str(len(some)): {"workload.threads[0].cpus": some} for some in cpus}}
    config = {
        "name": "study",
        "machine": MACHINE,
        "workload": {"threads": [thread]},
        "sweep": {"axes": [axis]},
        "replications": 2,
    }
    kmsim.run(config, folder / "result")
    return load_study(folder / "result")


def points_in(folder: Path, rows: str) -> Any:
    """The points of a file with these rows."""
    (folder / "points.csv").write_text(HEAD + rows)
    return read_points(folder / "points.csv")


@pytest.fixture(scope="module")
def study(tmp_path_factory: pytest.TempPathFactory) -> StudyResult:
    return study_of(tmp_path_factory.mktemp("beside"), [[0], [0, 1]], order=2)


def test_a_point_is_set_beside_the_runs_that_do_the_same(study: StudyResult, tmp_path: Path) -> None:
    table = beside(study, points_in(tmp_path, "repeat,2,,1,alloc,,50,5\nrepeat,2,,2,,,100,5\nrepeat,3,,1,,,100,5\n"))
    assert table["runs"].tolist() == [2, 2, 0]
    operations = study.run(0).tables["operations"]
    alloc = operations[operations["kind"] == "alloc"]
    assert table["simulated_ns"][0] == pytest.approx(alloc["sum_ps"].sum() / alloc["count"].sum() / 1000, rel=0.2)
    assert table["error_percent"][0] == pytest.approx(100 * (table["simulated_ns"][0] / 50 - 1))
    assert table["lowest_ns"][1] <= table["simulated_ns"][1] <= table["highest_ns"][1]
    assert np.isnan(table["simulated_ns"][2])


def test_flags_must_agree_where_a_point_gives_them(study: StudyResult, tmp_path: Path) -> None:
    table = beside(study, points_in(tmp_path, "repeat,2,,1,,GFP_KERNEL,9,5\nrepeat,2,,1,,GFP_ATOMIC,9,5\n"))
    assert table["runs"].tolist() == [2, 0]


def test_blocks_must_agree_where_a_point_gives_them(tmp_path: Path) -> None:
    """A block of a larger set is colder: a point of many is none of a run of few."""
    phases = [{"do": "fill", "barrier": True}, {"do": "empty", "barrier": True}]
    thread = {"name": "mine", "cpus": [0], "live": 200, "free": "fifo", "requests": [{"order": 0}], "phases": phases}
    config = {"name": "bulk", "machine": MACHINE, "workload": {"threads": [thread]}, "replications": 2}
    kmsim.run(config, tmp_path / "result")
    (tmp_path / "points.csv").write_text(
        "workload,order,cpus,blocks,ns,error_percent\nget,0,1,200,50,5\nget,0,1,300,50,5\nget,0,1,,50,5\n"
    )
    table = beside(load_study(tmp_path / "result"), read_points(tmp_path / "points.csv"))
    assert table["runs"].tolist() == [2, 0, 2]


@pytest.mark.parametrize(
    "row", ["repeat,9,,1,,,9,5\n", "get,2,,1,,,9,5\n", "kmalloc,,256,1,,,9,5\n", "repeat,2,,64,,,9,5\n"]
)
def test_a_result_of_something_else_is_refused(study: StudyResult, tmp_path: Path, row: str) -> None:
    with pytest.raises(NotAResult, match=r"points.csv:2: must be of what a run of the result does"):
        beside(study, points_in(tmp_path, row))


def test_a_workload_that_is_not_there_is_said(study: StudyResult, tmp_path: Path) -> None:
    with pytest.raises(
        NotAResult, match=r"points.csv:2: must be a run of .*: .*missing.yaml must be a file that exists"
    ):
        beside(study, points_in(tmp_path, "missing.yaml,,,1,,,9,5\n"))
