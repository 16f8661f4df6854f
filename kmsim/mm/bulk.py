"""Many order-0 pages at once (kernel: alloc_pages_bulk of mm/page_alloc.c).

Pages travel on the context's own list: `alloc_bulk_begin` leaves them there in the order in which the array API hands
them out. `alloc_bulk_resume` goes on, as `resume` of `mm.page_alloc` does; lock order as there. What is left to do with
the pages when it is done is there, too, in `after_lock`. Where the per-CPU lists are locked, a bulk request falls back
to one page. Leaves out memory cgroups and page_owner.
"""

from kmsim.jit import core, small
from kmsim.mm.gfp import ALLOC_WMARK_LOW, gfp_zone
from kmsim.mm.indices import ContextIdx, Gfp, Pfn, ZoneIdx
from kmsim.mm.ladder import BULK_TRIED, PAGES_DONE, REFILL, RUNG_BULK
from kmsim.mm.list import list_add_tail, list_empty
from kmsim.mm.locks import zone_lock
from kmsim.mm.mempolicy import MPOL_DEFAULT
from kmsim.mm.mmzone import NO_PAGE, NO_ZONE, PGALLOC, WMARK_LOW, Machine, pcp_index
from kmsim.mm.numastat import zone_statistics
from kmsim.mm.page_alloc import alloc_node_begin
from kmsim.mm.pageblock import gfp_migratetype
from kmsim.mm.pcp import goes_on_at_once, nr_pcp_alloc, order_to_pindex, pcp_take, rmqueue_bulk
from kmsim.mm.prep_new_page import is_to_be_zeroed
from kmsim.mm.slow_path import alloc_resume
from kmsim.mm.wants import DONE, has_got, want_lock, want_to_try
from kmsim.mm.watermark import wmark_pages, zone_watermark_fast
from kmsim.mm.zone_lines import read_count
from kmsim.mm.zonelist import first_zoneref, is_remote, next_zoneref, numa_node_id


@core
def alloc_bulk_begin(m: Machine, ac: ContextIdx, gfp: Gfp, nr_pages: int) -> int:
    """Start to allocate up to `nr_pages` pages; what does that want? (kernel: alloc_pages_bulk)

    When it is done, `nr_populated` pages are on the context's list.
    """
    assert nr_pages > 0
    context = m.contexts[ac]
    assert list_empty(m, context.page_list), "pages of an earlier request were not taken"
    context.nr_populated = 0
    context.nr_wanted = nr_pages
    zone = bulk_zone(m, ac, gfp, nr_pages) if nr_pages > 1 else NO_ZONE
    if zone == NO_ZONE:
        return bulk_single(m, ac, gfp)
    context.attempt = RUNG_BULK
    context.gfp = gfp
    context.order = 0
    context.to_check = 0
    context.to_zero = is_to_be_zeroed(m, gfp)
    context.zone = zone
    context.migratetype = gfp_migratetype(m, gfp)
    context.alloc_flags = ALLOC_WMARK_LOW
    context.pindex = order_to_pindex(context.migratetype, 0)
    if goes_on_at_once(m, ac, pcp_index(m, zone, context.cpu)):
        return bulk_take(m, ac)
    return want_to_try(m, ac, BULK_TRIED)


@core
def bulk_zone(m: Machine, ac: ContextIdx, gfp: Gfp, nr_pages: int) -> ZoneIdx:
    """The first zone of the node that stays above its low watermark, or NO_ZONE."""
    highest_zoneidx = gfp_zone(gfp)
    preferred_zoneref = first_zoneref(m, numa_node_id(m, m.contexts[ac].cpu), gfp, highest_zoneidx)
    m.contexts[ac].preferred_zoneref = preferred_zoneref
    m.contexts[ac].policy_used = MPOL_DEFAULT
    zoneref = preferred_zoneref
    zone = int(m.zonerefs[zoneref].zone)
    while zone != NO_ZONE and not is_remote(m, zone, preferred_zoneref):
        m.work[0].watermark_checks += 1
        read_count(m, ac, zone)
        mark = wmark_pages(m, zone, WMARK_LOW) + nr_pages
        # The kernel reads the reserve for the preferred zone's type here, not for the request's.
        if zone_watermark_fast(m, zone, 0, mark, m.zonerefs[preferred_zoneref].zone_type, ALLOC_WMARK_LOW):
            return zone
        zoneref = next_zoneref(m, zoneref, highest_zoneidx)
        zone = int(m.zonerefs[zoneref].zone)
    return NO_ZONE


@core
def bulk_take(m: Machine, ac: ContextIdx) -> int:
    """Take pages from the per-CPU list until there are enough, or it wants to be refilled."""
    context = m.contexts[ac]
    p = pcp_index(m, context.zone, context.cpu)
    while context.nr_populated < context.nr_wanted:
        pfn = pcp_take(m, ac, p, context.pindex, 0)
        if pfn == NO_PAGE:
            context.nr_pages = nr_pcp_alloc(m, context.zone, p, 0)
            context.stage = REFILL
            return want_lock(m, ac, zone_lock(context.zone))
        populate(m, ac, pfn)
    return bulk_done(m, ac)


@small
def populate(m: Machine, ac: ContextIdx, pfn: Pfn) -> None:
    """Hand a page to the caller's list."""
    m.pages[pfn].order = 0
    list_add_tail(m, ac, pfn, m.contexts[ac].page_list)
    m.contexts[ac].nr_populated += 1


@small
def bulk_done(m: Machine, ac: ContextIdx) -> int:
    """Count what a bulk request got, and end it."""
    context = m.contexts[ac]
    m.events[PGALLOC + m.zones[context.zone].zone_type] += context.nr_populated
    zone_statistics(m, ac, int(context.nr_populated))
    context.stage = PAGES_DONE
    return DONE


@core
def bulk_single(m: Machine, ac: ContextIdx, gfp: Gfp) -> int:
    """Fall back to one page, by the way that all other requests go."""
    wanted = alloc_node_begin(m, ac, gfp, 0, numa_node_id(m, m.contexts[ac].cpu))
    return wanted if wanted else bulk_collect_single(m, ac)


@small
def bulk_collect_single(m: Machine, ac: ContextIdx) -> int:
    """Put the one page, if there was one, on the caller's list."""
    if m.contexts[ac].pfn != NO_PAGE:
        populate(m, ac, int(m.contexts[ac].pfn))
    return DONE


@core
def alloc_bulk_resume(m: Machine, ac: ContextIdx) -> int:
    """What a bulk request wanted is granted: go on; what does it want now?"""
    context = m.contexts[ac]
    if context.attempt != RUNG_BULK:
        wanted = alloc_resume(m, ac)
        return wanted if wanted else bulk_collect_single(m, ac)
    if context.stage == BULK_TRIED:
        return bulk_take(m, ac) if has_got(m, ac) else bulk_single(m, ac, int(context.gfp))
    rmqueue_bulk(m, ac)
    pfn = pcp_take(m, ac, pcp_index(m, context.zone, context.cpu), context.pindex, 0)
    if pfn != NO_PAGE:
        populate(m, ac, pfn)
        return bulk_take(m, ac)
    return bulk_single(m, ac, context.gfp) if context.nr_populated == 0 else bulk_done(m, ac)
