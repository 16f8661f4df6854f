"""Run the study beside it: the kernel as it is and with each of two patches, with more and less memory free.

    python experiments/highatomic_patches/highatomic_patches.py          # all of it
    python experiments/highatomic_patches/highatomic_patches.py --draw   # figure and README from results.csv

Each run's numbers go to results.csv, a row each; the figure and README's numbers are made of that file alone.
`kmsim run study.yaml` runs the same, with intervals, and without the number of reserved pageblocks.
"""

from __future__ import annotations

import sys
from itertools import product
from pathlib import Path
from typing import Any

import matplotlib as mpl
import matplotlib.pyplot as plt
import pandas as pd

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))  # experiments share code

from experiments.figures import save_figure, write_numbers
from kmsim.config import Study, load_design
from kmsim.plots.style import styled
from kmsim.study.runner import run_point
from kmsim.study.tables import tables_of

HERE = Path(__file__).parent
STUDY = HERE / "study.yaml"
RESULTS = HERE / "results.csv"
FIGURE = HERE / "highatomic_patches.png"
README = HERE / "README.md"

NAMES = {
    "builtin": "Linux 6.12",
    "./no_reserve_up_to_costly.py": "none up to costly orders",
    "./none_after_pcp.py": "none after a per-CPU list",
}
COLORS = {policy: mpl.colormaps["cividis"](shade) for policy, shade in zip(NAMES, (0.0, 0.5, 0.85), strict=True)}
HUGE_ORDER = 9
# The A/B of the first patch, about 60 hosts of 64 GB on each side (linux-mm, 18 May 2026): percent of huge pages that
# were got, and pageblocks reserved per host.
PUBLISHED = {"builtin": ((1, 6), "309 to 312"), "./no_reserve_up_to_costly.py": ((44, 78), "1")}


def row_of(study: Study, policy: str, pageblocks: int) -> dict[str, Any]:
    """Run one point; its row of results.csv."""
    simulation = run_point(study)
    m, done = simulation.machine, tables_of(simulation)["operations"]
    allocs = done[done["kind"] == "alloc"]
    huge, atomic = allocs[allocs["order"] == HUGE_ORDER], allocs[allocs["order"] < HUGE_ORDER]
    row = {
        "policy": policy,
        "pageblocks": pageblocks,
        "share_percent": 100 * (pageblocks << HUGE_ORDER) / int(m.zones["managed_pages"].max()),
        "seed": study.seed,
        "huge_asked": int((huge["count"] + huge["failed"]).sum()),
        "huge_percent": 100 * huge["count"].sum() / (huge["count"] + huge["failed"]).sum(),
        "atomic_asked": int((atomic["count"] + atomic["failed"]).sum()),
        "atomic_failed_percent": 100 * atomic["failed"].sum() / (atomic["count"] + atomic["failed"]).sum(),
        "reserved": int(m.zones["nr_reserved_highatomic"].sum()) >> HUGE_ORDER,
        "reserved_free": int(m.zones["nr_free_highatomic"].sum()) >> HUGE_ORDER,
    }
    simulation.free()
    return row


def simulate() -> None:
    """Run every point with each seed and write results.csv."""
    design = load_design(STUDY)
    rows = []
    for n, point in product(range(design.inquiry.replications.first), design.points):
        of, pageblocks = point.labels["policy"], int(point.labels["whole pageblocks"])
        rows.append(row_of(design.study_of(point, n), of, pageblocks))
        pd.DataFrame(rows).to_csv(RESULTS, index=False, float_format="%.6g")


def medians(results: pd.DataFrame) -> pd.DataFrame:
    """The medians of the seeds, by policy and free pageblocks."""
    return results.drop(columns="seed").groupby(["policy", "pageblocks"]).median()


def draw(results: pd.DataFrame) -> Any:
    """Huge pages that were got, and pageblocks reserved, over the whole pageblocks that were free."""
    found = medians(results)
    with styled():
        figure, panels = plt.subplots(1, 2, figsize=(7.4, 3.2), layout="constrained")
        figure.suptitle("What do two patches of the highatomic reserve do to huge pages?")
        for policy, name in NAMES.items():
            rows = found.loc[policy]
            for axes, measure in zip(panels, ("huge_percent", "reserved"), strict=True):
                axes.plot(rows["share_percent"], rows[measure], color=COLORS[policy], marker="o", ms=3, label=name)
        for policy, ((low, high), _) in PUBLISHED.items():
            panels[0].axhspan(low, high, color=COLORS[policy], alpha=0.15, lw=0)
        panels[0].set_ylabel("huge pages got (% of those asked for)")
        panels[1].set_ylabel("pageblocks reserved at the end")
        for axes in panels:
            axes.set_xlabel("free in whole pageblocks (% of the zone)")
            axes.set_ylim(bottom=0)
        handles, labels = panels[0].get_legend_handles_labels()
        n = f"medians of {results['seed'].nunique()} runs; bands: the published A/B"
        figure.legend(handles, labels, title=n, loc="outside lower center", ncols=len(NAMES))
    return figure


def numbers(results: pd.DataFrame) -> str:
    """README's table."""
    found = medians(results)
    lines = [
        "| free whole pageblocks | reserve | huge pages got | pageblocks reserved | free of them | packets refused |",
        "|---|---|---|---|---|---|",
    ]
    for pageblocks in sorted(set(results["pageblocks"])):
        for policy, name in NAMES.items():
            row = found.loc[(policy, pageblocks)]
            cells = [
                f"{pageblocks} ({row['share_percent']:.2f} % of the zone)",
                name,
                f"{row['huge_percent']:.1f} %",
                f"{row['reserved']:.0f}",
                f"{row['reserved_free']:.0f}",
                f"{row['atomic_failed_percent']:.2g} %",
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
