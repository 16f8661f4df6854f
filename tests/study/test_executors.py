"""Executors move studies and bytes: the same bytes from each, whatever happens to a worker."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from kmsim.config import Study
from kmsim.study import executors
from kmsim.study.executors import Executor, Processes, Serial
from kmsim.study.simulate import simulate
from tests.patience import until
from tests.study.campaigns import TRACES, leave_trace, small_design

MINE = "tests.study.campaigns"
PARENT = """\
import sys
from kmsim.study.executors import Processes
from tests.study.campaigns import small_design
design = small_design(8)
executor = Processes(2, "tests.study.test_executors:never_ends")
for key in ("a", "b"):
    executor.submit(key, design.study_of(design.points[0]))
print(*(worker.process.pid for worker in executor._workers), flush=True)
sys.stdin.read()
"""


def never_ends(study: Study) -> bytes:
    """A run that takes longer than its parent lives."""
    leave_trace(study)
    while True:
        signal.pause()


@pytest.fixture(autouse=True)
def traces(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv(TRACES, str(tmp_path))
    return tmp_path


def done_by(executor: Executor, nr_runs: int) -> dict[str, tuple[bytes | None, str]]:
    """What comes of the replications of one point."""
    design = small_design(8, replications=nr_runs)
    with executor:
        for replication in range(nr_runs):
            executor.submit(str(replication), design.study_of(design.points[0], replication))
        found = [executor.next() for _ in range(nr_runs)]
    return {done.key: (done.archive, done.error) for done in found}


@pytest.mark.slow
def test_processes_give_the_bytes_that_this_process_gives() -> None:
    here = done_by(Serial(), 3)
    assert done_by(Processes(2), 3) == here
    design = small_design(8)
    assert here["1"] == (simulate(design.study_of(design.points[0], 1)), "")


@pytest.mark.slow
def test_the_run_of_a_worker_that_is_killed_is_tried_again(traces: Path) -> None:
    found = done_by(Processes(2, f"{MINE}:killed_once"), 3)
    assert found == done_by(Serial(), 3)
    assert len(list(traces.iterdir())) == 6


@pytest.mark.slow
def test_a_run_that_always_ends_its_worker_is_given_up(traces: Path) -> None:
    design = small_design(8, 16)
    with Processes(2, f"{MINE}:killed_with_16") as executor:
        for point in design.points:
            executor.submit(point.labels["live"], design.study_of(point))
        found = {done.key: done for done in (executor.next(), executor.next())}
    assert found["8"].archive == simulate(design.study_of(design.points[0]))
    assert found["16"].archive is None
    assert "ended by signal 9, 3 times" in found["16"].error
    assert len([path for path in traces.iterdir() if path.name.startswith("16-")]) == executors.ATTEMPTS_MAX


@pytest.mark.parametrize("executor", [Serial, lambda name: Processes(1, name)])
def test_an_error_comes_back_with_its_traceback(executor: type[Serial]) -> None:
    design = small_design(16)
    with executor(f"{MINE}:wrong_with_16") as working:
        working.submit("x", design.study_of(design.points[0]))
        done = working.next()
    assert done.archive is None
    assert "wrong_with_16" in done.error
    assert done.error.endswith("AssertionError: two records disagree\n")


def test_no_worker_is_left_when_the_block_ends() -> None:
    design = small_design(8)
    with Processes(2, "tests.study.test_executors:never_ends") as executor:
        for key in ("a", "b"):
            executor.submit(key, design.study_of(design.points[0]))
        workers = [worker.process for worker in executor._workers]
    assert [worker.poll() for worker in workers] == [-signal.SIGKILL, -signal.SIGKILL]


@pytest.mark.slow
def test_two_workers_run_at_the_same_time(traces: Path) -> None:
    found = done_by(Processes(2, f"{MINE}:met_another"), 2)
    assert [archive is not None for archive, _ in found.values()] == [True, True]
    assert len({path.read_text() for path in traces.iterdir()}) == 2


@pytest.mark.slow
def test_workers_go_when_their_parent_is_killed(traces: Path) -> None:
    command, pipe = [sys.executable, "-c", PARENT], subprocess.PIPE
    with subprocess.Popen(command, stdin=pipe, stdout=pipe, text=True) as parent:
        assert parent.stdout is not None
        workers = [int(word) for word in parent.stdout.readline().split()]
        until(lambda: {path.read_text() for path in traces.iterdir()} == set(map(str, workers)), "both have begun")
        parent.kill()
    until(lambda: not any(is_running(worker) for worker in workers), "both have gone")
    assert [is_running(worker) for worker in workers] == [False, False]


def is_running(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return Path(f"/proc/{pid}/stat").read_text().split(")")[1].split()[0] != "Z"
