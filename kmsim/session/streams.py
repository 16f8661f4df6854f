"""The standard streams, made fit for what is printed: any text, in any locale, to a reader who may have gone.

A character that the locale's encoding has not is spelt out in those that it has (`±` as `+-`, others as `\\u2026`).
What is printed after a pipe's reader has gone is dropped, and the command goes on: its result is written, and its exit
code is what it would have been. Where the disk below standard output is full, that is said once, at the end.
Invariant: the descriptors 0, 1 and 2 are open, so that no file that is written later can be taken for one of them.
"""

from __future__ import annotations

import codecs
import errno
import io
import os
import sys
from typing import TextIO

SPELT = {"±": "+-", "…": "...", "µ": "u", "⟨": "<", "⟩": ">"}
SPELLING = "kmsim-spelt"
_READER_GONE = (errno.EPIPE, errno.EBADF, errno.ECONNRESET)


class Outlet(io.RawIOBase):
    """A descriptor that is written to for as long as that works."""

    def __init__(self, descriptor: int) -> None:
        self._descriptor = descriptor
        self.error: OSError | None = None  # why what was written is lost, other than that nobody reads it
        self._open = True

    def fileno(self) -> int:
        """The descriptor."""
        return self._descriptor

    def isatty(self) -> bool:
        """Is it a terminal?"""
        return os.isatty(self._descriptor)

    def writable(self) -> bool:
        """It is written to."""
        return True

    def write(self, data: object) -> int:
        """Write, or drop what nobody can read."""
        content = memoryview(data).cast("B")  # type: ignore[arg-type]
        if self._open:
            try:
                return os.write(self._descriptor, content)
            except OSError as error:
                self._open = False
                self.error = None if error.errno in _READER_GONE else error
        return len(content)


def fit_streams() -> Outlet | None:
    """Make the standard streams fit; that of the output, where it is the process's own."""
    _open_descriptors()
    codecs.register_error(SPELLING, spelt)
    out, err = _fitted(sys.stdout, 1), _fitted(sys.stderr, 2)
    if err is not None:
        sys.stderr = err[0]
    if out is None:
        return None
    sys.stdout = out[0]
    return out[1]


def spelt(error: UnicodeError) -> tuple[str, int]:
    """What stands for a character that cannot be encoded (a handler of `codecs`)."""
    assert isinstance(error, UnicodeEncodeError)
    found = error.object[error.start : error.end]
    return "".join(SPELT.get(c, c.encode("ascii", "backslashreplace").decode()) for c in found), error.end


def _open_descriptors() -> None:
    """The shell may have closed some: what is opened next would take their place."""
    for number in range(3):
        try:
            os.fstat(number)
        except OSError:
            opened = os.open(os.devnull, os.O_RDWR)
            if opened != number:
                os.dup2(opened, number)
                os.close(opened)


def _fitted(stream: TextIO | None, number: int) -> tuple[TextIO, Outlet] | None:
    """A stream of the same encoding that writes to the descriptor; None of one that is not the process's own."""
    if not any(stream is own for own in (sys.__stdout__, sys.__stderr__)):
        return None
    if stream is not None:  # None: it was closed
        stream.flush()
    outlet = Outlet(number)
    fitted = io.TextIOWrapper(
        io.BufferedWriter(outlet),
        encoding=stream.encoding if stream is not None else "utf-8",
        errors=SPELLING,
        line_buffering=outlet.isatty() or number == 2,
    )
    return fitted, outlet
