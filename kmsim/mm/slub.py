"""SLUB: caches of objects of one size (kernel: mm/slub.c).

An allocation takes the first object of the CPU's free list, a free of an object of the CPU's own slab puts it
there: no lock, no exchange of shared words. All else is a request made of steps, as those of `mm.page_alloc`:
a verb `..._begin` runs up to the first thing that it wants (see `mm.wants`), `slab_resume` goes on when that was
granted: a cache's list_lock, what the page allocator within wants, or, right behind a critical section, to go on
without a lock. State changes only in these calls; between two of them an interrupt on the same CPU, in a context of
its own, may allocate and free here.

The ladder of an allocation (___slab_alloc):
    the cpu slab's own free list, where others have freed to it
    the CPU's partial slabs
    the node's partial slabs, under list_lock: one to use, some for the CPU's list
    a new slab from the page allocator: the usual order, then the smallest one
    where an interrupt has installed a cpu slab meanwhile, that is deactivated first

Models CONFIG_SLUB_CPU_PARTIAL, preemption off. Leaves out debugging, KFENCE, KASAN, memory cgroups,
RCU delays, and migration to another CPU while pages are allocated. Bad frees are not modelled: callers check with
`slub_object.free_problem` first.

Invariant: see `mm.slub_records`. Lock order: list_lock, then nothing (pages are allocated and freed outside of
it); a zone's lock only inside the page allocator.
"""

from kmsim.jit import core, small
from kmsim.mm.indices import CacheIdx, ContextIdx, Gfp, ObjectIdx, SlabIdx
from kmsim.mm.mmzone import Machine
from kmsim.mm.sheaf import locked_with_sheaves, sheaf_alloc, sheaf_free, start_prefill, start_return, step_with_sheaves
from kmsim.mm.slow_path import alloc_resume
from kmsim.mm.slub_alloc import (
    alloc_bulk,
    cpu_partial_slab,
    get_partial_node,
    load_freelist,
    out_of_memory,
    reread_slab,
    retry_load_slab,
    take_object,
)
from kmsim.mm.slub_free import free_bulk, free_locked, free_slowly, slab_of, start_slow_free
from kmsim.mm.slub_init import init_objects, wipe_objects
from kmsim.mm.slub_lines import (
    touch_freed,
    touch_freed_slowly,
)
from kmsim.mm.slub_new import alloc_slab_pages, allocate_slab, pages_allocated
from kmsim.mm.slub_partial import (
    add_partial_locked,
    deactivate_slab,
    discard_slab,
    put_partials_locked,
    start_put_partials,
    want_list_lock,
)
from kmsim.mm.slub_records import END, IN_USE, NO_OBJECT, NO_SLAB, SLAB_BULK_MAX, Slub, cache_node_index, cpu_slab_index
from kmsim.mm.slub_shrink import destroy_locked, flush_cpu, flush_partials, shrink_locked
from kmsim.mm.slub_steps import (
    ALLOC_NEXT_OF_BULK,
    ALLOC_SLAB,
    ALLOC_SLAB_PAGES,
    DEACTIVATE,
    DISCARD,
    FIRST_LOCKED,
    FLUSH_CPU,
    FLUSH_PARTIALS,
    FLUSHED,
    FREE_NEXT_OF_BULK,
    FREE_TO_SLAB,
    LOAD_FREELIST,
    LOCKED_ADD_PARTIAL,
    LOCKED_DESTROY,
    LOCKED_FREE,
    LOCKED_GET_PARTIAL,
    LOCKED_PUT_PARTIALS,
    LOCKED_SHRINK,
    NEW_OBJECTS,
    NEW_SLAB,
    NO_STEP,
    OP_ALLOC,
    OP_ALLOC_BULK,
    OP_DESTROY,
    OP_FREE,
    OP_FREE_BULK,
    OP_SHRINK,
    PAGES_ALLOCATED,
    PAGES_FREED,
    PAGES_WANTED,
    PUT_PARTIALS,
    REREAD_SLAB,
    RETRY_LOAD_SLAB,
    SLUB_DONE,
    SLUB_WAIT,
)
from kmsim.mm.wants import DONE, LOCK, want_to_go_on

