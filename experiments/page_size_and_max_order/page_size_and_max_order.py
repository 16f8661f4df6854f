"""Run the same demand in bytes with three page sizes and three largest blocks each.

    python experiments/page_size_and_max_order/page_size_and_max_order.py          # all of it
    python experiments/page_size_and_max_order/page_size_and_max_order.py --draw   # figure and README from results.csv

Each point's numbers go to results.csv, one measure a row; the figure and README's numbers are made of that file alone.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import matplotlib as mpl
import matplotlib.pyplot as plt
import numpy as np
import pandas as pd

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))  # experiments share code

import kmsim
from experiments.figures import quantile_ns, save_figure, write_numbers
from kmsim.config import Study, load
from kmsim.metrics.gfp_names import gfp_names
from kmsim.plots.figures import DASHES, PLAIN, styled
from kmsim.study.store import Result

HERE = Path(__file__).parent
STUDY = HERE / "page_size_and_max_order.yaml"
RESULTS = HERE / "results.csv"
FIGURE = HERE / "page_size_and_max_order.png"
README = HERE / "README.md"

KIB, MIB = 1 << 10, 1 << 20
# By page size in KiB: blocks of 2 MiB, the kernel's default, and the largest that is legal (with 64 KiB, they are one).
ORDERS = {4: (9, 10, 15), 16: (7, 11, 13), 64: (5, 11, 13)}
DEFAULTS = {4: 10, 16: 11, 64: 13}
POINTS = [(page_kib, order) for page_kib, orders in ORDERS.items() for order in orders]
SEEDS = (1, 2, 3)
POINT = ["page_kib", "max_page_order"]
KEYS = [*POINT, "largest_block_mib", "pageblock_mib", "seed", "request", "measure"]
CACHE = "page of cache"  # a request for single pages is measured page by page


class Demand(NamedTuple):
    """How much the workload asks for after filling memory: the study's threads in their order."""

    mixed: int = 24000  # operations of each thread
    kept: int = 1500  # requests, each of which is made and one freed
    dropped: int = 200


FULL = Demand()


def study_of(page_kib: int, order: int, seed: int, demand: Demand = FULL) -> Study:
    """One point: what is said in requests becomes the operations that this page size needs for them."""
    pages = 64 // page_kib  # of a request for cache
    sets = [f"machine.page_size={page_kib}KiB", f"machine.max_page_order={order}"]
    for n, operations in enumerate((demand.mixed, 2 * demand.kept * pages, 2 * demand.dropped * pages)):
        sets.append(f"workload.threads[{n}].phases[1].operations={operations}")
    return load(STUDY, sets, seed)


def rows_of(study: Study, result: Result) -> Iterator[dict[str, Any]]:
    """One point's rows of results.csv."""
    page = study.machine.page_size
    keys = {
        "page_kib": page // KIB,
        "max_page_order": study.machine.max_page_order,
        "largest_block_mib": (page << study.machine.max_page_order) / MIB,
        "pageblock_mib": (page << study.machine.pageblock_order) / MIB,
        "seed": study.seed,
    }
    asked = held = failures = 0
    for request, row in _by_request(study, result):
        asked += row.pop("asked_bytes")
        held += row.pop("held_bytes")
        failures += row["failed"]
        yield from ({**keys, "request": request, "measure": name, "value": value} for name, value in row.items())
    whole = {"asked_mib": asked / MIB, "held_mib": held / MIB, "failed": failures, **_free(result)}
    yield from ({**keys, "request": "all", "measure": name, "value": value} for name, value in whole.items())


