"""Barns: the full and empty sheaves of a node, under its barn's lock; and sheaves that are made and freed.

A context that wants the lock mostly keeps its CPU's sheaves, by their local lock, until it has gone on: an interrupt
in between goes to the slabs (kernel: local_trylock).

Leaves out the memory of sheaves, so that making one never fails. Invariant: `nr_full` and `nr_empty` count the lists.
Lock order: the local lock, then the barn's; nothing is wanted under the latter.
"""

from kmsim.jit import core, small
from kmsim.mm.indices import CacheIdx, CacheNodeIdx, ContextIdx, CpuSlabIdx
from kmsim.mm.mmzone import Machine
from kmsim.mm.sheaf_records import NO_SHEAF
from kmsim.mm.slub_records import Slub, cache_node_index, cpu_slab_index
from kmsim.mm.slub_steps import SLUB_WAIT
from kmsim.mm.wants import want_lock


@small
def cpu_sheaves_index(m: Machine, sl: Slub, ac: ContextIdx) -> CpuSlabIdx:
    """Where the sheaves of the context's cache and CPU are in `cpus`."""
    return cpu_slab_index(sl, int(sl.contexts[ac].cache), int(m.contexts[ac].cpu))


@small
def barn_index(m: Machine, sl: Slub, ac: ContextIdx) -> CacheNodeIdx:
    """Where the barn of the context's cache and node is in `barns` (kernel: get_barn)."""
    return cache_node_index(sl, int(sl.contexts[ac].cache), int(m.cpus[m.contexts[ac].cpu].node))


@small
def want_barn_lock(m: Machine, sl: Slub, ac: ContextIdx, stage: int, keeps: bool) -> int:
    """The context waits for the barn's lock, and `keeps` its CPU's sheaves, or not; `stage` runs under it."""
    sl.sheaves.cpus[cpu_sheaves_index(m, sl, ac)].locked = int(keeps)
    context = sl.contexts[ac]
    context.stage = stage
    context.wants = want_lock(m, ac, int(sl.params[0].barn_lock_first) + barn_index(m, sl, ac))
    return SLUB_WAIT


@small
def get_full(m: Machine, sl: Slub, ac: ContextIdx) -> int:
    """The full sheaf that was put last, or NO_SHEAF; under the barn's lock."""
    barn = sl.sheaves.barns[barn_index(m, sl, ac)]
    sheaf = int(barn.full_first)
    if sheaf != NO_SHEAF:
        barn.full_first = int(sl.sheaves.sheaves[sheaf].next)
        barn.nr_full -= 1
    return sheaf


@small
def get_empty(m: Machine, sl: Slub, ac: ContextIdx) -> int:
    """The empty sheaf that was put last, or NO_SHEAF; under the barn's lock."""
    barn = sl.sheaves.barns[barn_index(m, sl, ac)]
    sheaf = int(barn.empty_first)
    if sheaf != NO_SHEAF:
        barn.empty_first = int(sl.sheaves.sheaves[sheaf].next)
        barn.nr_empty -= 1
    return sheaf


@small
def put_full(m: Machine, sl: Slub, ac: ContextIdx, sheaf: int) -> None:
    """Put a full sheaf; under the barn's lock (kernel: barn_put_full_sheaf)."""
    barn = sl.sheaves.barns[barn_index(m, sl, ac)]
    sl.sheaves.sheaves[sheaf].next = int(barn.full_first)
    barn.full_first = sheaf
    barn.nr_full += 1


@small
def put_empty(m: Machine, sl: Slub, ac: ContextIdx, sheaf: int) -> None:
    """Put an empty sheaf; under the barn's lock (kernel: barn_put_empty_sheaf)."""
    barn = sl.sheaves.barns[barn_index(m, sl, ac)]
    sl.sheaves.sheaves[sheaf].next = int(barn.empty_first)
    barn.empty_first = sheaf
    barn.nr_empty += 1


@core
def make_sheaf(sl: Slub, cache: CacheIdx, capacity: int) -> int:
    """An empty sheaf of a cache's capacity, or of a larger one (kernel: __alloc_empty_sheaf)."""
    sh = sl.sheaves
    of_cache = sh.caches[cache]
    of_cache.sheaf_alloc += 1
    before = NO_SHEAF
    is_oversize = capacity > of_cache.capacity
    sheaf = int(sh.params[0].oversize if is_oversize else of_cache.recycled)
    while sheaf != NO_SHEAF and int(sh.sheaves[sheaf].capacity) < capacity:
        before = sheaf
        sheaf = int(sh.sheaves[sheaf].next)
    if sheaf == NO_SHEAF:
        return new_record(sl, capacity)
    following = int(sh.sheaves[sheaf].next)
    if before != NO_SHEAF:
        sh.sheaves[before].next = following
    elif is_oversize:
        sh.params[0].oversize = following
    else:
        of_cache.recycled = following
    return sheaf


@small
def new_record(sl: Slub, capacity: int) -> int:
    """A sheaf that was never there."""
    sh = sl.sheaves
    params = sh.params[0]
    sheaf = int(params.nr_sheaves_used)
    assert sheaf < len(sh.sheaves), "more sheaves than there are records"
    assert params.nr_places_used + capacity <= len(sh.objects), "more objects in sheaves than there are places"
    sh.sheaves[sheaf].first = params.nr_places_used
    sh.sheaves[sheaf].capacity = capacity
    params.nr_sheaves_used += 1
    params.nr_places_used += capacity
    return sheaf


@small
def free_sheaf(sl: Slub, cache: CacheIdx, sheaf: int) -> None:
    """Free an empty sheaf (kernel: free_empty_sheaf)."""
    sh = sl.sheaves
    record = sh.sheaves[sheaf]
    assert int(record.nr_objects) == 0, "a sheaf is freed that has objects"
    of_cache = sh.caches[cache]
    of_cache.sheaf_free += 1
    if int(record.capacity) > of_cache.capacity:
        record.next = int(sh.params[0].oversize)
        sh.params[0].oversize = sheaf
    else:
        record.next = int(of_cache.recycled)
        of_cache.recycled = sheaf
