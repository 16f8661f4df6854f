"""Policies from other files: functions that compiled code calls in place of the package's, machine by machine.

What a policy is, `kmsim.mm.kernels` says. Its verbs are marked `verb`, over `core` or `small`. Compiled code
that calls a verb calls the function of that name in the file that the machine has in place of the policy's
own file, if it has one. The choice is made when the call is compiled: the type of `Machine.policies` says
which sources there are (None: the package's alone), so it costs nothing when the code runs, machines with
and without such files live side by side in one process, and what numba keeps on disk for one is never loaded
for the other. Runs, replays and tests of one machine call the same functions.

Leaves out what such a file itself imports: only its own source tells one from another. A file runs as part of
kmsim, with all that this allows it.
"""

from __future__ import annotations

import hashlib
import inspect
import sys
from collections.abc import Callable, Mapping
from functools import update_wrapper
from importlib import import_module
from importlib.util import module_from_spec, spec_from_loader
from pathlib import Path
from types import ModuleType
from typing import Any, ParamSpec, TypeVar, cast

from kmsim.jit_mode import is_compiled

P = ParamSpec("P")
R = TypeVar("R")
Function = Callable[..., Any]

_HOME = "kmsim.mm."
_verbs: dict[str, dict[str, Function]] = {}  # of each module that has some
_functions: dict[str, dict[tuple[str, str], Function]] = {}  # by the name of `Policies`, by policy and verb


class PolicyError(ValueError):
    """The file cannot stand in place of the policy; one line."""


class Policies:
    """The files in place of the package's policies, read once; two of the same sources are one and the same."""

    def __init__(self, files: Mapping[str, Path]) -> None:
        """Read the files, by the policy's name; PolicyError where one cannot take its place."""
        known = _known_policies()
        sources = {policy: _read(policy, file, known) for policy, file in sorted(files.items())}
        hashes = {policy: hashlib.sha256(source).hexdigest()[:16] for policy, source in sources.items()}
        self.name = ", ".join(f"{policy}={digest}" for policy, digest in hashes.items())
        if self.name in _functions:
            return
        functions: dict[tuple[str, str], Function] = {}
        for policy, source in sources.items():
            module = _run(f"kmsim_policy_{policy}_{hashes[policy]}", files[policy], source)
            for name, own in _verbs[_HOME + policy].items():
                functions[policy, name] = _function(module, files[policy], name, own)
        _functions[self.name] = functions

    def find(self, policy: str, name: str) -> Function | None:
        """The function in place of a policy's verb; None where it is the package's own."""
        return _functions[self.name].get((policy, name))


def verbs_of(policy: str) -> tuple[str, ...]:
    """The verbs of a policy of the package, by name; none where it is no policy, or was not imported."""
    return tuple(_verbs.get(_HOME + policy, ()))


def verb(function: Callable[P, R]) -> Callable[P, R]:
    """Mark a compiled function of a policy's file as one that another file may give in its place.

    Its first parameter is the machine. The number of its parameters is what such a file has to keep.
    """
    own = cast(Function, inspect.unwrap(function))
    policy = own.__module__.removeprefix(_HOME)
    _verbs.setdefault(own.__module__, {})[own.__name__] = own
    if is_compiled():
        from kmsim.jit_verbs import choose_when_compiled

        choose_when_compiled(function, own, lambda name: _functions[name].get((policy, own.__name__)))
        return cast(Callable[P, R], own)

    def plain(m: Any, *args: Any) -> Any:
        other = m.policies.find(policy, own.__name__) if m.policies else None
        return (other or own)(m, *args)

    return cast(Callable[P, R], update_wrapper(plain, own))


def _known_policies() -> tuple[str, ...]:
    """The package's policies; their files are imported, whoever asks first: that marks their verbs."""
    names: tuple[str, ...] = import_module(f"{_HOME}kernels").POLICIES
    for name in names:
        import_module(_HOME + name)
    return names


def _read(policy: str, file: Path, known: tuple[str, ...]) -> bytes:
    if policy not in known:
        raise PolicyError(f"{file}: must be in place of one of {', '.join(known)}, found {policy}")
    try:
        return file.read_bytes()
    except OSError as error:
        raise PolicyError(f"{file}: must be a file that can be read, found {error.strerror}") from None


def _run(name: str, file: Path, source: bytes) -> ModuleType:
    """The module of a source, where numba finds it again when it loads from disk what it has compiled."""
    spec = spec_from_loader(name, loader=None, origin=str(file))
    assert spec is not None
    module = module_from_spec(spec)
    module.__file__ = str(file)
    sys.modules[name] = module
    try:
        exec(compile(source, str(file), "exec"), module.__dict__)
    except Exception as error:  # whatever a user's file does
        del sys.modules[name]
        raise PolicyError(f"{file}: must run as Python, found {type(error).__name__}: {error}") from error
    return module


def _function(module: ModuleType, file: Path, name: str, like: Function) -> Function:
    """The module's function of that name, as it was before it was compiled."""
    found = inspect.unwrap(getattr(module, name, None))  # type: ignore[arg-type]
    if not inspect.isfunction(found):
        raise PolicyError(f"{file}: must have a function {name}")
    wanted, got = (len(inspect.signature(function).parameters) for function in (like, found))
    if wanted != got:
        raise PolicyError(f"{file}: {name}: must have {wanted} parameters, found {got}")
    return found


if is_compiled():
    from kmsim.jit_verbs import register

    register(Policies)