# ---- verbs


@small
def slab_alloc_begin(m: Machine, sl: Slub, ac: ContextIdx, cache: CacheIdx, gfp: Gfp) -> int:
    """Start to allocate an object; what does that want? (kernel: slab_alloc_node)

    When it is done, `contexts[ac].obj` is the object, or NO_OBJECT: then `m.contexts[ac].failure` says why.
    """
    step = sheaf_alloc(sl, m, ac, cache, gfp)
    if step != NO_STEP:
        return DONE if step == SLUB_DONE else proceed(m, sl, ac, step)
    cpu = int(m.contexts[ac].cpu)
    c = cpu_slab_index(sl, cache, cpu)
    obj = int(sl.cpu_slabs[c].freelist)
    if obj == NO_OBJECT:
        return alloc_slowly(m, sl, ac, cache, gfp)
    sl.cpu_slabs[c].alloc_fastpath += 1
    take_object(m, sl, c, cpu, obj)
    sl.contexts[ac].obj = obj
    init_objects(m, sl, cache, gfp, 1)
    return DONE


@small
def slab_free_begin(m: Machine, sl: Slub, ac: ContextIdx, obj: ObjectIdx) -> int:
    """Start to free an object; what does that want? (kernel: slab_free)"""
    step = sheaf_free(sl, m, ac, obj)
    if step != NO_STEP:
        return DONE if step == SLUB_DONE else proceed(m, sl, ac, step)
    cpu = int(m.contexts[ac].cpu)
    slab = slab_of(sl, obj)
    record = sl.slabs[slab]
    link = int(sl.links[obj])
    assert link >= IN_USE, "double free"
    wipe_objects(m, sl, int(record.cache), 1)
    c = cpu_slab_index(sl, int(record.cache), cpu)
    cpu_slab = sl.cpu_slabs[c]
    if int(cpu_slab.slab) == slab:
        freelist = int(cpu_slab.freelist)
        sl.links[obj] = END if freelist == NO_OBJECT else freelist - int(cpu_slab.first_object)
        cpu_slab.freelist = obj
        cpu_slab.free_fastpath += 1
        touch_freed(m, sl, c, cpu, link - IN_USE)
        return DONE
    return free_elsewhere(m, sl, ac, slab, obj)


@core
def free_elsewhere(m: Machine, sl: Slub, ac: ContextIdx, slab: SlabIdx, obj: ObjectIdx) -> int:
    """Start to free an object of a slab that is not the CPU's own (kernel: __slab_free)."""
    touch_freed_slowly(m, sl, slab, int(m.contexts[ac].cpu), int(sl.links[obj]) - IN_USE)
    context = sl.contexts[ac]
    context.operation = OP_FREE
    context.then = SLUB_DONE
    context.nr_freed = 1
    start_slow_free(sl, ac, slab, obj, obj)
    step = free_slowly(m, sl, ac)
    if step == SLUB_DONE:
        context.stage = SLUB_DONE
        return DONE
    return int(context.wants) if step == SLUB_WAIT else proceed(m, sl, ac, step)


@core
def slab_alloc_bulk_begin(m: Machine, sl: Slub, ac: ContextIdx, cache: CacheIdx, gfp: Gfp, nr_objects: int) -> int:
    """Start to allocate several objects, or none; what does that want? (kernel: kmem_cache_alloc_bulk)

    When it is done, the objects are in the context's row of `bulk`, from `bulk_row` on, and
    `contexts[ac].nr_objects` is how many: all of them, or 0.
    """
    assert 0 < nr_objects <= SLAB_BULK_MAX
    context = sl.contexts[ac]
    context.cache = cache
    context.gfp = gfp
    context.operation = OP_ALLOC_BULK
    context.nr_wanted = nr_objects
    context.nr_objects = 0
    return proceed(m, sl, ac, ALLOC_NEXT_OF_BULK)


