"""The differences of a comparison: a row for each, with its 95 % confidence interval, around a line at zero.

Rows are relative to the baseline (in percent) where they are of several units, absolute where all have one. Filled
marks differ after Holm's correction over all rows of the response, and by more than the model's error; open ones may
be chance, or the model's. Rows of a response that is the same everywhere are left out.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd

from kmsim.plots.drawn import Drawn
from kmsim.plots.extremes import largest_difference
from kmsim.plots.lettering import LEVEL_MAX, counted, plain, shown_unit, with_unit
from kmsim.plots.responses import asked, said, words_of
from kmsim.plots.roles import axis_titles, in_words, roles_of
from kmsim.plots.sheet import Sheet, finish, label_axes, new_sheet, say_nothing
from kmsim.plots.style import MARKERS, entry, numbers, shade
from kmsim.study.estimates import is_shown, same_everywhere

ROWS_MAX = 40
ROW_INCHES = 0.145
LABEL_MAX = 34


def forest(result: Any, config: Any) -> Drawn:
    """The paired differences of the comparison that `config.comparison` names (none: the first).

    `config.y` keeps one response; `config.where` some levels.
    """
    name = config.comparison or result.comparisons_config[0].name
    whole: pd.DataFrame = result.comparisons
    rows = whole[whole["comparison"] == name]
    rows = rows[rows["response"] == config.y] if config.y else rows
    rows = roles_of(result, rows, config, (), rest_held=False).rows
    same = list(dict.fromkeys(rows[same_everywhere(rows)]["response"]))
    said_same = [f"the same everywhere: {plain(', '.join(same), 120)}"] if same else []
    rows = rows[rows["difference"].notna() & ~same_everywhere(rows)]
    axis = str(rows["axis"].iloc[0]) if len(rows) else name
    baseline = str(rows["baseline"].iloc[0]) if len(rows) else ""
    several = rows["response"].nunique() > 1
    titles = {name: in_words(title) for name, title in axis_titles(result.axes).items()}
    others = [a.name for a in result.axes if a.name != axis and rows[a.name].nunique() > 1]
    kept, notes = _kept(_in_order(result, rows, [*others, axis] if len(rows) else []))
    data, unit = _scaled(kept, relative=several)
    labels = [_label(row, others, several) for row in data.to_dict("records")]
    inches = 0.75 + ROW_INCHES * max(len(data), 6)
    one_response = "" if several or data.empty else words_of(asked(result, str(data["response"].iloc[0])))
    question = f"{one_response or 'What changes'} with {titles.get(axis, axis)}, from {baseline}"
    sheet = new_sheet(config.title or question, said(config, "size"), [""], panel_inches=inches)
    if data.empty:
        say_nothing(sheet, *(said_same or [f"no run yields the differences of {name}"]))
        finish(sheet, ["n = 0 pairs"])
        return Drawn(sheet.figure, data)
    if len(data) < len(kept):
        notes.append(f"{len(kept) - len(data)} rows left out: the baseline is 0, so no difference is relative to it")
    levels = next((a.levels for a in result.axes if a.name == axis), ())
    handles = _draw(sheet, data, labels, [level for level in levels if level in set(data["level"])])
    told = ", ".join([*(["response"] if several else []), *(titles[name] for name in others)])
    difference = "Relative difference (%)" if several else with_unit(f"{one_response}: difference", unit)
    label_axes(sheet, difference, "")
    numbers(sheet.panels[0].xaxis)
    nr_tested = int(((whole["comparison"] == name) & whole["response"].isin(rows["response"])).sum())
    tests = "Holm within each response" if several else f"Holm over {nr_tested:,} rows"
    paired = next(comparison.paired for comparison in result.comparisons_config if comparison.name == name)
    of_t, what_of = ("t", "pairs") if paired else ("Welch's t", "runs of the side with fewer")
    model = ", by more than the model's error" if (data["model_error"] > 0).any() else ""
    method = f"95 % CI by {of_t}, {counted(data['n'], what_of)} per row; filled: differs (p < 0.05, {tests}{model})"
    notes = [
        f"level minus {plain(baseline, LEVEL_MAX)}",
        method,
        told and f"rows: {plain(told, 120)}",
        *said_same,
        *notes,
    ]
    places = [*(["response"] if several else []), *others, "level"]
    answer = largest_difference(data, is_shown(data), places, unit)
    finish(sheet, notes, handles, plain(titles.get(axis, axis)), answer=answer)
    return Drawn(sheet.figure, data)


def _in_order(result: Any, rows: pd.DataFrame, axes: list[str]) -> pd.DataFrame:
    """By response, the other axes and the level: all levels of one thing beside each other."""
    places = {axis.name: {level: k for k, level in enumerate(axis.levels)} for axis in result.axes}
    keys = {name: rows[name].map(places[name]) for name in axes}
    of_response = {name: k for k, name in enumerate(dict.fromkeys(rows["response"]))}
    order = pd.DataFrame({"response": rows["response"].map(of_response), **keys}, index=rows.index)
    return rows.loc[order.sort_values(list(order), kind="stable").index]


def _kept(rows: pd.DataFrame) -> tuple[pd.DataFrame, list[str]]:
    """As many rows as have room: those with the smallest p, in their order."""
    if len(rows) <= ROWS_MAX:
        return rows, []
    surest = rows.sort_values("p", kind="stable").head(ROWS_MAX).index
    return rows.loc[rows.index.isin(surest)], [f"the {ROWS_MAX} surest of {len(rows):,} rows"]


def _scaled(rows: pd.DataFrame, *, relative: bool) -> tuple[pd.DataFrame, str]:
    """The rows in the unit that is shown, which is percent of the baseline where they are relative."""
    columns = ["difference", "ci_low", "ci_high"]
    data = rows.drop(columns=["boot_low", "boot_high"]).reset_index(drop=True)
    if relative:
        base = data["baseline_mean"].abs() / 100
        data[columns] = data[columns].div(base.where(base > 0), axis=0)
        return data[data["difference"].notna()].assign(shown_unit="%").reset_index(drop=True), "%"
    unit, one = shown_unit(str(rows["unit"].iloc[0]) if len(rows) else "", rows[columns])
    data[columns] /= one
    return data.assign(shown_unit=unit), unit


def _label(row: dict[str, Any], others: list[str], several: bool) -> str:
    """The label of a row; colour and marker tell its level."""
    words = [plain(row["response"], 24)] if several else []
    return plain(", ".join(words + [plain(row[name], LEVEL_MAX) for name in others]), LABEL_MAX)


def _draw(sheet: Sheet, data: pd.DataFrame, labels: list[str], levels: list[str]) -> list[Any]:
    """A row for each difference from above, the level's colour and marker; what the legend shows."""
    axes = sheet.panels[0]
    axes.axvline(0, color="0.3", linewidth=0.9, zorder=1)
    handles = []
    for k, level in enumerate(levels):
        part = data[data["level"] == level]
        colour, marker = shade(k, len(levels)), MARKERS[k % len(MARKERS)]
        at = part.index.to_numpy()
        reach = [part["difference"] - part["ci_low"], part["ci_high"] - part["difference"]]
        bars = np.nan_to_num(np.maximum(reach, 0))
        axes.errorbar(part["difference"], at, xerr=bars, fmt="none", ecolor=colour, lw=1, capsize=1.5, zorder=2)
        for filled in (True, False):
            some = part[is_shown(part) == filled]
            look = {"color": colour, "mfc": colour if filled else "w", "mew": 0.9, "zorder": 3}
            axes.plot(some["difference"], some.index, marker, **look)
        shown = plain(level, LEVEL_MAX)
        handles.append(entry(shown, marker=marker, color=colour, linestyle="none"))
    firsts = [k for k, label in enumerate(labels) if k == 0 or label != labels[k - 1]]
    middles = [(first + last - 1) / 2 for first, last in zip(firsts, [*firsts[1:], len(labels)], strict=True)]
    axes.set_yticks(middles, [labels[k] for k in firsts])
    axes.set_ylim(len(data) - 0.4, -0.6)
    axes.yaxis.grid(False)
    for k in firsts[1:]:
        axes.axhline(k - 0.5, color="0.9", linewidth=0.5, zorder=0)
    return handles
