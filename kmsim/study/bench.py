"""How fast kmsim itself is: the shipped benches, timed on this computer.

A bench is run twice: a little of it first, so that nothing is compiled in the run that is timed. The
time is that of the simulation, with latencies and all metrics on, without booting the machine.
"""

import time
from typing import NamedTuple

from kmsim.config import Study, load
from kmsim.config.asked import asked_file
from kmsim.config.errors import ConfigError, Problem, must
from kmsim.config.shipped import shipped_names
from kmsim.sim.simulation import new_simulation
from kmsim.sim.simulation import run as simulate

WARM_UP_SHARE = 100


class Measured(NamedTuple):
    """The result of a bench; seconds of wall time."""

    name: str
    operations: int
    run_s: float
    operations_per_s: float

    def line(self) -> str:
        """For a person."""
        rate = self.operations_per_s / 1e6
        return f"{self.name}: {self.operations:,} operations in {self.run_s:.2f} s, {rate:.2f} million a second"


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
    operations, seconds = _run(study)
    return Measured(study.name, operations, round(seconds, 4), round(operations / seconds))


def _run(study: Study) -> tuple[int, float]:
    simulation = new_simulation(study)
    start = time.perf_counter()
    for _ in simulate(simulation):
        pass
    return simulation.nr_done, time.perf_counter() - start
