"""Sizes: how many bytes each request of a phase asks for, and which of the plan's requests that makes it.

Each request that has no fixed size draws from a generator of its own, one number for each operation
whether or not it is used. A drawn size is a whole number of bytes, at least 1 and at most what its
allocator can give. A read of a file draws which of its pages it is for in the same way (`file_pages`).

What a number stands for (a request by its weight, an entry of a table by its, a class of sizes) is found among
ascending bounds by a guide table (Chen and Asau, "On generating random variates from an empirical distribution", 1974).
"""

from collections.abc import Sequence
from typing import Any, NamedTuple

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
from kmsim.jit import shared, small
from kmsim.workload.classes import Classes
from kmsim.workload.file_pages import PagesOfFile
from kmsim.workload.request import Request

Ints = NDArray[np.int64]

CELLS_PER_BOUND = 8  # of a guide table: most cells have no bound within, and one look is enough


class Menu(NamedTuple):
    """What a phase asks for, as compiled functions read it.

    A row is a request of a fixed size, an entry of a table of sizes, or a class of drawn sizes. Search 0 is for which
    request is made, each further one for a row of a request without a fixed size, by the number that is drawn for it.
    """

    # By row.
    request: Ints  # the plan's index
    nr_blocks: Ints
    nr_bytes: Ints  # of each block; 0: the number that is drawn
    # By the phase's requests.
    first_row: Ints
    search: Ints  # 0: its size is fixed
    # By search.
    first_bound: Ints
    first_cell: Ints
    cells: NDArray[np.float64]  # how many cells there are from 0 to 1; a power of 2, so that a cell's low end is exact
    # The bounds of each search, ascending and then infinity, and by cell how many lie at its low end or below.
    upto: NDArray[np.float64]
    guide: NDArray[np.int16]


class Sized(NamedTuple):
    """A request of a phase without a fixed size, or of a page of a file; what is drawn is at most `limit`."""

    sizes: DistributionOfSizes | PagesOfFile
    limit: int


class Sizing(NamedTuple):
    """All that a phase has to know of its requests."""

    menu: Menu
    sized: tuple[Sized, ...]


def sizing_of(classes: list[Classes], weights: list[float], requests: tuple[Request, ...]) -> Sizing:
    """The sizes of a phase's requests, whose classes and weights are given in order, among the requests of the plan."""
    index = {request: n for n, request in enumerate(requests)}
    rows: list[tuple[int, int, int]] = []
    first_row, search, searches = [], [], [(bounds(weights), 1.0)]
    for of in classes:
        first_row.append(len(rows))
        search.append(0 if of.sizes is None else len(searches))
        if isinstance(of.sizes, TableOfSizes):
            entries = of.sizes.table
            nth = np.searchsorted(of.most, [entry.size for entry in entries]).tolist()
            rows += [(index[of.requests[n]], 1, entry.size) for n, entry in zip(nth, entries, strict=True)]
            searches.append((bounds([entry.weight for entry in entries]), 1.0))
        else:
            rows += [(index[request], of.nr_blocks, of.nr_bytes) for request in of.requests]
            if of.sizes is not None:
                searches.append((np.array(of.most[:-1], np.float64) + 1, of.most[-1] + 1.0))
    sized = tuple(Sized(of.sizes, of.most[-1]) for of in classes if of.sizes is not None)
    columns = tuple(np.array(column) for column in zip(*rows, strict=True))
    return Sizing(menu_of((*columns, np.array(first_row), np.array(search)), searches), sized)


def menu_of(fields: tuple[Ints, ...], searches: list[tuple[NDArray[np.float64], float]]) -> Menu:
    """The menu with these rows and requests; each search is among ascending bounds, for numbers from 0 to its end."""
    request, nr_blocks, nr_bytes, first_row, search = fields
    cells, upto, guide = [], [], []
    for among, end in searches:
        nr_cells = 1 << (CELLS_PER_BOUND * (len(among) + 1)).bit_length()
        cells.append(nr_cells / 2.0 ** int(np.ceil(np.log2(end))))
        upto.append(np.append(among, np.inf))
        guide.append(np.searchsorted(among, np.arange(nr_cells) / cells[-1], side="right").astype(np.int16))
    return Menu(
        request=request,
        nr_blocks=nr_blocks,
        nr_bytes=nr_bytes,
        first_row=first_row,
        search=search,
        first_bound=_starts(upto),
        first_cell=_starts(guide),
        cells=np.array(cells),
        upto=np.concatenate(upto),
        guide=np.concatenate(guide),
    )


def _starts(parts: Sequence[NDArray[Any]]) -> Ints:
    """Where each part begins when they lie one after another."""
    return np.cumsum([0, *(len(part) for part in parts[:-1])])


@shared
def found(menu: Menu, search: int, number: float) -> int:
    """How many of a search's bounds are at most `number`."""
    n = int(menu.guide[menu.first_cell[search] + int(number * menu.cells[search])])
    while number >= menu.upto[menu.first_bound[search] + n]:
        n += 1
    return n


@small
def asked_for(menu: Menu, request: NDArray[np.float64], sizes: NDArray[np.float64], i: int) -> tuple[int, int]:
    """The row of what the i-th operation asks for, and how many bytes that is, or which page of its file."""
    nth = found(menu, 0, request[i]) if len(menu.first_row) > 1 else 0
    row, search = menu.first_row[nth], menu.search[nth]
    if search == 0:
        return row, menu.nr_bytes[row]
    number = sizes[search - 1, i]
    row += found(menu, search, number)
    nr_bytes = menu.nr_bytes[row]
    return row, nr_bytes if nr_bytes != 0 else int(number)


def drawn_numbers(rngs: list[np.random.Generator], sized: tuple[Sized, ...], count: int) -> NDArray[np.float64]:
    """By request without a fixed size and operation: a size in bytes, the number of a page of its file, or where in
    its table, from 0 to 1.
    """
    numbers = np.empty((len(sized), count))
    for rng, of, row in zip(rngs, sized, numbers, strict=True):
        if isinstance(of.sizes, TableOfSizes):
            rng.random(out=row)
        elif isinstance(of.sizes, PagesOfFile):
            of.sizes.draw(rng, row)
        else:
            draw_sizes(rng, of.sizes, of.limit, row)
    return numbers


def draw_sizes(rng: np.random.Generator, of: DistributionOfSizes, limit: int, drawn: NDArray[np.float64]) -> None:
    """Fill an array with bytes of this distribution, each at least 1 and at most `limit`; not from a table."""
    if isinstance(of, UniformSize):
        low, high = of.uniform.low, of.uniform.high
        rng.random(out=drawn)
        drawn *= high - low + 1
        np.floor(drawn, out=drawn)
        drawn += low
        return
    if isinstance(of, ExponentialSize):
        rng.standard_exponential(out=drawn)
        drawn *= of.exponential
    elif isinstance(of, LognormalSize):
        rng.standard_normal(out=drawn)
        drawn *= of.lognormal.sigma
        np.exp(drawn, out=drawn)
        drawn *= of.lognormal.median
    else:
        assert isinstance(of, ParetoSize)
        rng.standard_exponential(out=drawn)
        drawn /= of.pareto.shape
        np.exp(drawn, out=drawn)
        drawn *= of.pareto.least
    np.rint(drawn, out=drawn)
    np.clip(drawn, 1, limit, out=drawn)


def bounds(weights: list[float]) -> NDArray[np.float64]:
    """Where each number's share of 0 to 1 ends, but the last one's."""
    shares = np.array(weights)
    return np.cumsum(shares / shares.sum())[:-1]
