"""The random order in which a cache's new slabs hand out their objects (kernel: freelist_randomize, shuffle_freelist).

A cache has a shuffled sequence of its objects' numbers, and a generator of its own for the place in it at which a new
slab begins. Leaves out that the kernel draws from its own random numbers. Invariant: the generator's state is not 0.
No locks.
"""

import numpy as np
from numpy.typing import NDArray

from kmsim.jit import small


def _xorshift(state: int) -> int:
    """The next of 2^32 - 1 states of a small generator (Marsaglia's xorshift32); none is 0."""
    state ^= (state << 13) & 0xFFFFFFFF
    state ^= state >> 17
    return state ^ ((state << 5) & 0xFFFFFFFF)


next_random = small(_xorshift)


def set_up_random(cache: np.void, random_seq: NDArray[np.uint16], place: int, seed: int) -> None:
    """Shuffle the cache's sequence, from `place` of `random_seq` on (kernel: freelist_randomize)."""
    state = (seed * 2654435761 + 1) & 0xFFFFFFFF or 1
    objects = int(cache["objects"])
    sequence = list(range(objects))
    for i in range(objects - 1, 0, -1):
        state = _xorshift(state)
        other = state * (i + 1) >> 32
        sequence[i], sequence[other] = sequence[other], sequence[i]
    random_seq[place : place + objects] = sequence
    cache["random_seq"] = place
    cache["random_state"] = state
