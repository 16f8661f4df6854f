"""The page allocator: requests, one critical section after the other (kernel: mm/page_alloc.c).

A request is a small chain of stages; a stage ends where a zone's lock is requested. `alloc_begin` and `free_begin` run
up to the first request (or to the end: most order-0 requests take no lock), `resume` runs the critical section that was
asked for and goes on to the next request or the end. Each returns what it wants (see `mm.wants`): a zone's lock, a try
at a per-CPU list's, the slow path, or nothing more; the caller grants that before it calls `resume`, and at the end it
calls `after_lock`. `mm.page_alone` does all of it at once, for a machine on which nothing else runs. A request that
tries its list's lock in vain goes to the zone.

Left out: the rest of the kernel's slow path (see `mm.slow_path`), memory cgroups, debug
checks other than `check_pages`. Lock order: a context's pcp lock, then one zone's lock.

To add a parameter or a policy of this allocator: the recipe is at the head of `mm.params`.
"""

from kmsim.jit import core, small
from kmsim.mm.buddy import account_taken, rmqueue_smallest, split_large_buddy
from kmsim.mm.cacheline import touch
from kmsim.mm.gfp import (
    ALLOC_HIGHATOMIC,
    ALLOC_NO_WATERMARKS,
    ALLOC_NON_BLOCK,
    ALLOC_OOM,
    ALLOC_WMARK_LOW,
    ALLOC_WMARK_MASK,
    GFP_KSWAPD_RECLAIM,
    gfp_to_alloc_flags,
    gfp_zone,
)
from kmsim.mm.highatomic import may_refill, may_reserve, reserve_highatomic_pageblock
from kmsim.mm.indices import ContextIdx, Gfp, NodeIdx, Order, Pfn, ZoneIdx, ZonerefIdx
from kmsim.mm.ladder import (
    ALLOC_TRIED,
    AT_SLOW_PATH,
    BUDDY,
    DRAIN_PCP,
    FREE_BUDDY,
    FREE_TRIED,
    PAGES_DONE,
    REFILL,
    RESERVE,
    RUNG_FAST,
    next_rung,
    no_page,
)
from kmsim.mm.locks import zone_lock
from kmsim.mm.mempolicy import request_zoneref
from kmsim.mm.mmzone import (
    MIGRATE_HIGHATOMIC,
    NEEDS_SLOW_PATH,
    NO_PAGE,
    NO_ZONE,
    NUMA_NO_NODE,
    PG_BUDDY,
    PG_PCP,
    PGALLOC,
    PGFREE,
    RMQUEUE_NORMAL,
    WMARK_HIGH,
    ZONE_BELOW_HIGH,
    ZONE_MOVABLE,
    Machine,
    pcp_index,
)
from kmsim.mm.numastat import zone_statistics
from kmsim.mm.pageblock import gfp_migratetype
from kmsim.mm.pcp import (
    free_pcppages_bulk,
    goes_on_at_once,
    note_alloc,
    nr_given_back,
    nr_pcp_alloc,
    nr_to_drain,
    order_to_pindex,
    pcp_allowed_order,
    pcp_put,
    pcp_take,
    rmqueue_bulk,
)
from kmsim.mm.prep_new_page import init_on_free, is_to_be_zeroed
from kmsim.mm.rmqueue import rmqueue
from kmsim.mm.tail_pages import free_tail_pages
from kmsim.mm.wants import DONE, SLOW_PATH, has_got, want_lock, want_to_try
from kmsim.mm.watermark import (
    wake_for_boost,
    wmark_pages,
    zone_watermark_fast,
    zone_watermark_ok,
)
from kmsim.mm.zone_lines import read_count, read_lists, write_lists
from kmsim.mm.zonelist import alloc_flags_nofragment, leaves_node, next_zoneref, page_zone


@small
def alloc_begin(m: Machine, ac: ContextIdx, gfp: Gfp, order: Order) -> int:
    """Start an allocation near the CPU, or by its thread's policy; what does it want? (kernel: alloc_pages)"""
    return alloc_node_begin(m, ac, gfp, order, NUMA_NO_NODE)


@small
def alloc_node_begin(m: Machine, ac: ContextIdx, gfp: Gfp, order: Order, preferred_nid: NodeIdx) -> int:
    """The same near a node, whatever the policy, if one is named (kernel: __alloc_pages).

    When it is done, `contexts[ac].pfn` is the block, or NO_PAGE.
    """
    return get_page_from_freelist(m, ac, set_out(m, ac, gfp, order, preferred_nid))


