"""Run kvmalloc on fragmented memory with three page sizes, and vmalloc on 1 to 64 CPUs.

    python experiments/kvmalloc_fallback/kvmalloc_fallback.py          # all of it
    python experiments/kvmalloc_fallback/kvmalloc_fallback.py --draw   # figure and README from the results

Each point's numbers go to results.csv (kvmalloc) or tlb_flush.csv (vmalloc), a row each; the figure and README's
numbers are made of these files alone.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import matplotlib as mpl
import matplotlib.pyplot as plt
import pandas as pd
from matplotlib.ticker import FixedLocator, FuncFormatter, LogLocator, NullLocator

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))  # experiments share code

import kmsim
from experiments.figures import save_figure, write_numbers
from kmsim.config import Study, load
from kmsim.metrics.columns import table_of
from kmsim.plots.style import DASHES, PLAIN, styled
from kmsim.study.responses import quantile_ns
from kmsim.study.store import Result

HERE = Path(__file__).parent
STUDY = HERE / "kvmalloc_fallback.yaml"
TLB_STUDY = HERE / "tlb_flush.yaml"
RESULTS = HERE / "results.csv"
TLB_RESULTS = HERE / "tlb_flush.csv"
FIGURE = HERE / "kvmalloc_fallback.png"
README = HERE / "README.md"

KIB = 1 << 10
# By page size in KiB: the orders of 4 MiB, the largest block, and of 256 KiB, where fragmentation is measured.
ORDERS = {4: (10, 6), 16: (8, 4), 64: (6, 2)}
INDICES = (0.0, 0.3, 0.6, 0.8, 0.9, 0.95, 1.0)
SIZES_KIB = (8, 16, 32, 64, 128, 256, 512, 1024)
MIX = 0  # in place of one size: all of them, each as likely
INDEX_OF_SIZES = 0.95  # where each size is run alone
LIVE_KIB = 16 << 10  # of each CPU, where it is
SEEDS = (1, 2, 3)
WAYS = ("slab", "pages", "vmalloc", "failed")
POINT = ["page_kib", "unusable_index", "size_kib"]
POINTS = [(page, index, MIX) for page in ORDERS for index in INDICES] + [
    (page, INDEX_OF_SIZES, size) for page in ORDERS for size in SIZES_KIB
]
CPUS = (1, 2, 4, 8, 16, 32, 64)
ARCHES = {"x86-64": "interrupts every CPU", "arm64": "broadcasts"}
TLB_POINTS = [(arch, cpus) for arch in ARCHES for cpus in CPUS]


def study_of(page_kib: int, index: float, size_kib: int, seed: int, operations: int | None = None) -> Study:
    """One point of kvmalloc; `operations` of each CPU instead of the study's."""
    largest, measured = ORDERS[page_kib]
    sets = [
        f"machine.page_size={page_kib}KiB",
        f"machine.max_page_order={largest}",
        f"machine.state.aged={{order: {measured}, unusable_index: {index}}}",
    ]
    if size_kib != MIX:
        sets.append(f"workload.threads[0].live={LIVE_KIB // size_kib}")
        sets.append(f"workload.threads[0].operations={2 * LIVE_KIB // size_kib + 4000}")
        sets.append(f"workload.threads[0].requests[0].bytes={{table: [{{size: {size_kib}KiB}}]}}")
    if operations is not None:
        sets.append(f"workload.threads[0].operations={operations}")
    return load(STUDY, sets, seed)


