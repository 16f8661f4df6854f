"""Two recordings against each other: the rows in which they differ, and which policies each of them shows.

A row is a list of plain values, a single value outside of such a list, or a line of a text of /proc. Rows are compared
by their names, in the order of the recordings. `consts` are compared too, so another release or size is said.

Which policies a recording shows is asked of the replay that `kmsim validate` does: by the row of each release that is
built in, and by the row of the recording's own release with one policy as another release has it (`mm.kernels`). A
policy of which no section depends leaves as many rows equal as without it.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import Any, NamedTuple

from kmsim.mm.kernels import KERNELS, NEWEST, Kernel, series_of
from kmsim.procfs.recorded import Recording
from kmsim.validate.files import sections_of, unsupported

NOT_POLICIES = ("series",)  # fields of a release's row that only name it
Row = tuple[str, Any]
NOTHING = ()  # in place of a row that one of them does not have; no JSON value equals a tuple


class Difference(NamedTuple):
    """One section of two recordings: how many rows, how many of these differ, and the first that does.

    A section that only one of them has differs in all its rows.
    """

    section: str
    rows: int
    differing: int
    first: str


class Agreement(NamedTuple):
    """How far the replay of a recording by some policies agrees with it."""

    policies: str
    rows: int
    equal: int


def differences(a: Recording, b: Recording) -> list[Difference]:
    """Every section of either recording, those of `lab` first, in the order of the first recording."""
    found = []
    for kind in ("lab", "files"):
        ours, theirs = getattr(a, kind), getattr(b, kind)
        found += [_difference(name, ours, theirs) for name in {**ours, **theirs}]
    return found


def _difference(name: str, ours: dict[str, Any], theirs: dict[str, Any]) -> Difference:
    left, right = (dict(rows_of(side[name])) if name in side else {} for side in (ours, theirs))
    names = list({**left, **right})
    differing = [row for row in names if left.get(row, NOTHING) != right.get(row, NOTHING)]
    first = _said(differing[0], left, right) if differing else ""
    if name not in ours or name not in theirs:
        first = f"only the {'second' if name in theirs else 'first'} recording has it"
    return Difference(name, len(names), len(differing), first)


def rows_of(value: Any, name: str = "") -> Iterator[Row]:
    """The rows of a section by their names, `log[3]`; a text's by the number of their line."""
    if isinstance(value, dict):
        for key, part in value.items():
            yield from rows_of(part, f"{name}.{key}" if name else str(key))
    elif isinstance(value, list) and any(isinstance(part, dict | list) for part in value):
        for number, part in enumerate(value):
            yield from rows_of(part, f"{name}[{number}]")
    elif isinstance(value, str) and "\n" in value:
        for number, line in enumerate(value.splitlines(), 1):
            yield f"{name} line {number}".strip(), line
    else:
        yield name, value


def _said(row: str, left: dict[str, Any], right: dict[str, Any]) -> str:
    """A row that differs, for a person."""
    values = [str(side[row]) if row in side else "nothing" for side in (left, right)]
    ours, theirs = (value if len(value) <= 60 else f"{value[:60]} ..." for value in values)
    return f"{row}: {ours}, and {theirs}".removeprefix(": ")


def agreements(recording: Recording) -> list[Agreement]:
    """How far each choice of policies agrees, the recording's own release first; empty where no section is replayed."""
    if unsupported(recording):
        return []
    own = series_of(recording.release)
    found = [_agreement(f"Linux {own}", recording)]
    for series in KERNELS:
        if series != own:
            consts = recording.consts | {"release": series}
            found.append(_agreement(f"Linux {series}", replace(recording, consts=consts)))
    for field, value, of in other_policies(recording.kernel):
        row = recording.kernel._replace(**{field: value})
        found.append(_agreement(f"Linux {own}, {field} as Linux {of}", replace(recording, row=row)))
    return found if found[0].rows else []


def other_policies(row: Kernel) -> Iterator[tuple[str, Any, str]]:
    """Each policy that another release has otherwise: its field, that value, and the releases that have it."""
    for field in NEWEST._fields:
        if field in NOT_POLICIES:
            continue
        others: dict[Any, list[str]] = {}
        for series, kernel in KERNELS.items():
            if getattr(kernel, field) != getattr(row, field):
                others.setdefault(getattr(kernel, field), []).append(series)
        for value, names in others.items():
            yield field, value, ", ".join(names)


def _agreement(policies: str, recording: Recording) -> Agreement:
    try:
        sections = list(sections_of(recording))
    except AssertionError:  # a state that these policies never come to: the recording is of others
        return Agreement(policies, 1, 0)
    return Agreement(policies, sum(section.rows for section in sections), sum(section.equal for section in sections))
