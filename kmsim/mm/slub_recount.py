"""Recount every slab, list and free list, and stop where two records disagree (slow: it looks at every object).

Each slab with pages is in one place: a CPU's slab, on a CPU's partial list, on the node's list, full, or held by
a request under way. Checked: list links, flags and counters against that, every free list's links and length,
objects in use, the page records that say PG_SLAB, and the cache's totals.

Also: what slabinfo counts. Leaves out what `mm.recount` checks. Takes no lock; invariant: changes nothing.
"""

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from kmsim.jit import core
from kmsim.mm.indices import CacheIdx, CpuIdx, NodeIdx, SlabIdx
from kmsim.mm.mmzone import PG_SLAB, Machine
from kmsim.mm.sheaf_recount import recount_sheaves
from kmsim.mm.slub_cpu_list import flags_on_list, may_note, noted_from
from kmsim.mm.slub_partial import slab_nid
from kmsim.mm.slub_records import (
    CHUNK_SHIFT,
    END,
    IN_USE,
    NO_OBJECT,
    NO_SLAB,
    SLAB_FROZEN,
    SLAB_LIVE,
    SLAB_NODE_PARTIAL,
    Slub,
    cache_node_index,
    cpu_slab_index,
    nodes_of_cache,
)
from kmsim.mm.slub_steps import SLUB_DONE

_MAX_PARTIAL_TO_SCAN = 10000

SlabContexts = NDArray[np.void]  # of slab_context_t


@core
def validate_slub(m: Machine, sl: Slub, asleep: SlabContexts) -> None:
    """Recount the slab allocator; AssertionError names what is inconsistent.

    `asleep`: the contexts of requests that were put away, beside those of `sl`.
    """
    nr_placed = 0
    for cache in range(len(sl.caches)):
        for node in range(sl.params[0].nr_nodes):
            nr_placed += recount_node(m, sl, cache, node)
        for cpu in range(sl.params[0].nr_cpus):
            nr_placed += recount_cpu(m, sl, cache, cpu)
    nr_placed += recount_contexts(sl, sl.contexts) + recount_contexts(sl, asleep)
    nr_unplaced = recount_slabs(m, sl, asleep)
    assert nr_placed == nr_unplaced, "a slab with free objects is on no list"
    recount_sheaves(sl)


@core
def recount_node(m: Machine, sl: Slub, cache: CacheIdx, nid: NodeIdx) -> int:
    """Check a cache's list of a node; the number of slabs on it."""
    node = sl.cache_nodes[cache_node_index(sl, cache, nid)]
    before = NO_SLAB
    nr_slabs = 0
    slab = int(node.partial_first)
    while slab != NO_SLAB:
        record = sl.slabs[slab]
        assert int(record.prev) == before, "the node's list's links disagree"
        is_own = int(record.cache) == cache and slab_nid(m, sl, slab) == nid
        assert is_own, "a slab is on the list of another cache"
        listed = SLAB_LIVE | SLAB_NODE_PARTIAL
        assert int(record.slab_flags) & (listed | SLAB_FROZEN) == listed, "a slab on the node's list is not flagged so"
        assert int(record.freelist) != END, "a full slab is on the node's list"
        nr_slabs += 1
        before = slab
        slab = int(record.next)
    assert int(node.partial_last) == before, "the node's list's links disagree"
    assert nr_slabs == node.nr_partial, "nr_partial differs from the list"
    return nr_slabs


