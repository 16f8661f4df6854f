"""vmalloc: memory whose addresses are contiguous and whose pages are not (kernel: mm/vmalloc.c).

Each verb `..._begin` starts a request and runs it up to the first thing that it wants (see `mm.wants`); `vm_resume`
goes on when that was granted. Beside what the page allocator and SLUB want, those are free_vmap_area_lock,
init_mm.page_table_lock and each node's busy.lock, lazy.lock and pool_lock; vmap_purge_lock, which is a mutex; and that
`flush_pages` pages from `flush_start` are flushed. State changes in the call that was granted the lock. When nothing is
wanted any more, `contexts[ac].area` is the result, and `failure` says why it is NO_AREA.

The steps themselves are in `mm.vm_space`, `mm.vm_area`, `mm.vfree`, `mm.vm_purge` and `mm.kvmalloc_steps`; here
is what runs them, and asks the page and slab allocators on their behalf. Lock order: vmap_purge_lock, then one
spinlock at a time. A purge takes free_vmap_area_lock, the nodes' pool_lock and lazy.lock, and list_lock and
zone->lock for the objects that it frees; busy.lock and page_table_lock are never taken within a purge.
"""

from kmsim.jit import core, prefetch, small
from kmsim.mm.gfp import GFP_KERNEL, GFP_ZERO
from kmsim.mm.indices import AreaIdx, ContextIdx, CpuIdx, Gfp
from kmsim.mm.kvmalloc_steps import step_of_kv
from kmsim.mm.mmzone import NO_LOCK, Machine
from kmsim.mm.page_alloc import alloc_begin, free_begin
from kmsim.mm.page_chain import chain_alloc_begin, chain_alloc_resume, chain_free_begin, chain_free_resume
from kmsim.mm.prep_new_page import after_lock, is_to_be_prepared
from kmsim.mm.slow_path import alloc_resume
from kmsim.mm.slub import slab_alloc_begin, slab_free_begin, slab_resume
from kmsim.mm.slub_records import CHUNK_SHIFT, NO_OBJECT, Slub
from kmsim.mm.vfree import step_of_free
from kmsim.mm.vm_area import step_of_area
from kmsim.mm.vm_frame import (
    AREA_START,
    AREA_STEPS_END,
    CHAIN_ALLOC,
    CHAIN_FREE,
    DROP_NEXT,
    FREE_DEFERRED,
    FREE_START,
    FREE_STEPS_END,
    NOTHING,
    PAGES_ALLOC,
    PAGES_FREE,
    PURGE_START,
    PURGE_STEPS_END,
    RETURN,
    SLAB_ALLOC,
    SLAB_FREE,
    SPACE_STEPS_END,
    VMAP_START,
    WAIT,
    first_frame,
    frame_of,
    slab_free,
)
from kmsim.mm.vm_purge import step_of_purge
from kmsim.mm.vm_records import NO_AREA, NO_VA, VM_MAP, VM_USERMAP, Vm
from kmsim.mm.vm_space import step_of_space
from kmsim.mm.vmap import forget_va
from kmsim.mm.wants import DONE, LOCK, want_lock, want_to_go_on

# ---- verbs


@core
def vmalloc_begin(m: Machine, sl: Slub, vm: Vm, ac: ContextIdx, nr_bytes: int, gfp: Gfp, vm_flags: int) -> int:
    """Start to allocate an area; what does that want? (kernel: __vmalloc, __vmalloc_node_range)

    `vm_flags` is 0, VM_ALLOW_HUGE_VMAP (vmalloc_huge) or VM_USERMAP; `gfp` with __GFP_ZERO is vzalloc.
    """
    assert nr_bytes > 0
    frame = vm.frames[first_frame(vm, ac, AREA_START)]
    frame.nr_bytes = nr_bytes
    frame.gfp = gfp
    frame.vm_flags = vm_flags
    return go_on(m, sl, vm, ac)


@small
def vmalloc_user_begin(m: Machine, sl: Slub, vm: Vm, ac: ContextIdx, nr_bytes: int) -> int:
    """Start to allocate zeroed memory that may be mapped to user space (kernel: vmalloc_user; SHMLBA is a page)."""
    return vmalloc_begin(m, sl, vm, ac, nr_bytes, GFP_KERNEL | GFP_ZERO, VM_USERMAP)


