"""May compaction run in this zone? (kernel: mm/compaction.c)

Compaction moves pages out of the way so that larger blocks become free. It needs free pages to move them to, and sense:
a costly request that failed for lack of memory is not helped by it. Reads only; no lock is held, as in the kernel.

Leaves out compaction itself: the two scanners, deferring, capture. Invariant: nothing is changed. Lock order: takes
none.
"""

from kmsim.jit import core, small
from kmsim.mm.indices import Order, ZoneIdx, ZoneType
from kmsim.mm.mmzone import PAGE_ALLOC_COSTLY_ORDER, WMARK_LOW, WMARK_MIN, Machine
from kmsim.mm.vmstat import fragmentation_index
from kmsim.mm.watermark import wmark_pages, zone_watermark_ok

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
EXTFRAG_THRESHOLD = 500  # thousandths; vm.extfrag_threshold, kernel default


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
    if not has_migration_targets(m, z, order, highest_zoneidx, max(int(m.zones[z].nr_free_pages), 0)):
        return COMPACT_SKIPPED
    if order > PAGE_ALLOC_COSTLY_ORDER:
        index = fragmentation_index(m.zones[z].nr_free, order)
        if 0 <= index <= EXTFRAG_THRESHOLD:
            return COMPACT_NOT_SUITABLE_ZONE
    return COMPACT_CONTINUE


@small
def compaction_suitable(m: Machine, z: ZoneIdx, order: Order, highest_zoneidx: ZoneType) -> bool:
    """Does compaction make sense? (kernel: compaction_suitable)"""
    return suitability(m, z, order, highest_zoneidx) == COMPACT_CONTINUE
