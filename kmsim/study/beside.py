"""A result beside measurements: each measured point with the runs of a result that do the same.

A run does what a point is of where their workloads are the same but for names, how many operations there are, and,
unless the point gives them, how many blocks each thread holds and the request's flags: the same CPUs, phases, sizes and
orders. What is compared is the mean latency of the point's operation, over such runs. Runs that failed or could not go
on are left out.

Latencies are in ns. Leaves out what the points are (`study.measured`), and what is shown.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
import pandas as pd

from kmsim.config import ConfigError, Study, load, loads
from kmsim.config.node import Place, Problems
from kmsim.config.yaml_file import parse
from kmsim.study.measured import KINDS, Point
from kmsim.study.point_runs import means_by_kind, refusal
from kmsim.study.results import StudyResult
from kmsim.study.store import NotAResult

COLUMNS = (
    "curve", "cpus", "measured_ns", "error_bar_percent", "simulated_ns", "lowest_ns", "highest_ns", "runs",
    "error_percent",
)  # fmt: skip
COUNTS = ("name", "operations", "until")  # two workloads may differ in these and do the same
PERCENT = 100


class Same(NamedTuple):
    """Points of a study's design: their runs' resolved config and numbers."""

    config: str
    study: Study
    runs: tuple[int, ...]


def beside(study: StudyResult, points: Sequence[Point]) -> pd.DataFrame:
    """A row of `COLUMNS` for each point; what no run is like has 0 runs and no latency. NotAResult where none is."""
    theirs = _designs(study)
    means: dict[int, dict[str, float]] = {}
    rows: list[tuple[object, ...]] = []
    for point in points:
        runs = [run for one in theirs if _does_the_same(point, one) for run in one.runs]
        for run in runs:
            if run not in means:
                operations = study.run(run).tables["operations"]
                means[run] = means_by_kind({name: operations[name].to_numpy() for name in ("kind", "count", "sum_ps")})
        latency = [sum(means[run].get(kind, np.nan) for kind in KINDS[point.operation]) for run in runs]
        known = [ns for ns in latency if np.isfinite(ns)]
        mean, low, high = (float(np.mean(known)), min(known), max(known)) if known else (np.nan,) * 3
        error = PERCENT * (mean / point.ns - 1)
        facts = (point.curve, point.cpus, point.ns, point.error_percent)
        rows.append((*facts, mean, low, high, len(known), error))
    table = pd.DataFrame(rows, columns=list(COLUMNS))
    if not table["runs"].any():
        point = points[0]
        must = "must be of what a run of the result does: the same workload, size and CPUs"
        raise NotAResult(f"{point.where}: {must}; no point is, found {point.curve} on {point.cpus} CPUs")
    return table


def _designs(study: StudyResult) -> list[Same]:
    """The runs of each point of the study's design, with the config of one."""
    found = []
    for _, rows in study.counted_runs.groupby("point", sort=False):
        numbers = tuple(int(run) for run in rows["run"])
        text = study.run(numbers[0]).config_yaml
        found.append(Same(text, loads(text), numbers))
    return found


def _does_the_same(point: Point, same: Same) -> bool:
    """Is the point's workload, on the machine of these runs, theirs?"""
    machine = parse(same.config, Place("config"), Problems()).keys["machine"].python()
    try:
        wanted = load(point.run.file, [f"machine={json.dumps(machine)}", *point.run.sets])
    except ConfigError as error:
        if any(problem.rule.startswith("file_") for problem in error.problems):
            raise refusal(point, same.study.machine.name, error) from error
        return False
    return bool(_shape(wanted, point) == _shape(same.study, point))


def _shape(study: Study, point: Point) -> Any:
    """A workload without what may differ."""
    left_out = (*COUNTS, *(() if point.gfp else ("gfp",)), *(() if point.blocks else ("live",)))
    return _without(study.workload.model_dump(mode="json", exclude_none=True), left_out)


def _without(value: Any, names: Sequence[str]) -> Any:
    if isinstance(value, list):
        return [_without(item, names) for item in value]
    if isinstance(value, dict):
        return {key: _without(entry, names) for key, entry in value.items() if key not in names}
    return value
