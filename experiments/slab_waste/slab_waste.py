"""What kmalloc, a cache of one's own and exact pages waste on every size, and on three mixes of sizes.

    python experiments/slab_waste/slab_waste.py          # all of it, some seconds
    python experiments/slab_waste/slab_waste.py --draw   # figure and README from results.csv and totals.csv

results.csv has what each size takes by each way of asking, totals.csv the same of whole mixes (mixes.csv, and the
shipped workload kmalloc-mix), also with the best set of so many caches.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import matplotlib as mpl
import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from matplotlib.ticker import FuncFormatter, NullLocator

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))  # experiments share code

from experiments.figures import save_figure, write_numbers
from experiments.slab_waste.best_caches import best_sets
from kmsim.config import MachineConfig, from_mapping, load
from kmsim.config.machine_params import slab_build_of
from kmsim.config.shipped import shipped_file
from kmsim.config.sizes import TableOfSizes
from kmsim.mm.slab_common import Caches
from kmsim.mm.slab_geometry import new_geometry
from kmsim.plots.style import styled
from kmsim.study.waste import slab_share, waste_of

HERE = Path(__file__).parent
MIXES = HERE / "mixes.csv"
RESULTS = HERE / "results.csv"
TOTALS = HERE / "totals.csv"
FIGURE = HERE / "slab_waste.png"
README = HERE / "README.md"

ASSUMED = "kmalloc-mix"
MACHINES = {4: "x86-64", 64: "arm64"}
WAYS = {"kmalloc": "kmalloc", "own cache": "a cache of its own", "alloc_pages_exact": "exact pages"}
LOOKS: dict[str, dict[str, Any]] = {
    "alloc_pages_exact": {"color": mpl.colormaps["cividis"](0.8), "linestyle": "-", "linewidth": 2.4},
    "kmalloc": {"color": mpl.colormaps["cividis"](0.0), "linestyle": "-", "linewidth": 1.1},
    "own cache": {"color": mpl.colormaps["cividis"](0.45), "linestyle": (0, (3, 1)), "linewidth": 1.0},
}
CACHES_MAX = 16
PER_OCTAVE = 48
EACH_UP_TO = 256  # bytes; every size


def machine_of(page_kib: int) -> MachineConfig:
    """A machine of 4 GiB and 8 CPUs with the kernel's default largest block."""
    machine = {"arch": MACHINES[page_kib], "page_size": f"{page_kib}KiB", "memory": "4GiB", "cpus": 8}
    return from_mapping({"machine": machine, "workload": {"threads": [{"name": "nobody"}]}}).machine


