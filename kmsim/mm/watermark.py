"""May a request take from this zone? (kernel: zone_watermark_fast, __zone_watermark_ok)

A zone's marks (min, low, high, promo) are held against its free pages, without the CPUs' pending
deltas and without the pages in per-CPU lists. A request of higher order also needs a block on a
list. Reads only; no lock is held, as in the kernel, so the answer may be stale when it is used.

Leaves out CMA, spread of dirty pages (__GFP_WRITE) and cpusets. `mm.zone_setup` computes the marks.
"""

from kmsim.jit import core, shared, small
from kmsim.mm.gfp import (
    ALLOC_HARDER,
    ALLOC_HIGHATOMIC,
    ALLOC_KSWAPD,
    ALLOC_MIN_RESERVE,
    ALLOC_NO_BOOST,
    ALLOC_NON_BLOCK,
    ALLOC_OOM,
    ALLOC_RESERVES,
    ALLOC_WMARK_MASK,
    ALLOC_WMARK_MIN,
    gfp_to_alloc_flags,
    gfp_to_alloc_flags_by_atomic,
    is_atomic,
)
from kmsim.mm.indices import ContextIdx, Gfp, NodeIdx, Order, ZoneIdx, ZoneType
from kmsim.mm.list import list_empty
from kmsim.mm.mmzone import (
    KSWAPD_WAKEUPS,
    MIGRATE_HIGHATOMIC,
    MIGRATE_PCPTYPES,
    NO_ZONE,
    NUMA_NO_NODE,
    WMARK_HIGH,
    WMARK_MIN,
    ZONE_BOOSTED_WATERMARK,
    Machine,
    node_zone,
)
from kmsim.mm.pageblock import free_list_head
from kmsim.mm.trace import TRACE_WAKE_KSWAPD, trace
from kmsim.mm.vmstat import zone_page_state_snapshot
from kmsim.mm.zonelist import next_zoneref


@small
def wmark_pages(m: Machine, z: ZoneIdx, wmark: int) -> int:
    """A watermark with the boost (kernel: wmark_pages)."""
    return int(m.zones[z].watermark[wmark]) + int(m.zones[z].watermark_boost)


@core
def zone_watermark_ok(
    m: Machine, z: ZoneIdx, order: Order, mark: int, highest_zoneidx: ZoneType, alloc_flags: int, free_pages: int
) -> bool:
    """Are there pages above the mark, and a block of the order? (kernel: __zone_watermark_ok)"""
    zone = m.zones[z]
    free_pages -= (1 << order) - 1 + kept_highatomic(m, z, alloc_flags)
    lowest = mark
    if alloc_flags & ALLOC_MIN_RESERVE:
        lowest -= lowest // 2
        if alloc_flags & ALLOC_NON_BLOCK:
            lowest -= lowest // 4
    if alloc_flags & ALLOC_OOM:
        lowest -= lowest // 2
    elif alloc_flags & ALLOC_HARDER:
        lowest -= lowest // 4
    if free_pages <= lowest + zone.lowmem_reserve[highest_zoneidx]:
        return False
    return order == 0 or has_suitable_block(m, z, order, alloc_flags)


@small
def alloc_flags_of(m: Machine, gfp: Gfp, order: Order) -> int:
    """The reserves that a request may use once the low watermark failed (kernel: gfp_to_alloc_flags)."""
    if m.params[0].boost_by_high:
        return gfp_to_alloc_flags(gfp, order)
    if m.params[0].reserves_by_high:
        alloc_flags = gfp_to_alloc_flags(gfp, order)
    else:
        alloc_flags = gfp_to_alloc_flags_by_atomic(gfp, order)
    return alloc_flags | ALLOC_NO_BOOST if is_atomic(gfp) else alloc_flags


@small
def uses_highatomic(m: Machine, alloc_flags: int) -> bool:
    """Does the check count what is kept for highatomic requests as free?"""
    return alloc_flags & (ALLOC_RESERVES if m.params[0].reserves_by_high else ALLOC_HARDER | ALLOC_OOM) != 0


@shared
def nr_kept_highatomic(m: Machine, z: ZoneIdx) -> int:
    """The pages of a zone that do not count as free for other requests: the reserve's free ones, or all of it.

    (kernel: __zone_watermark_unusable_free)
    """
    zone = m.zones[z]
    return int(zone.nr_free_highatomic if m.params[0].highatomic_to_the_page else zone.nr_reserved_highatomic)


@small
def kept_highatomic(m: Machine, z: ZoneIdx, alloc_flags: int) -> int:
    """The pages of a zone that are kept for highatomic requests, and not for this one."""
    return 0 if uses_highatomic(m, alloc_flags) else nr_kept_highatomic(m, z)


@small
def ignores_boost(m: Machine, alloc_flags: int) -> bool:
    """May the request, of order 0, go down to the min mark without the boost?"""
    if m.params[0].boost_by_high:
        return alloc_flags & ALLOC_MIN_RESERVE != 0
    return alloc_flags & ALLOC_NO_BOOST != 0


