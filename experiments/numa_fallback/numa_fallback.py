"""Fill a node by local, interleaved and bound memory, and look at what allocations cost on both nodes then.

    python experiments/numa_fallback/numa_fallback.py          # all of it
    python experiments/numa_fallback/numa_fallback.py --draw   # figure and README from results.csv

Each point's numbers go to results.csv, a row a node; the figure and README's numbers are made of that file alone.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import matplotlib as mpl
import matplotlib.pyplot as plt
import numpy as np
import pandas as pd

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))  # experiments share code

import kmsim
from experiments.figures import save_figure, write_numbers
from kmsim.config import Study, load
from kmsim.metrics.columns import table_of
from kmsim.mm.mmzone import NUMA_OTHER
from kmsim.plots.style import styled
from kmsim.sim.simulation import Simulation, UserProcess
from kmsim.study.responses import quantile_ns
from kmsim.study.store import Result
from kmsim.units import parse_time

HERE = Path(__file__).parent
STUDY = HERE / "numa_fallback.yaml"
RESULTS = HERE / "results.csv"
FIGURE = HERE / "numa_fallback.png"
README = HERE / "README.md"

ARCHS = {4: "x86-64", 64: "arm64"}  # by page size in KiB
POLICIES = {"local": "", "interleave": "{mode: interleave, nodes: 0-1}", "bind": "{mode: bind, nodes: [0]}"}
SERVERS = (1, 2)  # of the study's threads: those behind the one that fills
LIVE = 2000  # pages of 4 KiB that a server holds
SHARES = (50, 90, 100, 120, 150)  # of a node's memory, in percent
IN_README = (50, 90, 150)  # of SHARES
NODES = (0, 1)
NODE_KIB = 1 << 20
CPUS_PER_NODE = 4
POINTS = [(page, policy, share) for page in ARCHS for policy in POLICIES for share in SHARES]
LOOKS: dict[str, dict[str, Any]] = {
    "local": {"color": mpl.colormaps["cividis"](0.0), "marker": "o", "linewidth": 3.2, "markersize": 8},
    "interleave": {"color": mpl.colormaps["cividis"](0.5), "marker": "s", "linewidth": 1.6},
    "bind": {"color": mpl.colormaps["cividis"](0.85), "marker": "D", "linewidth": 1.2},
}
LABELS = {"local": "local", "interleave": "interleaved", "bind": "bound to the node"}
MEASURES = {
    "off_node_percent": "allocations that came\nfrom the other node (%)",
    "strict_failed_percent": "__GFP_THISNODE requests\nthat failed (%)",
    "mean_ns": "mean time of an\nallocation (ns)",
}


def study_of(page_kib: int, policy: str, share: int, operations: int | None = None) -> Study:
    """One point; `operations` of each server instead of the study's."""
    scale = page_kib // min(ARCHS)  # as many bytes are held, whatever the page
    sets = [
        f"machine.arch={ARCHS[page_kib]}",
        f"machine.page_size={page_kib}KiB",
        f"workload.threads[0].operations={NODE_KIB // page_kib * share // 100}",
        *(f"workload.threads[{server}].live={LIVE // scale}" for server in SERVERS),
    ]
    if POLICIES[policy]:
        sets.append(f"workload.threads[0].memory_policy={POLICIES[policy]}")
    if operations is not None:
        sets += [f"workload.threads[{server}].operations={operations}" for server in SERVERS]
    return load(STUDY, sets)


class Landed:
    """A process that looks at where allocations had landed when the servers began, and keeps the zones."""

    def __init__(self, start: str) -> None:
        self._start_ps = parse_time(start)
        self._zones: Any = None
        self._before: Any = None

    def watch(self, simulation: Simulation) -> Any:
        """The process."""
        self._zones = simulation.machine.zones
        yield simulation.env.timeout(self._start_ps - 1)
        self._before = self._zones["vm_numa_event"].copy()

    def from_afar(self, node: int) -> int:
        """How many allocations of CPUs of the other nodes landed on a node since then."""
        events = (self._zones["vm_numa_event"] - self._before)[:, NUMA_OTHER]
        return int(events[self._zones["node"] == node].sum())


