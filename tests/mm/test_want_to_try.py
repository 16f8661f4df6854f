"""A try at a per-CPU list's lock is a want like others; where nobody holds the list, a request may go on in one piece.

The two come to the same, bit for bit: two machines, one of which wants each try (`params.stepwise`).
"""

import random

import numpy as np
import pytest

from kmsim.jit import entry
from kmsim.mm.gfp import parse_gfp
from kmsim.mm.ladder import ALLOC_TRIED, BUDDY, FREE_BUDDY, FREE_TRIED, PAGES_DONE
from kmsim.mm.mmzone import NO_PAGE, NUMA_NO_NODE, PG_PCP, ZONE_DMA, Machine, pcp_index
from kmsim.mm.page_alloc import alloc_begin, free_begin, resume
from kmsim.mm.page_chain import chain_alloc_begin, chain_free_begin, chain_free_resume
from kmsim.mm.page_exact import exact_alloc_begin, exact_free_begin, exact_resume
from kmsim.mm.page_request import bulk_resume, then_prepared
from kmsim.mm.pcp import lock_pcp, unlock_pcp
from kmsim.mm.pcp_held import answer_try
from kmsim.mm.prep_new_page import after_lock
from kmsim.mm.wants import DONE, GOT, LOCK, NOT_TRIED, REFUSED, TRY_LOCK

from . import drivers
from .machines import plain_machine

pytestmark = pytest.mark.slow  # what they need is compiled for them alone

BLOCK, CHAIN, EXACT = range(3)
CPU, OTHER_CPU = 0, 1
GFPS = tuple(
    parse_gfp(name) for name in ("GFP_KERNEL", "GFP_HIGHUSER_MOVABLE", "GFP_ATOMIC", "GFP_KERNEL | __GFP_ZERO")
)
NR_OPERATIONS = 3000
MOST_HELD = 60  # blocks and chains
SHARE_LOCKED = 0.2  # of operations that find the list's lock taken


@entry
def alloc(m: Machine, what: int, gfp: int, size: int) -> int:
    """A block of an order, a chain of pages, or exact bytes; how many tries that wanted."""
    if what == BLOCK:
        wanted = alloc_begin(m, CPU, gfp, size)
    elif what == CHAIN:
        wanted = then_prepared(m, CPU, chain_alloc_begin(m, CPU, gfp, size))
    else:
        wanted = exact_alloc_begin(m, CPU, gfp, size, NUMA_NO_NODE)
    nr_tries = 0
    while wanted:
        nr_tries += wanted == TRY_LOCK
        answer_try(m, CPU, wanted)
        if what == BLOCK:
            wanted = resume(m, CPU)
        else:
            wanted = bulk_resume(m, CPU) if what == CHAIN else exact_resume(m, CPU)
    if what == BLOCK:
        after_lock(m, CPU)
    return nr_tries


@entry
def free(m: Machine, what: int, pfn: int, size: int) -> int:
    """Free one of these; how many tries that wanted."""
    if what == BLOCK:
        wanted = free_begin(m, CPU, pfn, size)
    else:
        wanted = chain_free_begin(m, CPU, pfn) if what == CHAIN else exact_free_begin(m, CPU, pfn, size)
    nr_tries = 0
    while wanted:
        nr_tries += wanted == TRY_LOCK
        answer_try(m, CPU, wanted)
        if what == BLOCK:
            wanted = resume(m, CPU)
        else:
            wanted = chain_free_resume(m, CPU) if what == CHAIN else exact_resume(m, CPU)
    return nr_tries


@entry
def begin_alloc(m: Machine, gfp: int) -> int:
    """Begin to allocate a page; what does that want?"""
    return alloc_begin(m, CPU, gfp, 0)


@entry
def begin_free(m: Machine, pfn: int) -> int:
    """Begin to free a page; what does that want?"""
    return free_begin(m, CPU, pfn, 0)


@entry
def go_on(m: Machine, wanted: int) -> int:
    """Answer a try, if that is wanted, and go on; what is wanted now?"""
    answer_try(m, CPU, wanted)
    return resume(m, CPU)


@entry
def lock_list(m: Machine, zone: int, locked: bool) -> None:
    """Let somebody else take the lock of the CPU's lists of a zone, or let go of it."""
    if locked:
        lock_pcp(m, pcp_index(m, zone, CPU), OTHER_CPU)
    else:
        unlock_pcp(m, pcp_index(m, zone, CPU))


def machine(*, stepwise: bool, filled: bool = False) -> Machine:
    """A machine, with pages on the CPU's list or without."""
    m = plain_machine(stepwise=stepwise)
    if filled:
        free(m, BLOCK, allocated(m, GFPS[0])[0], 0)
    return m