@small
def has_suitable_block(m: Machine, z: ZoneIdx, order: Order, alloc_flags: int) -> bool:
    """Is there a free block of at least this order that the request may use?"""
    for current_order in range(order, m.params[0].max_page_order + 1):
        if m.zones[z].nr_free[current_order] == 0:
            continue
        for migratetype in range(MIGRATE_PCPTYPES):
            if not list_empty(m, free_list_head(m, z, current_order, migratetype)):
                return True
        if alloc_flags & (ALLOC_HIGHATOMIC | ALLOC_OOM):
            if not list_empty(m, free_list_head(m, z, current_order, MIGRATE_HIGHATOMIC)):
                return True
    return False


@small
def zone_watermark_fast(
    m: Machine, z: ZoneIdx, order: Order, mark: int, highest_zoneidx: ZoneType, alloc_flags: int
) -> bool:
    """The check on the allocation path, quick for order 0 (kernel: zone_watermark_fast)."""
    if order == 0 and is_page_above(m, z, mark, highest_zoneidx, alloc_flags):
        return True
    return zone_watermark_reserves(m, z, order, mark, highest_zoneidx, alloc_flags)


@small
def is_page_above(m: Machine, z: ZoneIdx, mark: int, highest_zoneidx: ZoneType, alloc_flags: int) -> bool:
    """The quick part of the check for order 0: are there pages above the mark, reserves left out?"""
    zone = m.zones[z]
    usable = max(zone.nr_free_pages, 0)
    usable -= min(usable, kept_highatomic(m, z, alloc_flags))
    return bool(usable > mark + zone.lowmem_reserve[highest_zoneidx])


@core
def zone_watermark_reserves(
    m: Machine, z: ZoneIdx, order: Order, mark: int, highest_zoneidx: ZoneType, alloc_flags: int
) -> bool:
    """The part of `zone_watermark_fast` that looks at lists and reserves."""
    zone = m.zones[z]
    free_pages = max(zone.nr_free_pages, 0)
    if zone_watermark_ok(m, z, order, mark, highest_zoneidx, alloc_flags, free_pages):
        return True
    # The boost exists to wake kswapd early; urgent requests of order 0 are not stopped by it.
    if (
        order == 0
        and zone.watermark_boost
        and ignores_boost(m, alloc_flags)
        and alloc_flags & ALLOC_WMARK_MASK == ALLOC_WMARK_MIN
    ):
        return zone_watermark_ok(m, z, order, zone.watermark[WMARK_MIN], highest_zoneidx, alloc_flags, free_pages)
    return False


@core
def wake_all_kswapds(m: Machine, ac: ContextIdx) -> None:
    """Wake the kswapd of each node that the context's request could take from (kernel: wake_all_kswapds)."""
    context = m.contexts[ac]
    order, highest_zoneidx = int(context.order), int(context.highest_zoneidx)
    zoneref = int(context.preferred_zoneref)
    woken = NUMA_NO_NODE
    zone = int(m.zonerefs[zoneref].zone)
    while zone != NO_ZONE:
        node = int(m.zones[zone].node)
        if node != woken:
            trace(m, TRACE_WAKE_KSWAPD, int(m.zones[zone].zone_type), order, highest_zoneidx, int(context.gfp))
            wakeup_kswapd(m, node, order, highest_zoneidx)
            woken = node
        zoneref = next_zoneref(m, zoneref, highest_zoneidx)
        zone = int(m.zonerefs[zoneref].zone)


@core
def wakeup_kswapd(m: Machine, node: NodeIdx, order: Order, highest_zoneidx: ZoneType) -> None:
    """Count a wake-up of kswapd, unless the node is balanced and not boosted (kernel: wakeup_kswapd).

    kswapd itself is not modelled, so it is always asleep.
    """
    for zone in range(node_zone(m, node, 0), node_zone(m, node, highest_zoneidx) + 1):
        if m.zones[zone].present_pages and m.zones[zone].watermark_boost:
            m.events[KSWAPD_WAKEUPS] += 1
            return
    if not node_balanced(m, node, order, highest_zoneidx):
        m.events[KSWAPD_WAKEUPS] += 1


@core
def node_balanced(m: Machine, node: NodeIdx, order: Order, highest_zoneidx: ZoneType) -> bool:
    """Is one zone of a node, up to a type, above its high mark? (kernel: pgdat_balanced)"""
    for zone in range(node_zone(m, node, 0), node_zone(m, node, highest_zoneidx) + 1):
        if m.zones[zone].present_pages == 0:
            continue
        mark = wmark_pages(m, zone, WMARK_HIGH)
        free_pages = max(m.zones[zone].nr_free_pages, 0)
        if free_pages < m.zones[zone].percpu_drift_mark:
            free_pages = zone_page_state_snapshot(m, zone)
        if zone_watermark_ok(m, zone, order, mark, highest_zoneidx, 0, free_pages):
            return True
    return False


@small
def wake_for_boost(m: Machine, ac: ContextIdx) -> None:
    """Wake kswapd where a fallback has just raised the watermarks (kernel: rmqueue)."""
    context = m.contexts[ac]
    zone = m.zones[context.zone]
    if zone.zone_flags & ZONE_BOOSTED_WATERMARK and (context.alloc_flags & ALLOC_KSWAPD or m.params[0].boost_wakes_all):
        zone.zone_flags &= ~ZONE_BOOSTED_WATERMARK
        trace(m, TRACE_WAKE_KSWAPD, int(zone.zone_type), 0, int(zone.zone_type), 0)
        wakeup_kswapd(m, zone.node, 0, zone.zone_type)
