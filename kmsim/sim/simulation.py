"""One run: a machine, its tasks as SimPy processes, and the clock that they share with the user's own.

A task's process hands its operations to the event core block by block, and is woken when a block is done
(`sim.run.task`); what drives the core's events is a process or one for each CPU (`sim.run.drivers`). The run ends
when all kernel threads that have an end, and the user's processes, are done.

The rooms: `sim.core` is compiled and knows no SimPy, `sim.run` puts it on SimPy's clock, `sim.user` is what a
user's process calls. Each imports those before it only; here they are put together.
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

import simpy

from kmsim.config.study import Study
from kmsim.jit_policies import Policies
from kmsim.metrics.page_maps import PageMaps
from kmsim.mm.mmzone import Machine
from kmsim.sim.core.records import Core
from kmsim.sim.core.recount import recount
from kmsim.sim.run.assembly import core_of, slab_seeds_of
from kmsim.sim.run.boot_params import is_managed
from kmsim.sim.run.clock import new_environment, now_ps
from kmsim.sim.run.drivers import start_drivers
from kmsim.sim.run.engine import Engine
from kmsim.sim.run.recorders import Recorders
from kmsim.sim.run.sampler import Watch, sampler, until_all
from kmsim.sim.run.task import Barriers, again_and_again, kernel_task
from kmsim.sim.run.windows import Windows, windows
from kmsim.sim.user.cpu import Cpu
from kmsim.sim.user.held import Held
from kmsim.workload.op_stream import keep_heap
from kmsim.workload.plan import Plan, plan_of
from kmsim.workload.slab_caches import constructor_ps, with_vmalloc

Process = Generator[simpy.Event, Any, Any]
UserProcess = Callable[["Simulation"], Process]

SPARE_CACHES = 64  # that a user's processes can create, beside those of the config
PROGRESS_EVERY = 100  # SimPy events


@dataclass
class Simulation:
    """The machine and everything that runs on it."""

    study: Study
    plan: Plan
    engine: Engine
    held: Held  # by the user's processes
    cpus: list[Cpu]  # as they see them
    recorders: Recorders
    end: simpy.Process | None = None  # its value says why the machine could not go on

    @property
    def env(self) -> simpy.Environment:
        """SimPy's clock, in whole picoseconds."""
        return self.engine.env

    @property
    def core(self) -> Core:
        """The event core, as of now."""
        return self.engine.core

    @property
    def machine(self) -> Machine:
        """The state of the allocators."""
        return self.engine.core.m

    @property
    def nr_done(self) -> int:
        """How many operations are done."""
        return self.engine.nr_done

    @property
    def stuck(self) -> str:
        """Why the machine could not go on; empty if it could, or the run has not ended."""
        return str(self.end.value) if self.end is not None and self.end.triggered else ""

    def free(self) -> None:
        """Let go of the machine's memory, which may be gigabytes, without waiting for a collector of cycles."""
        self.engine.free()


def new_simulation(study: Study, processes: Sequence[UserProcess] = (), policies: Policies | None = None) -> Simulation:
    """The machine booted, its processes and the user's ready to start at picosecond 0.

    A user's process can ask for anything: where there is one, all allocators are there. `policies` stand in place of
    the package's.
    """
    if processes and study.machine.slab.has_sheaves:
        raise ValueError("runs do not model sheaves yet: for a user's process, machine.slab.slub must be cpu_slabs")
    keep_heap()
    plan = plan_of(study.workload, study.machine)
    if processes:
        caches = with_vmalloc(plan.caches, study.machine)
        plan = replace(plan, caches=caches, constructor_ps=tuple(constructor_ps(caches, study.machine)))
    nr_spare = SPARE_CACHES if processes else 0
    seeds = slab_seeds_of(study, plan, nr_spare)
    engine = Engine(new_environment(), core_of(study, plan, seeds, nr_spare, policies), len(plan.tasks))
    held = Held(engine, plan, study.machine, seeds)
    cpus = [Cpu(held, c) for c in range(study.machine.cpus)]
    simulation = Simulation(study, plan, engine, held, cpus, _recorders(study))
    start_drivers(engine, stepwise=study.run.stepwise, validate_every=study.run.validate_every)
    _start(simulation, processes)
    return simulation


def _recorders(study: Study) -> Recorders:
    config = study.run
    assert isinstance(config.warm_up, int), "found before the run"
    page_maps = PageMaps(config.memory_map, is_managed(study.machine)) if config.memory_map else None
    return Recorders(Windows(config.warm_up, config.batch), page_maps)


def _start(simulation: Simulation, processes: Sequence[UserProcess]) -> None:
    """Start every process: tasks, drains, the user's own, then those that watch; the order decides ties."""
    study, plan, engine, env = simulation.study, simulation.plan, simulation.engine, simulation.env
    barriers, recorders = Barriers(env), simulation.recorders
    tasks = [
        (task, env.process(kernel_task(engine, plan, k, study.seed, barriers))) for k, task in enumerate(plan.tasks)
    ]
    for drain in study.workload.drains:
        env.process(again_and_again(env, simulation.cpus[drain.cpu].drain_all_pages, drain.every))
    waited_for = [process for task, process in tasks if task.is_finite]
    waited_for += [env.process(process(simulation)) for process in processes]
    finished = env.process(until_all(simpy.AllOf(env, waited_for)))
    if recorders.windows.is_cut:
        env.process(windows(engine, recorders.windows))
    watch = Watch(engine, plan)
    simulation.end = env.process(sampler(engine, recorders, watch, study.run.sample_every, finished))


def run(simulation: Simulation) -> Iterator[int]:
    """Run until the last sample is taken; now and then yields the number of operations done, for progress.

    The sampler's next interval is still scheduled then: running it, too, would move the clock past the end.
    """
    assert simulation.end is not None, "made by new_simulation"
    nr_events = 0
    while not simulation.end.processed:
        simulation.env.step()
        nr_events += 1
        if nr_events % PROGRESS_EVERY == 0:
            yield simulation.nr_done
    simulation.recorders.windows.close(simulation.core, now_ps(simulation.env))
    for observer in simulation.engine.observers:
        observer.close(simulation.core, now_ps(simulation.env))
    recount(simulation.core)
