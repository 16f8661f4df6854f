"""SLUB's records: caches, slabs and free lists (kernel: struct kmem_cache, kmem_cache_cpu, kmem_cache_node, slab).

Words, here and in every `slub` module:
    object      an int32, its number: `links[object]` is its link, `object >> 3` its chunk
    chunk       8 numbers in a row; a slab's objects have consecutive numbers that begin with a chunk
    link        the index, in its slab, of the next free object; END at the end; IN_USE and more if allocated
    cpu slab    the frozen slab that one CPU allocates from, without a lock
    partial     a slab with free objects on a CPU's partial list (no lock) or the node's (its list_lock)
    full slab   on no list; its first free object puts it on the freeing CPU's partial list

An allocated object's link is IN_USE plus the number of the CPU that allocated it, so a double free is found
in one step, and a free knows whose cache the object's line was in. A slab and its range of numbers are
recycled when its pages are freed, among caches with equally long ranges: so there are never more of them than
pages for them, in the zones that are set up when `new_slub` is called. Memory: 32 bytes a slab, 2.5 an object.

Invariant (recounted by `mm.slub_recount`): the links from `freelist` name objects - inuse different objects;
a cpu slab's own free list holds other objects of that slab, which count as in use, as in the kernel. Lock
order: see `mm.slub`. No field may be named as an attribute of np.record.
"""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from kmsim.jit import Record, shared
from kmsim.mm.gfp import GFP_COMP, GFP_DMA, GFP_DMA32, GFP_RECLAIMABLE
from kmsim.mm.indices import CacheIdx, CacheNodeIdx, ContextIdx, CpuIdx, CpuSlabIdx, LockIdx, NodeIdx
from kmsim.mm.locks import NODE_LIST_LOCK, all_locks, first_of_class, nth_list_lock
from kmsim.mm.mmzone import NO_PAGE, Machine
from kmsim.mm.sheaf_records import NO_SHEAF, NO_SHEAVES, Sheaves, new_sheaves
from kmsim.mm.slab_geometry import SLAB_CACHE_DMA, SLAB_CACHE_DMA32, SLAB_RECLAIM_ACCOUNT, Geometry
from kmsim.mm.slub_random import set_up_random

NO_CACHE = NO_OBJECT = NO_SLAB = -1
IN_ORDER = -1  # of a cache: new slabs hand out their objects by address
END = 0x7FFF  # the link of the last free object; so a slab has at most this many objects
IN_USE = 0x8000  # + the CPU that allocated the object, modulo OWNERS
OWNERS = 0x8000
CHUNK_SHIFT = 3
NR_LINKS_MAX = 1 << 28  # assumed: more objects than any run has at once; 512 MiB of links
SLAB_BULK_MAX = 256  # objects of one bulk request (assumed: the kernel's callers ask for 64 and less)
SHRINK_PROMOTE_MAX = 32

SLAB_FROZEN = 1 << 0
SLAB_NODE_PARTIAL = 1 << 1  # kernel: PG_workingset
SLAB_PFMEMALLOC = 1 << 2  # its pages came from the reserves
SLAB_LIVE = 1 << 3  # it has pages

