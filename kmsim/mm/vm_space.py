"""A range of addresses for an area: the first part of vmalloc and of vmap (kernel: mm/vmalloc.c).

The way of a request (__get_vm_area_node and alloc_vmap_area):
    a vm_struct
    a range that this CPU's node has ready in its pool, else an object for one
    an object preloaded for a split; then, under free_vmap_area_lock, the lowest range that fits
    where there is none: purge once what was lazily freed, and try again; then give up
    the range is put among the busy ones of its node
It goes on at AREA_HAS_SPACE, with the area in the frame, or at AREA_NO_SPACE.

Leaves out the notifiers that could free more space, and vm_struct's of areas without a range.
Locks: free_vmap_area_lock, a node's busy.lock, its pool_lock; never two at once.
"""

from kmsim.jit import small
from kmsim.mm.gfp import (
    GFP_RECLAIM_MASK,
    GFP_ZERO,
)
from kmsim.mm.indices import AreaIdx, ContextIdx, ObjectIdx
from kmsim.mm.locks import FREE_VMAP_AREA_LOCK
from kmsim.mm.mmzone import NO_PAGE, Machine
from kmsim.mm.slub_records import NO_OBJECT
from kmsim.mm.vm_frame import (
    AREA_HAS_SPACE,
    AREA_NO_SPACE,
    NOTHING,
    PURGE_START,
    SPACE_FIND,
    SPACE_FOUND,
    SPACE_GIVE_UP,
    SPACE_INSERT,
    SPACE_NO_STRUCT,
    SPACE_OBJECT,
    SPACE_OBJECT_HAVE,
    SPACE_PLACE,
    SPACE_POOL,
    SPACE_PRELOAD,
    SPACE_PRELOADED,
    SPACE_PURGED,
    SPACE_STRUCT,
    SPACE_STRUCT_HAVE,
    drop_then,
    drop_va,
    frame_of,
    own_lock,
    push_frame,
    slab_alloc,
    slab_free,
    this_cpu,
    wait,
)
from kmsim.mm.vm_records import (
    NO_AREA,
    NO_OWNER,
    NO_SPACE,
    NO_STRUCT,
    NO_VA,
    POOL_HITS,
    VA_PRELOADED,
    VM_NO_GUARD,
    Vm,
)
from kmsim.mm.vmap import NO_START, PRELOAD_USED, RANGE_LEFT_OVER, alloc_free_va, forget_va, new_va
from kmsim.mm.vmap_node import (
    addr_to_node,
    busy_lock,
    encode_vn_id,
    insert_busy,
    node_pool_del_va,
    pool_is_empty,
    pool_lock,
    pool_of,
)


@small
def step_of_space(m: Machine, vm: Vm, ac: ContextIdx, step: int) -> int:
    """Take one step on the way to a range; returns what the next one needs."""
    if step == SPACE_STRUCT:
        gfp = int(vm.frames[frame_of(vm, ac)].gfp) & GFP_RECLAIM_MASK
        return slab_alloc(vm, ac, int(vm.params[0].vm_cache), gfp | GFP_ZERO, SPACE_STRUCT_HAVE)
    if step == SPACE_STRUCT_HAVE:
        return start_area(m, vm, ac)
    if step == SPACE_POOL:
        return take_from_pool(vm, ac)
    if step == SPACE_OBJECT:
        gfp = int(vm.frames[frame_of(vm, ac)].gfp) & GFP_RECLAIM_MASK
        return slab_alloc(vm, ac, int(vm.params[0].va_cache), gfp, SPACE_OBJECT_HAVE)
    if step == SPACE_OBJECT_HAVE:
        return start_search(vm, ac)
    if step == SPACE_PRELOAD:
        return preload(m, vm, ac)
    if step == SPACE_PRELOADED:
        frame = vm.frames[frame_of(vm, ac)]
        frame.spare = new_va(vm, int(vm.contexts[ac].obj)) if vm.contexts[ac].obj != NO_OBJECT else NO_VA
        return wait(vm, ac, own_lock(vm, FREE_VMAP_AREA_LOCK), SPACE_FIND)
    if step == SPACE_FIND:
        return find_locked(m, vm, ac)
    if step == SPACE_FOUND:
        return found(vm, ac)
    if step == SPACE_PLACE:
        return place(vm, ac)
    if step == SPACE_INSERT:
        frame = vm.frames[frame_of(vm, ac)]
        insert_busy(vm, int(frame.va))
        frame.step = AREA_HAS_SPACE
        return NOTHING
    if step == SPACE_PURGED:
        vm.frames[frame_of(vm, ac)].step = SPACE_PRELOAD
        return NOTHING
    if step == SPACE_GIVE_UP:
        return give_up(vm, ac)
    assert step == SPACE_NO_STRUCT, "a frame without a step"
    forget_area(vm, int(vm.frames[frame_of(vm, ac)].area))
    vm.frames[frame_of(vm, ac)].step = AREA_NO_SPACE
    return NOTHING


