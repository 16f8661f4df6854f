"""The runs behind measured points: simulated on one machine, with the prices of a list or with others in their place.

What has been simulated is kept, by run and prices: a fit asks again for what it began with. Leaves out what the points
are (`study.measured`) and what is made of them. Prices and latencies are in ns.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from kmsim.config import ConfigError, load
from kmsim.config.costs import CostsConfig, Price
from kmsim.config.shipped import shipped_file
from kmsim.study.left_out import OfKind, kind_of
from kmsim.study.measured import KINDS, Point, Run
from kmsim.study.store import NotAResult
from kmsim.units import PS_PER_NS

SEED = 1


def priced(costs: CostsConfig) -> dict[str, Price]:
    """The prices of a list by name."""
    fields = {name: getattr(costs, name) for name in CostsConfig.model_fields}
    return {name: field for name, field in fields.items() if isinstance(field, Price)}


class PointRuns:
    """One machine and one price list, by name or file; ConfigError where they are none."""

    def __init__(self, machine: str, costs: str) -> None:
        self.machine = machine
        self._sets = (f"machine={machine}", f"costs={costs}", "run.sample_every=1000s")
        self._known: dict[tuple[Run, tuple[str, ...]], dict[str, float]] = {}
        self._kinds: dict[tuple[Run, str], OfKind | None] = {}
        study = load(shipped_file("workloads", "llfree-repeat"), list(self._sets))
        self.costs, self.simulated = study.costs, study.machine

    def check(self, points: Sequence[Point]) -> None:
        """NotAResult where a point's run is none on this machine, or has not what the point is of."""
        for run, of_run in _by_run(points).items():
            try:
                load(run.file, [*self._sets, *run.sets])
            except ConfigError as error:
                raise refusal(of_run[0], self.machine, error) from error

    def latencies(self, points: Sequence[Point], prices: Mapping[str, float]) -> NDArray[np.float64]:
        """The points' latencies, with these prices in place of the list's."""
        changed = tuple(f"costs.{name}.value={max(round(PS_PER_NS * ns), 1)}ps" for name, ns in prices.items())
        latency = np.zeros(len(points))
        for n, point in enumerate(points):
            means = self._known.get((point.run, changed))
            if means is None:
                means = self._known[point.run, changed] = self._means(point, changed)
            kinds = KINDS[point.operation]
            if any(kind not in means for kind in kinds):
                there = ", ".join(means) or "none"
                raise NotAResult(f"{point.where}: operation: must be one that the workload has, {there}")
            latency[n] = sum(means[kind] for kind in kinds)
        return latency

    def kind_of(self, point: Point) -> OfKind | None:
        """What a point that has been simulated is of; None where it says nothing of one kind of operation."""
        return self._kinds.get((point.run, point.operation))

    def _means(self, point: Point, changed: Sequence[str]) -> dict[str, float]:
        """The mean latency of each kind of operation of one run."""
        from kmsim.study.runner import run_point
        from kmsim.study.tables import tables_of

        simulation = run_point(load(point.run.file, [*self._sets, *point.run.sets, *changed], seed=SEED))
        operations = tables_of(simulation)["operations"]
        simulation.free()
        if operations["failed"].any():
            raise NotAResult(f"{point.where}: must fit into the memory of {self.machine}; allocations failed")
        self._kinds |= {(point.run, operation): kind_of(operations, operation) for operation in KINDS}
        return means_by_kind(operations)


def refusal(point: Point, machine: str, error: ConfigError) -> NotAResult:
    """What is said of a point that is no run of a machine."""
    first = error.problems[0]
    must = f"must be a run of {machine}: {first.key or first.path} must {first.must}"
    found = f", found {first.found}" if first.found else ""
    return NotAResult(f"{point.where}: {must}{found} ({first.path})")


def means_by_kind(operations: Mapping[str, NDArray[np.generic]]) -> dict[str, float]:
    """The mean latency of each kind of operation, from a run's table."""
    means = {}
    for kind in np.unique(operations["kind"]).tolist():
        is_mine = operations["kind"] == kind
        count = int(operations["count"][is_mine].sum())
        if count:
            means[kind] = int(operations["sum_ps"][is_mine].sum()) / count / PS_PER_NS
    return means


def _by_run(points: Sequence[Point]) -> dict[Run, list[Point]]:
    found: dict[Run, list[Point]] = {}
    for point in points:
        found.setdefault(point.run, []).append(point)
    return found
