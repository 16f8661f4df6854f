"""Freeing objects: the slow path and batches (kernel: __slab_free, build_detached_freelist).

An object of the CPU's own cpu slab goes to that slab's free list (in `mm.slub`); any other to its slab's own,
with one exchange of two words: the free list and the counters. Only where the last object of a slab that may
be on the node's list is freed is list_lock needed, and it is taken before the exchange; when the exchange then
finds the slab changed, the lock was not needed, and the free starts over.

Leaves out the debugging path, RCU-delayed freeing of pages (SLAB_TYPESAFE_BY_RCU slabs are freed at once), and
object extensions. Invariant: the objects from `head` to `tail` are linked and on no list. Lock order: see `mm.slub`.
"""

from kmsim.jit import small
from kmsim.mm.indices import ContextIdx, ObjectIdx, SlabIdx
from kmsim.mm.mmzone import Machine
from kmsim.mm.slub_init import wipe_objects
from kmsim.mm.slub_lines import stamp_slab, touch_freed_slowly
from kmsim.mm.slub_partial import (
    context_node,
    discard_later,
    put_cpu_partial,
    remove_partial,
    slab_nid,
    touch_slab,
    want_list_lock,
)
from kmsim.mm.slub_records import (
    CHUNK_SHIFT,
    END,
    IN_USE,
    NO_SLAB,
    SLAB_FROZEN,
    SLAB_NODE_PARTIAL,
    Slub,
    bulk_row,
    cpu_slab_index,
)
from kmsim.mm.slub_steps import DISCARD, FREE_TO_SLAB, LOCKED_FREE, OP_FREE_BULK, PUT_PARTIALS, SLUB_DONE

_LOOK_AHEAD = 3


@small
def slab_of(sl: Slub, obj: ObjectIdx) -> SlabIdx:
    """The slab that an object's number belongs to."""
    return int(sl.slab_of_chunk[obj >> CHUNK_SHIFT])


@small
def counters_of(sl: Slub, slab: SlabIdx) -> int:
    """The second word that the exchange compares: objects in use, and whether the slab is frozen."""
    record = sl.slabs[slab]
    return int(record.inuse) << 1 | (int(record.slab_flags) & SLAB_FROZEN)


@small
def has_changed(sl: Slub, ac: ContextIdx, slab: SlabIdx) -> bool:
    """Has somebody else exchanged the slab's two words since the context read them? Then its exchange fails."""
    context = sl.contexts[ac]
    if int(sl.slabs[slab].freelist) == context.prior and counters_of(sl, slab) == context.counters:
        return False
    sl.work[0].cmpxchg += 1
    sl.caches[int(context.cache)].cmpxchg_double_fail += 1
    return True


@small
def needs_list_lock(sl: Slub, slab: SlabIdx, nr_freed: int) -> bool:
    """Would the free leave a slab empty that may be on the node's list?"""
    record = sl.slabs[slab]
    is_empty = int(record.inuse) == nr_freed
    return is_empty and int(record.freelist) != END and int(record.slab_flags) & SLAB_FROZEN == 0


@small
def exchange(m: Machine, sl: Slub, ac: ContextIdx, slab: SlabIdx) -> None:
    """Put the context's objects at the head of their slab's free list."""
    context = sl.contexts[ac]
    record = sl.slabs[slab]
    first = int(record.first_object)
    sl.links[int(context.tail)] = int(record.freelist)
    record.freelist = int(context.head) - first
    assert int(record.inuse) >= context.nr_freed, "more objects are freed than were allocated"
    record.inuse = int(record.inuse) - int(context.nr_freed)
    stamp_slab(m, sl, slab, int(m.contexts[ac].cpu))
    sl.work[0].cmpxchg += 1


@small
def free_slowly(m: Machine, sl: Slub, ac: ContextIdx) -> int:
    """Free the context's objects to their slab, whose list_lock may be wanted (kernel: __slab_free)."""
    context = sl.contexts[ac]
    slab = int(context.free_slab)
    record = sl.slabs[slab]
    touch_slab(m, sl, ac, slab)
    prior = int(record.freelist)
    if needs_list_lock(sl, slab, int(context.nr_freed)):
        sl.links[int(context.tail)] = prior
        context.prior = prior
        context.counters = counters_of(sl, slab)
        return want_list_lock(m, sl, ac, slab_nid(m, sl, slab), LOCKED_FREE)
    was_frozen = int(record.slab_flags) & SLAB_FROZEN
    exchange(m, sl, ac, slab)
    context.free_slab = NO_SLAB
    cache = sl.caches[int(context.cache)]
    if was_frozen:
        cache.free_frozen += 1
    elif prior == END:
        cache.cpu_partial_free += 1
        to_put = put_cpu_partial(m, sl, ac, slab, True)
        if to_put != NO_SLAB:
            cache.cpu_partial_drain += 1
            context.chain = to_put
            return PUT_PARTIALS
    return int(context.then)


