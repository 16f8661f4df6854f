"""Run shipped workloads on each kernel release that is built in.

    python experiments/upgrade/upgrade.py          # all of it
    python experiments/upgrade/upgrade.py --draw   # figure and README from results.csv

Each point's numbers go to results.csv, a row each; the figure and README's numbers are made of that file alone.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import matplotlib as mpl
import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from matplotlib.ticker import FixedLocator

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))  # experiments share code

import kmsim
from experiments.figures import save_figure, write_numbers
from kmsim.config import Study, from_mapping
from kmsim.metrics.columns import table_of
from kmsim.plots.style import PLAIN, styled
from kmsim.study.responses import quantile_ns
from kmsim.study.store import Result

HERE = Path(__file__).parent
STUDY = HERE / "upgrade.yaml"
SMALL_BLOCKS = HERE / "small_blocks.yaml"
RESULTS = HERE / "results.csv"
FIGURE = HERE / "upgrade.png"
README = HERE / "README.md"

RELEASES = ("5.10", "6.1", "6.12")
WORKLOADS = ("churn", "fork-exit", "mixed-server", "net-rx", "vmalloc-churn")
FALLING_BACK = "mixed-server, small blocks"  # the shipped workload where free memory is in small blocks of another type
CASES = (*WORKLOADS, FALLING_BACK)
NR_PAGEBLOCKS = 4096  # of 8 GiB, 2 MiB each; all movable where free blocks are small
OF_KERNEL = ["pageblocks_unmovable", "pageblocks_reclaimable"]
SEEDS = (1, 2, 3, 4)
POINTS = [(work, release, seed) for work in CASES for release in RELEASES for seed in SEEDS]
COLORS = {release: mpl.colormaps["cividis"](shade) for release, shade in zip(RELEASES, (0.9, 0.5, 0.0), strict=True)}
MEASURES = {
    "acquisitions_per_1000": "spinlocks taken\nper 1000 operations",
    "lock_wait_percent": "CPU time spent waiting\nfor locks (%)",
    "mean_ns": "mean of an allocation (ns)",
    "p999_ns": "99.9th percentile of\nallocations (ns)",
}


def study_of(work: str, release: str, seed: int) -> Study:
    """One point."""
    parts = [str(SMALL_BLOCKS)] if work == FALLING_BACK else [str(STUDY), work]
    return from_mapping({"extends": parts, "name": STUDY.stem, "machine": {"kernel_release": release}}, seed=seed)


def row_of(work: str, release: str, seed: int) -> dict[str, Any]:
    """Run one point; its row of results.csv."""
    result: Result = kmsim.run(study_of(work, release, seed))
    done, locks = result.operations, result.locks
    allocs = done[done["kind"] == "alloc"]
    buckets = table_of(result.histograms[result.histograms["kind"] == "alloc"])
    nr_operations = int(done["count"].sum())
    events = result.vmstat.set_index("name")["value"]
    return {
        "work": work,
        "release": release,
        "seed": seed,
        "operations": nr_operations,
        "allocations": int(allocs["count"].sum()),
        "failed": int(done["failed"].sum()),
        "acquisitions_per_1000": 1000 * locks["acquisitions"].sum() / nr_operations,
        "zone_lock_per_1000": 1000 * _of_zones(locks)["acquisitions"].sum() / nr_operations,
        "zone_lock_hold_max_ns": _of_zones(locks)["hold_max_ns"].max(),
        "lock_wait_percent": 100 * result.cpus["lock_wait_ns"].sum() / result.cpus["run_ns"].sum(),
        "fallbacks_per_1000": 1000 * int(events["kmem:mm_page_alloc_extfrag"]) / nr_operations,
        "kernel_pageblocks": int(result.memory.groupby("zone")[OF_KERNEL].last().to_numpy().sum()),
        "mean_ns": (allocs["mean_ns"] * allocs["count"]).sum() / allocs["count"].sum(),
        "p99_ns": quantile_ns(buckets, 990),
        "p999_ns": quantile_ns(buckets, 999),
    }


def _of_zones(locks: pd.DataFrame) -> pd.DataFrame:
    """The rows of the zones' locks."""
    return locks[locks["lock"].str.startswith("zone")]


def simulate() -> None:
    """Run every point and write results.csv."""
    pd.DataFrame([row_of(*point) for point in POINTS]).to_csv(RESULTS, index=False, float_format="%.6g")


def medians(results: pd.DataFrame) -> pd.DataFrame:
    """The medians of the seeds, by workload and release."""
    return results.drop(columns="seed").groupby(["work", "release"]).median()


