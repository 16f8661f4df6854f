"""Run one slab cache on 2 to 32 CPUs, by the share of remote frees and the length of CPUs' partial lists.

    python experiments/slub_contention/slub_contention.py          # all of it
    python experiments/slub_contention/slub_contention.py --draw   # figure and README from results.csv

Each point's numbers go to results.csv, a row each; the figure and README's numbers are made of that file alone.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import matplotlib as mpl
import matplotlib.pyplot as plt
import pandas as pd
from matplotlib.ticker import NullLocator

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))  # experiments share code

import kmsim
from experiments.figures import save_figure, write_numbers
from kmsim.config import Study, load
from kmsim.plots.style import DASHES, PLAIN, styled
from kmsim.study.store import Result

HERE = Path(__file__).parent
STUDY = HERE / "slub_contention.yaml"
RESULTS = HERE / "results.csv"
FIGURE = HERE / "slub_contention.png"
README = HERE / "README.md"

CACHE = "request"
DEFAULT = 52  # the kernel's cpu_partial for objects of 256 bytes
CPU_PARTIAL = (0, DEFAULT, 1024)
SHARES = (0.0, 0.01, 0.1, 0.5)
CPUS = (2, 4, 8, 16, 32)
POINT = ["cpu_partial", "remote_frees", "cpus"]
POINTS = [(objects, share, cpus) for objects in CPU_PARTIAL for share in SHARES for cpus in CPUS]
MEASURES = {
    "operations_per_us": "throughput\n(million operations a second)",
    "list_lock_wait_percent": "time spent waiting\nfor list_lock (%)",
    "slab_bytes_per_live_byte": "memory in slabs / memory\nof live objects",
}


def study_of(cpu_partial: int, remote_frees: float, cpus: int, operations: int | None = None) -> Study:
    """One point; `operations` of each CPU after the filling instead of the study's."""
    sets = [f"machine.cpus={cpus}", f"workload.threads[0].remote_frees={remote_frees}"]
    if cpu_partial != DEFAULT:
        sets.append(f"machine.caches[0].cpu_partial={cpu_partial}")
    if operations is not None:
        sets.append(f"workload.threads[0].phases[1].operations={operations}")
    return load(STUDY, sets)


def row_of(cpu_partial: int, remote_frees: float, cpus: int, operations: int | None = None) -> dict[str, Any]:
    """Run one point; its row of results.csv. Filling is in its numbers."""
    result: Result = kmsim.run(study_of(cpu_partial, remote_frees, cpus, operations))
    done, run_ns = result.operations, result.cpus["run_ns"].iloc[0]
    nr_operations = int(done["count"].sum())
    (slabs,) = result.slabs[result.slabs["cache"] == CACHE].to_dict("records")
    locks = result.locks[result.locks["lock"] == f"list_lock {CACHE}"]
    is_alloc = done["kind"] == "alloc"
    slab_bytes = slabs["nr_slabs"] * (result.page_size_bytes << slabs["order"])
    return {
        "cpu_partial": cpu_partial,
        "remote_frees": remote_frees,
        "cpus": cpus,
        "operations": nr_operations,
        "failed": int(done["failed"].sum()),
        "objects_per_slab": slabs["objects"],
        "cpu_partial_slabs": slabs["cpu_partial_slabs"],
        "operations_per_us": 1000 * nr_operations / run_ns,
        "list_lock_wait_percent": 100 * locks["wait_total_ns"].sum() / (run_ns * cpus),
        "list_lock_per_1000": 1000 * locks["acquisitions"].sum() / nr_operations,
        "zone_lock_wait_percent": 100 * _zone_wait_ns(result) / (run_ns * cpus),
        "mean_ns_alloc": _mean_ns(done[is_alloc]),
        "mean_ns_free": _mean_ns(done[~is_alloc]),
        "free_slowpath_percent": 100 * slabs["free_slowpath"] / (slabs["free_slowpath"] + slabs["free_fastpath"]),
        "slabs": slabs["nr_slabs"],
        "slab_bytes_per_live_byte": slab_bytes / (slabs["live_objects"] * slabs["object_size"]),
    }


def _mean_ns(rows: pd.DataFrame) -> float:
    return float((rows["mean_ns"] * rows["count"]).sum() / rows["count"].sum())


def _zone_wait_ns(result: Result) -> float:
    return float(result.locks[result.locks["lock"].str.startswith("zone ")]["wait_total_ns"].sum())


def simulate() -> None:
    """Run every point and write results.csv."""
    rows = []
    for point in POINTS:
        rows.append(row_of(*point))
    pd.DataFrame(rows).to_csv(RESULTS, index=False, float_format="%.6g")


