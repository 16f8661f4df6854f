"""What one allocation asks for: of which allocator, and what of it.

Results are told apart by `Request`. A request of the config that is for a size is one `Request` for each
cache, or for each order, that its sizes lead to (`workload.classes`).
"""

from typing import NamedTuple

from kmsim.jit import shared
from kmsim.mm.gfp import GFP_COMP, GFP_MOVABLE
from kmsim.mm.indices import Gfp
from kmsim.mm.mmzone import NUMA_NO_NODE
from kmsim.mm.slub_records import NO_CACHE

PAGES, LARGE, SLAB, EXACT, BULK, VMALLOC, KVMALLOC, FILE_READ = range(8)
# What only a user's own process asks for (see `sim.core.apis`).
KREALLOC, KVREALLOC, VMAP, OBJECTS, SHRINK, DESTROY = range(8, 14)
_RARE_NAMES = ("krealloc", "kvrealloc", "vmap", "objects", "cache_shrink", "cache_destroy")
API_NAMES = ("pages", "kmalloc_large", "slab", "exact", "bulk", "vmalloc", "kvmalloc", "file_read", *_RARE_NAMES)


class Request(NamedTuple):
    """What one allocation asks for; how many bytes, each operation says.

    `order` is that of the block that would hold the bytes, but 0 for SLAB and BULK. `cache` is the
    number of the cache of a SLAB, and of what fits into one of kmalloc's. `huge` lets
    a VMALLOC map huge pages (kernel: vmalloc_huge). `file` is the number of the first page of a FILE_READ's
    file in the machine's page cache, in which files lie one behind the other; which page of the file is read, each
    operation says (`op_t.asked`) in place of its bytes: 1 is the first. `nid` is the node of which PAGES and EXACT are
    asked, whatever the thread's policy (kernel: alloc_pages_node); NUMA_NO_NODE: by the policy, or near the CPU.
    """

    gfp: int
    order: int = 0
    api: int = PAGES
    cache: int = NO_CACHE
    huge: int = 0
    file: int = 0
    nid: int = NUMA_NO_NODE


@shared
def is_block_of_pages(api: int) -> bool:
    """Is what it gives one block of the page allocator?"""
    return api in (PAGES, LARGE)


@shared
def block_gfp(api: int, gfp: Gfp) -> Gfp:
    """With which flags the page allocator is asked for its block (kernel: ___kmalloc_large_node adds __GFP_COMP)."""
    return gfp | GFP_COMP if api == LARGE else gfp


@shared
def can_move(api: int, gfp: Gfp) -> bool:
    """May what it gives be moved to other pages while it is held? Only its holder knows where such a block is."""
    return bool(api == PAGES and gfp & GFP_MOVABLE)


@shared
def bytes_asked(api: int, asked: int) -> int:
    """How many bytes an operation asks for; none where it reads a page of a file, which it names instead."""
    return 0 if api == FILE_READ else asked


@shared
def is_of_users_only(api: int) -> bool:
    """Is it one that no workload can ask for?"""
    return api in (KREALLOC, KVREALLOC, VMAP, OBJECTS, SHRINK, DESTROY)