def _by_request(study: Study, result: Result) -> Iterator[tuple[str, dict[str, Any]]]:
    """What became of each kind of request, all CPUs and threads together."""
    page = study.machine.page_size
    operations, histograms = result.operations, result.histograms
    kinds = {request for thread in study.workload.threads for request in thread.requests}
    for request in sorted(kinds, key=lambda request: (not request.contiguous, request.bytes)):
        gfp, order = gfp_names(request.gfp_flags), request.order_on(page)
        mine = operations[(operations["gfp"] == gfp) & (operations["order"] == order)]
        allocs, frees = (mine[mine["kind"] == kind] for kind in ("alloc", "free"))
        each = request.bytes // request.nr_blocks(page)  # bytes asked for in one operation
        nr_held = int(allocs["count"].sum() - frees["count"].sum())
        buckets = histograms[
            (histograms["kind"] == "alloc") & (histograms["gfp"] == gfp) & (histograms["order"] == order)
        ]
        mean_ns = (allocs["mean_ns"] * allocs["count"]).sum() / allocs["count"].sum()
        yield (
            f"{request.bytes // KIB} KiB" if request.contiguous else CACHE,
            {
                "allocations": int(allocs["count"].sum()),
                "failed": int(allocs["failed"].sum()),
                "requested_mib": int(allocs["count"].sum() + allocs["failed"].sum()) * each / MIB,
                "p50_ns": quantile_ns(buckets, 500),
                "p99_ns": quantile_ns(buckets, 990),
                "mean_ns_of_a_request": mean_ns * request.nr_blocks(page),
                "asked_bytes": nr_held * each,
                "held_bytes": nr_held * (page << order),
            },
        )


def _free(result: Result) -> dict[str, float]:
    """Free memory at the end, in MiB: all of it, and what of it lies in blocks of at least 2 MiB."""
    samples, memory = (table[table["time_ns"] == table["time_ns"].max()] for table in (result.samples, result.memory))
    page = result.page_size_bytes
    free = samples["free_pages"].sum() * page / MIB
    in_large = samples[(page * 2 ** samples["order"]) >= 2 * MIB]["free_pages"].sum() * page / MIB
    return {
        "free_mib": free,
        "free_in_2mib_blocks_mib": in_large,
        "unusable_index_2mib": 1 - in_large / free,
        "per_cpu_lists_mib": memory["pcp_pages"].sum() * page / MIB,
    }


def simulate() -> None:
    """Run every point and write results.csv."""
    rows: list[dict[str, Any]] = []
    for page_kib, order in POINTS:
        for seed in SEEDS:
            study = study_of(page_kib, order, seed)
            rows += rows_of(study, kmsim.run(study))
    table = pd.DataFrame(rows)[[*KEYS, "value"]]
    table.to_csv(RESULTS, index=False, float_format="%.6g")


def medians(results: pd.DataFrame, request: str) -> pd.DataFrame:
    """A row for each point, in the order of results.csv: the medians over the seeds of one request's measures."""
    mine = results[results["request"] == request]
    wide = mine.pivot_table(index=KEYS[:4], columns="measure", values="value", aggfunc="median")
    return wide.reset_index().set_index(POINT)


def draw(results: pd.DataFrame) -> Any:
    """Latency by request with the smallest and with default largest blocks; below, where memory is at the end."""
    with styled():
        figure = plt.figure(figsize=(7.4, 6.9), layout="constrained")
        figure.get_layout_engine().set(hspace=0.08)
        figure.suptitle("The same demand in bytes: what do page size and largest block change?")
        left, right, below = figure.subplot_mosaic("ab;cc", height_ratios=(1, 1.15)).values()
        _latency(left, results, {page_kib: orders[0] for page_kib, orders in ORDERS.items()})
        left.set(title="largest blocks of 2 MiB", ylabel="99th percentile of latency (ns)")
        _latency(right, results, DEFAULTS)
        right.set(title="largest blocks of the kernel's default")
        lows, highs = zip(left.get_ylim(), right.get_ylim(), strict=True)
        for axes in (left, right):
            axes.set(xlabel="size of the allocation", ylim=(min(lows), max(highs)))
            axes.title.set_fontsize("medium")
        _memory(below, results)
    return figure


