"""Which per-CPU list a request holds while it waits for a zone's lock, and in the critical section."""

import pytest

from kmsim.jit import entry
from kmsim.mm.gfp import parse_gfp
from kmsim.mm.ladder import DRAIN_PCP
from kmsim.mm.mm_init import PfnRange
from kmsim.mm.mmzone import NO_PAGE, NO_PCP, ZONE_DMA, ZONE_DMA32, Machine, pcp_index
from kmsim.mm.page_chain import chain_free_begin, chain_free_resume
from kmsim.mm.pcp import pcp_lock_holder
from kmsim.mm.pcp_held import hold_while_waiting, let_go
from kmsim.mm.wants import DONE, LOCK

from . import drivers
from .machines import plain_machine

CPU = 1
GFPS = {ZONE_DMA: parse_gfp("GFP_KERNEL | __GFP_DMA"), ZONE_DMA32: parse_gfp("GFP_KERNEL | __GFP_DMA32")}


@entry
def begin_free(m: Machine, ac: int, first_pfn: int) -> int:
    """Start to free a chain; what does that want?"""
    wants = chain_free_begin(m, ac, first_pfn)
    hold_while_waiting(m, ac, wants)
    return wants


@entry
def go_on(m: Machine, ac: int, wants: int) -> int:
    """The stage is over, and the lock that it wants is granted; what does the next one want?"""
    let_go(m, ac, wants)
    wants = chain_free_resume(m, ac)
    hold_while_waiting(m, ac, wants)
    return wants


@entry
def end(m: Machine, ac: int) -> None:
    """The last stage is over."""
    let_go(m, ac, DONE)


@entry
def holder(m: Machine, zone: int, cpu: int) -> int:
    """The CPU that holds the lock of a CPU's lists of a zone, or -1."""
    return pcp_lock_holder(m, pcp_index(m, zone, cpu))


def chain_of(m: Machine, zones: tuple[int, ...]) -> int:
    """Chained pages, one of each of these zones, that fill their lists when they are freed: the first of them."""
    pfns = [drivers.alloc(m, CPU, GFPS[zone], 0) for zone in zones]
    m.pcps["high_min"] = m.pcps["count"] + 1
    m.pcps["batch"] = m.pcps["high_min"] + 1  # so that a drain gives one page back
    for pfn, following in zip(pfns, [*pfns[1:], NO_PAGE], strict=True):
        m.pages[pfn].next = following
    return pfns[0]


@pytest.mark.slow
@pytest.mark.parametrize("zones", [(ZONE_DMA, ZONE_DMA32), (ZONE_DMA32, ZONE_DMA)])
def test_a_drain_that_follows_one_of_another_zone_leaves_no_list_locked(zones: tuple[int, int]) -> None:
    m = plain_machine(arch="x86-64", auto_tune=False, ram=(PfnRange(0, 16384),))
    first, second = zones
    wants = begin_free(m, CPU, chain_of(m, zones))
    assert (wants, m.contexts[CPU].stage, m.contexts[CPU].zone) == (LOCK, DRAIN_PCP, first)
    assert [holder(m, zone, CPU) for zone in zones] == [CPU, -1]
    wants = go_on(m, CPU, wants)
    assert (wants, m.contexts[CPU].stage, m.contexts[CPU].zone) == (LOCK, DRAIN_PCP, second)
    assert [holder(m, zone, CPU) for zone in zones] == [-1, CPU]
    assert go_on(m, CPU, wants) == DONE
    assert holder(m, second, CPU) == CPU  # to the end of the critical section
    end(m, CPU)
    assert not m.pcps["locked"].any()
    assert m.contexts[CPU].held_pcp == NO_PCP
    drivers.recount(m)


def test_the_page_after_a_drain_goes_to_the_list_that_its_request_still_holds() -> None:
    m = plain_machine(arch="x86-64", auto_tune=False, ram=(PfnRange(0, 16384),))
    wants = begin_free(m, CPU, chain_of(m, (ZONE_DMA32, ZONE_DMA32, ZONE_DMA32)))
    stages = []
    while wants != DONE:
        stages.append((wants, int(m.contexts[CPU].stage)))
        wants = go_on(m, CPU, wants)
    assert stages == [(LOCK, DRAIN_PCP)] * 3  # none of them goes to the zone (FREE_BUDDY)
    end(m, CPU)
    drivers.recount(m)
