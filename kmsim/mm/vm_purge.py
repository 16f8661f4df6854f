"""Purging: lazily freed ranges become ready or free again, after one TLB flush (kernel: __purge_vmap_area_lazy).

Beyond `lazy_max_pages` of lazily freed pages a work item purges; a request that finds no range purges itself.
    each node: a quarter of each of its pools decays (all of it, if a request has found no range) and goes back to the
    free space; its lazily freed ranges, by address, become its purge list
    the TLBs of every CPU are flushed, for the range from the lowest to the highest address, once
    each purge list: ranges of up to 256 pages go to the node's pool, the others to the free space
A pool of fewer than 4 ranges decays whole, since the kernel's count of them wraps around below 0.

The kernel may spread the purge lists over further workers; here one purges all,
in the order of the nodes. An object that a merge leaves over is freed behind the critical section.
Leaves out the blocks of vm_map_ram. Locks: vmap_purge_lock, a mutex, all the way; within it one of pool_lock,
lazy.lock, free_vmap_area_lock at a time.
"""

from kmsim.jit import core, small
from kmsim.mm.indices import ContextIdx, FrameIdx, PoolIdx, VaIdx
from kmsim.mm.locks import FREE_VMAP_AREA_LOCK, VMAP_PURGE_LOCK
from kmsim.mm.mmzone import NO_LOCK
from kmsim.mm.vm_frame import (
    NOTHING,
    PURGE_ATTACH,
    PURGE_ATTACH_WAIT,
    PURGE_DECAY,
    PURGE_DECAYED,
    PURGE_DECAYED_GLOBAL,
    PURGE_DETACH,
    PURGE_DONE,
    PURGE_FLUSH,
    PURGE_GLOBAL,
    PURGE_LAZY,
    PURGE_LOCAL,
    PURGE_NODE,
    PURGE_NODE_NEXT,
    PURGE_POOL,
    PURGE_POOL_ADD,
    PURGE_SORT,
    PURGE_START,
    PURGE_TAKE,
    PURGE_UNLOCK,
    PURGE_VA,
    RETURN,
    WAIT,
    drop_then,
    drop_va,
    frame_of,
    must_release,
    own_lock,
    wait,
    wait_for,
)
from kmsim.mm.vm_records import (
    DECAY_TREE,
    FREE_TREE,
    MAX_VA_SIZE_PAGES,
    NO_OWNER,
    NO_POOL,
    NO_VA,
    PURGES,
    VA_DECAY,
    VA_FREE,
    Vm,
)
from kmsim.mm.vmap import merge_or_add
from kmsim.mm.vmap_node import (
    attach_pool,
    detach_pool,
    lazy_lock,
    node_pool_add_va,
    pool_is_empty,
    pool_lock,
    pool_of,
    sort_purge_list,
    take_lazy,
)
from kmsim.mm.wants import FLUSH, MUTEX, UNLOCK

FAR = 1 << 62


@small
def step_of_purge(vm: Vm, ac: ContextIdx, step: int) -> int:
    """Take one step of a purge; returns what the next one needs."""
    if step <= PURGE_ATTACH:
        return step_of_pools(vm, ac, step)
    if step <= PURGE_SORT:
        return step_of_collecting(vm, ac, step)
    return step_of_purging(vm, ac, step)


