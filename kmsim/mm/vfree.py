"""vfree and vunmap: an area is unlinked, unmapped, and its range waits for the next purge (kernel: mm/vmalloc.c).

    the range leaves the busy ones of its node
    the entries are cleared, but not flushed out of the TLBs
    the range joins the lazily freed ones of the node that owns it; beyond lazy_max_pages the drain is scheduled
    each page is freed by itself, in order; then the array of pages, which may be an area, then the vm_struct

Where the caller may not sleep, `vfree_atomic` puts the area on the CPU's list; a work item frees that list,
the newest first. Leaves out VM_FLUSH_RESET_PERMS and VM_MAP_PUT_PAGES.
Locks, one at a time: busy.lock, lazy.lock, then those of pages and objects.
"""

from kmsim.jit import core, small
from kmsim.mm.indices import ContextIdx
from kmsim.mm.mmzone import NO_PAGE
from kmsim.mm.slub_records import NO_OBJECT
from kmsim.mm.vm_frame import (
    CHAIN_FREE,
    FREE_ARRAY,
    FREE_DEFERRED,
    FREE_DEFERRED_NEXT,
    FREE_DONE,
    FREE_LAZY,
    FREE_PAGES,
    FREE_START,
    FREE_STRUCT,
    FREE_UNLINK,
    FREE_UNMAP,
    NOTHING,
    RETURN,
    WAIT,
    frame_of,
    must_release,
    push_frame,
    slab_free,
    wait,
)
from kmsim.mm.vm_records import NO_AREA, VM_FREED, VM_UNINITIALIZED, Vm
from kmsim.mm.vm_space import forget_area
from kmsim.mm.vm_table import count_cleared
from kmsim.mm.vmap_node import busy_lock, home_node, insert_lazy, lazy_lock, unlink_busy


@small
def step_of_free(vm: Vm, ac: ContextIdx, step: int) -> int:
    """Take one step of a vfree; returns what the next one needs."""
    f = frame_of(vm, ac)
    frame = vm.frames[f]
    if step == FREE_START:
        assert vm.areas[frame.area].in_use, "an area that is not there is freed"
        frame.va = vm.areas[frame.area].va
        return wait(vm, ac, busy_lock(vm, int(vm.vas[frame.va].start)), FREE_UNLINK)
    if step == FREE_UNLINK:
        unlink_busy(vm, int(frame.va))
        frame.step = FREE_UNMAP
        return NOTHING
    if step == FREE_UNMAP:
        return unmap(vm, ac)
    if step == FREE_LAZY:
        return free_noflush(vm, ac)
    if step == FREE_PAGES:
        return free_its_pages(vm, ac)
    if step == FREE_ARRAY:
        return free_array(vm, ac)
    if step == FREE_STRUCT:
        return slab_free(vm, ac, int(vm.areas[frame.area].obj), FREE_DONE)
    if step == FREE_DONE:
        vm.events[VM_FREED] += int(vm.areas[frame.area].vm_flags) & VM_UNINITIALIZED == 0
        forget_area(vm, int(frame.area))
        vm.work[0].areas_gone += 1
        return RETURN
    return step_of_deferred(vm, ac, step)


@small
def unmap(vm: Vm, ac: ContextIdx) -> int:
    """Clear the entries (kernel: free_unmap_vmap_area)."""
    if must_release(vm, ac):
        return WAIT
    frame = vm.frames[frame_of(vm, ac)]
    record = vm.vas[frame.va]
    start, end = int(record.start), int(record.end)
    vm.work[0].ptes_cleared += count_cleared(vm, start, end, int(vm.areas[frame.area].page_order))
    vm.params[0].vmap_lazy_nr += end - start
    frame.nr_lazy_pages = vm.params[0].vmap_lazy_nr
    frame.node = home_node(vm, int(frame.va))
    return wait(vm, ac, lazy_lock(vm, int(frame.node)), FREE_LAZY)


@small
def free_noflush(vm: Vm, ac: ContextIdx) -> int:
    """Its lock was granted: put the range among the node's lazily freed ones (kernel: free_vmap_area_noflush)."""
    frame = vm.frames[frame_of(vm, ac)]
    insert_lazy(vm, int(frame.node), int(frame.va))
    if frame.nr_lazy_pages > vm.params[0].lazy_max_pages:
        vm.params[0].drain_scheduled = 1
    frame.step = FREE_PAGES
    return NOTHING


@small
def free_its_pages(vm: Vm, ac: ContextIdx) -> int:
    """Free the pages, one by one."""
    frame = vm.frames[frame_of(vm, ac)]
    pfn = int(vm.areas[frame.area].first_pfn)
    frame.step = FREE_ARRAY
    if pfn == NO_PAGE:
        return NOTHING
    if must_release(vm, ac):
        frame.step = FREE_PAGES
        return WAIT
    vm.contexts[ac].pfn = pfn
    return CHAIN_FREE


@small
def free_array(vm: Vm, ac: ContextIdx) -> int:
    """Free the array of pages (kernel: kvfree)."""
    frame = vm.frames[frame_of(vm, ac)]
    area = vm.areas[frame.area]
    if area.pages_obj != NO_OBJECT:
        return slab_free(vm, ac, int(area.pages_obj), FREE_STRUCT)
    frame.step = FREE_STRUCT
    if area.pages_area != NO_AREA:
        inner = int(area.pages_area)
        vm.frames[push_frame(vm, ac, FREE_START)].area = inner
    return NOTHING


@core
def step_of_deferred(vm: Vm, ac: ContextIdx, step: int) -> int:
    """Take one step of the work item that frees a CPU's list (kernel: delayed_vfree_work)."""
    frame = vm.frames[frame_of(vm, ac)]
    if step == FREE_DEFERRED:
        cpu = vm.cpus[frame.deferred_cpu]
        frame.deferred_area = cpu.deferred
        cpu.deferred = NO_AREA
        frame.step = FREE_DEFERRED_NEXT
        return NOTHING
    assert step == FREE_DEFERRED_NEXT, "a frame without a step"
    if frame.deferred_area == NO_AREA:
        return RETURN
    area = int(frame.deferred_area)
    frame.deferred_area = vm.areas[area].next
    vm.frames[push_frame(vm, ac, FREE_START)].area = area
    return NOTHING