@small
def set_out(m: Machine, ac: ContextIdx, gfp: Gfp, order: Order, preferred_nid: NodeIdx) -> ZonerefIdx:
    """Write a new request into its context; returns the first zoneref to try (kernel: prepare_alloc_pages)."""
    assert 0 <= order <= m.params[0].max_page_order
    context = m.contexts[ac]
    context.gfp = gfp
    context.order = order
    context.migratetype = gfp_migratetype(m, gfp)
    context.highest_zoneidx = gfp_zone(gfp)
    preferred_zoneref = request_zoneref(m, ac, gfp, preferred_nid)
    context.preferred_zoneref = preferred_zoneref
    context.attempt = RUNG_FAST
    context.alloc_flags = ALLOC_WMARK_LOW | (gfp & GFP_KSWAPD_RECLAIM) | alloc_flags_nofragment(m, preferred_zoneref)
    if order and m.params[0].atomic_early:
        context.alloc_flags |= gfp_to_alloc_flags(gfp, order) & ALLOC_HIGHATOMIC
    context.to_check = 0
    context.to_zero = is_to_be_zeroed(m, gfp)
    return preferred_zoneref


@small
def get_page_from_freelist(m: Machine, ac: ContextIdx, zoneref: ZonerefIdx) -> int:
    """Try zone after zone from an entry of the zonelist on, rung after rung (kernel: get_page_from_freelist)."""
    context = m.contexts[ac]
    while True:
        zone = int(m.zonerefs[zoneref].zone)
        while zone != NO_ZONE and not leaves_node(m, ac, zone):
            if zone_allows(m, ac, zone):
                context.zoneref = zoneref
                return try_this_zone(m, ac, zone)
            zoneref = next_zoneref(m, zoneref, context.highest_zoneidx)
            zone = int(m.zonerefs[zoneref].zone)
        if not next_rung(m, ac):
            return SLOW_PATH if context.stage == AT_SLOW_PATH else DONE
        zoneref = int(context.preferred_zoneref)


@small
def zone_allows(m: Machine, ac: ContextIdx, z: ZoneIdx) -> bool:
    """Is the zone above the watermark of this rung? Also finds it to be below its high mark."""
    m.work[0].watermark_checks += 1
    context = m.contexts[ac]
    zone = m.zones[z]
    order = context.order
    read_count(m, ac, z)
    if order:
        read_lists(m, ac, z)
    alloc_flags = context.alloc_flags
    highest_zoneidx = context.highest_zoneidx
    if not zone.zone_flags & ZONE_BELOW_HIGH:
        mark = wmark_pages(m, z, WMARK_HIGH)
        if zone_watermark_fast(m, z, order, mark, highest_zoneidx, alloc_flags):
            return True
        zone.zone_flags |= ZONE_BELOW_HIGH
    if alloc_flags & ALLOC_NO_WATERMARKS:
        return True
    mark = wmark_pages(m, z, alloc_flags & ALLOC_WMARK_MASK)
    return zone_watermark_fast(m, z, order, mark, highest_zoneidx, alloc_flags)


@small
def try_this_zone(m: Machine, ac: ContextIdx, z: ZoneIdx) -> int:
    """Try the per-CPU list, or ask for the zone's lock (kernel: rmqueue)."""
    context = m.contexts[ac]
    context.zone = z
    if not pcp_allowed_order(m, context.order):
        return want_buddy(m, ac)
    if goes_on_at_once(m, ac, pcp_index(m, z, context.cpu)):
        return rmqueue_pcplist(m, ac, z)
    return want_to_try(m, ac, ALLOC_TRIED)


@small
def want_buddy(m: Machine, ac: ContextIdx) -> int:
    """The block is to come from the zone's free lists."""
    m.contexts[ac].stage = BUDDY
    return want_lock(m, ac, zone_lock(m.contexts[ac].zone))


@core
def alloc_tried(m: Machine, ac: ContextIdx) -> int:
    """The per-CPU list's lock was had, or not: take from it, or go to the zone."""
    return rmqueue_pcplist(m, ac, int(m.contexts[ac].zone)) if has_got(m, ac) else want_buddy(m, ac)