@core
def slab_free_bulk_begin(m: Machine, sl: Slub, ac: ContextIdx, nr_objects: int) -> int:
    """Start to free the first objects of the context's row of `bulk`; what does that want?

    They may be of several caches (kernel: kmem_cache_free_bulk, kfree_bulk).
    """
    assert 0 < nr_objects <= SLAB_BULK_MAX
    context = sl.contexts[ac]
    context.operation = OP_FREE_BULK
    context.then = FREE_NEXT_OF_BULK
    context.nr_objects = nr_objects
    sl.work[0].bulk_objects += nr_objects
    return proceed(m, sl, ac, FREE_NEXT_OF_BULK)


@core
def prefill_begin(m: Machine, sl: Slub, ac: ContextIdx, cache: CacheIdx, gfp: Gfp, nr_objects: int) -> int:
    """Start to get a sheaf of one's own with so many objects or more; what does that want?

    When it is done, `contexts[ac].sheaf` is the sheaf, or NO_SHEAF (kernel: kmem_cache_prefill_sheaf).
    """
    return proceed(m, sl, ac, start_prefill(sl, m, ac, cache, gfp, nr_objects))


@core
def return_begin(m: Machine, sl: Slub, ac: ContextIdx, cache: CacheIdx, gfp: Gfp, sheaf: int) -> int:
    """Start to give such a sheaf back; what does that want? (kernel: kmem_cache_return_sheaf)"""
    return proceed(m, sl, ac, start_return(sl, m, ac, cache, gfp, sheaf))


@core
def slab_shrink_begin(m: Machine, sl: Slub, ac: ContextIdx, cache: CacheIdx) -> int:
    """Start to give back what a cache does not need; a lock is wanted (kernel: kmem_cache_shrink)."""
    return flush_begin(m, sl, ac, cache, OP_SHRINK)


@core
def slab_destroy_begin(m: Machine, sl: Slub, ac: ContextIdx, cache: CacheIdx) -> int:
    """Start to destroy a cache; a lock is wanted (kernel: kmem_cache_destroy).

    When it is done, `contexts[ac].remaining` is how many objects still live: if any, the cache stays.
    """
    return flush_begin(m, sl, ac, cache, OP_DESTROY)


@small
def flush_begin(m: Machine, sl: Slub, ac: ContextIdx, cache: CacheIdx, operation: int) -> int:
    """Start to give back all CPUs' slabs (kernel: flush_all)."""
    context = sl.contexts[ac]
    context.cache = cache
    context.operation = operation
    context.flushed_cpu = 0
    context.next_node = 0
    context.remaining = 0
    return proceed(m, sl, ac, FLUSH_CPU)


@core
def slab_resume(m: Machine, sl: Slub, ac: ContextIdx) -> int:
    """What the request wanted is granted: run the critical section that it waits for; what does it want now?

    A lock that was granted is held until this returns. What follows a critical section is done without it.
    """
    context = sl.contexts[ac]
    stage = int(context.stage)
    if stage < FIRST_LOCKED:
        return proceed(m, sl, ac, stage)
    if stage in (PAGES_WANTED, PAGES_FREED):
        context.wants = wants = pages_resume(m, sl, ac)
        if wants != DONE:
            return wants
        step = PAGES_ALLOCATED if stage == PAGES_WANTED else DISCARD
        if not context.zone_locked:
            return proceed(m, sl, ac, step)
    else:
        step = critical_section(m, sl, ac, stage)
    if step == DISCARD and context.discards == NO_SLAB:
        step = int(context.then)
    context.stage = step
    return DONE if step == SLUB_DONE else want_to_go_on(m, ac)


@small
def pages_resume(m: Machine, sl: Slub, ac: ContextIdx) -> int:
    """What the page allocator wanted is granted: go on with it."""
    wants = alloc_resume(m, ac)
    if wants == LOCK:
        sl.contexts[ac].zone_locked = 1
    return wants


@core
def alloc_slowly(m: Machine, sl: Slub, ac: ContextIdx, cache: CacheIdx, gfp: Gfp) -> int:
    """Start an allocation that finds nothing on the CPU's free list (kernel: __slab_alloc)."""
    context = sl.contexts[ac]
    context.cache = cache
    context.gfp = gfp
    context.operation = OP_ALLOC
    sl.caches[cache].alloc_slowpath += 1
    sl.work[0].alloc_slow += 1
    return proceed(m, sl, ac, REREAD_SLAB)


