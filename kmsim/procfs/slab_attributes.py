"""/sys/kernel/slab/CACHE: a cache's attributes, a file each (kernel: SLAB_ATTR in mm/slub.c).

Leaves out what changes while the machine runs (objects, slabs, partial: see `study.slab_tables`), the
constructor's address, and debugging. A name that has merged is a link to the cache that serves it, as in sysfs.
"""

from kmsim.mm.slab_common import Caches
from kmsim.mm.slab_geometry import (
    SLAB_CACHE_DMA,
    SLAB_HWCACHE_ALIGN,
    SLAB_RECLAIM_ACCOUNT,
    SLAB_TYPESAFE_BY_RCU,
)


def attributes(caches: Caches, name: str) -> dict[str, str]:
    """The text of each attribute's file, by the file's name; KeyError where no cache has the name."""
    index = caches.index_of(name)
    cache = caches.geometries[index]
    numbers = {
        "aliases": max(caches.refcounts[index] - 1, 0),
        "align": cache.align,
        "cache_dma": bool(cache.flags & SLAB_CACHE_DMA),
        "cpu_partial": cache.cpu_partial,
        "destroy_by_rcu": bool(cache.flags & SLAB_TYPESAFE_BY_RCU),
        "hwcache_align": bool(cache.flags & SLAB_HWCACHE_ALIGN),
        "min_partial": cache.min_partial,
        "object_size": cache.object_size,
        "objs_per_slab": cache.objects,
        "order": cache.order,
        "reclaim_account": bool(cache.flags & SLAB_RECLAIM_ACCOUNT),
        "slab_size": cache.size,
    }
    return {file: f"{int(number)}\n" for file, number in numbers.items()}
