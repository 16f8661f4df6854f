"""The distribution of latencies, from histograms: the share of operations that take longer (tail), or no longer (ECDF).

A line pools all operations of a point's runs. Runs are independent of each other, operations of one run are not:
so from six runs on, the band is the order-statistics interval of the median of the runs' shares; of fewer runs it is
that of the operations' ranks, as if they were independent, and the note says so.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
import pandas as pd

from kmsim.plots.drawn import Drawn
from kmsim.plots.extremes import lowest_and_highest
from kmsim.plots.lettering import counted, plain, shown_unit, with_unit
from kmsim.plots.responses import NOUNS, said
from kmsim.plots.roles import Roles, entries, roles_of
from kmsim.plots.sheet import Sheet, finish, label_axes, new_sheet, say_nothing
from kmsim.plots.style import line_look, numbers
from kmsim.study.quantiles import ranks

ROLES = ("hue", "panels")
TAIL_MIN = 1e-7  # a share below is not drawn
RUNS_MAX = 400  # of one line that are read; a run's histogram is a hundred rows
BY_RUNS = "band: 95 % CI of the runs' median (order statistics)"
BY_OPERATIONS = "band: 95 % CI by order statistics, as if operations were independent"


class _Curve(NamedTuple):
    """Shares in [0, 1] at the upper ends of buckets, ascending."""

    time_ns: Any
    longer: Any
    low: Any
    high: Any
    n: int
    nr_runs: int
    by_runs: bool


def tail(result: Any, config: Any) -> Drawn:
    """The share of operations (`config.of`) that take longer than a time, both axes logarithmic."""
    return _distribution(result, config, is_tail=True)


def ecdf(result: Any, config: Any) -> Drawn:
    """The share of operations (`config.of`) that take no longer than a time."""
    return _distribution(result, config, is_tail=False)


def _distribution(result: Any, config: Any, *, is_tail: bool) -> Drawn:
    roles = roles_of(result, result.counted_runs, config, ROLES)
    titles = roles.panel_titles()
    noun = NOUNS[config.of]
    question = f"How many {noun} take longer than a given time?" if is_tail else f"How long do {noun} take?"
    sheet = new_sheet(config.title or question, said(config, "size"), titles, panel_inches=2.3)
    curves = _curves(result, roles, config.of)
    if not curves:
        say_nothing(sheet, f"no run yields {noun}")
        finish(sheet, [*roles.notes, "n = 0 operations"])
        return Drawn(sheet.figure, pd.DataFrame())
    unit, one = shown_unit("ns", [np.interp(0.5, 1 - c.longer, c.time_ns) * 10 for c in curves.values()])
    least = max(TAIL_MIN, min(0.5 / max(c.n for c in curves.values()), 0.01))
    drawn = []
    for (panel, hue), curve in curves.items():
        data = _drawn(curve, least, is_tail=is_tail).assign(n=curve.n, runs=curve.nr_runs)
        data["time"] = data["time"] / one
        look = _look(hue, len(roles.levels("hue")))
        sheet.panels[panel].step(data["time"], data["share"], where="post", **look)
        style = {"color": look["color"], "alpha": 0.22, "linewidth": 0, "step": "post"}
        sheet.panels[panel].fill_between(data["time"], data["ci_low"], data["ci_high"], **style)
        drawn.append(roles.labelled(data, ("panels", "hue"), (panel, hue)))
    whole = pd.concat(drawn, ignore_index=True)
    _axes(sheet, config, whole, 100 * least if is_tail else None)
    share = "share that takes longer (%)" if is_tail else "share that takes no longer (%)"
    label_axes(sheet, with_unit("latency", unit), share)
    answer = _answer(roles, curves, (unit, one), 0.01 if is_tail else 0.5)
    _finish(sheet, roles, list(curves.values()), noun, answer)
    return Drawn(sheet.figure, whole.assign(unit=unit))


def _curves(result: Any, roles: Roles, kind: str) -> dict[tuple[int, ...], _Curve]:
    """A curve for each panel and hue of which any run counted something."""
    groups = {key: part["run"].iloc[:RUNS_MAX].tolist() for key, part in roles.groups("panels", "hue")}
    wanted = [run for runs in groups.values() for run in runs]
    histograms = result.histograms(wanted) if wanted else pd.DataFrame({"kind": [], "run": []})
    histograms = histograms[histograms["kind"] == kind]
    curves = {}
    for key, runs in groups.items():
        part = histograms[histograms["run"].isin(runs)]
        if not part.empty:
            curves[key] = _curve(part)
    return curves


def _curve(part: pd.DataFrame) -> _Curve:
    """The pooled shares of some runs' histograms, and their interval."""
    counts = part.pivot_table(index="run", columns="high_ns", values="count", aggfunc="sum", fill_value=0)
    time_ns, of_runs = counts.columns.to_numpy(float), counts.to_numpy(np.int64)
    pooled = of_runs.sum(axis=0).cumsum()
    n, nr_runs = int(pooled[-1]), len(of_runs)
    low, high = (int(rank[0]) for rank in ranks(nr_runs, np.array([0.5])))
    by_runs = low > 0 and high <= nr_runs
    if by_runs:
        shares = np.sort(1 - of_runs.cumsum(axis=1) / of_runs.sum(axis=1, keepdims=True), axis=0)
        ends = shares[low - 1], shares[high - 1]
    else:
        below = ranks(n, pooled / n)
        ends = 1 - np.minimum(below[1], n) / n, 1 - np.maximum(below[0], 0) / n
    return _Curve(time_ns, 1 - pooled / n, *ends, n, nr_runs, by_runs)


