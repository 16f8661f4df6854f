"""What of the simulator a run has reached: counted in what it came to, not merely asked for by its config.

A request is reached if an allocation of its class was counted, what a task does if the task has done something (and
a lifetime or a policy of freeing, if blocks of its classes were freed), a table if it is not empty.
`everything` lists all that there is, from the code itself.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, get_args

from kmsim.config.arrivals import ARRIVAL_KEYS
from kmsim.config.distributions import DISTRIBUTION_KEYS, WORDS
from kmsim.config.machine import PAGE_SIZES
from kmsim.config.memory_map import Arch
from kmsim.config.memory_policy import MemoryPolicyConfig
from kmsim.config.phases import Free, PhaseConfig
from kmsim.config.requests import RequestConfig
from kmsim.config.sizes import SIZE_KEYS, ConstantSize
from kmsim.config.state import VARIANTS, Fresh
from kmsim.config.workload import InterruptConfig, ThreadConfig
from kmsim.mm.kernels import KERNELS
from kmsim.sim.core.records import COUNT, FAILED, NEEDED_SLOW_PATH, TO_VMALLOC, class_of
from kmsim.sim.simulation import Simulation
from kmsim.study.store import Result
from kmsim.study.tables import BATCH_TABLES, COLUMNS, ON_DEMAND
from kmsim.units import format_size
from kmsim.workload.phases import NO_END, Phase
from kmsim.workload.plan import IRQ, SOFTIRQ, TaskPlan
from kmsim.workload.request import API_NAMES
from kmsim.workload.turns import ALLOC, FREE, KIND_NAMES

LEVELS = {SOFTIRQ: "softirq", IRQ: "irq"}
DO = ("churn", "fill", "empty")  # by number, as phases have it
WAYS = ("remote_frees", "freed_by", "unpinned", "whose all", "barrier", "until", "batch", "user process")
FLAGS = ("zero", "huge", "contiguous: false", "cache", "node")
OUTCOMES = {"failed": FAILED, "needs_slow_path": NEEDED_SLOW_PATH, "to_vmalloc": TO_VMALLOC}


def literals(annotation: Any) -> Iterator[str]:
    """The words of a Literal, however deep it lies in an annotation."""
    for part in get_args(annotation):
        if isinstance(part, str):
            yield part
        else:
            yield from literals(part)


def everything() -> set[str]:
    """All that goldens are to reach."""
    sizes = [key for key in SIZE_KEYS if key not in ConstantSize.model_fields]
    of_kinds = {
        "mode": ("default", "stepwise"),
        "allocator": API_NAMES,
        "operation": KIND_NAMES,
        "outcome": OUTCOMES,
        "state": (Fresh.kind, *VARIANTS),
        "page size": [format_size(size) for size in PAGE_SIZES],
        "arch": literals(Arch),
        "policies of": KERNELS,
        "interrupt": literals(InterruptConfig.model_fields["kind"].annotation),
        "request": [*literals(RequestConfig.model_fields["api"].annotation), *FLAGS],
        "sizes": sizes,
        "memory policy": literals(MemoryPolicyConfig.model_fields["mode"].annotation),
        "phase": literals(PhaseConfig.model_fields["do"].annotation),
        "free": literals(Free),
        "lifetime": (*WORDS, *DISTRIBUTION_KEYS),
        "think": DISTRIBUTION_KEYS,
        "arrivals": ARRIVAL_KEYS,
        "way": WAYS,
        "table": [name for name in COLUMNS if name not in ON_DEMAND],
        "batch": BATCH_TABLES,
    }
    return {f"{kind} {name}" for kind, names in of_kinds.items() for name in names}


def reached_by(simulation: Simulation, result: Result) -> list[str]:
    """What a run that has ended has reached, sorted; in the words of `everything`."""
    found = {*_of_machine(simulation), *_of_requests(simulation), *_of_calls(simulation)}
    assert not simulation.stuck, "a run that goes on to its end"
    for k, task in enumerate(simulation.plan.tasks):
        if simulation.core.tasks["nr_done"][k]:
            found |= {*_of_task(simulation, task)}
    found |= {f"table {name}" for name, table in result.tables.items() if len(table)}
    return sorted(found | {f"batch {name}" for batch in result.batches for name, table in batch.items() if len(table)})


def _of_machine(simulation: Simulation) -> Iterator[str]:
    machine = simulation.study.machine
    assert simulation.nr_done > 0
    yield f"mode {'stepwise' if simulation.study.run.stepwise else 'default'}"
    yield f"state {machine.state.kind}"
    if getattr(machine.state, "pagetypeinfo", None) is not None:
        yield "state pagetypeinfo"
    yield f"page size {format_size(machine.page_size)}"
    yield f"arch {machine.arch}"
    yield f"policies of {machine.policies_of}"


def _of_requests(simulation: Simulation) -> Iterator[str]:
    """What was counted of requests: by allocator, by operation, and of each that the config has."""
    core, plan = simulation.core, simulation.plan
    for number, request in enumerate(core.requests):
        counted = {kind: core.totals[class_of(number, kind), :, COUNT].any() for kind in (ALLOC, FREE)}
        yield from (f"operation {KIND_NAMES[kind]}" for kind in counted if counted[kind])
        if counted[ALLOC]:
            yield f"allocator {API_NAMES[int(request['api'])]}"
    for name, column in OUTCOMES.items():
        if core.totals[:, :, column].any():
            yield f"outcome {name}"
    for config in plan.classes:
        if _counted(simulation, config, ALLOC):
            yield f"request {config.api or 'cache'}"
            yield from (f"request {flag}" for flag in ("zero", "huge") if getattr(config, flag))
            if config.node is not None:
                yield "request node"
            if not config.contiguous:
                yield "request contiguous: false"
            if config.bytes is not None and not isinstance(config.bytes, int):
                yield f"sizes {next(iter(type(config.bytes).model_fields))}"


def _of_calls(simulation: Simulation) -> Iterator[str]:
    """What was done by CPUs' own tasks: for users' processes or, without any, by workers that drain."""
    nr_done = simulation.core.tasks["nr_done"]
    done = {cpu.number for cpu in simulation.cpus if cpu._task is not None and nr_done[cpu._task]}
    drains = {drain.cpu for drain in simulation.study.workload.drains}
    if drains & done:
        yield "operation drain"
    if done - drains:
        yield "way user process"


def _of_task(simulation: Simulation, task: TaskPlan) -> Iterator[str]:
    """What a task has done."""
    if task.level in LEVELS:
        yield f"interrupt {LEVELS[task.level]}"
    if isinstance(task.kind, ThreadConfig) and not task.pinned:
        yield "way unpinned"
    if isinstance(task.kind, ThreadConfig) and task.kind.memory_policy is not None:
        yield f"memory policy {task.kind.memory_policy.mode}"
    if task.kind.freed_by is not None and _was_freed(simulation, task.phases[0]):
        yield "way freed_by"
    for phase in task.phases:
        yield from _of_phase(simulation, phase, is_open=task.is_open)


def _of_phase(simulation: Simulation, phase: Phase, *, is_open: bool) -> Iterator[str]:
    yield f"phase {DO[phase.do]}"
    yield f"{'arrivals' if is_open else 'think'} {phase.gaps.kind}"
    ways = {
        "barrier": phase.barrier,
        "until": phase.until_ps != NO_END,
        "batch": phase.batch > 1,
        "remote_frees": phase.remote_frees > 0,
        "whose all": phase.is_shared,
    }
    yield from (f"way {way}" for way, has in ways.items() if has)
    if phase.lifetime is not None and (not phase.is_timed or _was_freed(simulation, phase)):
        yield f"lifetime {phase.lifetime.kind}"
    elif phase.lifetime is None and _was_freed(simulation, phase):
        yield f"free {phase.free}"


def _was_freed(simulation: Simulation, phase: Phase) -> bool:
    """Was any block of what the phase asks for freed?"""
    return any(_counted(simulation, config, FREE) for config in phase.requests)


def _counted(simulation: Simulation, config: RequestConfig, kind: int) -> bool:
    """Was an operation of this kind counted of any class of a request?"""
    numbers = [simulation.plan.requests.index(of) for of in simulation.plan.classes[config].requests]
    return any(simulation.core.totals[class_of(number, kind), :, COUNT].any() for number in numbers)
