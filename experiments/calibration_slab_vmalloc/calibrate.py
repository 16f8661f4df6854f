"""Fit four machines' price lists to P2, P3 and P4: single pages, slab objects and vmalloc.

    python experiments/calibration_slab_vmalloc/calibrate.py            # fit, tables, figure and README's numbers
    python experiments/calibration_slab_vmalloc/calibrate.py --write    # and write the prices to configs/costs
    python experiments/calibration_slab_vmalloc/calibrate.py --shipped  # no fit: the prices of those files
    python experiments/calibration_slab_vmalloc/calibrate.py --draw     # no simulation either: figure and numbers

A fit takes about five minutes.
"""

from __future__ import annotations

import re
import sys
from pathlib import Path
from typing import Any

import matplotlib as mpl
import matplotlib.pyplot as plt
import pandas as pd
from matplotlib.ticker import FixedLocator, NullLocator

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))  # experiments share code

from experiments.calibration.calibrate import BAND_COLOUR, POINT, SIMULATED_COLOUR
from experiments.calibration_slab_vmalloc.fit import FITTED, best, by_name, left_out, model_of
from experiments.calibration_slab_vmalloc.published import (
    CLOCK_GHZ,
    ERROR_BAR,
    compared,
    measured,
    outside,
    shipped_prices,
    simulated,
)
from experiments.figures import save_figure, write_numbers
from kmsim.config.shipped import shipped_file
from kmsim.plots.style import PLAIN, entry, styled

HERE = Path(__file__).parent
FIT = HERE / "fit.csv"
PRICES = HERE / "prices.csv"
LEFT_OUT = HERE / "left_out.csv"
FIGURE = HERE / "rows.png"
README = HERE / "README.md"

CALIBRATED_ON = {
    "e5-1650-v4": "page_bench of 2021 and SLUB's bulk benchmarks",
    "page-bench-2017": "page_bench of 2017 and SLUB's bulk benchmarks",
    "slab-test-3.19": "slab_test of Linux 3.19",
    "graviton3": "test_vmalloc",
}
# A machine without measurements of slabs and vmalloc takes these prices by the clock, and from which list.
SCALED_TO, SCALED_CLOCK_GHZ = "xeon-gold-5320", 2.2
BY_THE_CLOCK = f"assumed: {SCALED_TO} by the clock"
SCALED_FROM = {
    "e5-1650-v4": ("bulk_page", "slab_alloc_fast", "slab_free_fast", "bulk_object"),
    "slab-test-3.19": (
        "slab_alloc_slow",
        "slab_free_slow",
        "slab_cmpxchg",
        "slab_new",
        "slab_discard",
        "object_set_up",
    ),
    "graviton3": ("vmalloc", "vfree", "vmap_step", "pte_set", "pte_cleared"),
}


def replaced(text: str, name: str, price_ns: float, source: str) -> str:
    """A price list with another price and its source."""
    value = f"{price_ns:g}ns" if price_ns >= 1 else f"{round(1000 * price_ns)}ps"
    line = f'{name}: {{value: {value}, source: "{source}"}}'
    text, nr_lines = re.subn(rf"^{name}: .*$", lambda _: line, text, flags=re.MULTILINE)
    assert nr_lines == 1, name
    return text


def write_prices(prices: pd.DataFrame) -> None:
    """Put the fitted prices into the shipped lists, each with its source; and, by the clock, those that follow."""
    for costs, of_list in prices.groupby("costs", sort=False):
        file = shipped_file("costs", costs)
        text = file.read_text(encoding="utf-8")
        for name, price in zip(of_list["price"], of_list["ns"], strict=True):
            text = replaced(text, name, price, source_of(costs, name, price))
        file.write_text(text, encoding="utf-8")
    file = shipped_file("costs", SCALED_TO)
    text = file.read_text(encoding="utf-8")
    for (costs, name), price in scaled_prices().items():
        text = replaced(text, name, price, f"assumed: that of {costs} by the clock, {SCALED_CLOCK_GHZ} GHz")
    file.write_text(text, encoding="utf-8")


def is_not_told(costs: str, name: str, price_ns: float) -> bool:
    """Did the price stay where the search starts?"""
    return price_ns == FITTED[costs][name].start


def is_on_bound(costs: str, name: str, price_ns: float) -> bool:
    """Does it stand where the search may go no further?"""
    return price_ns in (FITTED[costs][name].low, FITTED[costs][name].high)


def source_of(costs: str, name: str, price_ns: float) -> str:
    """Where a price comes from that was searched for: told by the rows, a bound, or where the search started."""
    rows = CALIBRATED_ON[costs]
    if is_not_told(costs, name, price_ns):
        return f"assumed: not told by the rows of {rows}"
    if is_on_bound(costs, name, price_ns):
        return f"assumed: the bound of what is plausible; a fit to all rows of {rows} would go beyond"
    return f"fitted to all rows of {rows}"


