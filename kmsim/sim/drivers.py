"""What drives the event core on SimPy's clock: one process, or in stepwise mode one for each CPU.

    default   the core runs up to the next instant at which another process acts (`env.peek()`)
    stepwise  each of a CPU's events is an event of SimPy, for reading and debugging
Both take the same events in the same order: by time, other processes first, then CPUs by number; a
test compares their results bit for bit.
"""

from __future__ import annotations

from collections.abc import Generator
from typing import TYPE_CHECKING

import simpy

from kmsim.sim.clock import Step, now_ps
from kmsim.sim.event_core import run_until, step_once
from kmsim.sim.records import BLOCK_DONE, CHECK_DUE, HORIZON, NEVER, NOBODY
from kmsim.sim.recount import recount

if TYPE_CHECKING:
    from kmsim.sim.simulation import Simulation


def start_drivers(simulation: Simulation) -> None:
    """Start the mode that the study asks for."""
    if simulation.study.run.stepwise:
        Stepper(simulation)
    else:
        simulation.env.process(core_process(simulation))


def core_process(simulation: Simulation) -> Generator[simpy.Event, None, None]:
    """Run the core up to each instant at which another process acts."""
    env = simulation.env
    while True:
        horizon = int(min(env.peek(), NEVER))
        stop = run_until(simulation.core, horizon, NOBODY)
        if stop == HORIZON:
            if horizon == NEVER:
                return  # nobody will ever act again
            yield Step(env, horizon - now_ps(env), 0)
        else:
            yield Step(env, int(simulation.core.state[0].now) - now_ps(env), 0)
            stopped(simulation, stop)
            yield Step(env, 0, 0)


def stopped(simulation: Simulation, stop: int) -> None:
    """Do what the core stopped for, at that time."""
    state = simulation.core.state[0]
    if stop & CHECK_DUE:
        recount(simulation.core)
        state.check_at += simulation.study.run.validate_every
    if stop & BLOCK_DONE:
        simulation.block_done.pop(int(state.stopped_task)).succeed()


class Stepper:
    """One process for each CPU; where a CPU's next event moves forward, its process is interrupted."""

    def __init__(self, simulation: Simulation) -> None:
        self._simulation = simulation
        nr_cpus = len(simulation.core.cpus)
        self._waits_until = [-1] * nr_cpus  # it has not begun to wait
        self._processes = [simulation.env.process(self._cpu(c)) for c in range(nr_cpus)]
        simulation.moved = self.moved

    def moved(self) -> None:
        """Wake the CPUs whose next event is earlier than what they wait for."""
        times = self._simulation.core.cpus["time"].tolist()
        for c, (time, waits_until) in enumerate(zip(times, self._waits_until, strict=True)):
            if time < waits_until:
                self._waits_until[c] = time
                self._processes[c].interrupt()

    def _cpu(self, c: int) -> Generator[simpy.Event, None, None]:
        simulation = self._simulation
        env = simulation.env
        while True:
            time = int(simulation.core.cpus[c].time)
            self._waits_until[c] = time
            try:
                yield Step(env, time - now_ps(env), c)
            except simpy.Interrupt:
                continue
            self._waits_until[c] = -1  # its own event needs no interruption
            stop = step_once(simulation.core, c)
            if stop != HORIZON:
                stopped(simulation, stop)
            self.moved()
