"""Nothing is lost: `kmsim run` killed at any moment, on a full disk, twice at once; then the same command again."""

from __future__ import annotations

import os
import platform
import random
import resource
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from kmsim.config import study_text
from tests.commands import Done, in_own_process, on_terminal
from tests.patience import let_pass, until
from tests.study.campaigns import archives, contents, small_design

NR_KILLS = 50
SEED = 20240917


def command(folder: Path, *options: str, replications: int = 4, live: tuple[int, ...] = (8, 16, 32)) -> list[str]:
    """The command that runs a study of as many runs; its file is written if it is not there."""
    file = folder / "study.yaml"
    if not file.exists():
        file.write_text(study_text(small_design(*live, replications=replications)))
    return ["run", "study.yaml", "--out", "out", *options]


def started(folder: Path, arguments: list[str]) -> subprocess.Popen[str]:
    """`python -m kmsim ARGUMENTS`, in the background."""
    run = [sys.executable, "-m", "kmsim", *arguments]
    return subprocess.Popen(run, cwd=folder, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a study of 12 runs that nothing has happened to."""
    folder = tmp_path_factory.mktemp("whole")
    done = in_own_process(*command(folder, "--jobs", "1", "--quiet"), folder=folder)
    assert done == Done(0, "", "")
    return folder / "out"


def wait_for_runs(process: subprocess.Popen[str], out: Path, number: int) -> None:
    """Wait until so many runs are kept, or the process has ended."""
    until(lambda: len(archives(out)) >= number or process.poll() is not None, f"{number} runs are kept")


@pytest.mark.slow
def test_fifty_kills_at_any_moment_leave_the_bytes_as_they_are(whole: Path, tmp_path: Path) -> None:
    rng = random.Random(SEED)
    assert in_own_process(*command(tmp_path, "--jobs", "2", "--quiet"), folder=tmp_path).code == 0
    (tmp_path / "out").rename(tmp_path / "first")
    nr_killed = nr_kept = nr_finished = 0
    while nr_killed < NR_KILLS:
        with started(tmp_path, command(tmp_path, "--jobs", rng.choice("12"), "--quiet")) as process:
            wait_for_runs(process, tmp_path / "out", rng.randint(len(archives(tmp_path / "out")), 12))
            let_pass(rng.uniform(0, 0.2))
            if process.poll() is None:
                process.kill()
                nr_killed += 1
        assert process.returncode in (0, -signal.SIGKILL)
        nr_kept += bool(archives(tmp_path / "out"))
        for path in archives(tmp_path / "out"):
            assert path.read_bytes() == (whole / "runs" / path.name).read_bytes()
        if (tmp_path / "out" / "design.json").exists():
            nr_finished += 1
            found = {name: text for name, text in contents(tmp_path / "out").items() if ".partial" not in name}
            assert found.items() <= contents(whole).items()  # figures may be still to come
            for path in (*archives(tmp_path / "out")[::2], tmp_path / "out" / "design.json"):
                path.unlink()  # so that there is something to do
    assert nr_kept >= NR_KILLS // 2
    done = in_own_process(*command(tmp_path, "--jobs", "2", "--quiet"), folder=tmp_path)
    print(f"{nr_killed} killed, {nr_kept} had kept something, {nr_finished} had been finished")
    assert done == Done(0, "", "")
    assert contents(tmp_path / "out") == contents(whole) == contents(tmp_path / "first")


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of its own that holds a few runs; for those who may not mount one, none."""
    folder = tmp_path / "disk"
    folder.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=100k", "tmpfs", str(folder)]
    if os.geteuid() == 0 and subprocess.run(mount, check=False, capture_output=True).returncode == 0:
        yield folder
        subprocess.run(["umount", "-l", str(folder)], check=True)
    else:
        yield tmp_path / "none"


@pytest.mark.slow
def test_a_full_disk_is_said_and_what_is_kept_is_gone_on_with(whole: Path, small_disk: Path, tmp_path: Path) -> None:
    arguments = command(tmp_path, "--jobs", "1", "--quiet")
    if small_disk.is_dir():
        (tmp_path / "out").symlink_to(small_disk)
        done = in_own_process(*arguments, folder=tmp_path)
        reason = "No space left on device"
    else:
        done = with_small_files(arguments, tmp_path)
        reason = "File too large"
    assert (done.code, done.out) == (2, "")
    line = done.err.splitlines()[-1]
    nr_kept = len(archives(tmp_path / "out"))
    assert f": must be a file that can be written; {reason}; {nr_kept} of 12 runs are kept" in line
    assert "Traceback" not in done.err
    assert not list((tmp_path / "out").rglob(".*.partial"))
    for path in archives(tmp_path / "out"):
        assert path.read_bytes() == (whole / "runs" / path.name).read_bytes()
    if small_disk.is_dir():
        assert 0 < nr_kept < 12
        subprocess.run(["mount", "-o", "remount,size=64m", str(small_disk)], check=True)
    assert in_own_process(*arguments, folder=tmp_path).code == 0
    assert contents(tmp_path / "out") == contents(whole)


@pytest.mark.slow
def test_a_quota_of_files_is_said_like_a_full_disk(whole: Path, tmp_path: Path) -> None:
    arguments = command(tmp_path, "--jobs", "1", "--quiet")
    done = with_small_files(arguments, tmp_path)
    assert (done.code, done.out) == (2, "")
    assert ": must be a file that can be written; File too large; 0 of 12 runs are kept" in done.err
    assert not archives(tmp_path / "out")
    assert not list((tmp_path / "out").rglob(".*.partial"))
    assert in_own_process(*arguments, folder=tmp_path).code == 0
    assert contents(tmp_path / "out") == contents(whole)


def with_small_files(arguments: list[str], folder: Path) -> Done:
    """A run that may write files of 5 kB at most, less than any run's."""

    def limit() -> None:
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_FSIZE, (5_000, 5_000))

    run = [sys.executable, "-m", "kmsim", *arguments]
    done = subprocess.run(run, cwd=folder, capture_output=True, text=True, check=False, preexec_fn=limit)
    return Done(done.returncode, done.stdout, done.stderr)