def findings(prices: pd.DataFrame) -> list[str]:
    """README's lines on prices that are none: those on a bound, and those that no row tells."""
    rows = list(prices.itertuples())
    on_bound = [f"`{row.price}` of `{row.costs}` ({row.ns:g} ns)" for row in rows if is_on_bound(*row[1:])]
    untold = [f"`{row.price}` of `{row.costs}`" for row in rows if is_not_told(*row[1:])]
    return [
        f"**No prices.** {len(on_bound)} of the {len(rows)} stand on a bound of their range, so that they are "
        f"findings: {', '.join(on_bound)}. Something that the model does not have saves that time. {len(untold)} "
        f"others stay where the search starts, and their lists call them assumed: {', '.join(untold)}.",
        "",
    ]


def set_by_the_clock() -> None:
    """Let the lists of the other machines follow the one whose prices they take by the clock."""
    for costs in CLOCK_GHZ:
        file = shipped_file("costs", costs)
        text = file.read_text(encoding="utf-8")
        for name, price in by_the_clock(costs).items():
            text = replaced(text, name, price, BY_THE_CLOCK)
        file.write_text(text, encoding="utf-8")


def by_the_clock(costs: str) -> dict[str, float]:
    """What the prices of a list should be that say so, in ns."""
    text = shipped_file("costs", costs).read_text(encoding="utf-8")
    names = re.findall(rf'^(\w+): .*"{re.escape(BY_THE_CLOCK)}"', text, flags=re.MULTILINE)
    prices = shipped_prices(SCALED_TO)
    return {name: float(f"{prices[name] * SCALED_CLOCK_GHZ / CLOCK_GHZ[costs]:.3g}") for name in names}


def scaled_prices() -> dict[tuple[str, str], float]:
    """By list and name, the prices in ns that another machine takes from the shipped lists, by the clock."""
    return {
        (costs, name): float(f"{shipped_prices(costs)[name] * CLOCK_GHZ[costs] / SCALED_CLOCK_GHZ:.3g}")
        for costs, names in SCALED_FROM.items()
        for name in names
    }


STYLES = ("-", "--")  # of two curves in one panel


def draw(table: pd.DataFrame) -> Any:
    """Measured against simulated, a panel for each benchmark."""
    panels = [
        ("pages in bulk", [("e5-1650-v4", "page bulk"), ("page-bench-2017", "page bulk")], "pages of a bulk"),
        ("objects in bulk", [("e5-1650-v4", "object bulk")], "objects of a bulk"),
        ("10,000 objects", [("slab-test-3.19", "kmalloc"), ("slab-test-3.19", "kfree")], "bytes of an object"),
        ("vmalloc and vfree", [("graviton3", "vmalloc")], "pages of an area"),
    ]
    figure, grid = plt.subplots(2, 2, figsize=(7.4, 5.4), layout="constrained")
    for axes, (title, curves, label) in zip(grid.flat, panels, strict=True):
        for style, (costs, benchmark) in zip(STYLES, curves, strict=False):
            draw_curve(axes, table[(table["costs"] == costs) & (table["benchmark"] == benchmark)], style)
        axes.set_title(f"{title} ({', '.join(dict.fromkeys(costs for costs, _ in curves))})", fontsize="small")
        axes.set_xlabel(label, fontsize="small")
        if len(curves) > 1:
            names = [costs if len({costs for costs, _ in curves}) > 1 else benchmark for costs, benchmark in curves]
            handles = [
                entry(of, linestyle=style, color=SIMULATED_COLOUR) for of, style in zip(names, STYLES, strict=True)
            ]
            low, high = axes.get_ylim()
            axes.set_ylim(low, high * (high / low) ** 0.3)  # room for the legend
            axes.legend(handles=handles, fontsize="small", title="simulated", title_fontsize="small")
    for axes in grid[:, 0]:
        axes.set_ylabel("time (ns)")
    figure.suptitle("How close does one price list for each machine come to what was measured?", fontsize="medium")
    figure.legend(*grid[0, 1].get_legend_handles_labels(), loc="outside lower center", ncols=3, fontsize="small")
    return figure