def draw(results: pd.DataFrame) -> Any:
    """A column of panels for each cpu_partial, a row for each measure, a line for each share of remote frees."""
    with styled():
        figure, panels = plt.subplots(
            len(MEASURES), len(CPU_PARTIAL), figsize=(7.4, 6.4), sharex=True, sharey="row", layout="constrained"
        )
        figure.suptitle("One slab cache on many CPUs: when do they wait for the node's list_lock?")
        for row, (measure, label) in zip(panels, MEASURES.items(), strict=True):
            for axes, objects in zip(row, CPU_PARTIAL, strict=True):
                for i, share in enumerate(SHARES):
                    points = results[(results["cpu_partial"] == objects) & (results["remote_frees"] == share)]
                    axes.plot(points["cpus"], points[measure], label=f"{100 * share:g} %", **_look(i))
            for axes in row:
                _scales(axes, measure)
            row[0].set_ylabel(label, fontsize="small")
        for axes, objects in zip(panels[0], CPU_PARTIAL, strict=True):
            kind = " (the kernel's)" if objects == DEFAULT else ""
            axes.set_title(f"cpu_partial {objects}{kind}", fontsize="medium")
        for axes in panels[-1]:
            axes.set_xlabel("CPUs")
        n = results.groupby("cpus")["operations"].min()
        n_text = f"n = {n[CPUS[0]]:,} to {n[CPUS[-1]]:,} operations a point"
        figure.legend(
            *panels[0][0].get_legend_handles_labels(),
            title=f"frees on another CPU than the allocation ({n_text})",
            fontsize="small",
            title_fontsize="small",
            loc="outside lower center",
            ncols=len(SHARES),
        )
    return figure


def _look(i: int) -> dict[str, Any]:
    """From light to dark, thick to thin, so that lines that cover each other can be told apart."""
    color = mpl.colormaps["cividis"](0.9 - 0.3 * i)
    return {"color": color, "linestyle": DASHES[i], "linewidth": 3 - 0.6 * i, "marker": "osD^"[i], "markersize": 7 - i}


def _scales(axes: Any, measure: str) -> None:
    axes.set_xscale("log", base=2)
    axes.set_xticks(CPUS)
    axes.xaxis.set_major_formatter(PLAIN)
    axes.xaxis.set_minor_locator(NullLocator())
    axes.tick_params(labelsize="small")
    if measure == "operations_per_us":
        axes.set_yscale("log", base=2)
        axes.yaxis.set_major_formatter(PLAIN)
        axes.yaxis.set_minor_locator(NullLocator())
    else:
        axes.set_ylim(bottom=0)


def sentences(results: pd.DataFrame) -> str:
    """What is worth saying of the numbers, with them filled in."""
    by_point = results.set_index(POINT)
    most = CPUS[-1]

    def of(measure: str, objects: int, share: float) -> float:
        return float(by_point.loc[(objects, share, most), measure])

    def by_list(measure: str, form: str, share: float = 0.1) -> str:
        return _listed([format(of(measure, objects, share), form) for objects in CPU_PARTIAL])

    def by_share(measure: str, form: str, objects: int) -> str:
        return _listed([format(of(measure, objects, share), form) for share in SHARES])

    shares = _listed([f"{100 * share:g}" for share in SHARES])
    lists, longest = _listed([str(objects) for objects in CPU_PARTIAL]), CPU_PARTIAL[-1]
    return f"""With cpu_partial {lists} ({DEFAULT} is the kernel's own) on {most} CPUs, and a tenth of
the frees on another CPU than the allocation:

- **The lock.** CPUs wait for list_lock {by_list("list_lock_wait_percent", ".2g")} % of their time, and take it
  {by_list("list_lock_per_1000", ".3g")} times per 1000 operations; all together do
  {by_list("operations_per_us", ".0f")} million operations a second.
- **Its price.** Slabs take {by_list("slab_bytes_per_live_byte", ".2f")} times the memory of the live objects.
- **Remote frees.** With {shares} % of them throughput is {by_share("operations_per_us", ".0f", DEFAULT)}
  million with cpu_partial {DEFAULT}, where the lock limits it, and
  {by_share("operations_per_us", ".0f", longest)} million with {longest}, where cache lines do: a free takes
  {by_share("mean_ns_free", ".0f", longest)} ns.
"""


def _listed(words: list[str]) -> str:
    return f"{', '.join(words[:-1])} and {words[-1]}"


def numbers(results: pd.DataFrame) -> str:
    """README's findings and its table."""
    lines = [
        sentences(results),
        "| cpu_partial | slabs on a CPU's list | remote frees | CPUs | million operations a second "
        "| waiting for list_lock | taken per 1000 operations "
        "| allocation, mean | free, mean | frees in the slow path | slab / live memory |",
        "|---|---|---|---|---|---|---|---|---|---|---|",
    ]
    for row in results[results["cpus"].isin((CPUS[0], 8, CPUS[-1]))].to_dict("records"):
        cells = [
            f"{row['cpu_partial']:.0f}",
            f"{row['cpu_partial_slabs']:.0f}",
            f"{100 * row['remote_frees']:g} %",
            f"{row['cpus']:.0f}",
            f"{row['operations_per_us']:.1f}",
            f"{row['list_lock_wait_percent']:.2g} %",
            f"{row['list_lock_per_1000']:.3g}",
            f"{row['mean_ns_alloc']:,.0f} ns",
            f"{row['mean_ns_free']:,.0f} ns",
            f"{row['free_slowpath_percent']:.0f} %",
            f"{row['slab_bytes_per_live_byte']:.2f}",
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
