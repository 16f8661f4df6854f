"""Run one load of buffers of every size as blocks, as exact pages and from vmalloc, with 4 and 64 KiB pages.

    python experiments/exact_pages/exact_pages.py          # all of it, about a minute
    python experiments/exact_pages/exact_pages.py --draw   # figure and README from results.csv

Each run is a row of results.csv; the figure and README's numbers are made of that file alone.
"""

from __future__ import annotations

import sys
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
from kmsim.plots.style import PLAIN, styled
from kmsim.study.store import Result
from kmsim.units import format_size

HERE = Path(__file__).parent
STUDY = HERE / "exact_pages.yaml"
RESULTS = HERE / "results.csv"
FIGURE = HERE / "exact_pages.png"
README = HERE / "README.md"

ARCHS = {4: "x86-64", 64: "arm64"}  # by page size in KiB
APIS = {"pages": "alloc_pages", "exact": "alloc_pages_exact", "vmalloc": "vmalloc"}
LOOKS: dict[str, dict[str, Any]] = {
    "pages": {"color": mpl.colormaps["cividis"](0.8), "linestyle": "-", "linewidth": 2.4},
    "exact": {"color": mpl.colormaps["cividis"](0.0), "linestyle": "-", "linewidth": 1.2},
    "vmalloc": {"color": mpl.colormaps["cividis"](0.45), "linestyle": (0, (3, 1)), "linewidth": 1.4},
}
PAGES_MAX = 1024
EACH_UP_TO = 16  # pages; every number of them
PAGES = sorted(
    {*range(1, EACH_UP_TO + 1), PAGES_MAX} | {(1 << k) + extra for k in range(4, 10) for extra in (0, 1, 1 << (k - 1))}
)
POINTS = [(page_kib, api, nr_pages) for page_kib in ARCHS for api in APIS for nr_pages in PAGES]
HELD_BYTES = 512 << 20
MIB = 1 << 20


def study_of(page_kib: int, api: str, nr_pages: int) -> Study:
    """One point. A number of buffers is held that takes much memory, and not all of it."""
    size = nr_pages * page_kib << 10
    thread = "workload.threads[0]"
    sets = [
        f"machine.arch={ARCHS[page_kib]}",
        f"machine.page_size={page_kib}KiB",
        f"{thread}.live={min(max(HELD_BYTES // size, 16), 256)}",
        f"{thread}.requests[0].api={api}",
        f"{thread}.requests[0].bytes={nr_pages * page_kib}KiB",
    ]
    return load(STUDY, sets)


def row_of(page_kib: int, api: str, nr_pages: int) -> dict[str, Any]:
    """Run one point; its row of results.csv."""
    result: Result = kmsim.run(study_of(page_kib, api, nr_pages))
    done = result.operations
    allocs, frees = (done[done["kind"] == kind] for kind in ("alloc", "free"))
    nr_held = int(allocs["count"].sum() - frees["count"].sum())
    return {
        "page_kib": page_kib,
        "api": api,
        "pages": nr_pages,
        "allocations": int(allocs["count"].sum()),
        "failed": int(done["failed"].sum()),
        "held": nr_held,
        "taken_pages": pages_taken(result) / nr_held,
        "alloc_ns": mean_ns(allocs),
        "free_ns": mean_ns(frees),
    }


def pages_taken(result: Result) -> int:
    """How many pages fewer are free at the end than in the beginning; those on per-CPU lists are free."""
    free = (result.memory["free_pages"] + result.memory["pcp_pages"]).groupby(result.memory["time_ns"]).sum()
    return int(free.iloc[0] - free.iloc[-1])


def mean_ns(operations: pd.DataFrame) -> float:
    """The mean time of these operations."""
    return float((operations["mean_ns"] * operations["count"]).sum() / operations["count"].sum())


def simulate() -> None:
    """Run every point and write results.csv."""
    pd.DataFrame([row_of(*point) for point in POINTS]).to_csv(RESULTS, index=False, float_format="%.6g")


