"""Runs on a Dask cluster: a scheduler and workers in processes of their own, some of which do not survive."""

from __future__ import annotations

import os
import re
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from kmsim.config import study_text
from kmsim.study.campaign import Counts, Stopped
from kmsim.study.cluster import Cluster, NoScheduler
from tests.patience import PATIENCE_S, until
from tests.study.campaigns import archives, contents, run, small_design

ROOT = Path(__file__).parents[2]
DESIGN = small_design(8, 16, 24, 32, replications=4)


def started(module: str, *arguments: str, folder: Path) -> subprocess.Popen[bytes]:
    """A part of a cluster."""
    env = os.environ | {"PYTHONPATH": str(ROOT), "DASK_DISTRIBUTED__WORKER__DAEMON": "False"}
    command = [sys.executable, "-m", f"distributed.cli.{module}", *arguments]
    with (folder / f"{module}.log").open("ab") as log:
        return subprocess.Popen(command, env=env, cwd=folder, stdout=log, stderr=log, process_group=0)


def end(process: subprocess.Popen[bytes]) -> None:
    """Kill a part of a cluster, with all its processes."""
    if process.poll() is None:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()


class Parts:
    """A scheduler on loopback, and two workers of one thread each."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.address = f"tcp://127.0.0.1:{free_port()}"
        port = self.address.rsplit(":", 1)[1]
        self.scheduler = started(
            "dask_scheduler", "--host", "127.0.0.1", "--port", port, "--no-dashboard", folder=folder
        )
        self.workers = [self.worker() for _ in range(2)]

    def worker(self) -> subprocess.Popen[bytes]:
        options = ("--nthreads", "1", "--no-nanny", "--no-dashboard", "--memory-limit", "0")
        return started("dask_worker", self.address, *options, folder=self.folder)


def free_port() -> int:
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        return int(one.getsockname()[1])


@contextmanager
def cluster(folder: Path) -> Iterator[Parts]:
    parts = Parts(folder)
    try:
        log = folder / "dask_scheduler.log"
        until(lambda: log.read_text().count("Register worker") == 2, "two workers have registered")
        yield parts
    finally:
        for part in (*parts.workers, parts.scheduler):
            end(part)


@pytest.fixture(autouse=True)
def patient(monkeypatch: pytest.MonkeyPatch) -> None:
    """A scheduler may take its time to answer."""
    monkeypatch.setattr("kmsim.study.cluster.CONNECT_S", PATIENCE_S)


@pytest.fixture(scope="module")
def local(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The study, run in this process."""
    out = tmp_path_factory.mktemp("local") / "out"
    run(DESIGN, out)
    return out


@pytest.mark.slow
def test_a_worker_that_is_killed_midway_changes_nothing(local: Path, tmp_path: Path) -> None:
    with cluster(tmp_path) as parts:
        killed = []

        def report(counts: Counts) -> None:
            if counts.done >= 3 and not killed:
                killed.append(counts.done)
                end(parts.workers[0])

        counts = run(DESIGN, tmp_path / "out", Cluster(parts.address), report=report).counts
        assert killed[0] < 16 == counts.done
        assert parts.workers[1].poll() is None
    assert contents(tmp_path / "out") == contents(local)


@pytest.mark.slow
def test_a_lost_scheduler_keeps_what_is_done_and_the_same_command_goes_on(local: Path, tmp_path: Path) -> None:
    with cluster(tmp_path) as parts:

        def report(counts: Counts) -> None:
            if counts.done >= 3:
                end(parts.scheduler)

        with pytest.raises(Stopped) as stopped:
            run(DESIGN, tmp_path / "out", Cluster(parts.address), report=report)
    found = re.fullmatch(
        rf"the scheduler at {parts.address} does not answer any more; "
        r"(\d+) of 16 runs are kept; the same command goes on",
        str(stopped.value),
    )
    assert found is not None, stopped.value
    assert 3 <= int(found[1]) == len(archives(tmp_path / "out")) < 16
    assert run(DESIGN, tmp_path / "out").counts.reused == int(found[1])
    assert contents(tmp_path / "out") == contents(local)


@pytest.mark.slow
def test_a_command_whose_scheduler_is_lost_ends_with_one_line(tmp_path: Path) -> None:
    (tmp_path / "study.yaml").write_text(study_text(small_design(*range(1, 101), replications=4)))
    with cluster(tmp_path) as parts:
        command = [sys.executable, "-m", "kmsim", "run", "study.yaml", "--out", "out", "--scheduler", parts.address]
        process = subprocess.Popen(command, cwd=tmp_path, stderr=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        until(lambda: len(archives(tmp_path / "out")) > 3, "some runs are kept")
        end(parts.scheduler)
        out, err = process.communicate(timeout=PATIENCE_S)
    lines = err.splitlines()
    kept = r"\d+ of 400 runs are kept; the same command goes on"
    assert re.fullmatch(f"the scheduler at {parts.address} does not answer any more; {kept}", lines[-1])
    assert (process.returncode, out) == (130, "")
    assert "Traceback" not in err
    assert "distributed" not in err
    assert all(re.match(r"\d+ of 400 runs|100 points, 400 runs", line) for line in lines[:-1]), err


def never_made(*_: object, **__: object) -> None:
    pytest.fail("a client of what is no address takes 20 s to go, and prints a traceback")


@pytest.mark.parametrize("address", ["tcp://127.0.0.1:1", "tcp://nowhere.invalid:8786", "nonsense://x", "x"])
def test_a_scheduler_that_does_not_answer_is_said_in_one_line(
    address: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("kmsim.study.cluster.CONNECT_S", 1)
    if not address.startswith("tcp"):
        monkeypatch.setattr("distributed.Client", never_made)
    with pytest.raises(NoScheduler) as error:
        run(DESIGN, tmp_path / "out", Cluster(address))
    assert str(error.value).startswith(f"--scheduler {address}: must be the address of a Dask scheduler that answers;")
    assert "\n" not in str(error.value)


def test_without_dask_it_is_said_how_to_get_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "distributed", None)
    with pytest.raises(NoScheduler, match=r"pip install 'kmsim\[cluster\]'"):
        run(DESIGN, tmp_path / "out", Cluster("tcp://127.0.0.1:1"))
