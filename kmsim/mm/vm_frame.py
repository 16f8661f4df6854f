"""Functions under way: how vmalloc's steps ask for things, wait, call each other and return.

Each request is a stack of frames. A frame's `step` says what to do next; a step sets the following one and
returns what it needs: another allocator's request, nothing, or something to wait for (see `mm.wants`; after a lock
the following step is the critical section). `mm.vmalloc` runs them. A step that takes long and needs no lock first
asks with `must_release` to be called again once the spinlock that was granted last has been released.
"""

from kmsim.jit import shared, small
from kmsim.mm.indices import (
    CacheIdx,
    ContextIdx,
    CpuIdx,
    FrameIdx,
    Gfp,
    LockClassIdx,
    LockIdx,
    ObjectIdx,
    Order,
    Pfn,
    TaskIdx,
    VaIdx,
)
from kmsim.mm.locks import vmalloc_lock
from kmsim.mm.mmzone import NO_LOCK, Machine
from kmsim.mm.vm_records import (
    FRAMES_PER_CONTEXT,
    NO_AREA,
    NO_VA,
    VM_NO_FAILURE,
    Vm,
)
from kmsim.mm.wants import GO_ON, LOCK

# What a step needs before the next one can be taken.
NOTHING, WAIT, RETURN, SLAB_ALLOC, SLAB_FREE, PAGES_ALLOC, PAGES_FREE, CHAIN_ALLOC, CHAIN_FREE = range(9)

# The steps, numbered group after group; each group but the last ends with a mark that is no step.
(
    # A virtual address for an area (kernel: __get_vm_area_node, alloc_vmap_area).
    SPACE_STRUCT,
    SPACE_STRUCT_HAVE,
    SPACE_POOL,
    SPACE_OBJECT,
    SPACE_OBJECT_HAVE,
    SPACE_PRELOAD,
    SPACE_PRELOADED,
    SPACE_FIND,
    SPACE_FOUND,
    SPACE_PLACE,
    SPACE_INSERT,
    SPACE_PURGED,
    SPACE_GIVE_UP,
    SPACE_NO_STRUCT,
    SPACE_STEPS_END,
    # Pages, their array, and the mapping (kernel: __vmalloc_node_range, __vmalloc_area_node, vmap).
    AREA_START,
    AREA_HAS_SPACE,
    AREA_NO_SPACE,
    AREA_ARRAY_OBJ,
    AREA_ARRAY_AREA,
    AREA_BULK,
    AREA_BULK_HAVE,
    AREA_SINGLE,
    AREA_SINGLE_HAVE,
    AREA_PAGES_DONE,
    AREA_MAP,
    AREA_TABLE_HAVE,
    AREA_TABLE_SET,
    AREA_TABLE_CLEARED,
    AREA_MAPPED,
    AREA_UNDONE,
    VMAP_START,
    AREA_STEPS_END,
    # Freeing (kernel: remove_vm_area, vfree, vunmap, delayed_vfree_work).
    FREE_START,
    FREE_UNLINK,
    FREE_UNMAP,
    FREE_LAZY,
    FREE_PAGES,
    FREE_ARRAY,
    FREE_STRUCT,
    FREE_DONE,
    FREE_DEFERRED,
    FREE_DEFERRED_NEXT,
    FREE_STEPS_END,
    # Purging (kernel: __purge_vmap_area_lazy, decay_va_pool_node, purge_vmap_node).
    PURGE_START,
    PURGE_NODE,
    PURGE_POOL,
    PURGE_DETACH,
    PURGE_DECAY,
    PURGE_ATTACH_WAIT,
    PURGE_ATTACH,
    PURGE_DECAYED,
    PURGE_DECAYED_GLOBAL,
    PURGE_LAZY,
    PURGE_TAKE,
    PURGE_SORT,
    PURGE_FLUSH,
    PURGE_NODE_NEXT,
    PURGE_VA,
    PURGE_POOL_ADD,
    PURGE_LOCAL,
    PURGE_GLOBAL,
    PURGE_UNLOCK,
    PURGE_DONE,
    PURGE_STEPS_END,
    # Either (kernel: mm/util.c).
    KV_START,
    KV_SLAB_HAVE,
    KV_PAGES_HAVE,
    KV_LEAVES,
    KV_AREA_HAVE,
    KV_FREE,
    KV_FREED,
    KV_REALLOC,
    KV_REALLOC_AREA,
    KV_REALLOC_HAVE,
    KV_REALLOC_VM_HAVE,
    KV_REALLOC_DONE,
    # What every frame may have left to do: to free the objects of ranges that are used up.
    DROP_NEXT,
) = range(78)


