"""Random times and choices, drawn for a block of operations at once.

In each phase, each purpose (which slot, which request, which pause, which lifetime, whose block, and the sizes of each
request) has its own generator, made from the task's one stream by long jumps, and draws one number for
each operation whether or not it is used: so a stream does not depend on the size of its blocks.

A drawn time is at most a day.
"""

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
from kmsim.workload.phases import EMPTY, FILL, NOT_TIMED, Phase
from kmsim.workload.sizes import Sized, drawn_numbers

Numbers = NDArray[np.float64]
Times = NDArray[np.int64]

PICK, REQUEST, GAP, LIFETIME, SWAP, SIZES = range(6)  # the purposes; SIZES + n is that of the n-th of these
NO_NUMBERS, NO_TIMES = np.empty(0), np.empty(0, np.int64)

_JUMPS = 4  # of each phase, for the first four purposes
_FURTHER = 1 << 32  # jumps to the generators of the other purposes,
_JUMPS_FURTHER = 1 << 16  # of which a phase has as many as it has requests, and one


class Generators:
    """One for each purpose of a task's n-th phase, made when it is first asked for.

    They are made from the task's stream, which stays where it is.
    """

    def __init__(self, of_task: np.random.Generator, n: int) -> None:
        bits = of_task.bit_generator
        assert isinstance(bits, np.random.PCG64)
        self._bits, self._n = bits, n
        self._made: dict[int, np.random.Generator] = {}

    def of(self, purpose: int) -> np.random.Generator:
        """The generator of PICK, REQUEST, GAP, LIFETIME or SWAP, or of SIZES + n, n-th request that draws its size."""
        if purpose not in self._made:
            jumps = self._n * _JUMPS + purpose
            if purpose >= _JUMPS:
                jumps = _FURTHER + self._n * _JUMPS_FURTHER + purpose - _JUMPS
            self._made[purpose] = np.random.Generator(self._bits.jumped(jumps))
        return self._made[purpose]


class Draws(NamedTuple):
    """One of each for each operation; empty where there is nothing to draw."""

    pick: Numbers  # which slot is freed, from 0 to 1
    request: Numbers  # which of the phase's requests is made, from 0 to 1
    sizes: Numbers  # by request without a fixed size and operation (see `workload.sizes.drawn_numbers`)
    gap: Times
    lifetime: Times
    swap: Numbers  # whose block is freed, from 0 to 1


def draws(of_phase: Generators, phase: Phase, sized: tuple[Sized, ...], nr_ops: int) -> Draws:
    """What `nr_ops` operations of a phase need."""
    allocates, frees, lifetime = phase.do != EMPTY, phase.do != FILL and phase.lifetime is None, phase.lifetime
    picks = frees and phase.free == "random" and not phase.is_shared
    chooses = allocates and len(phase.requests) > 1
    sized = sized if allocates else ()
    lives = lifetime is not None and always(lifetime) is None
    return Draws(
        pick=of_phase.of(PICK).random(nr_ops) if picks else NO_NUMBERS,
        request=of_phase.of(REQUEST).random(nr_ops) if chooses else NO_NUMBERS,
        sizes=drawn_numbers([of_phase.of(SIZES + n) for n in range(len(sized))], sized, nr_ops),
        gap=gaps(of_phase.of(GAP), phase.gaps, nr_ops) if always(phase.gaps) is None else NO_TIMES,
        lifetime=times(of_phase.of(LIFETIME), lifetime, nr_ops) if lifetime and lives else NO_TIMES,
        swap=of_phase.of(SWAP).random(nr_ops) if frees and phase.remote_frees else NO_NUMBERS,
    )


def always(of: Distribution | Arrivals | Lifetime) -> int | None:
    """The time that it is each time, or NOT_TIMED; None where it differs."""
    if isinstance(of, Steady | Constant):
        return of.constant
    if isinstance(of, Immortal):
        return NOT_TIMED
    return 0 if isinstance(of, Immediate) else None


def gaps(rng: np.random.Generator, of: Distribution | Arrivals, count: int) -> Times:
    """Pauses, or the intervals of an open loop (of its bursts; while it is switched on), where they differ."""
    if isinstance(of, Poisson):
        return _exponential(rng, of.poisson, count)
    if isinstance(of, Bursts):
        return _exponential(rng, of.bursts.every, count)
    if isinstance(of, OnOff):
        return _exponential(rng, of.on_off.every, count)
    return times(rng, of, count)


def times(rng: np.random.Generator, of: Distribution | Lifetime | Arrivals, count: int) -> Times:
    """Picoseconds of this distribution, which is no constant."""
    if isinstance(of, Exponential):
        return _exponential(rng, of.exponential, count)
    if isinstance(of, Uniform):
        span = of.uniform
        drawn = rng.random(count)
        drawn *= span.high - span.low
        whole = _whole(drawn)
        whole += span.low
        return whole
    if isinstance(of, Lognormal):
        drawn = rng.standard_normal(count)
        drawn *= of.lognormal.sigma
        np.exp(drawn, out=drawn)
        drawn *= of.lognormal.median
        return _whole(drawn)
    assert isinstance(of, Pareto)
    drawn = rng.standard_exponential(count)
    drawn /= of.pareto.shape
    np.exp(drawn, out=drawn)
    drawn *= of.pareto.least
    return _whole(drawn)


def _exponential(rng: np.random.Generator, mean_ps: int, count: int) -> Times:
    drawn = rng.standard_exponential(count)
    drawn *= mean_ps
    return _whole(drawn)


def _whole(drawn: NDArray[np.float64]) -> Times:
    np.rint(drawn, out=drawn)
    np.minimum(drawn, TIME_MAX, out=drawn)
    return drawn.astype(np.int64)
