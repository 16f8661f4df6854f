"""The sizes of k slab caches that serve a mix of requests with the least memory: exact, by dynamic programming.

A request is served by the smallest cache that it fits into, as kmalloc does. Requests are taken in order of size:
the best k caches of which the largest has size s are the best k - 1 with some smaller largest size, and s for
all that lie between. Sizes are multiples of a word, SLUB's smallest step; each cache
serves at least one request of the mix.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

WORD = 8


class BestSet(NamedTuple):
    """So many caches, their sizes in bytes, ascending, and what they take for the whole mix, in bytes times weight."""

    sizes: tuple[int, ...]
    taken: float


def best_sets(mix: Mapping[int, float], share: Callable[[int], float], most: int) -> list[BestSet]:
    """The best sets of 1, 2, ... `most` caches for requests by size; `share(s)`: memory for an object of s bytes."""
    sizes = np.arange(WORD, -(-max(mix) // WORD) * WORD + 1, WORD)
    shares = np.array([share(int(size)) for size in sizes])
    upto = weights_upto(mix, sizes)
    taken = np.where(upto > 0, shares * upto, np.inf)  # by the last cache's index: what its set takes
    sets = [BestSet((int(sizes[-1]),), float(taken[-1]))]
    before: list[NDArray[np.int64]] = []  # of each larger set, by its last cache: the one before that
    for _ in range(1, most):
        between = upto[None, :] - upto[:, None]  # row: the cache before; column: the last
        cost = np.where(between > 0, taken[:, None] + shares[None, :] * between, np.inf)
        before.append(cost.argmin(axis=0))
        taken = cost.min(axis=0)
        if not np.isfinite(taken[-1]):
            break  # there are fewer sizes than caches
        sets.append(BestSet(chosen(sizes, before), float(taken[-1])))
    return sets


def weights_upto(mix: Mapping[int, float], sizes: NDArray[np.int64]) -> NDArray[np.float64]:
    """The weight of all requests that fit into each of these sizes."""
    asked = np.array(sorted(mix))
    weights = np.concatenate(([0.0], np.cumsum([mix[size] for size in sorted(mix)])))
    return weights[np.searchsorted(asked, sizes, side="right")]


def chosen(sizes: NDArray[np.int64], before: list[NDArray[np.int64]]) -> tuple[int, ...]:
    """The sizes of the best set, followed back from the largest."""
    at = len(sizes) - 1
    found = [int(sizes[at])]
    for previous in reversed(before):
        at = int(previous[at])
        found.append(int(sizes[at]))
    return tuple(reversed(found))
