"""The steps of kvmalloc, kvrealloc and kvfree (kernel: mm/util.c, and vrealloc of mm/vmalloc.c); see `mm.kvmalloc`."""

from kmsim.jit import core, small
from kmsim.mm.getorder import get_order
from kmsim.mm.gfp import (
    GFP_COMP,
    GFP_DIRECT_RECLAIM,
    GFP_KERNEL,
    GFP_NOFAIL,
    GFP_NORETRY,
    GFP_NOWARN,
    GFP_RETRY_MAYFAIL,
)
from kmsim.mm.indices import ContextIdx, Gfp
from kmsim.mm.limits import INT_MAX
from kmsim.mm.mmzone import NO_PAGE, Machine
from kmsim.mm.prep_new_page import want_init_on_alloc
from kmsim.mm.slub_records import NO_CACHE, NO_OBJECT
from kmsim.mm.vm_frame import (
    AREA_START,
    FREE_START,
    KV_AREA_HAVE,
    KV_FREE,
    KV_FREED,
    KV_LEAVES,
    KV_PAGES_HAVE,
    KV_REALLOC,
    KV_REALLOC_AREA,
    KV_REALLOC_DONE,
    KV_REALLOC_HAVE,
    KV_REALLOC_VM_HAVE,
    KV_SLAB_HAVE,
    KV_START,
    NOTHING,
    RETURN,
    frame_of,
    pages_alloc,
    pages_free,
    push_frame,
    slab_alloc,
    slab_free,
)
from kmsim.mm.vm_records import (
    ABOVE_INT_MAX,
    KV_FAILED,
    KV_NO_BLOCK,
    KV_NO_REASON,
    KV_NONE,
    KV_OUTCOMES,
    KV_PAGES,
    KV_REASONS,
    KV_SLAB,
    KV_VMALLOC,
    NO_AREA,
    NON_BLOCKING,
    SMALL,
    TOO_LARGE,
    VM_ALLOW_HUGE_VMAP,
    Vm,
)


@small
def kmalloc_gfp_adjust(gfp: Gfp, nr_bytes: int, page_bytes: int) -> int:
    """How hard the slab tries where there is another way (kernel: kmalloc_gfp_adjust)."""
    if nr_bytes > page_bytes:
        gfp |= GFP_NOWARN
        if gfp & GFP_RETRY_MAYFAIL == 0:
            gfp |= GFP_NORETRY
        gfp &= ~GFP_NOFAIL
    return gfp


@small
def may_use_vmalloc(m: Machine, gfp: Gfp) -> bool:
    """May a request with these flags leave the slab? In 5.10, only where it has all of GFP_KERNEL."""
    return not m.params[0].kvmalloc_kernel_only or gfp & GFP_KERNEL == GFP_KERNEL


@core
def step_of_kv(m: Machine, vm: Vm, ac: ContextIdx, step: int) -> int:
    """Take one step; returns what the next one needs."""
    frame = vm.frames[frame_of(vm, ac)]
    context = vm.contexts[ac]
    if step == KV_START:
        return start_kvmalloc(m, vm, ac)
    if step == KV_SLAB_HAVE:
        if context.obj != NO_OBJECT:
            return ends(vm, ac, KV_SLAB)
        frame.reason = KV_NO_BLOCK
        frame.step = KV_LEAVES
        return NOTHING
    if step == KV_PAGES_HAVE:
        if context.pfn != NO_PAGE:
            context.order = frame.block_order
            return ends(vm, ac, KV_PAGES)
        frame.reason = KV_NO_BLOCK
        frame.step = KV_LEAVES
        return NOTHING
    if step == KV_LEAVES:
        return leaves_slab(m, vm, ac)
    if step == KV_AREA_HAVE:
        return ends(vm, ac, KV_VMALLOC if context.area != NO_AREA else KV_FAILED)
    if step == KV_FREE:
        return free_either(vm, ac)
    if step == KV_FREED:
        return RETURN
    return step_of_realloc(m, vm, ac, step)