@core
def vmap_begin(m: Machine, sl: Slub, vm: Vm, ac: ContextIdx, nr_pages: int) -> int:
    """Start to map pages that the caller has; what does that want? (kernel: vmap)"""
    assert nr_pages > 0
    frame = vm.frames[first_frame(vm, ac, VMAP_START)]
    frame.nr_pages = nr_pages
    frame.nr_bytes = nr_pages << int(m.params[0].page_shift)
    frame.vm_flags = VM_MAP
    return go_on(m, sl, vm, ac)


@core
def vfree_begin(m: Machine, sl: Slub, vm: Vm, ac: ContextIdx, area: AreaIdx) -> int:
    """Start to free an area, from where one may sleep; what does that want? (kernel: vfree)"""
    vm.frames[first_frame(vm, ac, FREE_START)].area = area
    return go_on(m, sl, vm, ac)


@small
def fetch_ahead(m: Machine, sl: Slub, vm: Vm, area: AreaIdx) -> None:
    """Ask the host for the records of an area that will soon be freed: a million areas are in no cache."""
    record = vm.areas[area]
    prefetch(vm.vas, int(record.va))
    prefetch(m.pages, int(record.first_pfn))
    for obj in (int(record.obj), int(record.pages_obj)):
        if obj != NO_OBJECT:
            prefetch(sl.slabs, int(sl.slab_of_chunk[obj >> CHUNK_SHIFT]))


@small
def vunmap_begin(m: Machine, sl: Slub, vm: Vm, ac: ContextIdx, area: AreaIdx) -> int:
    """Start to unmap an area whose pages stay with the caller (kernel: vunmap)."""
    return vfree_begin(m, sl, vm, ac, area)


@core
def vfree_atomic_begin(m: Machine, vm: Vm, ac: ContextIdx, area: AreaIdx) -> int:
    """Put an area on this CPU's list to be freed later; nothing is ever wanted (kernel: vfree_atomic).

    The first on the list schedules the work item: `cpus[cpu].vfree_scheduled` is 1 then.
    """
    assert vm.areas[area].in_use, "an area that is not there is freed"
    cpu = vm.cpus[m.contexts[ac].cpu]
    vm.areas[area].next = cpu.deferred
    if cpu.deferred == NO_AREA and not cpu.vfree_scheduled:
        cpu.vfree_scheduled = 1
        vm.params[0].vfree_scheduled += 1
    cpu.deferred = area
    return DONE


@core
def deferred_vfree_begin(m: Machine, sl: Slub, vm: Vm, ac: ContextIdx, of_cpu: CpuIdx) -> int:
    """Start the work item that frees what a CPU has put off; what does it want? (kernel: delayed_vfree_work)"""
    vm.params[0].vfree_scheduled -= vm.cpus[of_cpu].vfree_scheduled
    vm.cpus[of_cpu].vfree_scheduled = 0
    vm.frames[first_frame(vm, ac, FREE_DEFERRED)].deferred_cpu = of_cpu
    return go_on(m, sl, vm, ac)


@core
def vm_purge_begin(m: Machine, sl: Slub, vm: Vm, ac: ContextIdx) -> int:
    """Start the work item that purges: it wants the mutex (kernel: drain_vmap_area_work)."""
    vm.params[0].drain_scheduled = 0
    vm.frames[first_frame(vm, ac, PURGE_START)].full_pool_decay = 0
    return go_on(m, sl, vm, ac)


@small
def vm_resume(m: Machine, sl: Slub, vm: Vm, ac: ContextIdx) -> int:
    """What the request wanted was granted, or done: go on; what does it want now?"""
    vm.contexts[ac].held = int(m.contexts[ac].lock != NO_LOCK)
    return go_on(m, sl, vm, ac)


# ---- what runs the steps


