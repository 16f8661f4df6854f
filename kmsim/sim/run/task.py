"""A kernel thread or an interrupt source as a SimPy process: it hands its operations on, block by block."""

from __future__ import annotations

from collections.abc import Callable, Generator
from functools import partial

import simpy

from kmsim.mm.indices import TaskIdx
from kmsim.sim.run.clock import now_ps
from kmsim.sim.run.engine import Engine
from kmsim.workload.op_stream import OpStream
from kmsim.workload.plan import Plan

Process = Generator[simpy.Event, None, None]


def kernel_task(engine: Engine, plan: Plan, k: TaskIdx, seed: int, barriers: Barriers) -> Process:
    """One task of the plan, from its start to the end of its stream."""
    env = engine.env
    task = plan.tasks[k]
    if task.start_ps:
        yield env.timeout(task.start_ps)
    engine.core.tasks[k].arrived = now_ps(env)
    stream = OpStream(plan, k, seed, partial(engine.room, k))
    for block in stream:
        if block.barrier:
            yield barriers.wait(block.barrier, task.nr_of_kind)
        yield engine.hand(k, block.nr_ops, block.until_ps)
        if engine.nr_begun(k) < block.nr_ops:
            stream.cut(engine.nr_begun(k))
            yield env.timeout(max(0, block.until_ps - now_ps(env)))
            engine.core.tasks[k].arrived = now_ps(env)


def again_and_again(env: simpy.Environment, call: Callable[[], Process], every_ps: int) -> Process:
    """Make a call again and again, at intervals."""
    while True:
        yield env.timeout(every_ps)
        yield from call()


class Barriers:
    """Barriers by name: whoever arrives waits until all have."""

    def __init__(self, env: simpy.Environment) -> None:
        self._env = env
        self._arrived: dict[str, tuple[int, simpy.Event]] = {}

    def wait(self, name: str, nr_tasks: int) -> simpy.Event:
        """An event that fires when `nr_tasks` tasks wait here."""
        count, all_here = self._arrived.get(name, (0, self._env.event()))
        self._arrived[name] = (count + 1, all_here)
        if count + 1 == nr_tasks:
            all_here.succeed()
        return all_here