kmem_cache_t = np.dtype(
    (
        Record,
        [
            ("object_size", np.int64),
            ("slot_size", np.int64),  # kernel: size
            ("wiped_bytes", np.int64),  # that init_on_free zeroes of an object; 0: neither it nor init_on_alloc may
            ("order", np.int64),
            ("objects", np.int64),
            ("min_order", np.int64),
            ("min_objects", np.int64),
            ("cpu_partial", np.int64),  # free objects that a CPU's partial slabs should have
            ("cpu_partial_slabs", np.int64),
            ("min_partial", np.int64),
            ("allocflags", np.int64),
            ("has_ctor", np.int64),
            ("nr_chunks", np.int64),  # of one slab's range of objects
            ("recycler", np.int64),  # the cache that keeps the discarded slabs of all with as many chunks
            ("recycled", np.int64),  # the first of those, where this cache keeps them
            ("random_seq", np.int64),  # where its sequence begins in `random_seq`, or IN_ORDER
            ("random_state", np.int64),  # not 0; the state of its generator
            ("alloc_slowpath", np.int64),  # from here on: CONFIG_SLUB_STATS
            ("alloc_from_partial", np.int64),
            ("alloc_slab", np.int64),
            ("alloc_refill", np.int64),
            ("free_slowpath", np.int64),
            ("free_frozen", np.int64),
            ("free_add_partial", np.int64),
            ("free_remove_partial", np.int64),
            ("free_slab", np.int64),
            ("cpuslab_flush", np.int64),
            ("deactivate_full", np.int64),
            ("deactivate_empty", np.int64),
            ("deactivate_to_head", np.int64),
            ("deactivate_to_tail", np.int64),
            ("deactivate_remote_frees", np.int64),
            ("deactivate_bypass", np.int64),
            ("order_fallback", np.int64),
            ("cmpxchg_double_fail", np.int64),
            ("cpu_partial_alloc", np.int64),
            ("cpu_partial_free", np.int64),
            ("cpu_partial_node", np.int64),
            ("cpu_partial_drain", np.int64),
        ],
    )
)
kmem_cache_node_t = np.dtype(
    (
        Record,
        [
            ("partial_first", np.int64),
            ("partial_last", np.int64),
            ("nr_partial", np.int64),
            ("nr_slabs", np.int64),  # of this node's pages
            ("total_objects", np.int64),
        ],
    )
)
kmem_cache_cpu_t = np.dtype(
    (
        Record,
        [
            ("freelist", np.int32),  # the first free object, or NO_OBJECT
            ("slab", np.int32),
            ("first_object", np.int32),  # of the slab
            ("partial", np.int32),  # the first slab of its partial list
            ("nr_hot", np.int32),  # objects at the head of the free list that this CPU freed (see mm.slub_lines)
            ("rest", np.int32),  # where the lines of the others are
            ("last_line", np.int32),  # the line of the slab that this CPU touched last
            ("touched", np.uint32),  # this CPU's nr_misses then, modulo 2^32
            ("alloc_fastpath", np.int64),
            ("free_fastpath", np.int64),
        ],
    )
)
slab_t = np.dtype(
    (
        Record,
        [
            ("pfn", np.int32),
            ("first_object", np.int32),
            ("next", np.int32),  # on the list that it is on, or among the recycled
            ("prev", np.int32),  # on the node's list; on a CPU's partial list see `mm.slub_cpu_list`
            ("touched", np.uint32),
            ("toucher", np.uint16),  # the CPU that touched its objects last, as `mm.cacheline.toucher` has it
            ("freelist", np.uint16),  # the first free object's index, or END
            ("inuse", np.uint16),
            ("objects", np.uint16),
            ("cache", np.uint16),
            ("order", np.int8),
            ("slab_flags", np.uint8),
        ],
    )
)
# One request under way (the locals of the kernel's functions that it is in).
slab_context_t = np.dtype(
    (
        Record,
        [
            ("stage", np.int64),
            ("wants", np.int64),  # what a step that returned SLUB_WAIT wants (see mm.wants)
            ("zone_locked", np.int64),  # has its request for pages wanted a zone's lock?
            ("obj", np.int64),
            ("cache", np.int64),
            ("node", np.int64),  # whose list_lock it has, or wants
            ("gfp", np.int64),
            ("operation", np.int64),
            ("then", np.int64),  # where to go on when slabs are deactivated, put or discarded
            ("slab", np.int64),  # taken from a list or new: to become the cpu slab
            ("freelist", np.int64),
            ("rest", np.int64),
            ("old_slab", np.int64),  # being deactivated
            ("old_freelist", np.int64),
            ("to_tail", np.int64),
            ("chain", np.int64),  # slabs on their way to the node's list
            ("discards", np.int64),  # slabs whose pages are to be freed
            ("page_gfp", np.int64),
            ("page_order", np.int64),
            ("page_attempt", np.int64),
            ("head", np.int64),  # objects being freed: first, last, how many, and their slab
            ("tail", np.int64),
            ("nr_freed", np.int64),
            ("free_slab", np.int64),
            ("prior", np.int64),  # what the exchange of the slab's free list compares with
            ("counters", np.int64),
            ("nr_wanted", np.int64),
            ("nr_objects", np.int64),  # objects in the context's row of `bulk`
            ("sheaf", np.int64),  # with sheaves: which one it fills, flushes or has got
            ("sheaf_then", np.int64),  # where to go on when that is filled or flushed
            ("nr_refilled", np.int64),  # of nr_wanted objects; one object goes to `obj`
            ("asked_gfp", np.int64),  # what the caller asked, where `gfp` is another
            ("put_fail", np.int64),
            ("flushed_cpu", np.int64),  # whose slabs are being flushed
            ("next_node", np.int64),  # whose list is shrunk or destroyed next
            ("remaining", np.int64),  # of a cache that was to be destroyed: live objects
            ("large_pfn", np.int64),  # for mm.kmalloc: the large block that is the result, or NO_PAGE
            ("realloc_size", np.int64),  # of a krealloc that moves its memory: the new size, else 0; and the old memory
            ("old_obj", np.int64),
            ("old_large_pfn", np.int64),
            ("realloc_waits", np.int64),  # has a krealloc wanted something that takes time?
        ],
    )
)
slab_params_t = np.dtype(
    (
        Record,
        [
            ("nr_cpus", np.int64),
            ("nr_nodes", np.int64),
            ("lock_first", np.int64),  # the number of the caches' first lock (see `mm.locks`)
            ("barn_lock_first", np.int64),  # and of their barns'
            ("nr_slabs_used", np.int64),  # of `slabs`, recycled ones among them
            ("nr_chunks_used", np.int64),
        ],
    )
)
# What was done, for the price list; the caller sets it to zero.
slab_work_t = np.dtype(
    (
        Record,
        [
            ("alloc_slow", np.int64),
            ("free_slow", np.int64),
            ("cmpxchg", np.int64),
            ("slabs_new", np.int64),
            ("objects_set_up", np.int64),
            ("objects_constructed", np.int64),
            ("slabs_moved", np.int64),
            ("slabs_discarded", np.int64),
            ("bulk_objects", np.int64),
            ("bytes_copied", np.int64),  # by krealloc
        ],
    )
)


