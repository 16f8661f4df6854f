"""Ask for every size up to past kmalloc's limit, in fresh and in fragmented memory, and time what succeeds.

    python experiments/kmalloc_limit/kmalloc_limit.py          # all of it, about a minute
    python experiments/kmalloc_limit/kmalloc_limit.py --draw   # figure and README from the tables

success.csv: how many machines gave each size, by page size, largest block and state; results.csv: success and times
of a steady load, a run a row. The figure and README's numbers are made of these two alone.
"""

from __future__ import annotations

import sys
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import matplotlib as mpl
import matplotlib.pyplot as plt
import pandas as pd
from matplotlib.ticker import FuncFormatter, NullLocator

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))  # experiments share code

import kmsim
from experiments.figures import save_figure, write_numbers
from kmsim.config import Study, load
from kmsim.config.machine_params import slab_build_of
from kmsim.mm.slab_common import Caches, kmalloc_limits
from kmsim.plots.style import styled
from kmsim.sim.core.ask import can_kmalloc
from kmsim.sim.run.boot import machine_of
from kmsim.study.store import Result
from kmsim.study.summary import operations_summary
from kmsim.units import format_size

HERE = Path(__file__).parent
STUDY = HERE / "kmalloc_limit.yaml"
SUCCESS = HERE / "success.csv"
RESULTS = HERE / "results.csv"
FIGURE = HERE / "kmalloc_limit.png"
README = HERE / "README.md"

ARCHS = {4: "x86-64", 16: "arm64", 64: "arm64"}  # by page size in KiB
DEFAULTS = {4: 10, 16: 11, 64: 13}
ORDERS = range(8, 14)
STATES = {"fresh": None, "half": 0.5, "worse": 0.9}  # the unusable index at AGED_KIB
LABELS = {"fresh": "fresh memory", "half": "fragmented, index 0.5", "worse": "fragmented, index 0.9"}
AGED_KIB = 128
SEEDS = range(1, 4)
LEAST_SHIFT = 5  # from 32 bytes on
HELD_BYTES = 16 << 20
LOOKS: dict[str, dict[str, Any]] = {
    "fresh": {"color": mpl.colormaps["cividis"](0.0), "linestyle": "-", "linewidth": 2.0, "marker": "o"},
    "half": {"color": mpl.colormaps["cividis"](0.45), "linestyle": (0, (4, 1)), "linewidth": 1.4, "marker": "s"},
    "worse": {"color": mpl.colormaps["cividis"](0.75), "linestyle": (0, (1, 1)), "linewidth": 1.6, "marker": "D"},
}
LIMIT_LOOK: dict[str, Any] = {"color": "0.75", "linewidth": 6}
LIMIT_LABEL = "KMALLOC_MAX_SIZE"
RUNS = [*((state, False) for state in STATES), ("fresh", True)]  # zeroing takes the same time in all states
POINTS = [(page_kib, state, zero) for page_kib in ARCHS for state, zero in RUNS]


