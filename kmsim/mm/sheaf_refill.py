"""Objects from slabs for a sheaf, or one for a request: the node's partial slabs, then new ones.

Slabs are taken off the head of the node's list, under list_lock, until they have objects enough; each gives all of its
free list. What of the last is too much goes back to it, and the slab to the tail of the list; so do slabs that were not
needed. New slabs hand out their objects in order, and go to the head of the list with the rest.

`context.nr_wanted` objects are wanted, of which there are `nr_refilled`; for a sheaf they go to `context.sheaf`, a
single one to `context.obj`. What follows is `context.sheaf_then`: fewer are there if there was no memory. Leaves out
slabs of other nodes (remote_node_defrag_ratio). Lock order: list_lock, and nothing under it.
"""

from kmsim.jit import core, small
from kmsim.mm.indices import ContextIdx, ObjectIdx, SlabIdx
from kmsim.mm.mmzone import Machine
from kmsim.mm.sheaf_records import IN_SHEAF, NO_SHEAF
from kmsim.mm.slub_lines import count_line, stamp_slab, where_lines_are
from kmsim.mm.slub_new import pfmemalloc_match
from kmsim.mm.slub_partial import add_partial, context_node, remove_partial, slab_nid, touch_slab, want_list_lock
from kmsim.mm.slub_records import END, IN_USE, NO_SLAB, OWNERS, SLAB_FROZEN, Slub, cache_node_index
from kmsim.mm.slub_steps import (
    ALLOC_SLAB,
    FREE_TO_SLAB,
    LOCKED_ADD_NEW,
    LOCKED_RETURN_FREELIST,
    LOCKED_RETURN_SLABS,
    LOCKED_TAKE_ONE,
    LOCKED_TAKE_SLABS,
    SHEAF_FREELISTS,
    SHEAF_MORE,
    SHEAF_SLABS_LEFT,
)


@small
def put_object(m: Machine, sl: Slub, ac: ContextIdx, obj: ObjectIdx) -> None:
    """The context has got one more object from a slab."""
    context = sl.contexts[ac]
    owner = int(m.contexts[ac].cpu) & (OWNERS - 1)
    context.nr_refilled += 1
    if context.sheaf == NO_SHEAF:
        sl.links[obj] = IN_USE | owner
        context.obj = obj
        return
    sl.links[obj] = IN_USE | IN_SHEAF | owner
    record = sl.sheaves.sheaves[context.sheaf]
    sl.sheaves.objects[int(record.first) + int(record.nr_objects)] = obj
    record.nr_objects = int(record.nr_objects) + 1


@small
def start_refill(m: Machine, sl: Slub, ac: ContextIdx) -> int:
    """Look at the list of the CPU's node, if there is anything on it.

    (kernel: __refill_objects_node, get_from_partial)
    """
    context = sl.contexts[ac]
    nid = int(m.cpus[m.contexts[ac].cpu].node)
    if sl.cache_nodes[cache_node_index(sl, int(context.cache), nid)].nr_partial == 0:
        return SHEAF_MORE
    return want_list_lock(m, sl, ac, nid, LOCKED_TAKE_ONE if context.sheaf == NO_SHEAF else LOCKED_TAKE_SLABS)


@small
def take_slabs(m: Machine, sl: Slub, ac: ContextIdx) -> int:
    """Take slabs off the list, from its head, until they have objects enough; under list_lock.

    (kernel: get_partial_node_bulk)
    """
    context = sl.contexts[ac]
    nr_missing = int(context.nr_wanted) - int(context.nr_refilled)
    nr_free = 0
    last = NO_SLAB
    slab = int(sl.cache_nodes[context_node(sl, ac)].partial_first)
    while slab != NO_SLAB and nr_free < nr_missing:
        following = int(sl.slabs[slab].next)
        if pfmemalloc_match(sl, slab, int(context.gfp)):
            remove_partial(m, sl, ac, slab)
            nr_free += int(sl.slabs[slab].objects) - int(sl.slabs[slab].inuse)
            sl.slabs[slab].next = NO_SLAB
            if last == NO_SLAB:
                context.chain = slab
            else:
                sl.slabs[last].next = slab
            last = slab
        slab = following
    return SHEAF_FREELISTS


@small
def take_one(m: Machine, sl: Slub, ac: ContextIdx) -> int:
    """Take one object of the first slab of the list; under list_lock (kernel: get_from_partial_node)."""
    context = sl.contexts[ac]
    slab = int(sl.cache_nodes[context_node(sl, ac)].partial_first)
    while slab != NO_SLAB and not pfmemalloc_match(sl, slab, int(context.gfp)):
        slab = int(sl.slabs[slab].next)
    if slab == NO_SLAB:
        return SHEAF_MORE
    record = sl.slabs[slab]
    touch_slab(m, sl, ac, slab)
    sl.work[0].cmpxchg += 1
    obj = int(record.first_object) + int(record.freelist)
    touch_object(m, sl, ac, slab)
    record.freelist = int(sl.links[obj])
    record.inuse = int(record.inuse) + 1
    put_object(m, sl, ac, obj)
    if int(record.freelist) == END:
        remove_partial(m, sl, ac, slab)
    return int(context.sheaf_then)


