"""A file that a user hands in, read as untrusted input: a regular file, up to a limit, without waiting.

A FIFO, a device, a socket or a directory is refused before it is opened, since opening one may wait for
ever or do something; what takes a file's place meanwhile is refused once it is open. The limit holds for what is
read, so that a file that grows, or says no size (under /proc), is bounded, too.
Leaves out: what the bytes mean, which each reader says.
"""

import errno
import gzip
import io
import os
import stat
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from hashlib import sha256

from kmsim.units import format_size

CHUNK = 1 << 20

# What must hold of an input file, by the rule that is broken.
MUST = {
    "missing": "be a file that exists",
    "directory": "be a file, not a directory",
    "special": "be a regular file",
    "unreadable": "be a file you may read",
    "size": "be at most {limit}",
}
_ERRNO = {
    "missing": errno.ENOENT,
    "directory": errno.EISDIR,
    "special": errno.EINVAL,
    "unreadable": errno.EACCES,
    "size": errno.EFBIG,
}


class InputFileError(OSError):
    """The file is not read. ``rule``: the one of MUST that it breaks; ``must``: what that asks for, in words.

    As of every OSError, ``strerror`` says what was found, such as "No such file or directory".
    """

    def __init__(self, path: str | os.PathLike[str], rule: str, found: str | None = None, *, limit: int = 0) -> None:
        self.rule = rule
        self.limit = format_size(limit)
        self.must = MUST[rule].format(limit=self.limit)
        super().__init__(_ERRNO[rule], found or os.strerror(_ERRNO[rule]), os.fspath(path))


class BrokenGzip(ValueError):
    """What looks gzipped cannot be unpacked."""


def read_input(path: str | os.PathLike[str], limit: int) -> bytes:
    """The bytes of a regular file of at most ``limit`` bytes; InputFileError says why it is not read."""
    with opened_input(path) as file:
        if os.fstat(file.fileno()).st_size > limit:
            raise _too_large(path, limit)
        try:
            content = _bounded(file, limit)
        except OSError as error:
            raise InputFileError(path, "unreadable", error.strerror) from None
    if len(content) > limit:
        raise _too_large(path, limit)
    return content


def sha256_of(path: str | os.PathLike[str], limit: int) -> str:
    """What tells such a file's content: its SHA-256, 64 hexadecimal digits; InputFileError says why it is not read."""
    return sha256(read_input(path, limit)).hexdigest()


def read_unzipped(path: str | os.PathLike[str], limit: int) -> bytes:
    """The same of a file that may be gzipped: at most ``limit`` bytes before and after it is unpacked.

    Raises BrokenGzip, too.
    """
    content = read_input(path, limit)
    if not content.startswith(b"\x1f\x8b"):
        return content
    try:
        with gzip.GzipFile(fileobj=io.BytesIO(content)) as file:
            unpacked = _bounded(file, limit)
    except (EOFError, zlib.error, gzip.BadGzipFile):
        raise BrokenGzip("its gzip data is broken or cut off") from None
    if len(unpacked) > limit:
        raise _too_large(path, limit)
    return unpacked


def check_input(path: str | os.PathLike[str]) -> None:
    """Raise InputFileError where the file could not be read; nothing is read of it."""
    with opened_input(path):
        return


@contextmanager
def opened_input(path: str | os.PathLike[str]) -> Iterator[io.FileIO]:
    """A regular file, open to be read; InputFileError says why it is not."""
    try:
        _check_regular(path, os.stat(path).st_mode)
        descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC)
    except PermissionError as error:
        raise InputFileError(path, "unreadable", error.strerror) from None
    except InputFileError:
        raise
    except OSError as error:
        raise InputFileError(path, "missing", error.strerror) from None
    except ValueError:  # a NUL or half a character in the name
        raise InputFileError(path, "missing") from None
    with io.FileIO(descriptor) as file:
        _check_regular(path, os.fstat(descriptor).st_mode)
        yield file


def _check_regular(path: str | os.PathLike[str], mode: int) -> None:
    if stat.S_ISDIR(mode):
        raise InputFileError(path, "directory")
    if not stat.S_ISREG(mode):
        raise InputFileError(path, "special", "no regular file")


def _bounded(file: io.FileIO | gzip.GzipFile, limit: int) -> bytes:
    """What there is, or a byte more than the limit, or somewhat more."""
    content = bytearray()
    while len(content) <= limit and (piece := file.read(CHUNK)):
        content += piece
    return bytes(content)


def _too_large(path: str | os.PathLike[str], limit: int) -> InputFileError:
    return InputFileError(path, "size", f"more than {format_size(limit)}", limit=limit)