def rows_of(page_kib: int, policy: str, share: int, operations: int | None = None) -> Iterator[dict[str, Any]]:
    """Run one point; its rows of results.csv, one for the servers of each node."""
    landed = Landed("1s")
    processes: tuple[UserProcess, ...] = (landed.watch,)
    result: Result = kmsim.run(study_of(page_kib, policy, share, operations), processes=processes)
    allocs = result.operations[result.operations["kind"] == "alloc"]
    histograms = result.histograms[result.histograms["kind"] == "alloc"]
    is_filler = allocs["gfp"].str.contains("MOVABLE")
    filler = allocs[is_filler]
    for node in NODES:
        of_node = allocs["cpu"] // CPUS_PER_NODE == node
        is_strict = allocs["gfp"].str.contains("THISNODE")
        plain, strict = allocs[of_node & ~is_filler & ~is_strict], allocs[of_node & is_strict]
        buckets = table_of(
            histograms[
                (histograms["cpu"] // CPUS_PER_NODE == node)
                & ~histograms["gfp"].str.contains("MOVABLE")
                & ~histograms["gfp"].str.contains("THISNODE")
            ]
        )
        nr_plain = int(plain["count"].sum())  # served
        nr_strict = int(strict["count"].sum() + strict["failed"].sum())
        yield {
            "page_kib": page_kib,
            "policy": policy,
            "share": share,
            "node": node,
            "filler_failed": int(filler["failed"].sum()),
            "allocations": nr_plain,
            "failed": int(plain["failed"].sum()),
            "off_node_percent": 100 * landed.from_afar(1 - node) / nr_plain,
            "strict_requests": nr_strict,
            "strict_failed_percent": 100 * strict["failed"].sum() / nr_strict,
            "mean_ns": (plain["mean_ns"] * plain["count"]).sum() / nr_plain,
            "p99_ns": quantile_ns(buckets, 990),
        }


def simulate() -> None:
    """Run every point and write results.csv."""
    rows = [row for point in POINTS for row in rows_of(*point)]
    pd.DataFrame(rows).to_csv(RESULTS, index=False, float_format="%.6g")


def draw(results: pd.DataFrame) -> Any:
    """A row of panels for each page size, a panel for each measure; a line for each policy and node."""
    with styled():
        figure, panels = plt.subplots(
            len(ARCHS), len(MEASURES), figsize=(7.4, 4.6), sharex=True, sharey="col", layout="constrained"
        )
        figure.suptitle("When a node fills, who pays?")
        for row, page_kib in zip(panels, ARCHS, strict=True):
            for axes, (measure, label) in zip(row, MEASURES.items(), strict=True):
                for policy, look in LOOKS.items():
                    for node, line in zip(NODES, ("-", "--"), strict=True):
                        at = (results["page_kib"] == page_kib) & (results["policy"] == policy)
                        points = results[at & (results["node"] == node)]
                        name = f"{LABELS[policy]}, seen from node {node}"
                        axes.plot(points["share"], points[measure], label=name, linestyle=line, **look)
                axes.set_title(label, fontsize="small")
                axes.margins(y=0.1)
                axes.set_ylim(0, 1.05 * max(axes.get_ylim()[1], 1))
                axes.tick_params(labelsize="small")
            row[0].set_ylabel(f"pages of {page_kib} KiB", fontsize="small")
        for axes in panels[-1]:
            axes.set_xlabel("memory taken, % of a node", fontsize="small")
        handles = panels[0][0].get_legend_handles_labels()
        figure.legend(*handles, fontsize="small", loc="outside lower center", ncols=3, title="memory that fills")
    return figure


def sentences(results: pd.DataFrame) -> str:
    """What is worth saying of the numbers, with them filled in."""
    at = results.set_index(["page_kib", "policy", "share", "node"])
    base, page = min(ARCHS), max(ARCHS)
    most = SHARES[-1]

    def of(measure: str, policy: str, share: int, node: int, page_kib: int = base) -> float:
        return float(at.loc[(page_kib, policy, share, node), measure])

    dearer = of("mean_ns", "local", most, 0) / of("mean_ns", "local", SHARES[0], 0)
    from_afar = {policy: f"{of('off_node_percent', policy, most, 0):.0f} % of their pages" for policy in POLICIES}
    failed = {policy: f"{of('strict_failed_percent', policy, most, 0):.0f} %" for policy in POLICIES}
    ns = {policy: f"{of('mean_ns', policy, most, 0):.0f} ns" for policy in POLICIES}
    large = {share: f"{of('mean_ns', 'local', share, 0, page):.0f} ns" for share in SHARES}
    return f"""**Answer.** The CPUs of the node that is full pay: a page from the other node takes
{ns["local"]} on average instead of {of("mean_ns", "local", SHARES[0], 0):.0f} ns
({dearer:.1f} times), and who may not leave the node gets none.

- **Local.** One thread takes {most} % of a node as local memory: plain requests there take
  {from_afar["local"]} from the other, and {failed["local"]} of those with __GFP_THISNODE
  fail. The other node's CPUs pay {of("mean_ns", "local", most, 1):.0f} ns a page, as all CPUs take from one zone now.
- **Interleaved.** The same memory, interleaved: {from_afar["interleave"]}
  from the other node, {ns["interleave"]} a page, and {failed["interleave"]} fail.
- **Bound.** Bound to the node, {of("filler_failed", "bind", most, 0):,.0f} of the requests that fill it fail;
  for the others it is as with local memory.
- **Pages of {page} KiB.** Local memory of {most} % of a node: {of("off_node_percent", "local", most, 0, page):.0f} %
  from the other node, {large[most]} a page instead of {large[SHARES[0]]}, and
  {of("strict_failed_percent", "local", most, 0, page):.0f} % with __GFP_THISNODE fail.
"""


def numbers(results: pd.DataFrame) -> str:
    """README's findings and its table."""
    lines = [
        sentences(results),
        "| pages | memory | share of a node | node | from the other node | strict requests failed | mean | p99 |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for row in results[results["share"].isin(IN_README)].to_dict("records"):
        cells = [
            f"{row['page_kib']} KiB",
            LABELS[row["policy"]],
            f"{row['share']} %",
            str(row["node"]),
            f"{row['off_node_percent']:.3g} %",
            f"{row['strict_failed_percent']:.3g} %",
            f"{row['mean_ns']:,.0f} ns",
            f"{row['p99_ns']:,.0f} ns",
        ]
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines) + "\n"


def main(arguments: list[str]) -> None:
    """All points, unless only the drawing is wanted; then the figure and README, from results.csv alone."""
    mpl.use("Agg")
    if "--draw" not in arguments:
        simulate()
    results = pd.read_csv(RESULTS)
    assert np.isfinite(results["mean_ns"]).all()
    save_figure(draw(results), FIGURE)
    write_numbers(README, numbers(results))


if __name__ == "__main__":
    main(sys.argv[1:])