@small
def start_kvmalloc(m: Machine, vm: Vm, ac: ContextIdx) -> int:
    """Ask the slab, or, for a size beyond its caches, the page allocator."""
    frame = vm.frames[frame_of(vm, ac)]
    page_shift = int(m.params[0].page_shift)
    nr_bytes = int(frame.nr_bytes)
    gfp = int(frame.gfp)
    if may_use_vmalloc(m, gfp):
        gfp = kmalloc_gfp_adjust(gfp, nr_bytes, 1 << page_shift)
    frame.reason = KV_NO_REASON
    if frame.cache != NO_CACHE:
        return slab_alloc(vm, ac, int(frame.cache), gfp, KV_SLAB_HAVE)
    order = get_order(nr_bytes, page_shift)
    frame.block_order = order
    if order > m.params[0].max_page_order:
        frame.reason = TOO_LARGE
        frame.step = KV_LEAVES
        return NOTHING
    return pages_alloc(vm, ac, gfp | GFP_COMP, order, KV_PAGES_HAVE)


@small
def leaves_slab(m: Machine, vm: Vm, ac: ContextIdx) -> int:
    """The slab has refused: vmalloc, if that is allowed (kernel: __kvmalloc_node)."""
    frame = vm.frames[frame_of(vm, ac)]
    if not frame.may_leave:
        vm.contexts[ac].outcome = KV_FAILED
        return RETURN
    if not may_use_vmalloc(m, int(frame.gfp)):
        return ends(vm, ac, KV_FAILED)
    nr_bytes = int(frame.nr_bytes)
    if nr_bytes <= 1 << int(m.params[0].page_shift):
        frame.reason = SMALL
    elif frame.gfp & GFP_DIRECT_RECLAIM == 0:
        frame.reason = NON_BLOCKING
    elif nr_bytes > INT_MAX:
        frame.reason = ABOVE_INT_MAX
    else:
        gfp = int(frame.gfp)
        frame.step = KV_AREA_HAVE
        call_vmalloc(vm, ac, nr_bytes, gfp, VM_ALLOW_HUGE_VMAP)
        return NOTHING
    return ends(vm, ac, KV_FAILED)


@small
def call_vmalloc(vm: Vm, ac: ContextIdx, nr_bytes: int, gfp: Gfp, vm_flags: int) -> None:
    """Let vmalloc do it; the frame's following step is set."""
    inner = vm.frames[push_frame(vm, ac, AREA_START)]
    inner.nr_bytes = nr_bytes
    inner.gfp = gfp
    inner.vm_flags = vm_flags


@small
def ends(vm: Vm, ac: ContextIdx, outcome: int) -> int:
    """The kvmalloc is over: count how, and why it left the slab."""
    frame = vm.frames[frame_of(vm, ac)]
    context = vm.contexts[ac]
    context.outcome = outcome
    context.reason = frame.reason
    vm.events[KV_OUTCOMES + outcome] += 1
    if frame.reason != KV_NO_REASON:
        vm.events[KV_REASONS + frame.reason] += 1
    return RETURN


@small
def free_either(vm: Vm, ac: ContextIdx) -> int:
    """Free what a kvmalloc gave (kernel: kvfree)."""
    frame = vm.frames[frame_of(vm, ac)]
    if frame.old_outcome == KV_SLAB:
        return slab_free(vm, ac, int(frame.old_obj), KV_FREED)
    if frame.old_outcome == KV_PAGES:
        return pages_free(vm, ac, int(frame.old_pfn), int(frame.old_order), KV_FREED)
    assert frame.old_outcome == KV_VMALLOC, "memory that no kvmalloc gave is freed"
    area = int(frame.old_area)
    frame.step = KV_FREED
    vm.frames[push_frame(vm, ac, FREE_START)].area = area
    return NOTHING


# ---- kvrealloc


