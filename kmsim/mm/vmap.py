"""The free address space of vmalloc: the lowest range that fits, splitting, merging (kernel: mm/vmalloc.c).

All addresses are virtual page numbers and all lengths pages. The space is one tree of free ranges (see
`mm.vmap_tree`) over all addresses; a request says from where to where it may lie. Records of ranges are
1:1 with objects of the cache `vmap_area`: a split takes one that was preloaded, a merge leaves one over.

Leaves out: pcpu_get_vm_areas, and the object that a split would ask for under the lock where none was
preloaded (it fails as if that object could not be allocated). An object that is left over under the lock is
freed behind it. Lock order: the caller holds free_vmap_area_lock.
"""

from kmsim.jit import core, small
from kmsim.mm.indices import ObjectIdx, VaIdx, Vpn
from kmsim.mm.vm_records import FREE_TREE, NO_AREA, NO_OWNER, NO_VA, VA_FREE, VA_NEW, VA_UNUSED, Vm
from kmsim.mm.vmap_tree import Records, find_links, link_va, propagate, subtree_max, unlink_va

NO_START = -1

# What happened to the preloaded record, and to the range that was cut.
KEPT, PRELOAD_USED, RANGE_LEFT_OVER, CUT_FAILED = range(4)


@small
def align_up(vpn: Vpn, align: int) -> int:
    """The first multiple of a power of two from `vpn` on."""
    return (vpn + align - 1) & ~(align - 1)


@small
def start_within(vas: Records, va: VaIdx, align: int, vstart: int) -> int:
    """Where a request would begin in a range."""
    return align_up(max(int(vas[va].start), vstart), align)


@small
def is_within_this_va(vas: Records, va: VaIdx, size: int, align: int, vstart: int) -> bool:
    """Does the request fit into this range? (kernel: is_within_this_va)"""
    return start_within(vas, va, align, vstart) + size <= int(vas[va].end)


@core
def find_vmap_lowest_match(
    vas: Records, work: Records, node: VaIdx, size: int, align: int, vstart: int, length: int
) -> VaIdx:
    """The range that the kernel finds from the root `node` on, or NO_VA (kernel: find_vmap_lowest_match).

    The lowest that fits; `length` is what a subtree must have to be looked into, so that with an alignment a
    range that would just do is only noticed where it lies on the way.
    """
    while node != NO_VA:
        work[0].tree_steps += 1
        if subtree_max(vas, int(vas[node].left)) >= length and vstart < int(vas[node].start):
            node = int(vas[node].left)
            continue
        if is_within_this_va(vas, node, size, align, vstart):
            return node
        if subtree_max(vas, int(vas[node].right)) >= length:
            node = int(vas[node].right)
            continue
        node = int(vas[node].parent)
        while node != NO_VA:
            work[0].tree_steps += 1
            if is_within_this_va(vas, node, size, align, vstart):
                return node
            start = int(vas[node].start)
            if subtree_max(vas, int(vas[node].right)) >= length and vstart <= start:
                vstart = start + 1
                node = int(vas[node].right)
                break
            node = int(vas[node].parent)
    return NO_VA


@core
def va_clip(vm: Vm, va: VaIdx, start: int, size: int, preload: VaIdx) -> int:
    """Cut a request out of a free range; what is left over or was used (kernel: va_clip).

    RANGE_LEFT_OVER: `va` itself is no range any more. PRELOAD_USED: the record `preload` is one now.
    """
    vas, trees = vm.vas, vm.trees
    end = start + size
    if int(vas[va].start) == start:
        if int(vas[va].end) == end:
            unlink_va(vas, trees, FREE_TREE, va)
            vas[va].state = VA_NEW
            return RANGE_LEFT_OVER
        vas[va].start = end
        propagate(vas, va)
        return KEPT
    if int(vas[va].end) == end:
        vas[va].end = start
        propagate(vas, va)
        return KEPT
    if preload == NO_VA:
        return CUT_FAILED
    vas[preload].start = vas[va].start
    vas[preload].end = start
    vas[preload].state = VA_FREE
    vas[va].start = end
    propagate(vas, va)
    parent, is_left = va, True
    if int(vas[va].left) != NO_VA:
        parent, is_left = find_links(vas, vm.work, preload, int(vas[va].left))
    link_va(vas, trees, FREE_TREE, preload, parent, is_left)
    return PRELOAD_USED


@core
def alloc_free_va(vm: Vm, size: int, align: int, preload: VaIdx) -> tuple[int, int, int]:
    """Take `size` pages of vmalloc's space: their start or NO_START, and the range that was cut and how.

    (kernel: __alloc_vmap_area)
    """
    params = vm.params[0]
    vstart, vend = int(params.start), int(params.end)
    length = size + align if align > 1 and vend - vstart != size else size
    va = find_vmap_lowest_match(vm.vas, vm.work, int(vm.trees[FREE_TREE].root), size, align, vstart, length)
    if va == NO_VA:
        return NO_START, NO_VA, KEPT
    start = start_within(vm.vas, va, align, vstart)
    if start + size > vend:
        return NO_START, NO_VA, KEPT
    done = va_clip(vm, va, start, size, preload)
    if done == CUT_FAILED:
        return NO_START, va, done
    return start, va, done


@core
def merge_or_add(vm: Vm, t: int, va: VaIdx, state: int) -> tuple[int, int]:
    """Put a range into a tree, or into its neighbours there; the records left over, or NO_VA, in the order in
    which the kernel frees them (kernel: merge_or_add_vmap_area).
    """
    vas, trees = vm.vas, vm.trees
    parent, is_left = find_links(vas, vm.work, va, int(trees[t].root))
    before, after = NO_VA, NO_VA
    if parent != NO_VA:
        before = int(vas[parent].prev) if is_left else parent
        after = parent if is_left else int(vas[parent].next)
    first, second, merged = NO_VA, NO_VA, va
    if after != NO_VA and int(vas[after].start) == int(vas[va].end):
        vas[after].start = vas[va].start
        first = va
        merged = after
    if before != NO_VA and int(vas[before].end) == int(vas[merged].start):
        if merged != va:
            unlink_va(vas, trees, t, after)
        vas[before].end = vas[merged].end
        if first == NO_VA:
            first = merged
        else:
            second = merged
        merged = before
    if merged == va:
        vas[va].state = state
        link_va(vas, trees, t, va, parent, is_left)
    else:
        propagate(vas, merged)
    if first != NO_VA:
        vas[first].state = VA_NEW
    if second != NO_VA:
        vas[second].state = VA_NEW
    return first, second


# ---- records


@small
def new_va(vm: Vm, obj: ObjectIdx) -> VaIdx:
    """A record for the object of a new range, or NO_VA where all are in use."""
    params = vm.params[0]
    va = int(params.va_unused)
    if va != NO_VA:
        params.va_unused = vm.vas[va].next
    elif params.va_fresh < len(vm.vas):
        va = int(params.va_fresh)
        params.va_fresh += 1
    else:
        return NO_VA
    record = vm.vas[va]
    record.obj = obj
    record.area = NO_AREA
    record.owner = NO_OWNER
    record.state = VA_NEW
    return va


@small
def forget_va(vm: Vm, va: VaIdx) -> None:
    """Its object is freed: the record may be used again."""
    vm.vas[va].state = VA_UNUSED
    vm.vas[va].next = vm.params[0].va_unused
    vm.params[0].va_unused = va
