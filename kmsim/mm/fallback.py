"""What a request does when its migratetype has no block left (kernel: mm/page_alloc.c).

A policy (see `mm.kernels`), which `mm.rmqueue` asks. Its ladder, the least fragmenting rung first:
    CLAIM   the largest block of another type; if it is a pageblock or more, or if the pageblock is
            at least half free or compatible, the whole pageblock changes its type
    STEAL   the smallest block of another type, whose pageblock keeps its type
The rung that served is remembered while one hold of the lock fills a per-CPU list: after a STEAL, the
next request of that hold begins there; after a CLAIM, with its own type.

Leaves out CMA. Invariant: a free page is always on the list of its pageblock's type, whatever rung
served. Lock order: the caller holds the zone's lock.
The request (zone, order, migratetype, alloc_flags) is that of the context `ac`.
"""

from kmsim.jit import core, small
from kmsim.jit_policies import verb
from kmsim.mm.buddy import del_page_from_free_list, expand, page_del_and_expand, rmqueue_smallest
from kmsim.mm.gfp import ALLOC_KSWAPD, ALLOC_NOFRAGMENT
from kmsim.mm.indices import ContextIdx, Migratetype, Order, Pfn, ZoneIdx
from kmsim.mm.list import list_empty, list_first
from kmsim.mm.mmzone import (
    EXTFRAG,
    MIGRATE_HIGHATOMIC,
    MIGRATE_MOVABLE,
    MIGRATE_RECLAIMABLE,
    MIGRATE_UNMOVABLE,
    NO_MIGRATETYPE,
    NO_PAGE,
    RMQUEUE_NORMAL,
    WMARK_HIGH,
    ZONE_BOOSTED_WATERMARK,
    Machine,
)
from kmsim.mm.pageblock import (
    change_pageblock_range,
    count_free_and_movable,
    free_list_head,
    move_freepages_block,
    pageblock_migratetype,
    pageblock_start,
    zone_spans_pageblock,
)
from kmsim.mm.vmstat import account_freepages

RMQUEUE_STEAL = 2  # the mode after a steal; 1 would be that of a claim, which begins anew

# Which types a type falls back to, best first (kernel: fallbacks).
FALLBACKS = (
    (MIGRATE_RECLAIMABLE, MIGRATE_MOVABLE),  # for MIGRATE_UNMOVABLE
    (MIGRATE_RECLAIMABLE, MIGRATE_UNMOVABLE),  # for MIGRATE_MOVABLE
    (MIGRATE_UNMOVABLE, MIGRATE_MOVABLE),  # for MIGRATE_RECLAIMABLE
)


@verb
@core
def rmqueue_fallback(m: Machine, ac: ContextIdx, mode: int) -> tuple[int, int]:
    """A block of another type for the context's request, by the first rung at or below `mode` that has one.

    Returns its pfn, or NO_PAGE, and the mode for the next request under the same hold of the zone's lock,
    which the caller holds (kernel: __rmqueue).
    """
    if mode != RMQUEUE_STEAL:
        pfn = rmqueue_claim(m, ac)
        if pfn != NO_PAGE:
            return pfn, RMQUEUE_NORMAL
    if not m.contexts[ac].alloc_flags & ALLOC_NOFRAGMENT:
        pfn = rmqueue_steal(m, ac)
        if pfn != NO_PAGE:
            return pfn, RMQUEUE_STEAL
    return NO_PAGE, mode


@core
def rmqueue_claim(m: Machine, ac: ContextIdx) -> int:
    """The largest block of another type, with its whole pageblock if possible (kernel: __rmqueue_claim)."""
    context = m.contexts[ac]
    min_order = context.order
    if context.alloc_flags & ALLOC_NOFRAGMENT:
        min_order = max(min_order, m.params[0].pageblock_order)
    for current_order in range(m.params[0].max_page_order, min_order - 1, -1):
        fallback_mt = find_suitable_fallback(m, context.zone, current_order, context.migratetype)
        if fallback_mt == NO_MIGRATETYPE:
            continue
        if not can_steal_fallback(m, current_order, context.migratetype):
            break
        pfn = list_first(m, free_list_head(m, context.zone, current_order, fallback_mt))
        pfn = try_to_steal_block(m, ac, pfn, current_order)
        if pfn != NO_PAGE:
            m.events[EXTFRAG] += 1
            return pfn
    return NO_PAGE