@core
def step_of_pools(vm: Vm, ac: ContextIdx, step: int) -> int:
    """Take one step of the nodes' first round: their pools decay (kernel: decay_va_pool_node)."""
    f = frame_of(vm, ac)
    frame = vm.frames[f]
    if step == PURGE_START:
        vm.events[PURGES] += 1
        frame.node = 0
        frame.flush_start = FAR
        frame.flush_end = 0
        return wait_for(vm, ac, MUTEX, own_lock(vm, VMAP_PURGE_LOCK), PURGE_NODE)
    if step == PURGE_NODE:
        if frame.node == vm.params[0].nr_nodes:
            frame.step = PURGE_FLUSH
            return NOTHING
        node = vm.nodes[frame.node]
        node.skip_populate = frame.full_pool_decay
        node.purge = NO_VA
        frame.pool_size = 0
        frame.step = PURGE_POOL
        return NOTHING
    if step == PURGE_POOL:
        return next_pool(vm, ac)
    pool = pool_of(int(frame.node), int(frame.pool_size))
    if step == PURGE_DETACH:
        frame.detached = detach_pool(vm, pool)
        frame.step = PURGE_DECAY
        return NOTHING
    if step == PURGE_DECAY:
        decay(vm, f, pool)
        return drop_then(vm, f, PURGE_ATTACH_WAIT)
    if step == PURGE_ATTACH_WAIT:
        if frame.detached == NO_VA:
            frame.step = PURGE_POOL
            return NOTHING
        return wait(vm, ac, pool_lock(vm, int(frame.node)), PURGE_ATTACH)
    attach_pool(vm, pool, int(frame.detached))
    frame.step = PURGE_POOL
    return NOTHING


@small
def next_pool(vm: Vm, ac: ContextIdx) -> int:
    """Ask for the lock of the node's next pool that is not empty."""
    frame = vm.frames[frame_of(vm, ac)]
    node, size = int(frame.node), int(frame.pool_size) + 1
    while size <= MAX_VA_SIZE_PAGES and pool_is_empty(vm, pool_of(node, size)):
        size += 1
    frame.pool_size = size
    if size > MAX_VA_SIZE_PAGES:
        frame.step = PURGE_DECAYED
        return NOTHING
    return wait(vm, ac, pool_lock(vm, node), PURGE_DETACH)


@core
def decay(vm: Vm, f: FrameIdx, pool: PoolIdx) -> None:
    """Move the ranges of a detached pool that decay into the decay tree, merged; the frame keeps the rest."""
    frame = vm.frames[f]
    if frame.full_pool_decay:
        vm.pools[pool].len = 0
    left = int(vm.pools[pool].len) >> 2
    va = int(frame.detached)
    while va != NO_VA:
        following = int(vm.vas[va].next)
        give_back(vm, f, DECAY_TREE, va, VA_DECAY)
        va = following
        if not frame.full_pool_decay:
            vm.pools[pool].len -= 1
            left -= 1
            if left == 0:
                break
    frame.detached = va


@small
def give_back(vm: Vm, f: FrameIdx, t: int, va: VaIdx, state: int) -> None:
    """Put a range into a tree, and remember the objects that merging leaves over."""
    vm.work[0].areas_moved += 1
    first, second = merge_or_add(vm, t, va, state)
    if first != NO_VA:
        drop_va(vm, f, first)
    if second != NO_VA:
        drop_va(vm, f, second)


@core
def step_of_collecting(vm: Vm, ac: ContextIdx, step: int) -> int:
    """Take one step of the nodes' first round: decayed ranges return to the free space, lazy ones are collected."""
    f = frame_of(vm, ac)
    frame = vm.frames[f]
    node = int(frame.node)
    if step == PURGE_DECAYED:
        if vm.trees[DECAY_TREE].nr:
            return wait(vm, ac, own_lock(vm, FREE_VMAP_AREA_LOCK), PURGE_DECAYED_GLOBAL)
        frame.step = PURGE_LAZY
        return NOTHING
    if step == PURGE_DECAYED_GLOBAL:
        va = int(vm.trees[DECAY_TREE].first)
        vm.trees[DECAY_TREE].root = vm.trees[DECAY_TREE].first = NO_VA
        vm.trees[DECAY_TREE].nr = 0
        reclaim_list_global(vm, f, va)
        return drop_then(vm, f, PURGE_LAZY)
    if step == PURGE_LAZY:
        if vm.nodes[node].nr_lazy:
            return wait(vm, ac, lazy_lock(vm, node), PURGE_TAKE)
        frame.node += 1
        frame.step = PURGE_NODE
        return NOTHING
    if step == PURGE_TAKE:
        take_lazy(vm, node)
        frame.step = PURGE_SORT
        return NOTHING
    start, end = sort_purge_list(vm, node)
    frame.flush_start = min(int(frame.flush_start), start)
    frame.flush_end = max(int(frame.flush_end), end)
    frame.node += 1
    frame.step = PURGE_NODE
    return NOTHING


