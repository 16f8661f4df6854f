"""Saying that numba compiles, for how long, and how long it should take: the first run of a version takes a while.

Code loaded from numba's cache is not compiled and not counted. A watch within another leaves the saying to the outer.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from numba.core import event

Say = Callable[[str], None]
_watched = [False]


class CompileWatch(event.Listener):
    """Tells `say` when compiling begins, and keeps the seconds that it took so far."""

    def __init__(self, say: Say, expected_s: float) -> None:
        self.seconds = 0.0
        self.names: list[str] = []  # of the entry points that were compiled
        self._say = say
        self._expected_s = expected_s
        self._depth = 0
        self._started = 0.0

    def on_start(self, started: Any) -> None:
        """A function is compiled; only the outermost is an entry point."""
        if self._depth == 0:
            if not self.names:
                self._say(f"compiling, which only the first run of a version does: about {self._expected_s:.0f} s")
            self._started = time.perf_counter()
            self.names.append(started.data["dispatcher"].py_func.__qualname__)
        self._depth += 1

    def on_end(self, ended: Any) -> None:  # noqa: ARG002 - the listener's interface
        """It is compiled."""
        self._depth -= 1
        if self._depth == 0:
            self.seconds += time.perf_counter() - self._started

    def line(self) -> str:
        """How compiling stands, for a line that is shown again and again; empty while nothing is compiled."""
        if self._depth == 0:
            return ""
        seconds = self.seconds + time.perf_counter() - self._started
        return f"compiling, {seconds:.0f} s of about {self._expected_s:.0f} s"


@contextmanager
def watching(say: Say, expected_s: float) -> Iterator[CompileWatch]:
    """Watch all that is compiled within the block."""
    watch = CompileWatch((lambda _: None) if _watched[0] else say, expected_s)
    outer, _watched[0] = _watched[0], True
    try:
        with event.install_listener("numba:compile", watch):
            yield watch
    finally:
        _watched[0] = outer
