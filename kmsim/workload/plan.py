"""The plan of a workload: every task that runs, on which CPU, with which slots, freed by whom.

A *task* is one thread or one source of interrupts on one CPU. A *slot* remembers one allocated
block; the slots of all tasks lie one after another, so that any task may free what another holds.
A request for several single pages fills several slots. Timed blocks have none of these: theirs
are with the task that is to free them (`sim.core.due`). Of the slab caches, only those are created that the
workload uses, beside the boot's own.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from kmsim.config.machine import MachineConfig
from kmsim.config.requests import RequestConfig
from kmsim.config.workload import InterruptConfig, ThreadConfig, WorkloadConfig, nr_requests_held
from kmsim.mm.slab_common import Caches
from kmsim.mm.slub_records import NO_CACHE
from kmsim.workload.classes import Classes, classes_of
from kmsim.workload.file_pages import first_pages_of
from kmsim.workload.phases import Phase, nr_operations_of, phases_of
from kmsim.workload.request import API_NAMES, BULK, EXACT, FILE_READ, KVMALLOC, LARGE, PAGES, SLAB, VMALLOC, Request
from kmsim.workload.slab_caches import caches_of, constructor_ps

__all__ = [
    "API_NAMES",
    "BULK",
    "EXACT",
    "FILE_READ",
    "IRQ",
    "KVMALLOC",
    "LARGE",
    "PAGES",
    "SLAB",
    "SOFTIRQ",
    "THREAD",
    "VMALLOC",
    "Plan",
    "Request",
    "TaskPlan",
    "nr_operations",
    "plan_of",
]

THREAD, SOFTIRQ, IRQ = 0, 1, 2
_LEVELS = {"softirq": SOFTIRQ, "irq": IRQ}

# Of objects smaller than a page (assumed): a heap for all that fit into memory could itself be too large.
OBJECTS_DUE_MAX = 1 << 26

Source = ThreadConfig | InterruptConfig


@dataclass(frozen=True)
class TaskPlan:
    """One thread, or one source of interrupts, on one CPU.

    `nr_slots` slots from `first_slot` on are its own, `group_max` for each request that it can hold.
    `freed_by` is the index of the task that frees its timed blocks, `nr_due_max` how many such
    blocks of any task can wait for this one at most. The gaps of an open task (`is_open`) count from
    the arrival before, all others from the end of its operation before. The run ends when every
    finite task has ended.
    """

    name: str
    cpu: int
    pinned: bool
    level: int
    is_open: bool
    first_slot: int
    nr_slots: int
    nr_due_max: int
    freed_by: int
    start_ps: int
    is_finite: bool
    kind: Source
    phases: tuple[Phase, ...]
    group_max: int
    first_of_kind: int  # index of the first task of the same kind
    nr_of_kind: int

    @property
    def nr_held_max(self) -> int:
        """How many requests it can hold in its slots."""
        return self.nr_slots // self.group_max


@dataclass(frozen=True)
class Plan:
    """All tasks, and all different requests that they make, sorted.

    `classes` says of each request of the config which of them it can be. `caches` is None where no
    request needs slabs; vmalloc does, for what it keeps about its areas. `constructor_ps` is the price
    of constructing an object, by the number of its cache. `nr_file_pages` is of all files together, in whole pages;
    `files` has the name of each by the number of its first page there.
    """

    tasks: tuple[TaskPlan, ...]
    requests: tuple[Request, ...]
    nr_slots: int
    page_size: int
    classes: dict[RequestConfig, Classes]
    caches: Caches | None
    constructor_ps: tuple[int, ...]
    nr_file_pages: int
    files: dict[int, str]

    @property
    def reads_files(self) -> bool:
        """Does any request read a file through the page cache?"""
        return self.nr_file_pages > 0

    @property
    def uses_vmalloc(self) -> bool:
        """Can any request get vmalloc's memory?"""
        return any(request.api in (VMALLOC, KVMALLOC) for request in self.requests)


