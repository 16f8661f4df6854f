"""Random times and choices, drawn for a block of operations at once.

In each phase, each purpose (which slot, which request, which pause, which lifetime) has its own generator,
made from the task's one stream by long jumps, and draws one number for each operation whether or not
it is used: so a stream does not depend on the size of its blocks.

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
from kmsim.workload.phases import Phase

Times = NDArray[np.int64]

_FEW = 8  # requests among which comparing with each bound is faster than searching


class Generators(NamedTuple):
    """One for each purpose."""

    pick: np.random.Generator
    request: np.random.Generator
    gap: np.random.Generator
    lifetime: np.random.Generator


class Draws(NamedTuple):
    """One of each for each operation."""

    pick: NDArray[np.float64]
    request: Times
    gap: Times
    lifetime: Times


def generators(of_task: np.random.Generator, n: int) -> Generators:
    """The generators of a task's n-th phase, from its stream, which stays where it is."""
    bits = of_task.bit_generator
    assert isinstance(bits, np.random.PCG64)
    purposes = range(n * len(Generators._fields), (n + 1) * len(Generators._fields))
    return Generators(*(np.random.Generator(bits.jumped(jumps)) for jumps in purposes))


def draws(of_task: Generators, phase: Phase, nr_ops: int) -> Draws:
    """What `nr_ops` operations of a phase need; the slots to free as numbers from 0 to 1."""
    picks = phase.free == "random" and phase.lifetime is None and not phase.is_shared
    lifetime = phase.lifetime
    return Draws(
        pick=of_task.pick.random(nr_ops) if picks else np.zeros(nr_ops),
        request=chosen(of_task.request, phase, nr_ops),
        gap=gaps(of_task.gap, phase.gaps, nr_ops),
        lifetime=same(-1, nr_ops) if lifetime is None else lifetimes(of_task.lifetime, lifetime, nr_ops),
    )


def chosen(rng: np.random.Generator, phase: Phase, count: int) -> Times:
    """Which of the phase's requests is made, by their weights."""
    if len(phase.requests) == 1:
        return same(0, count)
    weights = np.array([request.weight for request in phase.requests])
    upto = np.cumsum(weights / weights.sum())[:-1]
    drawn = rng.random(count)
    if len(upto) > _FEW:
        return np.searchsorted(upto, drawn, side="right")
    request = np.zeros(count, np.int64)
    for bound in upto:
        request += drawn >= bound
    return request


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
    """How long blocks are kept; -1: for ever."""
    if isinstance(of, Immortal):
        return same(-1, count)
    if isinstance(of, Immediate):
        return same(0, count)
    return times(rng, of, count)


def times(rng: np.random.Generator, of: Distribution, count: int) -> Times:
    """Picoseconds, so distributed."""
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
