"""The runs that a report shows in detail: spread over the points, as many as fit."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from kmsim.plots.report_map import PACKED_BYTES, maps_of
from kmsim.plots.report_tables import locks_table, nr_rows_left_out, operations_table
from kmsim.plots.report_text import readable

if TYPE_CHECKING:
    from kmsim.study.results import StudyResult

RUNS_MAX = 8
NO_MAP = "The run has kept no map of its memory; run.memory_map says how many snapshots a run keeps."


class ShownRuns(NamedTuple):
    """What the page shows, and what it has no room for."""

    shown: list[dict[str, Any]]
    left_out: list[str]


def shown_runs(study: StudyResult) -> ShownRuns:
    """The first replication of points from the first to the last; only these keep a memory map.

    NotAResult names a run's file that is damaged.
    """
    runs = study.runs
    first = runs[(runs["replication"] == 0) & ~runs["failed"].astype(bool)].reset_index(drop=True)
    places = np.unique(np.linspace(0, len(first) - 1, min(len(first), RUNS_MAX)).round().astype(int))
    made = ShownRuns([], [])
    if len(places) < len(runs):
        made.left_out.append(f"tables and memory maps of {len(runs) - len(places):,} of {len(runs):,} runs")
    map_left = PACKED_BYTES
    for nr_before, place in enumerate(places):
        row = first.iloc[place]
        labels = [f"{readable(axis.name, 40)} {readable(str(row[axis.name]), 40)}" for axis in study.axes]
        label = ", ".join([f"run {row['run']}", *labels, f"seed {row['seed']}"])
        result = study.run(int(row["run"]))
        maps = maps_of(result, map_left // (len(places) - nr_before))
        map_left -= sum(len(zone["packed"]) for zone in maps.zones)
        tables = {"operations": operations_table(result), "locks": locks_table(result)}
        made.left_out.extend(f"run {row['run']}: {text}" for text in maps.left_out)
        for name, table in tables.items():
            if nr_rows_left_out(table):
                made.left_out.append(f"run {row['run']}: {nr_rows_left_out(table):,} rows of its {name}")
        made.shown.append({"label": readable(label, 300), **tables, "zones": maps.zones, "no_map": NO_MAP})
    return made
