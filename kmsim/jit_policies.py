"""Policies from other files: functions that compiled code calls in place of the package's, machine by machine.

What a policy is, `kmsim.mm.kernels` says. Its verbs are marked `verb`, over `core` or `small`. Compiled code
that calls a verb calls the function of that name in the file that the machine has in place of the policy's
own file, if it has one. The choice is made when the call is compiled: the type of `Machine.policies` says
which sources there are (None: the package's alone), so it costs nothing when the code runs, machines with
and without such files live side by side in one process, and what numba keeps on disk for one is never loaded
for the other. Runs, replays and tests of one machine call the same functions.

What a source shows to be wrong is found before anything of it runs (`kmsim.jit_policy_source`). In compiled code,
each index of a machine with such files is looked at (`kmsim.jit_inner`), so that a wrong one is an error and no
crash. A file runs as part of kmsim, with all that this allows it.
"""

from __future__ import annotations

import inspect
import sys
import traceback
from collections.abc import Callable, Mapping, Sequence
from functools import update_wrapper
from importlib import import_module
from importlib.util import module_from_spec, spec_from_loader
from pathlib import Path
from types import ModuleType
from typing import Any, ParamSpec, TypeVar, cast

from kmsim.input_file import InputFileError, read_input
from kmsim.jit_mode import is_compiled
from kmsim.jit_policy_source import BYTES_MAX, OUTSIDE, Mistake, digest, mistakes

P = ParamSpec("P")
R = TypeVar("R")
Function = Callable[..., Any]

_HOME = "kmsim.mm."
_verbs: dict[str, dict[str, Function]] = {}  # of each module that has some
loaded: list[Policies] = []  # all that this process runs
_functions: dict[str, dict[tuple[str, str], Function]] = {}  # by the name of `Policies`, by policy and verb


class PolicyError(ValueError):
    """The file cannot stand in place of the policy: everything that is wrong, a line each."""

    def __init__(self, file: Path, found: Sequence[Mistake]) -> None:
        self.file, self.mistakes = file, tuple(found)
        super().__init__("\n".join(mistake.said(str(file)) for mistake in found))


class Policies:
    """The files in place of the package's policies, read once; two of the same sources are one and the same."""

    def __init__(self, files: Mapping[str, Path], hashes: Mapping[str, str] | None = None) -> None:
        """Read the files, by the policy's name; PolicyError where one cannot take its place.

        Where `hashes` are given, of all sources, a file must have the source of its hash.
        """
        known = _known_policies()
        sources = {policy: read_policy(policy, file, known) for policy, file in sorted(files.items())}
        found = {policy: digest(source) for policy, source in sources.items()}
        for policy, wanted in (hashes or {}).items():
            if found[policy] != wanted:
                must = f"be the file with the SHA-256 {wanted[:16]}..., with which this was made"
                raise PolicyError(files[policy], [Mistake(1, "", must, f"{found[policy][:16]}...")])
        self.files, self.sources = dict(files), sources
        self.modules = {policy: f"{OUTSIDE}{policy}_{digits[:16]}" for policy, digits in found.items()}
        loaded.append(self)
        self.name = ", ".join(f"{policy}={digits[:16]}" for policy, digits in found.items())
        if self.name in _functions:
            return
        functions: dict[tuple[str, str], Function] = {}
        for policy, source in sources.items():
            module = _run(self.modules[policy], files[policy], source)
            for name in _verbs[_HOME + policy]:
                functions[policy, name] = _function(module, files[policy], name)
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


def read_policy(policy: str, file: Path, known: Sequence[str]) -> bytes:
    """The source of a file in place of a policy; PolicyError where that shows that it cannot be."""
    if policy not in known:
        raise PolicyError(file, [Mistake(1, "", f"be in place of one of {', '.join(known)}", policy)])
    try:
        source = read_input(file, BYTES_MAX)
    except InputFileError as error:
        raise PolicyError(file, [Mistake(1, "", error.must, error.strerror or "")]) from None
    found = mistakes(policy, source)
    if found:
        raise PolicyError(file, found)
    return source


def _run(name: str, file: Path, source: bytes) -> ModuleType:
    """The module of a source, where numba finds it again when it loads from disk what it has compiled.

    Its code calls its file by the module's name, which is of the source alone: what is loaded from disk may have been
    compiled of the same source in another folder, and names a line in its errors all the same.
    """
    spec = spec_from_loader(name, loader=None, origin=str(file))
    assert spec is not None
    module = module_from_spec(spec)
    module.__file__ = str(file)
    sys.modules[name] = module
    try:
        exec(compile(source, name, "exec", dont_inherit=True), module.__dict__)
    except (Exception, SystemExit) as error:  # whatever a user's file does
        del sys.modules[name]
        found = f"{type(error).__name__}: {error}"
        raise PolicyError(file, [Mistake(_line_in(name, error), "", "run as Python", found)]) from error
    return module


def _line_in(name: str, error: BaseException) -> int:
    """The last line of a module through which an error went; 1 where it went through none."""
    lines = [frame.lineno for frame in traceback.extract_tb(error.__traceback__) if frame.filename == name]
    return (lines and lines[-1]) or 1


def _function(module: ModuleType, file: Path, name: str) -> Function:
    """The module's function of that name, as it was before it was compiled."""
    found = inspect.unwrap(getattr(module, name, None))  # type: ignore[arg-type]
    if not inspect.isfunction(found):
        raise PolicyError(file, [Mistake(1, name, "be a function", type(found).__name__)])
    return found


if is_compiled():
    from kmsim.jit_verbs import register

    register(Policies)