@core
def reclaim_list_global(vm: Vm, f: FrameIdx, va: VaIdx) -> None:
    """Give a list of ranges to the free space; the caller holds free_vmap_area_lock (kernel: reclaim_list_global)."""
    while va != NO_VA:
        following = int(vm.vas[va].next)
        give_back(vm, f, FREE_TREE, va, VA_FREE)
        va = following


@core
def step_of_purging(vm: Vm, ac: ContextIdx, step: int) -> int:
    """Take one step from the flush on (kernel: purge_vmap_node)."""
    f = frame_of(vm, ac)
    frame = vm.frames[f]
    node = int(frame.node)
    if step == PURGE_FLUSH:
        return flush(vm, ac)
    if step == PURGE_NODE_NEXT:
        while node < vm.params[0].nr_nodes and int(vm.nodes[node].purge) == NO_VA:
            node += 1
        frame.node = node
        frame.nr_purged_pages = 0
        frame.global_list = NO_VA
        frame.step = PURGE_VA if node < vm.params[0].nr_nodes else PURGE_UNLOCK
        return NOTHING
    if step == PURGE_VA:
        return next_purged(vm, ac)
    if step == PURGE_POOL_ADD:
        node_pool_add_va(vm, int(frame.pool), int(frame.va))
        vm.work[0].areas_moved += 1
        frame.step = PURGE_VA
        return NOTHING
    if step == PURGE_LOCAL:
        vm.params[0].vmap_lazy_nr -= frame.nr_purged_pages
        frame.step = PURGE_NODE_NEXT
        if frame.global_list == NO_VA:
            return NOTHING
        return wait(vm, ac, own_lock(vm, FREE_VMAP_AREA_LOCK), PURGE_GLOBAL)
    if step == PURGE_GLOBAL:
        reclaim_list_global(vm, f, int(frame.global_list))
        return drop_then(vm, f, PURGE_NODE_NEXT)
    if step == PURGE_UNLOCK:
        return wait_for(vm, ac, UNLOCK, own_lock(vm, VMAP_PURGE_LOCK), PURGE_DONE)
    assert step == PURGE_DONE, "a frame without a step"
    return RETURN


@small
def flush(vm: Vm, ac: ContextIdx) -> int:
    """All nodes are collected: flush the TLBs, if there is anything to flush for."""
    frame = vm.frames[frame_of(vm, ac)]
    frame.node = 0
    if frame.flush_end == 0:
        frame.step = PURGE_UNLOCK
        return NOTHING
    if must_release(vm, ac):
        return WAIT
    return flush_range(vm, ac, int(frame.flush_start), int(frame.flush_end), PURGE_NODE_NEXT)


@small
def flush_range(vm: Vm, ac: ContextIdx, start: int, end: int, step: int) -> int:
    """Ask for a flush of every CPU's TLB (kernel: flush_tlb_kernel_range)."""
    context = vm.contexts[ac]
    context.flush_start = start
    context.flush_pages = end - start
    return wait_for(vm, ac, FLUSH, NO_LOCK, step)


@small
def next_purged(vm: Vm, ac: ContextIdx) -> int:
    """Give the next range of a purge list to its pool, or put it on the list for the free space."""
    frame = vm.frames[frame_of(vm, ac)]
    node = vm.nodes[frame.node]
    while True:
        va = int(node.purge)
        if va == NO_VA:
            frame.step = PURGE_LOCAL
            return NOTHING
        record = vm.vas[va]
        node.purge = record.next
        size = int(record.end - record.start)
        frame.nr_purged_pages += size
        pool = pool_of(int(frame.node), size)
        if int(record.owner) != NO_OWNER and not node.skip_populate and pool != NO_POOL:
            frame.va = va
            frame.pool = pool
            return wait(vm, ac, pool_lock(vm, int(frame.node)), PURGE_POOL_ADD)
        record.next = frame.global_list
        frame.global_list = va
