"""Blocks that are to be freed at a given time: a binary heap for each task that frees them.

A task's heap is the stretch of `due` from its `first_due` on, and the same stretch of `timed` has the slots in which
its blocks stand. Blocks due at one instant come out in the order in which they were allocated: an entry is
numbered by how many its heap has had before. Of that number's 41 bits the low ones have a field of their own, the high
ones lie behind the time, so that an entry takes 16 bytes and its slot 8 more.

There is no list of free slots: an entry that was taken out lies behind the heap's end and still names its slot, which
the next block that is pushed there gets. Entries behind all that there ever were are zeros, and so are their slots:
memory is not touched before it is needed.

What is due after the clock's end never comes out: its time is NEVER. Invariant: no entry comes before its
parent; the first `nr_due_most` entries name the first `nr_due_most` slots of their stretch, each once; those of
the first `nr_due` entries are full.
"""

from typing import Any

from numpy.typing import NDArray

from kmsim.jit import core, prefetch, small
from kmsim.mm.indices import TaskIdx, TimedIdx
from kmsim.mm.limits import U32_MAX
from kmsim.sim.core.records import NEVER, NO_BLOCK, Core

Due = NDArray[Any]  # of due_t

SEQUENCE_LOW_BITS = 32
SEQUENCE_HIGH_BITS = 9  # what NEVER leaves of an int64's 63


@small
def first_due_at(s: Core, k: TaskIdx) -> int:
    """When a task's first block is due; NEVER if it has none."""
    task = s.tasks[k]
    return int(s.due[task.first_due].key) >> SEQUENCE_HIGH_BITS if task.nr_due else NEVER


@small
def push_due(s: Core, k: TaskIdx, time: int) -> TimedIdx:
    """Let a task free a block at a given time; the slot that the block is to stand in until then."""
    task = s.tasks[k]
    assert task.nr_due < task.nr_due_max, "more blocks wait to be freed than the task's heap was made for"
    entry = s.due[task.first_due + task.nr_due]
    if task.nr_due == task.nr_due_most:
        entry.slot = task.nr_due
        task.nr_due_most += 1
    slot, sequence = int(entry.slot), int(task.nr_pushed)
    key = min(time, NEVER) << SEQUENCE_HIGH_BITS | sequence >> SEQUENCE_LOW_BITS
    _put_up(s.due, task.first_due, task.nr_due, key, sequence & U32_MAX, slot)
    task.nr_pushed += 1
    task.nr_due += 1
    return int(task.first_due + slot)


@small
def pop_due(s: Core, k: TaskIdx) -> TimedIdx:
    """Take the first block out of the heap: its slot, which is to be emptied."""
    task = s.tasks[k]
    task.nr_due -= 1
    slot = int(s.due[task.first_due].slot)
    last = s.due[task.first_due + task.nr_due]
    key, sequence, last_slot = int(last.key), int(last.sequence), int(last.slot)
    last.slot = slot
    if task.nr_due:
        _put_down(s.due, task.first_due, task.nr_due, key, sequence, last_slot)
        prefetch(s.timed, int(task.first_due + s.due[task.first_due].slot))
    return int(task.first_due + slot)


@core
def recount_due(s: Core) -> None:
    """Recount the heaps and the slots that their entries name; AssertionError where an invariant is broken."""
    for k in range(len(s.tasks)):
        task = s.tasks[k]
        nr_slots = int(task.nr_due_most)
        assert task.nr_due <= nr_slots <= task.nr_due_max, "a heap has more entries than slots"
        total = squares = 0
        for at in range(nr_slots):
            entry = s.due[task.first_due + at]
            total += entry.slot
            squares += entry.slot * entry.slot
            if 0 < at < task.nr_due:
                above = s.due[task.first_due + ((at - 1) >> 1)]
                assert not _is_before(entry, above.key, above.sequence), "a block is due before its heap's parent"
            if at < task.nr_due:
                assert s.timed[task.first_due + entry.slot].block != NO_BLOCK, (
                    "the slot of a block that is due is empty"
                )
        each_once = 2 * total == nr_slots * (nr_slots - 1) and 3 * squares == total * (2 * nr_slots - 1)
        assert each_once, "a slot is named twice"


@core
def _put_up(due: Due, base: int, at: int, key: int, sequence: int, slot: int) -> None:
    """Put the youngest entry, of the highest number, into the place `at` or one above it."""
    while at and key < due[base + ((at - 1) >> 1)].key:
        above = due[base + ((at - 1) >> 1)]
        _write(due[base + at], above.key, above.sequence, above.slot)
        at = (at - 1) >> 1
    _write(due[base + at], key, sequence, slot)


@core
def _put_down(due: Due, base: int, nr_due: int, key: int, sequence: int, slot: int) -> None:
    """Put an entry into the first place or one below it."""
    at = 0
    while 2 * at + 1 < nr_due:
        child = 2 * at + 1
        below = due[base + child]
        if child + 1 < nr_due and _is_before(due[base + child + 1], below.key, below.sequence):
            child += 1
            below = due[base + child]
        if not _is_before(below, key, sequence):
            break
        _write(due[base + at], below.key, below.sequence, below.slot)
        at = child
    _write(due[base + at], key, sequence, slot)


@small
def _is_before(entry: Any, key: int, sequence: int) -> bool:
    return bool(entry.key < key or (entry.key == key and entry.sequence < sequence))


@small
def _write(entry: Any, key: int, sequence: int, slot: int) -> None:
    entry.key = key
    entry.sequence = sequence
    entry.slot = slot