@small
def free_locked(m: Machine, sl: Slub, ac: ContextIdx) -> int:
    """Free the last objects of a slab that may be on the node's list; under list_lock."""
    context = sl.contexts[ac]
    slab = int(context.free_slab)
    record = sl.slabs[slab]
    touch_slab(m, sl, ac, slab)
    if has_changed(sl, ac, slab):
        return FREE_TO_SLAB
    exchange(m, sl, ac, slab)
    context.free_slab = NO_SLAB
    cache = sl.caches[int(context.cache)]
    nr_partial = sl.cache_nodes[context_node(sl, ac)].nr_partial
    if int(record.slab_flags) & SLAB_NODE_PARTIAL and nr_partial >= cache.min_partial:
        remove_partial(m, sl, ac, slab)
        cache.free_remove_partial += 1
        cache.free_slab += 1
        discard_later(sl, ac, slab)
        return DISCARD
    return int(context.then)


@small
def start_slow_free(sl: Slub, ac: ContextIdx, slab: SlabIdx, head: int, tail: int) -> None:
    """Note what the slow path is to free; the caller has set how many, and what follows."""
    context = sl.contexts[ac]
    context.cache = int(sl.slabs[slab].cache)
    context.free_slab = slab
    context.head = head
    context.tail = tail
    sl.caches[int(context.cache)].free_slowpath += 1
    sl.work[0].free_slow += 1


@small
def build_detached_freelist(m: Machine, sl: Slub, ac: ContextIdx) -> int:
    """Link objects of one slab from the end of the batch; their slab (kernel: build_detached_freelist).

    Other objects stay in the context's row, in the kernel's order: at most two of them are looked past.
    """
    context = sl.contexts[ac]
    cpu = int(m.contexts[ac].cpu)
    row = bulk_row(ac)
    nr_left = int(context.nr_objects) - 1
    obj = int(sl.bulk[row + nr_left])
    slab = slab_of(sl, obj)
    first = int(sl.slabs[slab].first_object)
    touch_freed_slowly(m, sl, slab, cpu, int(sl.links[obj]) - IN_USE)
    sl.links[obj] = END
    context.head = context.tail = obj
    context.nr_freed = 1
    same = nr_left
    look_ahead = _LOOK_AHEAD
    while nr_left > 0:
        nr_left -= 1
        obj = int(sl.bulk[row + nr_left])
        if slab_of(sl, obj) == slab:
            touch_freed_slowly(m, sl, slab, cpu, int(sl.links[obj]) - IN_USE)
            sl.links[obj] = int(context.head) - first
            context.head = obj
            context.nr_freed += 1
            same -= 1
            if nr_left != same:
                sl.bulk[row + nr_left] = sl.bulk[row + same]
                sl.bulk[row + same] = obj
        else:
            look_ahead -= 1
            if look_ahead == 0:
                break
    context.nr_objects = same
    return slab


@small
def free_bulk(m: Machine, sl: Slub, ac: ContextIdx) -> int:
    """Free what is left of a batch, slab by slab (kernel: kmem_cache_free_bulk)."""
    context = sl.contexts[ac]
    while context.nr_objects > 0:
        slab = build_detached_freelist(m, sl, ac)
        head = int(context.head)
        tail = int(context.tail)
        cache = int(sl.slabs[slab].cache)
        if context.operation == OP_FREE_BULK:  # what a bulk request gives back was in nobody's hands
            wipe_objects(m, sl, cache, int(context.nr_freed))
        c = cpu_slab_index(sl, cache, int(m.contexts[ac].cpu))
        cpu_slab = sl.cpu_slabs[c]
        if int(cpu_slab.slab) != slab:
            start_slow_free(sl, ac, slab, head, tail)
            return FREE_TO_SLAB
        first = int(cpu_slab.first_object)
        sl.links[tail] = END if int(cpu_slab.freelist) < 0 else int(cpu_slab.freelist) - first
        cpu_slab.freelist = head
        cpu_slab.nr_hot += int(context.nr_freed)
        cpu_slab.free_fastpath += int(context.nr_freed)
    return SLUB_DONE