@small
def nth_frame(of: ContextIdx | TaskIdx, n: int) -> FrameIdx:
    """The nth frame of a context, or of the task for which its frames are put away."""
    return of * FRAMES_PER_CONTEXT + n


@small
def frame_of(vm: Vm, ac: ContextIdx) -> FrameIdx:
    """The frame on top of the context's stack."""
    return nth_frame(ac, int(vm.contexts[ac].depth) - 1)


@small
def first_frame(vm: Vm, ac: ContextIdx, step: int) -> FrameIdx:
    """Begin a request: its only frame."""
    context = vm.contexts[ac]
    assert context.depth == 0, "a context with a request under way"
    context.area = NO_AREA
    context.failure = VM_NO_FAILURE
    context.held = 0
    context.inner = NOTHING
    context.settles = 0
    return push_frame(vm, ac, step)


@small
def push_frame(vm: Vm, ac: ContextIdx, step: int) -> FrameIdx:
    """Call a function that begins at `step`; the caller has set its own following step."""
    context = vm.contexts[ac]
    assert context.depth < FRAMES_PER_CONTEXT, "functions call each other too deep"
    context.depth += 1
    f = frame_of(vm, ac)
    frame = vm.frames[f]
    frame.step = step
    frame.drop = frame.drop_tail = NO_VA
    frame.spare = NO_VA
    return f


@small
def wait(vm: Vm, ac: ContextIdx, lock: LockIdx, step: int) -> int:
    """Ask for a spinlock; `step` runs under it."""
    return wait_for(vm, ac, LOCK, lock, step)


@small
def wait_for(vm: Vm, ac: ContextIdx, wants: int, lock: LockIdx, step: int) -> int:
    """Ask for anything; `step` follows."""
    context = vm.contexts[ac]
    context.wants = wants
    context.lock = lock
    vm.frames[frame_of(vm, ac)].step = step
    return WAIT


@shared
def own_lock(vm: Vm, lock_class: LockClassIdx) -> LockIdx:
    """The number of one of the locks that there is only one of."""
    return vmalloc_lock(int(vm.params[0].lock_first), lock_class)


@small
def must_release(vm: Vm, ac: ContextIdx) -> bool:
    """Must the spinlock be released before this step, which takes long? Then the step returns WAIT."""
    context = vm.contexts[ac]
    if not context.held:
        return False
    context.wants = GO_ON
    context.lock = NO_LOCK
    context.inner = NOTHING
    context.settles = 0
    return True


@small
def slab_alloc(vm: Vm, ac: ContextIdx, cache: CacheIdx, gfp: Gfp, step: int) -> int:
    """Ask for an object; then it is in `contexts[ac].obj`."""
    context = vm.contexts[ac]
    context.cache = cache
    context.gfp = gfp
    vm.frames[frame_of(vm, ac)].step = step
    return SLAB_ALLOC


@small
def slab_free(vm: Vm, ac: ContextIdx, obj: ObjectIdx, step: int) -> int:
    """Give an object back."""
    vm.contexts[ac].obj = obj
    vm.frames[frame_of(vm, ac)].step = step
    return SLAB_FREE


@small
def pages_alloc(vm: Vm, ac: ContextIdx, gfp: Gfp, order: Order, step: int) -> int:
    """Ask for a block; then it is in `contexts[ac].pfn`."""
    context = vm.contexts[ac]
    context.gfp = gfp
    context.order = order
    vm.frames[frame_of(vm, ac)].step = step
    return PAGES_ALLOC


@small
def pages_free(vm: Vm, ac: ContextIdx, pfn: Pfn, order: Order, step: int) -> int:
    """Give a block back."""
    context = vm.contexts[ac]
    context.pfn = pfn
    context.order = order
    vm.frames[frame_of(vm, ac)].step = step
    return PAGES_FREE


@small
def drop_va(vm: Vm, f: FrameIdx, va: VaIdx) -> None:
    """Remember that a record's object is to be freed, behind those remembered before."""
    frame = vm.frames[f]
    vm.vas[va].next = NO_VA
    if frame.drop == NO_VA:
        frame.drop = va
    else:
        vm.vas[frame.drop_tail].next = va
    frame.drop_tail = va


@small
def drop_then(vm: Vm, f: FrameIdx, step: int) -> int:
    """Free what is to be freed, and go on at `step`."""
    frame = vm.frames[f]
    if frame.drop == NO_VA:
        frame.step = step
    else:
        frame.then = step
        frame.step = DROP_NEXT
    return NOTHING


@small
def this_cpu(m: Machine, ac: ContextIdx) -> CpuIdx:
    """The CPU that the context runs on."""
    return int(m.contexts[ac].cpu)
