"""What each axis of a study does in a figure: it runs along x, is told by hue, has a panel a level, or is held at one.

Every axis of several levels has a role, so that no mark mixes points that differ in something unsaid: those that a
figure's config does not name take the roles that are free, and the rest are held at their first level, which a
note says. Levels that are too many to be told apart are thinned evenly, which a note says too.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Sequence
from typing import Any, NamedTuple

import numpy as np
import pandas as pd

from kmsim.config.matching import matches
from kmsim.plots.lettering import LEVEL_MAX, plain, shown_unit, with_unit
from kmsim.plots.style import entry
from kmsim.text import nr_of

HUES_MAX = 8
PANELS_MAX = 9
X_MAX = 400
TEXT_X_MAX = 24
LABELLED_MAX = 12  # levels that are all labelled
_DOTTED = re.compile(r"[\w.\[\]-]+\.[A-Za-z_][\w-]*")
MOST = {"hue": HUES_MAX, "panels": PANELS_MAX}
_WORDS = {"max_page_order": "largest block (order)", "pageblock_order": "pageblock (order)", "cpus": "CPUs"}
LOG_RATIO = 8.0  # between the largest and the least level of sizes and times, from which on their axis is logarithmic


class Shown(NamedTuple):
    """The levels of an axis that a figure shows."""

    name: str
    levels: tuple[str, ...]
    values: tuple[float, ...] | None
    unit: str
    title: str  # the name in words; of a dotted key, its last one

    @property
    def labels(self) -> list[str]:
        """The levels as they can be written."""
        return [plain(level, LEVEL_MAX) for level in self.levels]

    def kept(self, indices: Iterable[int]) -> Shown:
        """The same axis of fewer levels."""
        chosen = list(indices)
        values = None if self.values is None else tuple(self.values[k] for k in chosen)
        return self._replace(levels=tuple(self.levels[k] for k in chosen), values=values)


def axis_titles(axes: Sequence[Any]) -> dict[str, str]:
    """How figures name the axes: dotted keys by their last words, unless two of them end alike."""
    short = [", ".join(_last_word(key) for key in axis.name.split(", ")) for axis in axes]
    return {axis.name: title if short.count(title) == 1 else axis.name for axis, title in zip(axes, short, strict=True)}


def _shown(axes: Sequence[Any]) -> list[Shown]:
    titles = axis_titles(axes)
    return [Shown(axis.name, axis.levels, axis.values, axis.unit, in_words(titles[axis.name])) for axis in axes]


def in_words(title: str) -> str:
    """The name of an axis in words."""
    return ", ".join(_WORDS.get(name, name.replace("_", " ")) for name in title.split(", "))


def _last_word(key: str) -> str:
    return key.rpartition(".")[2] if _DOTTED.fullmatch(key) else key


class Roles(NamedTuple):
    """The rows that a figure shows, and what each axis does in it; a role that none has is None."""

    rows: pd.DataFrame
    of: dict[str, Shown | None]
    notes: list[str]
    rest: tuple[Shown, ...] = ()  # axes without a role that are not held at a level

    def indices(self, *roles: str) -> list[Any]:
        """For each of these roles, which level of its axis each row has (0 where none has the role)."""
        found = []
        for role in roles:
            axis = self.of[role]
            number = {} if axis is None else {name: k for k, name in enumerate(axis.levels)}
            column = np.zeros(len(self.rows), int) if axis is None else self.rows[axis.name].map(number).to_numpy(int)
            found.append(column)
        return found

    def groups(self, *roles: str) -> list[tuple[tuple[int, ...], pd.DataFrame]]:
        """The rows by the levels of these roles' axes: indices of levels, and rows."""
        if self.rows.empty:
            return []
        return [(tuple(map(int, key)), part) for key, part in self.rows.groupby(self.indices(*roles))]

    def levels(self, role: str) -> tuple[str, ...]:
        """The levels of a role's axis; one without a name where none has it."""
        axis = self.of[role]
        return ("",) if axis is None else axis.levels

    def panel_titles(self) -> list[str]:
        """What stands above each panel."""
        axis = self.of["panels"]
        return (
            [""] if axis is None else [f"{plain(axis.title, 24)}: {plain(level, LEVEL_MAX)}" for level in axis.levels]
        )

    def labelled(self, data: pd.DataFrame, roles: Sequence[str], key: tuple[int, ...]) -> pd.DataFrame:
        """Data with the labels of the levels in front, as columns named by their axes."""
        for role, k in reversed(list(zip(roles, key, strict=True))):
            axis = self.of[role]
            if axis is not None:
                data.insert(0, axis.name, axis.levels[k])
        return data