@small
def start_area(m: Machine, vm: Vm, ac: ContextIdx) -> int:
    """The vm_struct was allocated, or not: look into the pool of this CPU's node (kernel: node_alloc)."""
    f = frame_of(vm, ac)
    frame = vm.frames[f]
    if vm.contexts[ac].obj == NO_OBJECT:
        vm.contexts[ac].failure = NO_STRUCT
        frame.step = AREA_NO_SPACE
        return NOTHING
    area = new_area(vm, int(vm.contexts[ac].obj))
    frame.area = area
    vm.areas[area].nr_bytes = frame.nr_bytes
    vm.areas[area].vm_flags = frame.vm_flags
    frame.start_vpn = NO_START
    frame.va = NO_VA
    frame.owner = NO_OWNER
    frame.purged = 0
    frame.range_pages = frame.nr_pages + int(frame.vm_flags & VM_NO_GUARD == 0)
    frame.step = SPACE_OBJECT
    if vm.params[0].nr_nodes == 1:
        return NOTHING
    node = int(this_cpu(m, ac) % vm.params[0].nr_nodes)
    frame.owner = encode_vn_id(node)
    frame.pool = pool_of(node, int(frame.range_pages))
    if pool_is_empty(vm, int(frame.pool)):
        return NOTHING
    return wait(vm, ac, pool_lock(vm, node), SPACE_POOL)


@small
def take_from_pool(vm: Vm, ac: ContextIdx) -> int:
    """The pool's lock was granted: take its first range, if it may be used."""
    frame = vm.frames[frame_of(vm, ac)]
    va = node_pool_del_va(vm, int(frame.pool), 1 << int(frame.order))
    frame.va = va
    if va == NO_VA:
        frame.step = SPACE_OBJECT
        return NOTHING
    vm.events[POOL_HITS] += 1
    frame.start_vpn = int(vm.vas[va].start)
    frame.step = SPACE_PLACE
    return NOTHING


@small
def start_search(vm: Vm, ac: ContextIdx) -> int:
    """The range's object was allocated, or not."""
    frame = vm.frames[frame_of(vm, ac)]
    obj = int(vm.contexts[ac].obj)
    va = new_va(vm, obj) if obj != NO_OBJECT else NO_VA
    frame.va = va
    frame.step = SPACE_PRELOAD if va != NO_VA else SPACE_GIVE_UP
    if va == NO_VA:
        vm.contexts[ac].failure = NO_STRUCT
    return NOTHING


@small
def preload(m: Machine, vm: Vm, ac: ContextIdx) -> int:
    """Make sure that this CPU has an object for a split (kernel: preload_this_cpu_lock)."""
    frame = vm.frames[frame_of(vm, ac)]
    frame.spare = NO_VA
    if vm.cpus[this_cpu(m, ac)].preload == NO_VA:
        gfp = int(frame.gfp) & GFP_RECLAIM_MASK
        return slab_alloc(vm, ac, int(vm.params[0].va_cache), gfp, SPACE_PRELOADED)
    return wait(vm, ac, own_lock(vm, FREE_VMAP_AREA_LOCK), SPACE_FIND)


