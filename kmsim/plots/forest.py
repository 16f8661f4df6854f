"""The differences of a comparison: a row for each, with its 95 % confidence interval, around a line at zero.

Rows are relative to the baseline (in percent) where they are of several units, absolute where all have one. Filled
marks differ after Holm's correction over all rows of the response, and by more than the model's error; open ones may
be chance, or the model's. Rows of a response that is the same everywhere are left out. Of several responses, each has
a line of its own above its rows that says what it is.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import numpy as np
import pandas as pd

from kmsim.plots.drawn import Drawn
from kmsim.plots.extremes import largest_difference
from kmsim.plots.lettering import LEVEL_MAX, WORDS_MAX, counted, plain, shown_unit, with_unit
from kmsim.plots.responses import asked, said, words_of
from kmsim.plots.roles import axis_titles, in_words, roles_of
from kmsim.plots.sheet import Sheet, finish, label_axes, new_sheet, say_nothing
from kmsim.plots.style import MARKERS, entry, numbers, shade
from kmsim.study.estimates import is_shown, same_everywhere

ROWS_MAX = 40
ROW_INCHES = 0.145
LABEL_MAX = 34
HEADING_POINTS = 7


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
    said_same = [f"the same everywhere: {', '.join(_words(result, same))}"] if same else []
    rows = rows[rows["difference"].notna() & ~same_everywhere(rows)]
    axis = str(rows["axis"].iloc[0]) if len(rows) else name
    baseline = str(rows["baseline"].iloc[0]) if len(rows) else ""
    several = rows["response"].nunique() > 1
    titles = {name: in_words(title) for name, title in axis_titles(result.axes).items()}
    others = [a.name for a in result.axes if a.name != axis and rows[a.name].nunique() > 1]
    kept, notes = _kept(_in_order(result, rows, [*others, axis] if len(rows) else []))
    data, unit = _scaled(kept, relative=several)
    labels = [_label(row, others) for row in data.to_dict("records")]
    headings = _words(result, data["response"]) if several else [""] * len(data)
    inches = 0.75 + ROW_INCHES * max(len(data) + several * data["response"].nunique(), 6)
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
    at = _places(headings)
    handles = _draw(sheet, data, at, [level for level in levels if level in set(data["level"])])
    _name_rows(sheet, at, headings, labels)
    told = ", ".join(titles[name] for name in others)
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
    answer = largest_difference(data.assign(response=headings), is_shown(data), places, unit)
    finish(sheet, notes, handles, plain(titles.get(axis, axis)), answer=answer)
    return Drawn(sheet.figure, data)


def _words(result: Any, responses: Iterable[str]) -> list[str]:
    """What each of these responses is."""
    return [plain(words_of(asked(result, response)), WORDS_MAX) for response in responses]


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


def _label(row: dict[str, Any], others: list[str]) -> str:
    """The label of a row; colour and marker tell its level."""
    return plain(", ".join(plain(row[name], LEVEL_MAX) for name in others), LABEL_MAX)


def _places(headings: list[str]) -> Any:
    """Where each row is drawn, from above: below a line for its heading, where it has one."""
    new = [bool(text) and (k == 0 or text != headings[k - 1]) for k, text in enumerate(headings)]
    return np.arange(len(headings)) + np.cumsum(new)


def _draw(sheet: Sheet, data: pd.DataFrame, at: Any, levels: list[str]) -> list[Any]:
    """A row for each difference, the level's colour and marker; what the legend shows."""
    axes = sheet.panels[0]
    axes.axvline(0, color="0.3", linewidth=0.9, zorder=1)
    handles = []
    for k, level in enumerate(levels):
        is_level = (data["level"] == level).to_numpy()
        part = data[is_level]
        colour, marker = shade(k, len(levels)), MARKERS[k % len(MARKERS)]
        reach = [part["difference"] - part["ci_low"], part["ci_high"] - part["difference"]]
        bars = np.nan_to_num(np.maximum(reach, 0))
        axes.errorbar(
            part["difference"], at[is_level], xerr=bars, fmt="none", ecolor=colour, lw=1, capsize=1.5, zorder=2
        )
        for filled in (True, False):
            is_some = is_level & (is_shown(data) == filled).to_numpy()
            look = {"color": colour, "mfc": colour if filled else "w", "mew": 0.9, "zorder": 3}
            axes.plot(data["difference"][is_some], at[is_some], marker, **look)
        handles.append(entry(plain(level, LEVEL_MAX), marker=marker, color=colour, linestyle="none"))
    return handles


def _name_rows(sheet: Sheet, at: Any, headings: list[str], labels: list[str]) -> None:
    """A label for the rows that differ in their level only, a heading above those of a response, lines between them."""
    axes = sheet.panels[0]
    rows = list(zip(headings, labels, strict=True))
    firsts = [k for k, row in enumerate(rows) if k == 0 or row != rows[k - 1]]
    lasts = [*(first - 1 for first in firsts[1:]), len(rows) - 1]
    middles = [(at[first] + at[last]) / 2 for first, last in zip(firsts, lasts, strict=True)]
    axes.set_yticks(middles, [labels[k] for k in firsts])
    axes.set_ylim(at[-1] + 0.6, -0.6)
    axes.yaxis.grid(False)
    for k in firsts:
        is_headed = headings[k] and (k == 0 or headings[k] != headings[k - 1])
        above = at[k] - 0.5 - bool(is_headed)
        if k:
            axes.axhline(above, color="0.9", linewidth=0.5, zorder=0)
        if is_headed:
            box = {"facecolor": "white", "edgecolor": "none", "pad": 0.8}
            place = {"xycoords": ("axes fraction", "data"), "va": "center", "bbox": box, "zorder": 4}
            axes.annotate(headings[k], (0.01, at[k] - 1), fontsize=HEADING_POINTS, **place)
