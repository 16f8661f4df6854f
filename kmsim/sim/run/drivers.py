"""What drives the event core on SimPy's clock: one process, or in stepwise mode one for each CPU.

    default   the core runs up to the next instant at which another process acts (`env.peek()`)
    stepwise  each of a CPU's events is an event of SimPy, for reading and debugging
Both take the same events in the same order: by time, other processes first, then CPUs by number; a
test compares their results bit for bit.
"""

from __future__ import annotations

from collections.abc import Generator

import simpy

from kmsim.mm.indices import CpuIdx
from kmsim.sim.core.event_loop import run_until, step_once
from kmsim.sim.core.records import BLOCK_DONE, CHECK_DUE, HORIZON, NEVER, NOBODY, PANICKED
from kmsim.sim.core.recount import recount
from kmsim.sim.run.clock import Step, now_ps
from kmsim.sim.run.engine import Engine


def start_drivers(engine: Engine, *, stepwise: bool, validate_every: int) -> None:
    """Start the mode that the study asks for; all is recounted whenever so many operations are done (0: never)."""
    engine.core.state[0].check_at = validate_every or NEVER
    engine.core.state[0].stepwise = engine.core.m.params[0].stepwise = stepwise
    if stepwise:
        Stepper(engine, validate_every)
    else:
        engine.env.process(core_process(engine, validate_every))


def core_process(engine: Engine, validate_every: int) -> Generator[simpy.Event, None, None]:
    """Run the core up to each instant at which another process acts."""
    env = engine.env
    while True:
        horizon = int(min(env.peek(), NEVER))
        stop = run_until(engine.core, horizon, NOBODY)
        if stop == HORIZON:
            if horizon == NEVER:
                return  # nobody will ever act again
            yield Step(env, horizon - now_ps(env), 0)
        else:
            yield Step(env, int(engine.core.state[0].now) - now_ps(env), 0)
            stopped(engine, stop, validate_every)
            if engine.panicked.triggered:
                return
            yield Step(env, 0, 0)


def stopped(engine: Engine, stop: int, validate_every: int) -> None:
    """Do what the core stopped for, at that time."""
    state = engine.core.state[0]
    if stop & CHECK_DUE:
        recount(engine.core)
        state.check_at += validate_every
    if stop & PANICKED:
        engine.panicked.succeed()
    elif stop & BLOCK_DONE:
        engine.block_done(int(state.stopped_task))


class Stepper:
    """One process for each CPU; where a CPU's next event moves forward, its process is interrupted."""

    def __init__(self, engine: Engine, validate_every: int) -> None:
        self._engine = engine
        self._validate_every = validate_every
        nr_cpus = len(engine.core.cpus)
        self._waits_until = [-1] * nr_cpus  # it has not begun to wait
        self._processes = [engine.env.process(self._cpu(c)) for c in range(nr_cpus)]
        engine.moved = self.moved

    def moved(self) -> None:
        """Wake the CPUs whose next event is earlier than what they wait for."""
        times = self._engine.core.cpus["time"].tolist()
        for c, (time, waits_until) in enumerate(zip(times, self._waits_until, strict=True)):
            if time < waits_until:
                self._waits_until[c] = time
                self._processes[c].interrupt()

    def _cpu(self, c: CpuIdx) -> Generator[simpy.Event, None, None]:
        engine = self._engine
        env = engine.env
        while True:
            time = int(engine.core.cpus[c].time)
            self._waits_until[c] = time
            try:
                yield Step(env, time - now_ps(env), c)
            except simpy.Interrupt:
                continue
            if engine.panicked.triggered:
                return
            self._waits_until[c] = -1  # its own event needs no interruption
            for observer in engine.observers:
                observer.before(engine.core, c)
            stop = step_once(engine.core, c)
            for observer in engine.observers:
                observer.after(engine.core, c)
            if stop != HORIZON:
                stopped(engine, stop, self._validate_every)
            self.moved()
