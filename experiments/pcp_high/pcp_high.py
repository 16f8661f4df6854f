"""Run fixed and self-tuning per-CPU lists on 1 to 32 CPUs: bursts, a steady load, and processes that start and end.

    python experiments/pcp_high/pcp_high.py          # all of it
    python experiments/pcp_high/pcp_high.py --draw   # figure and README from results.csv

Each point's numbers go to results.csv, a row each; the figure and README's numbers are made of that file alone.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import matplotlib as mpl
import matplotlib.pyplot as plt
import pandas as pd
import simpy
from matplotlib.ticker import FuncFormatter, NullLocator

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))  # experiments share code

import kmsim
from experiments.figures import save_figure, write_numbers
from kmsim.config import Study, from_mapping
from kmsim.metrics.columns import table_of
from kmsim.plots.style import PLAIN, styled
from kmsim.sim.simulation import Simulation, UserProcess
from kmsim.study.responses import quantile_ns
from kmsim.study.store import Result

HERE = Path(__file__).parent
STUDY = HERE / "pcp_high.yaml"
RESULTS = HERE / "results.csv"
FIGURE = HERE / "pcp_high.png"
README = HERE / "README.md"

LISTS = {"fixed": False, "tuned": True}
LOADS = {
    "bursts": "bursts of 256\nto 4096 pages",
    "steady": "steady,\npage by page",
    "processes": "processes,\norders 0 to 3",
    "single pages": "processes,\norder 0 alone",
}
PROCESSES = "fork-exit"  # the shipped workload of the last two
CPUS = (1, 2, 4, 8, 16, 32)
POINTS = [(work, lists, cpus) for work in LOADS for lists in LISTS for cpus in CPUS]
LOOKS: dict[str, dict[str, Any]] = {
    "fixed": {"color": mpl.colormaps["cividis"](0.75), "linestyle": "-", "linewidth": 3.2, "marker": "o"},
    "tuned": {"color": mpl.colormaps["cividis"](0.0), "linestyle": "--", "linewidth": 1.4, "marker": "."},
}
MEASURES = {
    "lock_wait_percent": "time spent waiting\nfor the zone lock (%)",
    "acquisitions_per_1000": "zone lock taken\nper 1000 operations",
    "p99_ns": "99th percentile of\nallocations (ns)",
    "p999_ns": "99.9th percentile of\nallocations (ns)",
}


def study_of(work: str, lists: str, cpus: int, operations: int | None = None) -> Study:
    """One point: one kind of the study's threads, or of processes; `operations` of each thread instead of its own."""
    machine = {"cpus": cpus, "pcp": {"auto_tune": LISTS[lists]}}
    of_processes = work in ("processes", "single pages")
    study = from_mapping({"extends": [str(STUDY), *([PROCESSES] if of_processes else [])], "machine": machine})
    (thread,) = (thread for thread in study.workload.threads if of_processes or thread.name == work)
    if work == "single pages":
        thread = thread.model_copy(update={"requests": tuple(one for one in thread.requests if one.order == 0)})
    if operations is not None:
        thread = thread.model_copy(update={"operations": operations})
    workload = study.workload.model_copy(update={"threads": (thread,)})
    return study.model_copy(update={"workload": workload})


class Lists:
    """A process that does nothing but keep the lists, to look at after the run."""

    def __init__(self) -> None:
        self._pcps: Any = None

    def watch(self, simulation: Simulation) -> Any:
        """The process."""
        self._pcps = simulation.machine.pcps
        yield simpy.Timeout(simulation.env, 0)

    def largest_high(self) -> int:
        """The most pages that any list may hold now."""
        return int(self._pcps["high"].max())


def row_of(work: str, lists: str, cpus: int, operations: int | None = None) -> dict[str, Any]:
    """Run one point; its row of results.csv."""
    watched = Lists()
    processes: tuple[UserProcess, ...] = (watched.watch,)
    result: Result = kmsim.run(study_of(work, lists, cpus, operations), processes=processes)
    done = result.operations
    buckets = table_of(result.histograms[result.histograms["kind"] == "alloc"])
    nr_operations = int(done["count"].sum())
    allocs = done[done["kind"] == "alloc"]
    return {
        "work": work,
        "lists": lists,
        "cpus": cpus,
        "operations": nr_operations,
        "allocations": int(allocs["count"].sum()),
        "failed": int(done["failed"].sum()),
        "lock_wait_percent": 100 * result.cpus["lock_wait_ns"].sum() / result.cpus["run_ns"].sum(),
        "acquisitions": int(result.locks["acquisitions"].sum()),
        "contended": int(result.locks["contended"].sum()),
        "acquisitions_per_1000": 1000 * result.locks["acquisitions"].sum() / nr_operations,
        "hold_max_ns": result.locks["hold_max_ns"].max(),
        "wait_max_ns": result.locks["wait_max_ns"].max(),
        "mean_ns": (allocs["mean_ns"] * allocs["count"]).sum() / allocs["count"].sum(),
        "p50_ns": quantile_ns(buckets, 500),
        "p99_ns": quantile_ns(buckets, 990),
        "p999_ns": quantile_ns(buckets, 999),
        "max_ns": allocs["max_ns"].max(),
        "high_pages_at_end": watched.largest_high(),
        "run_ms": result.cpus["run_ns"].iloc[0] / 1e6,
    }


def simulate() -> None:
    """Run every point and write results.csv."""
    pd.DataFrame([row_of(*point) for point in POINTS]).to_csv(RESULTS, index=False, float_format="%.6g")


