"""A series over simulated time: the mean over a point's runs and its 95 % confidence interval, at each time.

A run that was sampled at other times than the mean is drawn at counts with its last sample before; a run that has
ended no longer counts. Where there are several zones, they are the levels of one more axis.
"""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import numpy as np
import pandas as pd

from kmsim.config.product import Axis
from kmsim.plots.drawn import Drawn
from kmsim.plots.extremes import lowest_and_highest
from kmsim.plots.lettering import counted, plain, shown_unit, with_unit
from kmsim.plots.responses import NOUNS, said
from kmsim.plots.roles import Roles, entries, roles_of
from kmsim.plots.sheet import Sheet, finish, label_axes, means_axis, new_sheet, say_nothing, time_axes
from kmsim.plots.style import line_look
from kmsim.study.statistics import t_quantile

ROLES = ("hue", "panels")
TIMES_MAX = 300
RUNS_MAX = 400
WORDS = {  # of the series of `study.collect`
    "free_bytes": "free memory",
    "pcp_bytes": "memory on per-CPU lists",
    "largest_free_bytes": "the largest free block",
    "free_huge_pages": "free huge pages",
    "live_bytes": "memory that requests hold",
    **{f"{kind}_count": noun for kind, noun in NOUNS.items()},
    **{f"{kind}_failed": f"failed {noun}" for kind, noun in NOUNS.items()},
    **{f"{kind}_mean_ns": f"mean latency of {noun}" for kind, noun in NOUNS.items()},
}
UNITS = ("bytes", "ns", "us", "ms", "pages", "percent")  # a series' name ends with its unit


def time_series(result: Any, config: Any) -> Drawn:
    """The series that `config.series` names (none: the first) over time."""
    roles = roles_of(result, result.counted_runs, config, ROLES)
    table = _series(result, roles, config.series)
    name = str(table["series"].iloc[0]) if len(table) else (config.series or "series")
    unit = next((word for word in UNITS if name.endswith(f"_{word}")), "")
    told = WORDS.get(name, (name if unit == "pages" else name.removesuffix(f"_{unit}")).replace("_", " "))
    if table["zone"].nunique() > 1:
        roles, table = _with_zones(result, config, table)
    titles = roles.panel_titles()
    sheet = new_sheet(
        config.title or f"How does {told} change over time?", said(config, "size"), titles, panel_inches=2.1
    )
    if table.empty:
        say_nothing(sheet, f"no run yields {told}")
        finish(sheet, [*roles.notes, "n = 0 runs"])
        return Drawn(sheet.figure, table)
    shown, one = shown_unit("%" if unit == "percent" else unit, table["value"])
    time_unit, time_one = shown_unit("ns", table["time_ns"])
    drawn = []
    for (panel, hue), part in _rows(roles, table).groups("panels", "hue"):
        data = _mean(part)
        data["time"] /= time_one
        data[["mean", "ci_low", "ci_high"]] /= one
        look = _look(hue, len(roles.levels("hue")))
        sheet.panels[panel].plot(data["time"], data["mean"], **look)
        sheet.panels[panel].fill_between(
            data["time"], data["ci_low"], data["ci_high"], color=look["color"], alpha=0.25, lw=0
        )
        drawn.append(roles.labelled(data, ("panels", "hue"), (panel, hue)))
    whole = pd.concat(drawn, ignore_index=True)
    scale_notes = means_axis(sheet, config.y_scale, whole)
    time_axes(sheet)
    label_axes(sheet, with_unit("simulated time", time_unit), with_unit(told, shown))
    interval = "mean with 95 % CI (t over replications)" if whole["ci_low"].notna().any() else "mean; no CI of one run"
    axes = [axis.name for axis in (roles.of["panels"], roles.of["hue"]) if axis is not None]
    ends = pd.concat([data[data["mean"].notna()].tail(1) for data in drawn])
    answer = lowest_and_highest(ends, axes, shown, of="At the end, ")
    _finish(sheet, roles, [interval, f"{counted(whole['n'], 'runs')} per line", *scale_notes], answer)
    return Drawn(sheet.figure, whole.assign(series=name, unit=shown, time_unit=time_unit))


def _series(result: Any, roles: Roles, name: str | None) -> pd.DataFrame:
    """The samples of one series of the runs that are shown."""
    runs = [run for _, part in roles.groups("panels", "hue") for run in part["run"].iloc[:RUNS_MAX]]
    table: pd.DataFrame = result.series(runs)
    wanted = name or (table["series"].iloc[0] if len(table) else "")
    return table[table["series"] == wanted]


def _with_zones(result: Any, config: Any, table: pd.DataFrame) -> tuple[Roles, pd.DataFrame]:
    """Roles of the axes and of the zones, as one more axis; each run has a row for each zone."""
    zones = tuple(dict.fromkeys(table["zone"]))
    named = SimpleNamespace(axes=(*result.axes, Axis("zone", zones, None, "")))
    runs = result.runs.merge(pd.DataFrame({"zone": zones}), how="cross")
    hue = config.hue or "zone"
    panels = config.panels or ("zone" if config.hue else None)
    roles = roles_of(named, runs, config.model_copy(update={"hue": hue, "panels": panels}), ROLES)
    return roles, table[table["zone"].isin(set(roles.rows["zone"]))]


def _rows(roles: Roles, table: pd.DataFrame) -> Roles:
    """The same roles with a row for each sample."""
    keys = ["run", "zone"] if "zone" in roles.rows else ["run"]
    return roles._replace(rows=roles.rows.merge(table, on=keys))


def _mean(part: pd.DataFrame) -> pd.DataFrame:
    """The mean over runs at no more times than can be seen, and its interval."""
    times = np.unique(part["time_ns"].to_numpy(float))
    if len(times) > TIMES_MAX:
        times = times[np.unique(np.linspace(0, len(times) - 1, TIMES_MAX).round().astype(int))]
    values = []
    for _, run in part.groupby("run"):
        own = run.sort_values("time_ns")
        at = own["time_ns"].to_numpy(float)
        last = np.searchsorted(at, times, side="right") - 1
        known = (last >= 0) & (times <= at[-1])
        values.append(np.where(known, own["value"].to_numpy(float)[np.maximum(last, 0)], np.nan))
    table = np.array(values)
    n = np.isfinite(table).sum(axis=0)
    mean = np.nansum(table, axis=0) / np.maximum(n, 1)
    spread = np.sqrt(np.nansum((table - mean) ** 2, axis=0) / np.maximum(n - 1, 1))
    half = t_quantile(n - 1) * spread / np.sqrt(np.maximum(n, 1))
    data = {"time": times, "n": n, "mean": np.where(n > 0, mean, np.nan), "ci_low": mean - half, "ci_high": mean + half}
    return pd.DataFrame(data)


def _look(i: int, n: int) -> dict[str, Any]:
    return line_look(i, n) | {"marker": "none"}


def _finish(sheet: Sheet, roles: Roles, notes: list[str], answer: str) -> None:
    hue = roles.of["hue"]
    finish(sheet, [*notes, *roles.notes], entries(hue, _look), plain(hue.title) if hue else "", answer=answer)