@core
def recount_cpu(m: Machine, sl: Slub, cache: CacheIdx, cpu: CpuIdx) -> int:
    """Check a CPU's slab and its partial list; the number of slabs."""
    cpu_slab = sl.cpu_slabs[cpu_slab_index(sl, cache, cpu)]
    nr_slabs = 0
    slab = int(cpu_slab.slab)
    if slab == NO_SLAB:
        assert int(cpu_slab.freelist) == NO_OBJECT, "a CPU has free objects but no slab"
    else:
        record = sl.slabs[slab]
        frozen = SLAB_LIVE | SLAB_FROZEN
        assert int(record.slab_flags) & (frozen | SLAB_NODE_PARTIAL) == frozen, "a cpu slab is not frozen"
        assert int(record.cache) == cache, "a cpu slab is of another cache"
        assert int(record.first_object) == int(cpu_slab.first_object), "a cpu slab's first object is another slab's"
        nr_slabs += 1
    slab = int(cpu_slab.partial)
    while slab != NO_SLAB:
        record = sl.slabs[slab]
        flags = int(record.slab_flags) & (SLAB_LIVE | SLAB_FROZEN | SLAB_NODE_PARTIAL)
        assert flags == flags_on_list(m), "a slab on a CPU's list is flagged otherwise"
        assert int(record.cache) == cache, "a slab is on the list of another cache"
        assert int(record.freelist) != END, "a full slab is on a CPU's list"
        following = int(record.next)
        noted = noted_from(sl, following) if following != NO_SLAB else 0
        assert may_note(m, noted_from(sl, slab) - noted), "a CPU's partial list is not as long as it says"
        nr_slabs += 1
        slab = following
    return nr_slabs


@core
def recount_contexts(sl: Slub, contexts: SlabContexts) -> int:
    """How many slabs requests under way hold."""
    nr_slabs = 0
    for ac in range(len(contexts)):
        context = contexts[ac]
        if context.stage != SLUB_DONE:
            nr_slabs += int(context.slab != NO_SLAB) + int(context.old_slab != NO_SLAB)
            slab = int(context.chain)
            while slab != NO_SLAB:
                nr_slabs += 1
                slab = int(sl.slabs[slab].next)
            slab = int(context.discards)
            while slab != NO_SLAB:
                nr_slabs += 1
                slab = int(sl.slabs[slab].next)
    return nr_slabs


@core
def recount_slabs(m: Machine, sl: Slub, asleep: SlabContexts) -> int:
    """Check each slab by itself and the caches' totals; how many slabs must be in some place."""
    nr_slabs = 0
    nr_objects = 0
    nr_to_place = 0
    for node in sl.cache_nodes:
        nr_slabs -= node.nr_slabs
        nr_objects -= node.total_objects
    for slab in range(sl.params[0].nr_slabs_used):
        record = sl.slabs[slab]
        if int(record.slab_flags) & SLAB_LIVE:
            nr_slabs += 1
            nr_objects += int(record.objects)
            recount_slab(m, sl, slab, asleep)
            is_full = int(record.freelist) == END and int(record.slab_flags) & SLAB_FROZEN == 0
            nr_to_place += int(not is_full)
    assert nr_slabs == 0, "nr_slabs differs from the slabs"
    assert nr_objects == 0, "total_objects differs from the slabs"
    return nr_to_place


@core
def recount_slab(m: Machine, sl: Slub, slab: SlabIdx, asleep: SlabContexts) -> None:
    """Check a slab's free lists, its objects and its page."""
    record = sl.slabs[slab]
    objects = int(record.objects)
    first = int(record.first_object)
    page = m.pages[int(record.pfn)]
    assert int(page.page_flags) == PG_SLAB, "a slab's page does not say so"
    assert int(page.next) == slab, "a slab's page names another slab"
    assert int(page.order) == int(record.order), "a slab's page has another order"
    assert first & ((1 << CHUNK_SHIFT) - 1) == 0, "a slab's objects do not begin with a chunk"
    for obj in range(first, first + objects, 1 << CHUNK_SHIFT):
        assert int(sl.slab_of_chunk[obj >> CHUNK_SHIFT]) == slab, "a chunk belongs to another slab"
    nr_in_use = 0
    for obj in range(first, first + objects):
        nr_in_use += int(int(sl.links[obj]) >= IN_USE)
    nr_free = count_links(sl, slab, int(record.freelist))
    assert nr_free == objects - int(record.inuse), "inuse differs from the free list"
    nr_free += count_of_cpus(sl, slab) + count_held(sl, slab, sl.contexts) + count_held(sl, slab, asleep)
    assert nr_free == objects - nr_in_use, "free objects are on no list"