def draw(results: pd.DataFrame) -> Any:
    """A column for each page size; above, what is wasted; below, what an allocation and a free take together."""
    with styled():
        figure, panels = plt.subplots(2, 2, figsize=(7.4, 5.6), sharex="col", sharey="row", layout="constrained")
        figure.suptitle("What do exact pages and vmalloc save, and what does it cost?")
        for column, page_kib in zip(panels.T, ARCHS, strict=True):
            for api, look in LOOKS.items():
                part = results[(results["page_kib"] == page_kib) & (results["api"] == api)]
                column[0].plot(part["pages"], wasted(part), label=APIS[api], **look)
                column[1].plot(part["pages"], both_ns(part) / 1000, **look)
            n = results[results["page_kib"] == page_kib]["allocations"]
            title = f"{page_kib} KiB pages (n = {n.min():,} to {n.max():,}\nallocations a point)"
            column[0].set_title(title, fontsize="medium")
            column[1].set(xlabel="size of the request", yscale="log")
            _sizes(column[1], page_kib)
        panels[0, 0].set(ylabel="memory taken that was\nnot asked for (%)", ylim=(-2, 60))
        panels[1, 0].set_ylabel("an allocation and a free (\N{MICRO SIGN}s)")
        panels[1, 0].yaxis.set_major_formatter(PLAIN)
        figure.legend(*panels[0, 0].get_legend_handles_labels(), fontsize="small", loc="outside lower center", ncols=3)
    return figure


def _sizes(axes: Any, page_kib: int) -> None:
    axes.set_xscale("log", base=2)
    axes.set_xticks([1 << k for k in range(0, PAGES_MAX.bit_length(), 2)])
    axes.xaxis.set_major_formatter(FuncFormatter(lambda pages, _: shown(int(pages), page_kib)))
    axes.xaxis.set_minor_locator(NullLocator())
    axes.tick_params(axis="x", labelsize="small")


def shown(nr_pages: int, page_kib: int) -> str:
    """The size of so many pages."""
    size = format_size(nr_pages * page_kib << 10)
    return size.replace("KiB", " KiB").replace("MiB", " MiB")


def wasted(results: pd.DataFrame) -> pd.Series:
    """The share of what a buffer takes that nobody asked for, in percent; page tables and bookkeeping are in it."""
    return 100 * (1 - results["pages"] / results["taken_pages"])


def both_ns(results: pd.DataFrame) -> pd.Series:
    """An allocation and a free."""
    return results["alloc_ns"] + results["free_ns"]


def numbers(results: pd.DataFrame) -> str:
    """README's three sentences, and its table of some sizes."""
    lines = [
        sentences(results),
        "| pages | size | wasted, of the memory taken: " + ", ".join(APIS.values()) + " | an allocation and a free |",
        "|---|---|---|---|",
    ]
    for page_kib in ARCHS:
        for nr_pages in (1, 5, 17, 65, 257, PAGES_MAX):
            rows = point(results, page_kib, nr_pages)
            shares = ", ".join(f"{share:.1f}" for share in wasted(rows))
            times = ", ".join(f"{ns / 1000:,.2f}" for ns in both_ns(rows))
            size = shown(nr_pages, page_kib)
            lines.append(f"| {nr_pages:,} of {page_kib} KiB | {size} | {shares} % | {times} \N{MICRO SIGN}s |")
    return "\n".join(lines) + "\n"


def point(results: pd.DataFrame, page_kib: int, nr_pages: int) -> pd.DataFrame:
    """The rows of one size, by how it was asked for."""
    rows = results[(results["page_kib"] == page_kib) & (results["pages"] == nr_pages)]
    return rows.set_index("api").loc[list(APIS)]


def sentences(results: pd.DataFrame) -> str:
    """The three sentences."""
    mine = results[results["page_kib"] == 4]
    by_api = {api: mine[mine["api"] == api].set_index("pages") for api in APIS}
    waste = {api: wasted(part.reset_index()) for api, part in by_api.items()}
    pages, exact, vmalloc = (both_ns(part) for part in by_api.values())
    between = [nr_pages for nr_pages in exact.index if nr_pages & (nr_pages - 1)]
    dearer = (exact / pages)[between]
    faster = vmalloc.index[vmalloc < exact]
    wasted_most, wasted_least = waste["vmalloc"].iloc[0], waste["vmalloc"].iloc[-1]
    slower = vmalloc / pages
    largest, least = shown(PAGES_MAX, 4), shown(int(faster[0]), 4)
    return f"""With 4 KiB pages, a block wastes up to {waste["pages"].max():.0f} % of the memory that it takes,
exact pages at most {waste["exact"].max():.1f} %, and vmalloc, for page tables and its own records,
{wasted_most:.0f} % of a single page and {wasted_least:.1f} % of {largest}.
Exact pages pay for that by giving back a tail, and by freeing page by page: at sizes that are no power of
two, an allocation and a free take {dearer.min():.0f} to {dearer.max():.0f} times as long as of a block.
vmalloc takes {slower.iloc[0]:.0f} times as long as a block for one page and {slower.iloc[-1]:.0f} times for {largest},
but less than exact pages at {len(faster)} of {len(vmalloc)} sizes, from {least} on.
"""


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
