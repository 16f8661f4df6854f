"""New slabs: pages from the page allocator, and their free list (kernel: allocate_slab).

The usual order is tried first, such that the page allocator neither reclaims nor retries for it, then the
smallest order that holds one object, as the caller asked. Free objects are linked in the order of their
addresses, or, with random order, from a random place of the cache's shuffled sequence on.

Leaves out what is written into the objects, object extensions, and memory control groups. Invariant: no
other request sees a new slab before it is a cpu slab. Lock order: the page allocator's.
"""

from kmsim.jit import core, small
from kmsim.mm.cacheline import touch
from kmsim.mm.gfp import (
    ALLOC_NO_WATERMARKS,
    GFP_CONSTRAINT_MASK,
    GFP_DIRECT_RECLAIM,
    GFP_MEMALLOC,
    GFP_NOFAIL,
    GFP_NOMEMALLOC,
    GFP_NORETRY,
    GFP_NOWARN,
    GFP_RECLAIM,
    GFP_RECLAIM_MASK,
)
from kmsim.mm.indices import CacheIdx, ContextIdx, Gfp, SlabIdx
from kmsim.mm.mmzone import NO_PAGE, PG_SLAB, Machine
from kmsim.mm.page_alloc import alloc_begin
from kmsim.mm.prep_new_page import after_lock
from kmsim.mm.slub_lines import LINE_HOT, stamp_slab, touch_set_up
from kmsim.mm.slub_partial import slab_nid
from kmsim.mm.slub_random import next_random
from kmsim.mm.slub_records import (
    CHUNK_SHIFT,
    END,
    IN_ORDER,
    NO_OBJECT,
    NO_SLAB,
    SLAB_FROZEN,
    SLAB_LIVE,
    SLAB_PFMEMALLOC,
    Slub,
    cache_node_index,
)
from kmsim.mm.slub_steps import (
    ALLOC_SLAB_PAGES,
    OUT_OF_MEMORY,
    PAGES_ALLOCATED,
    PAGES_WANTED,
    RETRY_LOAD_SLAB,
    SLUB_WAIT,
)
from kmsim.mm.wants import LOCK

_SLAB_GFP_MASK = GFP_RECLAIM_MASK | GFP_CONSTRAINT_MASK  # what of the caller's flags reaches the page allocator


@small
def pfmemalloc_match(sl: Slub, slab: SlabIdx, gfp: Gfp) -> bool:
    """May the request use the slab, whose pages may come from the reserves? (kernel: pfmemalloc_match)"""
    if int(sl.slabs[slab].slab_flags) & SLAB_PFMEMALLOC:
        return gfp & GFP_MEMALLOC != 0 and gfp & GFP_NOMEMALLOC == 0
    return True


@small
def allocate_slab(sl: Slub, ac: ContextIdx) -> int:
    """Ask for pages of the usual order first."""
    context = sl.contexts[ac]
    cache = sl.caches[int(context.cache)]
    gfp = (int(context.gfp) & _SLAB_GFP_MASK) | int(cache.allocflags)
    gfp = (gfp | GFP_NOWARN | GFP_NORETRY) & ~GFP_NOFAIL
    if gfp & GFP_DIRECT_RECLAIM and cache.order > cache.min_order:
        gfp = (gfp | GFP_NOMEMALLOC) & ~GFP_RECLAIM
    context.page_gfp = gfp
    context.page_order = int(cache.order)
    context.page_attempt = 0
    return ALLOC_SLAB_PAGES


@small
def alloc_slab_pages(m: Machine, sl: Slub, ac: ContextIdx) -> int:
    """Ask the page allocator for the pages of a slab (kernel: alloc_slab_page)."""
    context = sl.contexts[ac]
    wants = alloc_begin(m, ac, int(context.page_gfp), int(context.page_order))
    context.stage = PAGES_WANTED
    context.wants = wants
    context.zone_locked = int(wants == LOCK)
    return SLUB_WAIT if wants else PAGES_ALLOCATED


@small
def pages_allocated(m: Machine, sl: Slub, ac: ContextIdx) -> int:
    """The page allocator has answered: set the slab up, or ask for the smallest order, or fail."""
    after_lock(m, ac)
    context = sl.contexts[ac]
    if m.contexts[ac].pfn != NO_PAGE:
        new_slab(m, sl, ac)
        return RETRY_LOAD_SLAB
    if context.page_attempt:
        return OUT_OF_MEMORY
    cache = sl.caches[int(context.cache)]
    context.page_attempt = 1
    context.page_gfp = (int(context.gfp) & _SLAB_GFP_MASK) | int(cache.allocflags)
    context.page_order = int(cache.min_order)
    return ALLOC_SLAB_PAGES


