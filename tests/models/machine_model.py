"""The words that the slow models share: Linux 6.12's numbers, and what all zones of a machine have in common.

What a reader has to know first:
  page       a page frame, known by its number, the pfn;
  block      1 << order pages that lie on one free list, known by the pfn of the first;
  pageblock  1 << pageblock_order pages that share a migratetype, known by pfn >> pageblock_order.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

Record = dict[str, Any]  # a zone, or one of its pcps, in the ground truth's state format

UNMOVABLE, MOVABLE, RECLAIMABLE, HIGHATOMIC = range(4)
MIGRATE_PCPTYPES = 3
LETTERS = "UMRH"  # of the record format
HOLE = "-"

FALLBACKS = {  # kernel: fallbacks
    UNMOVABLE: (RECLAIMABLE, MOVABLE),
    MOVABLE: (RECLAIMABLE, UNMOVABLE),
    RECLAIMABLE: (UNMOVABLE, MOVABLE),
}

BOOSTED, RECLAIM_ACTIVE, BELOW_HIGH = 1, 2, 4  # zone->flags: bits 0, 1, 2
ZONE_INDEX = {"DMA": 0, "DMA32": 1, "Normal": 2, "Movable": 3}

WMARK_MIN, WMARK_LOW, WMARK_HIGH, WMARK_MASK = 0, 1, 2, 3
ALLOC_NO_WATERMARKS = 0x04
ALLOC_OOM = 0x08
ALLOC_NON_BLOCK = 0x10
ALLOC_MIN_RESERVE = 0x20
ALLOC_NOFRAGMENT = 0x100
ALLOC_HIGHATOMIC = 0x200
ALLOC_KSWAPD = 0x800
ALLOC_RESERVES = ALLOC_NON_BLOCK | ALLOC_MIN_RESERVE | ALLOC_HIGHATOMIC | ALLOC_OOM

NORMAL, STEAL = "normal", "steal"  # kernel: enum rmqueue_mode; a claim leads back to normal


@dataclass
class Machine:
    """What all zones share: the geometry, the sysctls, the pageblock types and the CPU that is running."""

    page_shift: int
    max_page_order: int
    pageblock_order: int
    pmd_order: int
    thp_in_pcp: bool
    nr_cpus: int
    watermark_boost_factor: int
    group_disabled: bool
    auto_tune: bool = True
    check_pages: bool = False
    batch_scale_max: int = 5  # CONFIG_PCP_BATCH_SCALE_MAX, default
    folio_reclaim: bool = True  # as 6.12 reclaims, or as 5.10 and 6.1
    nr_checked: int = 0  # pages that were checked when they became new
    this_cpu: int = 0
    block_types: dict[int, int] = field(default_factory=dict)
    zone_starts: list[int] = field(default_factory=list)
    on_lru: set[int] = field(default_factory=set)  # pages that are on an LRU list

    @property
    def pageblock_pages(self) -> int:
        """Give the pages of a pageblock (kernel: pageblock_nr_pages)."""
        return 1 << self.pageblock_order

    def check_new_pages(self, order: int) -> None:
        """Count the pages of a new block, each of which Linux 6.0 checks (kernel: check_new_pages)."""
        if self.check_pages:
            self.nr_checked += 1 << order
