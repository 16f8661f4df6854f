"""What happens in a small simulation, told operation by operation: (ns, CPU, who and what).

At `lock_prices_only` an allocation runs for 61 ns before it asks for a lock, a free for 56; a free
lock costs 15 ns, one handed over 100. Blocks of order 4 always take the zone's lock, so alone an
allocation takes 76 ns and a free 71.
"""

import re
from typing import Any

import pytest

from kmsim.config import Study, from_mapping
from kmsim.sim import drivers
from kmsim.sim.records import START, Core
from kmsim.sim.simulation import Simulation, UserProcess, new_simulation, run
from kmsim.workload.op_stream import KIND_NAMES
from tests.studies import Mapping, lock_prices_only, mapping

Story = list[tuple[float, int, str]]
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


def told(monkeypatch: pytest.MonkeyPatch, study: Study, *processes: UserProcess) -> Story:
    """Run a study event by event; each operation's beginning and end."""
    stepwise = study.run.model_copy(update={"stepwise": True})
    simulation = new_simulation(study.model_copy(update={"run": stepwise}), processes)
    log: Story = []
    step_once = drivers.step_once

    def logged(core: Core, c: int) -> int:
        before = begun(core)
        done = core.tasks["nr_done"].copy()
        stop = step_once(core, c)
        ns = int(core.state[0].now) / 1000
        over = [int(k) for k in (core.tasks["nr_done"] - done).nonzero()[0]]
        log.extend((ns, c, f"{who(simulation, k)} {before[k]} done") for k in over)
        after = begun(core)
        log.extend((ns, c, f"{who(simulation, k)} {what}") for k, what in after.items() if k in over or k not in before)
        return stop

    with monkeypatch.context() as patched:
        patched.setattr(drivers, "step_once", logged)
        list(run(simulation))
    return log


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
