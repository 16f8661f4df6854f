"""A pasted series of one file, such as a buddyinfo a minute, and which moment of it is meant.

A moment ends where a zone comes for the second time. Lines that only say when, prompts, and prefixes of a log become
empty or are cut, so that every line keeps its number; any other line is left for the reader to refuse.
"""

import re
from typing import NamedTuple

from kmsim.procfs.text import pasted
from kmsim.survey.texts import SurveyError, Text

_PREFIX = re.compile(
    r"^(?:<\d+>)?(?:\[ *\d+\.\d+\]|[A-Z][a-z]{2} +\d+ \d\d:\d\d:\d\d \S+ [\w.-]+(?:\[\d+\])?:"
    r"|\d{4}-\d\d-\d\d[T ]\S+ \S+ [\w.-]+(?:\[\d+\])?:) *(?:\[ *\d+\.\d+\] ?)?"
)
_WHEN = re.compile(
    r"^(?:zzz )?[#=*\[ -]*(?:[A-Z][a-z]{2},? (?:[A-Z][a-z]{2} +\d+|\d+ [A-Z][a-z]{2})\b.*\d\d:\d\d|\d{4}-\d\d-\d\d\b|"
    r"\d\d:\d\d(?::\d\d)?\b|\d{9,10}(?:\.\d+)?$|[-=*#]+$|==> .* <==$)"
)
_ROW = re.compile(r"Node +(\d+), zone +(\w+)(?:, type +(\w+))?")


class Moment(NamedTuple):
    """One moment of a series: what it says of when it was, and its lines at their numbers."""

    when: str
    content: str


def moments_of(content: str, *, starts_with_row: bool = False) -> list[Moment]:
    """The moments of a text; `starts_with_row`: a moment's first line names a zone, and others follow it."""
    lines = [_PREFIX.sub("", line) for line in pasted(content).split("\n")]
    starts, whens = [0], [""]
    seen: set[tuple[str, ...]] = set()
    after_row, when = 0, ""
    for number, line in enumerate(lines):
        if _WHEN.match(line):
            when, lines[number] = line.strip(" #=*-"), ""
            continue
        row = _ROW.match(line)
        if row is None:
            continue
        key = tuple(group or "" for group in row.groups())
        if key in seen:
            starts.append(number if starts_with_row else after_row)
            whens.append(when)
            seen.clear()
        elif not seen and len(starts) == 1:
            whens[0] = when
        seen.add(key)
        after_row = number + 1
    ends = [*starts[1:], len(lines)]
    return [
        Moment(said, "\n" * start + "\n".join(lines[start:end]) + "\n")
        for start, end, said in zip(starts, ends, whens, strict=True)
    ]


def chosen(text: Text, moments: list[Moment], which: int | None, notes: list[str]) -> str:
    """The moment that is meant: the last, unless the user says which; a note where there are several."""
    if which is not None and not 1 <= which <= len(moments):
        raise SurveyError(text.path, f"have a moment {which}", f"{len(moments)} of {text.kind}")
    number = len(moments) if which is None else which
    moment = moments[number - 1]
    if len(moments) > 1:
        when = f" ({moment.when})" if moment.when else ""
        notes.append(f"{text.path}: moment {number} of {len(moments)}{when} is taken; --which takes another")
    return moment.content