def _latency(axes: Any, results: pd.DataFrame, order_of: dict[int, int]) -> None:
    requests = [name for name in results["request"].unique() if name != "all"]
    for i, (page_kib, order) in enumerate(order_of.items()):
        rows = [medians(results, request).loc[(page_kib, order)] for request in requests]
        largest = _size(rows[0]["largest_block_mib"])
        look = {"color": _shade(i / 2), "linestyle": DASHES[i], "marker": "osD"[i], "markersize": 8 - 2 * i}
        n = int(sum(row["allocations"] for row in rows))
        label = f"{page_kib} KiB pages, {largest} (n = {n:,})"
        p99_ns = [row["p99_ns"] for row in rows]
        axes.plot(range(len(rows) - 1), p99_ns[:-1], label=label, **look)
        axes.plot(len(rows) - 1, p99_ns[-1], **look)  # of cache: no size of its own, so no line leads there
    axes.set(yscale="log", xticks=range(len(requests)))
    axes.set_xticklabels([name.replace(" ", "\n", 1) for name in requests], fontsize="small")
    axes.yaxis.set_major_formatter(PLAIN)
    axes.legend(fontsize="x-small", loc="upper left", bbox_to_anchor=(0, -0.36), borderaxespad=0)


def _memory(axes: Any, results: pd.DataFrame) -> None:
    """A stack of where memory is at the end for each point, with the unusable index above it."""
    whole = medians(results, "all")
    in_large = whole["free_in_2mib_blocks_mib"]
    parts = {
        "held, as asked": whole["asked_mib"],
        "held, lost to rounding up to pages": whole["held_mib"] - whole["asked_mib"],
        "free, in blocks below 2 MiB": whole["free_mib"] - in_large,
        "free, in blocks of 2 MiB and more": in_large,
        "on per-CPU lists": whole["per_cpu_lists_mib"],
    }
    at = np.arange(len(whole)) + np.repeat([0, 0.6, 1.2], 3)
    bottom = np.zeros(len(whole))
    for (label, part), shade in zip(parts.items(), (0.0, 0.5, 1.0, 0.25, 0.0), strict=True):
        gib = part.to_numpy() / 1024
        look: dict[str, Any] = {"facecolor": _shade(shade), "edgecolor": "white", "linewidth": 0.6}
        if label == "on per-CPU lists":
            look |= {"facecolor": "white", "edgecolor": "0.3", "hatch": "////"}
        axes.bar(at, gib, 0.8, bottom=bottom, label=label, **look)
        bottom += gib
    for x, top, (_, row) in zip(at, bottom, whole.iterrows(), strict=True):
        text = f"{row['unusable_index_2mib']:.2f}"
        text += f"\n{row['failed']:,.0f} failed" if row["failed"] else ""
        axes.annotate(text, (x, top), (0, 2), textcoords="offset points", ha="center", fontsize="small")
    ticks = [
        f"{_size(row['largest_block_mib'])}" + ("\ndefault" if DEFAULTS[page] == order else "")
        for (page, order), row in whole.iterrows()
    ]
    axes.set_xticks(at, ticks, fontsize="small")
    for page, x in zip(ORDERS, at[1::3], strict=True):
        axes.annotate(f"{page} KiB pages", (x, 4.75), ha="center")
    axes.set(ylabel="memory at the end (GiB)", xlabel="largest block", ylim=(0, 5.2))
    title = f"Above the bars: unusable free space index for 2 MiB, allocations that failed (n = {len(SEEDS)} seeds)"
    axes.set_title(title, fontsize="medium")
    axes.xaxis.grid(False)
    axes.figure.legend(*axes.get_legend_handles_labels(), fontsize="small", ncols=3, loc="outside lower center")


def _shade(share: float) -> tuple[float, ...]:
    """From light (0) to dark (1), none too light for white paper."""
    return tuple(mpl.colormaps["cividis"](0.9 - 0.9 * share))


def _size(mib: float) -> str:
    return f"{mib:g} MiB"