def row_of(page_kib: int, index: float, size_kib: int, seed: int, operations: int | None = None) -> dict[str, Any]:
    """Run one point of kvmalloc; its row of results.csv."""
    result: Result = kmsim.run(study_of(page_kib, index, size_kib, seed, operations))
    events = dict(zip(result.vmstat["name"], result.vmstat["value"], strict=True))
    ways = {way: events[f"kmsim:kvmalloc_{way}"] for way in WAYS}
    allocs = result.operations[result.operations["kind"] == "alloc"]
    buckets = table_of(result.histograms[result.histograms["kind"] == "alloc"])
    return {
        "page_kib": page_kib,
        "unusable_index": index,
        "size_kib": size_kib,
        "seed": seed,
        "requests": sum(ways.values()),
        **{way: int(nr) for way, nr in ways.items()},
        "mean_ns": (allocs["mean_ns"] * allocs["count"]).sum() / allocs["count"].sum(),
        "p50_ns": quantile_ns(buckets, 500),
        "p99_ns": quantile_ns(buckets, 990),
    }


def tlb_study_of(arch: str, cpus: int, operations: int | None = None) -> Study:
    """One point of vmalloc; `operations` instead of the study's."""
    sets = [f"machine.arch={arch}", f"machine.cpus={cpus}"]
    if operations is not None:
        sets.append(f"workload.threads[0].operations={operations}")
    return load(TLB_STUDY, sets)


def tlb_row_of(arch: str, cpus: int, operations: int | None = None) -> dict[str, Any]:
    """Run one point of vmalloc; its row of tlb_flush.csv.

    The CPUs without a thread do nothing but flush their TLBs; the one that asks spins until all have, and pays its own.
    """
    study = tlb_study_of(arch, cpus, operations)
    result: Result = kmsim.run(study)
    events = dict(zip(result.vmstat["name"], result.vmstat["value"], strict=True))
    flushes, frees = events["kmsim:vmap_purge"], events["kmsim:vfree"]
    others = result.cpus[result.cpus["cpu"] > 0]
    taken_ns = (others["run_ns"] - others["idle_ns"]).sum() + result.cpus["lock_wait_ns"].iloc[0]
    flush_us = (taken_ns / flushes + study.costs.tlb_flush.value / 1000) / 1000
    frees_ns = result.operations[result.operations["kind"] == "free"]
    return {
        "arch": arch,
        "cpus": cpus,
        "frees": int(frees),
        "flushes": int(flushes),
        "frees_per_flush": frees / flushes,
        "flush_us": flush_us,
        "us_per_1000_frees": 1000 * flush_us * flushes / frees,
        "us_per_1000_frees_eager": 1000 * flush_us,  # calculated: as if each free flushed
        "free_mean_ns": frees_ns["mean_ns"].iloc[0],
    }


def simulate() -> None:
    """Run every point and write both files of results."""
    rows = []
    for point in POINTS:
        for seed in SEEDS:
            rows.append(row_of(*point, seed))
    pd.DataFrame(rows).to_csv(RESULTS, index=False, float_format="%.6g")
    flushes = []
    for point in TLB_POINTS:
        flushes.append(tlb_row_of(*point))
    pd.DataFrame(flushes).to_csv(TLB_RESULTS, index=False, float_format="%.6g")


def of_all_seeds(results: pd.DataFrame) -> pd.DataFrame:
    """A row for each point of kvmalloc: the medians of the times over the seeds, the requests of all seeds."""
    points = results.groupby(POINT)
    requests = points[["requests", *WAYS]].sum()
    times = points[["mean_ns", "p50_ns", "p99_ns"]].median()
    return pd.concat([requests, times], axis="columns").assign(
        vmalloc_percent=100 * requests["vmalloc"] / requests["requests"]
    )


