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
from matplotlib.ticker import LogLocator

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))  # experiments share code

import kmsim
from experiments.figures import save_figure, write_numbers
from kmsim.config import Study, from_mapping
from kmsim.metrics.columns import table_of
from kmsim.plots.style import styled
from kmsim.study.responses import quantile_ns
from kmsim.study.store import Result

HERE = Path(__file__).parent
STUDY = HERE / "upgrade.yaml"
RESULTS = HERE / "results.csv"
FIGURE = HERE / "upgrade.png"
README = HERE / "README.md"

RELEASES = ("5.10", "6.1", "6.12")
WORKLOADS = ("churn", "fork-exit", "mixed-server", "net-rx", "vmalloc-churn")
SEEDS = (1, 2, 3, 4)
POINTS = [(work, release, seed) for work in WORKLOADS for release in RELEASES for seed in SEEDS]
COLORS = {release: mpl.colormaps["cividis"](shade) for release, shade in zip(RELEASES, (0.9, 0.5, 0.0), strict=True)}
MARKERS = "osD"
MEASURES = {
    "zone_lock_per_1000": "zone's lock taken\nper 1000 operations",
    "lock_wait_percent": "CPU time spent waiting\nfor locks (%)",
    "mean_ns": "mean of an allocation (ns)",
    "p999_ns": "99.9th percentile of\nallocations (ns)",
}


def study_of(work: str, release: str, seed: int) -> Study:
    """One point."""
    point = {"extends": [str(STUDY), work], "machine": {"kernel_release": release}}
    return from_mapping(point, seed=seed)


def row_of(work: str, release: str, seed: int) -> dict[str, Any]:
    """Run one point; its row of results.csv."""
    result: Result = kmsim.run(study_of(work, release, seed))
    done, locks = result.operations, result.locks
    allocs = done[done["kind"] == "alloc"]
    buckets = table_of(result.histograms[result.histograms["kind"] == "alloc"])
    nr_operations = int(done["count"].sum())
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
    """A panel for each measure: a row for each workload, a point for each release, and a line over the seeds."""
    places = np.arange(len(WORKLOADS))
    with styled():
        figure, panels = plt.subplots(1, len(MEASURES), figsize=(7.6, 3.4), sharey=True, layout="constrained")
        figure.suptitle("What changes for a load from Linux 5.10 and 6.1 to 6.12?")
        for axes, (measure, label) in zip(panels, MEASURES.items(), strict=True):
            for n, release in enumerate(RELEASES):
                seeds = results[results["release"] == release].groupby("work")[measure]
                middle, low, high = (getattr(seeds, of)()[list(WORKLOADS)] for of in ("median", "min", "max"))
                rows = places + 0.24 * (n - 1)
                axes.hlines(rows, low, high, color=COLORS[release], linewidth=1.5)
                axes.plot(middle, rows, MARKERS[n], color=COLORS[release], label=f"Linux {release}")
            axes.set_title(label, fontsize="small")
            axes.set_xscale("log")
            axes.xaxis.set_major_locator(LogLocator(numticks=5))
            axes.tick_params(labelsize="small")
        panels[0].set_yticks(places, WORKLOADS)
        panels[0].invert_yaxis()
        handles, labels = panels[0].get_legend_handles_labels()
        title = f"medians of {len(SEEDS)} runs, and their range"
        figure.legend(handles, labels, title=title, loc="outside lower center", ncols=len(RELEASES))
    return figure


def sentences(results: pd.DataFrame) -> str:
    """What is worth saying of the numbers, with them filled in."""
    found = medians(results)

    def each(work: str, measure: str, form: str, unit: str = "") -> str:
        *first, last = (f"{format(found.loc[(work, of), measure], form)}{unit} with {of}" for of in RELEASES)
        return f"{', '.join(first)} and {last}"

    return f"""From 5.10, every load takes the zone's lock less: per-CPU lists hold blocks of order 1 to 3, too.
From 6.1, it depends on the load: lists that tune themselves take the lock less often where a CPU allocates single
pages, hold it longer each time, and give blocks of order 1 to 3 back sooner; vmalloc waits less, since there is no one
lock for all addresses. Medians of the seeds:

- **Blocks of order 1 to 3** (`mixed-server`: slabs, socket buffers). CPU time spent waiting for locks:
  {each("mixed-server", "lock_wait_percent", ".2g", " %")}.
  5.10 has only single pages on its per-CPU lists. An allocation takes in the mean
  {each("mixed-server", "mean_ns", ",.0f", " ns")}.
- **Bursts that end together** (`fork-exit`). The zone's lock is taken, per 1000 operations:
  {each("fork-exit", "zone_lock_per_1000", ",.1f")}. Frees of blocks of order 1 to 3, one after the
  other, make 6.12 empty a CPU's lists once a batch of pages was freed, and 6.1 only where lists have run full. An
  allocation takes in the mean {each("fork-exit", "mean_ns", ",.0f", " ns")}.
- **Lists that tune themselves** (`churn`). The zone's lock is taken, per 1000 operations:
  {each("churn", "zone_lock_per_1000", ",.2f")}. Refills that double hold it longer, for at
  most {each("churn", "zone_lock_hold_max_ns", ",.0f", " ns")}, and CPUs that
  start with empty lists wait for each other: {each("churn", "lock_wait_percent", ".2g", " %")} of their time.
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
        "| workload | Linux | locks per 1000 operations | zone's lock | longest hold | waiting | mean | p99 | p99.9 |",
        "|---|---|---|---|---|---|---|---|---|",
    ]
    for work in WORKLOADS:
        for release in RELEASES:
            row = found.loc[(work, release)]
            cells = [
                work,
                release,
                f"{row['acquisitions_per_1000']:,.1f}",
                f"{row['zone_lock_per_1000']:,.2f}",
                f"{row['zone_lock_hold_max_ns']:,.0f} ns",
                f"{row['lock_wait_percent']:.2g} %",
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
