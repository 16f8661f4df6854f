"""Recount everything, and stop where two records disagree (slow: it looks at every page frame).

Checked: list links, list membership against page records, counts and NR_FREE_PAGES against lists,
no page frame covered twice, alignment, zone bounds, free pages on their pageblock's list, no two
free buddies left apart, per-CPU counts against their lists, touchers against CPUs.
"""

from kmsim.jit import core
from kmsim.mm.buddy import free_buddy_pfn
from kmsim.mm.indices import CpuIdx, Migratetype, Order, ZoneIdx
from kmsim.mm.list import list_first
from kmsim.mm.mmzone import (
    MIGRATE_HIGHATOMIC,
    MIGRATE_PCPTYPES,
    MIGRATE_TYPES,
    NO_PAGE,
    NR_PCP_LISTS,
    PCP_MT_SHIFT,
    PG_BUDDY,
    PG_PCP,
    Machine,
    pcp_index,
)
from kmsim.mm.pageblock import free_list_head, pageblock_migratetype
from kmsim.mm.pcp import pindex_to_order
from kmsim.mm.zonelist import page_zone

LOW_FLAGS = (1 << PCP_MT_SHIFT) - 1


@core
def validate(m: Machine) -> None:
    """Recount the machine; AssertionError names what is inconsistent."""
    nr_listed = 0
    for z in range(len(m.zones)):
        if m.zones[z].present_pages:
            nr_listed += recount_zone(m, z)
            for cpu in range(m.params[0].nr_cpus):
                nr_listed += recount_pcp(m, z, cpu)
    assert nr_listed == recount_frames(m), "a page says that it is free but is on no list"


@core
def recount_list(m: Machine, z: ZoneIdx, head: int, order: Order, page_flags: int) -> int:
    """How many blocks are on a list, each checked by itself."""
    nr_blocks = 0
    before = head
    pfn = list_first(m, head)
    while pfn != head:
        page = m.pages[pfn]
        assert 0 <= pfn < m.params[0].nr_frames, "a list runs into another list's head"
        assert int(page.prev) == before, "a list's links disagree"
        assert int(page.page_flags) & LOW_FLAGS == page_flags, "a page is on a list that its flags do not name"
        assert int(page.order) == order, "a block is on the list of another order"
        assert pfn & ((1 << order) - 1) == 0, "a block is not aligned to its size"
        assert page_zone(m, pfn) == z, "a block is on the list of another zone"
        assert m.zones[z].start_pfn <= pfn, "a block starts before its zone"
        assert pfn + (1 << order) <= m.zones[z].end_pfn, "a block ends behind its zone"
        nr_blocks += 1
        before = pfn
        pfn = int(page.next)
    assert int(m.pages[head].prev) == before, "a list's links disagree"
    return nr_blocks


@core
def recount_zone(m: Machine, z: ZoneIdx) -> int:
    """Check a zone's free lists and counters; the number of blocks on them."""
    zone = m.zones[z]
    nr_blocks = 0
    nr_pages = 0
    nr_highatomic = 0
    for order in range(m.params[0].max_page_order + 1):
        nr_of_order = 0
        for migratetype in range(MIGRATE_TYPES):
            head = free_list_head(m, z, order, migratetype)
            nr_of_type = recount_list(m, z, head, order, PG_BUDDY)
            check_blocks(m, z, head, order, migratetype)
            nr_of_order += nr_of_type
            if migratetype == MIGRATE_HIGHATOMIC:
                nr_highatomic += nr_of_type << order
        assert nr_of_order == zone.nr_free[order], "nr_free differs from the lists"
        nr_blocks += nr_of_order
        nr_pages += nr_of_order << order
    pending = 0
    for cpu in range(m.params[0].nr_cpus):
        pending += m.pcps[pcp_index(m, z, cpu)].vm_stat_diff
    assert zone.nr_free_pages + pending == nr_pages, "NR_FREE_PAGES differs from the lists"
    counted = zone.nr_free_highatomic if m.params[0].lists_by_pageblock else nr_highatomic
    assert counted == nr_highatomic, "nr_free_highatomic differs from the lists"
    assert nr_pages <= zone.managed_pages, "more pages are free than are managed"
    return nr_blocks


@core
def check_blocks(m: Machine, z: ZoneIdx, head: int, order: Order, migratetype: Migratetype) -> None:
    """Check the blocks of a free list against their pageblocks and their buddies."""
    pfn = list_first(m, head)
    while pfn != head:
        if m.params[0].lists_by_pageblock and not m.params[0].mobility_disabled:
            last = pfn + (1 << order) - 1
            assert pageblock_migratetype(m, pfn) == migratetype, "on the list of another migratetype"
            assert pageblock_migratetype(m, last) == migratetype, "on the list of another migratetype"
        if order < m.params[0].max_page_order:
            buddy_pfn = free_buddy_pfn(m, z, pfn, order)
            if buddy_pfn != NO_PAGE:
                buddy_mt = pageblock_migratetype(m, buddy_pfn)
                kept_apart = may_stay_apart(m, migratetype, buddy_mt)
                assert kept_apart, "two free buddies left apart"
                assert order >= m.params[0].pageblock_order, "two types in one pageblock"
        pfn = int(m.pages[pfn].next)


@core
def may_stay_apart(m: Machine, migratetype: Migratetype, buddy_mt: Migratetype) -> bool:
    """May two free buddies of a pageblock or more stay apart?"""
    if m.params[0].merges_reserved:
        return False
    return migratetype >= MIGRATE_PCPTYPES or buddy_mt >= MIGRATE_PCPTYPES


@core
def recount_pcp(m: Machine, z: ZoneIdx, cpu: CpuIdx) -> int:
    """Check a CPU's lists of a zone; the number of blocks on them."""
    pcp = m.pcps[pcp_index(m, z, cpu)]
    nr_blocks = 0
    nr_pages = 0
    for pindex in range(NR_PCP_LISTS):
        order = pindex_to_order(pindex, int(m.params[0].pmd_order))
        nr_of_list = recount_list(m, z, int(pcp.lists) + pindex, order, PG_PCP)
        nr_blocks += nr_of_list
        nr_pages += nr_of_list << order
    assert nr_pages == pcp.count, "pcp count differs from its lists"
    return nr_blocks


@core
def recount_frames(m: Machine) -> int:
    """How many blocks the page records themselves show, none inside another."""
    nr_blocks = 0
    covered_to = 0
    for pfn in range(m.params[0].nr_frames):
        assert int(m.pages[pfn].toucher) <= m.params[0].nr_cpus, "a page was touched by a CPU that is not there"
        if int(m.pages[pfn].page_flags) & (PG_BUDDY | PG_PCP):
            assert pfn >= covered_to, "a page is in two blocks at once"
            covered_to = pfn + (1 << int(m.pages[pfn].order))
            nr_blocks += 1
    return nr_blocks
