"""Pageblocks kept for high-order requests that cannot wait (kernel: MIGRATE_HIGHATOMIC).

A policy (see `mm.kernels`). When a GFP_ATOMIC request of order > 0 is served below the low watermark, its pageblock
becomes highatomic (where `params.reserves_at_min` is on, if it was taken from the zone at the min mark), until about
1 % of the zone is (where `params.highatomic_to_the_page` is off, that and up to a
pageblock more, of small zones, too). Only such requests, and a last resort of order-0
atomic ones, may then use it. A request that reclaimed in vain gives one back (`mm.slow_path`). How much of it counts
as free, `mm.watermark` says.
Lock order: the caller holds the zone's lock, but for `may_refill` and `may_reserve`.
Invariant: nr_reserved_highatomic is the pages of those blocks.
"""

from kmsim.jit import core, small
from kmsim.jit_policies import verb
from kmsim.mm.gfp import ALLOC_HIGHATOMIC, ALLOC_WMARK_MASK, ALLOC_WMARK_MIN
from kmsim.mm.indices import ContextIdx, ZoneIdx
from kmsim.mm.list import list_add_tail, list_del, list_first
from kmsim.mm.mmzone import MIGRATE_HIGHATOMIC, MIGRATE_PCPTYPES, Machine
from kmsim.mm.pageblock import (
    change_pageblock_range,
    free_list_head,
    move_freepages_block,
    move_freepages_from,
    pageblock_migratetype,
    pageblock_start,
    set_pageblock_migratetype,
    zone_spans_pageblock,
)
from kmsim.mm.vmstat import account_freepages


@verb
@small
def may_refill(m: Machine, ac: ContextIdx) -> bool:
    """May an empty per-CPU list be refilled for the context's request, or does that take its block from the zone?

    The context has its zone, order and alloc_flags. It is asked without the zone's lock, and changes nothing. With
    `params.atomic_early` a refill would leave ALLOC_HIGHATOMIC nothing to reserve (kernel: __rmqueue_pcplist).
    """
    return not (m.params[0].atomic_early and m.contexts[ac].alloc_flags & ALLOC_HIGHATOMIC)


@verb
@small
def may_reserve(m: Machine, ac: ContextIdx, from_pcp: bool) -> bool:
    """May the pageblock of the block that the context has just got become highatomic?

    The context has its zone, pfn, order and alloc_flags; `from_pcp`: the block was on a per-CPU list. It is asked of
    requests with ALLOC_HIGHATOMIC alone, without the zone's lock, and changes nothing.
    """
    if m.params[0].reserves_at_min:  # kernel: rmqueue_buddy
        at_min = m.contexts[ac].alloc_flags & ALLOC_WMARK_MASK == ALLOC_WMARK_MIN
        return not from_pcp and at_min and has_room(m, int(m.contexts[ac].zone))
    return has_room(m, int(m.contexts[ac].zone))


@small
def has_room(m: Machine, z: ZoneIdx) -> bool:
    """Is the zone large enough, and its reserve not yet full? (kernel: reserve_highatomic_pageblock)"""
    one_percent = m.zones[z].managed_pages // 100
    pageblock_nr_pages = 1 << m.params[0].pageblock_order
    if not m.params[0].highatomic_to_the_page:
        return bool(m.zones[z].nr_reserved_highatomic < one_percent + pageblock_nr_pages)
    if one_percent < pageblock_nr_pages:
        return False
    limit = (one_percent + pageblock_nr_pages - 1) & ~(pageblock_nr_pages - 1)
    return bool(m.zones[z].nr_reserved_highatomic < limit)