def draw(results: pd.DataFrame) -> Any:
    """A row of panels for each load, a panel for each measure, a line for each kind of lists."""
    with styled():
        figure, panels = plt.subplots(
            len(LOADS), len(MEASURES), figsize=(7.4, 6.6), sharex=True, sharey="col", layout="constrained"
        )
        figure.suptitle("How much less do CPUs wait for the zone lock where per-CPU lists tune their size?")
        for row, (work, title) in zip(panels, LOADS.items(), strict=True):
            for axes, (measure, label) in zip(row, MEASURES.items(), strict=True):
                for lists, look in LOOKS.items():
                    points = results[(results["work"] == work) & (results["lists"] == lists)]
                    axes.plot(points["cpus"], points[measure], label=lists, **look)
                _scales(axes, measure)
                axes.set_title(label if work == next(iter(LOADS)) else "", fontsize="small")
            row[0].set_ylabel(title, fontsize="small")
        for axes in panels[-1]:
            axes.set_xlabel("CPUs")
        figure.legend(*_legend(results, panels[0][0]), fontsize="small", loc="outside lower center", ncols=2)
    return figure


def _scales(axes: Any, measure: str) -> None:
    axes.set_xscale("log", base=2)
    axes.set_xticks(CPUS)
    axes.xaxis.set_major_formatter(PLAIN)
    axes.xaxis.set_minor_locator(NullLocator())
    axes.tick_params(labelsize="small")
    if measure.endswith("_ns"):
        axes.set_yscale("log")
        axes.set_ylim(10, 1e6)
    else:
        axes.set_yscale("symlog", linthresh=0.01, linscale=0.5)
        axes.set_ylim(0, 150 if measure.endswith("percent") else 30)
    axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:,.0f}" if value >= 1 else f"{value:g}"))
    axes.yaxis.set_minor_locator(NullLocator())


def _legend(results: pd.DataFrame, axes: Any) -> tuple[Any, list[str]]:
    """What the lines are, and how many allocations are behind each point."""
    n = results["allocations"] / 1e6
    each = f"n = {n.min():.2g} to {n.max():.2g} million allocations a point"
    return axes.get_legend_handles_labels()[0], ["lists of fixed size", f"lists that tune their size ({each})"]


def sentences(results: pd.DataFrame) -> str:
    """What is worth saying of the numbers, with them filled in."""
    by_point = results.set_index(["work", "lists", "cpus"])
    most = CPUS[-1]

    def both(measure: str, form: str, unit: str = "", cpus: int = most, work: str = "bursts") -> str:
        fixed, tuned = (format(by_point.loc[(work, lists, cpus), measure], form) + unit for lists in LISTS)
        return f"{fixed} with fixed lists, {tuned} with tuned ones"

    highs = [f"{by_point.loc[('bursts', 'fixed', cpus), 'high_pages_at_end']:,}" for cpus in (CPUS[0], most)]
    quantities = ["lock_wait_percent", "acquisitions", "p99_ns", "p999_ns"]
    fixed, tuned = (by_point.loc["steady"].loc[lists][quantities] for lists in LISTS)
    difference = "no difference" if fixed.equals(tuned) else "a difference"
    return f"""- **Bursts, {most} CPUs.** Time spent waiting for the zone lock:
  {both("lock_wait_percent", ".2g", " %")}.
  The lock is taken, per 1000 operations: {both("acquisitions_per_1000", ".2g")}.
  99 % of allocations take at most: {both("p99_ns", ",.0f", " ns")}.
- **Bursts, fewer CPUs.** A fixed list may hold {highs[0]} pages on one CPU and {highs[1]} on {most}, as the CPUs
  share what may lie in lists. Waiting on 8 CPUs: {both("lock_wait_percent", ".2g", " %", cpus=8)}.
- **What tuning costs.** The longest time that the lock is held on {most} CPUs:
  {both("hold_max_ns", ",.0f", " ns")}.
  Waiting on 4 CPUs, where a fixed list has room for every burst: {both("lock_wait_percent", ".2g", " %", cpus=4)}.
- **Steady.** There is {difference} in waiting, acquisitions and both percentiles on any number of CPUs; waiting on
  {most} CPUs: {both("lock_wait_percent", ".2g", " %", work="steady")}.
- **Processes that start and end, {most} CPUs: the opposite.** Time spent waiting for the zone lock:
  {both("lock_wait_percent", ".2g", " %", work="processes")}. The lock is taken, per 1000 operations:
  {both("acquisitions_per_1000", ".2g", work="processes")}; with their single pages alone,
  {both("acquisitions_per_1000", ".2g", work="single pages")}.
"""


def numbers(results: pd.DataFrame) -> str:
    """README's findings and its table."""
    lines = [
        sentences(results),
        "| load | CPUs | lists | largest list, pages | waiting for the lock | taken per 1000 operations "
        "| p99 | p99.9 | mean | longest hold |",
        "|---|---|---|---|---|---|---|---|---|---|",
    ]
    for work in LOADS:
        for cpus in CPUS:
            for lists in LISTS:
                at = (results["work"] == work) & (results["cpus"] == cpus) & (results["lists"] == lists)
                (row,) = results[at].to_dict("records")
                cells = [
                    work,
                    str(cpus),
                    lists,
                    f"{row['high_pages_at_end']:,}",
                    f"{row['lock_wait_percent']:.2g} %",
                    f"{row['acquisitions_per_1000']:.2g}",
                    *(f"{row[f'{name}_ns']:,.0f} ns" for name in ("p99", "p999", "mean", "hold_max")),
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
