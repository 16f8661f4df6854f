"""How fast kmsim itself is: the shipped benches, timed on this computer.

A bench is run twice: a little of it first, so that nothing is compiled in the run that is timed. The
time is that of the simulation, with latencies and all metrics on, without booting the machine. Of a machine that
reclaims, it is also said how much of that there was.
"""

import time
from typing import NamedTuple

from kmsim.config import Study, load
from kmsim.config.asked import asked_file
from kmsim.config.errors import ConfigError, Problem, must
from kmsim.config.shipped import shipped_names
from kmsim.sim.core.records import HAS_RECLAIMED, PAGES_RECLAIMED, PAGES_SCANNED
from kmsim.sim.simulation import Simulation, new_simulation
from kmsim.sim.simulation import run as simulate

WARM_UP_SHARE = 100


class Reclaimed(NamedTuple):
    """What the operations of a run had to reclaim."""

    reclaiming_share: float  # of all operations; those that entered direct reclaim
    pages_scanned: int
    pages_reclaimed: int

    def line(self) -> str:
        """For a person."""
        pages = f"{self.pages_scanned:,} pages scanned, {self.pages_reclaimed:,} reclaimed"
        return f"{self.reclaiming_share:.2%} in direct reclaim, {pages}"


class Measured(NamedTuple):
    """The result of a bench; seconds of wall time."""

    name: str
    operations: int
    run_s: float
    operations_per_s: float
    reclaimed: Reclaimed | None  # None: the machine cannot reclaim

    def line(self) -> str:
        """For a person."""
        rate = self.operations_per_s / 1e6
        line = f"{self.name}: {self.operations:,} operations in {self.run_s:.2f} s, {rate:.2f} million a second"
        return line if self.reclaimed is None else f"{line}; {self.reclaimed.line()}"

    def as_dict(self) -> dict[str, str | float]:
        """For a script; what was reclaimed stands beside the rest, where there is anything to say of it."""
        others = {} if self.reclaimed is None else self.reclaimed._asdict()
        return {name: value for name, value in self._asdict().items() if name != "reclaimed"} | others


def bench_names() -> list[str]:
    """The shipped benches."""
    return shipped_names("bench")


def study_of_bench(name: str, operations: int) -> Study:
    """A shipped bench, or a study's file, with that many operations in all, divided evenly among its threads.

    There may be a few more, so that all threads have as many; what interrupts do, and timed frees, comes on
    top. ConfigError where there is no such bench, or its threads have phases.
    """
    file = asked_file("bench", name, command="bench", argument="NAME")
    study = load(file)
    phased = [n for n, thread in enumerate(study.workload.threads) if thread.phases]
    if phased:
        what = must("left_out", key="a number of operations for kmsim bench")
        raise ConfigError([Problem("left_out", str(file), None, f"workload.threads[{n}].phases", what) for n in phased])
    nr_threads = sum(thread.nr_tasks for thread in study.workload.threads)
    each = -(-operations // nr_threads)
    sets = [f"workload.threads[{n}].operations={each}" for n in range(len(study.workload.threads))]
    return load(file, sets)


def measure(study: Study) -> Measured:
    """Run a bench once it is compiled."""
    some = [
        thread.model_copy(update={"operations": max(1, (thread.operations or 0) // WARM_UP_SHARE)})
        for thread in study.workload.threads
    ]
    _run(study.model_copy(update={"workload": study.workload.model_copy(update={"threads": tuple(some)})}))
    simulation, seconds = _run(study)
    operations = simulation.nr_done
    return Measured(study.name, operations, round(seconds, 4), round(operations / seconds), reclaimed_by(simulation))


def reclaimed_by(simulation: Simulation) -> Reclaimed | None:
    """What a run had to reclaim in all; None on a machine that cannot."""
    if simulation.core.reclaimed is None:
        return None
    counts = simulation.core.reclaimed.sum(axis=0)
    share = int(counts[HAS_RECLAIMED]) / max(simulation.nr_done, 1)
    return Reclaimed(share, int(counts[PAGES_SCANNED]), int(counts[PAGES_RECLAIMED]))


def _run(study: Study) -> tuple[Simulation, float]:
    simulation = new_simulation(study)
    start = time.perf_counter()
    for _ in simulate(simulation):
        pass
    return simulation, time.perf_counter() - start