@core
def new_slab(m: Machine, sl: Slub, ac: ContextIdx) -> None:
    """Make a slab of the context's pages, frozen and with all objects taken (kernel: allocate_slab)."""
    context = sl.contexts[ac]
    cache = sl.caches[int(context.cache)]
    cpu = int(m.contexts[ac].cpu)
    pfn = int(m.contexts[ac].pfn)
    slab = take_record(sl, int(context.cache))
    objects = int(cache.min_objects if context.page_attempt else cache.objects)
    record = sl.slabs[slab]
    record.pfn = pfn
    record.order = int(context.page_order)
    record.cache = int(context.cache)
    record.objects = objects
    record.inuse = objects
    record.freelist = END
    record.slab_flags = SLAB_LIVE | SLAB_FROZEN
    if m.contexts[ac].alloc_flags & ALLOC_NO_WATERMARKS:
        record.slab_flags = SLAB_LIVE | SLAB_FROZEN | SLAB_PFMEMALLOC
        # The request that found the reserves open may use them: its flags alone decide both here.
        assert pfmemalloc_match(sl, slab, int(context.gfp)), "a slab of the reserves for one who may not use them"
    m.pages[pfn].page_flags = int(m.pages[pfn].page_flags) | PG_SLAB
    m.pages[pfn].next = slab
    touch(m, ac, pfn)
    context.slab = slab
    context.freelist = int(record.first_object) + link_objects(sl, slab, objects)
    context.rest = LINE_HOT
    node = sl.cache_nodes[cache_node_index(sl, int(context.cache), slab_nid(m, sl, slab))]
    node.nr_slabs += 1
    node.total_objects += objects
    cache.alloc_slab += 1
    cache.order_fallback += int(context.page_attempt)
    work = sl.work[0]
    work.slabs_new += 1
    work.objects_set_up += objects
    if cache.has_ctor:
        work.objects_constructed += objects
    touch_set_up(m, sl, slab, cpu)
    stamp_slab(m, sl, slab, cpu)


@small
def take_record(sl: Slub, cache: CacheIdx) -> int:
    """A recycled slab record with its range of objects, or a fresh one."""
    keeper = sl.caches[int(sl.caches[cache].recycler)]
    slab = int(keeper.recycled)
    if slab != NO_SLAB:
        keeper.recycled = int(sl.slabs[slab].next)
        return slab
    params = sl.params[0]
    slab = int(params.nr_slabs_used)
    chunk = int(params.nr_chunks_used)
    nr_chunks = int(sl.caches[cache].nr_chunks)
    assert slab < len(sl.slabs), "more slabs than there are records"
    assert chunk + nr_chunks <= len(sl.slab_of_chunk), "more than 2^30 objects"
    params.nr_slabs_used = slab + 1
    params.nr_chunks_used = chunk + nr_chunks
    sl.slabs[slab].first_object = chunk << CHUNK_SHIFT
    for i in range(chunk, chunk + nr_chunks):
        sl.slab_of_chunk[i] = slab
    return slab


@small
def link_objects(sl: Slub, slab: SlabIdx, objects: int) -> int:
    """Link a new slab's objects; the index of the first."""
    first_object = int(sl.slabs[slab].first_object)
    cache = sl.caches[int(sl.slabs[slab].cache)]
    if cache.random_seq != IN_ORDER and objects > 1:
        return shuffle_freelist(sl, slab, objects)
    for i in range(objects - 1):
        sl.links[first_object + i] = i + 1
    sl.links[first_object + objects - 1] = END
    return 0


@core
def shuffle_freelist(sl: Slub, slab: SlabIdx, objects: int) -> int:
    """Link a new slab's objects in the cache's random sequence, from a random place on (kernel: shuffle_freelist)."""
    first_object = int(sl.slabs[slab].first_object)
    cache = sl.caches[int(sl.slabs[slab].cache)]
    length = int(cache.objects)
    state = next_random(int(cache.random_state))
    cache.random_state = state
    place = (state * length) >> 32
    first = NO_OBJECT
    before = NO_OBJECT
    nr_linked = 0
    while nr_linked < objects:
        index = int(sl.random_seq[int(cache.random_seq) + place])
        place = place + 1 if place + 1 < length else 0
        if index < objects:
            if before < 0:
                first = index
            else:
                sl.links[first_object + before] = index
            before = index
            nr_linked += 1
    sl.links[first_object + before] = END
    return first