@small
def step_of_realloc(m: Machine, vm: Vm, ac: ContextIdx, step: int) -> int:
    """Take one step of a kvrealloc; returns what the next one needs."""
    frame = vm.frames[frame_of(vm, ac)]
    context = vm.contexts[ac]
    if step == KV_REALLOC:
        if frame.nr_bytes == 0:
            return free_old(vm, ac)
        if frame.old_outcome == KV_VMALLOC:
            return realloc_area(m, vm, ac)
        if frame.old_bytes >= frame.nr_bytes:
            return stays(m, vm, ac, int(frame.old_bytes - frame.nr_bytes), False)
        frame.step = KV_REALLOC_HAVE
        call_kvmalloc(vm, ac, 0)
        return NOTHING
    if step == KV_REALLOC_HAVE:
        if context.outcome != KV_FAILED:
            return copied(vm, ac)
        frame.step = KV_REALLOC_VM_HAVE
        call_kvmalloc(vm, ac, 1)
        return NOTHING
    if step == KV_REALLOC_VM_HAVE:
        return RETURN if context.outcome == KV_FAILED else copied(vm, ac)
    if step == KV_REALLOC_AREA:
        context.outcome = KV_VMALLOC if context.area != NO_AREA else KV_FAILED
        return RETURN if context.area == NO_AREA else copied(vm, ac)
    assert step == KV_REALLOC_DONE, "a frame without a step"
    context.obj = frame.new_obj
    context.pfn = frame.new_pfn
    context.area = frame.new_area
    context.order = frame.new_order
    context.outcome = frame.new_outcome
    return RETURN


@small
def call_kvmalloc(vm: Vm, ac: ContextIdx, may_leave: int) -> None:
    """Ask for the new memory, and say whether it may leave the slab; the frame's following step is set."""
    frame = vm.frames[frame_of(vm, ac)]
    nr_bytes, gfp, cache = int(frame.nr_bytes), int(frame.gfp), int(frame.cache)
    inner = vm.frames[push_frame(vm, ac, KV_START)]
    inner.nr_bytes = nr_bytes
    inner.gfp = gfp
    inner.cache = cache
    inner.may_leave = may_leave


@small
def realloc_area(m: Machine, vm: Vm, ac: ContextIdx) -> int:
    """An area has room for more than was asked for, up to its pages (kernel: vrealloc)."""
    frame = vm.frames[frame_of(vm, ac)]
    area = vm.areas[frame.old_area]
    old_bytes = int(area.nr_bytes)
    frame.old_bytes = old_bytes
    if frame.nr_bytes <= int(area.nr_pages) << int(m.params[0].page_shift):
        area.nr_bytes = frame.nr_bytes
        return stays(m, vm, ac, max(old_bytes - int(frame.nr_bytes), 0), m.params[0].init_on_free != 0)
    frame.step = KV_REALLOC_AREA
    call_vmalloc(vm, ac, int(frame.nr_bytes), int(frame.gfp), 0)
    return NOTHING


@small
def stays(m: Machine, vm: Vm, ac: ContextIdx, nr_spare_bytes: int, is_freed: bool) -> int:
    """The memory is large enough already; what is behind the new size is zeroed where new or freed memory is."""
    frame = vm.frames[frame_of(vm, ac)]
    if is_freed or want_init_on_alloc(m, int(frame.gfp)):
        m.work[0].bytes_zeroed += nr_spare_bytes
    vm.contexts[ac].outcome = frame.old_outcome
    return RETURN


@small
def copied(vm: Vm, ac: ContextIdx) -> int:
    """There is new memory: copy, then free the old."""
    frame = vm.frames[frame_of(vm, ac)]
    context = vm.contexts[ac]
    vm.work[0].bytes_copied += frame.old_bytes
    frame.new_obj = context.obj
    frame.new_pfn = context.pfn
    frame.new_area = context.area
    frame.new_order = context.order
    frame.new_outcome = context.outcome
    return free_old(vm, ac)


@small
def free_old(vm: Vm, ac: ContextIdx) -> int:
    """Free the old memory, if there is any."""
    frame = vm.frames[frame_of(vm, ac)]
    frame.step = KV_REALLOC_DONE
    if frame.nr_bytes == 0:
        frame.new_outcome = KV_NONE
    if frame.old_outcome == KV_NONE:
        return NOTHING
    outcome, order = int(frame.old_outcome), int(frame.old_order)
    obj, pfn, area = int(frame.old_obj), int(frame.old_pfn), int(frame.old_area)
    inner = vm.frames[push_frame(vm, ac, KV_FREE)]
    inner.old_outcome = outcome
    inner.old_obj = obj
    inner.old_pfn = pfn
    inner.old_area = area
    inner.old_order = order
    return NOTHING
