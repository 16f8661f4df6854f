"""Partial slabs: the nodes' lists and each CPU's (kernel: mm/slub.c, from add_partial to put_cpu_partial).

A node's list has slabs of its own pages; it is doubly linked through them and changes under its list_lock. A CPU's
partial list has slabs of any node, and is singly linked; a slab on it says in `prev` how many there are from it on
(kernel: slab->slabs), or, before Linux 5.16, how many free objects (kernel: page->pobjects; see `mm.slub_cpu_list`).
What a step here cannot finish without a lock is left in the context and the next step returned (see `mm.slub`).

Leaves out list_lock's own contention counters, and taking slabs from other nodes' lists (get_any_partial).
Invariant: SLAB_NODE_PARTIAL is set on exactly the slabs of the nodes' lists, and a node's `nr_partial` counts those of
its list. Lock order: see `mm.slub`.
"""

from kmsim.jit import small
from kmsim.mm.cacheline import touch
from kmsim.mm.indices import CacheNodeIdx, ContextIdx, CpuSlabIdx, NodeIdx, ObjectIdx, SlabIdx
from kmsim.mm.mmzone import PG_SLAB, Machine
from kmsim.mm.page_alloc import free_begin
from kmsim.mm.slub_cpu_list import is_full_list, leave_list, note_on_list, noted_from
from kmsim.mm.slub_lines import stamp_slab
from kmsim.mm.slub_records import (
    END,
    NO_OBJECT,
    NO_SLAB,
    SLAB_FROZEN,
    SLAB_NODE_PARTIAL,
    Slub,
    cache_node_index,
    cpu_slab_index,
    list_lock_of,
)
from kmsim.mm.slub_steps import (
    DEACTIVATE,
    DISCARD,
    LOCKED_ADD_PARTIAL,
    LOCKED_PUT_PARTIALS,
    PAGES_FREED,
    PUT_PARTIALS,
    SLUB_WAIT,
)
from kmsim.mm.wants import LOCK, want_lock
from kmsim.mm.zonelist import page_zone


@small
def want_list_lock(m: Machine, sl: Slub, ac: ContextIdx, node: NodeIdx, stage: int) -> int:
    """The context waits for its cache's list_lock on a node; `stage` runs under it."""
    context = sl.contexts[ac]
    context.stage = stage
    context.node = node
    context.wants = want_lock(m, ac, list_lock_of(sl, int(context.cache), node))
    return SLUB_WAIT


@small
def slab_nid(m: Machine, sl: Slub, slab: SlabIdx) -> NodeIdx:
    """The node of a slab's pages (kernel: slab_nid)."""
    if len(m.nodes) == 1:
        return 0
    return int(m.zones[page_zone(m, int(sl.slabs[slab].pfn))].node)


@small
def context_node(sl: Slub, ac: ContextIdx) -> CacheNodeIdx:
    """What the context's cache has on the node whose list_lock the context has."""
    return cache_node_index(sl, int(sl.contexts[ac].cache), int(sl.contexts[ac].node))


@small
def touch_slab(m: Machine, sl: Slub, ac: ContextIdx, slab: SlabIdx) -> None:
    """Count a touch of a slab's struct page, if there is such a slab."""
    if slab != NO_SLAB:
        touch(m, ac, int(sl.slabs[slab].pfn))


@small
def add_partial(m: Machine, sl: Slub, ac: ContextIdx, slab: SlabIdx, to_tail: bool) -> None:
    """Put a slab on the node's list; the caller holds list_lock (kernel: add_partial)."""
    record = sl.slabs[slab]
    assert int(record.slab_flags) & (SLAB_NODE_PARTIAL | SLAB_FROZEN) == 0, "a slab is put on a list twice"
    node = sl.cache_nodes[context_node(sl, ac)]
    before = int(node.partial_last) if to_tail else NO_SLAB
    after = NO_SLAB if to_tail else int(node.partial_first)
    record.prev = before
    record.next = after
    if before == NO_SLAB:
        node.partial_first = slab
    else:
        sl.slabs[before].next = slab
    if after == NO_SLAB:
        node.partial_last = slab
    else:
        sl.slabs[after].prev = slab
    record.slab_flags = int(record.slab_flags) | SLAB_NODE_PARTIAL
    node.nr_partial += 1
    sl.work[0].slabs_moved += 1
    touch_slab(m, sl, ac, slab)
    touch_slab(m, sl, ac, before if to_tail else after)