@small
def touch_object(m: Machine, sl: Slub, ac: ContextIdx, slab: SlabIdx) -> None:
    """Count the line of an object whose free pointer is read."""
    cpu = int(m.contexts[ac].cpu)
    count_line(m, sl, slab, cpu, where_lines_are(m, sl, slab, cpu))


@core
def take_freelists(m: Machine, sl: Slub, ac: ContextIdx) -> int:
    """Take the free lists of the slabs that were taken, until there are objects enough.

    (kernel: get_freelist_nofreeze)
    """
    context = sl.contexts[ac]
    while context.chain != NO_SLAB and context.nr_refilled < context.nr_wanted:
        slab = int(context.chain)
        record = sl.slabs[slab]
        context.chain = int(record.next)
        touch_slab(m, sl, ac, slab)
        sl.work[0].cmpxchg += 1
        first = int(record.first_object)
        index = int(record.freelist)
        record.freelist = END
        record.inuse = int(record.objects)
        while index != END and context.nr_refilled < context.nr_wanted:
            touch_object(m, sl, ac, slab)
            obj = first + index
            index = int(sl.links[obj])
            put_object(m, sl, ac, obj)
        stamp_slab(m, sl, slab, int(m.contexts[ac].cpu))
        if index != END:
            keep_rest(m, sl, ac, slab, first + index)
            return want_list_lock(m, sl, ac, slab_nid(m, sl, slab), LOCKED_RETURN_FREELIST)
    return SHEAF_SLABS_LEFT


@small
def keep_rest(m: Machine, sl: Slub, ac: ContextIdx, slab: SlabIdx, head: ObjectIdx) -> None:
    """Note the rest of a free list, which is to go back to its slab."""
    context = sl.contexts[ac]
    first = int(sl.slabs[slab].first_object)
    context.free_slab = slab
    context.head = head
    context.nr_freed = 1
    tail = head
    while int(sl.links[tail]) != END:
        tail = first + int(sl.links[tail])
        context.nr_freed += 1
    context.tail = tail
    m.work[0].lines_hot += int(context.nr_freed)


@small
def return_freelist(m: Machine, sl: Slub, ac: ContextIdx) -> int:
    """Give the rest back and put the slab at the tail, if nobody has freed to it; under list_lock.

    (kernel: __slab_try_return_freelist)
    """
    context = sl.contexts[ac]
    slab = int(context.free_slab)
    record = sl.slabs[slab]
    sl.work[0].cmpxchg += 1
    context.then = SHEAF_SLABS_LEFT
    if int(record.freelist) != END:
        return FREE_TO_SLAB
    record.freelist = int(context.head) - int(record.first_object)
    record.inuse = int(record.inuse) - int(context.nr_freed)
    context.free_slab = NO_SLAB
    add_partial(m, sl, ac, slab, True)
    return SHEAF_SLABS_LEFT


@small
def want_to_return_slabs(m: Machine, sl: Slub, ac: ContextIdx) -> int:
    """Slabs that were not needed go back, if there are some."""
    context = sl.contexts[ac]
    if context.chain == NO_SLAB:
        return SHEAF_MORE
    return want_list_lock(m, sl, ac, slab_nid(m, sl, int(context.chain)), LOCKED_RETURN_SLABS)


@small
def return_slabs(m: Machine, sl: Slub, ac: ContextIdx) -> int:
    """Put the slabs that were not needed at the tail of the list, in their order; under list_lock."""
    context = sl.contexts[ac]
    while context.chain != NO_SLAB:
        slab = int(context.chain)
        context.chain = int(sl.slabs[slab].next)
        add_partial(m, sl, ac, slab, True)
    return SHEAF_MORE


@small
def more_objects(sl: Slub, ac: ContextIdx) -> int:
    """Are there enough, or is a new slab needed?"""
    context = sl.contexts[ac]
    return int(context.sheaf_then) if context.nr_refilled >= context.nr_wanted else ALLOC_SLAB


@core
def alloc_from_new_slab(m: Machine, sl: Slub, ac: ContextIdx) -> int:
    """Take objects of the context's new slab, in order; what is left goes to the head of the list.

    (kernel: alloc_from_new_slab)
    """
    context = sl.contexts[ac]
    slab = int(context.slab)
    context.slab = NO_SLAB
    record = sl.slabs[slab]
    record.slab_flags = int(record.slab_flags) & ~SLAB_FROZEN
    first = int(record.first_object)
    index = int(context.freelist) - first
    nr_taken = 0
    while index != END and context.nr_refilled < context.nr_wanted:
        obj = first + index
        index = int(sl.links[obj])
        put_object(m, sl, ac, obj)
        nr_taken += 1
    record.freelist = index
    record.inuse = nr_taken
    if index == END:
        return SHEAF_MORE
    record.next = NO_SLAB
    context.chain = slab
    return want_list_lock(m, sl, ac, slab_nid(m, sl, slab), LOCKED_ADD_NEW)


@small
def add_new(m: Machine, sl: Slub, ac: ContextIdx) -> int:
    """Put the new slab at the head of the list; under list_lock."""
    context = sl.contexts[ac]
    slab = int(context.chain)
    context.chain = NO_SLAB
    add_partial(m, sl, ac, slab, False)
    return SHEAF_MORE
