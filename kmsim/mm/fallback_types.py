"""What a fallback to another migratetype asks, whatever its policy: which type, how much, and what it raises.

The policies are `mm.fallback` and `mm.fallback_moves`. Leaves out CMA. Invariant: only a zone's boost is changed.
Lock order: the caller holds the zone's lock.
"""

from kmsim.jit import core, small
from kmsim.mm.indices import Migratetype, Order, ZoneIdx
from kmsim.mm.list import list_empty
from kmsim.mm.mmzone import (
    MIGRATE_MOVABLE,
    MIGRATE_RECLAIMABLE,
    MIGRATE_UNMOVABLE,
    NO_MIGRATETYPE,
    WMARK_HIGH,
    Machine,
)
from kmsim.mm.pageblock import free_list_head

# Which types a type falls back to, best first (kernel: fallbacks).
FALLBACKS = (
    (MIGRATE_RECLAIMABLE, MIGRATE_MOVABLE),  # for MIGRATE_UNMOVABLE
    (MIGRATE_RECLAIMABLE, MIGRATE_UNMOVABLE),  # for MIGRATE_MOVABLE
    (MIGRATE_UNMOVABLE, MIGRATE_MOVABLE),  # for MIGRATE_RECLAIMABLE
)


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


@small
def nr_compatible(m: Machine, nr_free: int, nr_movable: int, block_mt: Migratetype, start_mt: Migratetype) -> int:
    """How many allocated pages of a pageblock may be of the request's type."""
    if start_mt == MIGRATE_MOVABLE:
        return nr_movable
    if block_mt == MIGRATE_MOVABLE:
        return (1 << int(m.params[0].pageblock_order)) - (nr_free + nr_movable)
    return 0  # unmovable and reclaimable cannot be told apart here
