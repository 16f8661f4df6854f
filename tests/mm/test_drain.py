"""The order in which the lists of all CPUs are emptied (the rest of a drain: test_page_alloc_model, test_put_away)."""

import pytest

from kmsim.jit import entry
from kmsim.mm.drain import drain_all_begin, drain_all_resume
from kmsim.mm.gfp import parse_gfp
from kmsim.mm.ladder import DRAIN_PCP
from kmsim.mm.mm_init import PfnRange
from kmsim.mm.mmzone import ZONE_DMA, ZONE_DMA32, Machine, cpu_of_pcp, zone_of_pcp
from kmsim.mm.pcp_held import let_go
from kmsim.mm.wants import DONE

from . import drivers
from .machines import plain_machine

FIRST_PCP_LOCK = 1000
GFPS = {ZONE_DMA: parse_gfp("GFP_KERNEL | __GFP_DMA"), ZONE_DMA32: parse_gfp("GFP_KERNEL | __GFP_DMA32")}


@entry
def begin(m: Machine, ac: int) -> int:
    """Start to empty all lists; what does that want?"""
    return drain_all_begin(m, ac)


@entry
def go_on(m: Machine, ac: int) -> int:
    """What the drain wanted is granted, and its stage is over; what does it want now?"""
    wants = drain_all_resume(m, ac, FIRST_PCP_LOCK)
    let_go(m, ac, wants)
    return wants


@pytest.mark.slow
def test_lists_are_emptied_cpu_by_cpu_and_of_each_zone_after_zone() -> None:
    m = plain_machine(arch="x86-64", auto_tune=False, ram=(PfnRange(0, 16384),))
    lists_with_pages = [(cpu, zone) for cpu in range(int(m.params[0].nr_cpus)) for zone in GFPS]
    assert len(lists_with_pages) > 2
    for cpu, zone in lists_with_pages:
        drivers.free(m, cpu, drivers.alloc(m, cpu, GFPS[zone], 0), 0)
    emptied = []
    wants = begin(m, 0)
    while wants != DONE:
        if m.contexts[0].stage == DRAIN_PCP:
            p = int(m.contexts[0].pcp)
            lists = (cpu_of_pcp(m, p), zone_of_pcp(m, p))
            emptied += [] if lists in emptied else [lists]
        wants = go_on(m, 0)
    assert emptied == lists_with_pages
    assert not m.pcps["count"].any()
    drivers.recount(m)
