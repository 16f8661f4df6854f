"""Questions to a machine on which nothing else runs: would this request get its memory now?

Each asks the allocator itself, and frees what it got. The slow path's reclaim and compaction are left out:
the answer is that of memory as it is.
"""

from __future__ import annotations

from kmsim.jit import entry
from kmsim.mm.gfp import GFP_COMP, GFP_KERNEL, gfp_zone
from kmsim.mm.indices import ContextIdx, Gfp, Order, Pfn, ZoneIdx
from kmsim.mm.mmzone import BOOT_CPU, NO_PAGE, NUMA_NO_NODE, WMARK_MIN, Machine
from kmsim.mm.page_alone import alloc_pages, free_pages
from kmsim.mm.page_exact import exact_alloc_begin, exact_free_begin, exact_resume
from kmsim.mm.slab_common import Caches
from kmsim.mm.watermark import alloc_flags_of, wmark_pages, zone_watermark_ok
from kmsim.mm.zonelist import page_zone

NOT_ALLOWED = -1  # the request may not use the zone


ASK_ALLOC, ASK_FREE, ASK_ALLOC_EXACT, ASK_FREE_EXACT = range(4)  # verbs of `request`


@entry
def request(m: Machine, ac: ContextIdx, verb: int, one: int, two: int) -> int:
    """One whole request where every lock is free; its page, or what is wrong with the size of an exact free.

    All verbs are one compiled entry: each that holds the page allocator takes long to compile.
    """
    if verb == ASK_ALLOC:
        return alloc_pages(m, ac, one, two)
    if verb == ASK_FREE:
        free_pages(m, ac, one, two)
        return 0
    wanted = (
        exact_alloc_begin(m, ac, one, two, NUMA_NO_NODE)
        if verb == ASK_ALLOC_EXACT
        else exact_free_begin(m, ac, one, two)
    )
    while wanted:
        wanted = exact_resume(m, ac)
    return int(m.contexts[ac].pfn if verb == ASK_ALLOC_EXACT else m.contexts[ac].excess_pages)


def allocate(m: Machine, ac: ContextIdx, gfp: Gfp, order: Order) -> Pfn:
    """A block of 2^order pages, or NO_PAGE."""
    return int(request(m, ac, ASK_ALLOC, int(gfp), int(order)))


def free(m: Machine, ac: ContextIdx, pfn: Pfn, order: Order) -> None:
    """Free a block."""
    request(m, ac, ASK_FREE, int(pfn), int(order))


def allocate_exact(m: Machine, ac: ContextIdx, gfp: Gfp, nr_bytes: int) -> Pfn:
    """The first page of an alloc_pages_exact, or NO_PAGE."""
    return int(request(m, ac, ASK_ALLOC_EXACT, int(gfp), int(nr_bytes)))


def free_exact(m: Machine, ac: ContextIdx, pfn: Pfn, nr_bytes: int) -> int:
    """free_pages_exact; by how many pages the size was wrong."""
    return int(request(m, ac, ASK_FREE_EXACT, int(pfn), int(nr_bytes)))


@entry
def zone_of(m: Machine, pfn: Pfn) -> ZoneIdx:
    """The zone of a page frame, for Python callers."""
    return page_zone(m, pfn)


@entry
def pages_missing(m: Machine, z: ZoneIdx, gfp: Gfp, order: Order) -> int:
    """By how many free pages a zone is below its min mark for a request; NOT_ALLOWED where it may not use the zone."""
    zone = m.zones[z]
    highest = gfp_zone(gfp)
    if zone.zone_type > highest or zone.present_pages == 0:
        return NOT_ALLOWED
    alloc_flags = alloc_flags_of(m, gfp, order)
    mark = wmark_pages(m, z, WMARK_MIN)
    free_pages = int(zone.nr_free_pages) - (1 << order) + 1
    low, high = 0, 2 * int(zone.present_pages)
    while low < high:  # the least number that is enough
        middle = (low + high) // 2
        if zone_watermark_ok(m, z, 0, mark, highest, alloc_flags, free_pages + middle):
            high = middle
        else:
            low = middle + 1
    return low


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
