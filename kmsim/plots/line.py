"""A response along an axis: a line for each level of a second, a panel for each of a third.

Each mark is a mean over runs with its 95 % confidence interval: bars where there are few, a band where there are
many. Names have no order, so their marks stand beside each other and are not joined.
"""

from __future__ import annotations

from functools import partial
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.ticker import NullLocator

from kmsim.plots.drawn import Drawn
from kmsim.plots.extremes import lowest_and_highest
from kmsim.plots.lettering import plain, shown_unit, with_unit
from kmsim.plots.responses import asked, behind, estimates_of, said, words_of
from kmsim.plots.roles import Along, Roles, along, dropped_notes, entries, roles_of
from kmsim.plots.sheet import Sheet, finish, label_axes, legible, means_axis, new_sheet, say_nothing
from kmsim.plots.style import line_look, numbers
from kmsim.units import format_size

BARS_MAX = 12  # above, a band
DODGE = 0.5  # of the room between names, taken by the marks of one
ROLES = ("x", "hue", "panels")


def line(result: Any, config: Any) -> Drawn:
    """A response's mean and 95 % CI along an axis; `config.y` names it (none: the first)."""
    response = asked(result, config.y)
    roles = roles_of(result, estimates_of(result, response.name), config, ROLES)
    x = along(roles.of["x"], said(config, "x_scale"), result.name)
    varied = roles.of["x"]
    question = f"{words_of(response)} by {varied.title}" if varied else words_of(response)
    titles = roles.panel_titles()
    sheet = new_sheet(config.title or question, said(config, "size"), titles, panel_inches=2.1)
    rows = roles.rows[roles.rows["mean"].notna()]
    if rows.empty:
        say_nothing(sheet, f"no run yields {response.name}")
        finish(sheet, [*roles.notes, "n = 0 runs"])
        return Drawn(sheet.figure, rows)
    unit, one = shown_unit(response.unit, rows[["mean", "ci_high"]])
    roles = roles._replace(rows=rows)
    data = _draw(sheet, roles, x, one)
    _label(sheet, x, _tick_labels(result, roles, x), with_unit(words_of(response), unit))
    scale_notes = means_axis(sheet, config.y_scale, data)
    method = ", ".join(sorted({m for m in rows["method"] if m}))
    interval = f"mean with 95 % CI ({method})" if rows["ci_low"].notna().any() else "mean; no CI of so few runs"
    notes = [
        interval,
        f"{behind(rows)} per point",
        *roles.notes,
        *scale_notes,
        *dropped_notes(result, roles),
    ]
    hue = roles.of["hue"]
    axes = [axis.name for axis in (roles.of["panels"], hue, roles.of["x"]) if axis is not None]
    answer = lowest_and_highest(rows, axes, unit, one)
    finish(sheet, notes, entries(hue, partial(_look, x)), plain(hue.title) if hue else "", answer=answer)
    return Drawn(sheet.figure, data.assign(response=response.name, unit=unit))


def _draw(sheet: Sheet, roles: Roles, x: Along, one: float) -> pd.DataFrame:
    """Draw every line; the data of all of them, in the unit that is shown."""
    nr_hues = len(roles.levels("hue"))
    axis = roles.of["x"]
    place = {} if axis is None else dict(zip(axis.levels, x.positions, strict=True))
    drawn = []
    for (panel, hue), part in roles.groups("panels", "hue"):
        at = part[axis.name].map(place).astype(float).to_numpy() if axis else np.zeros(len(part))
        beside = DODGE * ((hue + 0.5) / nr_hues - 0.5) if not x.joined else 0.0
        data = pd.DataFrame({"x": at + beside, "n": part["n"].to_numpy()})
        for name in ("mean", "ci_low", "ci_high"):
            data[name] = part[name].to_numpy(float) / one
        if axis is not None:
            data.insert(0, axis.name, part[axis.name].to_numpy())
        data = data.sort_values("x", kind="stable", ignore_index=True)
        _mark(sheet.panels[panel], data, _look(x, hue, nr_hues), x)
        drawn.append(roles.labelled(data, ("panels", "hue"), (panel, hue)))
    return pd.concat(drawn, ignore_index=True)


def _mark(axes: Any, data: pd.DataFrame, look: dict[str, Any], x: Along) -> None:
    """One line with its intervals."""
    few = len(x.positions) <= BARS_MAX
    axes.plot(data["x"], data["mean"], **look)
    both = data[data["ci_low"].notna() & data["ci_high"].notna()]
    if few:
        reach = [both["mean"] - both["ci_low"], both["ci_high"] - both["mean"]]
        axes.errorbar(
            both["x"], both["mean"], np.maximum(reach, 0), fmt="none", ecolor=look["color"], capsize=2, lw=0.8
        )
    else:
        axes.fill_between(both["x"], both["ci_low"], both["ci_high"], color=look["color"], alpha=0.25, lw=0)


def _tick_labels(result: Any, roles: Roles, x: Along) -> list[str] | None:
    """The levels' labels; of the largest order, the size of its block below where all that is shown agree on it."""
    axis = roles.of["x"]
    if x.ticks is None or axis is None or axis.name.rpartition(".")[2] != "max_page_order":
        return x.ticks
    shown = result.runs[result.runs["point"].isin(roles.rows["point"])]
    sizes = shown.groupby(axis.name)["largest_block_bytes"].agg(["min", "max"])
    if not (sizes["min"] == sizes["max"]).all():
        return x.ticks
    of = {level: format_size(int(size)) for level, size in sizes["min"].items()}
    return [f"{label}\n{of.get(level, '')}" for label, level in zip(x.ticks, axis.levels, strict=True)]


def _label(sheet: Sheet, x: Along, ticks: list[str] | None, y: str) -> None:
    """The horizontal axis of all panels, and the names of both."""
    second = "\nand the largest block" if ticks and any("\n" in label for label in ticks) else ""
    label_axes(sheet, x.label + second, y)
    low, high = min(x.positions), max(x.positions)
    for axes in sheet.panels:
        if x.log:
            axes.set_xscale("log")
            axes.set_xlim(low / (high / low) ** 0.06, high * (high / low) ** 0.06)
        else:
            margin = 0.5 if not x.joined else 0.06 * (high - low) or 0.5
            axes.set_xlim(low - margin, high + margin)
        axes.xaxis.set_minor_locator(NullLocator())
        if ticks is not None:
            _fixed_ticks(axes, x, ticks)
        else:
            numbers(axes.xaxis, "log" if x.log else "linear", decades=high > 100 * low)


def _fixed_ticks(axes: Any, x: Along, ticks: list[str]) -> None:
    """A tick at each level; labels that would cover each other are turned (names) or left out (numbers)."""
    places, labels = legible(axes, x.positions, ticks)
    if x.joined or len(places) == len(ticks):
        axes.set_xticks(places, labels)
    else:
        axes.set_xticks(x.positions, ticks, rotation=90 if len(ticks) > 6 else 30, ha="right", rotation_mode="anchor")
        if len(ticks) > 6:
            axes.tick_params(axis="x", rotation=90)
            for label in axes.get_xticklabels():
                label.set(ha="right", va="center", rotation_mode="anchor")


def _look(x: Along, i: int, n: int) -> dict[str, Any]:
    """The look of the i-th of n lines: without markers where there are many, without a line between names."""
    look = line_look(i, n)
    few = len(x.positions) <= BARS_MAX
    return look | {"linestyle": look["linestyle"] if x.joined else "none", "marker": look["marker"] if few else "none"}
