"""A study's folder: who may write there, how, and what of it can be used again.

    study.yaml provenance.json      before the first run
    runs/IDENTITY.zip               a run's result; see `kmsim.study.archive`
    failures/IDENTITY.txt           the traceback of a run that failed by our bug
    runs.parquet ... design.json    collected at the end; with design.json, the study is finished
    checksums.json                  of all these but the runs, which have their own; written last
    report.html                     drawn from these; it carries its own checksum
    lock                            locked while somebody writes here; names that process and its computer
    timing.json                     with `lock` the only file that differs between equal studies; carries its own, too

Every file is written under a temporary name, made durable and renamed: whenever the writer dies, a file is
there as a whole or not at all, and so are all files that were there before. The lock is the kernel's (flock),
which a process that is killed gives back: nothing has to be cleaned up by hand.
Only files of these names are replaced or removed, and of the figures those that kmsim has drawn. Nothing that stands
in a file's place and is none (a pipe, a link) is read, written into or replaced; a folder here is no link.
"""

from __future__ import annotations

import fcntl
import os
import platform
import re
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import TracebackType
from typing import IO

from kmsim.input_file import InputFileError, read_input
from kmsim.output import (
    FOLDER,
    PARTIAL,
    OutputError,
    check_folder,
    check_our_folder,
    our_folder,
    remove_leftovers,
    replacing,
)
from kmsim.study import checksums
from kmsim.study.archive import check
from kmsim.study.identity import IDENTITY
from kmsim.study.store import NotAResult, why_not

DESIGN_FILE, STUDY_FILE, PROVENANCE_FILE = "design.json", "study.yaml", "provenance.json"
TABLE_FILES = ("runs.parquet", "responses.parquet", "histograms.parquet", "series.parquet")
ARCHIVE_BYTES_MAX = 1 << 30
FAILURES = "failures"
RUN_FILE = re.compile(rf"runs/{IDENTITY.pattern}\.zip")
_RUNS, _FIGURES, _LOCK = "runs", "figures", "lock"
_BEGUN = {_LOCK, _RUNS, FAILURES, PROVENANCE_FILE}  # what there is before study.yaml


class NotWritten(NotAResult):
    """A study's file could not be written; what was there before is kept."""


class Locked(NotAResult):
    """Another process writes into the folder."""


class StudyFolder:
    """A study's folder that this process alone may write into, while the block lasts."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._lock: IO[str] | None = None

    def __enter__(self) -> StudyFolder:
        check_free(self.path)
        try:
            self.path.mkdir(parents=True, exist_ok=True)
            lock = _opened_lock(self.path / _LOCK)
        except OSError as error:
            raise NotWritten(f"{self.path}: must be a folder that can be written; {error.strerror or error}") from error
        try:
            self._take(lock)
            for name in (_RUNS, FAILURES):
                our_folder(self.path / name)
            for folder in (self.path, *(self.path / name for name in (_RUNS, FAILURES, _FIGURES))):
                remove_leftovers(folder)
            for name in (checksums.TIMING_FILE, checksums.REPORT_FILE):
                checksums.discard_damaged(self.path / name)
        except OSError as error:
            lock.close()
            raise _not_written(self.path, error) from error
        except BaseException:
            lock.close()
            raise
        self._lock = lock
        return self

    def __exit__(self, *_: type[BaseException] | BaseException | TracebackType | None) -> None:
        assert self._lock is not None, "was entered"
        self._lock.close()

    def write(self, name: str, content: bytes | str) -> None:
        """Write a file of the folder as a whole, durably. NotWritten where that fails."""
        data = content.encode() if isinstance(content, str) else content
        with self.replacing(name) as partial:
            partial.write_bytes(data)

    def text(self, name: str) -> str | None:
        """A file's text; None if there is none."""
        data = _content(self.path / name)
        return None if data is None else data.decode(errors="replace")

    @contextmanager
    def replacing(self, name: str) -> Iterator[Path]:
        """A temporary file that takes the place of `name`, durably, when the block ends well. NotWritten if not."""
        try:
            with replacing(self.path / name, durable=True) as partial:
                yield partial
        except OSError as error:
            raise _not_written(self.path / name, error) from error

    def seal(self) -> None:
        """Write the checksums of all that is here, the runs apart. NotWritten where that fails."""
        whole = (STUDY_FILE, PROVENANCE_FILE, *TABLE_FILES, DESIGN_FILE)
        failures = sorted(f"{FAILURES}/{path.name}" for path in (self.path / FAILURES).glob("*.txt"))
        try:
            checksums.seal(self.path, [name for name in (*whole, *failures) if (self.path / name).exists()])
        except OSError as error:
            raise _not_written(self.path / checksums.CHECKSUMS_FILE, error) from error

    def remove(self, name: str) -> None:
        """Remove a file, if it is there."""
        try:
            (self.path / name).unlink(missing_ok=True)
        except OSError as error:
            raise _not_written(self.path / name, error) from error

    # ---- the runs

    def run_path(self, identity: str) -> Path:
        """Where the result of a run is, or would be."""
        return self.path / _RUNS / f"{identity}.zip"

    def run(self, identity: str) -> bytes | None:
        """A run's file, verified; None if there is none. Damaged or Foreign says what is there."""
        path = self.run_path(identity)
        data = _content(path)
        if data is not None:
            check(data, identity, str(path))
        return data

    def keep(self, identity: str, archive: bytes) -> None:
        """Write the result of a run; one that had failed before has not failed now."""
        self.write(f"{_RUNS}/{identity}.zip", archive)
        self.remove(f"{FAILURES}/{identity}.txt")

    def keep_failure(self, identity: str, text: str) -> None:
        """Write why a run failed."""
        self.write(f"{FAILURES}/{identity}.txt", text)

    def failure(self, identity: str) -> str | None:
        """Why a run failed when it was last tried; None if it did not."""
        return self.text(f"{FAILURES}/{identity}.txt")

    def kept(self) -> tuple[set[str], list[str]]:
        """The identities of the runs whose results are here by their names, and the names of what is something else."""
        names = sorted(path.name for path in (self.path / _RUNS).iterdir())
        identities = {name.removesuffix(".zip") for name in names if name.endswith(".zip")}
        ours = {identity for identity in identities if IDENTITY.fullmatch(identity)}
        return ours, [name for name in names if name.removesuffix(".zip") not in ours or not name.endswith(".zip")]

    # ---- the lock

    def _take(self, lock: IO[str]) -> None:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            lock.seek(0)
            holder = lock.read(1000).strip() or "another process"
            raise Locked(f"{self.path}: must be written by one run at a time; {holder} writes there") from error
        try:
            lock.truncate(0)
            lock.write(f"process {os.getpid()} on {platform.node()}\n")
            lock.flush()
        except OSError as error:
            raise _not_written(self.path / _LOCK, error) from error


