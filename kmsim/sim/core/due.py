"""Blocks that are to be freed at a given time: a binary heap for each task that frees them.

A task's heap is the stretch of `due` from its `first_due` on. Blocks due at one instant come out in
the order of their handles, then of their requests, so the order does not depend on how the heap was built.
Invariant: no entry comes before its parent.
"""

from typing import Any

from numpy.typing import NDArray

from kmsim.jit import core, small
from kmsim.mm.indices import TaskIdx
from kmsim.sim.core.records import NEVER, Core

Due = NDArray[Any]  # of due_t


@small
def first_due_at(s: Core, k: TaskIdx) -> int:
    """When a task's first block is due; NEVER if it has none."""
    task = s.tasks[k]
    return int(s.due[task.first_due].time) if task.nr_due else NEVER


@small
def push_due(s: Core, k: TaskIdx, time: int, block: int, request: int, detail: int) -> None:
    """Let a task free a block at a given time."""
    task = s.tasks[k]
    assert task.nr_due < task.nr_due_max, "more blocks wait to be freed than the task's heap was made for"
    entry = s.due[task.first_due + task.nr_due]
    entry.time = time
    entry.block = block
    entry.request = request
    entry.detail = detail
    task.nr_due += 1
    _sift_up(s.due, task.first_due, task.nr_due - 1)


@small
def pop_due(s: Core, k: TaskIdx) -> None:
    """Take the first block out; it is left in the entry behind the heap's new end."""
    task = s.tasks[k]
    task.nr_due -= 1
    _swap(s.due, task.first_due, task.first_due + task.nr_due)
    _sift_down(s.due, task.first_due, task.nr_due)


@core
def _sift_up(due: Due, base: int, at: int) -> None:
    while at and _before(due, base + at, base + ((at - 1) >> 1)):
        _swap(due, base + at, base + ((at - 1) >> 1))
        at = (at - 1) >> 1


@core
def _sift_down(due: Due, base: int, nr_due: int) -> None:
    at = 0
    while 2 * at + 1 < nr_due:
        child = 2 * at + 1
        if child + 1 < nr_due and _before(due, base + child + 1, base + child):
            child += 1
        if not _before(due, base + child, base + at):
            break
        _swap(due, base + at, base + child)
        at = child


@small
def _before(due: Due, a: int, b: int) -> bool:
    one, other = due[a], due[b]
    if one.time != other.time:
        return bool(one.time < other.time)
    if one.block != other.block:
        return bool(one.block < other.block)
    if one.request != other.request:
        return bool(one.request < other.request)
    return bool(one.detail < other.detail)


@small
def _swap(due: Due, a: int, b: int) -> None:
    one, other = due[a], due[b]
    time, block, request, detail = one.time, one.block, one.request, one.detail
    one.time, one.block, one.request, one.detail = other.time, other.block, other.request, other.detail
    other.time, other.block, other.request, other.detail = time, block, request, detail