class Slub(NamedTuple):
    """The whole state of the slab allocator; every field is an array of records or of plain numbers."""

    caches: NDArray[np.void]
    cache_nodes: NDArray[np.void]  # indexed by `cache_node_index`
    cpu_slabs: NDArray[np.void]  # indexed by `cpu_slab_index`
    slabs: NDArray[np.void]
    links: NDArray[np.uint16]
    slab_of_chunk: NDArray[np.uint32]
    contexts: NDArray[np.void]  # indexed as the machine's
    work: NDArray[np.void]
    params: NDArray[np.void]
    bulk: NDArray[np.int32]  # SLAB_BULK_MAX objects for each context, from its `bulk_row` on
    random_seq: NDArray[np.uint16]  # the caches' random sequences of objects, one after the other
    promote: NDArray[np.int64]  # the first slab with 1, 2, ... free objects, while a cache is shrunk
    sheaves: Sheaves = NO_SHEAVES  # where CPUs have them, and no slabs (see `mm.sheaf`)


@shared
def bulk_row(ac: ContextIdx) -> int:
    """Where a context's row of `bulk` begins."""
    return ac * SLAB_BULK_MAX


@shared
def cache_node_index(sl: Slub, cache: CacheIdx, node: NodeIdx) -> CacheNodeIdx:
    """Where what a cache has on a node is in `cache_nodes` (kernel: get_node)."""
    return cache * int(sl.params[0].nr_nodes) + node


