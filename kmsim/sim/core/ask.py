"""Questions to a machine on which nothing else runs: would this request get its memory now?

Each asks the allocator itself, and gives back what it got. What the kernel's slow path could still free
by reclaim or compaction is not asked for: the answer is that of memory as it is.
"""

from __future__ import annotations

from kmsim.jit import entry
from kmsim.mm.gfp import GFP_FLAGS
from kmsim.mm.mmzone import NO_PAGE, Machine
from kmsim.mm.page_alloc import alloc_pages, free_pages
from kmsim.mm.slab_common import Caches

GFP_KERNEL = GFP_FLAGS["GFP_KERNEL"]
GFP_KMALLOC_LARGE = GFP_FLAGS["__GFP_COMP"]
CPU = 0  # which CPU asks makes no difference to what there is


@entry
def allocate(m: Machine, ac: int, gfp: int, order: int) -> int:
    """One allocation, for Python callers."""
    return alloc_pages(m, ac, gfp, order)


@entry
def free(m: Machine, ac: int, pfn: int, order: int) -> None:
    """One free, for Python callers."""
    free_pages(m, ac, pfn, order)


def can_allocate(m: Machine, order: int, gfp: int = GFP_KERNEL) -> bool:
    """Does the page allocator have a block of this order now? Orders beyond the largest it never has."""
    if order > m.params[0].max_page_order:
        return False
    pfn = allocate(m, CPU, gfp, order)
    if pfn == NO_PAGE:
        return False
    free(m, CPU, pfn, order)
    return True


def can_kmalloc(m: Machine, caches: Caches, size: int, gfp: int = GFP_KERNEL) -> bool:
    """Does kmalloc(size) get its memory now, where no slab of its cache has a free object?"""
    index = caches.kmalloc_index(size, gfp)
    if index is None:
        return can_allocate(m, caches.kmalloc_large_order(size), gfp | GFP_KMALLOC_LARGE)
    cache = caches.geometries[index]
    return any(can_allocate(m, order, gfp | GFP_KMALLOC_LARGE) for order in (cache.order, cache.min_order))
