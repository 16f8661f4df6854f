"""Objects back to their slabs, where CPUs have sheaves: single ones, and all of a sheaf (kernel: __slab_free).

A slab that gets its first free object goes to the tail of its node's list; one that has become empty is given back if
the list is long enough. Both take list_lock before the exchange of the slab's words. A sheaf's objects are copied to
the context's row and freed from its end, slab by slab (`build_detached_freelist`).

Leaves out the debugging path. Invariant: the objects from `head` to `tail` are linked and on no list. Lock order:
list_lock, and nothing under it.
"""

from kmsim.jit import core, small
from kmsim.mm.indices import ContextIdx
from kmsim.mm.mmzone import Machine
from kmsim.mm.sheaf_barn import free_sheaf
from kmsim.mm.sheaf_records import IN_SHEAF, NO_SHEAF
from kmsim.mm.slub_free import build_detached_freelist, counters_of, exchange, has_changed, start_slow_free
from kmsim.mm.slub_partial import (
    add_partial,
    context_node,
    discard_later,
    remove_partial,
    slab_nid,
    touch_slab,
    want_list_lock,
)
from kmsim.mm.slub_records import END, NO_SLAB, SLAB_NODE_PARTIAL, Slub, bulk_row
from kmsim.mm.slub_steps import DISCARD, FREE_TO_SLAB, LOCKED_FREE, SHEAF_FLUSH_NEXT


@small
def free_to_slab(m: Machine, sl: Slub, ac: ContextIdx) -> int:
    """Free the context's objects to their slab, whose list_lock may be wanted (kernel: __slab_free)."""
    context = sl.contexts[ac]
    slab = int(context.free_slab)
    record = sl.slabs[slab]
    touch_slab(m, sl, ac, slab)
    prior = int(record.freelist)
    if prior == END or int(record.inuse) == context.nr_freed:
        sl.links[int(context.tail)] = prior
        context.prior = prior
        context.counters = counters_of(sl, slab)
        return want_list_lock(m, sl, ac, slab_nid(m, sl, slab), LOCKED_FREE)
    exchange(m, sl, ac, slab)
    context.free_slab = NO_SLAB
    return int(context.then)


@small
def free_under_lock(m: Machine, sl: Slub, ac: ContextIdx) -> int:
    """Free objects to a slab that comes to the list, or leaves it; under list_lock."""
    context = sl.contexts[ac]
    slab = int(context.free_slab)
    record = sl.slabs[slab]
    touch_slab(m, sl, ac, slab)
    cache = sl.caches[int(context.cache)]
    if has_changed(sl, ac, slab):
        return FREE_TO_SLAB
    was_full = context.prior == END
    was_listed = int(record.slab_flags) & SLAB_NODE_PARTIAL != 0
    exchange(m, sl, ac, slab)
    context.free_slab = NO_SLAB
    if not was_full and not was_listed:
        return int(context.then)  # who has taken it off the list puts it back
    if int(record.inuse) == 0 and sl.cache_nodes[context_node(sl, ac)].nr_partial >= cache.min_partial:
        if not was_full:
            remove_partial(m, sl, ac, slab)
            cache.free_remove_partial += 1
        cache.free_slab += 1
        discard_later(sl, ac, slab)
        return DISCARD
    if was_full:
        add_partial(m, sl, ac, slab, True)
        cache.free_add_partial += 1
    return int(context.then)


@core
def start_flush(sl: Slub, ac: ContextIdx) -> int:
    """All objects of the context's sheaf are to go to their slabs (kernel: sheaf_flush_unused)."""
    context = sl.contexts[ac]
    record = sl.sheaves.sheaves[context.sheaf]
    row = bulk_row(ac)
    nr_objects = int(record.nr_objects)
    for n in range(nr_objects):
        obj = int(sl.sheaves.objects[int(record.first) + n])
        sl.links[obj] = int(sl.links[obj]) & ~IN_SHEAF
        sl.bulk[row + n] = obj
    record.nr_objects = 0
    context.nr_objects = nr_objects
    sl.sheaves.caches[int(context.cache)].sheaf_flush += nr_objects
    return SHEAF_FLUSH_NEXT


@small
def flush_next(m: Machine, sl: Slub, ac: ContextIdx) -> int:
    """Free the objects of one slab more, from the end of the row (kernel: __kmem_cache_free_bulk)."""
    context = sl.contexts[ac]
    if context.nr_objects == 0:
        return int(context.sheaf_then)
    slab = build_detached_freelist(m, sl, ac)
    start_slow_free(sl, ac, slab, int(context.head), int(context.tail))
    context.then = SHEAF_FLUSH_NEXT
    return FREE_TO_SLAB


@small
def drop_sheaf(sl: Slub, ac: ContextIdx) -> None:
    """The context's sheaf, which is empty, is freed."""
    context = sl.contexts[ac]
    free_sheaf(sl, int(context.cache), int(context.sheaf))
    context.sheaf = NO_SHEAF
