"""Fit the price list of the Xeon Gold 5320 to P1, what LLFree's benchmarks measured on it.

    python experiments/calibration/calibrate.py            # fit, fit.csv, figure and README's numbers
    python experiments/calibration/calibrate.py --write    # and write the prices to configs/costs/xeon-gold-5320.yaml
    python experiments/calibration/calibrate.py --shipped  # no fit: the prices of that file
    python experiments/calibration/calibrate.py --draw     # no simulation either: figure and numbers from fit.csv

A fit takes about ten minutes of one core; how long it took is printed.
"""

from __future__ import annotations

import re
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import matplotlib as mpl
import matplotlib.pyplot as plt
import pandas as pd
from matplotlib.ticker import FixedLocator, NullLocator

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))  # experiments share code

from experiments.calibration.fit import CORES, FITTED, WITHOUT, fit, fitted_points, left_out, prices_of
from experiments.calibration.p1 import (
    COSTS,
    CURVES,
    ERROR_BARS,
    compared,
    measured,
    outside,
    shipped_prices,
    simulated,
    worst,
)
from experiments.figures import save_figure, write_numbers
from kmsim.config.shipped import shipped_file
from kmsim.plots.style import PLAIN, styled

HERE = Path(__file__).parent
FIT = HERE / "fit.csv"
LEFT_OUT = HERE / "left_out.csv"
PRICES = HERE / "prices.csv"
FIGURE = HERE / "p1.png"
README = HERE / "README.md"

SIMULATED_COLOUR, BAND_COLOUR = "#00204d", "0.85"  # a blue that prints nearly black, and a light grey
POINT = {"marker": "o", "markerfacecolor": "white", "markeredgecolor": "black", "markersize": 5}

ORDERS_ALIKE = ((0, 0), (1, 8), (9, 9))  # on per-CPU lists, some in 6.0; behind the zone's lock; huge pages
LEFT_OUT_SOURCE = "experiments/calibration/left_out.csv: by curve, order, benchmark or number of cores"

# What in P1 says most about each fitted price.
FITTED_BY = {
    "alloc_fast": "bulk get on 1 core, and repeat",
    "free_fast": "bulk put on 1 core, and repeat",
    "lock_handover": "orders 2 to 7 on 8 cores; with lock_hold and line_other only in sums",
    "lock_hold": "orders 2 to 7 on 8 cores; with lock_handover and line_other only in sums",
    "buddy_split": "bulk get; with page_moved only in sums",
    "buddy_merge": "bulk put and rand over cores",
    "page_moved": "bulk get and put over cores; with buddy_split and buddy_merge only in sums",
    "page_check": "repeat of order 9, a loop over 511 pages",
    "line_hot": "bulk put over cores; with buddy_merge and page_moved only in sums",
    "line_other": "get and repeat of orders 4 and 7 on 8 cores, where others read what the lock protects",
    "line_other_overlapped": "put of orders 2 and 7 on 8 cores",
    "line_sequential": "bulk get of order 9, 512 struct pages in order",
    "line_memory": "bulk put and rand of order 9, and rand on 1 core",
    "line_memory_overlapped": "rand over cores",
}
assert set(FITTED_BY) == set(FITTED)


def write_prices(fitted: dict[str, float]) -> None:
    """Put the fitted prices into the shipped list, each with its source."""
    file = shipped_file("costs", COSTS)
    text = file.read_text(encoding="utf-8")
    nr_points = len(fitted_points(measured()))
    for name, price in fitted.items():
        value = f"{price:g}ns" if price >= 1 else f"{round(1000 * price)}ps"
        source = f"fitted to {nr_points} points of LLFree's benchmarks; most by {FITTED_BY[name]}"
        line = f'{name}: {{value: {value}, source: "{source}"}}'
        text, nr_lines = re.subn(rf"^{name}: .*$", lambda _, line=line: line, text, flags=re.MULTILINE)
        assert nr_lines == 1, name
    file.write_text(text, encoding="utf-8")


def write_left_out(others: pd.DataFrame) -> None:
    """Put into the shipped list how far off points were that the fit did not see."""
    file = shipped_file("costs", COSTS)
    text = file.read_text(encoding="utf-8").partition("left_out:\n")[0]
    kinds = [", ".join(f"{key}: {value}" for key, value in kind.items()) for kind in kinds_left_out(others)]
    lines = [f"  - {{{kind}}}" for kind in kinds]
    file.write_text("\n".join([text + "left_out:", *lines, ""]), encoding="utf-8")


