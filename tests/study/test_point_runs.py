"""The runs behind measured points: what a machine has not is said at the point, and nothing is simulated twice."""

from pathlib import Path

import numpy as np
import pytest

from kmsim.config import ConfigError
from kmsim.study.measured import read_points
from kmsim.study.point_runs import PointRuns, means_by_kind
from kmsim.study.store import NotAResult
from tests.commands import SMALL

MACHINE = "extends: x86-laptop\nmemory: 64MiB\ncpus: 2\n"
HEAD = "workload,order,bytes,cpus,operation,gfp,blocks,ns,error_percent\n"


@pytest.fixture
def runs(tmp_path: Path) -> PointRuns:
    (tmp_path / "machine.yaml").write_text(MACHINE)
    return PointRuns(str(tmp_path / "machine.yaml"), "xeon-gold-5320")


def refusal(runs: PointRuns, folder: Path, row: str) -> str:
    """What is said of a point, without the folder's name."""
    path = folder / "points.csv"
    path.write_text(HEAD + row + "\n")

    def simulate() -> None:
        points = read_points(path)
        runs.check(points)
        runs.latencies(points, {})

    with pytest.raises(NotAResult) as refused:
        simulate()
    return str(refused.value).replace(f"{folder}/", "")


@pytest.mark.parametrize(
    ("row", "why"),
    [
        ("repeat,0,,3,,,,9,1", "workload.threads[0].cpus[2] must be a CPU of the machine, 0 to 1, found 2"),
        ("repeat,11,,1,,,,9,1", "workload.threads[0].requests[0].order must be at most the machine's max_page_order"),
        ("kmalloc,,64MiB,1,,,,9,1", "bytes: must be a whole number"),
        ("vmalloc,,1073741824,1,,,,9,1", "must be at most the memory of the machine"),
        ("repeat,0,,1,,GFP_NONE,,9,1", "gfp must be the kernel's GFP flags joined by |"),
        ("none.yaml,,,1,,,,9,1", "must be a file that exists"),
        ("get,0,,1,,,60000,9,1", "must fit into the memory of machine.yaml; allocations failed"),
    ],
)
def test_what_a_machine_has_not_is_said_with_file_and_line(runs: PointRuns, tmp_path: Path, row: str, why: str) -> None:
    said = refusal(runs, tmp_path, row)
    assert said.startswith("points.csv:2: ")
    assert why in said
    assert "\n" not in said


def test_an_operation_that_the_workload_has_not_is_refused(runs: PointRuns, tmp_path: Path) -> None:
    (tmp_path / "only.yaml").write_text(
        "workload:\n  threads:\n    - {name: a, operations: 9, lifetime: immortal, requests: [{order: 0}]}\n"
    )
    said = refusal(runs, tmp_path, "only.yaml,,,1,free,,,9,1")
    assert said == "points.csv:2: operation: must be one that the workload has, alloc"


def test_a_machine_that_is_wrong_is_refused_as_in_any_command(tmp_path: Path) -> None:
    (tmp_path / "machine.yaml").write_text(MACHINE + "cpu: 3\n")
    with pytest.raises(ConfigError, match=r"machine.yaml:4: .*did you mean 'cpus'"):
        PointRuns(str(tmp_path / "machine.yaml"), "xeon-gold-5320")


def test_a_run_is_simulated_once_for_the_same_prices(runs: PointRuns, tmp_path: Path) -> None:
    (tmp_path / "mine.yaml").write_text(SMALL)
    path = tmp_path / "points.csv"
    path.write_text(HEAD + "mine.yaml,,,1,alloc,,,9,1\nmine.yaml,,,1,free,,,9,1\nmine.yaml,,,1,,,,9,1\n")
    points = read_points(path)
    alloc, free, pair = runs.latencies(points, {"alloc_fast": 100.0})
    assert pair == alloc + free
    other = runs.latencies(points, {"alloc_fast": 150.0})
    assert other[0] == pytest.approx(alloc + 50)
    assert other[1] == free
    assert len(runs._known) == 2


def test_a_mean_is_over_all_classes_of_a_kind() -> None:
    table = {
        "kind": np.array(["alloc", "alloc", "free", "free"]),
        "count": np.array([1, 3, 2, 0]),
        "sum_ps": np.array([1000, 7000, 3000, 0]),
    }
    assert means_by_kind(table) == {"alloc": 2.0, "free": 1.5}