# ---- the steps


@core
def proceed(m: Machine, sl: Slub, ac: ContextIdx, step: int) -> int:
    """Take steps, none under a lock, until the request wants something or is done; what does it want?"""
    while step > SLUB_DONE:
        following = step_with_sheaves(sl, m, ac, step)
        if following != NO_STEP:
            step = following
        elif step < DEACTIVATE:
            step = step_of_alloc(m, sl, ac, step)
        elif step == DEACTIVATE:
            step = deactivate_slab(m, sl, ac)
        elif step == PUT_PARTIALS:
            step = start_put_partials(m, sl, ac)
        elif step == DISCARD:
            step = discard_slab(m, sl, ac)
        elif step == FREE_NEXT_OF_BULK:
            step = free_bulk(m, sl, ac)
        elif step == FREE_TO_SLAB:
            step = free_slowly(m, sl, ac)
        else:
            step = step_of_rest(m, sl, ac, step)
    if step == SLUB_WAIT:
        return int(sl.contexts[ac].wants)
    sl.contexts[ac].stage = SLUB_DONE
    return DONE


@small
def step_of_alloc(m: Machine, sl: Slub, ac: ContextIdx, step: int) -> int:
    """One step of ___slab_alloc that holds no lock."""
    if step == REREAD_SLAB:
        return reread_slab(m, sl, ac)
    if step == NEW_SLAB:
        return cpu_partial_slab(m, sl, ac)
    if step == NEW_OBJECTS:
        return new_objects(m, sl, ac)
    if step == ALLOC_SLAB:
        return allocate_slab(sl, ac)
    if step == ALLOC_SLAB_PAGES:
        return alloc_slab_pages(m, sl, ac)
    if step == PAGES_ALLOCATED:
        return pages_allocated(m, sl, ac)
    if step == RETRY_LOAD_SLAB:
        return retry_load_slab(m, sl, ac)
    if step == LOAD_FREELIST:
        return load_freelist(m, sl, ac)
    return out_of_memory(sl, ac)


@small
def new_objects(m: Machine, sl: Slub, ac: ContextIdx) -> int:
    """Look at the list of the CPU's node, if there is anything on it (kernel: get_partial)."""
    nid = int(m.cpus[m.contexts[ac].cpu].node)
    node = sl.cache_nodes[cache_node_index(sl, int(sl.contexts[ac].cache), nid)]
    return want_list_lock(m, sl, ac, nid, LOCKED_GET_PARTIAL) if node.nr_partial else ALLOC_SLAB


@core
def step_of_rest(m: Machine, sl: Slub, ac: ContextIdx, step: int) -> int:
    """One step of what is asked for rarely."""
    if step == ALLOC_NEXT_OF_BULK:
        return alloc_bulk(m, sl, ac)
    if step == FLUSH_CPU:
        return flush_cpu(sl, ac)
    if step == FLUSH_PARTIALS:
        return flush_partials(sl, ac)
    assert step == FLUSHED
    context = sl.contexts[ac]
    is_shrink = context.operation == OP_SHRINK
    return want_list_lock(m, sl, ac, int(context.next_node), LOCKED_SHRINK if is_shrink else LOCKED_DESTROY)


@small
def critical_section(m: Machine, sl: Slub, ac: ContextIdx, stage: int) -> int:
    """What is done under list_lock, or a barn's lock; the step that follows, without it."""
    step = locked_with_sheaves(sl, m, ac, stage)
    if step != NO_STEP:
        return step
    if stage == LOCKED_FREE:
        return free_locked(m, sl, ac)
    if stage == LOCKED_ADD_PARTIAL:
        return add_partial_locked(m, sl, ac)
    if stage == LOCKED_PUT_PARTIALS:
        return put_partials_locked(m, sl, ac)
    if stage == LOCKED_GET_PARTIAL:
        return get_partial_node(m, sl, ac)
    if stage == LOCKED_SHRINK:
        return shrink_locked(m, sl, ac)
    assert stage == LOCKED_DESTROY, "a context that waits for nothing"
    return destroy_locked(m, sl, ac)
