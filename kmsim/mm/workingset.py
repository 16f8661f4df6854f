"""What is remembered of reclaimed pages of files, and whether one came back too soon (kernel: mm/workingset.c).

A node counts how many pages were evicted or activated: its nonresident age. A page that is reclaimed leaves a *shadow*
with that age behind. When it is read again, the age has grown by its refault distance: were that many more pages of
memory there, it would still be. If the lists are at least as long, it is activated at once, as it is used as often as
what is active.

Leaves out memory cgroups, the shrinker of shadows, anonymous memory that is swapped in. Invariant: a shadow is below
0, as an entry of the page cache is only for a page that is gone. Locks: those of the caller; the cost of a refault is
noted without the lru_lock, which the kernel takes for it.
"""

from kmsim.jit import core, small
from kmsim.mm.indices import ContextIdx, Holder, NodeIdx, Pfn
from kmsim.mm.lru import folio_flags, folio_set, lru_note_cost, mod_node_state, node_state, workingset_age_nonresident
from kmsim.mm.lru_records import (
    FILE,
    FOLIO_ACTIVE,
    FOLIO_WORKINGSET,
    LRU_ACTIVE_ANON,
    LRU_ACTIVE_FILE,
    LRU_INACTIVE_ANON,
    WORKINGSET_ACTIVATE,
    WORKINGSET_REFAULT_FILE,
    WORKINGSET_RESTORE_FILE,
)
from kmsim.mm.mmzone import Machine
from kmsim.mm.page_cache import index_of_holder
from kmsim.mm.rmap import NO_HOLDER, holder_of
from kmsim.mm.scan_count import can_reclaim_anon_pages
from kmsim.mm.zonelist import page_zone

WORKINGSET_SHIFT = 1
NODE_SHIFT = 4  # kernel: NODES_SHIFT; no machine here has more nodes


@small
def pack_shadow(age: int, node: NodeIdx, workingset: int) -> int:
    """The shadow of a page that is evicted at this age of its node; below 0 (kernel: pack_shadow)."""
    return -1 - ((age << NODE_SHIFT | node) << WORKINGSET_SHIFT | workingset)


@small
def shadow_age(shadow: int) -> int:
    """When its page was evicted (kernel: unpack_shadow)."""
    return (-1 - shadow) >> (NODE_SHIFT + WORKINGSET_SHIFT)


@small
def shadow_node(shadow: int) -> NodeIdx:
    """The node that its page was on (kernel: unpack_shadow)."""
    return ((-1 - shadow) >> WORKINGSET_SHIFT) & ((1 << NODE_SHIFT) - 1)


@small
def shadow_workingset(shadow: int) -> int:
    """1: its page had been active (kernel: unpack_shadow)."""
    return (-1 - shadow) & 1


@core
def workingset_eviction(m: Machine, pfn: Pfn) -> None:
    """A page of a file is reclaimed: leave its shadow in the page cache (kernel: workingset_eviction).

    The caller lets the node's age grow. A page of no file that a run knows leaves nothing.
    """
    holder: Holder = holder_of(m, pfn)
    if holder == NO_HOLDER:
        return
    node = int(m.zones[page_zone(m, pfn)].node)
    workingset = int(folio_flags(m, pfn) & FOLIO_WORKINGSET != 0)
    age = int(m.lru.lruvecs[node].nonresident_age)
    m.lru.page_cache[index_of_holder(holder)] = pack_shadow(age, node, workingset)


@core
def workingset_refault(m: Machine, ac: ContextIdx, pfn: Pfn, shadow: int) -> None:
    """A reclaimed page is read again: activate it if it was gone for a short time (kernel: workingset_refault)."""
    m.lru.vm_events[WORKINGSET_REFAULT_FILE] += 1
    if not workingset_test_recent(m, shadow):
        return
    node = int(m.zones[page_zone(m, pfn)].node)
    folio_set(m, pfn, FOLIO_ACTIVE)
    workingset_age_nonresident(m, node, 1)
    mod_node_state(m, node, int(m.contexts[ac].cpu), WORKINGSET_ACTIVATE + FILE, 1)
    if shadow_workingset(shadow):
        folio_set(m, pfn, FOLIO_WORKINGSET)
        lru_note_cost(m, node, FILE, 1, 0)
        m.lru.vm_events[WORKINGSET_RESTORE_FILE] += 1


@core
def workingset_test_recent(m: Machine, shadow: int) -> bool:
    """Is the refault distance no larger than what could have kept the page? (kernel: workingset_test_recent)"""
    node = shadow_node(shadow)
    distance = int(m.lru.lruvecs[node].nonresident_age) - shadow_age(shadow)
    size = node_state(m, node, LRU_ACTIVE_FILE)
    if can_reclaim_anon_pages(m):
        size += node_state(m, node, LRU_ACTIVE_ANON) + node_state(m, node, LRU_INACTIVE_ANON)
    return distance <= size
