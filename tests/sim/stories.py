"""What happens in a small simulation, told operation by operation: (ns, CPU, who and what).

At `lock_prices_only` an allocation runs for 61 ns before it asks for a lock, a free for 56; a free
lock costs 15 ns, one handed over 100. Blocks of order 4 always take the zone's lock, so alone an
allocation takes 76 ns and a free 71.
"""

import re
from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from kmsim.config import Study, from_mapping
from kmsim.sim.core.records import START, Core
from kmsim.sim.run.engine import Observer
from kmsim.sim.simulation import Simulation, UserProcess, new_simulation, run
from kmsim.workload.op_stream import KIND_NAMES
from tests.studies import Mapping, lock_prices_only, mapping

Story = list[tuple[float, int, str]]
Locks = NDArray[np.void]  # of lock_t
ONE = {"operations": 1, "live": 1, "requests": [{"order": 4}]}  # an allocation under the zone's lock
PAIR = ONE | {"operations": 2}  # and the free of its block


def prices(**others: str) -> Mapping:
    """Those that a reader can add up, and some others."""
    return lock_prices_only() | {name: {"value": value, "source": "for a test"} for name, value in others.items()}


def cheap(*threads: Mapping, costs: Mapping | None = None, **others: Any) -> Study:
    """A study at these prices."""
    return from_mapping(mapping(*threads, costs=costs or prices(), **others))


def finished(study: Study, *processes: UserProcess) -> Simulation:
    """The simulation at its end."""
    simulation = new_simulation(study, processes)
    assert all(nr_done <= simulation.nr_done for nr_done in run(simulation))
    return simulation


def source(kind: str, **others: Any) -> Mapping:
    """Interrupts on CPU 0, each of which takes a block of order 4 that is never freed."""
    every = {"arrivals": {"constant": "1s"}, "requests": [{"gfp": "GFP_ATOMIC", "order": 4}], "lifetime": "immortal"}
    return {"name": kind, "kind": kind, "cpus": [0], **every, **others}


class Logged(Observer):
    """Writes each operation's beginning and end down."""

    def __init__(self, simulation: Simulation) -> None:
        self.log: Story = []
        self._simulation = simulation
        self._begun: dict[int, str] = {}
        self._done = simulation.core.tasks["nr_done"].copy()

    def before(self, core: Core, _: int) -> None:
        self._begun = begun(core)
        self._done = core.tasks["nr_done"].copy()

    def after(self, core: Core, c: int) -> None:
        ns, whose = int(core.state[0].now) / 1000, self._simulation
        over = [int(k) for k in (core.tasks["nr_done"] - self._done).nonzero()[0]]
        self.log.extend((ns, c, f"{who(whose, k)} {self._begun[k]} done") for k in over)
        for k, what in begun(core).items():
            if k in over or k not in self._begun:
                self.log.append((ns, c, f"{who(whose, k)} {what}"))


class Watched(Observer):
    """Calls `look` after every event with the core, the CPU, and the locks as they were before it."""

    def __init__(self, look: Callable[[Core, int, Locks], None]) -> None:
        self._look = look

    def before(self, core: Core, _: int) -> None:
        self._locks = core.locks.copy()

    def after(self, core: Core, c: int) -> None:
        self._look(core, c, self._locks)


def watch(simulation: Simulation, look: Callable[[Core, int, Locks], None]) -> None:
    """Run a stepwise simulation to its end under the eyes of `look`."""
    simulation.engine.observers.append(Watched(look))
    list(run(simulation))


def told(study: Study, *processes: UserProcess) -> Story:
    """Run a study event by event; each operation's beginning and end."""
    stepwise = study.run.model_copy(update={"stepwise": True})
    simulation = new_simulation(study.model_copy(update={"run": stepwise}), processes)
    logged = Logged(simulation)
    simulation.engine.observers.append(logged)
    list(run(simulation))
    return logged.log


def begun(core: Core) -> dict[int, str]:
    """The tasks within an operation, and which: what their runs say, level by level."""
    found = {}
    for level in range(3):
        for c in range(len(core.cpus)):
            run_of = core.runs[level * len(core.cpus) + c]
            if core.cpus[c].busy[level] and run_of.then != START:
                found[int(run_of.task)] = KIND_NAMES[run_of.kind]
    return found


def who(simulation: Simulation, k: int) -> str:
    """A task's name without the CPU that it started on."""
    tasks = simulation.plan.tasks
    return re.sub(r"/cpu\d+", "", tasks[k].name) if k < len(tasks) else "user"
