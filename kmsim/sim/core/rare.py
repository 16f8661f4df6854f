"""What is asked for rarely, and only by a user's own process: requests beside those that a workload can make.

    KREALLOC    its slot has the old object, `detail` 1 for a large block; comes to the new one in the same way
    KVREALLOC   its slot has the old memory as a kvmalloc leaves it; comes to the new
    VMAP        comes to an area, over so many pages as its bytes take
    OBJECTS     so many objects as its slot says, in the context's row of `mm.slub`'s `bulk`; freed from there, too
    SHRINK, DESTROY    of a cache; a DESTROY comes to the number of objects that still live

They go through the stages of `sim.core.vmalloc`, which take all locks that there are. To copy a byte is priced as to
zero one (assumed). Leaves out: what an in-place krealloc takes (nothing is asked of an allocator), the wait for RCU
and the work items of a flush. Lock order: as there. Kept out of the compiled core with vmalloc.
"""

from kmsim.jit import only_with, small
from kmsim.mm.kmalloc import is_large, kmalloc_locked, krealloc_begin, ksize, large_object, large_pfn
from kmsim.mm.kvmalloc import kvrealloc_begin
from kmsim.mm.slub import (
    slab_alloc_bulk_begin,
    slab_destroy_begin,
    slab_free_bulk_begin,
    slab_locked,
    slab_shrink_begin,
)
from kmsim.mm.vm_records import RELEASE
from kmsim.mm.vmalloc import vm_locked, vmap_begin
from kmsim.sim.core.records import NO_BLOCK, Core
from kmsim.workload.op_stream import ALLOC, FREE
from kmsim.workload.request import DESTROY, KREALLOC, KVMALLOC, KVREALLOC, OBJECTS, SHRINK, VMAP

_OUTCOME_BITS = 3  # of a kvmalloc's detail; the rest is its block's order


@small
def is_rare(s: Core, ac: int) -> bool:
    """Is it one of these, or the free of one? The free of a mapping is a vfree as any other."""
    run = s.runs[ac]
    api = s.requests[run.request].api
    return bool(api > KVMALLOC and (run.kind == ALLOC or (run.kind == FREE and api == OBJECTS)))


@only_with("vm", False)
def begin_rare(s: Core, ac: int) -> bool:
    """The stage before any lock; is one wanted?"""
    run = s.runs[ac]
    request = s.requests[run.request]
    api = request.api
    s.slub.work[0].bytes_copied = 0
    s.vm.work[0].bytes_copied = 0
    if api == KVREALLOC:
        begin_from(s, ac)
        wanted = kvrealloc_begin(s.m, s.slub, s.vm, ac, request.cache, run.nr_bytes, request.gfp)
    elif api == VMAP:
        wanted = vmap_begin(s.m, s.slub, s.vm, ac, run.nr_bytes >> s.m.params[0].page_shift)
    else:
        wanted = slab_wants(s, ac, begin_slab_verb(s, ac, api))
    return copied(s, wanted)


@only_with("vm")
def begin_from(s: Core, ac: int) -> None:
    """Tell kvrealloc what the old memory is."""
    slot = s.slots[s.runs[ac].handle]
    context = s.vm.contexts[ac]
    context.outcome = slot.detail & ((1 << _OUTCOME_BITS) - 1)
    context.order = slot.detail >> _OUTCOME_BITS
    context.obj = slot.block
    context.pfn = slot.block
    context.area = slot.block


@only_with("vm", False)
def begin_slab_verb(s: Core, ac: int, api: int) -> bool:
    """Begin what only slabs are needed for; is a lock wanted?"""
    run = s.runs[ac]
    request = s.requests[run.request]
    if api == KREALLOC:
        return krealloc_begin(s.m, s.slub, ac, old_object(s, ac), run.nr_bytes, request.cache, request.gfp)
    if api == OBJECTS:
        if run.kind == FREE:
            return slab_free_bulk_begin(s.m, s.slub, ac, run.block)
        return slab_alloc_bulk_begin(s.m, s.slub, ac, request.cache, request.gfp, int(s.slots[run.handle].block))
    if api == SHRINK:
        return slab_shrink_begin(s.m, s.slub, ac, request.cache)
    assert api == DESTROY, "a request that no stage knows"
    return slab_destroy_begin(s.m, s.slub, ac, request.cache)


@only_with("vm", 0)
def old_object(s: Core, ac: int) -> int:
    """The object that a krealloc is for."""
    slot = s.slots[s.runs[ac].handle]
    return int(large_object(int(slot.block))) if slot.detail else int(slot.block)


@only_with("vm", 0)
def rare_path(s: Core, ac: int) -> int:
    """The price of the fast paths that it takes, asked before it begins."""
    run = s.runs[ac]
    request = s.requests[run.request]
    price = s.prices[0]
    api = request.api
    if api == OBJECTS:
        return int(price.slab_free_fast if run.kind == FREE else price.slab_alloc_fast)
    if api == KVREALLOC or (api == KREALLOC and ksize(s.m, s.slub, old_object(s, ac)) < run.nr_bytes):
        alloc = price.slab_alloc_fast if request.cache >= 0 else price.alloc_fast
        return int(alloc + price.slab_free_fast)
    return 0


@only_with("vm", False)
def slab_wants(s: Core, ac: int, wanted: bool) -> bool:
    """Pass on which lock the slab wants; where it wants none, but to go on without, that is RELEASE."""
    lock = s.slub.contexts[ac].lock
    s.vm.contexts[ac].lock = RELEASE if lock < 0 else lock
    return wanted


@only_with("vm", False)
def copied(s: Core, wanted: bool) -> bool:
    """What was copied is priced with what was zeroed."""
    s.m.work[0].bytes_zeroed += s.slub.work[0].bytes_copied + s.vm.work[0].bytes_copied
    s.slub.work[0].bytes_copied = 0
    s.vm.work[0].bytes_copied = 0
    return wanted


@only_with("vm", False)
def rare_locked(s: Core, ac: int) -> bool:
    """What it waited for was granted: go on; is anything else wanted?"""
    api = s.requests[s.runs[ac].request].api
    if api in (KVREALLOC, VMAP):
        return copied(s, vm_locked(s.m, s.slub, s.vm, ac))
    if api == KREALLOC:
        return copied(s, slab_wants(s, ac, kmalloc_locked(s.m, s.slub, ac)))
    return slab_wants(s, ac, slab_locked(s.m, s.slub, ac))


@only_with("vm", NO_BLOCK)
def rare_block(s: Core, ac: int) -> int:
    """What it came to, or NO_BLOCK."""
    api = s.requests[s.runs[ac].request].api
    context = s.slub.contexts[ac]
    if api == VMAP:
        return int(s.vm.contexts[ac].area)
    if api == KREALLOC:
        return int(large_pfn(int(context.obj)) if is_large(int(context.obj)) else context.obj)
    if api == OBJECTS:
        return int(context.nr_objects) or NO_BLOCK
    return int(context.remaining) if api == DESTROY else 0


@only_with("vm", 0)
def rare_detail(s: Core, ac: int) -> int:
    """What its slot has to know beside that."""
    api = s.requests[s.runs[ac].request].api
    return int(api == KREALLOC and is_large(int(s.slub.contexts[ac].obj)))
