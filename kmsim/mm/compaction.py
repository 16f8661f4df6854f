"""May compaction run in this zone, and should a request try it again? (kernel: mm/compaction.c)

Compaction moves pages out of the way so that larger blocks become free. It needs free pages to move them to, and sense:
a costly request that failed for lack of memory is not helped by it. No lock is held, as in the kernel.

Leaves out compaction itself, the two scanners: where they would start, COMPACT_CONTINUE says so. So no failure of
theirs makes a zone put it off yet. Invariant: no page is moved. Lock order: takes none.
"""

from kmsim.jit import core, small
from kmsim.mm.gfp import ALLOC_WMARK_MASK, GFP_IO
from kmsim.mm.indices import ContextIdx, Gfp, Order, ZoneIdx, ZoneType
from kmsim.mm.mmzone import NO_ZONE, PAGE_ALLOC_COSTLY_ORDER, WMARK_LOW, WMARK_MIN, Machine
from kmsim.mm.scan_count import zone_reclaimable_pages
from kmsim.mm.trace import (
    TRACE_COMPACT_RETRY,
    TRACE_DEFER_RESET,
    TRACE_DEFERRED,
    TRACE_SUITABLE,
    TRACE_TRY_TO_COMPACT,
    trace,
    trace_more,
)
from kmsim.mm.vmstat import fragmentation_index, zone_page_state_snapshot
from kmsim.mm.watermark import wmark_pages, zone_watermark_ok
from kmsim.mm.zonelist import next_zoneref

# What came of it for one zone (kernel: enum compact_result).
(
    COMPACT_NOT_SUITABLE_ZONE,
    COMPACT_SKIPPED,
    COMPACT_DEFERRED,
    COMPACT_NO_SUITABLE_PAGE,
    COMPACT_CONTINUE,
    COMPACT_COMPLETE,
    COMPACT_PARTIAL_SKIPPED,
    COMPACT_CONTENDED,
    COMPACT_SUCCESS,
) = range(9)
# How hard a request tries (kernel: enum compact_priority): the lower, the harder.
COMPACT_PRIO_SYNC_FULL, COMPACT_PRIO_SYNC_LIGHT, COMPACT_PRIO_ASYNC = range(3)
MAX_COMPACT_RETRIES = 16
EXTFRAG_THRESHOLD = 500  # thousandths; vm.extfrag_threshold, kernel default


@small
def gfp_compaction_allowed(gfp: Gfp) -> bool:
    """May a request compact? Only if it may start I/O (kernel: gfp_compaction_allowed)."""
    return gfp & GFP_IO != 0


@small
def compact_gap(order: Order) -> int:
    """How many free pages compaction for an order wants above the mark (kernel: compact_gap)."""
    return 2 << order


@core
def has_migration_targets(m: Machine, z: ZoneIdx, order: Order, highest_zoneidx: ZoneType, free_pages: int) -> bool:
    """With so many pages free, are there enough to move others to? (kernel: __compaction_suitable)"""
    mark = wmark_pages(m, z, WMARK_LOW if order > PAGE_ALLOC_COSTLY_ORDER else WMARK_MIN) + compact_gap(order)
    return zone_watermark_ok(m, z, 0, mark, highest_zoneidx, 0, free_pages)


@core
def suitability(m: Machine, z: ZoneIdx, order: Order, highest_zoneidx: ZoneType) -> int:
    """COMPACT_CONTINUE where compaction makes sense, else why not (kernel: compaction_suitable)."""
    result = COMPACT_CONTINUE
    if not has_migration_targets(m, z, order, highest_zoneidx, max(int(m.zones[z].nr_free_pages), 0)):
        result = COMPACT_SKIPPED
    elif order > PAGE_ALLOC_COSTLY_ORDER and 0 <= fragmentation_index(m.zones[z].nr_free, order) <= EXTFRAG_THRESHOLD:
        result = COMPACT_NOT_SUITABLE_ZONE
    trace(m, TRACE_SUITABLE, int(m.zones[z].zone_type), order, result, 0)
    return result


@small
def compaction_suitable(m: Machine, z: ZoneIdx, order: Order, highest_zoneidx: ZoneType) -> bool:
    """Does compaction make sense? (kernel: compaction_suitable)"""
    return suitability(m, z, order, highest_zoneidx) == COMPACT_CONTINUE


@core
def try_to_compact_pages(m: Machine, ac: ContextIdx, priority: int) -> int:
    """Compact zone after zone for a request; what came of it, COMPACT_...? (kernel: try_to_compact_pages)

    COMPACT_CONTINUE: a zone's scanners would start now.
    """
    context = m.contexts[ac]
    order = int(context.order)
    if not gfp_compaction_allowed(int(context.gfp)):
        return COMPACT_SKIPPED
    trace(m, TRACE_TRY_TO_COMPACT, order, int(context.gfp), priority, 0)
    best = COMPACT_SKIPPED
    zoneref = int(context.preferred_zoneref)
    while m.zonerefs[zoneref].zone != NO_ZONE:
        zone = int(m.zonerefs[zoneref].zone)
        if priority > COMPACT_PRIO_SYNC_FULL and compaction_deferred(m, zone, order):
            result = COMPACT_DEFERRED
        else:
            result = compact_zone(m, ac, zone)
        if result == COMPACT_CONTINUE:
            return result
        best = max(best, result)
        if result == COMPACT_SUCCESS:
            compaction_defer_reset(m, zone, order, False)
            return best
        zoneref = next_zoneref(m, zoneref, int(context.highest_zoneidx))
    return best