def allocated(m: Machine, gfp: int) -> tuple[int, int]:
    """A page, and how many tries it wanted."""
    nr_tries = alloc(m, BLOCK, gfp, 0)
    return int(m.contexts[CPU].pfn), nr_tries


def test_a_try_is_wanted_and_had() -> None:
    m = machine(stepwise=True, filled=True)
    assert begin_alloc(m, GFPS[0]) == TRY_LOCK
    assert m.contexts[CPU].stage == ALLOC_TRIED
    assert go_on(m, TRY_LOCK) == DONE
    pfn = int(m.contexts[CPU].pfn)
    assert begin_free(m, pfn) == TRY_LOCK
    assert m.contexts[CPU].stage == FREE_TRIED
    assert not m.pages[pfn].page_flags
    assert go_on(m, TRY_LOCK) == DONE
    assert m.pages[pfn].page_flags & PG_PCP
    assert (m.contexts[CPU].stage, m.contexts[CPU].tried) == (PAGES_DONE, NOT_TRIED)


@pytest.mark.parametrize("stepwise", [True, False])
def test_a_try_is_wanted_in_vain_where_somebody_holds_the_list(stepwise: bool) -> None:
    m = machine(stepwise=stepwise, filled=True)
    lock_list(m, ZONE_DMA, True)
    assert begin_alloc(m, GFPS[0]) == TRY_LOCK
    assert go_on(m, TRY_LOCK) == LOCK
    assert m.contexts[CPU].stage == BUDDY
    assert go_on(m, LOCK) == DONE
    pfn = int(m.contexts[CPU].pfn)
    assert begin_free(m, pfn) == TRY_LOCK
    assert go_on(m, TRY_LOCK) == LOCK
    assert m.contexts[CPU].stage == FREE_BUDDY
    assert m.contexts[CPU].tried == NOT_TRIED


def test_a_try_that_nobody_answers_is_in_vain() -> None:
    m = machine(stepwise=True, filled=True)
    assert begin_alloc(m, GFPS[0]) == TRY_LOCK
    assert go_on(m, DONE) == LOCK
    assert m.contexts[CPU].stage == BUDDY


def test_the_answer_is_whether_somebody_else_holds_the_list() -> None:
    m = machine(stepwise=True)
    for locked, answer in ((False, GOT), (True, REFUSED)):
        lock_list(m, ZONE_DMA, locked)
        m.contexts[CPU].zone = ZONE_DMA
        answer_try_of(m)
        assert m.contexts[CPU].tried == answer


@entry
def answer_try_of(m: Machine) -> None:
    """`answer_try`, for Python callers."""
    answer_try(m, CPU, TRY_LOCK)


def test_where_nobody_holds_the_list_a_request_may_go_on_in_one_piece() -> None:
    assert allocated(machine(stepwise=False, filled=True), GFPS[0])[1] == 0
    assert allocated(machine(stepwise=True, filled=True), GFPS[0])[1] == 1


def drawn(rng: random.Random) -> tuple[int, int]:
    """What to ask for: what, and how much of it."""
    what = rng.choice((BLOCK, BLOCK, CHAIN, EXACT))
    return what, (rng.choice((0, 0, 1, 3, 4)), rng.randint(1, 30), rng.randint(1, 9 << 12))[what]


@pytest.mark.parametrize("changes", [{}, {"high_order_lists": False, "auto_tune": False, "exact_tail_listed": True}])
def test_both_ways_come_to_the_same(changes: dict[str, bool]) -> None:
    rng = random.Random("want to try")
    both = [plain_machine(stepwise=stepwise, **changes) for stepwise in (False, True)]
    held: list[tuple[int, int, int]] = []
    tries = np.zeros(2, np.int64)
    for _ in range(NR_OPERATIONS):
        locked = rng.random() < SHARE_LOCKED
        for m in both:
            lock_list(m, ZONE_DMA, locked)
        if held and rng.random() < len(held) / MOST_HELD:
            block = held.pop(rng.randrange(len(held)))
            tries += [free(m, *block) for m in both]
        else:
            (what, size), gfp = drawn(rng), rng.choice(GFPS)
            tries += [alloc(m, what, gfp, size) for m in both]
            pfn = int(both[0].contexts[CPU].pfn)
            if pfn != NO_PAGE:
                held.append((what, pfn, size))
        assert same_but_the_mode(*both)
        assert not both[0].contexts["tried"].any()
    for m in both:
        lock_list(m, ZONE_DMA, False)
        drivers.recount(m)
    assert 0 < 2 * tries[0] < tries[1]


def same_but_the_mode(one: Machine, other: Machine) -> bool:
    """Are all records of both machines the same, but for what tells the two ways apart?"""
    names = [name for name in one._fields if isinstance(getattr(one, name), np.ndarray) and name != "params"]
    return all(np.array_equal(getattr(one, name), getattr(other, name)) for name in names)