def sizes_for(config: MachineConfig) -> list[int]:
    """Sizes from 1 byte to the largest block: evenly on a logarithmic axis, and both sides of each step."""
    largest = config.page_size << config.max_page_order
    even = np.geomspace(EACH_UP_TO, largest, 1 + PER_OCTAVE * (largest // EACH_UP_TO).bit_length()).astype(int)
    steps = [1 << shift for shift in range(8, largest.bit_length())]
    steps += [config.page_size * pages for pages in range(1, 33)]
    found = {*range(1, EACH_UP_TO), *(int(size) for size in even), *steps, *(step + 1 for step in steps)}
    return sorted(size for size in found if size <= largest)


def mixes() -> dict[str, dict[int, float]]:
    """Requests by size and their weights: the recorded mixes, and the assumed one."""
    recorded = pd.read_csv(MIXES, comment="#")
    found = {
        str(mix): {int(size): float(weight) for size, weight in zip(part["size"], part["weight"], strict=True)}
        for mix, part in recorded.groupby("mix", sort=False)
    }
    study = load(shipped_file("workloads", ASSUMED), ["machine=x86-laptop"])
    table = study.workload.threads[0].requests[0].bytes
    assert isinstance(table, TableOfSizes), "the mix is a table"
    limit = Caches(slab_build_of(study.machine)).limits.kmalloc_max_cache_size
    found[ASSUMED] = {entry.size: entry.weight for entry in table.table if entry.size <= limit}
    return found


def totals_of(mix: str, requests: dict[int, float], config: MachineConfig) -> Iterator[dict[str, Any]]:
    """What a mix takes: asked of kmalloc, of a cache for each size, of exact pages, and of the best k caches."""
    caches = Caches(slab_build_of(config))
    asked = sum(size * weight for size, weight in requests.items())

    def own(size: int) -> float:
        return slab_share(caches, new_geometry(caches.build, "own", size))

    def kmalloc(size: int) -> float:
        index = caches.kmalloc_index(size, 0)
        assert index is not None, "mixes are of sizes that kmalloc's caches serve"
        return slab_share(caches, caches.geometries[index])

    def pages(size: int) -> float:
        return float(-(-size // config.page_size) * config.page_size)

    def row(way: str, caches_used: list[int], taken: float) -> dict[str, Any]:
        keys = {"mix": mix, "way": way, "caches": len(caches_used), "taken_per_asked": taken / asked}
        return {**keys, "sizes": " ".join(map(str, caches_used))}

    def by_each(share: Callable[[int], float]) -> float:
        return sum(weight * share(size) for size, weight in requests.items())

    indices = [caches.kmalloc_index(size, 0) for size in range(1, caches.limits.kmalloc_max_cache_size + 1)]
    yield row("kmalloc", sorted({caches.geometries[i].object_size for i in indices if i is not None}), by_each(kmalloc))
    yield row("own cache", sorted(requests), by_each(own))
    yield row("alloc_pages_exact", [], by_each(pages))
    for best in best_sets(requests, own, CACHES_MAX):
        yield row("best", list(best.sizes), best.taken)


def simulate() -> None:
    """Ask for every size in every way, and for the mixes; write results.csv and totals.csv."""
    rows = []
    for page_kib in MACHINES:
        config = machine_of(page_kib)
        for found in waste_of(config, sizes_for(config)):
            if found.api in WAYS:
                taken = {"api": found.api, "taken_bytes": found.taken_bytes}
                rows.append({"page_kib": page_kib, "size": found.size, **taken})
    pd.DataFrame(rows).to_csv(RESULTS, index=False, float_format="%.6g")
    totals = [row for mix, requests in mixes().items() for row in totals_of(mix, requests, machine_of(4))]
    pd.DataFrame(totals).to_csv(TOTALS, index=False, float_format="%.6g")


def wasted(results: pd.DataFrame, page_kib: int, api: str) -> pd.Series:
    """The share of what is taken that nobody asked for, in percent, by size; only sizes that can be had."""
    part = results[(results["page_kib"] == page_kib) & (results["api"] == api) & (results["taken_bytes"] > 0)]
    return pd.Series(100 * (1 - part["size"].to_numpy() / part["taken_bytes"].to_numpy()), part["size"].to_numpy())


def draw(results: pd.DataFrame, totals: pd.DataFrame) -> Any:
    """The sawtooth of each page size; below, a panel for each mix: the best k caches."""
    with styled():
        figure = plt.figure(figsize=(7.4, 7.2), layout="constrained")
        figure.suptitle("How much of the memory that a request takes is wasted?")
        rows = figure.subfigures(2, 1, height_ratios=(1.75, 1))
        for axes, page_kib in zip(rows[0].subplots(2, 1), MACHINES, strict=True):
            _sawtooth(axes, results, page_kib)
        _below(rows[0])
        panels = rows[1].subplots(1, totals["mix"].nunique(), sharey=True)
        for axes, (mix, part) in zip(panels, totals.groupby("mix", sort=False), strict=True):
            _best(axes, str(mix), part)
        panels[0].set_ylabel("wasted in the whole mix (%)")
        _below(rows[1])
    return figure


def _below(figure: Any) -> None:
    figure.legend(*figure.axes[0].get_legend_handles_labels(), fontsize="small", loc="outside lower center", ncols=3)


def _sawtooth(axes: Any, results: pd.DataFrame, page_kib: int) -> None:
    for api, look in LOOKS.items():
        shares = wasted(results, page_kib, api)
        axes.plot(shares.index, shares, label=WAYS[api], **look)
    sizes = results[results["page_kib"] == page_kib]["size"]
    largest = sizes.max()
    axes.set_xscale("log", base=2)
    axes.set(xlim=(1, largest), ylim=(0, 100), ylabel="wasted (%)", xlabel="size of the request")
    axes.set_title(f"{page_kib} KiB pages (n = {sizes.nunique():,} sizes)", fontsize="medium")
    axes.set_xticks([1 << shift for shift in range(0, int(largest).bit_length(), 3)])
    axes.xaxis.set_major_formatter(FuncFormatter(lambda size, _: shown(int(size))))
    axes.xaxis.set_minor_locator(NullLocator())


def shown(size: int) -> str:
    """A size in a few characters: 512 B, 4 KiB, 2 MiB."""
    for unit, shift in (("MiB", 20), ("KiB", 10)):
        if size >= 1 << shift:
            return f"{size / (1 << shift):g} {unit}"
    return f"{size} B"


def _best(axes: Any, mix: str, part: pd.DataFrame) -> None:
    best = part[part["way"] == "best"]
    look = {"color": LOOKS["own cache"]["color"], "marker": "o", "markersize": 4}
    axes.plot(best["caches"], _percent(best), label="the best so many caches for the mix", **look)
    kmalloc, own = (part[part["way"] == way] for way in ("kmalloc", "own cache"))
    axes.plot(kmalloc["caches"], _percent(kmalloc), "D", color="black", label="kmalloc's caches")
    axes.axhline(float(_percent(own).iloc[0]), color="black", linestyle=(0, (2, 2)), label="a cache for every size")
    nr_sizes = int(own["caches"].iloc[0])
    axes.set_title(f"{mix} (n = {nr_sizes} sizes)", fontsize="medium")
    axes.set(xlabel="number of caches", ylim=(0, 100), xticks=range(1, CACHES_MAX + 1, 3))


def _percent(totals: pd.DataFrame) -> pd.Series:
    return 100 * (1 - 1 / totals["taken_per_asked"])


def numbers(results: pd.DataFrame, totals: pd.DataFrame) -> str:
    """README's three sentences, and its table of the mixes."""
    lines = [
        sentences(results, totals),
        "| mix | way | caches | wasted, of the memory taken | their sizes |",
        "|---|---|---|---|---|",
    ]
    for mix, part in totals.groupby("mix", sort=False):
        enough = fewest(part)
        shown_rows = part[(part["way"] != "best") | part["caches"].isin((enough, CACHES_MAX))]
        for (_, row), share in zip(shown_rows.iterrows(), _percent(shown_rows), strict=True):
            way = WAYS.get(row["way"], f"best {row['caches']}")
            sizes = str(row["sizes"]).replace(" ", ", ") if row["way"] == "best" else ""
            lines.append(f"| {mix} | {way} | {row['caches'] or ''} | {share:.1f} % | {sizes} |")
    return "\n".join(lines) + "\n"


def fewest(part: pd.DataFrame) -> int:
    """The number of caches from which on the best set of a mix wastes no more than kmalloc does."""
    by_way = part.set_index("way")["taken_per_asked"]
    best = part[part["way"] == "best"]
    return int(best[best["taken_per_asked"] <= by_way["kmalloc"] * (1 + 1e-5)]["caches"].min())


def mean(shares: pd.Series) -> float:
    """The mean over the logarithm of the size: of the curve as it is drawn."""
    at = np.log(shares.index.to_numpy(dtype=float))
    return float(np.trapezoid(shares, at) / (at[-1] - at[0]))


def sentences(results: pd.DataFrame, totals: pd.DataFrame) -> str:
    """The three sentences."""
    limit = Caches(slab_build_of(machine_of(4))).limits.kmalloc_max_cache_size
    kmalloc, own, exact = (wasted(results, 4, api) for api in WAYS)
    saw = kmalloc[kmalloc.index > 8]
    slab = [mean(shares[(shares.index > 64) & (shares.index <= limit)]) for shares in (kmalloc, own)]
    pages = [mean(shares[shares.index > limit]) for shares in (kmalloc, exact)]
    parts = {str(mix): part.set_index("way") for mix, part in totals.groupby("mix", sort=False)}
    both = [f"{_percent(part.loc[[way]]).iloc[0]:.0f} %" for part in parts.values() for way in ("kmalloc", "own cache")]
    few = [str(fewest(part)) for _, part in totals.groupby("mix", sort=False)]
    nr_caches = int(totals[totals["way"] == "kmalloc"]["caches"].iloc[0])
    return f"""With 4 KiB pages, kmalloc wastes up to {saw.max():.0f} % of what a request takes:
on average {slab[0]:.0f} % between 64 bytes and {shown(limit)}, where a cache of its own wastes {slab[1]:.0f} %,
and {pages[0]:.0f} % beyond, where exact pages waste {pages[1]:.1f} %.
On the mixes {", ".join(parts)}, kmalloc wastes {both[0]}, {both[2]} and {both[4]};
a cache for every size would waste {both[1]}, {both[3]} and {both[5]}.
Of caches whose sizes are chosen for the mix, {few[0]}, {few[1]} and {few[2]} are enough to waste no more
than kmalloc with its {nr_caches} caches, which have to serve all mixes.
"""


def main(arguments: list[str]) -> None:
    """All sizes and mixes, unless only the drawing is wanted; then the figure and README, from the tables alone."""
    mpl.use("Agg")
    if "--draw" not in arguments:
        simulate()
    results, totals = pd.read_csv(RESULTS), pd.read_csv(TOTALS)
    save_figure(draw(results, totals), FIGURE)
    write_numbers(README, numbers(results, totals))


if __name__ == "__main__":
    main(sys.argv[1:])
