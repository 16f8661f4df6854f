"""Why a kmalloc, or a kvmalloc, comes to the cache that it comes to: its size, and the flags that choose the set.

The answer is that of `mm.slab_common`, which the request itself has asked.
"""

from __future__ import annotations

from kmsim.mm.gfp import parse_gfp
from kmsim.mm.slab_common import KMALLOC_CGROUP, KMALLOC_DMA, KMALLOC_NORMAL, KMALLOC_RECLAIM, Caches, kmalloc_type
from kmsim.study.walk_requests import Request
from kmsim.study.walk_words import OF_PAGES
from kmsim.units import format_size

ASKING = ("kmalloc", "kzalloc", "kvmalloc", "kvzalloc")
# The flag that chooses a set of caches, where one does.
CHOSEN_BY = {KMALLOC_RECLAIM: "__GFP_RECLAIMABLE", KMALLOC_DMA: "__GFP_DMA", KMALLOC_CGROUP: "__GFP_ACCOUNT"}


def why_of(request: Request, caches: Caches | None) -> dict[int, str]:
    """The number of the cache that the request takes an object of, or OF_PAGES, and why; nothing of other requests."""
    size = request.arguments.get("size")
    if caches is None or request.name not in ASKING or not isinstance(size, int) or size < 1:
        return {}
    try:
        gfp = parse_gfp(str(request.arguments.get("gfp", "GFP_KERNEL")))
    except ValueError:
        return {}  # the request is refused in words of its own
    asked = f"{size:,} bytes"
    cache = caches.kmalloc_index(size, gfp)
    if cache is None and size > caches.limits.kmalloc_max_size:
        return {}  # it comes to neither
    if cache is None:
        largest = format_size(caches.limits.kmalloc_max_cache_size)
        return {OF_PAGES: f"{asked} are more than the largest of kmalloc's caches holds, {largest}"}
    chosen = kmalloc_type(caches.build, gfp)
    of = "" if chosen == KMALLOC_NORMAL else f" for {CHOSEN_BY[chosen]}"
    return {cache: f"the smallest of kmalloc's caches{of} that holds {asked}"}
