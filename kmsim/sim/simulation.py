"""One run: a machine, its tasks as SimPy processes, and the clock that they share with the user's own.

A task's process hands its operations to the event core block by block, and is woken when a block
is done (`kmsim.sim.task`); what drives the core's events is a process or one for each CPU
(`kmsim.sim.drivers`). The run ends when all kernel threads that have an end, and the user's
processes, are done.
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterator, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any

import numpy as np
import simpy
from numpy.typing import NDArray

from kmsim.config.study import Study
from kmsim.metrics.page_maps import PageMaps
from kmsim.metrics.samples import Samples
from kmsim.mm.mmzone import Machine
from kmsim.mm.slub_records import Slub, new_slub
from kmsim.mm.vm_layout import small_space, vmalloc_space
from kmsim.mm.vm_records import Vm, new_vm
from kmsim.sim.activity import Activity
from kmsim.sim.alloc import Alloc
from kmsim.sim.boot import is_managed, machine_of
from kmsim.sim.clock import new_environment, now_ps
from kmsim.sim.costs import prices
from kmsim.sim.cpu import Cpu
from kmsim.sim.drivers import start_drivers
from kmsim.sim.event_core import add_task, hand_block
from kmsim.sim.records import BEGIN_WORK, NEVER, NO_BLOCK, Core, grown, new_core
from kmsim.sim.recount import recount
from kmsim.sim.sampler import sampler, until_all
from kmsim.sim.task import Barriers, drain_worker, kernel_task
from kmsim.sim.windows import Windows, windows
from kmsim.workload.op_stream import block_size, keep_heap, op_t
from kmsim.workload.phases import NO_END
from kmsim.workload.plan import BULK, EXACT, IRQ, THREAD, Plan, Request, plan_of
from kmsim.workload.seeds import stream
from kmsim.workload.slab_caches import constructor_ps, with_vmalloc

Process = Generator[simpy.Event, Any, Any]
UserProcess = Callable[["Simulation"], Process]

USER_SLOTS = 64
SPARE_CACHES = 64  # that a user's processes can create, beside those of the config
PROGRESS_EVERY = 100  # SimPy events
WORDS_OF_AN_OP = op_t.itemsize // 8


@dataclass
class Simulation:
    """The machine and everything that runs on it."""

    study: Study
    env: simpy.Environment
    plan: Plan
    core: Core
    nr_tasks: int
    cpus: list[Cpu] = field(default_factory=list)
    samples: Samples = field(default_factory=Samples)
    activity: Activity = field(default_factory=Activity)
    page_maps: PageMaps | None = None
    windows: Windows = field(default_factory=Windows)
    barriers: Barriers = field(init=False)
    block_done: dict[int, simpy.Event] = field(default_factory=dict)  # by task
    first_op: list[int] = field(default_factory=list)  # by task, where its operations lie
    free_slots: list[int] = field(default_factory=list)
    handles: dict[int, Alloc] = field(default_factory=dict)  # of users' memory, by address; freed ones, too
    cache_records: dict[int, list[Alloc]] = field(default_factory=dict)  # of the caches that users have created
    slab_seeds: list[int] | None = None
    moved: Callable[[], None] = lambda: None  # tells the drivers that a CPU's next event has moved
    end: simpy.Event | None = None
    stuck: str = ""  # why the machine could not go on

    @property
    def machine(self) -> Machine:
        """The state of the allocators."""
        return self.core.m

    @cached_property
    def op_words(self) -> NDArray[np.uint64]:
        """The operations of all tasks, as plain words."""
        return self.core.ops.view(np.uint64)

    @property
    def nr_done(self) -> int:
        """How many operations are done."""
        return int(self.core.state[0].nr_done)

    def hand(self, k: int, ops: np.ndarray[Any, Any], until_ps: int = NO_END) -> simpy.Event:
        """Give a task operations, which it begins at once; an event that fires when all are done."""
        first = self.first_op[k] * WORDS_OF_AN_OP  # copied as words, which is faster than field by field
        self.op_words[first : first + len(ops) * WORDS_OF_AN_OP] = ops.view(np.uint64)
        done = self.env.event()
        if hand_block(self.core, k, now_ps(self.env), len(ops), min(until_ps, NEVER)):
            self.block_done[k] = done
            self.moved()
        else:
            done.succeed()
        return done

    def hand_call(self, k: int, kind: int, slot: int, request: Request | None, nr_bytes: int = 0) -> simpy.Event:
        """Give a task one operation, on a user's slot."""
        op = np.zeros(1, op_t)
        op["lifetime_ps"] = -1
        op["swap"] = -1
        op["nr_bytes"] = nr_bytes
        op["handle"] = slot
        op["request"] = 0 if request is None else self.request_index(request)
        op["kind"] = kind
        return self.hand(k, op)

    def request_index(self, request: Request) -> int:
        """Which of the core's requests this is; a new one if none."""
        known = self._request_numbers.get(request)
        if known is None:
            known = len(self.core.requests)
            self.core = grown(self.core, requests=1, counts=2, totals=2)
            self.core.requests[known] = request
            self._request_numbers[request] = known
        return known

    @cached_property
    def _request_numbers(self) -> dict[Request, int]:
        return {Request(*known): n for n, known in enumerate(self.core.requests.tolist())}

    def new_task(self, cpu: int) -> int:
        """A thread of a user's process on a CPU."""
        k = self.nr_tasks
        self.nr_tasks += 1
        task = self.core.tasks[k]
        task.level = THREAD
        task.pinned = 1
        task.freed_by = k
        add_task(self.core, k, cpu)
        return k

    def free(self) -> None:
        """Let go of the machine's memory, which may be gigabytes, without waiting for a collector of cycles."""
        self.__dict__.pop("op_words", None)
        del self.core

    def new_slot(self) -> int:
        """A slot for a user's block."""
        if not self.free_slots:
            first = len(self.core.slots)
            self.core = grown(self.core, slots=USER_SLOTS)
            self.core.slots["block"][first:] = NO_BLOCK
            self.free_slots = list(range(len(self.core.slots) - 1, first - 1, -1))
        return self.free_slots.pop()

    def return_slot(self, slot: int) -> None:
        """A user's block is gone."""
        self.free_slots.append(slot)


