"""Requests that only a user's own process makes, beside those of a workload.

    KREALLOC    its slot holds the old memory, and `detail` its kind (`sim.core.detail`); afterwards both are of the new
    KVREALLOC   its slot holds the old memory, as that of a kvmalloc; afterwards the new
    VMAP        an area over as many pages as its bytes take
    OBJECTS     as many objects as `detail` says, in the context's row of `mm.slub`'s `bulk`; freed from there, too; the
                block is the first of them
    SHRINK, DESTROY    of a cache; they give no block. What a DESTROY leaves, `Slub.contexts` says (`remaining`)

Copying a byte is priced as
zeroing one (assumed). Leaves out: what an in-place krealloc takes (nothing is asked of an allocator), the wait for RCU
and the work items of a flush. Kept out of the compiled core with vmalloc.
"""

from kmsim.jit import only_with, small
from kmsim.mm.indices import ContextIdx
from kmsim.mm.kmalloc import Memory, krealloc_begin, ksize
from kmsim.mm.kvmalloc import kvrealloc_begin
from kmsim.mm.mmzone import NO_PAGE
from kmsim.mm.slub import (
    slab_alloc_bulk_begin,
    slab_destroy_begin,
    slab_free_bulk_begin,
    slab_shrink_begin,
)
from kmsim.mm.slub_records import NO_CACHE, NO_OBJECT, bulk_row
from kmsim.mm.vm_records import KV_PAGES, KV_SLAB, KV_VMALLOC, NO_AREA
from kmsim.mm.vmalloc import vmap_begin
from kmsim.mm.wants import DONE
from kmsim.sim.core.detail import OF_LARGE_BLOCK, OF_OBJECT, kv_order, kv_outcome
from kmsim.sim.core.records import NO_BLOCK, OF_KMALLOC, OF_SLAB, OF_VM, Core
from kmsim.workload.op_stream import ALLOC, FREE
from kmsim.workload.request import DESTROY, KREALLOC, KVREALLOC, OBJECTS, SHRINK, VMAP, is_of_users_only


@small
def is_rare(s: Core, ac: ContextIdx) -> bool:
    """Is it one of these, or the free of one? The free of a mapping is a vfree as any other."""
    run = s.runs[ac]
    api = s.requests[run.request].api
    return bool(is_of_users_only(api) and (run.kind == ALLOC or (run.kind == FREE and api == OBJECTS)))


@only_with("vm", DONE)
def begin_rare(s: Core, ac: ContextIdx) -> int:
    """The stage before any lock; what does it want?"""
    run = s.runs[ac]
    request = s.requests[run.request]
    api = request.api
    if api == KVREALLOC:
        run.verbs = OF_VM
        begin_from(s, ac)
        return kvrealloc_begin(s.m, s.slub, s.vm, ac, request.cache, run.asked, request.gfp)
    if api == VMAP:
        run.verbs = OF_VM
        return vmap_begin(s.m, s.slub, s.vm, ac, run.asked >> s.m.params[0].page_shift)
    return begin_slab_verb(s, ac, api)


@only_with("vm")
def begin_from(s: Core, ac: ContextIdx) -> None:
    """Tell kvrealloc what the old memory is."""
    slot = s.slots[s.runs[ac].slot]
    context = s.vm.contexts[ac]
    outcome = kv_outcome(slot.detail)
    context.outcome = outcome
    context.order = kv_order(slot.detail)
    context.obj = slot.block if outcome == KV_SLAB else NO_OBJECT
    context.pfn = slot.block if outcome == KV_PAGES else NO_PAGE
    context.area = slot.block if outcome == KV_VMALLOC else NO_AREA


@only_with("vm", DONE)
def begin_slab_verb(s: Core, ac: ContextIdx, api: int) -> int:
    """Begin what only slabs are needed for; what does it want?"""
    run = s.runs[ac]
    run.verbs = OF_SLAB
    request = s.requests[run.request]
    if api == KREALLOC:
        run.verbs = OF_KMALLOC
        return krealloc_begin(s.m, s.slub, ac, old_memory(s, ac), run.asked, request.cache, request.gfp)
    if api == OBJECTS:
        if run.kind == FREE:
            return slab_free_bulk_begin(s.m, s.slub, ac, int(run.detail))
        return slab_alloc_bulk_begin(s.m, s.slub, ac, request.cache, request.gfp, int(s.slots[run.slot].detail))
    if api == SHRINK:
        return slab_shrink_begin(s.m, s.slub, ac, request.cache)
    assert api == DESTROY, "a request that no stage knows"
    return slab_destroy_begin(s.m, s.slub, ac, request.cache)


@small
def old_memory(s: Core, ac: ContextIdx) -> Memory:
    """The memory that a krealloc is for."""
    slot = s.slots[s.runs[ac].slot]
    block, is_large = int(slot.block), slot.detail == OF_LARGE_BLOCK
    obj = NO_OBJECT if is_large else block
    large_pfn = block if is_large else NO_PAGE
    return Memory(obj, large_pfn)


@only_with("vm", 0)
def rare_path(s: Core, ac: ContextIdx) -> int:
    """The price of the fast paths that it takes, asked before it begins."""
    run = s.runs[ac]
    request = s.requests[run.request]
    price = s.prices[0]
    api = request.api
    if api == OBJECTS:
        return int(price.slab_free_fast if run.kind == FREE else price.slab_alloc_fast)
    if api == KVREALLOC or (api == KREALLOC and ksize(s.m, s.slub, old_memory(s, ac)) < run.asked):
        alloc = price.slab_alloc_fast if request.cache != NO_CACHE else price.alloc_fast
        return int(alloc + price.slab_free_fast)
    return 0


@only_with("vm", NO_BLOCK)
def rare_block(s: Core, ac: ContextIdx) -> int:
    """The allocation handle, or 0 where no memory is asked for; NO_BLOCK where it has failed."""
    api = s.requests[s.runs[ac].request].api
    context = s.slub.contexts[ac]
    if api == VMAP:
        return int(s.vm.contexts[ac].area)
    if api == KREALLOC:
        return int(context.obj if context.large_pfn == NO_PAGE else context.large_pfn)
    if api == OBJECTS:
        return int(s.slub.bulk[bulk_row(ac)]) if context.nr_objects else NO_BLOCK
    return 0


@only_with("vm", 0)
def rare_detail(s: Core, ac: ContextIdx) -> int:
    """What its free needs beside that."""
    api = s.requests[s.runs[ac].request].api
    context = s.slub.contexts[ac]
    if api == OBJECTS:
        return int(context.nr_objects)
    return OF_LARGE_BLOCK if api == KREALLOC and context.large_pfn != NO_PAGE else OF_OBJECT
