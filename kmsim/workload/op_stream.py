"""Op streams: what one kernel thread asks of its CPU, as blocks of records.

A thread first allocates until it holds `live` blocks, then frees one and allocates one in turn. A
*handle* is the slot that remembers a block; which slot is emptied is the `free` policy: random, the
oldest (fifo) or the newest (lifo). Streams are made in blocks, so that no run holds all of its
operations, and from the thread's own random numbers, so that no thread changes another's.

Leaves out (until they are built): arrival rates, lifetimes, frees on another CPU, traces.
"""

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from kmsim.config.workload import ThreadConfig

ALLOC, FREE = range(2)
KIND_NAMES = ("alloc", "free")

op_t = np.dtype(
    (
        np.record,
        [
            ("gap_ps", np.int64),  # the pause before the operation
            ("gfp", np.int32),
            ("handle", np.int32),
            ("kind", np.int8),
            ("order", np.int8),
        ],
    )
)

BLOCK = 4096


def nr_handles(thread: ThreadConfig) -> int:
    """How many blocks the thread may hold at once."""
    return max(thread.live, 1)


def op_blocks(thread: ThreadConfig, rng: np.random.Generator) -> Iterator[NDArray[np.void]]:
    """The thread's operations, in order, in blocks of at most `BLOCK` records of `op_t`."""
    handles = nr_handles(thread)
    weights = np.array([request.weight for request in thread.requests])
    cumulative = np.cumsum(weights / weights.sum())
    orders = np.array([request.order for request in thread.requests], np.int8)
    gfps = np.array([request.gfp_flags for request in thread.requests], np.int32)
    emptied = 0  # the slot that the last free of the block before emptied
    for start in range(0, thread.operations, BLOCK):
        index = np.arange(start, min(start + BLOCK, thread.operations))
        ops = np.zeros(len(index), op_t)
        filling = index < handles
        ops["kind"] = np.where(filling | ((index - handles) % 2 == 1), ALLOC, FREE)
        turn = np.where(filling, 0, (index - handles) // 2)
        slots = _emptied_slots(thread.free, turn, handles, rng)
        is_free = ops["kind"] == FREE
        slots[~is_free & ~filling] = 0
        carried = np.concatenate(([emptied], slots[is_free]))
        slots = np.where(is_free, slots, carried[np.cumsum(is_free)])  # an allocation fills what was emptied
        ops["handle"] = np.where(filling, index, slots)
        emptied = int(carried[-1])
        request = np.searchsorted(cumulative, rng.random(len(index)), side="right").clip(max=len(orders) - 1)
        ops["order"] = orders[request]
        ops["gfp"] = gfps[request]
        ops["gap_ps"] = _gaps(thread, len(index), rng)
        yield ops


def _emptied_slots(policy: str, turn: NDArray[np.int64], handles: int, rng: np.random.Generator) -> NDArray[np.int64]:
    if policy == "random":
        return rng.integers(0, handles, len(turn))
    if policy == "fifo":
        return turn % handles
    return np.full(len(turn), handles - 1)


def _gaps(thread: ThreadConfig, count: int, rng: np.random.Generator) -> NDArray[np.int64]:
    think = thread.think
    if think.kind == "constant":
        return np.full(count, think.mean_ps)
    return np.rint(rng.exponential(think.mean_ps, count)).astype(np.int64)