def sentences(results: pd.DataFrame) -> str:
    """What is worth saying of the numbers, with them filled in."""
    whole, small, large = (medians(results, request) for request in ("all", "4 KiB", "256 KiB"))
    cache_ns = medians(results, CACHE)["mean_ns_of_a_request"]
    least, default = [(page_kib, orders[0]) for page_kib, orders in ORDERS.items()], list(DEFAULTS.items())

    def listed(values: pd.Series, form: str, points: list[tuple[int, int]] = least) -> str:
        shown = [format(values[point], form) for point in points]
        return f"{', '.join(shown[:-1])} and {shown[-1]}"

    same = results[(results["request"] != "all") & (results["measure"] == "requested_mib")]
    requested = same.groupby([*POINT, "seed"])["value"].sum().groupby("seed")
    assert (requested.max() - requested.min() < 0.01).all(), "each point was asked for the same bytes"
    held = listed(whole["held_mib"] / whole["asked_mib"], ".2f")
    index = listed(whole["unusable_index_2mib"], ".2f")
    on_lists = whole["per_cpu_lists_mib"]
    with_lists = listed(1 - whole["free_in_2mib_blocks_mib"] / (whole["free_mib"] + on_lists), ".2f")
    index_default = listed(whole["unusable_index_2mib"], ".2f", default)
    return f"""Each run asks for {requested.max().median():,.0f} MiB in all (medians of {len(SEEDS)} seeds throughout).
With pages of {listed(pd.Series({point: point[0] for point in least}), "d")} KiB and blocks of at most 2 MiB:

- **Bytes.** Rounding up to whole pages makes the memory held {held} times what was asked for.
- **Fragmentation.** At the end, when a part of the cache has been given back, the unusable free space index for 2 MiB
  is {index}. It leaves out per-CPU lists, which keep {listed(on_lists, ",.0f")} MiB more; with these counted as
  unusable too, it is {with_lists}.
- **Latency.** The 99th percentile of an allocation of 4 KiB is {listed(small["p99_ns"], ",.0f")} ns, of one of 256 KiB
  {listed(large["p99_ns"], ",.0f")} ns. To allocate 64 KiB of page cache in single pages takes
  {listed(cache_ns, ",.0f")} ns on average.
- **Default largest blocks** of {listed(whole["largest_block_mib"], "g", default)} MiB make the index {index_default};
  {listed(whole["failed"], ",.0f", default)} allocations fail.
"""


def numbers(results: pd.DataFrame) -> str:
    """README's findings and its table, of the medians over the seeds."""
    whole, small, large = (medians(results, request) for request in ("all", "4 KiB", "256 KiB"))
    cache = medians(results, CACHE)
    lines = [
        sentences(results),
        "| pages | largest block | pageblock | memory held / asked | unusable index, 2 MiB | free in 2 MiB blocks "
        "| allocations failed | 4 KiB: p50, p99 | 256 KiB: p50, p99 | 64 KiB of cache: mean |",
        "|---|---|---|---|---|---|---|---|---|---|",
    ]
    for point, row in whole.iterrows():
        page_kib, order = point
        default = ", default" if DEFAULTS[page_kib] == order else ""
        cells = [
            f"{page_kib} KiB",
            f"{_size(row['largest_block_mib'])} (order {order}{default})",
            _size(row["pageblock_mib"]),
            f"{row['held_mib'] / row['asked_mib']:.2f}",
            f"{row['unusable_index_2mib']:.2f}",
            f"{row['free_in_2mib_blocks_mib']:,.0f} MiB",
            f"{row['failed']:,.0f}",
            *(f"{of.loc[point, 'p50_ns']:,.0f}, {of.loc[point, 'p99_ns']:,.0f} ns" for of in (small, large)),
            f"{cache.loc[point, 'mean_ns_of_a_request']:,.0f} ns",
        ]
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines) + "\n"


def main(arguments: list[str]) -> None:
    """All points, unless only the drawing is wanted; then the figure and README, from results.csv alone."""
    mpl.use("Agg")
    if "--draw" not in arguments:
        simulate()
    results = pd.read_csv(RESULTS)
    save_figure(draw(results), FIGURE)
    write_numbers(README, numbers(results))


if __name__ == "__main__":
    main(sys.argv[1:])