def check_free(path: Path) -> None:
    """NotAResult where no study can be written: the path is no folder's, or it holds something else than a study."""
    try:
        check_folder(path)
        names = {entry.name for entry in path.iterdir()} if path.exists() else set()
    except OSError as error:
        why = error.why if isinstance(error, OutputError) else error.strerror
        raise NotAResult(f"{path}: must be {FOLDER}; {why}") from error
    names = {name for name in names if not PARTIAL.fullmatch(name)}
    begun = names <= _BEGUN and (PROVENANCE_FILE not in names or _LOCK in names)
    if not begun and not {STUDY_FILE, PROVENANCE_FILE, _RUNS} <= names:
        raise NotAResult(f"{path}: must be a new folder or an earlier result of a study; it holds something else")
    try:
        for name in (_RUNS, FAILURES, _FIGURES):
            check_our_folder(path / name)
    except OutputError as error:
        raise NotAResult(str(error)) from error


def is_study_folder(path: Path) -> bool:
    """Was this folder written by a run of a study?"""
    return any(os.path.exists(path / name) for name in (STUDY_FILE, DESIGN_FILE)) or os.path.isdir(path / _RUNS)


def verified(path: Path) -> dict[str, str]:
    """The checksums of a study's folder, by which each of its files but the runs is whole. NotAResult names the first
    that is not.
    """
    name = checksums.CHECKSUMS_FILE
    try:
        sums = checksums.sums_in(path)
        for each in checksums.verify(path, sums):
            name = each  # is named if it is damaged
    except (OSError, ValueError) as error:
        raise NotAResult(f"{path / name}: must be a study's file; {why_not(error)}") from error
    return sums


def _opened_lock(path: Path) -> IO[str]:
    """The file of the lock, whose content may be replaced: never somebody else's, to which a link leads."""
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC, 0o666)
    if not stat.S_ISREG(os.fstat(descriptor).st_mode):
        os.close(descriptor)
        raise OutputError(path, "it is not a regular file")
    return os.fdopen(descriptor, "r+", encoding="utf-8", errors="replace")


def _not_written(path: Path, error: OSError) -> NotWritten:
    return NotWritten(f"{path}: must be a file that can be written; {error.strerror or error}")


def _content(path: Path) -> bytes | None:
    if not os.path.lexists(path):
        return None
    try:
        return read_input(path, ARCHIVE_BYTES_MAX)
    except InputFileError as error:
        raise NotAResult(f"{path}: must be a file that can be read; {error.strerror or error}") from error
