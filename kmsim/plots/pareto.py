"""Two responses against each other: what one costs in the other, a mark for each point.

A mark is the mean over runs with 95 % confidence intervals both ways. The line joins the points that no other
beats in both, where less is better (of free memory and the like, more); those are labelled by the axes that
colour and panel do not tell, where there is room. The data beside the figure have all labels.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
import pandas as pd
from matplotlib.transforms import Bbox

from kmsim.config.responses import MEASURES
from kmsim.plots.drawn import Drawn
from kmsim.plots.extremes import place
from kmsim.plots.lettering import LEVEL_MAX, plain, shown_unit, text_size, with_unit
from kmsim.plots.responses import asked, behind, estimates_of, said, words_of
from kmsim.plots.roles import Roles, dropped_notes, entries, roles_of
from kmsim.plots.sheet import Sheet, finish, label_axes, new_sheet, say_nothing
from kmsim.plots.style import MARKERS, numbers, shade

LABEL_MAX = 22
LABEL_POINTS = 6
FRONT_NAMED_MAX = 4  # points, in the answer
ALL_LABELLED_MAX = 12  # marks; of more, the front only
MARKS_MAX = 4_000
BARS_MAX = 200  # marks, from which on they are small and their intervals are left out
# Where a label may stand, in turn: to the right, left, above, below, and further out.
PLACES = [
    (across * far, up * far)
    for far in (1, 2, 3.2)
    for across, up in ((1, 1), (1, -1), (-1, 1), (-1, -1), (1.2, 0), (-1.2, 0), (0, 1.4), (0, -1.4))
]


class _Label(NamedTuple):
    axes: Any
    x: float
    y: float
    text: str


def pareto(result: Any, config: Any) -> Drawn:
    """`config.y` against `config.x`, two responses (none: the first and the second)."""
    first = asked(result, config.x)
    others = [response for response in result.responses_config if response.name != first.name]
    second = asked(result, config.y or (others[0].name if others else first.name))
    both = _both(result, first.name, second.name)
    roles, told = _roles(result, config, both)
    titles = roles.panel_titles()
    sheet = new_sheet(
        config.title or f"{words_of(second)} against {words_of(first)}", said(config, "size"), titles, panel_inches=2.6
    )
    if roles.rows.empty:
        say_nothing(sheet, f"no run yields both {first.name} and {second.name}")
        finish(sheet, [*roles.notes, "n = 0 runs"])
        return Drawn(sheet.figure, roles.rows)
    units = [shown_unit(r.unit, roles.rows[f"{way}_mean"]) for r, way in ((first, "x"), (second, "y"))]
    worse = _worse(first), _worse(second)
    drawn: list[pd.DataFrame] = []
    labels: list[_Label] = []
    marks: list[_Label] = []
    by_panel: dict[int, list[pd.DataFrame]] = {}
    for (panel, hue), part in roles.groups("panels", "hue"):
        of_hue = roles.labelled(_data(part, told, units), ("hue",), (hue,)).assign(hue=hue)
        by_panel.setdefault(panel, []).append(of_hue)
    answers: list[pd.DataFrame] = []
    for panel, parts in by_panel.items():
        of_panel = _with_front(pd.concat(parts), worse)
        judged = of_panel.assign(is_beaten=_beaten(of_panel, worse)).drop(columns="hue")
        answers.append(roles.labelled(judged, ("panels",), (panel,)))
        data = _thinned(of_panel, roles.notes)
        _draw(sheet.panels[panel], roles, data)
        labelled = data if len(data) <= ALL_LABELLED_MAX else data[data["front"]]
        axes = sheet.panels[panel]
        rows = labelled.to_dict("records")
        marks += [_Label(axes, x, y, "") for x, y in zip(data["x"], data["y"], strict=True)]
        labels += [_Label(axes, row["x"], row["y"], text) for row in rows if (text := _text(told, row))]
        drawn.append(roles.labelled(data.drop(columns="hue"), ("panels",), (panel,)))
    whole = pd.concat(drawn, ignore_index=True)
    _scales(sheet, config)
    label_axes(sheet, with_unit(words_of(first), units[0][0]), with_unit(words_of(second), units[1][0]))
    has_bars = len(whole) <= BARS_MAX and whole["x_low"].notna().any()
    sides = zip(worse, (("left", "right"), ("down", "up")), strict=True)
    better = " and ".join(less if sign > 0 else more for sign, (less, more) in sides)
    notes = [f"mean{' with 95 % CI' if has_bars else ''}, {behind(roles.rows)} per mark"]
    notes.append(f"line: those that none beats in both ({better} is better)")
    if told and labels:
        notes.append("labels, where there is room: " + ", ".join(plain(title) for title in told.values()))
    notes += [*roles.notes, *dropped_notes(result, roles)]
    hue_axis = roles.of["hue"]
    places = [axis.name for axis in (roles.of["panels"], hue_axis) if axis is not None]
    answer = _answer(pd.concat(answers, ignore_index=True), [*places, *told])
    finish(sheet, notes, entries(hue_axis, _entry_look), plain(hue_axis.title) if hue_axis else "", answer=answer)
    _write(sheet, labels, marks)
    return Drawn(sheet.figure, whole.assign(x_unit=units[0][0], y_unit=units[1][0]))


def _both(result: Any, x: str, y: str) -> pd.DataFrame:
    """A row for each point that has both responses."""
    outcomes = ["mean", "ci_low", "ci_high"]
    rows = estimates_of(result, x).rename(columns={name: f"x_{name}" for name in outcomes})
    of_y = estimates_of(result, y)[["point", *outcomes]].rename(columns={name: f"y_{name}" for name in outcomes})
    both = rows.merge(of_y, on="point")
    return both[both["x_mean"].notna() & both["y_mean"].notna()]


def _roles(result: Any, config: Any, both: pd.DataFrame) -> tuple[Roles, dict[str, str]]:
    """Hue and panels as the config says, one hue otherwise; all other axes are told by labels: name and title."""
    hue = config.hue or next((axis.name for axis in result.axes if 1 < len(axis.levels) <= len(MARKERS)), None)
    wanted = [role for role, name in (("hue", hue), ("panels", config.panels)) if name]
    roles = roles_of(result, both, config.model_copy(update={"hue": hue}), tuple(wanted), rest_held=False)
    told = {axis.name: axis.title for axis in roles.rest}
    return roles, told


def _data(part: pd.DataFrame, told: dict[str, str], units: list[tuple[str, float]]) -> pd.DataFrame:
    """Some marks, in the units that are shown."""
    data = part[["point", *told, "n"]].copy()
    for way, (_, one) in zip("xy", units, strict=True):
        for name, short in (("mean", way), ("ci_low", f"{way}_low"), ("ci_high", f"{way}_high")):
            data[short] = part[f"{way}_{name}"] / one
    return data


def _with_front(data: pd.DataFrame, worse: tuple[int, int]) -> pd.DataFrame:
    """The marks of a panel from the best x on, and which of them no other beats in both; `worse`: 1 is more."""
    x, y = worse[0] * data["x"], worse[1] * data["y"]
    order = np.lexsort((y, x))
    data, y = data.iloc[order].reset_index(drop=True), y.iloc[order].reset_index(drop=True)
    before = y.cummin().shift(fill_value=np.inf)
    return data.assign(front=y < before)


def _beaten(data: pd.DataFrame, worse: tuple[int, int]) -> Any:
    """Of each mark of a panel: is there another one whose intervals are wholly better in both?"""
    ends = {}
    for way, sign in zip("xy", worse, strict=True):
        low, high = (data[f"{way}_{end}"].fillna(data[way]) for end in ("low", "high"))
        best, worst = (low, high) if sign > 0 else (-high, -low)
        ends[way] = (best.to_numpy(), worst.to_numpy())
    (best_x, worst_x), (best_y, worst_y) = ends["x"], ends["y"]
    order = np.argsort(worst_x, kind="stable")
    least_y = np.minimum.accumulate(worst_y[order])
    nr_better = np.searchsorted(worst_x[order], best_x, side="left")
    return (nr_better > 0) & (least_y[np.maximum(nr_better - 1, 0)] < best_y)


def _answer(data: pd.DataFrame, axes: list[str]) -> str:
    """Which points none beats in both, and how many more are not shown to be beaten."""
    front = data[data["front"]]
    named = "; ".join(place(row, axes) for _, row in front.head(FRONT_NAMED_MAX).iterrows())
    more = "; ..." if len(front) > FRONT_NAMED_MAX else ""
    are = f"{len(front):,} of {len(data):,} {'is' if len(front) == 1 else 'are'}"
    by_means = f"By their means, {are} beaten by none in both: {named}{more}"
    if data[["x_low", "y_low"]].isna().all(axis=None):
        return f"{by_means}; without intervals, other seeds may differ."
    open_ones = int((~data["front"] & ~data["is_beaten"]).sum())
    also = f"; {open_ones:,} more {'is' if open_ones == 1 else 'are'} not told apart from these by the intervals"
    return f"{by_means}{also if open_ones else ''}."


def _worse(response: Any) -> int:
    """1 where more of a response is worse, or nobody says, and -1 where less is."""
    measure = MEASURES.get(response.measure)
    return -1 if measure is not None and measure.worse == "lower" else 1


def _thinned(data: pd.DataFrame, notes: list[str]) -> pd.DataFrame:
    """All of the front, and no more of the others than can be seen."""
    if len(data) <= MARKS_MAX:
        return data
    step = -(-len(data) // MARKS_MAX)
    note = f"every {step}th of {len(data):,} points, and all of the front"
    notes += [] if note in notes else [note]
    return data[data["front"] | (np.arange(len(data)) % step == 0)].reset_index(drop=True)


def _draw(axes: Any, roles: Roles, data: pd.DataFrame) -> None:
    """The marks of one panel, their intervals and the front."""
    front = data[data["front"]]
    axes.step(front["x"], front["y"], where="post", color="0.55", linewidth=0.9, zorder=1)
    nr_hues = len(roles.levels("hue"))
    for hue, part in data.groupby("hue"):
        colour = shade(int(hue), nr_hues)
        if len(data) <= BARS_MAX:
            for way in "xy":
                ends = [part[way] - part[f"{way}_low"], part[f"{way}_high"] - part[way]]
                reach = {f"{way}err": np.nan_to_num(np.maximum(ends, 0))}
                axes.errorbar(part["x"], part["y"], **reach, fmt="none", ecolor=colour, lw=0.7, zorder=2)
        look = {"mec": "w", "mew": 0.4} if len(data) <= BARS_MAX else {"ms": 1.5, "mew": 0}
        axes.plot(part["x"], part["y"], MARKERS[int(hue) % len(MARKERS)], color=colour, zorder=3, **look)


def _text(told: dict[str, str], row: dict[str, Any]) -> str:
    """What a mark's label says."""
    return plain(", ".join(plain(row[name], LEVEL_MAX) for name in told), LABEL_MAX)


