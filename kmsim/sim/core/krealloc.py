"""A request for krealloc, which only a user's own process makes: its first stage, handle and what its free needs.

Its slot holds the old memory, and `detail` its kind (`sim.core.detail`): an object or a large block; afterwards both
are of the new. Copying a byte is priced as zeroing one (assumed). Leaves out what an in-place krealloc takes: nothing
is asked of an allocator. The rest is granted by `sim.core.grant`. Kept out of the compiled core with vmalloc.
"""

from kmsim.jit import only_with, small
from kmsim.mm.indices import ContextIdx, CpuIdx
from kmsim.mm.kmalloc import Memory, krealloc_begin, ksize
from kmsim.mm.mmzone import NO_PAGE
from kmsim.mm.slub_records import NO_OBJECT
from kmsim.sim.core.costs import kmalloc_path_ps, no_work
from kmsim.sim.core.detail import OF_LARGE_BLOCK, OF_OBJECT
from kmsim.sim.core.grant import first_stage
from kmsim.sim.core.records import NO_BLOCK, OF_KMALLOC, Core


@only_with("vm")
def begin_krealloc(s: Core, c: CpuIdx, ac: ContextIdx) -> None:
    """The stage before any lock."""
    run = s.runs[ac]
    run.verbs = OF_KMALLOC
    request = s.requests[run.request]
    no_work(s)
    path = 0
    if ksize(s.m, s.slub, old_memory(s, ac)) < run.asked:
        path = kmalloc_path_ps(s, request.cache) + s.prices[0].slab_free_fast
    wants = krealloc_begin(s.m, s.slub, ac, old_memory(s, ac), run.asked, request.cache, request.gfp)
    first_stage(s, c, ac, path, wants)


@small
def old_memory(s: Core, ac: ContextIdx) -> Memory:
    """The memory that a krealloc is for."""
    slot = s.slots[s.runs[ac].slot]
    block, is_large = int(slot.block), slot.detail == OF_LARGE_BLOCK
    obj = NO_OBJECT if is_large else block
    large_pfn = block if is_large else NO_PAGE
    return Memory(obj, large_pfn)


@only_with("vm", NO_BLOCK)
def resized_block(s: Core, ac: ContextIdx) -> int:
    """The new memory: an object or a pfn; NO_BLOCK where it has failed."""
    context = s.slub.contexts[ac]
    return int(context.obj if context.large_pfn == NO_PAGE else context.large_pfn)


@only_with("vm", 0)
def resized_detail(s: Core, ac: ContextIdx) -> int:
    """Which of the two it is."""
    return OF_LARGE_BLOCK if s.slub.contexts[ac].large_pfn != NO_PAGE else OF_OBJECT
