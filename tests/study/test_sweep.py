"""Large sweeps: what a run costs besides its simulation, and that a finished study is known again without its runs.

Times depend on the machine, so what is asserted is what they are made of: bytes, files and calls of functions.
"""

from __future__ import annotations

import cProfile
import json
import pstats
import subprocess
import sys
from functools import cache
from pathlib import Path

import pytest

from kmsim.config import Design, Study, door, points
from kmsim.study import campaign, collect, results
from kmsim.study.archive import IDENTITY_FILE, pack, unpack
from kmsim.study.executors import Serial
from kmsim.study.identity import identity_of
from kmsim.study.simulate import simulate
from kmsim.study.store import NotAResult
from tests.patience import LITTLE_WORK_S
from tests.study.campaigns import LIVE, contents, run, small_design

FEW, MANY = 5, 25
BYTES_MAX = 15_000  # of a run, on disk
CALLS_MAX = 25_000  # of functions, simulation included; there were 430,000 when each run had ten Parquet files
NR_RUNS = 20_000
PEAK_BYTES_MAX = 700 << 20
BLOCK = 512  # bytes, of which the disk counts
SWEPT = """\
import json, os, sys
from pathlib import Path
from kmsim.study.executors import Serial
from tests.study import test_sweep
from tests.taken import peak_bytes
function, out = sys.argv[1:]
before = sum(os.times()[:2])
counts = test_sweep.run(test_sweep.large_design(), Path(out), Serial(function)).counts
cpu_s = sum(os.times()[:2]) - before
print(json.dumps({"done": counts.done, "reused": counts.reused, "cpu_s": cpu_s, "peak_bytes": peak_bytes()}))
"""


def sweep(nr_points: int) -> Design:
    """A study of so many points, each one run of 2,000 operations."""
    axis = {"key": LIVE, "name": "live", "values": list(range(8, 8 + nr_points))}
    threads = [{"name": "a", "cpus": [0], "operations": 2_000, "live": 8, "requests": [{"order": 0}]}]
    return small_design(sweep={"axes": [axis]}, replications=1, workload={"threads": threads})


def large_design() -> Design:
    """A study of 20,000 points, whose configs are resolved as they are needed."""
    axes = [
        {"key": LIVE, "name": "live", "values": list(range(8, 208))},
        {"key": "run.sample_every", "name": "every", "values": [f"{n}us" for n in range(100, 200)]},
    ]
    return small_design(sweep={"axes": axes}, replications=1)


@cache
def _members(_: None = None) -> dict[str, bytes]:
    study = large_design().study_of(large_design().points[0])
    members = unpack(simulate(study), identity_of(study), "")
    del members[IDENTITY_FILE]
    return members


def canned(study: Study) -> bytes:
    """A run of which only the identity is its own."""
    return pack(_members(), identity_of(study), {})


def refused(_: Study) -> bytes:
    """A run that nobody may ask for."""
    raise NotAResult("no run is wanted")


def on_disk(folder: Path) -> int:
    """Bytes that the folder's files take of the disk."""
    return sum(path.stat().st_blocks * BLOCK for path in folder.rglob("*") if path.is_file())


def test_a_run_is_one_file_and_takes_little_of_the_disk(tmp_path: Path) -> None:
    for nr_points in (FEW, MANY):
        run(sweep(nr_points), tmp_path / str(nr_points))
    few, many = tmp_path / str(FEW), tmp_path / str(MANY)
    assert len(contents(many)) - len(contents(few)) == MANY - FEW
    each = (on_disk(many) - on_disk(few)) / (MANY - FEW)
    print(f"{each:,.0f} bytes a run")
    assert each < BYTES_MAX


def nr_calls(nr_points: int, out: Path) -> int:
    """Calls of functions while a study is loaded, run and collected."""
    profile = cProfile.Profile()
    profile.enable()
    run(sweep(nr_points), out)
    profile.disable()
    return int(pstats.Stats(profile).total_calls)  # type: ignore[attr-defined]


