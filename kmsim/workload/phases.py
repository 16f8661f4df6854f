"""The phases of a task, resolved: each holds all that its stream needs.

A thread without phases has one, in which it churns; so has a source of interrupts, without an end
unless one is given.
"""

from typing import NamedTuple

from kmsim.config.arrivals import Arrivals
from kmsim.config.distributions import Distribution, Immortal, Lifetime
from kmsim.config.phases import PhaseConfig
from kmsim.config.requests import RequestConfig
from kmsim.config.workload import InterruptConfig, ThreadConfig

CHURN, FILL, EMPTY = range(3)
NO_END = (1 << 63) - 1
NOT_TIMED = -1  # for a lifetime: the block is kept until its stream frees it, or for ever

_DO = {"churn": CHURN, "fill": FILL, "empty": EMPTY}


class Phase(NamedTuple):
    """What a task does until it is done with it; `operations` None: without a limit of its own.

    The free of a timed block is an operation too, but none of the task's stream, which only allocates then: half of
    them, rounded up. Of an odd number, the last block is never freed.
    """

    do: int
    operations: int | None  # allocations and frees together
    until_ps: int
    gaps: Distribution | Arrivals
    batch: int  # requests that come together
    requests: tuple[RequestConfig, ...]
    lifetime: Lifetime | None
    free: str
    remote_frees: float  # the share of frees that take the block of another task of the kind
    is_shared: bool  # frees the blocks of all tasks of the kind
    barrier: str  # to be passed before it begins; empty: none

    @property
    def is_timed(self) -> bool:
        """Are its blocks freed some time after they were allocated?"""
        return self.lifetime is not None and not isinstance(self.lifetime, Immortal)

    @property
    def of_stream(self) -> int | None:
        """How many of the operations the task's stream has: all, or the allocations of timed blocks."""
        return -(-self.operations // 2) if self.operations is not None and self.is_timed else self.operations

    @property
    def keeps_last(self) -> bool:
        """Is the last of its timed blocks one for whose free no operation is left?"""
        return self.is_timed and self.operations is not None and self.operations % 2 == 1


def phases_of(source: ThreadConfig | InterruptConfig) -> tuple[Phase, ...]:
    """All phases of each task of a kind, in order."""
    if isinstance(source, ThreadConfig):
        gaps = source.arrivals or source.think
        assert gaps is not None, "a thread has arrivals or think"
    else:
        gaps = source.arrivals
    first = Phase(
        do=CHURN,
        operations=source.operations,
        until_ps=NO_END,
        gaps=gaps,
        batch=source.batch if isinstance(source, InterruptConfig) else 1,
        requests=source.requests,
        lifetime=source.lifetime,
        free=source.free or "random",
        remote_frees=source.remote_frees if isinstance(source, ThreadConfig) else 0.0,
        is_shared=False,
        barrier="",
    )
    if isinstance(source, InterruptConfig) or not source.phases:
        return (first,)
    return tuple(_overridden(first, phase, f"{source.name}/phase/{n}") for n, phase in enumerate(source.phases))


def _overridden(thread: Phase, phase: PhaseConfig, name: str) -> Phase:
    """A phase of a thread: what it says itself, over what the thread says."""
    lifetime = phase.lifetime or thread.lifetime
    return Phase(
        do=_DO[phase.do],
        operations=phase.operations,
        until_ps=phase.until or NO_END,
        gaps=phase.arrivals or phase.think or thread.gaps,
        batch=1,
        requests=phase.requests or thread.requests,
        lifetime=lifetime if phase.do == "churn" and phase.free is None else None,
        free=phase.free or thread.free,
        remote_frees=thread.remote_frees,
        is_shared=phase.whose == "all",
        barrier=name if phase.barrier else "",
    )


def nr_operations_of(phases: tuple[Phase, ...], nr_held_max: int, page_size: int) -> int:
    """How many operations a task has; phases until a time count 0.

    Exact where each request asks for one block; requests for several count as their mean.
    """
    done = held = 0.0
    for phase in phases:
        nr_ops = float(phase.operations or 0)
        blocks = _mean_blocks(phase.requests, page_size)
        if phase.do == FILL:
            nr_ops, held = (nr_held_max - held) * blocks, nr_held_max
        elif phase.do == EMPTY:
            nr_ops, held = held * blocks, 0
        elif phase.lifetime is None:
            filling = min(nr_ops / blocks, nr_held_max - held)
            turns = nr_ops / blocks - filling
            held = nr_held_max if phase.operations is None else held + filling - turns % 2
        done += nr_ops
    return round(done)


def _mean_blocks(requests: tuple[RequestConfig, ...], page_size: int) -> float:
    weights = sum(request.weight for request in requests)
    return sum(request.weight * request.nr_blocks(page_size) for request in requests) / weights
