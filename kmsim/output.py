"""The one door for what kmsim writes: it damages nothing that is there, and says beforehand what is wrong with a path.

A path that the user names is followed where it is a link. A regular file is written beside its place, under a name
that only kmsim gives (`PARTIAL`), and renamed: it is there as a whole or not at all. A pipe, a terminal or a character
device is written into. Anything else stays as it is and is refused. Below a folder of ours, links are not followed:
somebody else may have laid them.
Leaves out: what may be done with a folder that holds something, which those say who write there.
"""

from __future__ import annotations

import errno
import os
import re
import stat
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from hashlib import sha256
from pathlib import Path

PARTIAL = re.compile(r"\.kmsim-[0-9]+-[0-9a-f]{8}\.partial")
# What the shell has opened, also where that is a regular file.
_STREAM = re.compile(r"/dev/(stdout|stderr|fd/([0-9]{1,9}))")
_NUMBERS = {"stdout": 1, "stderr": 2}
_BELOW = "x" * 120  # longer than the path of anything in a folder of ours

FILE, FOLDER = "a file that can be written", "a folder that can be written"
INPUT = "a file that can be read"


class OutputError(OSError):
    """Nothing can be written there; the message says why, and nothing was changed."""

    def __init__(self, path: str | os.PathLike[str], why: str, must: str = FILE) -> None:
        self.why = why
        super().__init__(errno.EINVAL, why, os.fspath(path))
        name = os.fspath(path)
        self._text = f"{name if name.isprintable() else repr(name)}: must be {must}; {why}"

    def __str__(self) -> str:
        return self._text


def named(text: str | os.PathLike[str], must: str = FOLDER) -> Path:
    """The path that a user writes; OutputError of none (an unset variable of a shell), which is no folder's name."""
    if not os.fspath(text):
        raise OutputError("an empty name", "it has no characters; is a variable of the shell not set?", must)
    return Path(text)


def named_file(text: str | os.PathLike[str]) -> Path:
    """The same of a file that is written."""
    return named(text, FILE)


def named_input(text: str | os.PathLike[str]) -> Path:
    """The same of a file, or of a folder, that is read."""
    return named(text, INPUT)


def partial_of(path: Path) -> Path:
    """The name beside `path` under which it is written: as long for every name, another one for every process."""
    name = sha256(os.fsencode(path.name)).hexdigest()[:8]
    return path.with_name(f".kmsim-{os.getpid()}-{name}.partial")


def is_stream(path: Path) -> bool:
    """Is it written into, and not replaced: a pipe, a terminal, a device?"""
    if _STREAM.fullmatch(str(path)):
        return True
    try:
        mode = os.stat(path).st_mode
    except (OSError, ValueError):
        return False
    return stat.S_ISFIFO(mode) or stat.S_ISCHR(mode)


def check_file(path: Path) -> None:
    """OutputError where a file that the user names cannot be written, as far as that is known beforehand."""
    mode = _mode(path, FILE)
    if is_stream(path):
        return
    if mode is not None and not stat.S_ISREG(mode):
        raise OutputError(path, os.strerror(errno.EISDIR) if stat.S_ISDIR(mode) else "it is not a regular file")
    if mode is not None and not os.access(path, os.W_OK):
        raise OutputError(path, os.strerror(errno.EACCES))
    _check_parent(_place(path, FILE).parent, path, FILE)


def check_folder(path: Path) -> None:
    """OutputError where no folder can be made or written there, as far as that is known beforehand."""
    mode = _mode(path, FOLDER)
    if mode is not None and not stat.S_ISDIR(mode):
        raise OutputError(path, os.strerror(errno.ENOTDIR), FOLDER)
    place = _place(path, FOLDER)
    if place == place.parent:
        raise OutputError(path, "it is the root of all folders", FOLDER)
    _mode(place / _BELOW, FOLDER)
    _mode(partial_of(place), FOLDER)
    _check_parent(place, path, FOLDER)


def check_beside(path: Path) -> None:
    """OutputError where nothing can be made beside what the user names, as far as that is known beforehand."""
    _check_parent(_place(path, FOLDER).parent, path, FOLDER)


def check_our_folder(path: Path) -> None:
    """OutputError unless a folder of ours has nothing of this name, or a folder: no link, wherever it leads."""
    try:
        mode = os.lstat(path).st_mode
    except FileNotFoundError:
        return
    except OSError as error:
        raise OutputError(path, error.strerror or str(error), FOLDER) from error
    if not stat.S_ISDIR(mode):
        why = "it is a link, which is not followed" if stat.S_ISLNK(mode) else os.strerror(errno.ENOTDIR)
        raise OutputError(path, why, FOLDER)


