"""The steps of an allocation that finds nothing on its CPU's free list (kernel: ___slab_alloc).

Names are those of the kernel's labels and functions where it has them; `mm.slub` has the ladder, and calls
each step with nothing held, `get_partial_node` with list_lock.

Leaves out debugged caches, which allocate object by object. Invariant: a slab is frozen from
where its free list is taken until it is deactivated. Lock order: see `mm.slub`.
"""

from kmsim.jit import small
from kmsim.mm.indices import ContextIdx, CpuIdx, CpuSlabIdx, ObjectIdx, SlabIdx
from kmsim.mm.mmzone import Machine
from kmsim.mm.slub_cpu_list import has_enough
from kmsim.mm.slub_init import init_objects
from kmsim.mm.slub_lines import stamp_slab, start_list, touch_allocated, where_lines_are
from kmsim.mm.slub_new import pfmemalloc_match
from kmsim.mm.slub_partial import (
    context_node,
    put_cpu_partial,
    remove_partial,
    start_deactivate,
    this_cpu_slab,
    touch_slab,
)
from kmsim.mm.slub_records import END, IN_USE, NO_OBJECT, NO_SLAB, OWNERS, SLAB_FROZEN, Slub, bulk_row
from kmsim.mm.slub_steps import (
    ALLOC_NEXT_OF_BULK,
    ALLOC_SLAB,
    FREE_NEXT_OF_BULK,
    LOAD_FREELIST,
    NEW_OBJECTS,
    NEW_SLAB,
    OP_ALLOC_BULK,
    PUT_PARTIALS,
    REREAD_SLAB,
    RETRY_LOAD_SLAB,
    SLUB_DONE,
)


@small
def take_object(m: Machine, sl: Slub, c: CpuSlabIdx, cpu: CpuIdx, obj: ObjectIdx) -> None:
    """Take the first object off a CPU's free list."""
    cpu_slab = sl.cpu_slabs[c]
    link = int(sl.links[obj])
    assert link < IN_USE, "an allocated object is on a free list"
    cpu_slab.freelist = NO_OBJECT if link == END else int(cpu_slab.first_object) + link
    sl.links[obj] = IN_USE | (cpu & (OWNERS - 1))
    touch_allocated(m, sl, c, cpu, obj)


@small
def install(m: Machine, sl: Slub, ac: ContextIdx, slab: SlabIdx, freelist: int) -> None:
    """Make a frozen slab the context's cpu slab; `rest` says where its lines are."""
    c = this_cpu_slab(m, sl, ac)
    cpu_slab = sl.cpu_slabs[c]
    cpu_slab.slab = slab
    cpu_slab.first_object = int(sl.slabs[slab].first_object)
    cpu_slab.freelist = freelist
    start_list(m, sl, c, int(m.contexts[ac].cpu), int(sl.contexts[ac].rest))


@small
def take_freelist(m: Machine, sl: Slub, ac: ContextIdx, slab: SlabIdx) -> int:
    """Take all free objects of a slab and freeze it; without any, unfreeze it (kernel: get_freelist, freeze_slab)."""
    record = sl.slabs[slab]
    cpu = int(m.contexts[ac].cpu)
    touch_slab(m, sl, ac, slab)
    sl.work[0].cmpxchg += 1
    freelist = int(record.freelist)
    record.freelist = END
    record.inuse = int(record.objects)
    sl.contexts[ac].rest = where_lines_are(m, sl, slab, cpu)
    stamp_slab(m, sl, slab, cpu)
    if freelist == END:
        record.slab_flags = int(record.slab_flags) & ~SLAB_FROZEN
        return NO_OBJECT
    record.slab_flags = int(record.slab_flags) | SLAB_FROZEN
    return int(record.first_object) + freelist


@small
def reread_slab(m: Machine, sl: Slub, ac: ContextIdx) -> int:
    """Take what others have freed to the cpu slab, or give the slab up (kernel: ___slab_alloc, from reread_slab on)."""
    context = sl.contexts[ac]
    c = this_cpu_slab(m, sl, ac)
    cpu_slab = sl.cpu_slabs[c]
    slab = int(cpu_slab.slab)
    if slab == NO_SLAB:
        return NEW_SLAB
    if not pfmemalloc_match(sl, slab, int(context.gfp)):
        return start_deactivate(sl, ac, c, NEW_SLAB)
    if int(cpu_slab.freelist) != NO_OBJECT:
        return LOAD_FREELIST
    cache = sl.caches[int(context.cache)]
    freelist = take_freelist(m, sl, ac, slab)
    if freelist == NO_OBJECT:
        cpu_slab.slab = NO_SLAB
        cache.deactivate_bypass += 1
        return NEW_SLAB
    cache.alloc_refill += 1
    install(m, sl, ac, slab, freelist)
    return LOAD_FREELIST


