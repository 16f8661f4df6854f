"""Saying that, and measuring how long, numba compiles: the first run of a version takes a while.

Code loaded from numba's cache is not compiled and not counted.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from numba.core import event

Say = Callable[[str, float], None]


class CompileWatch(event.Listener):
    """Tells `say` which entry point is being compiled, and the seconds spent on that so far."""

    def __init__(self, say: Say) -> None:
        self.seconds = 0.0
        self._say = say
        self._depth = 0
        self._started = 0.0

    def on_start(self, started: Any) -> None:
        """A function is compiled; only the outermost is an entry point."""
        if self._depth == 0:
            self._started = time.perf_counter()
            self._say(started.data["dispatcher"].py_func.__qualname__, self.seconds)
        self._depth += 1

    def on_end(self, ended: Any) -> None:  # noqa: ARG002 - the listener's interface
        """It is compiled."""
        self._depth -= 1
        if self._depth == 0:
            self.seconds += time.perf_counter() - self._started


@contextmanager
def watching(say: Say) -> Iterator[CompileWatch]:
    """Watch all that is compiled within the block."""
    watch = CompileWatch(say)
    with event.install_listener("numba:compile", watch):
        yield watch