@small
def compact_zone(m: Machine, ac: ContextIdx, z: ZoneIdx) -> int:
    """What comes of compacting one zone: nothing is to be done, or cannot be (kernel: compact_zone)."""
    context = m.contexts[ac]
    order, alloc_flags = int(context.order), int(context.alloc_flags)
    highest_zoneidx = int(context.highest_zoneidx)
    mark = wmark_pages(m, z, alloc_flags & ALLOC_WMARK_MASK)
    free_pages = max(int(m.zones[z].nr_free_pages), 0)
    if zone_watermark_ok(m, z, order, mark, highest_zoneidx, alloc_flags, free_pages):
        return COMPACT_SUCCESS
    result = suitability(m, z, order, highest_zoneidx)
    return COMPACT_SKIPPED if result == COMPACT_NOT_SUITABLE_ZONE else result


@core
def compaction_deferred(m: Machine, z: ZoneIdx, order: Order) -> bool:
    """Is compaction put off, as it failed lately? Each time that is asked, less (kernel: compaction_deferred)."""
    zone = m.lru.zones[z]
    if order < zone.compact_order_failed:
        return False
    limit = 1 << zone.compact_defer_shift
    zone.compact_considered += 1
    if zone.compact_considered >= limit:
        zone.compact_considered = limit
        return False
    trace_deferral(m, TRACE_DEFERRED, z, order)
    return True


@small
def trace_deferral(m: Machine, letter: int, z: ZoneIdx, order: Order) -> None:
    """Note how far compaction of a zone is put off."""
    zone = m.lru.zones[z]
    trace(m, letter, int(m.zones[z].zone_type), order, zone.compact_considered, zone.compact_defer_shift)
    trace_more(m, 5, zone.compact_order_failed, 0, 0, 0)


@core
def compaction_defer_reset(m: Machine, z: ZoneIdx, order: Order, was_allocated: bool) -> None:
    """Compaction was of use: do not put it off next time (kernel: compaction_defer_reset)."""
    zone = m.lru.zones[z]
    if was_allocated:
        zone.compact_considered = 0
        zone.compact_defer_shift = 0
    if order >= zone.compact_order_failed:
        zone.compact_order_failed = order + 1
    trace_deferral(m, TRACE_DEFER_RESET, z, order)


@core
def should_compact_retry(m: Machine, ac: ContextIdx) -> bool:
    """Is it worth while to reclaim and compact again? (kernel: should_compact_retry)"""
    context = m.contexts[ac]
    reclaim = m.lru.reclaims[ac]
    order = int(context.order)
    if order == 0:
        return False
    priority, retries = int(reclaim.compact_priority), int(reclaim.compaction_retries)
    max_retries = MAX_COMPACT_RETRIES
    retry = False
    if reclaim.compact_result == COMPACT_SKIPPED:
        retry = compaction_zonelist_suitable(m, ac)
    else:
        if reclaim.compact_result == COMPACT_SUCCESS:
            if order > PAGE_ALLOC_COSTLY_ORDER:
                max_retries //= 4
            reclaim.compaction_retries += 1
            retry = bool(reclaim.compaction_retries <= max_retries)
        least = COMPACT_PRIO_SYNC_LIGHT if order > PAGE_ALLOC_COSTLY_ORDER else COMPACT_PRIO_SYNC_FULL
        if not retry and priority > least:
            reclaim.compact_priority -= 1
            reclaim.compaction_retries = 0
            retry = True
    trace(m, TRACE_COMPACT_RETRY, order, priority, int(reclaim.compact_result), retries)
    trace_more(m, 5, max_retries, int(retry), 0, 0)
    return retry


@core
def compaction_zonelist_suitable(m: Machine, ac: ContextIdx) -> bool:
    """Would some zone be suitable if a part of what can be reclaimed were? (kernel: compaction_zonelist_suitable)"""
    context = m.contexts[ac]
    order = int(context.order)
    highest_zoneidx = int(context.highest_zoneidx)
    zoneref = int(context.preferred_zoneref)
    while m.zonerefs[zoneref].zone != NO_ZONE:
        zone = int(m.zonerefs[zoneref].zone)
        available = zone_reclaimable_pages(m, zone) // order + zone_page_state_snapshot(m, zone)
        if has_migration_targets(m, zone, order, highest_zoneidx, available):
            return True
        zoneref = next_zoneref(m, zoneref, highest_zoneidx)
    return False