@small
def rmqueue_pcplist(m: Machine, ac: ContextIdx, z: ZoneIdx) -> int:
    """Take from the per-CPU list, whose lock is had; else want it to be refilled (kernel: rmqueue_pcplist)."""
    context = m.contexts[ac]
    order = context.order
    p = pcp_index(m, z, context.cpu)
    note_alloc(m, p)
    pindex = order_to_pindex(context.migratetype, order)
    pfn = pcp_take(m, ac, p, pindex, order)
    if pfn == NO_PAGE and not may_refill(m, ac):
        if m.params[0].atomic_early:
            nr_pcp_alloc(m, z, p, order)  # 7.3 asks how much to refill, by which the lists may grow, and then does not
        return want_buddy(m, ac)
    if pfn == NO_PAGE:
        context.pindex = pindex
        context.nr_pages = nr_pcp_alloc(m, z, p, order)
        context.stage = REFILL
        return want_lock(m, ac, zone_lock(z))
    return allocated(m, ac, pfn, True)


@small
def allocated(m: Machine, ac: ContextIdx, pfn: Pfn, from_pcp: bool) -> int:
    """The request has its block: the last things to do, one of which may want the lock.

    `from_pcp`: the block was on a per-CPU list.
    """
    hand_out(m, ac, pfn)
    wake_for_boost(m, ac)
    context = m.contexts[ac]
    if context.alloc_flags & ALLOC_HIGHATOMIC and may_reserve(m, ac, from_pcp):
        context.stage = RESERVE
        return want_lock(m, ac, zone_lock(context.zone))
    return DONE


@small
def hand_out(m: Machine, ac: ContextIdx, pfn: Pfn) -> None:
    """The request has its block: count it."""
    context = m.contexts[ac]
    m.events[PGALLOC + m.zones[context.zone].zone_type] += 1 << context.order
    zone_statistics(m, ac, 1)
    context.pfn = pfn
    m.pages[pfn].order = context.order
    context.stage = PAGES_DONE


@core
def resume(m: Machine, ac: ContextIdx) -> int:
    """What the request wanted is granted: run the critical section that it waits for; what does it want now?"""
    stage = m.contexts[ac].stage
    if stage == REFILL:
        return refill_locked(m, ac)
    if stage == BUDDY:
        return rmqueue_buddy(m, ac)
    if stage == DRAIN_PCP:
        return drain_locked(m, ac)
    if stage == FREE_BUDDY:
        return free_buddy_locked(m, ac)
    if stage == ALLOC_TRIED:
        return alloc_tried(m, ac)
    if stage == FREE_TRIED:
        return free_tried(m, ac)
    if stage == AT_SLOW_PATH:
        no_page(m, ac, NEEDS_SLOW_PATH)
        return DONE
    assert stage == RESERVE, "a context that waits for nothing"
    reserve_highatomic_pageblock(m, ac)
    m.contexts[ac].stage = PAGES_DONE
    return DONE


@small
def refill_locked(m: Machine, ac: ContextIdx) -> int:
    """Refill the per-CPU list and take its first block; else go on to the buddy allocator."""
    rmqueue_bulk(m, ac)
    context = m.contexts[ac]
    pfn = pcp_take(m, ac, pcp_index(m, context.zone, context.cpu), context.pindex, context.order)
    if pfn != NO_PAGE:
        return allocated(m, ac, pfn, True)
    if not m.params[0].high_order_lists:
        return try_next_zone(m, ac)
    return want_buddy(m, ac)


@small
def try_next_zone(m: Machine, ac: ContextIdx) -> int:
    """The zone had no block after all: go on to the next one."""
    context = m.contexts[ac]
    if context.order == 0 or not m.params[0].boost_wakes_all:
        wake_for_boost(m, ac)
    return get_page_from_freelist(m, ac, next_zoneref(m, context.zoneref, context.highest_zoneidx))


@small
def rmqueue_buddy(m: Machine, ac: ContextIdx) -> int:
    """Take a block from the zone's free lists; else go on to the next zone (kernel: rmqueue_buddy)."""
    context = m.contexts[ac]
    pfn = NO_PAGE
    if context.alloc_flags & ALLOC_HIGHATOMIC:
        pfn = rmqueue_smallest(m, ac, context.order, MIGRATE_HIGHATOMIC)
    if pfn == NO_PAGE:
        pfn, _ = rmqueue(m, ac, RMQUEUE_NORMAL)
    if pfn == NO_PAGE and context.alloc_flags & (ALLOC_OOM | ALLOC_NON_BLOCK):
        pfn = rmqueue_smallest(m, ac, context.order, MIGRATE_HIGHATOMIC)
    if pfn != NO_PAGE:
        account_taken(m, ac, 1 << context.order)
        write_lists(m, ac, 1)
        context.to_check = m.params[0].check_pages << context.order
        return allocated(m, ac, pfn, False)
    return try_next_zone(m, ac)