@small
def find_locked(m: Machine, vm: Vm, ac: ContextIdx) -> int:
    """free_vmap_area_lock was granted: cut the request out of the free space."""
    f = frame_of(vm, ac)
    frame = vm.frames[f]
    cpu = vm.cpus[this_cpu(m, ac)]
    if frame.spare != NO_VA:
        if cpu.preload == NO_VA:
            cpu.preload = frame.spare
            vm.vas[frame.spare].state = VA_PRELOADED
        else:
            drop_va(vm, f, int(frame.spare))
    start, cut, done = alloc_free_va(vm, int(frame.range_pages), 1 << int(frame.order), int(cpu.preload))
    if done == PRELOAD_USED:
        cpu.preload = NO_VA
    elif done == RANGE_LEFT_OVER:
        drop_va(vm, f, cut)
    frame.start_vpn = start
    return drop_then(vm, f, SPACE_FOUND)


@small
def found(vm: Vm, ac: ContextIdx) -> int:
    """A range was found; or none was: then purge, once (kernel: alloc_vmap_area, overflow)."""
    frame = vm.frames[frame_of(vm, ac)]
    if frame.start_vpn != NO_START:
        frame.step = SPACE_PLACE
        return NOTHING
    if not frame.purged:
        frame.purged = 1
        frame.step = SPACE_PURGED
        vm.frames[push_frame(vm, ac, PURGE_START)].full_pool_decay = 1
        return NOTHING
    vm.contexts[ac].failure = NO_SPACE
    frame.step = SPACE_GIVE_UP
    va = int(frame.va)
    obj = int(vm.vas[va].obj)
    forget_va(vm, va)
    return slab_free(vm, ac, obj, SPACE_GIVE_UP)


@small
def place(vm: Vm, ac: ContextIdx) -> int:
    """The request has its range: fill in the record, and ask for the lock of the busy ranges there."""
    frame = vm.frames[frame_of(vm, ac)]
    va = int(frame.va)
    record = vm.vas[va]
    record.start = frame.start_vpn
    record.end = frame.start_vpn + frame.range_pages
    record.owner = frame.owner
    record.area = frame.area
    vm.areas[frame.area].va = va
    assert addr_to_node(vm, int(frame.start_vpn)) < vm.params[0].nr_nodes
    return wait(vm, ac, busy_lock(vm, int(frame.start_vpn)), SPACE_INSERT)


@small
def give_up(vm: Vm, ac: ContextIdx) -> int:
    """There is no range: free the vm_struct."""
    area = int(vm.frames[frame_of(vm, ac)].area)
    return slab_free(vm, ac, int(vm.areas[area].obj), SPACE_NO_STRUCT)


# ---- records


@small
def new_area(vm: Vm, obj: ObjectIdx) -> AreaIdx:
    """A record for the object of a new vm_struct."""
    params = vm.params[0]
    area = int(params.area_unused)
    if area != NO_AREA:
        params.area_unused = vm.areas[area].next
    else:
        area = int(params.area_fresh)
        assert area < len(vm.areas), "more areas than there are records for"
        params.area_fresh += 1
    record = vm.areas[area]
    record.obj = obj
    record.va = NO_VA
    record.pages_obj = NO_OBJECT
    record.pages_area = NO_AREA
    record.first_pfn = NO_PAGE
    record.nr_pages = 0
    record.next = NO_AREA
    record.page_order = 0
    record.in_use = 1
    return area


@small
def forget_area(vm: Vm, area: AreaIdx) -> None:
    """Its vm_struct is freed: the record may be used again."""
    vm.areas[area].in_use = 0
    vm.areas[area].next = vm.params[0].area_unused
    vm.params[0].area_unused = area