@shared
def list_lock_of(sl: Slub, cache: CacheIdx, node: NodeIdx) -> LockIdx:
    """The number of a cache's list_lock on a node."""
    return nth_list_lock(int(sl.params[0].lock_first), cache_node_index(sl, cache, node))


def nodes_of_cache(sl: Slub, cache: CacheIdx) -> NDArray[np.void]:
    """What a cache has on each node; a view."""
    return sl.cache_nodes[cache_node_index(sl, cache, 0) : cache_node_index(sl, cache + 1, 0)]


@shared
def cpu_slab_index(sl: Slub, cache: CacheIdx, cpu: CpuIdx) -> CpuSlabIdx:
    """Where a CPU's slabs of a cache are in `cpu_slabs`."""
    return cache * int(sl.params[0].nr_cpus) + cpu


def cpu_slabs_of(sl: Slub, cache: CacheIdx) -> NDArray[np.void]:
    """All CPUs' slabs of a cache, by CPU; a view."""
    return sl.cpu_slabs[cpu_slab_index(sl, cache, 0) : cpu_slab_index(sl, cache + 1, 0)]


def new_slub(
    m: Machine,
    geometries: Sequence[Geometry],
    random_seeds: Sequence[int] | None = None,
    nr_spare: int = 0,
    *,
    nr_prefilled: int = 0,
) -> Slub:
    """Empty caches, numbered as their geometries; with seeds, one a cache, objects are handed out in random order.

    There are `nr_spare` numbers behind them for caches that are created while the machine runs (`add_cache`), and,
    with sheaves, room for `nr_prefilled` that users have for themselves.
    """
    nr_cpus = int(m.params[0].nr_cpus)
    nr_pages = int(m.zones["present_pages"].sum()) or int(m.params[0].nr_frames)
    nr_slabs, nr_chunks = _capacity(nr_pages, geometries)
    if nr_spare:
        words = nr_pages << (int(m.params[0].page_shift) - 3)  # no object is smaller than one
        nr_chunks = min(nr_chunks + (words >> CHUNK_SHIFT), NR_LINKS_MAX >> CHUNK_SHIFT)
        nr_slabs = min(nr_slabs + nr_pages, nr_chunks)
    nr_caches, nr_nodes = len(geometries) + nr_spare, len(m.nodes)
    nr_random = sum(g.objects for g in geometries) if random_seeds else 0
    sl = Slub(
        caches=np.zeros(nr_caches, kmem_cache_t),
        cache_nodes=np.zeros(nr_caches * nr_nodes, kmem_cache_node_t),
        cpu_slabs=np.zeros(nr_caches * nr_cpus, kmem_cache_cpu_t),
        slabs=np.zeros(nr_slabs, slab_t),
        links=np.zeros(nr_chunks << CHUNK_SHIFT, np.uint16),
        slab_of_chunk=np.zeros(nr_chunks, np.uint32),
        contexts=np.zeros(len(m.contexts), slab_context_t),
        work=np.zeros(1, slab_work_t),
        params=np.zeros(1, slab_params_t),
        bulk=np.zeros(len(m.contexts) * SLAB_BULK_MAX, np.int32),
        random_seq=np.zeros(nr_random, np.uint16),
        promote=np.full(SHRINK_PROMOTE_MAX + 1, NO_SLAB, np.int64),
        sheaves=new_sheaves(geometries, nr_cpus, nr_nodes, nr_prefilled) if m.params[0].sheaves else NO_SHEAVES,
    )
    sl.params[0].nr_cpus = nr_cpus
    sl.params[0].nr_nodes = nr_nodes
    sl.params[0].lock_first = first_of_class(all_locks(len(m.zones), len(sl.cache_nodes)), NODE_LIST_LOCK)
    _say_empty(sl)
    recyclers: dict[int, int] = {}
    place = 0
    for number, geometry in enumerate(geometries):
        _set_up_cache(sl.caches[number], geometry)
        sl.caches[number].recycler = recyclers.setdefault(_chunks(geometry), number)
        if random_seeds and geometry.objects > 1:
            set_up_random(sl.caches[number], sl.random_seq, place, random_seeds[number])
            place += geometry.objects
    return sl