@core
def rmqueue_steal(m: Machine, ac: ContextIdx) -> int:
    """The smallest block of another type; the rest of it keeps that type (kernel: __rmqueue_steal)."""
    context = m.contexts[ac]
    for current_order in range(context.order, m.params[0].max_page_order + 1):
        fallback_mt = find_suitable_fallback(m, context.zone, current_order, context.migratetype)
        if fallback_mt != NO_MIGRATETYPE:
            pfn = list_first(m, free_list_head(m, context.zone, current_order, fallback_mt))
            page_del_and_expand(m, ac, pfn, context.order, current_order, fallback_mt)
            m.events[EXTFRAG] += 1
            return pfn
    return NO_PAGE


@core
def find_suitable_fallback(m: Machine, z: ZoneIdx, order: Order, migratetype: Migratetype) -> Migratetype:
    """The best other type with a block of this order, or NO_MIGRATETYPE (kernel: find_suitable_fallback)."""
    if m.zones[z].nr_free[order] == 0:
        return NO_MIGRATETYPE
    for fallback_mt in FALLBACKS[migratetype]:
        if not list_empty(m, free_list_head(m, z, order, fallback_mt)):
            return fallback_mt
    return NO_MIGRATETYPE


@small
def can_steal_fallback(m: Machine, order: Order, start_mt: Migratetype) -> bool:
    """May more than the block itself be taken? (kernel: can_steal_fallback)"""
    return (
        order >= m.params[0].pageblock_order // 2
        or start_mt in (MIGRATE_RECLAIMABLE, MIGRATE_UNMOVABLE)
        or m.params[0].mobility_disabled != 0
    )


@core
def boost_watermark(m: Machine, z: ZoneIdx) -> bool:
    """Raise the zone's watermarks by a pageblock, up to a limit (kernel: boost_watermark)."""
    zone = m.zones[z]
    factor = m.params[0].watermark_boost_factor
    pageblock_nr_pages = 1 << m.params[0].pageblock_order
    if not factor or pageblock_nr_pages * 4 > zone.managed_pages:
        return False
    high = zone.watermark[WMARK_HIGH]
    max_boost = high // 10000 * factor + high % 10000 * factor // 10000
    if not max_boost:
        return False
    zone.watermark_boost = min(zone.watermark_boost + pageblock_nr_pages, max(pageblock_nr_pages, max_boost))
    return True


@core
def try_to_steal_block(m: Machine, ac: ContextIdx, pfn: Pfn, current_order: Order) -> int:
    """Claim the pageblock(s) of a free block of another type, if that is worth it (kernel: try_to_steal_block).

    Returns a block of the context's order, or NO_PAGE where the pageblock holds too much of the other type.
    """
    context = m.contexts[ac]
    z = int(context.zone)
    start_mt = int(context.migratetype)
    block_mt = pageblock_migratetype(m, pfn)
    if block_mt == MIGRATE_HIGHATOMIC:
        return NO_PAGE
    if current_order >= m.params[0].pageblock_order:
        del_page_from_free_list(m, ac, pfn, current_order)
        account_freepages(m, ac, -(1 << current_order), block_mt)
        change_pageblock_range(m, pfn, current_order, start_mt)
        nr_added = expand(m, ac, pfn, context.order, current_order, start_mt)
        account_freepages(m, ac, nr_added, start_mt)
        return pfn
    if boost_watermark(m, z) and context.alloc_flags & ALLOC_KSWAPD:
        m.zones[z].zone_flags |= ZONE_BOOSTED_WATERMARK
    start_pfn = pageblock_start(m, pfn)
    if not zone_spans_pageblock(m, z, start_pfn) or not is_worth_claiming(m, start_pfn, block_mt, start_mt):
        return NO_PAGE
    move_freepages_block(m, ac, start_pfn, block_mt, start_mt)
    return rmqueue_smallest(m, ac, context.order, start_mt)


@core
def is_worth_claiming(m: Machine, start_pfn: Pfn, block_mt: Migratetype, start_mt: Migratetype) -> bool:
    """Is at least half of the pageblock free or of a compatible type? (kernel: try_to_steal_block)"""
    nr_free, nr_movable = count_free_and_movable(m, start_pfn)
    nr_alike = nr_free + nr_compatible(m, nr_free, nr_movable, block_mt, start_mt)
    return bool(nr_alike >= 1 << (m.params[0].pageblock_order - 1) or m.params[0].mobility_disabled != 0)


@small
def nr_compatible(m: Machine, nr_free: int, nr_movable: int, block_mt: Migratetype, start_mt: Migratetype) -> int:
    """How many allocated pages of a pageblock may be of the request's type."""
    if start_mt == MIGRATE_MOVABLE:
        return nr_movable
    if block_mt == MIGRATE_MOVABLE:
        return (1 << int(m.params[0].pageblock_order)) - (nr_free + nr_movable)
    return 0  # unmovable and reclaimable cannot be told apart here
