"""The heaps of blocks that are to be freed: against `heapq`, two tasks' heaps side by side."""

import heapq

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from kmsim.jit import entry
from kmsim.mm.rmap import holder_t
from kmsim.sim.core.due import SEQUENCE_HIGH_BITS, SEQUENCE_LOW_BITS, first_due_at, pop_due, push_due, recount_due
from kmsim.sim.core.records import NEVER, NO_BLOCK, Core, due_t, slot_t
from kmsim.sim.simulation import new_simulation
from tests.studies import study

NR_TASKS, NR_DUE_MAX = 2, 60
HEAPS_BEGIN = 3
SEQUENCES = 1 << (SEQUENCE_LOW_BITS + SEQUENCE_HIGH_BITS)


@entry
def push(s: Core, k: int, time: int) -> int:
    """`push_due` for Python callers."""
    return push_due(s, k, time)


@entry
def pop(s: Core, k: int) -> int:
    """`pop_due` for Python callers."""
    return pop_due(s, k)


@entry
def first_at(s: Core, k: int) -> int:
    """`first_due_at` for Python callers."""
    return first_due_at(s, k)


@entry
def recount(s: Core) -> None:
    """`recount_due` for Python callers."""
    recount_due(s)


@pytest.fixture(scope="module")
def booted() -> Core:
    return new_simulation(study()).core


def empty(booted: Core, nr_pushed: int = 0) -> Core:
    """Heaps that are empty, one behind the other, nothing but zeros around them; so many blocks came before."""
    nr_due = HEAPS_BEGIN + NR_TASKS * NR_DUE_MAX + HEAPS_BEGIN
    core = booted._replace(due=np.zeros(nr_due, due_t), timed=np.zeros(nr_due, slot_t))
    for k in range(NR_TASKS):
        core.tasks[k].first_due = HEAPS_BEGIN + k * NR_DUE_MAX
        core.tasks[k].nr_due_max = NR_DUE_MAX
        core.tasks[k].nr_due = core.tasks[k].nr_due_most = 0
        core.tasks[k].nr_pushed = nr_pushed
    return core


# Whose heap, whether an entry is taken out, and the time of one that is put in; few times, so that many are equal.
actions = st.lists(st.tuples(st.integers(0, NR_TASKS - 1), st.booleans(), st.integers(0, 5)), max_size=NR_DUE_MAX)
# The number of the next block: those from which it grows into another of its fields, and the last that it can have.
before = st.sampled_from([0, (1 << SEQUENCE_LOW_BITS) - 5, SEQUENCES - NR_DUE_MAX])


@given(actions=actions, nr_pushed=before)
def test_blocks_come_out_by_time_and_in_the_order_of_allocation_as_they_do_of_a_heapq(
    booted: Core, actions: list[tuple[int, bool, int]], nr_pushed: int
) -> None:
    core = empty(booted, nr_pushed)
    expected: list[list[tuple[int, int, int]]] = [[] for _ in range(NR_TASKS)]  # time, number, slot
    for n, (k, takes, time) in enumerate(actions):
        if takes and expected[k]:
            assert pop(core, k) == heapq.heappop(expected[k])[-1]
        else:
            heapq.heappush(expected[k], (time, n, push(core, k, time)))
        for other in range(NR_TASKS):
            first = HEAPS_BEGIN + other * NR_DUE_MAX
            slots = [slot for _, _, slot in expected[other]]
            assert core.tasks[other].nr_due == len(slots) == len(set(slots))
            assert all(first <= slot < first + core.tasks[other].nr_due_most for slot in slots)
            assert first_at(core, other) == (expected[other][0][0] if expected[other] else NEVER)
    for k in range(NR_TASKS):
        assert [pop(core, k) for _ in range(len(expected[k]))] == [slot for _, _, slot in sorted(expected[k])]
    for ends in (core.due[:HEAPS_BEGIN], core.due[-HEAPS_BEGIN:]):
        assert not ends.view(np.uint8).any()


def test_the_order_does_not_depend_on_how_the_heap_was_built(booted: Core) -> None:
    rng = np.random.default_rng(1)
    times = [int(time) for time in rng.integers(0, 4, NR_DUE_MAX)]
    for _ in range(20):
        core = empty(booted)
        for _ in range(int(rng.integers(NR_DUE_MAX))):  # slots are in another order then
            push(core, 0, int(rng.integers(4)))
        while core.tasks[0].nr_due:
            pop(core, 0)
        slots = [push(core, 0, time) for time in times]
        in_order = sorted(range(NR_DUE_MAX), key=lambda n: (times[n], n))
        assert [pop(core, 0) for _ in times] == [slots[n] for n in in_order]


def test_slots_are_used_again_before_new_ones(booted: Core) -> None:
    core = empty(booted)
    first = [push(core, 0, time) for time in (5, 3, 4)]
    assert first == [HEAPS_BEGIN, HEAPS_BEGIN + 1, HEAPS_BEGIN + 2]
    assert [pop(core, 0), pop(core, 0)] == [first[1], first[2]]
    assert [push(core, 0, 9), push(core, 0, 9), push(core, 0, 9)] == [first[2], first[1], HEAPS_BEGIN + 3]
    assert core.tasks[0].nr_due_most == 4


def test_what_is_due_after_the_clock_s_end_is_never_due(booted: Core) -> None:
    core = empty(booted, SEQUENCES - 3)
    late, on_time, later = (push(core, 0, time) for time in (NEVER + 5, NEVER - 1, 1 << 60))
    assert first_at(core, 0) == NEVER - 1
    assert pop(core, 0) == on_time
    assert first_at(core, 0) == NEVER
    assert [pop(core, 0), pop(core, 0)] == [late, later]


def test_a_timed_block_takes_24_bytes() -> None:
    assert due_t.itemsize + slot_t.itemsize == 24


def test_the_holder_of_a_page_takes_4_bytes_and_what_a_folio_is_as_many() -> None:
    assert holder_t.itemsize == 8


def test_more_blocks_than_the_heap_was_made_for_are_refused(booted: Core) -> None:
    core = empty(booted)
    for n in range(NR_DUE_MAX):
        push(core, 0, n)
    with pytest.raises(AssertionError, match="more blocks wait to be freed"):
        push(core, 0, 0)
    assert first_at(core, 1) == NEVER


@pytest.mark.parametrize(
    ("how", "found"),
    [
        ("a later parent", "a block is due before its heap's parent"),
        ("a slot named twice", "a slot is named twice"),
        ("an empty slot", "the slot of a block that is due is empty"),
        ("too many", "a heap has more entries than slots"),
    ],
)
def test_a_recount_finds_a_heap_that_is_wrong(booted: Core, how: str, found: str) -> None:
    core = empty(booted)
    for time in (5, 3, 4, 1, 2):
        push(core, 0, time)
    recount(core)
    first = int(core.tasks[0].first_due)
    if how == "a later parent":
        core.due[first].key = int(core.due[first + 4].key) + 1
    elif how == "a slot named twice":
        core.due[first].slot = core.due[first + 1].slot
    elif how == "an empty slot":
        core.timed[first + 2].block = NO_BLOCK
    else:
        core.tasks[0].nr_due = 6
    with pytest.raises(AssertionError, match=found):
        recount(core)
