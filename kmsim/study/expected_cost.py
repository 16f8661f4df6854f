"""What a run is expected to take, before it is run: seconds and bytes, by rule of thumb.

Used to start long runs first, so that none is left over at the end, and to say how long a study may take. What a run
does is counted (`work_of`) and priced; prices are CPU time on the computer that recorded them, on which a run takes
what is expected within a factor of two (experiments/expected_cost, which a test compares). Counted are means: how
long the simulated run is, and so how often interrupts come, is guessed from the pauses between operations.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from typing import NamedTuple

from kmsim.config import Study
from kmsim.config.requests import RequestConfig
from kmsim.config.sizes import mean_bytes
from kmsim.config.study import MSER_5
from kmsim.workload.phases import NO_END, Phase, nr_operations_of
from kmsim.workload.plan import BULK, EXACT, KVMALLOC, SLAB, VMALLOC, Plan, TaskPlan, plan_of

# Nanoseconds of CPU time, recorded by experiments/expected_cost/record.py.
PRICES_NS = {
    "frame": 5.5,  # of memory that is booted
    "aged frame": 157,  # that is fragmented first
    "pages": 96,  # operations: allocations and frees; interrupts' and timed ones, too
    "slab": 73,
    "area": 248,
    "mapped page": 35,  # of vmalloc, or of a bulk
    "drawn pause": 48,  # before an operation
    "drawn size": 100,  # of a request, and operations that ask for it
    "block": 40,  # operations on blocks of several pages
    "scattered": 125,  # frees at random of more blocks than a processor's caches have room for
    "timed": 49,  # operations on blocks that are freed at a given time
    "shared CPU": 86,  # operations, for each further thread on their CPU
}
STEPWISE_FACTOR = 170.0
STUDY_S = 4.0  # of a study, however many runs it has: to start, to load compiled code, to draw
PARENT_S = 0.004  # of a run, in the process that keeps its result and collects all
WORKER_S = 0.006  # of a run, in its worker: to read its config and write its result

_BYTES, _SLAB_BYTES = 13_000, 5_000
_SINGLE_BYTES = 40  # of a single operation that is kept, compressed
_NEAR_MAX = 4_096  # blocks of a thread
_KINDS = {SLAB: "slab", VMALLOC: "area", KVMALLOC: "area"}  # of operations; all others are of pages
_MAPPED = {VMALLOC: 1.0, KVMALLOC: 0.3, BULK: 1.0, EXACT: 1.0}  # the share of its pages that a request is priced for
_LATENCY_PS = {"pages": 200_000, "slab": 100_000, "area": 5_000_000}  # simulated, of an operation


class Expected(NamedTuple):
    """Of one run: seconds on one core, those of its parent included, and bytes on disk."""

    seconds: float
    nr_bytes: int


def expected_cost(study: Study) -> Expected:
    """What a resolved study of one run is expected to take."""
    plan = plan_of(study.workload, study.machine)
    frames = study.machine.memory // study.machine.page_size
    nr_bytes = _BYTES + (_SLAB_BYTES if plan.caches is not None else 0) + study.run.memory_map * frames
    nr_bytes += _SINGLE_BYTES * study.run.operations
    return Expected(PARENT_S + WORKER_S + simulation_s(study, plan), nr_bytes)


def study_s(runs_s: float, nr_runs: int, nr_workers: int) -> float:
    """Seconds that a study of so many runs takes on so many cores: its runs take `runs_s` in all, of which their
    parent's share is done by one core.
    """
    parent_s = nr_runs * PARENT_S
    return STUDY_S + parent_s + (runs_s - parent_s) / nr_workers


def simulation_s(study: Study, plan: Plan) -> float:
    """Seconds of a simulation, from its boot to its end."""
    nanoseconds = sum(PRICES_NS[kind] * number for kind, number in work_of(study, plan).items())
    nr_times = 2 if study.run.warm_up == MSER_5 else 1  # once before, to find the warm-up
    return nr_times * nanoseconds * 1e-9 * (STEPWISE_FACTOR if study.run.stepwise else 1)


def work_of(study: Study, plan: Plan) -> dict[str, float]:
    """How much of all that has a price a run does, about."""
    frames = study.machine.memory // study.machine.page_size
    work = dict.fromkeys(PRICES_NS, 0.0) | {"frame": frames}
    work["aged frame"] = frames if study.machine.state.kind == "aged" else 0
    nr_on_cpu = Counter(task.cpu for task in plan.tasks if task.is_finite)
    done = {n: _done(task, plan) for n, task in enumerate(plan.tasks) if task.first_of_kind == n}
    length_ps = max((of.length_ps for n, of in done.items() if plan.tasks[n].is_finite), default=0.0)
    for n, of in done.items():
        task = plan.tasks[n]
        for phase, of_phase in zip(task.phases, of.operations, strict=True):
            # What has no end goes on as long as the run, and what it takes is freed.
            is_counted = task.is_finite or phase.operations == 0
            of_each = of_phase if is_counted else 2 * length_ps * phase.batch / phase.gaps.mean_ps
            number = of_each * task.nr_of_kind
            is_far = task.nr_slots > _NEAR_MAX and (phase.free == "random" or phase.is_shared)
            of_task = {"shared CPU": float(max(nr_on_cpu[task.cpu] - 1, 0)), "scattered": float(is_far)}
            for kind, each in (*_operation(phase, plan), *of_task.items()):
                work[kind] += number * each
    return work


class _Done(NamedTuple):
    """What a task does: operations by phase, and how long it is simulated."""

    operations: list[float]
    length_ps: float


def _done(task: TaskPlan, plan: Plan) -> _Done:
    operations: list[float] = []
    now = float(task.start_ps)
    for n, phase in enumerate(task.phases):
        before, after = (nr_operations_of(task.phases[:k], task.nr_held_max, plan.page_size) for k in (n, n + 1))
        number = float(after - before)
        latency = sum(_LATENCY_PS[kind] * each for kind, each in _operation(phase, plan) if kind in _LATENCY_PS)
        each_ps = max(phase.gaps.mean_ps, latency) if task.is_open else phase.gaps.mean_ps + latency
        if phase.until_ps != NO_END:
            number = max(0.0, phase.until_ps - now) / each_ps
        now += number * each_ps
        operations.append(number)
    return _Done(operations, now)


def _operation(phase: Phase, plan: Plan) -> Iterator[tuple[str, float]]:
    """What a mean operation of a phase does."""
    whole = sum(request.weight for request in phase.requests)
    for request in phase.requests:
        classes, share = plan.classes[request], request.weight / whole
        api = classes.requests[0].api
        yield _KINDS.get(api, "pages"), share
        yield "block", share * (classes.requests[0].order > 0)
        yield "drawn size", share * (classes.sizes is not None)
        if api in _MAPPED:
            yield "mapped page", share * _MAPPED[api] * _mean_pages(request, plan.page_size)
    yield "drawn pause", float(phase.gaps.kind != "constant")
    yield "timed", float(phase.is_timed)


def _mean_pages(request: RequestConfig, page_size: int) -> float:
    return request.pages if request.pages is not None else max(1.0, mean_bytes(request.sizes) / page_size)
