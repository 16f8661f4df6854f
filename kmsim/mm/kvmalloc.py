"""kvmalloc: from the slab if it can, else from vmalloc (kernel: __kvmalloc_node, mm/util.c).

A request of more than a page asks kmalloc without hard reclaim: __GFP_NOWARN, __GFP_NORETRY (unless
__GFP_RETRY_MAYFAIL), not __GFP_NOFAIL. Where that gives nothing it leaves the slab for vmalloc, with huge mappings
where the size allows them, unless it has at most a page, may not block, or is larger than INT_MAX. In 5.10 a request
without all of GFP_KERNEL is a plain kmalloc (`params.kvmalloc_kernel_only`). kvzalloc is kvmalloc with __GFP_ZERO;
kvmalloc_array and kvcalloc multiply first (`array_bytes`).

The result is in `contexts[ac]`: `outcome` is KV_SLAB (`obj`), KV_PAGES (`pfn`, `order`), KV_VMALLOC (`area`) or
KV_FAILED, `reason` says why it left the slab or was refused; `vm.events` counts both. What is wanted is as in
`mm.vmalloc`, and `vm_resume` goes on. Leaves out bucketed caches, which the caller chooses.
"""

from kmsim.jit import core, small
from kmsim.mm.indices import CacheIdx, ContextIdx, Gfp, Order
from kmsim.mm.limits import S64_MAX
from kmsim.mm.mmzone import Machine
from kmsim.mm.slub_object import slab_owner
from kmsim.mm.slub_records import Slub
from kmsim.mm.vm_frame import KV_FREE, KV_REALLOC, KV_START, first_frame
from kmsim.mm.vm_records import (
    KV_FAILED,
    KV_OUTCOMES,
    KV_PAGES,
    KV_REASONS,
    KV_SLAB,
    KV_VMALLOC,
    NO_AREA,
    OVERFLOW,
    Vm,
)
from kmsim.mm.vmalloc import go_on
from kmsim.mm.wants import DONE


@small
def array_bytes(nr: int, nr_bytes: int) -> int:
    """The bytes of an array, or -1 where their number overflows (kernel: check_mul_overflow, one bit later)."""
    return -1 if nr_bytes and nr > S64_MAX // nr_bytes else nr * nr_bytes


@core
def kvmalloc_begin(m: Machine, sl: Slub, vm: Vm, ac: ContextIdx, cache: CacheIdx, nr_bytes: int, gfp: Gfp) -> int:
    """Start to allocate; what does that want? `cache` is kmalloc's for this size, or NO_CACHE: it is too large for one.

    A size below 0 is an array's that overflowed: it fails at once.
    """
    if nr_bytes < 0:
        vm.contexts[ac].outcome = KV_FAILED
        vm.contexts[ac].reason = OVERFLOW
        vm.events[KV_OUTCOMES + KV_FAILED] += 1
        vm.events[KV_REASONS + OVERFLOW] += 1
        return DONE
    assert nr_bytes > 0
    frame = vm.frames[first_frame(vm, ac, KV_START)]
    frame.cache = cache
    frame.nr_bytes = nr_bytes
    frame.gfp = gfp
    frame.may_leave = 1
    return go_on(m, sl, vm, ac)


@core
def kvfree_begin(m: Machine, sl: Slub, vm: Vm, ac: ContextIdx, outcome: int, handle: int, order: Order) -> int:
    """Start to free what a kvmalloc gave; `handle` is by its outcome an object, a pfn or an area, `order` a block's."""
    frame = vm.frames[first_frame(vm, ac, KV_FREE)]
    frame.old_outcome = outcome
    if outcome == KV_SLAB:
        frame.old_obj = handle
    elif outcome == KV_PAGES:
        frame.old_pfn = handle
    else:
        frame.old_area = handle
    frame.old_order = order
    return go_on(m, sl, vm, ac)


@core
def kvrealloc_begin(m: Machine, sl: Slub, vm: Vm, ac: ContextIdx, cache: CacheIdx, nr_bytes: int, gfp: Gfp) -> int:
    """Start to make memory larger or smaller, in place or moved; what does that want? (kernel: kvrealloc)

    `contexts[ac]` describes the old memory as it does a result (KV_NONE: there is none), and afterwards the new;
    `cache` is kmalloc's for the new size, or NO_CACHE. On failure the old memory is as it was.
    """
    context = vm.contexts[ac]
    outcome, order = int(context.outcome), int(context.order)
    obj, pfn, area, room = int(context.obj), int(context.pfn), NO_AREA, 0
    if outcome == KV_SLAB:
        room = int(sl.caches[slab_owner(sl, obj)].slot_size)
    elif outcome == KV_PAGES:
        room = 1 << (order + int(m.params[0].page_shift))
    elif outcome == KV_VMALLOC:
        area = int(context.area)
    frame = vm.frames[first_frame(vm, ac, KV_REALLOC)]
    context.area = area
    frame.old_outcome = outcome
    frame.old_obj = obj
    frame.old_pfn = pfn
    frame.old_area = area
    frame.old_order = order
    frame.old_bytes = room
    frame.cache = cache
    frame.nr_bytes = nr_bytes
    frame.gfp = gfp
    return go_on(m, sl, vm, ac)
