"""The process that watches a run: it samples memory and activity over time, and finds out when nothing moves any more.

A livelock is a modelled failure: interrupts take all of the CPUs that some threads need, say. The run
ends there, with what it has measured so far.
"""

from __future__ import annotations

from collections.abc import Generator

import numpy as np
import simpy
from numpy.typing import NDArray

from kmsim.metrics.gfp_names import gfp_names
from kmsim.mm.ladder import RUNG_SLOW
from kmsim.sim.core.records import NEVER, Core
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

    It looks for that at least every LIVELOCK_PS: a request that begins again and again takes as much real time as any.
    The process's value says why it ended early, or is empty.
    """
    env, stuck = engine.env, ""
    next_sample = now_ps(env)
    while not finished.triggered:
        stuck = watch.look()
        if stuck:
            break
        if now_ps(env) == next_sample:
            recorders.take(engine.core, now_ps(env))
            next_sample += interval_ps
        timeout = env.timeout(min(next_sample - now_ps(env), LIVELOCK_PS))
        yield simpy.AnyOf(env, [finished, engine.panicked, timeout])
    recorders.take(engine.core, now_ps(env), is_last=True)
    return stuck


class Watch:
    """Finds a livelock: threads that want to run, and for long have not been let (as interrupts take all).

    One that sleeps until it is woken wants to run; one that sleeps until a given time does not, unless it is in the
    slow path, as it naps there and begins again.
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
        if self._engine.panicked.triggered:
            return panic_text(int(self._engine.core.m.lru.oom[0].panic_on_oom))
        tasks = self._engine.core.tasks
        nr_done = int(tasks["nr_done"][self._waited_for].sum())
        sleeps_for_a_time = (tasks["parked"] != 0) & (tasks["wake_at"] < NEVER)
        want_to_run = (tasks["wake_at"] <= self._since) | ((tasks["running"] != 0) & ~sleeps_for_a_time)
        want_to_run |= begins_again(self._engine.core)
        if nr_done != self._nr_done or not want_to_run[self._waited_for].any():
            self._nr_done = nr_done
            self._since = now
        if now - self._since < LIVELOCK_PS:
            return ""
        said = f"livelock: for {format_time(LIVELOCK_PS)} no thread has finished an operation, though some want to run"
        return said + who_begins_again(self._engine.core)


def panic_text(panic_on_oom: int) -> str:
    """What the kernel says when it stops as no memory is left."""
    if not panic_on_oom:
        return "Kernel panic - not syncing: System is deadlocked on memory (no process is left that may be killed)"
    which = "compulsory" if panic_on_oom == 2 else "system-wide"
    return f"Kernel panic - not syncing: Out of memory: {which} panic_on_oom is enabled"


def begins_again(core: Core) -> NDArray[np.bool_]:
    """Which tasks sleep in the slow path?"""
    sleeps: NDArray[np.bool_] = core.tasks["parked"] != 0
    if core.m.lru is None:
        return np.zeros_like(sleeps)
    return np.logical_and(sleeps, core.parked.reclaims["nr_retries"][:-1] > 0)


def who_begins_again(core: Core) -> str:
    """Which request begins the slow path again and again, most often of all; empty where none does."""
    if core.m.lru is None:
        return ""
    contexts = np.concatenate((core.m.contexts, core.parked.contexts))
    reclaims = np.concatenate((core.m.lru.reclaims, core.parked.reclaims[:-1]))
    is_slow = contexts["attempt"] == RUNG_SLOW
    is_slow[len(core.m.contexts) :] = core.tasks["parked"] != 0
    nr_retries = np.where(is_slow, reclaims["nr_retries"], 0)
    n = int(np.argmax(nr_retries))
    if not nr_retries[n]:
        return ""
    reclaim = reclaims[n]
    gfp = gfp_names(int(reclaim["gfp_mask"]))
    of = f"a request for order {reclaim['order']} ({gfp}) of CPU {contexts[n]['cpu']}"
    counts = f"{reclaim['nr_passes']:,} passes of reclaim, {reclaim['nr_scanned_in_all']:,} pages scanned"
    return f"; {of} has begun again {nr_retries[n]:,} times: {counts}, {reclaim['nr_reclaimed_in_all']:,} reclaimed"
