"""The largest kmalloc that the machine's memory can serve now, such as for a driver's big table.

It is the largest free block that a zone open to GFP_KERNEL can give to such a request without falling below its
min watermark, the lowest that is tried before reclaim (kernel: zone_watermark_ok, ALLOC_WMARK_MIN). It only reads;
asking the allocator itself would change its lists. Leaves out per-CPU lists and slabs with free objects, which
matter only where memory has nothing larger.
"""

from __future__ import annotations

from kmsim.mm.mmzone import MIGRATE_PCPTYPES, WMARK_MIN, ZONE_NORMAL, Machine
from kmsim.mm.pageblock import free_list_head
from kmsim.mm.watermark import nr_kept_highatomic


def largest_kmalloc_bytes(m: Machine) -> int:
    """Bytes of the largest kmalloc(GFP_KERNEL) that would succeed now; 0 where not even one page would."""
    largest = max(_largest_order(m, z) for z, zone in enumerate(m.zones) if zone.zone_type <= ZONE_NORMAL)
    return int(1 << (int(m.params[0].page_shift) + largest)) if largest >= 0 else 0


def _largest_order(m: Machine, z: int) -> int:
    """The largest order of which a zone would give a block; -1 if none."""
    zone = m.zones[z]
    if not zone.present_pages:
        return -1
    mark = int(zone.watermark[WMARK_MIN] + zone.watermark_boost + zone.lowmem_reserve[ZONE_NORMAL])
    for order in range(int(m.params[0].max_page_order), -1, -1):
        left = int(zone.nr_free_pages) - nr_kept_highatomic(m, z) - ((1 << order) - 1)
        if left > mark and any(_has_block(m, z, order, migratetype) for migratetype in range(MIGRATE_PCPTYPES)):
            return order
    return -1


def _has_block(m: Machine, z: int, order: int, migratetype: int) -> bool:
    """Is a block of at least this order free, on lists of this migratetype?"""
    orders = range(order, int(m.params[0].max_page_order) + 1)
    heads = (free_list_head(m, z, of, migratetype) for of in orders)
    return any(int(m.pages[head].next) != head for head in heads)