def draw(results: pd.DataFrame, flushes: pd.DataFrame) -> Any:
    """Who leaves for vmalloc, by fragmentation and by size; how long it takes; below right, what TLB flushes take."""
    points = of_all_seeds(results)
    with styled():
        figure, panels = plt.subplots(2, 2, figsize=(7.4, 6.2), layout="constrained")
        figure.get_layout_engine().set(hspace=0.06, wspace=0.04)
        figure.suptitle("When does kvmalloc leave for vmalloc, and what does that cost?")
        for i, page in enumerate(ORDERS):
            mix = points.loc[page].xs(MIX, level="size_kib")
            alone = points.loc[page, INDEX_OF_SIZES].loc[list(SIZES_KIB)]
            label = f"{page} KiB pages"
            panels[0][0].plot(mix.index, mix["vmalloc_percent"], label=label, **_look(i))
            panels[0][1].plot(mix.index, mix["mean_ns"] / 1000, **_look(i))
            panels[1][0].plot(alone.index, alone["vmalloc_percent"], **_look(i))
        index = "unusable free space index for 256 KiB"
        panels[0][0].set(xlabel=index, ylabel="requests served by vmalloc (%)", ylim=(-3, 103))
        panels[0][0].set_title("sizes of 8 KiB to 1 MiB, each as likely", fontsize="medium")
        panels[0][1].set(xlabel=index, ylabel="mean latency of kvmalloc (µs)", yscale="log")
        panels[0][1].set_title("the same requests", fontsize="medium")
        panels[0][1].yaxis.set_major_locator(FixedLocator((0.25, 0.5, 1, 2, 4)))
        panels[0][1].yaxis.set_minor_locator(NullLocator())
        panels[0][1].yaxis.set_major_formatter(PLAIN)
        panels[1][0].set(xlabel="size of the request (KiB)", ylabel="requests served by vmalloc (%)", ylim=(-3, 103))
        panels[1][0].set_title(f"each size alone, at index {INDEX_OF_SIZES}", fontsize="medium")
        _powers_of_two(panels[1][0], SIZES_KIB)
        n = int(results[results["size_kib"] == MIX]["requests"].median())
        title = f"n = {n:,} requests, {len(SEEDS)} seeds"
        panels[0][0].legend(fontsize="small", title=title, title_fontsize="x-small", loc="upper left")
        _flushes(panels[1][1], flushes)
    return figure


def _flushes(axes: Any, flushes: pd.DataFrame) -> None:
    """What flushing takes of all CPUs together, lazily and as if each free flushed."""
    lines = {"us_per_1000_frees_eager": "one for each free (calculated)", "us_per_1000_frees": "lazily, as Linux does"}
    for j, (measure, how) in enumerate(lines.items()):
        for i, (arch, way) in enumerate(ARCHES.items()):
            mine = flushes[flushes["arch"] == arch]
            look = _look(2 * i) | {"linestyle": DASHES[(3, 0)[j]]}
            axes.plot(mine["cpus"], mine[measure], label=f"{arch}: {way}" if j else None, **look)
        shown = flushes[(flushes["cpus"] == CPUS[-1]) & (flushes["arch"] == tuple(ARCHES)[j - 1])]
        place = (CPUS[-1], shown[measure].iloc[0])
        axes.annotate(how, place, (0, 7), textcoords="offset points", ha="right", fontsize="small")
    axes.set(yscale="log", xlabel="CPUs", ylabel="CPU time for 1000 frees (µs)", ylim=(0.03, 1e7))
    n = int(flushes["frees"].median())
    axes.set_title(f"TLB flushes for vfree of 64 KiB (n = {n:,})", fontsize="medium")
    axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:,.0f}" if value >= 1 else f"{value:g}"))
    axes.yaxis.set_major_locator(LogLocator(100))
    axes.yaxis.set_minor_locator(NullLocator())
    _powers_of_two(axes, CPUS)
    axes.legend(fontsize="small", loc="upper left")


def _powers_of_two(axes: Any, ticks: tuple[int, ...]) -> None:
    axes.set_xscale("log", base=2)
    axes.set_xticks(ticks)
    axes.xaxis.set_major_formatter(PLAIN)
    axes.xaxis.set_minor_locator(NullLocator())
    axes.tick_params(labelsize="small")


def _look(i: int) -> dict[str, Any]:
    """From light to dark, thick to thin, so that lines that cover each other can be told apart."""
    color = mpl.colormaps["cividis"](0.8 - 0.4 * i)
    return {"color": color, "linestyle": DASHES[i], "linewidth": 2.6 - 0.6 * i, "marker": "osD"[i], "markersize": 7 - i}