def _say_empty(sl: Slub) -> None:
    """No CPU, no list and no request has anything."""
    sl.cpu_slabs["freelist"] = NO_OBJECT
    for name in ("slab", "partial"):
        sl.cpu_slabs[name] = NO_SLAB
    for name in ("slab", "old_slab", "chain", "discards", "free_slab"):
        sl.contexts[name] = NO_SLAB
    for name in ("old_freelist", "obj"):
        sl.contexts[name] = NO_OBJECT
    sl.contexts["large_pfn"] = NO_PAGE
    sl.contexts["sheaf"] = NO_SHEAF
    sl.caches["recycled"] = NO_SLAB
    sl.caches["random_seq"] = IN_ORDER
    for name in ("partial_first", "partial_last"):
        sl.cache_nodes[name] = NO_SLAB


def add_cache(sl: Slub, number: int, geometry: Geometry, random_seed: int | None = None) -> Slub:
    """Add a cache under a spare number, which has a lock already; called between two calls of compiled code."""
    assert not sl.caches[number].nr_chunks, "not a spare number"
    _set_up_cache(sl.caches[number], geometry)
    alike = np.flatnonzero(sl.caches["nr_chunks"] == sl.caches[number].nr_chunks)
    sl.caches[number].recycler = sl.caches["recycler"][alike[0]] if alike[0] != number else number
    if random_seed is None or geometry.objects == 1:
        return sl
    place = len(sl.random_seq)
    sl = sl._replace(random_seq=np.concatenate((sl.random_seq, np.zeros(geometry.objects, np.uint16))))
    set_up_random(sl.caches[number], sl.random_seq, place, random_seed)
    return sl


def _chunks(geometry: Geometry) -> int:
    """Chunks of a slab's range of object numbers."""
    return (geometry.objects + (1 << CHUNK_SHIFT) - 1) >> CHUNK_SHIFT


def _capacity(nr_pages: int, geometries: Sequence[Geometry]) -> tuple[int, int]:
    """How many slabs and chunks all pages can hold, for each length of range, up to NR_LINKS_MAX links."""
    least: dict[int, int] = {}
    for geometry in geometries:
        chunks = _chunks(geometry)
        least[chunks] = min(least.get(chunks, geometry.min_order), geometry.min_order)
    slabs_of = {chunks: nr_pages >> order for chunks, order in least.items()}
    nr_chunks = min(sum(chunks * nr for chunks, nr in slabs_of.items()), NR_LINKS_MAX >> CHUNK_SHIFT)
    return min(sum(slabs_of.values()), nr_chunks), nr_chunks


def _set_up_cache(cache: np.void, geometry: Geometry) -> None:
    """A cache without slabs."""
    assert 0 < geometry.objects <= END, "more objects in a slab than a link can name"
    assert geometry.min_objects <= geometry.objects, "the smallest slab is larger than the usual one"
    sizes = ("object_size", "order", "objects", "min_order", "min_objects", "min_partial")
    for name in (*sizes, "has_ctor", "wiped_bytes"):
        cache[name] = getattr(geometry, name)
    cache["cpu_partial"] = geometry.cpu_partial
    cache["cpu_partial_slabs"] = geometry.cpu_partial_slabs
    cache["slot_size"] = geometry.size
    cache["nr_chunks"] = _chunks(geometry)
    cache["allocflags"] = (
        GFP_COMP
        | (GFP_DMA if geometry.flags & SLAB_CACHE_DMA else 0)
        | (GFP_DMA32 if geometry.flags & SLAB_CACHE_DMA32 else 0)
        | (GFP_RECLAIMABLE if geometry.flags & SLAB_RECLAIM_ACCOUNT else 0)
    )
