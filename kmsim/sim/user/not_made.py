"""A call that was written without `yield from`, and what is said of it then.

Calls of a CPU are generators: nothing happens before `yield from` runs them. Here they say so, in one sentence: where
somebody uses the call as if it were memory, hands it to SimPy with `yield` alone, or drops it.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Generator, Iterator
from functools import wraps
from inspect import isgenerator
from typing import Any, TypeVar

Class = TypeVar("Class", bound=type)
_OF_GENERATORS = ("send", "throw", "close", "gi_frame", "__name__")  # what SimPy wants of a process


class CallNotMade:
    """A call that nobody has run yet; `yield from` does."""

    def __init__(self, generator: Generator[Any, Any, Any], name: str) -> None:
        self._generator = generator
        self._sentence = f"{name} has not been called yet: write `yield from cpu.{name}(...)`"
        self._is_begun = False

    def __iter__(self) -> Iterator[Any]:
        """Run it (yield from)."""
        self._is_begun = True
        return self._generator

    def __next__(self) -> Any:
        """Run it up to its first event (next)."""
        self._is_begun = True
        return next(self._generator)

    def __getattr__(self, attribute: str) -> Any:
        """A generator's own, for `env.process`; all else is of memory, which there is none."""
        self._is_begun = True  # or it is said here that it is not
        if attribute in _OF_GENERATORS:
            return getattr(self._generator, attribute)
        raise AttributeError(self._sentence)

    def __repr__(self) -> str:
        return self._sentence

    def __del__(self) -> None:
        if not self._is_begun:
            self._generator.close()
            warnings.warn(self._sentence, RuntimeWarning, stacklevel=2)


def says_what_is_not_made(cls: Class) -> Class:
    """The class, whose public calls say when they were not run."""
    for name in dir(cls):
        method = getattr(cls, name)
        if not name.startswith("_") and callable(method):
            setattr(cls, name, _saying(method))
    return cls


def _saying(method: Callable[..., Any]) -> Callable[..., Any]:
    @wraps(method)
    def call(*arguments: Any, **options: Any) -> Any:
        answer = method(*arguments, **options)
        return CallNotMade(answer, method.__name__) if isgenerator(answer) else answer

    return call