@small
def discard_later(sl: Slub, ac: ContextIdx, slab: SlabIdx) -> None:
    """Put an empty slab, which is on no list, before those that the context will give back."""
    sl.slabs[slab].next = int(sl.contexts[ac].discards)
    sl.contexts[ac].discards = slab


@small
def remove_partial(m: Machine, sl: Slub, ac: ContextIdx, slab: SlabIdx) -> None:
    """Take a slab off the node's list; the caller holds list_lock (kernel: remove_partial)."""
    record = sl.slabs[slab]
    assert int(record.slab_flags) & SLAB_NODE_PARTIAL, "a slab is taken off a list that it is not on"
    node = sl.cache_nodes[context_node(sl, ac)]
    before = int(record.prev)
    after = int(record.next)
    if before == NO_SLAB:
        node.partial_first = after
    else:
        sl.slabs[before].next = after
    if after == NO_SLAB:
        node.partial_last = before
    else:
        sl.slabs[after].prev = before
    record.slab_flags = int(record.slab_flags) & ~SLAB_NODE_PARTIAL
    node.nr_partial -= 1
    sl.work[0].slabs_moved += 1
    touch_slab(m, sl, ac, slab)
    touch_slab(m, sl, ac, before)
    touch_slab(m, sl, ac, after)


@small
def this_cpu_slab(m: Machine, sl: Slub, ac: ContextIdx) -> CpuSlabIdx:
    """Where the cpu slab of the context's cache and CPU is in `cpu_slabs`."""
    return cpu_slab_index(sl, int(sl.contexts[ac].cache), int(m.contexts[ac].cpu))


@small
def put_cpu_partial(m: Machine, sl: Slub, ac: ContextIdx, slab: SlabIdx, may_drain: bool) -> int:
    """Put a slab on the CPU's partial list; the slabs that make room for it, to be put on the node's, or NO_SLAB."""
    cpu_slab = sl.cpu_slabs[this_cpu_slab(m, sl, ac)]
    oldest = int(cpu_slab.partial)
    noted = 0
    to_put = NO_SLAB
    if oldest != NO_SLAB:
        touch_slab(m, sl, ac, oldest)
        noted = noted_from(sl, oldest)
        if may_drain and is_full_list(m, sl, ac, noted):
            to_put = oldest
            oldest = NO_SLAB
            noted = 0
    note_on_list(m, sl, slab, noted)
    sl.slabs[slab].next = oldest
    cpu_slab.partial = slab
    sl.work[0].slabs_moved += 1
    return to_put


@small
def start_put_partials(m: Machine, sl: Slub, ac: ContextIdx) -> int:
    """The context's chain is to go to the lists of its nodes, one after the other (kernel: __put_partials)."""
    return want_list_lock(m, sl, ac, slab_nid(m, sl, int(sl.contexts[ac].chain)), LOCKED_PUT_PARTIALS)


@small
def put_partials_locked(m: Machine, sl: Slub, ac: ContextIdx) -> int:
    """Put the chain on the node's list, but for empty slabs that the node does not need; under list_lock.

    From the first slab of another node on, the chain stays.
    """
    context = sl.contexts[ac]
    cache = sl.caches[int(context.cache)]
    node = sl.cache_nodes[context_node(sl, ac)]
    slab = int(context.chain)
    while slab != NO_SLAB and slab_nid(m, sl, slab) == context.node:
        record = sl.slabs[slab]
        following = int(record.next)
        touch_slab(m, sl, ac, slab)
        leave_list(m, sl, slab)
        if int(record.inuse) == 0 and node.nr_partial >= cache.min_partial:
            discard_later(sl, ac, slab)
            cache.deactivate_empty += 1
            cache.free_slab += 1
        else:
            add_partial(m, sl, ac, slab, True)
            cache.free_add_partial += 1
        slab = following
    context.chain = slab
    return DISCARD if slab == NO_SLAB else PUT_PARTIALS


@small
def start_deactivate(sl: Slub, ac: ContextIdx, c: CpuSlabIdx, then: int) -> int:
    """Take the slab away from cpu slab `c`, to be deactivated; go on with `then`."""
    context = sl.contexts[ac]
    cpu_slab = sl.cpu_slabs[c]
    context.old_slab = int(cpu_slab.slab)
    context.old_freelist = int(cpu_slab.freelist)
    context.then = then
    cpu_slab.slab = NO_SLAB
    cpu_slab.freelist = NO_OBJECT
    return DEACTIVATE


