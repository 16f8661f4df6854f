"""What a request does when its migratetype has no block left, up to Linux 6.9 (kernel: __rmqueue_fallback).

A policy (see `mm.kernels`), asked where `params.lists_by_pageblock` is off; the other one, with the same verb, is
`mm.fallback`, and `mm.rmqueue` chooses. One step moves pages to the lists of the wanted type, and the request then
takes the smallest block that it finds there:
    the largest block of another type. Where the request may take more than the block, all free pages of its
    pageblock move, and the pageblock changes its type, too, if it is at least half free or compatible; else
    the block alone moves, whole
    a movable request that finds a block too small for that searches again, from the smallest block on
Which rung served is not remembered.

Leaves out CMA, and that 5.10 moves whole pageblocks for a larger request, too, which they do not serve: the watermark
check lets no such request come here without a block that does. Invariant: a free page is on the list of the type that
it last got there for, which may be another than its pageblock's. Lock order: the caller holds the zone's lock. The
request (zone, order, migratetype, alloc_flags) is that of the context `ac`.
"""

from kmsim.jit import core, small
from kmsim.jit_policies import verb
from kmsim.mm.buddy import rmqueue_smallest
from kmsim.mm.fallback_types import boost_watermark, can_steal_fallback, find_suitable_fallback, nr_compatible
from kmsim.mm.gfp import ALLOC_KSWAPD, ALLOC_NOFRAGMENT
from kmsim.mm.indices import ContextIdx, Migratetype, Order, Pfn
from kmsim.mm.list import list_first
from kmsim.mm.mmzone import (
    EXTFRAG,
    MIGRATE_HIGHATOMIC,
    MIGRATE_MOVABLE,
    NO_MIGRATETYPE,
    NO_PAGE,
    RMQUEUE_NORMAL,
    ZONE_BOOSTED_WATERMARK,
    Machine,
)
from kmsim.mm.pageblock import (
    change_pageblock_range,
    free_list_head,
    list_block_move,
    move_freepages_from,
    pageblock_migratetype,
    set_pageblock_migratetype,
)

NO_ORDER = -1


@verb
@core
def rmqueue_fallback(m: Machine, ac: ContextIdx, mode: int) -> tuple[int, int]:
    """A block for the context's request, after pages of another type have moved to its own lists.

    Returns its pfn, or NO_PAGE, and the mode for the next request, which is always the same (kernel: __rmqueue).
    """
    context = m.contexts[ac]
    while move_to_own_lists(m, ac):
        pfn = rmqueue_smallest(m, ac, context.order, context.migratetype)
        if pfn != NO_PAGE:
            return pfn, RMQUEUE_NORMAL
    return NO_PAGE, mode


@core
def move_to_own_lists(m: Machine, ac: ContextIdx) -> bool:
    """Move free pages of another type to the lists of the request's; were there any? (kernel: __rmqueue_fallback)"""
    context = m.contexts[ac]
    z = int(context.zone)
    start_mt = int(context.migratetype)
    current_order = largest_fallback(m, ac)
    if current_order == NO_ORDER:
        return False
    may_steal = can_steal_fallback(m, current_order, start_mt)
    if not may_steal and start_mt == MIGRATE_MOVABLE and current_order > context.order:
        current_order = smallest_fallback(m, ac)
        may_steal = can_steal_fallback(m, current_order, start_mt)
    fallback_mt = find_suitable_fallback(m, z, current_order, start_mt)
    pfn = list_first(m, free_list_head(m, z, current_order, fallback_mt))
    steal_suitable_fallback(m, ac, pfn, current_order, may_steal)
    m.events[EXTFRAG] += 1
    return True


@small
def largest_fallback(m: Machine, ac: ContextIdx) -> int:
    """The largest order of which another type has a block for the request, or NO_ORDER."""
    context = m.contexts[ac]
    min_order = context.order
    if context.alloc_flags & ALLOC_NOFRAGMENT:
        min_order = max(min_order, m.params[0].pageblock_order)
    for current_order in range(m.params[0].max_page_order, min_order - 1, -1):
        if find_suitable_fallback(m, context.zone, current_order, context.migratetype) != NO_MIGRATETYPE:
            return current_order
    return NO_ORDER


@small
def smallest_fallback(m: Machine, ac: ContextIdx) -> Order:
    """The smallest sufficient order of which another type has a block; there is one."""
    context = m.contexts[ac]
    current_order = int(context.order)
    while find_suitable_fallback(m, context.zone, current_order, context.migratetype) == NO_MIGRATETYPE:
        current_order += 1
    return current_order


@core
def steal_suitable_fallback(m: Machine, ac: ContextIdx, pfn: Pfn, current_order: Order, may_steal: bool) -> None:
    """Move a free block, or all that is free of its pageblock, to the lists of the request's type.

    (kernel: steal_suitable_fallback)
    """
    context = m.contexts[ac]
    z = int(context.zone)
    start_mt = int(context.migratetype)
    block_mt = pageblock_migratetype(m, pfn)
    if block_mt == MIGRATE_HIGHATOMIC:
        list_block_move(m, ac, pfn, current_order, start_mt)
        return
    if current_order >= m.params[0].pageblock_order:
        change_pageblock_range(m, pfn, current_order, start_mt)
        list_block_move(m, ac, pfn, current_order, start_mt)
        return
    if boost_watermark(m, z) and context.alloc_flags & ALLOC_KSWAPD:
        m.zones[z].zone_flags |= ZONE_BOOSTED_WATERMARK
    nr_free = 0
    if may_steal:
        nr_free, nr_movable = move_freepages_from(m, ac, pfn, start_mt)
    if nr_free == 0:
        list_block_move(m, ac, pfn, current_order, start_mt)
        return
    change_type_if_worth(m, pfn, nr_free + nr_compatible(m, nr_free, nr_movable, block_mt, start_mt), start_mt)


@small
def change_type_if_worth(m: Machine, pfn: Pfn, nr_alike: int, start_mt: Migratetype) -> None:
    """Change a pageblock's type where half of its pages are free or of a compatible one."""
    pageblock_order = m.params[0].pageblock_order
    if nr_alike >= 1 << (pageblock_order - 1) or m.params[0].mobility_disabled != 0:
        set_pageblock_migratetype(m, pfn, start_mt)
