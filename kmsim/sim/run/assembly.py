"""From a resolved study and its plan to an event core of the size that the run needs, with every task on its CPU."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from kmsim.config.study import Study
from kmsim.config.workload import ThreadConfig
from kmsim.jit_policies import Policies
from kmsim.mm.mempolicy import (
    MPOL_BIND,
    MPOL_INTERLEAVE,
    MPOL_LOCAL,
    MPOL_PREFERRED,
    MemPolicy,
    with_mempolicies,
)
from kmsim.mm.mmzone import Machine
from kmsim.mm.slub_records import Slub, new_slub
from kmsim.mm.vm_layout import small_space, vmalloc_space
from kmsim.mm.vm_records import Vm, new_vm
from kmsim.sim.core.costs import prices
from kmsim.sim.core.event_loop import add_task
from kmsim.sim.core.records import BEGIN_WORK, FLUSHER, KWORKER, Core, new_core
from kmsim.sim.core.single_records import MINSTD_MODULUS, Singles, new_singles
from kmsim.sim.run.boot import machine_of
from kmsim.sim.run.memory_in_use import machine_in_use
from kmsim.workload.op_stream import block_size
from kmsim.workload.plan import BULK, EXACT, IRQ, THREAD, Plan, TaskPlan
from kmsim.workload.seeds import stream

# What works on each CPU where vmalloc is used: the CPU's name for it, what it does, at which level.
WORKERS_OF_VM = (("kworker", KWORKER, THREAD), ("flusher", FLUSHER, IRQ))
MODES = {"local": MPOL_LOCAL, "preferred": MPOL_PREFERRED, "bind": MPOL_BIND, "interleave": MPOL_INTERLEAVE}


def core_of(
    study: Study,
    plan: Plan,
    slab_seeds: list[int] | None,
    nr_spare_caches: int,
    policies: Policies | None = None,
) -> Core:
    """The core at picosecond 0; `nr_spare_caches` can be created in the run."""
    m = machine_of(study.machine, study.seed, policies)
    if study.reclaims:
        m = machine_in_use(m, study.machine, plan.nr_file_pages)
    m.params[0].cache_lines = study.costs.cache_lines.value
    m = with_mempolicies(m, [_policy_of(task) for task in plan.tasks if has_policy(task)])
    nr_cpus, nr_planned = study.machine.cpus, len(plan.tasks)
    slub = None
    if plan.caches is not None:
        geometries = plan.caches.geometries
        slub = new_slub(m, geometries, slab_seeds and slab_seeds[: len(geometries)], nr_spare_caches)
    vm = _vm_of(study, plan, m, slub) if plan.uses_vmalloc or nr_spare_caches else None
    workers = WORKERS_OF_VM if vm is not None else ()
    core = new_core(
        m,
        prices=prices(study.costs),
        requests=plan.requests,
        nr_tasks=nr_planned + nr_cpus + len(workers) * nr_cpus,
        nr_ops=nr_planned * block_size(plan) + nr_cpus,
        nr_slots=plan.nr_slots,
        nr_due=sum(task.nr_due_max for task in plan.tasks),
        timeslice_ps=study.machine.timeslice,
        slub=slub,
        vm=vm,
        constructors_ps=(*plan.constructor_ps, *[0] * nr_spare_caches),
        uses_lists=vm is not None or any(request.api in (EXACT, BULK) for request in plan.requests),
    )
    if study.run.operations:
        core = core._replace(singles=_singles_of(study))
    _add_planned(core, plan, nr_cpus)
    core.state[0].interrupts_flush = study.machine.arch == "x86-64"
    _add_workers(core, nr_planned + nr_cpus, workers)
    return core


def _singles_of(study: Study) -> Singles:
    """Room for the single operations that the run keeps."""
    seed = int(stream(study.seed, "single_operations").integers(1, MINSTD_MODULUS))
    return new_singles(study.run.operations, is_sampled=study.run.operations_kept == "sampled", seed=seed)


def has_policy(task: TaskPlan) -> bool:
    """Is it a thread with a memory policy?"""
    return isinstance(task.kind, ThreadConfig) and task.kind.memory_policy is not None


def _policy_of(task: TaskPlan) -> MemPolicy:
    """The policy of a thread that has one; each has turns of its own."""
    assert isinstance(task.kind, ThreadConfig)
    assert task.kind.memory_policy is not None
    policy = task.kind.memory_policy
    return MemPolicy(MODES[policy.mode], tuple(sorted(policy.nodes)))


def slab_seeds_of(study: Study, plan: Plan, nr_spare_caches: int) -> list[int] | None:
    """A seed for each cache, where objects are handed out in random order."""
    if plan.caches is None or not study.machine.slab.freelist_random:
        return None
    nr_caches = len(plan.caches.geometries) + nr_spare_caches
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
    return new_vm(m, plan.caches, space=space, nr_list_locks=len(slub.cache_nodes))


def _add_planned(core: Core, plan: Plan, nr_cpus: int) -> None:
    """The plan's tasks, each with its part of the operations, then one operation for each CPU's user process."""
    nr_planned, block = len(plan.tasks), block_size(plan)
    core.tasks["first_op"][:nr_planned] = np.arange(nr_planned) * block
    core.tasks["first_op"][nr_planned : nr_planned + nr_cpus] = nr_planned * block + np.arange(nr_cpus)
    first_due = 0
    nr_policies = 0
    for k, task in enumerate(plan.tasks):
        record = core.tasks[k]
        record.level = task.level
        record.pinned = task.pinned
        record.is_open = task.is_open
        record.freed_by = task.freed_by
        record.first_due = first_due
        if has_policy(task):
            nr_policies += 1
            record.mempolicy = nr_policies
        record.nr_due_max = task.nr_due_max
        first_due += task.nr_due_max
        add_task(core, k, task.cpu)
    core.state[0].nr_unpinned = sum(not task.pinned for task in plan.tasks)


def _add_workers(core: Core, first: int, workers: Sequence[tuple[str, int, int]]) -> None:
    """Workers of these kinds on each CPU, kind after kind."""
    nr_cpus = len(core.cpus)
    for c, cpu in enumerate(core.cpus):
        for n, (name, does, level) in enumerate(workers):
            k = first + n * nr_cpus + c
            cpu[name] = k
            core.tasks[k].does = does
            core.tasks[k].level = level
            core.tasks[k].freed_by = k
            core.tasks[k].begins = BEGIN_WORK
            add_task(core, k, c)