def new_simulation(study: Study, processes: Sequence[UserProcess] = ()) -> Simulation:
    """The machine booted, its processes and the user's ready to start at picosecond 0.

    A user's process can ask for anything: where there is one, all allocators are there.
    """
    keep_heap()
    plan = plan_of(study.workload, study.machine)
    if processes:
        caches = with_vmalloc(plan.caches, study.machine)
        plan = replace(plan, caches=caches, constructor_ps=tuple(constructor_ps(caches, study.machine)))
    nr_spare = SPARE_CACHES if processes else 0
    seeds = _slab_seeds(study, plan, nr_spare)
    env = new_environment()
    core = _core_of(study, plan, seeds, nr_spare)
    simulation = Simulation(study, env, plan, core, len(plan.tasks), slab_seeds=seeds)
    simulation.cpus = [Cpu(simulation, c) for c in range(study.machine.cpus)]
    core.state[0].check_at = study.run.validate_every or NEVER
    simulation.barriers = Barriers(env)
    simulation.first_op = core.tasks["first_op"].tolist()
    start_drivers(simulation)
    tasks = [(task, env.process(kernel_task(simulation, k))) for k, task in enumerate(plan.tasks)]
    for drain in study.workload.drains:
        env.process(drain_worker(simulation, drain.cpu, drain.every))
    waited_for = [process for task, process in tasks if task.is_finite]
    waited_for += [env.process(process(simulation)) for process in processes]
    finished = env.process(until_all(simpy.AllOf(env, waited_for)))
    _watch(simulation)
    simulation.end = env.process(sampler(simulation, finished))
    return simulation


