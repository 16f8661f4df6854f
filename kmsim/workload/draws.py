"""Random times and choices, drawn for a block of operations at once.

In each phase, each purpose (which slot, which request, which pause, which lifetime, whose block, and the sizes of each
request) has its own generator, made from the task's one stream by long jumps, and draws one number for
each operation whether or not it is used: so a stream does not depend on the size of its blocks.

A drawn time is at most a day.
"""

from functools import lru_cache
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from kmsim.config.arrivals import Arrivals, Bursts, OnOff, Poisson, Steady
from kmsim.config.distributions import (
    Constant,
    Distribution,
    Exponential,
    Immediate,
    Immortal,
    Lifetime,
    Lognormal,
    Pareto,
    Uniform,
)
from kmsim.config.quantities import TIME_MAX
from kmsim.workload.phases import NOT_TIMED, Phase
from kmsim.workload.sizes import Sizing, between, bounds, rows_of

Times = NDArray[np.int64]

_JUMPS = 4  # of each phase, for the first four purposes
_FURTHER = 1 << 32  # jumps to the generators of the other purposes,
_JUMPS_FURTHER = 1 << 16  # of which a phase has as many as it has requests, and one


class Generators(NamedTuple):
    """One for each purpose, and for the sizes one for each request that draws them."""

    pick: np.random.Generator
    request: np.random.Generator
    gap: np.random.Generator
    lifetime: np.random.Generator
    swap: np.random.Generator
    sizes: tuple[np.random.Generator, ...]


class Draws(NamedTuple):
    """One of each for each operation."""

    pick: NDArray[np.float64]
    row: Times  # of the phase's `Rows`
    nr_bytes: Times  # 0 where the row says it
    gap: Times
    lifetime: Times
    swap: Times  # from its slot to that of the task whose block a free takes; 0: it takes its own


def generators(of_task: np.random.Generator, n: int, nr_sizes: int = 0) -> Generators:
    """The generators of a task's n-th phase, from its stream, which stays where it is."""
    bits = of_task.bit_generator
    assert isinstance(bits, np.random.PCG64)
    further = _FURTHER + n * _JUMPS_FURTHER
    jumps = (*range(n * _JUMPS, (n + 1) * _JUMPS), *range(further, further + 1 + nr_sizes))
    made = [np.random.Generator(bits.jumped(jump)) for jump in jumps]
    pick, request, gap, lifetime, swap, *sizes = made
    return Generators(pick, request, gap, lifetime, swap, tuple(sizes))


def draws(of_task: Generators, phase: Phase, sizing: Sizing, others: Times, nr_ops: int) -> Draws:
    """What `nr_ops` operations of a phase need; the slots to free as numbers from 0 to 1.

    `others`: how far away the slots of the tasks are whose blocks it may free.
    """
    picks = phase.free == "random" and phase.lifetime is None and not phase.is_shared
    lifetime = phase.lifetime
    request = chosen(of_task.request, phase, nr_ops)
    row, nr_bytes = rows_of(sizing, of_task.sizes, request, same(0, nr_ops))
    return Draws(
        pick=of_task.pick.random(nr_ops) if picks else np.zeros(nr_ops),
        row=row,
        nr_bytes=nr_bytes,
        gap=gaps(of_task.gap, phase.gaps, nr_ops),
        lifetime=same(NOT_TIMED, nr_ops) if lifetime is None else lifetimes(of_task.lifetime, lifetime, nr_ops),
        swap=swaps(of_task.swap, phase.remote_frees, others, nr_ops),
    )


def chosen(rng: np.random.Generator, phase: Phase, count: int) -> Times:
    """Which of the phase's requests is made, by their weights."""
    if len(phase.requests) == 1:
        return same(0, count)
    return between(rng, bounds([request.weight for request in phase.requests]), count)


def swaps(rng: np.random.Generator, share: float, others: Times, count: int) -> Times:
    """Whose block is freed: this `share` of the time that of one of the others, drawn evenly."""
    if not share or not len(others):
        return same(0, count)
    nth = rng.random(count)
    nth *= len(others) / share
    np.minimum(nth, len(others), out=nth)
    return np.append(others, 0)[nth.astype(np.int64)]


def gaps(rng: np.random.Generator, of: Distribution | Arrivals, count: int) -> Times:
    """Pauses, or the intervals of an open loop (of its bursts; while it is switched on)."""
    if isinstance(of, Steady):
        return same(of.constant, count)
    if isinstance(of, Poisson):
        return _exponential(rng, of.poisson, count)
    if isinstance(of, Bursts):
        return _exponential(rng, of.bursts.every, count)
    if isinstance(of, OnOff):
        return _exponential(rng, of.on_off.every, count)
    return times(rng, of, count)


def lifetimes(rng: np.random.Generator, of: Lifetime, count: int) -> Times:
    """How long blocks are kept, or NOT_TIMED."""
    if isinstance(of, Immortal):
        return same(NOT_TIMED, count)
    if isinstance(of, Immediate):
        return same(0, count)
    return times(rng, of, count)


def times(rng: np.random.Generator, of: Distribution, count: int) -> Times:
    """Picoseconds of this distribution."""
    if isinstance(of, Constant):
        return same(of.constant, count)
    if isinstance(of, Exponential):
        return _exponential(rng, of.exponential, count)
    if isinstance(of, Uniform):
        span = of.uniform
        return span.low + _whole(rng.random(count) * (span.high - span.low))
    if isinstance(of, Lognormal):
        return _whole(of.lognormal.median * np.exp(of.lognormal.sigma * rng.standard_normal(count)))
    assert isinstance(of, Pareto)
    return _whole(of.pareto.least * np.exp(rng.standard_exponential(count) / of.pareto.shape))


@lru_cache(maxsize=64)
def same(value: int, count: int) -> Times:
    """An array that holds one value, made once; nobody writes to it."""
    return np.full(count, value, np.int64)


def _exponential(rng: np.random.Generator, mean_ps: int, count: int) -> Times:
    return _whole(rng.standard_exponential(count) * mean_ps)


def _whole(drawn: NDArray[np.float64]) -> Times:
    np.rint(drawn, out=drawn)
    np.minimum(drawn, TIME_MAX, out=drawn)
    return drawn.astype(np.int64)
