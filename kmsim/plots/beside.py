"""A result beside measurements, as a figure: a row for each point, with what was measured and what is simulated."""

from __future__ import annotations

import pandas as pd

from kmsim.plots.drawn import Drawn
from kmsim.plots.lettering import plain
from kmsim.plots.sheet import finish, label_axes, new_sheet
from kmsim.plots.style import entry, numbers, shade, styled

ROWS_MAX = 50
ROW_INCHES = 0.16
LABEL_MAX = 44


def measured_and_simulated(table: pd.DataFrame) -> Drawn:
    """The rows of `study.beside.COLUMNS` that have a run; of many, those that are farthest off."""
    data = table[table["runs"] > 0]
    if len(data) > ROWS_MAX:
        farthest = data["error_percent"].abs().sort_values(ascending=False, kind="stable").head(ROWS_MAX).index
        data = data[data.index.isin(farthest)]
    data = data.reset_index(drop=True)
    with styled():
        inches = 0.75 + ROW_INCHES * max(len(data), 6)
        sheet = new_sheet("How far is the simulation from what was measured?", "page", [""], panel_inches=inches)
        axes = sheet.panels[0]
        bars = data["measured_ns"] * data["error_bar_percent"] / 100
        colours = shade(1, 2), shade(0, 2)
        of_measured = {"color": colours[0], "ecolor": colours[0], "mfc": "w", "ms": 4, "lw": 1, "capsize": 1.5}
        axes.errorbar(data["measured_ns"], data.index, xerr=bars, fmt="o", **of_measured)
        axes.plot(data["simulated_ns"], data.index, "D", color=colours[1], ms=3)
        axes.set_xscale("log")
        numbers(axes.xaxis, "log")
        axes.set_yticks(
            data.index, [_label(curve, cpus) for curve, cpus in zip(data["curve"], data["cpus"], strict=True)]
        )
        axes.set_ylim(len(data) - 0.4, -0.6)
        axes.yaxis.grid(False)
        label_axes(sheet, "mean latency (ns)", "")
        handles = [
            entry("measured", marker="o", color=colours[0], mfc="w", linestyle="none"),
            entry("simulated", marker="D", color=colours[1], linestyle="none"),
        ]
        rows = f"the {len(data)} points that are farthest off, of {int((table['runs'] > 0).sum())}"
        notes = [
            "bars: one standard error",
            rows if len(data) < (table["runs"] > 0).sum() else f"n = {len(data)} points",
        ]
        finish(sheet, notes, handles)
    return Drawn(sheet.figure, data)


def _label(curve: str, cpus: int) -> str:
    return plain(f"{curve}, {cpus} CPU{'s' if cpus > 1 else ''}", LABEL_MAX)
