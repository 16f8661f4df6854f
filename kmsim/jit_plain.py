"""The marks of `kmsim.jit` in a process that compiles nothing: each leaves the function as it is written."""

from collections.abc import Callable
from typing import Any, ParamSpec, TypeVar

import numpy as np

P = ParamSpec("P")
R = TypeVar("R")


class _Record(np.void):  # type: ignore[misc]  # numpy's stubs call it final
    """A record whose fields are attributes; several times as fast as np.record, which looks for methods first."""

    def __getattr__(self, name: str) -> Any:
        return self[name]

    def __setattr__(self, name: str, value: Any) -> None:
        self[name] = value


Record: type[np.void] = _Record


def core(function: Callable[P, R]) -> Callable[P, R]:
    """The function."""
    return function


small = shared = entry = core


def only_with(field: str, otherwise: Any = None) -> Callable[[Callable[P, R]], Callable[P, R]]:
    """The function; nothing calls it where there is no such field."""
    assert isinstance(field, str) or otherwise is not None
    return core


def prefetch(array: Any, index: int) -> None:
    """Nothing: only compiled code waits for memory."""