def draw(results: pd.DataFrame) -> Any:
    """A panel for each measure: a group of bars for each workload, a bar for each release."""
    found = medians(results)
    places = np.arange(len(CASES))
    width = 0.8 / len(RELEASES)
    with styled():
        figure, panels = plt.subplots(1, len(MEASURES), figsize=(7.4, 3.6), sharey=True, layout="constrained")
        figure.suptitle("What changes for a load from Linux 5.10 and 6.1 to 6.12?")
        for axes, (measure, label) in zip(panels, MEASURES.items(), strict=True):
            for n, release in enumerate(RELEASES):
                values = [found.loc[(work, release), measure] for work in CASES]
                axes.barh(places + (n - 1) * width, values, width, color=COLORS[release], label=release)
            axes.set_title(label, fontsize="small")
            least = 10 if measure.endswith("_ns") else 0.1
            axes.set_xscale("symlog", linthresh=least)
            axes.xaxis.set_major_locator(FixedLocator([0, *(least * 100**step for step in range(4))]))
            axes.xaxis.set_major_formatter(PLAIN)
            axes.tick_params(labelsize="small")
        panels[0].set_yticks(places, [work.replace(", ", ",\n") for work in CASES])
        panels[0].invert_yaxis()
        handles, labels = panels[0].get_legend_handles_labels()
        n = f"medians of {len(SEEDS)} runs"
        figure.legend(
            handles, [f"Linux {of}" for of in labels], title=n, loc="outside lower center", ncols=len(RELEASES)
        )
    return figure


def sentences(results: pd.DataFrame) -> str:
    """What is worth saying of the numbers, with them filled in."""
    found = medians(results)

    def each(work: str, measure: str, form: str, unit: str = "") -> str:
        *first, last = (f"{format(found.loc[(work, of), measure], form)}{unit} with {of}" for of in RELEASES)
        return f"{', '.join(first)} and {last}"

    return f"""- **Blocks of order 1 to 3** (`fork-exit`: stacks, page directories, slabs).
  The zone's lock is taken, per 1000 operations:
  {each("fork-exit", "zone_lock_per_1000", ",.1f")}: 5.10 has only single pages on its
  per-CPU lists; 6.12 gives all of a list back when many such blocks are freed one after the other.
  An allocation takes in the mean {each("fork-exit", "mean_ns", ",.0f", " ns")}.
- **Lists that tune themselves** (`churn`). The zone's lock is taken, per 1000 operations:
  {each("churn", "zone_lock_per_1000", ",.2f")}. It is held for at most
  {each("churn", "zone_lock_hold_max_ns", ",.0f", " ns")}.
- **Claim or steal** (`mixed-server` where free memory is in blocks of up to eight pages, all of them movable). Kernel
  memory finds no block of its own type; such fallbacks, per 1000 operations:
  {each(FALLING_BACK, "fallbacks_per_1000", ",.1f")}. Pageblocks, of {NR_PAGEBLOCKS:,}, that so
  became the kernel's: {each(FALLING_BACK, "kernel_pageblocks", ",.0f")}. Up to 6.1 a fallback moves
  all that is free of a pageblock to the lists of the type that asked; 6.12 claims the pageblock if half of it is free
  or alike, else takes one block alone. What was in use before counts as alike here: it is on no LRU list.
  An allocation takes in the mean {each(FALLING_BACK, "mean_ns", ",.0f", " ns")}; without
  fallbacks {each("mixed-server", "mean_ns", ",.0f", " ns")}.
- **Receiving** (`net-rx`). 99.9 % of allocations take at most
  {each("net-rx", "p999_ns", ",.0f", " ns")}.
- **vmalloc** (`vmalloc-churn`). CPU time spent waiting for locks:
  {each("vmalloc-churn", "lock_wait_percent", ".2g", " %")}: one lock for all addresses, and since 6.9
  nodes with pools of freed ranges. An allocation takes in the mean {each("vmalloc-churn", "mean_ns", ",.0f", " ns")}.
"""


def numbers(results: pd.DataFrame) -> str:
    """README's findings and its table."""
    found = medians(results)
    lines = [
        sentences(results),
        "| workload | Linux | locks per 1000 operations | zone's lock | longest hold | waiting "
        "| fallbacks per 1000 | mean | p99 | p99.9 |",
        "|---|---|---|---|---|---|---|---|---|---|",
    ]
    for work in CASES:
        for release in RELEASES:
            row = found.loc[(work, release)]
            cells = [
                work,
                release,
                f"{row['acquisitions_per_1000']:,.1f}",
                f"{row['zone_lock_per_1000']:,.2f}",
                f"{row['zone_lock_hold_max_ns']:,.0f} ns",
                f"{row['lock_wait_percent']:.2g} %",
                f"{row['fallbacks_per_1000']:,.1f}",
                *(f"{row[f'{name}_ns']:,.0f} ns" for name in ("mean", "p99", "p999")),
            ]
            lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines) + "\n"


def main(arguments: list[str]) -> None:
    """All points, unless only the drawing is wanted; then the figure and README, from results.csv alone."""
    mpl.use("Agg")
    if "--draw" not in arguments:
        simulate()
    results = pd.read_csv(RESULTS, dtype={"release": str})
    save_figure(draw(results), FIGURE)
    write_numbers(README, numbers(results))


if __name__ == "__main__":
    main(sys.argv[1:])