def roles_of(result: Any, rows: pd.DataFrame, config: Any, wanted: tuple[str, ...], *, rest_held: bool = True) -> Roles:
    """Give each axis a role of those that are wanted, in this order, and keep the rows that are shown.

    `rows` have a column for each axis; `config.where` holds some at levels.
    """
    notes: list[str] = []
    free: list[Shown] = []
    for axis in _shown(result.axes):
        rows, shown = _where(rows, axis, config.where.get(axis.name))
        if len(shown.levels) == 1 and len(axis.levels) > 1:
            notes.append(f"{plain(axis.title)}: {plain(shown.levels[0], LEVEL_MAX)}")
        elif len(shown.levels) > 1:
            free.append(shown)
    of: dict[str, Shown | None] = dict.fromkeys(("x", "y", "hue", "panels"))
    for role in wanted:
        of[role] = next((axis for axis in free if axis.name == getattr(config, role, None)), None)
        free = [axis for axis in free if axis is not of[role]]
    for role in wanted:
        if of[role] is None and free and not _is_held(result, config, role):
            of[role] = _best(free, role)
            free = [axis for axis in free if axis is not of[role]]
    for axis in free if rest_held else ():
        there = set(rows[axis.name])
        first = next((level for level in axis.levels if level in there), axis.levels[0])
        rows = rows[rows[axis.name] == first]
        notes.append(f"{plain(axis.title)}: {plain(first, LEVEL_MAX)} (one of {len(axis.levels):,} levels)")
    for role in wanted:
        axis_of_role = of[role]
        if axis_of_role is not None:
            of[role], rows = thinned(axis_of_role, _most(axis_of_role, role), rows, notes)
    return Roles(rows, of, notes, () if rest_held else tuple(free))


def _is_held(result: Any, config: Any, role: str) -> bool:
    """Does the config give this role to an axis that `where` holds at one level? Then the role stays empty."""
    return role != "x" and any(axis.name == getattr(config, role, None) for axis in result.axes)


def _where(rows: pd.DataFrame, axis: Shown, wanted: Any) -> tuple[pd.DataFrame, Shown]:
    """The rows whose level is wanted (labels, or bounds of numbers; None: all), and the levels that are left."""
    if wanted is None:
        return rows, axis
    chosen = (k for k, level in enumerate(axis.levels) if matches({axis.name: level}, {axis.name: wanted}))
    shown = axis.kept(chosen)
    return rows[rows[axis.name].isin(shown.levels)], shown


def _best(free: list[Shown], role: str) -> Shown:
    """Along x the numbers of which there are most; otherwise the axis of fewest levels."""
    if role == "x":
        return max(free, key=lambda axis: (axis.values is not None, len(axis.levels)))
    return min(free, key=lambda axis: len(axis.levels))


def _most(axis: Shown, role: str) -> int:
    """How many levels of an axis can be told apart in a role."""
    return MOST.get(role, X_MAX if axis.values is not None else TEXT_X_MAX)


def thinned(axis: Shown, most: int, rows: pd.DataFrame, notes: list[str]) -> tuple[Shown, pd.DataFrame]:
    """No more levels than `most`, evenly chosen, and their rows; a note says so."""
    nr_levels = len(axis.levels)
    if nr_levels <= most:
        return axis, rows
    fewer = axis.kept(np.unique(np.linspace(0, nr_levels - 1, most).round().astype(int)).tolist())
    notes.append(f"{len(fewer.levels)} of {nr_levels:,} levels of {plain(axis.title)} drawn")
    return fewer, rows[rows[axis.name].isin(fewer.levels)]


def entries(axis: Shown | None, look: Callable[[int, int], dict[str, Any]]) -> list[Any]:
    """What a legend says of the levels of an axis: `look` is that of the i-th of n."""
    if axis is None:
        return []
    return [entry(label, **look(k, len(axis.levels))) for k, label in enumerate(axis.labels)]


class Along(NamedTuple):
    """Where the levels of an axis stand on paper."""

    label: str
    positions: list[float]
    ticks: list[str] | None  # None: numbers as they come
    log: bool
    joined: bool  # numbers may be joined by lines, names may not


def along(axis: Shown | None, scale: str | None, alone: str) -> Along:
    """How an axis is laid out: numbers where they are (scale "linear" or "log", or as they need), names in a row."""
    if axis is None:
        return Along("", [0.0], [plain(alone, LEVEL_MAX)], False, False)
    if axis.values is None:
        return Along(plain(axis.title), [float(k) for k in range(len(axis.levels))], axis.labels, False, False)
    values = np.asarray(axis.values, float)
    ratio = values.max() / values.min() if values.min() > 0 else 0.0
    log = ratio > 0 and (scale == "log" or (not scale and ratio >= (LOG_RATIO if axis.unit else 4 * LOG_RATIO)))
    unit, one = shown_unit(axis.unit, values)
    positions = (values / one).tolist()
    if len(values) <= LABELLED_MAX:
        # A size's or a time's label says its unit.
        return Along(plain(axis.title), positions, axis.labels, bool(log), True)
    return Along(with_unit(axis.title, unit), positions, None, bool(log), True)


def dropped_of(result: Any, roles: Roles, *names: str) -> list[tuple[tuple[int, ...], str]]:
    """The dropped points among what is shown: indices of their levels in these roles, and the reason."""
    held = {axis.name: set(roles.rows[axis.name]) for axis in result.axes}
    shown = {axis.name: axis.levels for axis in roles.of.values() if axis is not None}
    held |= {name: set(levels) for name, levels in shown.items()}
    found = []
    for dropped in result.dropped:
        if all(dropped.labels[name] in levels for name, levels in held.items()):
            axes = [roles.of[name] for name in names]
            key = tuple(0 if axis is None else axis.levels.index(dropped.labels[axis.name]) for axis in axes)
            found.append((key, dropped.reason))
    return found


def dropped_notes(result: Any, roles: Roles) -> list[str]:
    """How many points among what is shown were dropped."""
    count = len(dropped_of(result, roles))
    return [f"{nr_of(count, 'point')} not run (see the report)"] if count else []