def kinds_left_out(others: pd.DataFrame) -> list[dict[str, Any]]:
    """The same, of each kind of operation: all ways of leaving out together (kmsim.config.costs.LeftOut)."""
    kinds = []
    for low, high in ORDERS_ALIKE:
        for cpus in ("one", "several"):
            rows = others[others["order"].between(low, high) & ((others["cores"] == 1) == (cpus == "one"))]
            if rows.empty:
                continue
            error = pd.concat([left_out_errors(rows, name) for name in WITHOUT])
            said = {"api": "pages", "min_order": low, "max_order": high, "page_size": "4KiB", "cpus": cpus}
            found = {"median": f"{error.median():.1f}", "nine_of_ten": f"{error.quantile(0.9):.1f}"}
            kinds.append(said | {"points": len(rows)} | found | {"source": f'"{LEFT_OUT_SOURCE}"'})
    return kinds


def draw(table: pd.DataFrame) -> Any:
    """Measured against simulated: a panel for each curve of order 0, and one for the other points."""
    figure = plt.figure(figsize=(7.4, 4.6), layout="constrained")
    grid = figure.add_gridspec(2, 3, width_ratios=(1, 1, 1.25))
    for i, curve in enumerate(CURVES):
        axes = figure.add_subplot(grid[i // 2, i % 2])
        draw_curve(axes, table[(table["curve"] == curve) & (table["order"] == 0)])
        axes.set_title(f"{curve}, order 0", fontsize="medium")
        if i % 2 == 0:
            axes.set_ylabel("latency (ns per operation)")
        if i // 2:
            axes.set_xlabel("cores")
    axes = figure.add_subplot(grid[:, 2])
    draw_others(axes, table[table["order"] > 0])
    figure.suptitle("How close does one price list come to what was measured?")
    figure.legend(*axes.get_legend_handles_labels(), loc="outside lower center", ncols=3, fontsize="small")
    return figure


def draw_curve(axes: Any, curve: pd.DataFrame) -> None:
    """One curve over the cores: points, line, and the band in which the line is to stay."""
    bar = ERROR_BARS[0] / 100 * curve["measured_ns"]
    band = (curve["measured_ns"] - bar, curve["measured_ns"] + bar)
    axes.fill_between(curve["cores"], *band, color=BAND_COLOUR, linewidth=0)
    axes.plot(curve["cores"], curve["simulated_ns"], color=SIMULATED_COLOUR, linewidth=1.5)
    axes.plot(curve["cores"], curve["measured_ns"], linestyle="none", **POINT)
    axes.set(ylim=(0, 1.25 * curve["measured_ns"].max()), xlim=(0, 27))
    axes.xaxis.set_major_locator(FixedLocator([1, 4, 8, 13, 20, 26]))
    axes.yaxis.set_major_formatter(PLAIN)


def draw_others(axes: Any, others: pd.DataFrame) -> None:
    """The points of other orders, a row for each."""
    rows = range(len(others))
    bars = others["order"].map(ERROR_BARS) / 100
    axes.barh(
        rows,
        2 * bars * others["measured_ns"],
        left=(1 - bars) * others["measured_ns"],
        height=0.55,
        color=BAND_COLOUR,
        label="measured \N{PLUS-MINUS SIGN}15 % (order 0), \N{PLUS-MINUS SIGN}25 % (others)",
    )
    axes.plot(
        others["simulated_ns"], rows, "D", color=SIMULATED_COLOUR, markersize=4.5, label="simulated (lines; diamonds)"
    )
    axes.plot(others["measured_ns"], rows, linestyle="none", label="measured", **POINT)
    axes.set(
        xscale="log",
        xlim=_around(others),
        xlabel="latency (ns per operation)",
        title="curve, order (9: 1 core, others: 8)",
    )
    axes.title.set_fontsize("medium")
    axes.xaxis.set_major_locator(FixedLocator([100, 300, 1000, 3000]))
    axes.xaxis.set_minor_locator(NullLocator())
    axes.xaxis.set_major_formatter(PLAIN)
    labels = [f"{curve}, {order}" for curve, order in zip(others["curve"], others["order"], strict=True)]
    axes.set_yticks(rows, labels, fontsize="small")
    axes.invert_yaxis()


def _around(others: pd.DataFrame) -> tuple[float, float]:
    """The ends of an axis on which all of these points have room."""
    times = others[["measured_ns", "simulated_ns"]].to_numpy()
    return 0.6 * float(times.min()), 1.6 * float(times.max())


def never_fitted(table: pd.DataFrame) -> pd.DataFrame:
    """The points that the fit did not look at: other core counts, and `repeat` on more than one core."""
    return table.drop(fitted_points(table).index)


def errors_in_words(table: pd.DataFrame) -> str:
    """How far these points are off."""
    error = table["error_percent"].abs()
    most = f"nine of ten within {error.quantile(0.9):.1f} %, worst {error.max():.1f} %"
    return f"median error {error.median():.1f} %, {most}"


def left_out_errors(others: pd.DataFrame, name: str) -> pd.Series:
    """How far each point is off, in percent, when what it has in common with others is left out of the fit."""
    return 100 * (others[f"without_{name}_ns"] / others["measured_ns"] - 1).abs()


def _listed(some: Sequence[int]) -> str:
    return f"{', '.join(map(str, some[:-1]))} and {some[-1]}"


def numbers(table: pd.DataFrame, prices: pd.DataFrame, others: pd.DataFrame) -> str:
    """README's numbers: the largest errors, those of points left out, and the prices."""
    seen, unseen = fitted_points(table), never_fitted(table)
    lines = [
        f"Prices were fitted to {len(seen)} of {len(table)} points: of order 0 those on {_listed(CORES)} cores "
        f"(`repeat` on one), all of the other orders ({errors_in_words(seen)}). The other {len(unseen)}, up to "
        f"{unseen['cores'].max()} cores, are predicted: {errors_in_words(unseen)}.",
        "",
        f"Of {len(table)} points, {len(table) - len(outside(table))} are within what they may be off "
        f"(order 0: {ERROR_BARS[0]:.0f} %, the others: {ERROR_BARS[4]:.0f} %). The worst of each curve:",
        "",
        "| curve | order | cores | measured | simulated | error |",
        "|---|---|---|---|---|---|",
    ]
    lines += [
        f"| {row.curve} | {row.order} | {row.cores} | {row.measured_ns:,} ns | {row.simulated_ns:,.0f} ns "
        f"| {row.error_percent:+.1f} % |"
        for row in worst(table).itertuples()
    ]
    lines += ["", "| left out of the fit, together | median error | nine of ten within | worst |", "|---|---|---|---|"]
    for name, columns in WITHOUT.items():
        error = left_out_errors(others, name)
        words = " and ".join(columns)
        lines.append(
            f"| points of one {words} | {error.median():.1f} % | {error.quantile(0.9):.0f} % | {error.max():.0f} % |"
        )
    lines += ["", "| fitted price | ns | what says most about it |", "|---|---|---|"]
    lines += [f"| `{row.price}` | {row.ns:g} | {FITTED_BY[row.price]} |" for row in prices.itertuples()]
    return "\n".join(lines) + "\n"


def main(arguments: list[str]) -> None:
    """Fit, or take what is there; then write what came of it, and say how long that took."""
    mpl.use("Agg")
    began = time.process_time()
    if "--draw" not in arguments:
        points = measured()
        shipped = shipped_prices()
        prices = {name: shipped[name] for name in FITTED}
        if "--shipped" not in arguments:
            model, found = fit(points)
            prices = prices_of(found)
            left_out(model).to_csv(LEFT_OUT, index=False, lineterminator="\n")
        if "--write" in arguments:
            write_prices(prices)
            write_left_out(pd.read_csv(LEFT_OUT))
        table = compared(points, simulated(points, prices, report=lambda run: print("simulating", *run)))
        table.to_csv(FIT, index=False, lineterminator="\n")
        pd.DataFrame({"price": prices.keys(), "ns": prices.values()}).to_csv(PRICES, index=False, lineterminator="\n")
    table, fitted, others = pd.read_csv(FIT), pd.read_csv(PRICES), pd.read_csv(LEFT_OUT)
    print(worst(table).to_string(index=False))
    with styled():
        save_figure(draw(table), FIGURE)
    write_numbers(README, numbers(table, fitted, others))
    print(f"took {(time.process_time() - began) / 60:.1f} minutes of one core")


if __name__ == "__main__":
    main(sys.argv[1:])