def draw_curve(axes: Any, curve: pd.DataFrame, style: str) -> None:
    """One benchmark over its sizes: points, line, and the band in which the line is to stay."""
    bar = ERROR_BAR / 100 * curve["measured_ns"]
    low, high = curve["measured_ns"] - bar, curve["measured_ns"] + bar
    axes.fill_between(
        curve["n"], low, high, color=BAND_COLOUR, alpha=0.7, linewidth=0, label="measured \N{PLUS-MINUS SIGN}20 %"
    )
    axes.plot(curve["n"], curve["simulated_ns"], style, color=SIMULATED_COLOUR, linewidth=1.5, label="simulated")
    axes.plot(curve["n"], curve["measured_ns"], label="measured", linestyle="none", **POINT)
    axes.set(xscale="log", yscale="log")
    axes.xaxis.set_major_locator(FixedLocator(curve["n"].tolist()[:: 1 + len(curve) // 8]))
    axes.xaxis.set_minor_locator(NullLocator())
    ticks = [tick for tick in (10, 20, 30, 50, 100, 200, 1000, 3000, 10_000, 30_000) if low.min() < tick < high.max()]
    axes.yaxis.set_major_locator(FixedLocator(ticks))
    axes.yaxis.set_minor_locator(NullLocator())
    for axis in (axes.xaxis, axes.yaxis):
        axis.set_major_formatter(PLAIN)
    axes.tick_params(labelsize="small")


def numbers(table: pd.DataFrame, prices: pd.DataFrame, others: pd.DataFrame) -> str:
    """README's numbers: all rows, those of rows left out, and the prices."""
    lines = [
        f"Of {len(table)} rows, {len(table) - len(outside(table))} are within {ERROR_BAR:.0f} % of what was measured; "
        f"the worst is off by {table['error_percent'].abs().max():.1f} %.",
        "",
        *predicted(others),
        "| table | price list | benchmark | n | measured | simulated | error |",
        "|---|---|---|---|---|---|---|",
    ]
    for row in table.itertuples():
        clock = CLOCK_GHZ[row.costs] if row.table != "P4" else 1.0
        unit = "cycles" if row.table != "P4" else "ns"
        times = [f"{value * clock:,.0f} {unit}" for value in (row.measured_ns, row.simulated_ns)]
        where = f"{row.table} | `{row.costs}` | {row.benchmark} | {row.n}"
        lines.append(f"| {where} | {times[0]} | {times[1]} | {row.error_percent:+.1f} % |")
    lines += ["", *findings(prices), "| price list | fitted price | ns |", "|---|---|---|"]
    told = [row for row in prices.itertuples() if not is_not_told(*row[1:]) and not is_on_bound(*row[1:])]
    lines += [f"| `{row.costs}` | `{row.price}` | {row.ns:g} |" for row in told]
    return "\n".join([*lines, ""])


def fitted(points: pd.DataFrame) -> tuple[pd.DataFrame, pd.DataFrame]:
    """The prices that fit best: costs, price, ns; and each row as the fit to all others of its list has it."""
    prices, others = [], []
    for costs in FITTED:
        of_list = points[points["costs"] == costs]
        model = model_of(of_list, costs, lambda line: print(line, flush=True))
        prices += [(costs, name, price) for name, price in by_name(best(model, costs), costs).items()]
        others.append(of_list.assign(without_ns=left_out(model, costs)).round(3))
    return pd.DataFrame(prices, columns=["costs", "price", "ns"]), pd.concat(others).sort_index()


def left_out_errors(others: pd.DataFrame) -> pd.Series:
    """How far off each row is, in percent, that is left out of the fit."""
    return 100 * (others["without_ns"] / others["measured_ns"] - 1).abs()


def predicted(others: pd.DataFrame) -> list[str]:
    """README's lines on rows that are predicted from the others."""
    error = left_out_errors(others)
    worst = others.loc[error.idxmax()]
    return [
        f"Each row as the fit to all others of its list has it: median error {error.median():.1f} %, nine of ten "
        f"within {error.quantile(0.9):.0f} %, worst {error.max():.0f} % "
        f"({worst['benchmark']} {worst['n']} of `{worst['costs']}`).",
        "",
    ]


def shipped() -> pd.DataFrame:
    """The same of the shipped lists."""
    rows = [(costs, name, shipped_prices(costs)[name]) for costs, names in FITTED.items() for name in names]
    return pd.DataFrame(rows, columns=["costs", "price", "ns"])


def by_list(prices: pd.DataFrame) -> dict[str, dict[str, float]]:
    """The prices of each list, by name."""
    return {costs: dict(zip(rows["price"], rows["ns"], strict=True)) for costs, rows in prices.groupby("costs")}


def main(arguments: list[str]) -> None:
    """Fit, or take what is there; then write what came of it."""
    mpl.use("Agg")
    if "--draw" not in arguments:
        points = measured()
        if "--write" in arguments:
            set_by_the_clock()
        prices = shipped()
        if "--shipped" not in arguments:
            prices, others = fitted(points)
            others.to_csv(LEFT_OUT, index=False, lineterminator="\n")
        table = compared(points, simulated(points, by_list(prices)))
        if "--write" in arguments:
            write_prices(prices)
            set_by_the_clock()
        table.to_csv(FIT, index=False, lineterminator="\n")
        prices.to_csv(PRICES, index=False, lineterminator="\n")
    table, prices = pd.read_csv(FIT), pd.read_csv(PRICES)
    print(table.to_string(index=False))
    with styled():
        save_figure(draw(table), FIGURE)
    write_numbers(README, numbers(table, prices, pd.read_csv(LEFT_OUT)))


if __name__ == "__main__":
    main(sys.argv[1:])