def study_of(page_kib: int, order: int, state: str, seed: int = 1, **request: Any) -> Study:
    """A machine of these pages, largest block and state; a request's keys replace those of the study."""
    index = STATES[state]
    aged_order = (AGED_KIB // page_kib).bit_length() - 1
    sets = [
        f"machine.arch={ARCHS[page_kib]}",
        f"machine.page_size={page_kib}KiB",
        f"machine.max_page_order={order}",
        f"machine.thp.built_in={order >= (page_kib << 10).bit_length() - 4}".lower(),
        f"machine.state={'fresh' if index is None else f'{{aged: {{order: {aged_order}, unusable_index: {index}}}}}'}",
    ]
    sets += [f"workload.threads[0].requests[0].{key}={value}" for key, value in request.items()]
    if "bytes" in request:
        sets.append(f"workload.threads[0].live={min(max(HELD_BYTES // int(request['bytes'][:-1]), 1), 256)}")
    return load(STUDY, sets, seed)


def asked(page_kib: int, order: int, state: str, seeds: range) -> Iterator[dict[str, Any]]:
    """Each size, asked of machines that differ in how they became what they are: rows of success.csv."""
    machines = []
    for seed in seeds if STATES[state] else seeds[:1]:
        config = study_of(page_kib, order, state, seed).machine
        machines.append(machine_of(config, seed))
    caches = Caches(slab_build_of(config))
    limit = caches.limits.kmalloc_max_size
    for size in [2 * limit, limit + 1, *(1 << shift for shift in range(limit.bit_length() - 1, LEAST_SHIFT - 1, -1))]:
        given = sum(can_kmalloc(m, caches, size) for m in machines)
        keys = {"page_kib": page_kib, "max_page_order": order, "state": state, "size": size}
        yield {**keys, "machines": len(machines), "gave_it": given}


def timed(page_kib: int, state: str, zero: bool) -> Iterator[dict[str, Any]]:
    """A run for each size that is legal, with the kernel's default largest block: rows of results.csv."""
    order = DEFAULTS[page_kib]
    for shift in range(LEAST_SHIFT, (page_kib << 10 << order).bit_length()):
        study = study_of(page_kib, order, state, bytes=f"{1 << shift}B", zero=str(zero).lower())
        result: Result = kmsim.run(study)
        table = operations_summary(result)
        (row,) = table[table["kind"] == "alloc"].to_dict("records")
        keys = {"page_kib": page_kib, "state": state, "zero": zero, "size": 1 << shift}
        yield {**keys, **{name: row[name] for name in ("count", "failed", "mean_ns", "p50_ns", "p99_ns", "max_ns")}}


def simulate() -> None:
    """Ask and run; write success.csv and results.csv."""
    rows = [row for page in ARCHS for order in ORDERS for state in STATES for row in asked(page, order, state, SEEDS)]
    pd.DataFrame(rows).to_csv(SUCCESS, index=False)
    times = pd.DataFrame([row for point in POINTS for row in timed(*point)])
    times.to_csv(RESULTS, index=False, float_format="%.6g")


def limit_of(page_kib: int, order: int) -> int:
    """The limit on paper, in bytes (kernel: KMALLOC_MAX_SIZE)."""
    return kmalloc_limits(slab_build_of(study_of(page_kib, order, "fresh").machine)).kmalloc_max_size


def largest(success: pd.DataFrame) -> pd.Series:
    """The largest size that each machine gave, in bytes, by page size, largest block and state."""
    given = success[success["gave_it"] == success["machines"]]
    return given.groupby(["page_kib", "max_page_order", "state"])["size"].max()


def draw(success: pd.DataFrame, results: pd.DataFrame) -> Any:
    """A column for each page size: the largest success by largest block; success and time by size."""
    with styled():
        figure, panels = plt.subplots(3, 3, figsize=(7.4, 7.6), sharey="row", layout="constrained")
        figure.suptitle("How much can one kmalloc give, on paper and in practice?")
        for column, page_kib in zip(panels.T, ARCHS, strict=True):
            _largest(column[0], success, page_kib)
            _share(column[1], success, results[results["page_kib"] == page_kib])
            _times(column[2], results, page_kib)
            for axes in column[1:]:
                axes.set_xscale("log", base=2)
                _sizes(axes.xaxis, range(5, 31, 6))
                axes.set_xlim(1 << (LEAST_SHIFT - 1), 1 << 31)
        panels[0, 0].set_ylabel("largest kmalloc that succeeds")
        _sizes(panels[0, 0].yaxis, range(18, 31, 2))
        panels[1, 0].set(ylabel="requests that succeed,\n16 MiB held (%)")
        panels[2, 0].set(ylabel="median time of those that\nsucceed (ns)", yscale="log")
        panels[2, 0].yaxis.set_major_formatter(FuncFormatter(lambda ns, _: f"{ns:,.0f}"))
        named = [axes.get_legend_handles_labels() for axes in (panels[0, 0], panels[2, 0])]
        handles, labels = ([*above, *below] for above, below in zip(*named, strict=True))
        figure.legend(handles, labels, fontsize="small", loc="outside lower center", ncols=3)
    return figure


def _largest(axes: Any, success: pd.DataFrame, page_kib: int) -> None:
    axes.plot(ORDERS, [limit_of(page_kib, order) for order in ORDERS], label=LIMIT_LABEL, **LIMIT_LOOK)
    found = largest(success)
    for state, look in LOOKS.items():
        sizes = [found.get((page_kib, order, state), 0) for order in ORDERS]
        axes.plot(ORDERS, sizes, label=LABELS[state], markersize=4, **look)
    axes.set_yscale("log", base=2)
    axes.set(xlabel="largest block (order)", xticks=ORDERS)
    axes.set_title(f"{page_kib} KiB pages (n = {len(SEEDS)} machines)", fontsize="medium")


def _share(axes: Any, success: pd.DataFrame, results: pd.DataFrame) -> None:
    page_kib = int(results["page_kib"].iloc[0])
    order = DEFAULTS[page_kib]
    limit = limit_of(page_kib, order)
    axes.axvline(limit, **LIMIT_LOOK)
    beyond = success[(success["page_kib"] == page_kib) & (success["max_page_order"] == order)]
    beyond = beyond[beyond["size"] > limit].sort_values("size").assign(share=0.0)
    assert (beyond["gave_it"] == 0).all(), "the limit is one"
    for state, look in LOOKS.items():
        part = results[(results["state"] == state) & ~results["zero"]]
        part = part.assign(share=100 * part["count"] / (part["count"] + part["failed"]))
        both = pd.concat((part, beyond[beyond["state"] == state]))
        axes.plot(both["size"], both["share"], markersize=3, **look)
    axes.set_title(f"order {order}, the default", fontsize="medium")
    axes.set(xlabel="size of the request", ylim=(-4, 104))


def _times(axes: Any, results: pd.DataFrame, page_kib: int) -> None:
    mine = results[results["page_kib"] == page_kib]
    axes.axvline(limit_of(page_kib, DEFAULTS[page_kib]), **LIMIT_LOOK)
    for (state, zero), part in mine.groupby(["state", "zero"], sort=False):
        look = {**LOOKS[str(state)], "markersize": 3}
        if zero:
            look |= {"marker": "", "color": "black", "linewidth": 1}
        axes.plot(part["size"], part["p50_ns"], label="fresh memory, zeroed (kzalloc)" if zero else None, **look)
    n = mine["count"][mine["count"] > 0]
    axes.set_title(f"n = {n.min():,} to {n.max():,} a point", fontsize="medium")
    axes.set_xlabel("size of the request")


def _sizes(axis: Any, shifts: range) -> None:
    axis.set_ticks([1 << shift for shift in shifts])
    axis.set_major_formatter(FuncFormatter(lambda size, _: shown(int(size))))
    axis.set_minor_locator(NullLocator())
    axis.set_tick_params(labelsize="small")


def shown(size: int) -> str:
    """A size as it is written: 512 B, 4 KiB, 2 MiB."""
    text = format_size(size)
    return text.replace("B", " B") if text[-2].isdigit() else f"{text[:-3]} {text[-3:]}"


def numbers(success: pd.DataFrame, results: pd.DataFrame) -> str:
    """README's three sentences and its table."""
    found = largest(success)
    lines = [
        sentences(success, results),
        "| pages | max_page_order | KMALLOC_MAX_SIZE | " + " | ".join(LABELS.values()) + " |",
        "|---|---|---|---|---|---|",
    ]
    for page_kib in ARCHS:
        for order in ORDERS:
            default = " (default)" if DEFAULTS[page_kib] == order else ""
            cells = [shown(int(found.get((page_kib, order, state), 0))) for state in STATES]
            limit = shown(limit_of(page_kib, order))
            lines.append(f"| {page_kib} KiB | {order}{default} | {limit} | {' | '.join(cells)} |")
    return "\n".join(lines) + "\n"


def sentences(success: pd.DataFrame, results: pd.DataFrame) -> str:
    """The three sentences."""
    found = largest(success)
    points = [(page_kib, order) for page_kib in ARCHS for order in ORDERS]
    limits = {point: limit_of(*point) for point in points}
    reached = sum(found[(*point, "fresh")] == limit for point, limit in limits.items())

    def span(sizes: Iterable[int]) -> str:
        ends = sorted(set(sizes))
        return shown(ends[0]) if len(ends) == 1 else f"{shown(ends[0])} to {shown(ends[-1])}"

    half, worse = (span(int(found[(*point, state)]) for point in points) for state in ("half", "worse"))
    plain = results[~results["zero"]].set_index(["state", "page_kib", "size"]).sort_index()
    zeroed = results[results["zero"]].set_index(["page_kib", "size"])["p50_ns"]
    most = limits[4, DEFAULTS[4]]
    medians = plain.loc["fresh", 4]["p50_ns"]
    small, block, limit = (f"{medians[size]:.0f} ns for {shown(size)}" for size in (64, 1 << 16, most))
    return f"""On paper one kmalloc gives {span(limits.values())}, by page size and largest block, and in fresh memory
{reached} of {len(points)} machines give just as much, and not a byte more.
In fragmented memory the largest success has to do with neither: where half of what is free lies in blocks
below {AGED_KIB} KiB it is {half} on every machine, and {worse} where nine tenths do.
With 4 KiB pages and fresh memory the median kmalloc takes {small}, {block} and {limit};
zeroed, the last takes {zeroed[4, most]:,.0f} ns.
In fresh memory {growth(plain, "fresh")}
from the smallest size to the largest. In fragmented memory the tails
depend on the size far more than the medians do: {growth(plain, "half", "worse")}.

{tails(plain)}"""


def growth(plain: pd.DataFrame, *states: str) -> str:
    """How many times as long the slowest size takes as the fastest, in the median and at the 99th percentile."""

    def times(column: str) -> str:
        parts = [plain.loc[state, page_kib][column] for state in states for page_kib in ARCHS]
        factors = sorted(part.max() / part.min() for part in parts)
        return f"{factors[0]:,.0f} to {factors[-1]:,.0f} times"

    return f"the median grows {times('p50_ns')} and the 99th percentile {times('p99_ns')}"


def tails(plain: pd.DataFrame) -> str:
    """A table of the slowest requests: by page size and state, the size whose p99 is highest."""
    lines = ["| pages | memory | size with the slowest p99 | median | p99 | p99 / median | longest |"]
    lines += ["|---|---|---|---|---|---|---|"]
    for page_kib in ARCHS:
        for state, name in LABELS.items():
            part = plain.loc[state, page_kib]
            size = int(part["p99_ns"].idxmax())
            row = part.loc[size]
            p50, p99, longest = (f"{row[column]:,.0f} ns" for column in ("p50_ns", "p99_ns", "max_ns"))
            ratio = f"{row['p99_ns'] / row['p50_ns']:,.1f}"
            lines.append(f"| {page_kib} KiB | {name} | {shown(size)} | {p50} | {p99} | {ratio} | {longest} |")
    return "\n".join(lines) + "\n"


def main(arguments: list[str]) -> None:
    """Everything, unless only the drawing is wanted; then the figure and README, from the tables alone."""
    mpl.use("Agg")
    if "--draw" not in arguments:
        simulate()
    success, results = pd.read_csv(SUCCESS), pd.read_csv(RESULTS)
    save_figure(draw(success, results), FIGURE)
    write_numbers(README, numbers(success, results))


if __name__ == "__main__":
    main(sys.argv[1:])
