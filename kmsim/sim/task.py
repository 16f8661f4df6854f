"""A kernel thread or an interrupt source as a SimPy process: it hands its operations on, block by block."""

from __future__ import annotations

from collections.abc import Generator
from typing import TYPE_CHECKING, Any

import simpy

from kmsim.mm.indices import CpuIdx, TaskIdx
from kmsim.sim.clock import now_ps
from kmsim.workload.op_stream import blocks

if TYPE_CHECKING:
    from kmsim.sim.simulation import Simulation


def kernel_task(simulation: Simulation, k: TaskIdx) -> Generator[simpy.Event, None, None]:
    """One task of the plan, from its start to the end of its stream."""
    env = simulation.env
    task = simulation.plan.tasks[k]
    if task.start_ps:
        yield env.timeout(task.start_ps)
    simulation.core.tasks[k].arrived = now_ps(env)
    stream = blocks(simulation.plan, k, simulation.study.seed)
    for block in stream:
        if block.barrier:
            yield simulation.barriers.wait(block.barrier, task.nr_of_kind)
        yield simulation.hand(k, block.ops, block.until_ps)
        nr_begun = simulation.core.tasks["end_op"].item(k) - simulation.first_op[k]
        if nr_begun < len(block.ops):
            stream.cut(nr_begun)
            yield env.timeout(max(0, block.until_ps - now_ps(env)))
            simulation.core.tasks[k].arrived = now_ps(env)


def drain_worker(simulation: Simulation, cpu: CpuIdx, every_ps: int) -> Generator[simpy.Event, Any, None]:
    """A worker on a CPU that empties all CPUs' lists again and again."""
    while True:
        yield simulation.env.timeout(every_ps)
        yield from simulation.cpus[cpu].drain_all_pages()


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
