"""Simulate LLFree's three benchmarks from 1 to 26 cores, as shipped, beside what was measured.

python experiments/order0_scaling/order0_scaling.py          # all of it, about a minute
python experiments/order0_scaling/order0_scaling.py --draw   # figure and README's numbers from results.csv
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import matplotlib as mpl
import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from matplotlib.lines import Line2D
from matplotlib.ticker import FixedLocator, NullLocator

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))  # experiments share code

from experiments.calibration.calibrate import POINT
from experiments.calibration.p1 import CURVES, compared, measured, simulated
from experiments.figures import save_figure, write_numbers
from kmsim.plots.style import DASHES, PLAIN, styled

HERE = Path(__file__).parent
RESULTS = HERE / "results.csv"
FIGURE = HERE / "order0_scaling.png"
README = HERE / "README.md"
SATURATED = 4  # cores, from which on the curves are straight
MARKERS = dict(zip(CURVES, "osD^", strict=True))


def draw(results: pd.DataFrame) -> Any:
    """All four curves on one pair of logarithmic axes: lines are simulated, markers measured."""
    figure, axes = plt.subplots(figsize=(4.6, 3.9), layout="constrained")
    handles = []
    for i, (curve, part) in enumerate(results.groupby("curve", sort=False)):
        colour = mpl.colormaps["cividis"](0.7 * (1 - i / (len(CURVES) - 1)))
        line = {"color": colour, "linestyle": DASHES[i], "linewidth": 1.6}
        marker = {**POINT, "marker": MARKERS[str(curve)]}
        axes.plot(part["cores"], part["simulated_ns"], **line)
        axes.plot(part["cores"], part["measured_ns"], **{**marker, "linestyle": "none"})
        handles.append(Line2D([], [], **line, **marker, label=curve))
    axes.set(xscale="log", yscale="log", xlabel="cores", ylabel="latency (ns per operation)", ylim=(60, 6000))
    axes.xaxis.set_major_locator(FixedLocator([1, 2, 4, 8, 13, 26]))
    axes.yaxis.set_major_locator(FixedLocator([100, 200, 500, 1000, 2000, 5000]))
    for axis in (axes.xaxis, axes.yaxis):
        axis.set_minor_locator(NullLocator())
        axis.set_major_formatter(PLAIN)
    axes.set_title("What does a page cost when more cores ask?")
    legend = axes.legend(handles=handles, title="line simulated, marker measured", fontsize="small", handlelength=3)
    legend.get_title().set_fontsize("small")
    legend.set_alignment("left")
    return figure


def slope(cores: pd.Series, latency: pd.Series) -> float:
    """What each further core adds to an operation, in ns, where the lock is always held."""
    is_straight = cores >= SATURATED
    return float(np.polyfit(cores[is_straight], latency[is_straight], 1)[0])


def numbers(results: pd.DataFrame) -> str:
    """README's numbers: both ends of each curve, and what each core adds."""
    lines = [
        f"| curve | 1 core | 26 cores | each core adds, from {SATURATED} on | largest error |",
        "|---|---|---|---|---|",
    ]
    for curve, part in results.groupby("curve", sort=False):
        ends = part.set_index("cores").loc[[1, 26]]
        both = [f"{row.measured_ns:,} / {row.simulated_ns:,.0f} ns" for row in ends.itertuples()]
        slopes = [slope(part["cores"], part[column]) for column in ("measured_ns", "simulated_ns")]
        both.append(f"{slopes[0]:.1f} / {slopes[1]:.1f} ns")
        lines.append(f"| {curve} | {' | '.join(both)} | {part['error_percent'].abs().max():.1f} % |")
    return "\n".join(lines) + "\n"


def main(arguments: list[str]) -> None:
    """Simulate, unless told not to; then figure and README."""
    mpl.use("Agg")
    if "--draw" not in arguments:
        points = measured().query("order == 0")
        table = compared(points, simulated(points, report=lambda run: print("simulating", *run)))
        table.to_csv(RESULTS, index=False, lineterminator="\n")
    results = pd.read_csv(RESULTS)
    with styled():
        save_figure(draw(results), FIGURE)
    write_numbers(README, numbers(results))


if __name__ == "__main__":
    main(sys.argv[1:])