@pytest.mark.slow
def test_two_runs_on_one_folder_the_second_is_refused(tmp_path: Path) -> None:
    with started(tmp_path, command(tmp_path, "--jobs", "1", replications=1_000)) as first:
        until(lambda: archives(tmp_path / "out"), "a run is kept")
        first.send_signal(signal.SIGSTOP)  # so that it is not done before the second has begun
        second = in_own_process(*command(tmp_path), folder=tmp_path)
        first.kill()
    assert first.returncode == -signal.SIGKILL
    holder = f"process {first.pid} on {platform.node()} writes there"
    assert second == Done(2, "", f"out: must be written by one run at a time; {holder}\n")


@pytest.mark.slow
@pytest.mark.parametrize("jobs", ["1", "2"])
def test_ctrl_c_says_what_is_kept_and_ends_with_130(jobs: str, tmp_path: Path) -> None:
    arguments = command(tmp_path, "--jobs", jobs, replications=1_000)
    done = on_terminal(*arguments, folder=tmp_path, interrupt_at=r"\b([3-9]|[1-9]\d+) of 3000 runs done")
    assert done.code == 130
    assert f"interrupted; {len(archives(tmp_path / 'out'))} of 3000 runs are kept; the same command goes" in done.err
    assert "Traceback" not in done.err


def seconds_of_children() -> float:
    """CPU time of all processes that this one has started and that have ended."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


@pytest.mark.slow
def test_two_workers_do_hardly_more_work_than_one(tmp_path: Path) -> None:
    """In CPU time, the best of several tries: what else runs on the computer only adds to it. Long enough for workers
    to start; that they run at the same time is a test of executors."""
    in_own_process(*command(tmp_path, "--jobs", "1"), folder=tmp_path)  # so that nothing is left to compile
    text = study_text(small_design(8, 16, 24, 32, replications=3)).replace("operations: 40", "operations: 5000000")
    (tmp_path / "study.yaml").write_text(text)
    ratios: list[float] = []
    while len(ratios) < 5 and min(ratios, default=9.0) > 1.3:
        seconds = {}
        for jobs in ("2", "1"):
            out, before = f"out-{jobs}-{len(ratios)}", seconds_of_children()
            done = in_own_process("run", "study.yaml", "--out", out, "--quiet", "--jobs", jobs, folder=tmp_path)
            seconds[jobs] = seconds_of_children() - before
            assert done == Done(0, "", "")
        ratios.append(seconds["2"] / seconds["1"])
        print(f"1 worker {seconds['1']:.1f} s of CPU time, 2 workers {seconds['2']:.1f} s: {ratios[-1]:.2f} times")
    assert contents(tmp_path / "out-1-0") == contents(tmp_path / "out-2-0")
    assert min(ratios) <= 1.3
