"""The marks of `kmsim.jit` in a process that compiles nothing: each leaves the function as it is written."""

from collections.abc import Callable
from functools import wraps
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


def only_with(
    field: str, otherwise: Any = None, *, inlined: bool = False
) -> Callable[[Callable[P, R]], Callable[P, R]]:
    """The function where what it is handed first has that field, not None; elsewhere a call comes to `otherwise`."""

    assert inlined is not None

    def decorate(function: Callable[P, R]) -> Callable[P, R]:
        @wraps(function)
        def called(*args: P.args, **kwargs: P.kwargs) -> Any:
            return function(*args, **kwargs) if getattr(args[0], field) is not None else otherwise

        return called

    return decorate


def prefetch(array: Any, index: int) -> None:
    """Nothing: only compiled code waits for memory."""
