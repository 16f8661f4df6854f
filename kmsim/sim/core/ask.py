"""Questions to a machine on which nothing else runs: would this request get its memory now?

Each asks the allocator itself, and frees what it got. The slow path's reclaim and compaction are left out:
the answer is that of memory as it is.
"""

from __future__ import annotations

from kmsim.jit import entry
from kmsim.mm.gfp import GFP_COMP, GFP_KERNEL
from kmsim.mm.indices import ContextIdx, Gfp, Order, Pfn
from kmsim.mm.mmzone import BOOT_CPU, NO_PAGE, Machine
from kmsim.mm.page_alone import alloc_pages, free_pages
from kmsim.mm.slab_common import Caches


@entry
def allocate(m: Machine, ac: ContextIdx, gfp: Gfp, order: Order) -> Pfn:
    """One allocation, for Python callers."""
    return alloc_pages(m, ac, gfp, order)


@entry
def free(m: Machine, ac: ContextIdx, pfn: Pfn, order: Order) -> None:
    """One free, for Python callers."""
    free_pages(m, ac, pfn, order)


def can_allocate(m: Machine, order: Order, gfp: Gfp = GFP_KERNEL) -> bool:
    """Does the page allocator have a block of this order now? Orders beyond the largest it never has."""
    if order > m.params[0].max_page_order:
        return False
    pfn = allocate(m, BOOT_CPU, gfp, order)
    if pfn == NO_PAGE:
        return False
    free(m, BOOT_CPU, pfn, order)
    return True


def can_kmalloc(m: Machine, caches: Caches, size: int, gfp: Gfp = GFP_KERNEL) -> bool:
    """Does kmalloc(size) get its memory now, where no slab of its cache has a free object?"""
    index = caches.kmalloc_index(size, gfp)
    if index is None:
        return can_allocate(m, caches.kmalloc_large_order(size), gfp | GFP_COMP)
    cache = caches.geometries[index]
    return any(can_allocate(m, order, gfp | GFP_COMP) for order in (cache.order, cache.min_order))
