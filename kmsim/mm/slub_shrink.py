"""Flushing, shrinking and destroying a cache (kernel: flush_all, __kmem_cache_do_shrink, __kmem_cache_shutdown).

All start by giving back every CPU's slabs. The kernel has each CPU do that for itself, by a work item; here
the context does it for one CPU after the other, and its CPU pays. Shrinking then discards empty slabs and puts
those with few free objects first; destroying discards empty slabs and counts the objects that still live.

Leaves out the mutexes (slab_mutex, flush_lock) and the wait for RCU. Invariant: while the list is sorted every
place of `promote` is empty before and after. Lock order: see `mm.slub`.
"""

from kmsim.jit import small
from kmsim.mm.indices import ContextIdx, SlabIdx
from kmsim.mm.mmzone import Machine
from kmsim.mm.slub_partial import add_partial, context_node, discard_later, remove_partial, start_deactivate
from kmsim.mm.slub_records import NO_SLAB, SHRINK_PROMOTE_MAX, Slub, cpu_slab_index
from kmsim.mm.slub_steps import DISCARD, FLUSH_CPU, FLUSH_PARTIALS, FLUSHED, PUT_PARTIALS, SLUB_DONE


@small
def flush_cpu(sl: Slub, ac: ContextIdx) -> int:
    """Deactivate the next CPU's slab (kernel: flush_slab)."""
    context = sl.contexts[ac]
    if context.flushed_cpu == sl.params[0].nr_cpus:
        return FLUSHED
    c = cpu_slab_index(sl, int(context.cache), int(context.flushed_cpu))
    if int(sl.cpu_slabs[c].slab) == NO_SLAB:
        return FLUSH_PARTIALS
    sl.caches[int(context.cache)].cpuslab_flush += 1
    return start_deactivate(sl, ac, c, FLUSH_PARTIALS)


@small
def flush_partials(sl: Slub, ac: ContextIdx) -> int:
    """Put the CPU's partial slabs on the node's list (kernel: put_partials)."""
    context = sl.contexts[ac]
    cpu_slab = sl.cpu_slabs[cpu_slab_index(sl, int(context.cache), int(context.flushed_cpu))]
    context.flushed_cpu += 1
    context.then = FLUSH_CPU
    context.chain = int(cpu_slab.partial)
    cpu_slab.partial = NO_SLAB
    return FLUSH_CPU if context.chain == NO_SLAB else PUT_PARTIALS


@small
def next_node(sl: Slub, ac: ContextIdx) -> None:
    """Go on with the next node's list when what is taken off this one is discarded, or be done."""
    context = sl.contexts[ac]
    context.next_node += 1
    context.then = FLUSHED if context.next_node < sl.params[0].nr_nodes else SLUB_DONE


@small
def take_empty(m: Machine, sl: Slub, ac: ContextIdx, slab: SlabIdx) -> None:
    """Take an empty slab off the node's list, to be discarded."""
    remove_partial(m, sl, ac, slab)
    discard_later(sl, ac, slab)


@small
def shrink_locked(m: Machine, sl: Slub, ac: ContextIdx) -> int:
    """Discard empty slabs and put the fullest ones first; under list_lock (kernel: __kmem_cache_do_shrink)."""
    next_node(sl, ac)
    slab = int(sl.cache_nodes[context_node(sl, ac)].partial_first)
    while slab != NO_SLAB:
        following = int(sl.slabs[slab].next)
        if int(sl.slabs[slab].inuse) == 0:
            take_empty(m, sl, ac, slab)
        slab = following
    promote_fullest(m, sl, ac)
    return DISCARD


@small
def promote_fullest(m: Machine, sl: Slub, ac: ContextIdx) -> None:
    """Move slabs with few free objects to the head of the list, the fullest last and so first."""
    slab = int(sl.cache_nodes[context_node(sl, ac)].partial_last)
    while slab != NO_SLAB:
        before = int(sl.slabs[slab].prev)
        nr_free = int(sl.slabs[slab].objects) - int(sl.slabs[slab].inuse)
        if nr_free <= SHRINK_PROMOTE_MAX:
            remove_partial(m, sl, ac, slab)
            sl.slabs[slab].next = int(sl.promote[nr_free])
            sl.promote[nr_free] = slab
        slab = before
    for nr_free in range(SHRINK_PROMOTE_MAX, 0, -1):
        slab = int(sl.promote[nr_free])
        sl.promote[nr_free] = NO_SLAB
        while slab != NO_SLAB:
            following = int(sl.slabs[slab].next)
            add_partial(m, sl, ac, slab, False)
            slab = following


@small
def destroy_locked(m: Machine, sl: Slub, ac: ContextIdx) -> int:
    """Discard empty slabs and count live objects; under list_lock (kernel: free_partial)."""
    next_node(sl, ac)
    node = sl.cache_nodes[context_node(sl, ac)]
    remaining = int(node.total_objects)
    slab = int(node.partial_first)
    while slab != NO_SLAB:
        following = int(sl.slabs[slab].next)
        remaining -= int(sl.slabs[slab].objects) - int(sl.slabs[slab].inuse)
        if int(sl.slabs[slab].inuse) == 0:
            take_empty(m, sl, ac, slab)
        slab = following
    sl.contexts[ac].remaining += remaining
    return DISCARD
