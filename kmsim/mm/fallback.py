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

from kmsim.jit import core
from kmsim.jit_policies import verb
from kmsim.mm.buddy import del_page_from_free_list, expand, page_del_and_expand, rmqueue_smallest
from kmsim.mm.fallback_types import (
    boost_watermark,
    can_steal_fallback,
    find_suitable_fallback,
    nr_compatible,
)
from kmsim.mm.gfp import ALLOC_KSWAPD, ALLOC_NOFRAGMENT
from kmsim.mm.indices import ContextIdx, Migratetype, Order, Pfn
from kmsim.mm.list import list_first
from kmsim.mm.mmzone import (
    EXTFRAG,
    MIGRATE_HIGHATOMIC,
    NO_MIGRATETYPE,
    NO_PAGE,
    RMQUEUE_NORMAL,
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