@core
def count_links(sl: Slub, slab: SlabIdx, index: int) -> int:
    """The length of a list of free objects that begins with an index."""
    record = sl.slabs[slab]
    nr_free = 0
    while index != END:
        assert 0 <= index < int(record.objects), "a free list leaves its slab"
        nr_free += 1
        assert nr_free <= int(record.objects), "a free list runs in a circle"
        index = int(sl.links[int(record.first_object) + index])
        assert index < IN_USE, "an allocated object is on a free list"
    return nr_free


@core
def count_of_cpus(sl: Slub, slab: SlabIdx) -> int:
    """How many of a slab's free objects a CPU has on its own list."""
    record = sl.slabs[slab]
    first = int(record.first_object)
    nr_free = 0
    if int(record.slab_flags) & SLAB_FROZEN:
        for cpu in range(sl.params[0].nr_cpus):
            cpu_slab = sl.cpu_slabs[cpu_slab_index(sl, int(record.cache), cpu)]
            if int(cpu_slab.slab) == slab and int(cpu_slab.freelist) != NO_OBJECT:
                nr_free += count_links(sl, slab, int(cpu_slab.freelist) - first)
                assert int(cpu_slab.nr_hot) >= 0, "a negative number of hot objects"
    return nr_free


@core
def count_held(sl: Slub, slab: SlabIdx, contexts: SlabContexts) -> int:
    """How many of a slab's free objects requests under way hold."""
    first = int(sl.slabs[slab].first_object)
    nr_free = 0
    for ac in range(len(contexts)):
        context = contexts[ac]
        if context.stage != SLUB_DONE and context.slab == slab:
            nr_free += count_links(sl, slab, int(context.freelist) - first)
        if context.stage != SLUB_DONE and context.free_slab == slab:
            nr_free += int(context.nr_freed)
    return nr_free


class SlabTotals(NamedTuple):
    """What /proc/slabinfo says of a cache."""

    active_objects: int
    total_objects: int
    nr_slabs: int


def slab_totals(sl: Slub, cache: CacheIdx) -> SlabTotals:
    """Count as the kernel does: free objects of the node's list only, from a sample if it is long (get_slabinfo)."""
    nodes = nodes_of_cache(sl, cache)
    total = int(nodes["total_objects"].sum())
    nr_free = sum(_nr_free_of_node(sl, node) for node in nodes)
    return SlabTotals(total - nr_free, total, int(nodes["nr_slabs"].sum()))


def _nr_free_of_node(sl: Slub, node: np.void) -> int:
    """Free objects of a node's list, about (kernel: count_partial_free_approx)."""
    nr_partial = int(node["nr_partial"])
    if nr_partial <= _MAX_PARTIAL_TO_SCAN:
        return _nr_free(sl, int(node["partial_first"]), "next", nr_partial)
    nr_free = _nr_free(sl, int(node["partial_first"]), "next", _MAX_PARTIAL_TO_SCAN // 2)
    nr_free += _nr_free(sl, int(node["partial_last"]), "prev", _MAX_PARTIAL_TO_SCAN // 2)
    return min(nr_free * nr_partial // _MAX_PARTIAL_TO_SCAN, int(node["total_objects"]))


def _nr_free(sl: Slub, slab: SlabIdx, link: str, nr_slabs: int) -> int:
    """Free objects of the first slabs of a node's list, from one end."""
    nr_free = 0
    for _ in range(nr_slabs):
        record = sl.slabs[slab]
        nr_free += int(record["objects"]) - int(record["inuse"])
        slab = int(record[link])
    return nr_free


def nr_live_objects(sl: Slub, cache: CacheIdx) -> int:
    """How many objects of a cache are allocated, each counted (slow)."""
    nr_used = int(sl.params[0]["nr_slabs_used"])
    slabs = sl.slabs[:nr_used]
    chosen = np.flatnonzero((slabs["cache"] == cache) & (slabs["slab_flags"] & SLAB_LIVE != 0))
    nr_live = 0
    for first, objects in zip(slabs["first_object"][chosen], slabs["objects"][chosen], strict=True):
        nr_live += int(np.count_nonzero(sl.links[int(first) : int(first) + int(objects)] >= IN_USE))
    return nr_live
