"""The process that watches a run: it samples memory and activity over time, and finds out when nothing moves any more.

A livelock is a modelled failure: interrupts take all of the CPUs that some threads need, say. The run
ends there, with what it has measured so far.
"""

from __future__ import annotations

from collections.abc import Generator
from typing import TYPE_CHECKING

import numpy as np
import simpy

from kmsim.sim.clock import now_ps
from kmsim.sim.records import NEVER
from kmsim.units import TIME_UNITS, format_time

if TYPE_CHECKING:
    from kmsim.sim.simulation import Simulation

LIVELOCK_PS = 100 * TIME_UNITS["ms"]  # assumed

Process = Generator[simpy.Event, None, None]


def until_all(finished: simpy.Event) -> Process:
    """End when all have; a process, because a condition inside another loses its callbacks."""
    yield finished


def sampler(simulation: Simulation, finished: simpy.Event) -> Process:
    """Sample at the start, at regular intervals and at the end; ends early where nothing moves any more."""
    env = simulation.env
    interval = simulation.study.run.sample_every
    watch = Watch(simulation)
    while not finished.triggered:
        simulation.stuck = watch.look()
        if simulation.stuck:
            break
        sample(simulation)
        yield finished | env.timeout(interval)
    sample(simulation, is_last=True)


def sample(simulation: Simulation, *, is_last: bool = False) -> None:
    """Take down all that is sampled, now."""
    core, now = simulation.core, now_ps(simulation.env)
    simulation.samples.take(core.m, now)
    simulation.activity.take(core, now)
    if simulation.page_maps is not None:
        take = simulation.page_maps.take_last if is_last else simulation.page_maps.take
        take(core.m, core.slub, now)


class Watch:
    """Finds a livelock: threads that want to run, and for long have not been let (as interrupts take all)."""

    def __init__(self, simulation: Simulation) -> None:
        self._simulation = simulation
        tasks = simulation.plan.tasks
        ends = [task.is_finite for task in tasks] + [True] * (len(simulation.core.tasks) - len(tasks))
        self._waited_for = np.flatnonzero(ends)
        self._nr_done = -1
        self._since = 0

    def look(self) -> str:
        """What is wrong, if anything."""
        now = now_ps(self._simulation.env)
        if now >= NEVER:
            return f"the simulated clock ends at {NEVER // TIME_UNITS['s']:,} s"
        tasks = self._simulation.core.tasks
        nr_done = int(tasks["nr_done"][self._waited_for].sum())
        want_to_run = (tasks["wake_at"] <= self._since) | (tasks["running"] != 0)
        if nr_done != self._nr_done or not want_to_run[self._waited_for].any():
            self._nr_done = nr_done
            self._since = now
        if now - self._since < LIVELOCK_PS:
            return ""
        return f"livelock: for {format_time(LIVELOCK_PS)} no thread has finished an operation, though some want to run"