@core
def go_on(m: Machine, sl: Slub, vm: Vm, ac: ContextIdx) -> int:
    """Take steps until the request wants something or is done; what does it want?

    Where another allocator's request is under way, that comes first.
    """
    context = vm.contexts[ac]
    inner = int(context.inner)
    if inner != NOTHING:
        if not context.settles:
            wants = inner_resume(m, sl, ac, inner)
            if wants:
                return wants
        if settle(m, sl, vm, ac, inner):
            return want_to_go_on(m, ac)
    while True:
        context.inner = NOTHING
        context.settles = 0
        needs = next_step(m, vm, ac)
        if needs == WAIT:
            return publish(m, vm, ac)
        if needs == RETURN:
            context.depth -= 1
            if context.depth == 0:
                return DONE
        elif needs != NOTHING:
            context.inner = needs
            if not context.held:
                m.contexts[ac].lock = NO_LOCK
            wants = inner_begin(m, sl, vm, ac, needs)
            if wants:
                return wants
            if settle(m, sl, vm, ac, needs):
                return want_to_go_on(m, ac)


@small
def publish(m: Machine, vm: Vm, ac: ContextIdx) -> int:
    """Say what the step on top wants."""
    context = vm.contexts[ac]
    if context.wants == LOCK:
        return want_lock(m, ac, int(context.lock))
    m.contexts[ac].lock = NO_LOCK
    m.contexts[ac].mutex = context.lock
    return int(context.wants)


@small
def next_step(m: Machine, vm: Vm, ac: ContextIdx) -> int:
    """Take the next step of the frame on top; what it needs."""
    step = int(vm.frames[frame_of(vm, ac)].step)
    if step < SPACE_STEPS_END:
        return step_of_space(m, vm, ac, step)
    if step < AREA_STEPS_END:
        return step_of_area(m, vm, ac, step)
    if step < FREE_STEPS_END:
        return step_of_free(vm, ac, step)
    if step < PURGE_STEPS_END:
        return step_of_purge(vm, ac, step)
    if step == DROP_NEXT:
        return drop_next(vm, ac)
    return step_of_kv(m, vm, ac, step)


@small
def drop_next(vm: Vm, ac: ContextIdx) -> int:
    """Free the vmap_area object of a range that a merge or a cut has used up (kernel: kmem_cache_free there)."""
    frame = vm.frames[frame_of(vm, ac)]
    va = int(frame.drop)
    frame.drop = vm.vas[va].next
    obj = int(vm.vas[va].obj)
    forget_va(vm, va)
    step = int(frame.then) if frame.drop == NO_VA else DROP_NEXT
    if obj == NO_OBJECT:
        frame.step = step
        return NOTHING
    return slab_free(vm, ac, obj, step)


@small
def inner_begin(m: Machine, sl: Slub, vm: Vm, ac: ContextIdx, needs: int) -> int:
    """Begin a request to another allocator; what does it want?"""
    context = vm.contexts[ac]
    if needs == SLAB_ALLOC:
        return slab_alloc_begin(m, sl, ac, int(context.cache), int(context.gfp))
    if needs == SLAB_FREE:
        return slab_free_begin(m, sl, ac, int(context.obj))
    if needs == CHAIN_ALLOC:
        return chain_alloc_begin(m, ac, int(context.gfp), int(context.nr))
    if needs == CHAIN_FREE:
        return chain_free_begin(m, ac, int(context.pfn))
    if needs == PAGES_ALLOC:
        return alloc_begin(m, ac, int(context.gfp), int(context.order))
    assert needs == PAGES_FREE
    return free_begin(m, ac, int(context.pfn), int(context.order))


@small
def inner_resume(m: Machine, sl: Slub, ac: ContextIdx, inner: int) -> int:
    """What a request to another allocator wanted is granted: go on with it; what does it want now?"""
    if inner in (SLAB_ALLOC, SLAB_FREE):
        return slab_resume(m, sl, ac)
    if inner == CHAIN_ALLOC:
        return chain_alloc_resume(m, ac)
    if inner == CHAIN_FREE:
        return chain_free_resume(m, ac)
    return alloc_resume(m, ac)


@small
def settle(m: Machine, sl: Slub, vm: Vm, ac: ContextIdx, inner: int) -> bool:
    """A request to another allocator is over: pass on its result; True where its pages first want the lock let go of.

    New pages are checked and zeroed without it.
    """
    context = vm.contexts[ac]
    if inner == SLAB_ALLOC:
        context.obj = sl.contexts[ac].obj
        return False
    if inner in (PAGES_ALLOC, CHAIN_ALLOC):
        pages = m.contexts[ac]
        if is_to_be_prepared(m, ac):
            if context.held:
                context.settles = 1
                return True
            after_lock(m, ac)
        context.pfn = pages.pfn
    return False
