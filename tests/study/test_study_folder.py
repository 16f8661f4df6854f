"""A study's folder: one writer, whole files, and nothing of anybody else's."""

import os
import platform
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from kmsim.study.archive import Damaged, Foreign, pack
from kmsim.study.store import NotAResult
from kmsim.study.study_folder import Locked, NotWritten, StudyFolder

RUN, OTHER = "a" * 32, "b" * 32
ARCHIVE = pack({"end.json": b"{}"}, RUN, {})
HOLDER = """\
import sys
from pathlib import Path
from kmsim.study.study_folder import StudyFolder
with StudyFolder(Path(sys.argv[1])) as folder, folder.replacing("half.txt") as partial:
    partial.write_text("half")
    print("ready", flush=True)
    sys.stdin.read()
"""


def holder(out: Path) -> subprocess.Popen[str]:
    """A process that has the folder locked and a file half written."""
    command = [sys.executable, "-c", HOLDER, str(out)]
    process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    assert process.stdout.readline() == "ready\n"
    return process


def test_a_second_writer_is_refused_with_the_first_ones_process_and_computer(tmp_path: Path) -> None:
    process = holder(tmp_path / "out")
    with pytest.raises(Locked, match=f"process {process.pid} on {platform.node()} writes there"):
        StudyFolder(tmp_path / "out").__enter__()
    process.kill()
    process.wait()


@pytest.mark.slow
def test_a_killed_writer_leaves_no_lock_and_no_half_file(tmp_path: Path) -> None:
    process = holder(tmp_path / "out")
    assert list((tmp_path / "out").glob(".kmsim-*.partial"))
    process.send_signal(signal.SIGKILL)
    process.wait()
    with StudyFolder(tmp_path / "out") as folder:
        assert (tmp_path / "out" / "lock").read_text() == f"process {os.getpid()} on {platform.node()}\n"
        assert sorted(path.name for path in folder.path.iterdir()) == ["failures", "lock", "runs"]


def test_a_file_is_replaced_as_a_whole_or_not_at_all(tmp_path: Path) -> None:
    with StudyFolder(tmp_path / "out") as folder:
        folder.write("a.txt", "one")
        with pytest.raises(ZeroDivisionError), folder.replacing("a.txt") as partial:
            assert partial.write_text("tw") / 0
        assert folder.text("a.txt") == "one"
        folder.write("a.txt", "two")
        assert folder.text("a.txt") == "two"
        assert not list(folder.path.glob(".a.txt*"))


def test_a_file_that_cannot_be_written_is_said_with_the_reason(tmp_path: Path) -> None:
    with StudyFolder(tmp_path / "out") as folder:
        (folder.path / "a.txt").mkdir()
        with pytest.raises(NotWritten, match=r"out/a\.txt: must be a file that can be written; Is a directory"):
            folder.write("a.txt", "one")
        assert not list(folder.path.glob(".a.txt*"))


def test_runs_are_kept_and_read_back_verified(tmp_path: Path) -> None:
    with StudyFolder(tmp_path / "out") as folder:
        assert folder.run(RUN) is None
        folder.keep_failure(RUN, "why")
        assert folder.failure(RUN) == "why"
        folder.keep(RUN, ARCHIVE)
        assert folder.run(RUN) == ARCHIVE
        assert folder.failure(RUN) is None
        folder.run_path(RUN).write_bytes(ARCHIVE[:-1])
        with pytest.raises(Damaged):
            folder.run(RUN)
        folder.run_path(OTHER).write_bytes(ARCHIVE)
        with pytest.raises(Foreign):
            folder.run(OTHER)
        (folder.path / "runs" / "thesis.tex").write_text("mine")
        assert folder.kept() == ({RUN, OTHER}, ["thesis.tex"])


@pytest.mark.parametrize("name", ["thesis.tex", "provenance.json", "runs.parquet"])
def test_a_folder_of_something_else_is_refused_and_left(name: str, tmp_path: Path) -> None:
    (tmp_path / name).write_text("mine")
    with pytest.raises(NotAResult, match="must be a new folder or an earlier result of a study; it holds something"):
        StudyFolder(tmp_path).__enter__()
    assert [path.name for path in tmp_path.iterdir()] == [name]


def test_a_file_in_the_way_is_refused(tmp_path: Path) -> None:
    (tmp_path / "out").write_text("mine")
    for path in (tmp_path / "out", tmp_path / "out" / "below"):
        with pytest.raises(NotAResult, match=r"must be a folder that can be written; (Not a directory|File exists)"):
            StudyFolder(path).__enter__()


def test_a_writer_that_was_killed_at_once_left_what_the_next_one_takes(tmp_path: Path) -> None:
    for names in ((), ("lock",), ("lock", "runs"), ("lock", "runs", "failures")):
        out = tmp_path / str(len(names))
        for name in names:
            (out / name).mkdir(parents=True) if name != "lock" else out.mkdir() or (out / name).touch()
        with StudyFolder(out) as folder:
            assert folder.kept() == (set(), [])