def our_folder(path: Path) -> Path:
    """A folder in a folder of ours, made if it is not there. OutputError where something else is; OSError."""
    check_our_folder(path)
    path.mkdir(exist_ok=True)
    return path


@contextmanager
def replacing(path: Path, *, durable: bool = False) -> Iterator[Path]:
    """The name of a temporary file that takes the place of `path` when the block ends well, else is removed.

    `durable`: it is on the disk itself then. OSError where that cannot be; OutputError where something else than a
    regular file is in the place.
    """
    _check_replaceable(path)
    partial = partial_of(path)
    try:
        yield partial
        if durable:
            make_durable(partial)
        _check_replaceable(path)
        partial.rename(path)
        if durable:
            make_durable(path.parent)
    finally:
        partial.unlink(missing_ok=True)


def write_file(path: Path, content: bytes) -> None:
    """Write a file that the user names: through a link, into a pipe. OutputError says why that cannot be."""
    check_file(path)
    try:
        if is_stream(path):
            _write_into(path, content)
        else:
            place = _place(path, FILE)
            place.parent.mkdir(parents=True, exist_ok=True)
            write_below(place, content)
    except OutputError:
        raise
    except OSError as error:
        raise OutputError(path, error.strerror or str(error)) from error


def write_below(path: Path, content: bytes) -> None:
    """Write a file of a folder of ours as a whole. OSError where that fails."""
    with replacing(path) as partial:
        partial.write_bytes(content)


def write_each(files: dict[Path, Callable[[Path], None]]) -> None:
    """Have each file of a folder of ours written as a whole, by a function that is told where. OSError."""
    for path, write in files.items():
        with replacing(path) as partial:
            write(partial)


def make_durable(path: Path) -> None:
    """Wait until a file, or the names in a folder, are on the disk itself."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def remove_leftovers(folder: Path) -> None:
    """Remove what a process that was killed had not finished: files of our temporary names."""
    if not folder.is_dir() or folder.is_symlink():
        return
    for path in folder.iterdir():
        if PARTIAL.fullmatch(path.name) and not path.is_dir():
            path.unlink(missing_ok=True)


def _check_replaceable(path: Path) -> None:
    """Only what is no file yet, or a regular one, is replaced."""
    try:
        mode = os.lstat(path).st_mode
    except FileNotFoundError:
        return
    if stat.S_ISDIR(mode):
        raise OutputError(path, os.strerror(errno.EISDIR))
    if not stat.S_ISREG(mode):
        raise OutputError(path, "it is not a regular file")


def _write_into(path: Path, content: bytes) -> None:
    """Write into what is there: behind what the shell's stream has; a pipe that nobody reads is not waited for."""
    stream = _STREAM.fullmatch(str(path))
    if stream is not None:
        sys.stdout.flush()
        descriptor = os.dup(_NUMBERS.get(stream[1]) or int(stream[2]))
    else:
        descriptor = os.open(path, os.O_WRONLY | os.O_NONBLOCK | os.O_NOCTTY)
        os.set_blocking(descriptor, True)
    with open(descriptor, "wb") as file:
        file.write(content)


def _mode(path: Path, must: str) -> int | None:
    """The mode of what is there, links followed; None where there is nothing. OutputError of no path at all."""
    try:
        return os.stat(path).st_mode
    except FileNotFoundError:
        return None
    except OSError as error:
        raise OutputError(path, error.strerror or str(error), must) from error
    except ValueError as error:
        raise OutputError(path, "a file name must not contain NUL or unpaired surrogates", must) from error


def _place(path: Path, must: str) -> Path:
    try:
        return Path(os.path.realpath(path))
    except (OSError, ValueError) as error:
        raise OutputError(path, str(error), must) from error


def _check_parent(folder: Path, path: Path, must: str) -> None:
    """The nearest folder that there is has to be one, and to be ours to write in."""
    while not os.path.lexists(folder) and folder != folder.parent:
        folder = folder.parent
    if not folder.is_dir():
        raise OutputError(path, os.strerror(errno.ENOTDIR), must)
    if not os.access(folder, os.W_OK | os.X_OK):
        read_only = os.statvfs(folder).f_flag & os.ST_RDONLY
        raise OutputError(path, os.strerror(errno.EROFS if read_only else errno.EACCES), must)