@small
def deactivate_slab(m: Machine, sl: Slub, ac: ContextIdx) -> int:
    """Give the CPU's free objects back to the slab, unfreeze it and see where it belongs (kernel: deactivate_slab)."""
    context = sl.contexts[ac]
    cache = sl.caches[int(context.cache)]
    slab = int(context.old_slab)
    record = sl.slabs[slab]
    assert int(record.slab_flags) & SLAB_FROZEN, "a slab is deactivated that no CPU has"
    touch_slab(m, sl, ac, slab)
    sl.work[0].cmpxchg += 1
    context.to_tail = int(record.freelist) != END
    if int(record.freelist) != END:
        cache.deactivate_remote_frees += 1
    if context.old_freelist != NO_OBJECT:
        splice(m, sl, slab, int(context.old_freelist))
        stamp_slab(m, sl, slab, int(m.contexts[ac].cpu))
    record.slab_flags = int(record.slab_flags) & ~SLAB_FROZEN
    context.old_freelist = NO_OBJECT
    nid = slab_nid(m, sl, slab)
    nr_partial = sl.cache_nodes[cache_node_index(sl, int(context.cache), nid)].nr_partial
    if int(record.inuse) == 0 and nr_partial >= cache.min_partial:
        cache.deactivate_empty += 1
        cache.free_slab += 1
        discard_later(sl, ac, slab)
        context.old_slab = NO_SLAB
        return DISCARD
    if int(record.freelist) != END:
        return want_list_lock(m, sl, ac, nid, LOCKED_ADD_PARTIAL)
    cache.deactivate_full += 1
    context.old_slab = NO_SLAB
    return int(context.then)


@small
def splice(m: Machine, sl: Slub, slab: SlabIdx, obj: ObjectIdx) -> None:
    """Put a free list that begins with `obj` before the slab's own."""
    record = sl.slabs[slab]
    first = int(record.first_object)
    nr_free = 1
    last = obj
    while int(sl.links[last]) != END:
        last = first + int(sl.links[last])
        nr_free += 1
    sl.links[last] = int(record.freelist)
    record.freelist = obj - first
    record.inuse = int(record.inuse) - nr_free
    m.work[0].lines_hot += nr_free


@small
def add_partial_locked(m: Machine, sl: Slub, ac: ContextIdx) -> int:
    """Put the deactivated slab on the node's list; under list_lock."""
    context = sl.contexts[ac]
    cache = sl.caches[int(context.cache)]
    add_partial(m, sl, ac, int(context.old_slab), context.to_tail != 0)
    if context.to_tail:
        cache.deactivate_to_tail += 1
    else:
        cache.deactivate_to_head += 1
    context.old_slab = NO_SLAB
    return int(context.then)


@small
def discard_slab(m: Machine, sl: Slub, ac: ContextIdx) -> int:
    """Free the pages of the next slab that is to be discarded (kernel: discard_slab)."""
    context = sl.contexts[ac]
    slab = int(context.discards)
    if slab == NO_SLAB:
        return int(context.then)
    record = sl.slabs[slab]
    assert int(record.inuse) == 0, "a slab is discarded that has live objects"
    context.discards = int(record.next)
    cache = sl.caches[int(record.cache)]
    node = sl.cache_nodes[cache_node_index(sl, int(record.cache), slab_nid(m, sl, slab))]
    node.nr_slabs -= 1
    node.total_objects -= int(record.objects)
    sl.work[0].slabs_discarded += 1
    pfn = int(record.pfn)
    order = int(record.order)
    touch(m, ac, pfn)
    m.pages[pfn].page_flags = int(m.pages[pfn].page_flags) & ~PG_SLAB
    assert int(record.slab_flags) & (SLAB_FROZEN | SLAB_NODE_PARTIAL) == 0, "a slab is discarded that is in use"
    record.slab_flags = 0
    keeper = sl.caches[int(cache.recycler)]
    record.next = int(keeper.recycled)
    keeper.recycled = slab
    wants = free_begin(m, ac, pfn, order)
    context.stage = PAGES_FREED
    context.wants = wants
    context.zone_locked = int(wants == LOCK)
    return SLUB_WAIT if wants else DISCARD
