"""What went wrong in a policy's file, in one line with the file's line: whether it was compiled then, or run.

An error that is raised when compiled code runs has the line in its traceback, as in plain Python. The compiler says
in its message which line it was about, or only has it at hand in the frames that the error went through. Where no
line of a file is found, the file's first stands for it: then it was in the package, to which the file has given
something that cannot be, and the message says where.
"""

from __future__ import annotations

import os
import re
import traceback
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

from kmsim.jit_policies import Policies, loaded
from kmsim.jit_policy_source import Mistake

WORDS_MAX = 240  # characters of what the compiler says
_AT = re.compile(r'File "([^"]+)", line (\d+)|at (\S+) \((\d+)\)')
_HEADS = ("Failed in nopython mode pipeline", "During:", "Rejected as", "- Of which", "Overload in", "There are")
_STATE = re.compile(r"Reference\((\w+)\(.*\)\)")


class Blamed(NamedTuple):
    """A policy's file, and what is wrong with it."""

    file: Path
    mistake: Mistake


def blamed(policies: Policies, error: Exception, when: str = "") -> Blamed:
    """Which of the files an error is of, and what is to be said of it; `when`: at what time of the run."""
    file_of = {name: policies.files[policy] for policy, name in policies.modules.items()}
    places = [(os.path.basename(name), line) for name, line in _places(error) if os.path.basename(name) in file_of]
    file, line = next(iter(file_of.values())), 1
    if places:
        name, line = places[-1]
        file = file_of[name]
    must = "leave memory whole" if isinstance(error, AssertionError) else "run without an error"
    return Blamed(file, Mistake(line, "", must, _words(error, bool(places), when)))


def mistake_of_any(error: Exception) -> str:
    """What is to be said of an error that went through a line of any file that this process runs; else nothing."""
    names = {os.path.basename(name) for name, _ in _places(error)}
    for policies in loaded:
        if names.intersection(policies.modules.values()):
            found = blamed(policies, error)
            return found.mistake.said(str(found.file))
    return ""


def _places(error: BaseException) -> Iterator[tuple[str, int]]:
    """The files and lines that an error names, those that are meant most likely last; a policy's by its module's name.

    SimPy raises a copy of an error, by which it comes after the error itself.
    """
    if error.__cause__ is not None:
        yield from _places(error.__cause__)
    for match in reversed(list(_AT.finditer(str(error)))):
        yield match[1] or match[3], int(match[2] or match[4])
    frames = list(traceback.walk_tb(error.__traceback__))
    for frame, _ in frames:
        for value in frame.f_locals.copy().values():
            loc: Any = getattr(value, "loc", None) if type(value).__module__.startswith("numba.") else None
            if isinstance(getattr(loc, "line", None), int):
                yield str(loc.filename), loc.line
    yield from ((frame.f_code.co_filename, line) for frame, line in frames)


def _words(error: Exception, is_found: bool, when: str) -> str:
    """What is found: the error in a line, where no line of the file is known the package's, and when it was."""
    where = "" if is_found else _in_package(error)
    more = ", ".join(filter(None, [where, when]))
    text = f"{type(error).__name__}: {_said(error)}"
    return f"{text} ({more})" if more else text


def _in_package(error: Exception) -> str:
    package = Path(__file__).parent
    inside = [(Path(name), line) for name, line in _places(error) if Path(name).is_relative_to(package / "mm")]
    return f"kmsim/{inside[-1][0].relative_to(package)}:{inside[-1][1]}" if inside else ""


def _said(error: Exception) -> str:
    """What the error says, without what the compiler says around it."""
    if isinstance(error, KeyError):
        return f"no field {error}"
    text = str(error)
    _, _, inner = text.partition("raised a specific error:")
    lines = (
        _STATE.sub(r"\1", re.sub(r"^\s*\w+(Error|Exception): ", "", line)).strip()
        for line in (inner or text).splitlines()
    )
    first = next((line for line in lines if line and not line.startswith(_HEADS)), text.splitlines()[0] if text else "")
    return first if len(first) <= WORDS_MAX else f"{first[:WORDS_MAX]}..."