def _drawn(curve: _Curve, least: float, *, is_tail: bool) -> pd.DataFrame:
    """A curve as it is drawn, in percent; a tail ends at the bottom of its axis, at the longest time."""
    longer = np.column_stack((curve.longer, curve.low, curve.high))
    shares = 100 * (longer.clip(least, 1) if is_tail else 1 - longer[:, [0, 2, 1]])
    start = 100.0 if is_tail else 0.0
    table = np.column_stack((curve.time_ns, shares))
    first = [curve.time_ns[0] / 1.001, start, start, start]
    return pd.DataFrame(np.vstack((first, table)), columns=["time", "share", "ci_low", "ci_high"])


def _look(i: int, n: int) -> dict[str, Any]:
    return line_look(i, n) | {"marker": "none"}


def _axes(sheet: Sheet, config: Any, data: pd.DataFrame, bottom: float | None) -> None:
    """Logarithmic times, and shares from the bottom (None: 0, and not logarithmic) to all."""
    shortest, longest = float(data["time"].iloc[1:].min()), float(data["time"].max())
    if said(config, "x_scale") != "linear":
        margin = max(1.15, (10 * shortest / longest) ** 0.5)  # at least a decade, so that there are a few numbers
        for axes in sheet.panels:
            axes.set_xscale("log")
            numbers(axes.xaxis, "log", decades=longest > 100 * shortest)
        sheet.panels[0].set_xlim(shortest / margin, longest * margin)
    else:
        numbers(sheet.panels[0].xaxis)
    first = sheet.panels[0]
    if bottom is None:
        first.set_ylim(0, 102)
        numbers(first.yaxis)
    elif said(config, "y_scale") != "linear":
        first.set_yscale("log")
        first.set_ylim(bottom, 160)
        numbers(first.yaxis, "log", decades=True)


def _answer(roles: Roles, curves: dict[tuple[int, ...], _Curve], shown: tuple[str, float], share: float) -> str:
    """Which line has the shortest, and which the longest time that this share of its operations exceeds."""
    rows = []
    for key, curve in curves.items():
        ends = (curve.longer, curve.low, curve.high)
        times = [curve.time_ns[np.argmax(end <= share)] if (end <= share).any() else np.inf for end in ends]
        found = dict(zip(("mean", "ci_low", "ci_high"), times, strict=True))
        rows.append(roles.labelled(pd.DataFrame([found]), ("panels", "hue"), key))
    axes = [axis.name for axis in (roles.of["panels"], roles.of["hue"]) if axis is not None]
    which = "one in 100 exceeds" if share < 0.5 else "half of them exceed"
    table = pd.concat(rows, ignore_index=True).assign(model_error=np.nan)  # of a distribution: never measured
    return lowest_and_highest(
        table, axes, *shown, of=f"Of the times that {which}, " if len(rows) > 1 else f"The time that {which}: "
    )


def _finish(sheet: Sheet, roles: Roles, curves: list[_Curve], noun: str, answer: str) -> None:
    """The legend, and how many operations of how many runs are behind each line."""
    runs, operations = ([curve.nr_runs for curve in curves], [curve.n for curve in curves])
    behind = f"{counted(operations, noun)} of {counted(runs, 'runs').removeprefix('n = ')} per line"
    bands = [BY_RUNS] * any(c.by_runs for c in curves) + [BY_OPERATIONS] * any(not c.by_runs for c in curves)
    hue = roles.of["hue"]
    finish(sheet, [behind, *bands, *roles.notes], entries(hue, _look), plain(hue.title) if hue else "", answer=answer)
