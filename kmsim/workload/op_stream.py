"""Op streams: what one task asks of its CPU, as blocks of records.

A task that holds blocks in slots churns: it allocates until all slots are full, then frees one
request and makes one in turn. Which one is freed is the `free` policy: random, the oldest (fifo) or the newest
(lifo). A share of its frees may be *remote*: such a free names the same slot of a task of its kind on another
CPU, and if there is a block in it, the two tasks exchange their blocks before the free.

A request for several single pages is several operations without a pause, and so is its free.
In an open loop, the free that makes room belongs to the arrival. Timed blocks are freed by the
simulator when they are due, and are not seen here again.

Streams are made in blocks, so that no run holds all of its operations, and from the task's own random
numbers, so that no task changes another's; the blocks' size changes none either. Each block is written to where
whoever will read it says (the stream's *room*), and over the block before.
"""

from collections.abc import Callable, Iterator
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from kmsim.workload.draws import Generators, draws
from kmsim.workload.phases import CHURN, FILL, NO_END, NOT_TIMED, Phase
from kmsim.workload.plan import Plan
from kmsim.workload.seeds import stream
from kmsim.workload.sizes import Sizing, sizing_of
from kmsim.workload.slots import Slots, full_slots, hold_again, in_order, new_slots
from kmsim.workload.turns import ALLOC, DRAIN, FREE, KIND_NAMES, begin_phase, new_turns, op_t, write_ops

__all__ = ["ALLOC", "BLOCK", "DRAIN", "FREE", "KIND_NAMES", "NO_END", "Block", "OpStream", "Room", "block_size", "op_t"]

BLOCK = 16384
FIRST_BLOCK = 1024  # of a phase that ends with its time, or the run; each further block is twice as large
_OPS_OF_ALL_TASKS = 1 << 22  # so that the blocks of many tasks fit into about 100 MB together
_BLOCK_LEAST = 256
_HEAP_KEPT = 31 << 20

Room = Callable[[], NDArray[np.void]]  # where a task's operations are to lie, those of its last block still there


class Block(NamedTuple):
    """Some operations of one phase, the first in the stream's room.

    What would start at `until_ps` or later is dropped (and `OpStream.cut` told); `barrier` names the
    barrier that every task of the kind passes before any of them starts on the block; empty: none.
    """

    nr_ops: int
    until_ps: int
    barrier: str