def test_a_run_takes_few_calls_besides_its_simulation(tmp_path: Path) -> None:
    nr_calls(FEW, tmp_path / "warm")
    few, many = (nr_calls(nr_points, tmp_path / str(nr_points)) for nr_points in (FEW, MANY))
    each = (many - few) / (MANY - FEW)
    print(f"{each:,.0f} calls a run")
    assert each < CALLS_MAX


def test_the_config_of_a_point_is_resolved_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    nr_resolved = []
    own = door.right_by_keys
    for module in (door, points):
        monkeypatch.setattr(module, "right_by_keys", lambda *of: nr_resolved.append(of) or own(*of))
    run(small_design(8, 16, 32, replications=3), tmp_path / "out")
    assert len(nr_resolved) == 3


@pytest.fixture
def finished(tmp_path: Path) -> Path:
    """A finished study, whose runs may only be read and verified."""
    run(small_design(), tmp_path / "out")
    return tmp_path / "out"


def test_a_finished_study_is_known_without_resolving_or_unpacking_a_run(
    finished: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = contents(finished)
    design = small_design()
    for module in (campaign, collect, results):
        monkeypatch.setattr(module, "unpack", None)
    monkeypatch.setattr(Design, "study_of", None)
    counts = run(design, finished).counts
    assert (counts.total, counts.done, counts.reused, counts.failed, counts.stuck) == (6, 6, 6, 0, 0)
    assert contents(finished) == before


@pytest.mark.parametrize("gone", ["a run", "a table", "the design"])
def test_what_a_finished_study_lacks_is_made_again(gone: str, finished: Path) -> None:
    before = contents(finished)
    lost = {"a run": next((finished / "runs").iterdir()), "a table": finished / "series.parquet"}
    lost.get(gone, finished / "design.json").unlink()
    assert run(small_design(), finished).counts.reused == (5 if gone == "a run" else 6)
    assert contents(finished) == before


def test_a_study_in_which_a_run_failed_is_not_finished(tmp_path: Path) -> None:
    run(small_design(), tmp_path / "out", Serial("tests.study.campaigns:wrong_with_16"))
    assert run(small_design(), tmp_path / "out").counts.reused == 4


def test_a_study_whose_state_is_another_is_not_finished(tmp_path: Path) -> None:
    file = tmp_path / "buddyinfo"
    of_zones = {"DMA": [1] * 8 + [0] * 3, "DMA32": [50, 40, 30, 20, 10, 5, 5, 5, 5, 5, 5]}
    lines = [f"Node 0, zone {zone:>8} {' '.join(map(str, free))} \n" for zone, free in of_zones.items()]
    file.write_text("".join(lines))
    state = {"state": {"buddyinfo": str(file)}}
    design = small_design(machine={"arch": "x86-64", "cpus": 2, "memory": "256MiB", **state})
    assert run(design, tmp_path / "out").counts.failed == 0
    assert run(design, tmp_path / "out").counts.reused == 6
    file.write_text("".join(lines).replace("50 40", "50 41"))
    assert run(design, tmp_path / "out").counts.reused == 0


@pytest.mark.slow
def test_twenty_thousand_runs_are_held_in_700_mebibytes_and_known_again_with_little_work(tmp_path: Path) -> None:
    for function, reused in (("canned", 0), ("refused", NR_RUNS)):
        command = [sys.executable, "-c", SWEPT, f"tests.study.test_sweep:{function}", str(tmp_path / "out")]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr
        found = json.loads(done.stdout)
        print(function, found)
        assert (found["done"], found["reused"]) == (NR_RUNS, reused)
        assert found["peak_bytes"] < PEAK_BYTES_MAX
    assert found["cpu_s"] < LITTLE_WORK_S  # 30 s at most on a quiet machine, drawn and all
