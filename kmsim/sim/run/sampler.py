"""The process that watches a run: it samples memory and activity over time, and finds out when nothing moves any more.

A livelock is a modelled failure: interrupts take all of the CPUs that some threads need, say. The run
ends there, with what it has measured so far.
"""

from __future__ import annotations

from collections.abc import Generator

import numpy as np
import simpy

from kmsim.sim.core.records import NEVER
from kmsim.sim.run.clock import now_ps
from kmsim.sim.run.engine import Engine
from kmsim.sim.run.recorders import Recorders
from kmsim.units import TIME_UNITS, format_time
from kmsim.workload.plan import Plan

LIVELOCK_PS = 100 * TIME_UNITS["ms"]  # assumed


def until_all(finished: simpy.Event) -> Generator[simpy.Event, None, None]:
    """End when all have; a process, because a condition inside another loses its callbacks."""
    yield finished


def sampler(
    engine: Engine, recorders: Recorders, watch: Watch, interval_ps: int, finished: simpy.Event
) -> Generator[simpy.Event, None, str]:
    """Sample at the start, at regular intervals and at the end; ends early where nothing moves any more.

    The process's value says why it ended early, or is empty.
    """
    env, stuck = engine.env, ""
    while not finished.triggered:
        stuck = watch.look()
        if stuck:
            break
        recorders.take(engine.core, now_ps(env))
        yield finished | env.timeout(interval_ps)
    recorders.take(engine.core, now_ps(env), is_last=True)
    return stuck


class Watch:
    """Finds a livelock: threads that want to run, and for long have not been let (as interrupts take all).

    One that sleeps until it is woken wants to run; one that sleeps until a given time does not.
    """

    def __init__(self, engine: Engine, plan: Plan) -> None:
        self._engine = engine
        ends = [task.is_finite for task in plan.tasks] + [True] * (len(engine.core.tasks) - len(plan.tasks))
        self._waited_for = np.flatnonzero(ends)
        self._nr_done = -1
        self._since = 0

    def look(self) -> str:
        """What is wrong, if anything."""
        now = now_ps(self._engine.env)
        if now >= NEVER:
            return f"the simulated clock ends at {NEVER // TIME_UNITS['s']:,} s"
        tasks = self._engine.core.tasks
        nr_done = int(tasks["nr_done"][self._waited_for].sum())
        sleeps_for_a_time = (tasks["parked"] != 0) & (tasks["wake_at"] < NEVER)
        want_to_run = (tasks["wake_at"] <= self._since) | ((tasks["running"] != 0) & ~sleeps_for_a_time)
        if nr_done != self._nr_done or not want_to_run[self._waited_for].any():
            self._nr_done = nr_done
            self._since = now
        if now - self._since < LIVELOCK_PS:
            return ""
        return f"livelock: for {format_time(LIVELOCK_PS)} no thread has finished an operation, though some want to run"