@small
def cpu_partial_slab(m: Machine, sl: Slub, ac: ContextIdx) -> int:
    """Take the first of the CPU's partial slabs (kernel: ___slab_alloc, from new_slab on)."""
    context = sl.contexts[ac]
    cpu_slab = sl.cpu_slabs[this_cpu_slab(m, sl, ac)]
    slab = int(cpu_slab.partial)
    if slab == NO_SLAB:
        return NEW_OBJECTS
    if int(cpu_slab.slab) != NO_SLAB:
        return REREAD_SLAB
    cpu_slab.partial = int(sl.slabs[slab].next)
    sl.work[0].slabs_moved += 1
    if pfmemalloc_match(sl, slab, int(context.gfp)):
        freelist = take_freelist(m, sl, ac, slab)
        assert freelist != NO_OBJECT, "a partial slab has no free object"
        sl.caches[int(context.cache)].cpu_partial_alloc += 1
        install(m, sl, ac, slab, freelist)
        return LOAD_FREELIST
    touch_slab(m, sl, ac, slab)
    sl.slabs[slab].next = NO_SLAB
    context.chain = slab
    context.then = NEW_SLAB
    return PUT_PARTIALS


@small
def get_partial_node(m: Machine, sl: Slub, ac: ContextIdx) -> int:
    """Take slabs from the node's list, the first to use, the others for the CPU's; under list_lock."""
    context = sl.contexts[ac]
    cache = sl.caches[int(context.cache)]
    partial = NO_SLAB
    nr_put = 0
    nr_free = 0
    slab = int(sl.cache_nodes[context_node(sl, ac)].partial_first)
    while slab != NO_SLAB:
        following = int(sl.slabs[slab].next)
        if pfmemalloc_match(sl, slab, int(context.gfp)):
            remove_partial(m, sl, ac, slab)
            nr_free += int(sl.slabs[slab].objects) - int(sl.slabs[slab].inuse)
            if partial == NO_SLAB:
                partial = slab
                cache.alloc_from_partial += 1
            else:
                put_cpu_partial(m, sl, ac, slab, False)
                cache.cpu_partial_node += 1
                nr_put += 1
            if has_enough(m, sl, ac, nr_put, nr_free):
                break
        slab = following
    if partial == NO_SLAB:
        return ALLOC_SLAB
    context.slab = partial
    context.freelist = take_freelist(m, sl, ac, partial)
    return RETRY_LOAD_SLAB


@small
def retry_load_slab(m: Machine, sl: Slub, ac: ContextIdx) -> int:
    """Make the slab the cpu slab, once the one that an interrupt has installed is gone (kernel: retry_load_slab)."""
    context = sl.contexts[ac]
    c = this_cpu_slab(m, sl, ac)
    if int(sl.cpu_slabs[c].slab) != NO_SLAB:
        sl.caches[int(context.cache)].cpuslab_flush += 1
        return start_deactivate(sl, ac, c, RETRY_LOAD_SLAB)
    install(m, sl, ac, int(context.slab), int(context.freelist))
    context.slab = NO_SLAB
    return LOAD_FREELIST


@small
def load_freelist(m: Machine, sl: Slub, ac: ContextIdx) -> int:
    """Take the first object of the cpu slab's free list (kernel: load_freelist)."""
    context = sl.contexts[ac]
    c = this_cpu_slab(m, sl, ac)
    obj = int(sl.cpu_slabs[c].freelist)
    assert int(sl.slabs[int(sl.cpu_slabs[c].slab)].slab_flags) & SLAB_FROZEN, "the cpu slab is not frozen"
    take_object(m, sl, c, int(m.contexts[ac].cpu), obj)
    if context.operation == OP_ALLOC_BULK:
        put_in_row(sl, ac, obj)
        return ALLOC_NEXT_OF_BULK
    context.obj = obj
    init_objects(m, sl, int(context.cache), int(context.gfp), 1)
    return SLUB_DONE


@small
def out_of_memory(sl: Slub, ac: ContextIdx) -> int:
    """There is no object; a bulk request gives back what it has."""
    context = sl.contexts[ac]
    context.obj = NO_OBJECT
    if context.operation == OP_ALLOC_BULK:
        context.then = FREE_NEXT_OF_BULK
        return FREE_NEXT_OF_BULK
    return SLUB_DONE


@small
def put_in_row(sl: Slub, ac: ContextIdx, obj: ObjectIdx) -> None:
    """Add an object to the context's row."""
    context = sl.contexts[ac]
    sl.bulk[bulk_row(ac) + int(context.nr_objects)] = obj
    context.nr_objects += 1


@small
def alloc_bulk(m: Machine, sl: Slub, ac: ContextIdx) -> int:
    """Take objects until there are enough, or the CPU's free list is empty (kernel: __kmem_cache_alloc_bulk)."""
    context = sl.contexts[ac]
    cpu = int(m.contexts[ac].cpu)
    c = this_cpu_slab(m, sl, ac)
    cache = sl.caches[int(context.cache)]
    while context.nr_objects < context.nr_wanted:
        obj = int(sl.cpu_slabs[c].freelist)
        if obj == NO_OBJECT:
            cache.alloc_slowpath += 1
            sl.work[0].alloc_slow += 1
            return REREAD_SLAB
        sl.cpu_slabs[c].alloc_fastpath += 1
        take_object(m, sl, c, cpu, obj)
        put_in_row(sl, ac, obj)
    sl.work[0].bulk_objects += int(context.nr_wanted)
    init_objects(m, sl, int(context.cache), int(context.gfp), int(context.nr_wanted))
    return SLUB_DONE
