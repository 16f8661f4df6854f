"""Sizes: how many bytes each request of a phase asks for, and which of the plan's requests that makes it.

Each request that has no fixed size draws from a generator of its own, one number for each operation
whether or not it is used. A drawn size is a whole number of bytes, at least 1 and at most what its
allocator can give.
"""

from collections.abc import Iterable
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from kmsim.config.sizes import (
    DistributionOfSizes,
    ExponentialSize,
    LognormalSize,
    ParetoSize,
    TableOfSizes,
    UniformSize,
)
from kmsim.workload.classes import Classes
from kmsim.workload.request import Request

Ints = NDArray[np.int64]

_FEW = 100  # bounds with each of which a comparison is faster than a search among them; the sum fits into 8 bits


class Rows(NamedTuple):
    """What a phase asks for, by row: one for each request, or for each class of those without a fixed size."""

    request: Ints  # the plan's index
    nr_blocks: Ints
    nr_bytes: Ints  # of each block; 0: drawn


class Sized(NamedTuple):
    """A request of a phase without a fixed size."""

    nth: int  # among the phase's requests
    sizes: DistributionOfSizes
    most: Ints  # the largest size of each of its rows, ascending
    upto: NDArray[np.float64]  # of a table: the bounds between its entries, as shares; else empty
    entries: tuple[Ints, Ints]  # of a table: the bytes of each entry, and its row, counted from the first


class Sizing(NamedTuple):
    """All that a phase has to know of its requests; `first_row` of each of them."""

    rows: Rows
    first_row: Ints
    sized: tuple[Sized, ...]


def sizing_of(classes: list[Classes], requests: tuple[Request, ...]) -> Sizing:
    """The rows of a phase's requests, whose classes are given in order, among the requests of the plan."""
    index = {request: n for n, request in enumerate(requests)}
    flat = [(index[request], of.nr_blocks, of.nr_bytes) for of in classes for request in of.requests]
    nr_rows = [len(of.requests) for of in classes]
    columns = np.array(flat, np.int64).reshape(-1, 3).T.copy()
    sized = tuple(_sized(nth, of) for nth, of in enumerate(classes) if of.sizes is not None)
    return Sizing(Rows(*columns), np.cumsum([0, *nr_rows[:-1]]), sized)


def _sized(nth: int, of: Classes) -> Sized:
    assert of.sizes is not None
    most = np.array(of.most, np.int64)
    entries = of.sizes.table if isinstance(of.sizes, TableOfSizes) else ()
    nr_bytes = np.array([entry.size for entry in entries], np.int64)
    upto = bounds([entry.weight for entry in entries])
    return Sized(nth, of.sizes, most, upto, (nr_bytes, np.searchsorted(most, nr_bytes)))


def rows_of(sizing: Sizing, rngs: tuple[np.random.Generator, ...], request: Ints, nr_bytes: Ints) -> tuple[Ints, Ints]:
    """The row of each operation that makes the phase's n-th request, and the bytes that are drawn for it.

    `nr_bytes` holds a zero for each operation and is not written to.
    """
    if not sizing.sized:
        return request, nr_bytes
    row = sizing.first_row[request]
    if len(sizing.first_row) == 1:
        drawn, of_drawn = _drawn(rngs[0], sizing.sized[0], len(request))
        return of_drawn, drawn
    nr_bytes = nr_bytes.copy()
    for rng, sized in zip(rngs, sizing.sized, strict=True):
        drawn, of_drawn = _drawn(rng, sized, len(request))
        chosen = request == sized.nth
        np.add(row, of_drawn, out=row, where=chosen)
        np.copyto(nr_bytes, drawn, where=chosen)
    return row, nr_bytes


def _drawn(rng: np.random.Generator, sized: Sized, count: int) -> tuple[Ints, Ints]:
    """Sizes in bytes, and the row of each, counted from the request's first."""
    if isinstance(sized.sizes, TableOfSizes):
        nr_bytes, rows = sized.entries
        entry = between(rng, sized.upto, count)
        return nr_bytes[entry], rows[entry]
    drawn = drawn_sizes(rng, sized.sizes, int(sized.most[-1]), count)
    return drawn, _rows(sized.most, drawn)


def drawn_sizes(rng: np.random.Generator, of: DistributionOfSizes, limit: int, count: int) -> Ints:
    """Bytes of this distribution, each at least 1 and at most `limit`; not from a table."""
    if isinstance(of, ExponentialSize):
        drawn = rng.standard_exponential(count) * of.exponential
    elif isinstance(of, UniformSize):
        low, high = of.uniform.low, of.uniform.high
        return low + (rng.random(count) * (high - low + 1)).astype(np.int64)
    elif isinstance(of, LognormalSize):
        drawn = of.lognormal.median * np.exp(of.lognormal.sigma * rng.standard_normal(count))
    else:
        assert isinstance(of, ParetoSize)
        drawn = of.pareto.least * np.exp(rng.standard_exponential(count) / of.pareto.shape)
    np.rint(drawn, out=drawn)
    np.clip(drawn, 1, limit, out=drawn)
    return drawn.astype(np.int64)


def bounds(weights: list[float]) -> NDArray[np.float64]:
    """Where each number's share of 0 to 1 ends, but the last one's."""
    shares = np.array(weights)
    return np.cumsum(shares / shares.sum())[:-1]


def between(rng: np.random.Generator, upto: NDArray[np.float64], count: int) -> Ints:
    """Numbers from 0 on, each as often as its share between two `bounds` says."""
    drawn = rng.random(count)
    if len(upto) > _FEW:
        return np.searchsorted(upto, drawn, side="right")
    return _counted((drawn >= bound for bound in upto), count)


def _rows(most: Ints, sizes: Ints) -> Ints:
    """The row of each size: how many rows end below it."""
    return _counted((sizes > end for end in most[:-1]), len(sizes))


def _counted(tests: Iterable[NDArray[np.bool_]], count: int) -> Ints:
    """How many of the tests each of `count` numbers passes."""
    passed = np.zeros(count, np.int8)
    for test in tests:
        passed += test
    return passed.astype(np.int64)
