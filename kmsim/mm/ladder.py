"""How far an allocation is: its rung, and what its context does next (kernel: __alloc_pages_slowpath up to reclaim).

The ladder of an allocation (each rung may want the lock):
    fast path   each zone above its low watermark: per-CPU list, refill, buddy; first without
                fallbacks that fragment, then with them
    adjusted    kswapd is woken, and each zone tried down to the reserves that the GFP flags allow
    retry       once more, as the kernel does; __GFP_MEMALLOC requests now ignore the watermarks
    fail        NOPAGE where the request may not reclaim, else NEEDS_SLOW_PATH
Requests that try compaction first (costly orders, non-movable ones above 0) need the slow path one rung earlier.
The slow path is wanted as a lock is. On a machine that can reclaim, `mm.slow_path` goes it, and walks through the zones
again as the rung RUNG_SLOW; elsewhere what follows it is a failure (`no_page`).
One without __GFP_DIRECT_RECLAIM, or of a task that reclaims already, ends where the kernel ends it, after two walks at
the min marks: nothing that is left out could serve it, so its failure is NOPAGE.

Leaves out the walks through the zones (`mm.page_alloc`) and what the slow path does (`mm.slow_path`). Invariant: a rung
is gone down once for each walk in vain. No locks.
"""

from kmsim.jit import core, small
from kmsim.mm.gfp import (
    ALLOC_NO_WATERMARKS,
    ALLOC_NOFRAGMENT,
    GFP_DIRECT_RECLAIM,
    GFP_IO,
    GFP_KSWAPD_RECLAIM,
    GFP_MEMALLOC,
    GFP_NOMEMALLOC,
)
from kmsim.mm.indices import ContextIdx
from kmsim.mm.mempolicy import forget_policy
from kmsim.mm.mmzone import (
    MIGRATE_MOVABLE,
    NO_PAGE,
    NO_ZONE,
    NOPAGE,
    PAGE_ALLOC_COSTLY_ORDER,
    Machine,
)
from kmsim.mm.watermark import alloc_flags_of, wake_all_kswapds

# What a context does next; PAGES_DONE: nothing.
PAGES_DONE, REFILL, BUDDY, RESERVE, FREE_BUDDY, DRAIN_PCP, AT_SLOW_PATH, PREP = range(8)  # PREP: see mm.page_request
ALLOC_TRIED, FREE_TRIED, BULK_TRIED = range(PREP + 1, PREP + 4)  # with the answer to a try at a list's lock
NR_STAGES = BULK_TRIED + 1
# How far down the ladder an allocation is.
RUNG_FAST, RUNG_ADJUSTED, RUNG_RETRY, RUNG_FAILED, RUNG_BULK, RUNG_SLOW = range(6)


@core
def next_rung(m: Machine, ac: ContextIdx) -> bool:
    """Every zone has refused: prepare the next rung; False where there is none, and the request fails or is slow."""
    context = m.contexts[ac]
    if context.alloc_flags & ALLOC_NOFRAGMENT:
        context.alloc_flags &= ~ALLOC_NOFRAGMENT
        return True
    if context.attempt == RUNG_SLOW:
        context.stage = AT_SLOW_PATH
        return False
    gfp = context.gfp
    context.attempt += 1
    if m.zonerefs[context.preferred_zoneref].zone == NO_ZONE:  # no zone could ever serve it: not even kswapd is woken
        no_page(m, ac, NOPAGE)
        return False
    if context.attempt == RUNG_ADJUSTED:
        context.alloc_flags = alloc_flags_of(m, gfp, context.order)
    elif context.attempt == RUNG_RETRY and not compacts_first(m, ac):
        if may_ignore_watermarks(m, ac):
            context.alloc_flags = ALLOC_NO_WATERMARKS | (gfp & GFP_KSWAPD_RECLAIM)
    else:
        if gfp & GFP_DIRECT_RECLAIM and (not context.pf_memalloc or compacts_first(m, ac)):
            context.stage = AT_SLOW_PATH
        else:
            no_page(m, ac, NOPAGE)
        return False
    if gfp & GFP_KSWAPD_RECLAIM:
        wake_all_kswapds(m, ac)
    if context.attempt == RUNG_RETRY:
        forget_policy(m, ac, may_ignore_watermarks(m, ac))
    return True


@small
def no_page(m: Machine, ac: ContextIdx, event: int) -> None:
    """The request has failed: count why, and end it."""
    context = m.contexts[ac]
    context.attempt = RUNG_FAILED
    context.pfn = NO_PAGE
    context.stage = PAGES_DONE
    context.failure = event
    m.events[event] += 1


@small
def may_ignore_watermarks(m: Machine, ac: ContextIdx) -> bool:
    """May the request use all of memory, because it will free some? (kernel: __gfp_pfmemalloc_flags)"""
    context = m.contexts[ac]
    gfp = int(context.gfp)
    return bool((gfp & GFP_MEMALLOC or context.pf_memalloc) and gfp & GFP_NOMEMALLOC == 0)


@small
def compacts_first(m: Machine, ac: ContextIdx) -> bool:
    """Does the request go to direct compaction before anything else? (kernel: __alloc_pages_slowpath)"""
    context = m.contexts[ac]
    gfp = context.gfp
    if gfp & GFP_DIRECT_RECLAIM == 0 or gfp & GFP_IO == 0 or may_ignore_watermarks(m, ac):
        return False
    order = context.order
    return bool(order > PAGE_ALLOC_COSTLY_ORDER or (order > 0 and context.migratetype != MIGRATE_MOVABLE))
