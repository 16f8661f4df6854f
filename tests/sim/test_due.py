"""The heaps of blocks that are to be freed: against `heapq`, two tasks' heaps side by side."""

import heapq

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from kmsim.jit import entry
from kmsim.sim.due import first_due_at, pop_due, push_due
from kmsim.sim.records import NEVER, Core, due_t
from kmsim.sim.simulation import new_simulation
from tests.studies import study

NR_TASKS, NR_DUE_MAX = 2, 60
HEAPS_BEGIN = 3
Entry = tuple[int, int, int, int]  # time, block, request, detail


@entry
def push(s: Core, k: int, entry_of: Entry) -> None:
    """`push_due` for Python callers."""
    push_due(s, k, entry_of[0], entry_of[1], entry_of[2], entry_of[3])


@entry
def pop(s: Core, k: int) -> Entry:
    """`pop_due` for Python callers: what it has left behind the heap."""
    pop_due(s, k)
    out = s.due[s.tasks[k].first_due + s.tasks[k].nr_due]
    return int(out.time), int(out.block), int(out.request), int(out.detail)


@entry
def first_at(s: Core, k: int) -> int:
    """`first_due_at` for Python callers."""
    return first_due_at(s, k)


@pytest.fixture(scope="module")
def booted() -> Core:
    return new_simulation(study()).core


def empty(booted: Core) -> Core:
    """Heaps that are empty, one behind the other, nothing but zeros around them."""
    core = booted._replace(due=np.zeros(HEAPS_BEGIN + NR_TASKS * NR_DUE_MAX + HEAPS_BEGIN, due_t))
    for k in range(NR_TASKS):
        core.tasks[k].first_due = HEAPS_BEGIN + k * NR_DUE_MAX
        core.tasks[k].nr_due_max = NR_DUE_MAX
        core.tasks[k].nr_due = 0
    return core


# Whose heap, whether an entry is taken out, and the time of one that is put in; few times, so that many are equal.
actions = st.lists(st.tuples(st.integers(0, NR_TASKS - 1), st.booleans(), st.integers(0, 5)), max_size=NR_DUE_MAX)


@given(actions=actions, step=st.sampled_from([1, 17, 60]))
def test_blocks_come_out_by_time_and_number_as_they_do_of_a_heapq(
    booted: Core, actions: list[tuple[int, bool, int]], step: int
) -> None:
    core = empty(booted)
    expected: list[list[Entry]] = [[] for _ in range(NR_TASKS)]
    for n, (k, takes, time) in enumerate(actions):
        if takes and expected[k]:
            assert pop(core, k) == heapq.heappop(expected[k])
        else:
            # Blocks that rise, fall or jump about, some of one number, and then of one request too.
            block = (n + 1) * step % 61 >> 2
            entry_of = (time, block, n & 1, n)
            push(core, k, entry_of)
            heapq.heappush(expected[k], entry_of)
        for other in range(NR_TASKS):
            assert core.tasks[other].nr_due == len(expected[other])
            assert first_at(core, other) == (expected[other][0][0] if expected[other] else NEVER)
    for k in range(NR_TASKS):
        assert [pop(core, k) for _ in range(len(expected[k]))] == sorted(expected[k])
    assert not core.due[:HEAPS_BEGIN]["time"].any()
    assert not core.due[-HEAPS_BEGIN:]["time"].any()


def test_the_order_does_not_depend_on_how_the_heap_was_built(booted: Core) -> None:
    rng = np.random.default_rng(1)
    entries = [(int(time), block >> 3, block & 1, block) for block, time in enumerate(rng.integers(0, 4, NR_DUE_MAX))]
    for _ in range(20):
        core = empty(booted)
        for n in rng.permutation(NR_DUE_MAX):
            push(core, 0, entries[n])
        assert [pop(core, 0) for _ in entries] == sorted(entries)


def test_more_blocks_than_the_heap_was_made_for_are_refused(booted: Core) -> None:
    core = empty(booted)
    for n in range(NR_DUE_MAX):
        push(core, 0, (n, n, 0, 0))
    with pytest.raises(AssertionError, match="more blocks wait to be freed"):
        push(core, 0, (0, 0, 0, 0))
    assert first_at(core, 1) == NEVER