@small
def free_begin(m: Machine, ac: ContextIdx, pfn: Pfn, order: Order) -> int:
    """Start to free a block; what does that want? (kernel: free_unref_page)"""
    assert int(m.pages[pfn].page_flags) & (PG_BUDDY | PG_PCP) == 0, "double free"
    context = m.contexts[ac]
    z = page_zone(m, pfn)
    context.zone = z
    context.gfp = context.to_check = context.to_zero = 0
    context.order = order
    m.events[PGFREE] += 1 << order
    init_on_free(m, order)
    if order:
        free_tail_pages(m, ac, pfn, order)
    if not pcp_allowed_order(m, order):
        return free_to_zone(m, ac, pfn)
    if goes_on_at_once(m, ac, pcp_index(m, z, context.cpu)):
        return free_unref_page_commit(m, ac, z, pfn, order)
    context.to_free = pfn
    return want_to_try(m, ac, FREE_TRIED)


@small
def free_to_zone(m: Machine, ac: ContextIdx, pfn: Pfn) -> int:
    """The block is to go to the zone's free lists."""
    touch(m, ac, pfn)  # kernel: free_pages_prepare; of other blocks, `pcp_put` touches the page
    context = m.contexts[ac]
    context.pfn = pfn
    context.stage = FREE_BUDDY
    return want_lock(m, ac, zone_lock(context.zone))


@core
def free_tried(m: Machine, ac: ContextIdx) -> int:
    """The per-CPU list's lock was had, or not: put the block there, or go to the zone."""
    context = m.contexts[ac]
    pfn = int(context.to_free)
    context.to_free = 0
    if has_got(m, ac):
        return free_unref_page_commit(m, ac, int(context.zone), pfn, int(context.order))
    return free_to_zone(m, ac, pfn)


@small
def free_unref_page_commit(m: Machine, ac: ContextIdx, z: ZoneIdx, pfn: Pfn, order: Order) -> int:
    """Put the block on the per-CPU list, whose lock is had; a full one wants to be drained."""
    context = m.contexts[ac]
    p = pcp_index(m, z, context.cpu)
    pindex = pcp_put(m, ac, p, pfn, order)
    nr_pages = nr_to_drain(m, z, p, order)
    if nr_pages == 0:
        context.stage = PAGES_DONE
        return DONE
    context.pindex = pindex
    context.nr_pages = nr_pages
    context.stage = DRAIN_PCP
    return want_lock(m, ac, zone_lock(z))


@small
def free_buddy_locked(m: Machine, ac: ContextIdx) -> int:
    """Free a block that the per-CPU lists do not hold (kernel: free_one_page)."""
    context = m.contexts[ac]
    split_large_buddy(m, ac, context.pfn, context.order, False)
    write_lists(m, ac, 1)
    context.stage = PAGES_DONE
    return DONE


@small
def drain_locked(m: Machine, ac: ContextIdx) -> int:
    """Give pages of the per-CPU lists back, all at once or a batch, and see whether the zone has recovered."""
    context = m.contexts[ac]
    z = int(context.zone)
    p = pcp_index(m, z, context.cpu)
    nr_pages = nr_given_back(m, p, int(context.nr_pages))
    free_pcppages_bulk(m, ac, p, nr_pages, context.pindex)
    context.nr_pages -= nr_pages
    if context.nr_pages > 0 and m.pcps[p].count > 0:
        return want_lock(m, ac, zone_lock(z))
    zone = m.zones[z]
    if zone.zone_flags & ZONE_BELOW_HIGH:
        mark = wmark_pages(m, z, WMARK_HIGH)
        if zone_watermark_ok(m, z, 0, mark, ZONE_MOVABLE, 0, max(zone.nr_free_pages, 0)):
            zone.zone_flags &= ~ZONE_BELOW_HIGH
    context.stage = PAGES_DONE
    return DONE
