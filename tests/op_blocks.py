"""The blocks of an op stream, each kept: what the simulator does not do, as it reads them where they are written."""

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from kmsim.workload.op_stream import OpStream, block_size, op_t
from kmsim.workload.plan import Plan


class Kept(NamedTuple):
    """A copy of a block's operations, and what else the stream says of it."""

    ops: NDArray[np.void]
    until_ps: int
    barrier: str


class Blocks:
    """All blocks of a task's stream, of at most `nr_ops_max` operations each, or as many as in a run."""

    def __init__(self, plan: Plan, task: int, seed: int, nr_ops_max: int | None = None) -> None:
        room = np.zeros(nr_ops_max or block_size(plan), op_t)
        self._room = room
        self._stream = OpStream(plan, task, seed, lambda: room)
        self.cut = self._stream.cut

    def __iter__(self) -> Iterator[Kept]:
        return self

    def __next__(self) -> Kept:
        block = next(self._stream)
        return Kept(self._room[: block.nr_ops].copy(), block.until_ps, block.barrier)
