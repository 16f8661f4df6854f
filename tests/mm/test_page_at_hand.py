"""A page that is at hand, taken at once, against the ladder of decisions: two machines stay the same, bit for bit."""

import random

import numpy as np
import pytest

from kmsim.jit import entry
from kmsim.mm.gfp import GFP_FLAGS
from kmsim.mm.indices import ContextIdx, Gfp
from kmsim.mm.mm_init import PfnRange
from kmsim.mm.mmzone import NO_PAGE, Machine
from kmsim.mm.page_alloc import get_page_from_freelist, resume, set_out
from kmsim.mm.page_alone import alloc_pages, free_pages
from kmsim.mm.page_at_hand import is_at_hand, take_at_hand
from kmsim.mm.pcp import lock_pcp, unlock_pcp
from kmsim.mm.prep_new_page import after_lock
from kmsim.mm.zonelist import numa_node_id
from tests.mm.machines import plain_machine

GFPS = ("GFP_KERNEL", "GFP_HIGHUSER_MOVABLE", "GFP_ATOMIC", "GFP_USER", "GFP_NOWAIT", "__GFP_MEMALLOC", "__GFP_ZERO")
NR_OPERATIONS = 3000


@entry
def alloc_at_once(m: Machine, ac: ContextIdx, gfp: Gfp) -> bool:
    """One page, at once where it is at hand; was it?"""
    zoneref = set_out(m, ac, gfp, 0, numa_node_id(m, m.contexts[ac].cpu))
    at_hand = is_at_hand(m, ac, zoneref)
    if at_hand:
        take_at_hand(m, ac, zoneref)
    else:
        wanted = get_page_from_freelist(m, ac, zoneref)
        while wanted:
            wanted = resume(m, ac)
    after_lock(m, ac)
    return at_hand


@entry
def alloc_step_by_step(m: Machine, ac: ContextIdx, gfp: Gfp) -> int:
    """One page, by the ladder."""
    return alloc_pages(m, ac, gfp, 0)


@entry
def free_page(m: Machine, ac: ContextIdx, pfn: int) -> None:
    """Free one page."""
    free_pages(m, ac, pfn, 0)


@entry
def lock_lists(m: Machine, cpu: int, locked: bool) -> None:
    """Lock or unlock a CPU's lists of the first zone."""
    if locked:
        lock_pcp(m, cpu, cpu)
    else:
        unlock_pcp(m, cpu)


def same(one: Machine, other: Machine) -> bool:
    """Are all records of both machines the same?"""
    arrays = [name for name in one._fields if isinstance(getattr(one, name), np.ndarray)]
    return all(np.array_equal(getattr(one, name), getattr(other, name)) for name in arrays)


@pytest.mark.slow
@pytest.mark.parametrize("share_of_frees", [0.5, 0.2])  # as many as are held; and until memory is full
@pytest.mark.parametrize("auto_tune", [True, False])
def test_what_is_at_hand_is_what_the_ladder_would_have_taken(share_of_frees: float, auto_tune: bool) -> None:
    rng = random.Random(int(10 * share_of_frees) + auto_tune)
    at_once, by_ladder = (plain_machine(ram=(PfnRange(0, 1024),), auto_tune=auto_tune, numa=True) for _ in range(2))
    held: list[int] = []
    nr_at_hand = nr_failed = 0
    for _ in range(NR_OPERATIONS):
        cpu = rng.randrange(2)
        if held and rng.random() < share_of_frees:
            pfn = held.pop(rng.randrange(len(held)))
            for m in (at_once, by_ladder):
                free_page(m, cpu, pfn)
        elif rng.random() < 0.05:
            locked = rng.random() < 0.5
            for m in (at_once, by_ladder):
                lock_lists(m, cpu, locked)
        else:
            gfp = GFP_FLAGS[rng.choice(GFPS)] | GFP_FLAGS["GFP_KERNEL"] * (rng.random() < 0.5)
            nr_at_hand += alloc_at_once(at_once, cpu, gfp)
            pfn = alloc_step_by_step(by_ladder, cpu, gfp)
            nr_failed += pfn == NO_PAGE
            if pfn != NO_PAGE:
                held.append(pfn)
        assert same(at_once, by_ladder)
    assert nr_at_hand > NR_OPERATIONS / 30
    assert (nr_failed > 0) == (share_of_frees == 0.2)