@verb
@core
def reserve_highatomic_pageblock(m: Machine, ac: ContextIdx) -> None:
    """Reserve the pageblock(s) of the block that the context has just got (kernel: reserve_highatomic_pageblock)."""
    context = m.contexts[ac]
    z = int(context.zone)
    pfn = int(context.pfn)
    order = int(context.order)
    migratetype = pageblock_migratetype(m, pfn)
    if not has_room(m, z) or migratetype >= MIGRATE_PCPTYPES:
        return
    pageblock_order = m.params[0].pageblock_order
    if not m.params[0].lists_by_pageblock:
        set_pageblock_migratetype(m, pfn, MIGRATE_HIGHATOMIC)
        move_freepages_from(m, ac, pfn, MIGRATE_HIGHATOMIC)
        m.zones[z].nr_reserved_highatomic += 1 << pageblock_order
        return
    if order >= pageblock_order:
        change_pageblock_range(m, pfn, order, MIGRATE_HIGHATOMIC)
        m.zones[z].nr_reserved_highatomic += 1 << order
        return
    start_pfn = pageblock_start(m, pfn)
    if zone_spans_pageblock(m, z, start_pfn):
        move_freepages_block(m, ac, start_pfn, migratetype, MIGRATE_HIGHATOMIC)
        m.zones[z].nr_reserved_highatomic += 1 << pageblock_order


@verb
@core
def unreserve_highatomic_pageblock(m: Machine, ac: ContextIdx, z: ZoneIdx, force: bool) -> bool:
    """Give the pageblock(s) of the zone's smallest reserved free block to the request's type; was there one?

    One pageblock is kept, unless memory is really short (`force`). The context's zone is `z` then (kernel:
    unreserve_highatomic_pageblock).
    """
    if not m.params[0].lists_by_pageblock:
        return unreserve_what_moves(m, ac, z, force)
    kept = 0 if force else 1 << m.params[0].pageblock_order
    if m.zones[z].nr_reserved_highatomic <= kept:
        return False
    m.contexts[ac].zone = z
    zone = m.zones[z]
    pageblock_order = int(m.params[0].pageblock_order)
    migratetype = int(m.contexts[ac].migratetype)
    for order in range(m.params[0].max_page_order + 1):
        head = free_list_head(m, z, order, MIGRATE_HIGHATOMIC)
        pfn = list_first(m, head)
        if pfn == head:
            continue
        zone.nr_reserved_highatomic -= min(1 << max(order, pageblock_order), zone.nr_reserved_highatomic)
        if order < pageblock_order:
            move_freepages_block(m, ac, pageblock_start(m, pfn), MIGRATE_HIGHATOMIC, migratetype)
        else:
            list_del(m, ac, pfn)
            list_add_tail(m, ac, pfn, free_list_head(m, z, order, migratetype))
            account_freepages(m, ac, -(1 << order), MIGRATE_HIGHATOMIC)
            account_freepages(m, ac, 1 << order, migratetype)
            change_pageblock_range(m, pfn, order, migratetype)
        return True
    return False


@core
def unreserve_what_moves(m: Machine, ac: ContextIdx, z: ZoneIdx, force: bool) -> bool:
    """The same up to Linux 6.9: the first pageblock whose free pages can move; was there one?

    A block on a highatomic list may lie in a pageblock that is not reserved any more.
    """
    zone = m.zones[z]
    pageblock_nr_pages = 1 << int(m.params[0].pageblock_order)
    if not force and zone.nr_reserved_highatomic <= pageblock_nr_pages:
        return False
    m.contexts[ac].zone = z
    migratetype = int(m.contexts[ac].migratetype)
    for order in range(m.params[0].max_page_order + 1):
        head = free_list_head(m, z, order, MIGRATE_HIGHATOMIC)
        pfn = list_first(m, head)
        if pfn == head:
            continue
        if pageblock_migratetype(m, pfn) == MIGRATE_HIGHATOMIC:
            zone.nr_reserved_highatomic -= min(pageblock_nr_pages, zone.nr_reserved_highatomic)
        set_pageblock_migratetype(m, pfn, migratetype)
        nr_moved, _ = move_freepages_from(m, ac, pfn, migratetype)
        if nr_moved:
            return True
    return False