def _scales(sheet: Sheet, config: Any) -> None:
    """Linear unless the config says otherwise, with a margin for labels."""
    for way, scale in (("x", said(config, "x_scale")), ("y", said(config, "y_scale"))):
        for axes in sheet.panels:
            axis = axes.xaxis if way == "x" else axes.yaxis
            if scale == "log":
                (axes.set_xscale if way == "x" else axes.set_yscale)("log")
            numbers(axis, scale or "linear")
    for axes in sheet.panels:
        axes.margins(0.12)


def _entry_look(i: int, n: int) -> dict[str, Any]:
    """What a legend shows of the i-th of n colours."""
    return {"marker": MARKERS[i % len(MARKERS)], "color": shade(i, n), "linestyle": "none", "mec": "w", "mew": 0.4}


def _write(sheet: Sheet, labels: list[_Label], marks: list[_Label]) -> None:
    """Write each label beside its mark where it covers no mark and no other label; leave out the rest."""
    dpi = sheet.figure.dpi
    taken: list[Any] = []
    dots = np.array([mark.axes.transData.transform((mark.x, mark.y)) for mark in marks])
    for label in labels:
        across, up = label.axes.transData.transform((label.x, label.y))
        width, height = (inches * dpi for inches in text_size(sheet.figure, label.text, LABEL_POINTS))
        inside = label.axes.get_window_extent()
        for right, above in PLACES:
            x = across + right * 0.05 * dpi - (width if right < 0 else width / 2 if right == 0 else 0)
            y = up + above * 0.05 * dpi - height / 2
            box = Bbox.from_bounds(x, y, width, height)
            room = box.padded(0.02 * dpi)
            covers = ((dots > (room.x0, room.y0)) & (dots < (room.x1, room.y1))).all(axis=1).any()
            is_in = inside.x0 < x and x + width < inside.x1 and inside.y0 < y < inside.y1 - height
            if is_in and not covers and not any(box.overlaps(other) for other in taken):
                taken.append(box)
                at = label.axes.transData.inverted().transform((x, y + height / 2))
                label.axes.text(*at, label.text, size=LABEL_POINTS, va="center", ha="left", zorder=4)
                break