def _watch(simulation: Simulation) -> None:
    """Set up what is recorded of a run beside samples."""
    config = simulation.study.run
    assert isinstance(config.warm_up, int), "found before the run"
    if config.memory_map:
        simulation.page_maps = PageMaps(config.memory_map, is_managed(simulation.study.machine))
    simulation.windows = Windows(config.warm_up, config.batch)
    if simulation.windows.is_cut:
        simulation.env.process(windows(simulation))


def _core_of(study: Study, plan: Plan, slab_seeds: list[int] | None, nr_spare: int) -> Core:
    m = machine_of(study.machine, study.seed)
    m.params[0].cache_lines = study.costs.cache_lines.value
    nr_cpus = study.machine.cpus
    block = block_size(plan)
    slub = None
    if plan.caches is not None:
        geometries = plan.caches.geometries
        slub = new_slub(m, geometries, slab_seeds and slab_seeds[: len(geometries)], nr_spare)
    vm = _vm_of(study, plan, m, slub) if plan.uses_vmalloc or nr_spare else None
    nr_workers = 0 if vm is None else 2 * nr_cpus
    core = new_core(
        m,
        prices=prices(study.costs),
        requests=plan.requests,
        nr_tasks=len(plan.tasks) + nr_cpus + nr_workers,
        nr_ops=len(plan.tasks) * block + nr_cpus,
        nr_slots=plan.nr_slots,
        nr_due=sum(task.nr_due_max for task in plan.tasks),
        timeslice_ps=study.machine.timeslice,
        slub=slub,
        vm=vm,
        constructors_ps=(*plan.constructor_ps, *[0] * nr_spare),
        uses_lists=vm is not None or any(request.api in (EXACT, BULK) for request in plan.requests),
    )
    nr_planned = len(plan.tasks)
    core.tasks["first_op"][:nr_planned] = np.arange(nr_planned) * block
    core.tasks["first_op"][nr_planned : nr_planned + nr_cpus] = nr_planned * block + np.arange(nr_cpus)
    first_due = 0
    for k, task in enumerate(plan.tasks):
        record = core.tasks[k]
        record.level = task.level
        record.pinned = task.pinned
        record.is_open = task.is_open
        record.freed_by = task.freed_by
        record.first_due = first_due
        record.nr_due_max = task.nr_due_max
        first_due += task.nr_due_max
        add_task(core, k, task.cpu)
    core.state[0].nr_unpinned = sum(not task.pinned for task in plan.tasks)
    core.state[0].interrupts_flush = study.machine.arch == "x86-64"
    if nr_workers:
        _add_workers(core, nr_planned + nr_cpus)
    return core


def _slab_seeds(study: Study, plan: Plan, nr_spare: int) -> list[int] | None:
    """A seed for each cache, where objects are handed out in random order."""
    if plan.caches is None or not study.machine.slab.freelist_random:
        return None
    nr_caches = len(plan.caches.geometries) + nr_spare
    seeds: list[int] = stream(study.seed, "slab/freelist_random").integers(1 << 32, size=nr_caches).tolist()
    return seeds


def _vm_of(study: Study, plan: Plan, m: Machine, slub: Slub | None) -> Vm:
    """The address space of vmalloc."""
    assert plan.caches is not None, "vmalloc needs slabs"
    assert slub is not None
    machine = study.machine
    space = vmalloc_space(machine.arch, machine.page_shift)
    if machine.vmalloc.size != "auto":
        space = small_space(machine.vmalloc.size)
    return new_vm(m, plan.caches, space=space, nr_slab_caches=len(slub.caches))


def _add_workers(core: Core, first: int) -> None:
    """A kworker on each CPU, and an interrupt that flushes its TLB."""
    core.state[0].first_worker = first
    nr_cpus = len(core.cpus)
    for c in range(nr_cpus):
        core.tasks[first + nr_cpus + c].level = IRQ
        for k in (first + c, first + nr_cpus + c):
            core.tasks[k].freed_by = k
            core.tasks[k].begins = BEGIN_WORK
            add_task(core, k, c)


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
    simulation.windows.close(simulation.core, now_ps(simulation.env))
    recount(simulation.core)