class OpStream:
    """All operations of one task, in blocks of at most as many as its room has place for; an iterator.

    It has no end if the task has none.
    """

    def __init__(self, plan: Plan, task_index: int, seed: int, room: Room) -> None:
        self._plan = plan
        self._task = plan.tasks[task_index]
        self._index_of_kind = task_index - self._task.first_of_kind
        self._seed = seed
        self._room = room
        self._nr_ops_max = len(room())
        self._others = others_of(plan, task_index)
        self._nr_others = len(self._others) - 1
        self._nr_last = 0  # operations of the block before
        self._nr_kept: int | None = None
        self._blocks = self._of_all_phases()

    def __iter__(self) -> Iterator[Block]:
        return self

    def __next__(self) -> Block:
        return next(self._blocks)

    def cut(self, nr_kept: int) -> None:
        """Its `until` ended the phase: of the block before, only the first `nr_kept` operations were made."""
        assert 0 <= nr_kept <= self._nr_last, "more kept than there were"
        self._nr_kept = nr_kept

    def _of_all_phases(self) -> Iterator[Block]:
        task = self._task
        of_task = stream(self._seed, f"thread/{task.name}")
        slots = new_slots(task.nr_held_max, self._nr_ops_max)
        turns = new_turns(task.first_slot, task.group_max)
        for n, phase in enumerate(task.phases):
            if n:
                self._settle(turns, slots)
            classes = [self._plan.classes[request] for request in phase.requests]
            sizing = sizing_of(classes, [request.weight for request in phase.requests], self._plan.requests)
            of_phase = Generators(of_task, n)
            if phase.is_shared:
                yield from self._of_shared(n, phase, sizing, of_phase)
                slots.since[:] = 0
            else:
                begin_phase(turns, phase, self._nr_others, is_open=task.is_open)
                yield from self._of_phase(phase, sizing, of_phase, turns, slots)

    def _of_phase(
        self, phase: Phase, sizing: Sizing, of_phase: Generators, turns: NDArray[np.void], slots: Slots
    ) -> Iterator[Block]:
        barrier, left = phase.barrier, nr_left(phase, turns, slots)
        nr_ops_max = FIRST_BLOCK if left is None else self._nr_ops_max
        self._nr_kept = None
        while (left != 0 or barrier) and self._nr_kept is None:
            nr_ops_max = min(nr_ops_max, self._nr_ops_max)
            nr_ops = nr_ops_max if left is None else min(nr_ops_max, left)
            nr_ops_max *= 2
            drawn = draws(of_phase, phase, sizing.sized, nr_ops)
            ops = self._room()[:nr_ops]
            nr_written = write_ops(turns, slots, drawn, sizing.menu, self._others, ops)
            if left is not None:
                left = left - nr_ops if nr_written == nr_ops else 0
                if left == 0 and phase.keeps_last:
                    ops["lifetime_ps"][-1:] = NOT_TIMED
            self._nr_last = nr_written
            if nr_written or barrier:
                yield Block(nr_written, phase.until_ps, barrier)
            barrier = ""

    def _of_shared(self, n: int, phase: Phase, sizing: Sizing, of_phase: Generators) -> Iterator[Block]:
        """Free this task's share of what all tasks of its kind hold, in an order that all of them agree on."""
        task, first = self._task, self._plan.tasks[self._task.first_of_kind]
        shuffle = stream(self._seed, f"kind/{task.kind.name}/phase/{n}")
        numbers = first.first_slot + shuffle.permutation(np.arange(task.nr_of_kind * task.nr_slots, dtype=np.int32))
        share = np.array_split(numbers, task.nr_of_kind)[self._index_of_kind].copy()
        turns, slots = new_turns(0, 1), full_slots(len(share), self._nr_ops_max)
        turns["count"] = len(share)
        phase = phase._replace(free="fifo", remote_frees=0.0)
        begin_phase(turns, phase, 0, is_open=task.is_open)
        for block in self._of_phase(phase, sizing, of_phase, turns, slots):
            slots_of_block = self._room()["slot"][: block.nr_ops]
            slots_of_block[:] = share[slots_of_block]
            yield block

    def _settle(self, turns: NDArray[np.void], slots: Slots) -> None:
        """Forget what the end of a phase has cut off: dropped operations, and the rest of a request."""
        turn, last = turns[0], self._room()[: self._nr_last]
        nr_kept = len(last) if self._nr_kept is None else self._nr_kept
        for i in range(len(last) - 1, nr_kept - 1, -1):
            slot, nth = divmod(int(last["slot"][i]) - self._task.first_slot, self._task.group_max)
            if slot >= 0 and last["kind"][i] == FREE:
                hold_again(slots, slot, int(slots.was[i]), self._task.group_max)
            elif slot >= 0 and nth == 0:
                slots.since[slot] = 0
        if nr_kept == len(last) and turn.left and turn.kind == FREE:
            slot = (int(turn.slot) - self._task.first_slot) // self._task.group_max
            hold_again(slots, slot, int(turn.was), self._task.group_max)
        turn.left = turn.head = 0
        turn.count = in_order(slots)


def nr_left(phase: Phase, turns: NDArray[np.void], slots: Slots) -> int | None:
    """How many operations a phase has that begins, at most; None if that depends on when it ends."""
    if phase.do == CHURN:
        return phase.of_stream
    turn = turns[0]
    return int(turn.group_max) * int(len(slots.order) - turn.count if phase.do == FILL else turn.count)


def others_of(plan: Plan, task_index: int) -> NDArray[np.int64]:
    """How far the slots of each task of the same kind on another CPU lie from the task's own, and its own."""
    task = plan.tasks[task_index]
    of_kind = plan.tasks[task.first_of_kind : task.first_of_kind + task.nr_of_kind]
    away = [other.first_slot - task.first_slot for other in of_kind if other.cpu != task.cpu]
    return np.array([*away, 0], np.int64)


def keep_heap() -> None:
    """Let the C library keep the memory of a block's random numbers for the next block's: 1.05 times as fast.

    glibc gives arrays of 128 KiB back to the system each time, to get them anew, page by page; once an array of
    almost 32 MiB was given back, it takes such sizes as usual and keeps smaller ones. Elsewhere it does nothing.
    """
    np.empty(_HEAP_KEPT, np.uint8)


def block_size(plan: Plan) -> int:
    """The most operations in a block of a run: `BLOCK`, or less where there are many tasks."""
    return max(_BLOCK_LEAST, min(BLOCK, _OPS_OF_ALL_TASKS // max(len(plan.tasks), 1)))
