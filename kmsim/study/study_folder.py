"""A study's folder: who may write there, how, and what of it can be used again.

    study.yaml provenance.json      before the first run
    runs/IDENTITY.zip               a run's result; see `kmsim.study.archive`
    failures/IDENTITY.txt           the traceback of a run that failed by our bug
    runs.parquet ... design.json    collected at the end; design.json last: with it, the study is finished
    lock                            locked while somebody writes here; names that process and its computer
    timing.json                     with `lock` the only file that differs between equal studies

Every file is written under a temporary name, made durable and renamed: whenever the writer dies, a file is
there as a whole or not at all, and so are all files that were there before. The lock is the kernel's (flock),
which a process that is killed gives back: nothing has to be cleaned up by hand.
"""

from __future__ import annotations

import fcntl
import os
import platform
from pathlib import Path
from types import TracebackType
from typing import IO

from kmsim.study.archive import unpack
from kmsim.study.identity import IDENTITY
from kmsim.study.store import NotAResult

PARTIAL = ".partial"
DESIGN_FILE, STUDY_FILE, PROVENANCE_FILE, TIMING_FILE = "design.json", "study.yaml", "provenance.json", "timing.json"
TABLE_FILES = ("runs.parquet", "responses.parquet", "histograms.parquet", "series.parquet")
_RUNS, _FAILURES, _FIGURES, _LOCK = "runs", "failures", "figures", "lock"


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
        _check_free_for_study(self.path)
        try:
            self.path.mkdir(parents=True, exist_ok=True)
            lock = (self.path / _LOCK).open("a+")
        except OSError as error:
            raise NotWritten(f"{self.path}: must be a folder that can be written; {error.strerror}") from error
        try:
            self._take(lock)
            for folder in (_RUNS, _FAILURES):
                (self.path / folder).mkdir(exist_ok=True)
            self._remove_leftovers()
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
        with self.replacing(name) as partial, partial.open("wb") as file:
            file.write(data)

    def text(self, name: str) -> str | None:
        """A file's text; None if there is none."""
        data = _content(self.path / name)
        return None if data is None else data.decode(errors="replace")

    def replacing(self, name: str) -> Replacing:
        """A temporary file that takes the place of `name` when the block ends well."""
        return Replacing(self.path / name)

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

    def run(self, identity: str) -> tuple[bytes, dict[str, bytes]] | None:
        """A run's file and its members, verified; None if there is none. Damaged or Foreign says what is there."""
        path = self.run_path(identity)
        data = _content(path)
        return None if data is None else (data, unpack(data, identity, str(path)))

    def keep(self, identity: str, archive: bytes) -> None:
        """Write the result of a run; one that had failed before has not failed now."""
        self.write(f"{_RUNS}/{identity}.zip", archive)
        self.remove(f"{_FAILURES}/{identity}.txt")

    def keep_failure(self, identity: str, text: str) -> None:
        """Write why a run failed."""
        self.write(f"{_FAILURES}/{identity}.txt", text)

    def failure(self, identity: str) -> str | None:
        """Why a run failed when it was last tried; None if it did not."""
        return self.text(f"{_FAILURES}/{identity}.txt")

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

    def _remove_leftovers(self) -> None:
        """What a run that was killed had not finished."""
        for folder in (self.path, self.path / _RUNS, self.path / _FAILURES, self.path / _FIGURES):
            for leftover in folder.glob(f".*{PARTIAL}"):
                leftover.unlink(missing_ok=True)


class Replacing:
    """A temporary file beside `path`, made durable and renamed to it when the block ends well, else removed."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._partial = path.with_name(f".{path.name}.{os.getpid()}{PARTIAL}")

    def __enter__(self) -> Path:
        return self._partial

    def __exit__(self, _: type[BaseException] | None, error: BaseException | None, __: TracebackType | None) -> None:
        if error is None:
            try:
                _make_durable(self._partial)
                self._partial.rename(self._path)
                _make_durable(self._path.parent)
            except OSError as failed:
                error = failed
        if error is not None:
            self._partial.unlink(missing_ok=True)
        if isinstance(error, OSError):
            raise _not_written(self._path, error) from error


def _not_written(path: Path, error: OSError) -> NotWritten:
    return NotWritten(f"{path}: must be a file that can be written; {error.strerror or error}")


def _make_durable(path: Path) -> None:
    """Wait until a file, or the names in a folder, are on the disk itself."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _content(path: Path) -> bytes | None:
    try:
        return path.read_bytes()
    except FileNotFoundError:
        return None
    except OSError as error:
        raise NotAResult(f"{path}: must be a file that can be read; {error.strerror}") from error


def _check_free_for_study(path: Path) -> None:
    """Refuse a folder that holds anything but an earlier, perhaps unfinished, run of a study."""
    try:
        names = {entry.name for entry in path.iterdir()} if path.exists() else set()
    except OSError as error:
        raise NotAResult(f"{path}: must be a folder that can be written; {error.strerror}") from error
    begun = all(name in (_LOCK, _RUNS, _FAILURES) or name.endswith(PARTIAL) for name in names)
    if not begun and not {STUDY_FILE, _RUNS} <= names:
        raise NotAResult(f"{path}: must be a new folder or an earlier result of a study; it holds something else")


def is_study_folder(path: Path) -> bool:
    """Was this folder written by a run of a study?"""
    return (path / STUDY_FILE).is_file() and (path / _RUNS).is_dir()

