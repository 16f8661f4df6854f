"""A request for kvrealloc, which only a user's own process makes: its first stage (`sim.core.grant` grants the rest).

Its slot holds the old memory, as that of a kvmalloc; afterwards the new, with the handle and detail that a kvmalloc
would have (`sim.core.kvmalloc`). Copying a byte is priced as zeroing one (assumed). Leaves out what takes nothing of an
allocator: memory that stays in place and shrinks. Kept out of the compiled core with vmalloc.
"""

from kmsim.jit import only_with
from kmsim.mm.indices import ContextIdx, CpuIdx
from kmsim.mm.kvmalloc import kvrealloc_begin
from kmsim.mm.mmzone import NO_PAGE
from kmsim.mm.slub_records import NO_OBJECT
from kmsim.mm.vm_records import KV_PAGES, KV_SLAB, KV_VMALLOC, NO_AREA
from kmsim.sim.core.costs import kmalloc_path_ps, no_work
from kmsim.sim.core.detail import kv_order, kv_outcome
from kmsim.sim.core.grant import first_stage
from kmsim.sim.core.records import OF_VM, Core


@only_with("vm")
def begin_kvrealloc(s: Core, c: CpuIdx, ac: ContextIdx) -> None:
    """The stage before any lock."""
    run = s.runs[ac]
    run.verbs = OF_VM
    request = s.requests[run.request]
    no_work(s)
    path = kmalloc_path_ps(s, request.cache)
    tell_old_memory(s, ac)
    wants = kvrealloc_begin(s.m, s.slub, s.vm, ac, request.cache, run.asked, request.gfp)
    first_stage(s, c, ac, path + s.prices[0].slab_free_fast, wants)


@only_with("vm")
def tell_old_memory(s: Core, ac: ContextIdx) -> None:
    """Tell kvrealloc what the old memory is."""
    slot = s.slots[s.runs[ac].slot]
    context = s.vm.contexts[ac]
    outcome = kv_outcome(slot.detail)
    context.outcome = outcome
    context.order = kv_order(slot.detail)
    context.obj = slot.block if outcome == KV_SLAB else NO_OBJECT
    context.pfn = slot.block if outcome == KV_PAGES else NO_PAGE
    context.area = slot.block if outcome == KV_VMALLOC else NO_AREA