def sentences(results: pd.DataFrame, flushes: pd.DataFrame) -> str:
    """What is worth saying of the numbers, with them filled in."""
    points, flush = of_all_seeds(results), flushes.set_index(["arch", "cpus"])
    most, fewest = CPUS[-1], CPUS[1]

    def by_page(measure: str, index: float, form: str = ",.0f") -> str:
        return _listed([format(points.loc[(page, index, MIX), measure], form) for page in ORDERS])

    def by_index(measure: str) -> str:
        return f"{by_page(measure, 0.0)} ns to {by_page(measure, INDEX_OF_SIZES)} ns"

    few, x86, arm = flush.loc[("x86-64", fewest)], flush.loc[("x86-64", most)], flush.loc[("arm64", most)]
    pages = _listed([str(page) for page in ORDERS])
    return f"""With pages of {pages} KiB (shares of all requests, medians of the times, of {len(SEEDS)} seeds):

- **Falling back.** Where {100 * INDEX_OF_SIZES:g} % of free memory lies in blocks below 256 KiB, vmalloc serves
  {by_page("vmalloc_percent", INDEX_OF_SIZES)} % of the requests; where all of it does,
  {by_page("vmalloc_percent", 1.0)} %.
- **Latency.** From an index of 0 to one of {INDEX_OF_SIZES}, the mean of all requests goes from
  {by_index("mean_ns")},
  and the 99th percentile from {by_index("p99_ns")}.
- **TLB flushes.** On x86-64 one takes {few["flush_us"]:.1f} µs of CPU time on {fewest} CPUs and
  {x86["flush_us"]:.1f} µs on {most}, on arm64 {arm["flush_us"]:.1f} µs on any number; there is one for
  {x86["frees_per_flush"]:,.0f} frees of 64 KiB on {most} CPUs, and so 1000 frees
  take {x86["us_per_1000_frees"]:.0f} µs of it on x86-64, where a flush for each would
  take {x86["us_per_1000_frees_eager"]:,.0f} µs.
"""


def _listed(words: list[str]) -> str:
    return f"{', '.join(words[:-1])} and {words[-1]}"


def numbers(results: pd.DataFrame, flushes: pd.DataFrame) -> str:
    """README's findings and its tables."""
    lines = [
        sentences(results, flushes),
        "| pages | index | sizes | slab | page allocator | vmalloc | mean | p50 | p99 |",
        "|---|---|---|---|---|---|---|---|---|",
    ]
    for (page, index, size), row in of_all_seeds(results).iterrows():
        shares = (f"{100 * row[way] / row['requests']:.1f} %" for way in ("slab", "pages", "vmalloc"))
        times = (f"{row[f'{name}_ns']:,.0f} ns" for name in ("mean", "p50", "p99"))
        cells = [f"{page} KiB", f"{index:g}", f"{size} KiB" if size != MIX else "all", *shares, *times]
        lines.append(f"| {' | '.join(cells)} |")
    lines += ["", "| | CPUs | frees for one flush | CPU time of a flush | for 1000 frees |", "|---|---|---|---|---|"]
    for row in flushes.to_dict("records"):
        cells = [row["arch"], str(row["cpus"]), f"{row['frees_per_flush']:,.0f}", f"{row['flush_us']:.1f} µs"]
        cells.append(f"{row['us_per_1000_frees']:.2f} µs")
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines) + "\n"


def main(arguments: list[str]) -> None:
    """All points, unless only the drawing is wanted; then the figure and README, from the results alone."""
    mpl.use("Agg")
    if "--draw" not in arguments:
        simulate()
    results, flushes = pd.read_csv(RESULTS), pd.read_csv(TLB_RESULTS)
    save_figure(draw(results, flushes), FIGURE)
    write_numbers(README, numbers(results, flushes))


if __name__ == "__main__":
    main(sys.argv[1:])