def plan_of(workload: WorkloadConfig, machine: MachineConfig) -> Plan:
    """The plan of a resolved workload on its machine."""
    page_size = machine.page_size
    sources: tuple[Source, ...] = (*workload.threads, *workload.interrupts)
    first_of: dict[str, int] = {}
    nr_tasks = 0
    for source in sources:
        first_of[source.name] = nr_tasks
        nr_tasks += source.nr_tasks
    by_name = {source.name: source for source in sources}
    requests_of_all = [request for source in sources for _, request in source.all_requests]
    first_pages, nr_file_pages = first_pages_of(requests_of_all, page_size)
    caches = caches_of(requests_of_all, machine) if any(of.needs_caches for of in requests_of_all) else None
    classes = {request: classes_of(request, machine, caches, first_pages) for request in requests_of_all}
    nr_due_max = _nr_due_max(sources, first_of, by_name, _nr_held_at_once(classes, caches, machine))
    tasks: list[TaskPlan] = []
    nr_slots = 0
    for source in sources:
        freeing = by_name[source.freed_by or source.name]
        phases, group_max = phases_of(source), source.group_max(page_size)
        of_kind = first_of[source.name], source.nr_tasks
        for n, (name, cpu) in enumerate(_places(source)):
            of_task = nr_requests_held(source) * group_max
            tasks.append(
                TaskPlan(
                    name=name,
                    cpu=cpu,
                    first_slot=nr_slots,
                    nr_slots=of_task,
                    nr_due_max=nr_due_max[len(tasks)],
                    freed_by=first_of[freeing.name] + n % freeing.nr_tasks,
                    kind=source,
                    phases=phases,
                    group_max=group_max,
                    first_of_kind=of_kind[0],
                    nr_of_kind=of_kind[1],
                    **_nature(source),
                )
            )
            nr_slots += of_task
    requests = tuple(sorted({request for of in classes.values() for request in of.requests}))
    if not any(request.api in (SLAB, VMALLOC, KVMALLOC) for request in requests):
        caches = None
    of_objects = () if caches is None else tuple(constructor_ps(caches, machine))
    return Plan(
        tuple(tasks),
        requests,
        nr_slots,
        page_size,
        classes,
        caches,
        of_objects,
        nr_file_pages,
        {first: name for name, first in first_pages.items()},
    )


def nr_operations(plan: Plan) -> int:
    """How many operations all finite tasks have, for progress; phases that last until a time count 0."""
    return sum(nr_operations_of(task.phases, task.nr_held_max, plan.page_size) for task in plan.tasks if task.is_finite)


def _places(source: Source) -> Iterator[tuple[str, int]]:
    """The name and the CPU of each task of a kind."""
    per_cpu = source.per_cpu if isinstance(source, ThreadConfig) else 1
    for cpu in source.cpus:
        for n in range(per_cpu):
            yield f"{source.name}/cpu{cpu}" + (f"/{n}" if per_cpu > 1 else ""), cpu


def _nature(source: Source) -> dict[str, Any]:
    """What threads and interrupts differ in."""
    if isinstance(source, InterruptConfig):
        level = _LEVELS[source.kind]
        return {"pinned": True, "level": level, "is_open": True, "start_ps": 0, "is_finite": False}
    return {
        "pinned": source.pinned,
        "level": THREAD,
        "is_open": source.arrivals is not None,
        "start_ps": source.start,
        "is_finite": source.operations != 0,
    }


def _nr_held_at_once(
    classes: dict[RequestConfig, Classes], caches: Caches | None, machine: MachineConfig
) -> dict[RequestConfig, int]:
    """Of each request, how many can be held at once: as many as there are pages, or objects of its smallest cache."""
    total = sum(ram.size for ram in machine.memory_map)
    held: dict[RequestConfig, int] = {}
    for config, of in classes.items():
        slots = [machine.page_size]
        if caches is not None:
            slots += [caches.geometries[request.cache].size for request in of.requests if request.cache != NO_CACHE]
        held[config] = min(total // min(slots), max(total // machine.page_size, OBJECTS_DUE_MAX))
    return held


def _nr_due_max(
    sources: tuple[Source, ...], first_of: dict[str, int], by_name: dict[str, Source], held: dict[RequestConfig, int]
) -> list[int]:
    """Of each task, the most timed blocks that can wait for it: all that is ever pushed, or all of memory."""
    nr_tasks = sum(source.nr_tasks for source in sources)
    pushed, most = [0] * nr_tasks, [0] * nr_tasks
    for source in sources:
        freeing = by_name[source.freed_by or source.name]
        timed = [phase for phase in phases_of(source) if phase.is_timed]
        all_of_memory = max((held[request] for phase in timed for request in phase.requests), default=0)
        for n in range(source.nr_tasks):
            k = first_of[freeing.name] + n % freeing.nr_tasks
            most[k] = max(most[k], all_of_memory)
            pushed[k] += sum(all_of_memory if phase.of_stream is None else phase.of_stream for phase in timed)
    return [min(nr_blocks, limit) for nr_blocks, limit in zip(pushed, most, strict=True)]
