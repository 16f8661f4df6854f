"""The slots of a task: which are full, in the order of their ages.

`order` holds every slot once: the full ones from the head on (the oldest first), then the empty ones. It is
kept as slot XOR position, so that zeros mean every slot in its own place, and memory that no
operation reaches is never touched.
"""

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray


class Slots(NamedTuple):
    """One slot for each request that can be held."""

    order: NDArray[np.int32]
    since: NDArray[np.int64]  # a count that grows with each request that is held; 0: empty
    nr_blocks: NDArray[np.int32]  # of the request that it holds, or held last
    was: NDArray[np.int64]  # of each operation of the block: `since` of the slot that was emptied last


def new_slots(nr_held_max: int, nr_ops: int) -> Slots:
    """Empty slots, for blocks of at most `nr_ops` operations."""
    order, nr_blocks = np.zeros(nr_held_max, np.int32), np.zeros(nr_held_max, np.int32)
    return Slots(order, np.zeros(nr_held_max, np.int64), nr_blocks, np.zeros(nr_ops, np.int64))


def full_slots(count: int, nr_ops: int) -> Slots:
    """As many slots, all full with one block each, the first the oldest."""
    slots = new_slots(count, nr_ops)
    slots.since[:] = np.arange(1, count + 1)
    slots.nr_blocks[:] = 1
    return slots


def hold_again(slots: Slots, slot: int, since: int, nr_blocks: int) -> None:
    """Undo the emptying of a slot: any of its blocks may still be held, and a free of one that is not does nothing."""
    slots.since[slot] = since
    slots.nr_blocks[slot] = nr_blocks


def in_order(slots: Slots) -> int:
    """Bring the slots into the order of their ages, from position 0 on; how many are full."""
    full = np.flatnonzero(slots.since)
    full = full[np.argsort(slots.since[full])]
    every = np.concatenate((full, np.flatnonzero(slots.since == 0)))
    slots.order[:] = every ^ np.arange(len(every))
    return len(full)
