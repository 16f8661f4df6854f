"""A request for kvmalloc: its first stage, and what its free needs (the rest is granted by `sim.core.grant`).

It comes to an object, a block of pages or an area, and its `detail` says to which (`sim.core.detail`). The free here
is that of all that has such a detail: of kvrealloc's memory, and of areas of vmalloc and vmap, too (kernel: kvfree).
Leaves out nothing of it: what no kvmalloc can serve, users' processes refuse beforehand. Kept out of the compiled core
where no request needs vmalloc.
"""

from kmsim.jit import only_with
from kmsim.mm.indices import ContextIdx, CpuIdx
from kmsim.mm.kvmalloc import kvmalloc_begin
from kmsim.mm.vm_records import KV_FAILED, KV_PAGES, KV_SLAB
from kmsim.sim.core.costs import kmalloc_path_ps, no_work
from kmsim.sim.core.detail import kv_detail, kv_order, kv_outcome
from kmsim.sim.core.grant import first_stage
from kmsim.sim.core.pages import begin_block
from kmsim.sim.core.records import NO_BLOCK, OF_VM, Core
from kmsim.sim.core.slab import begin_slab_later
from kmsim.sim.core.vmalloc import begin_vfree


@only_with("vm")
def begin_kvmalloc(s: Core, c: CpuIdx, ac: ContextIdx) -> None:
    """The stage before any lock of an allocation."""
    run = s.runs[ac]
    run.verbs = OF_VM
    request = s.requests[run.request]
    no_work(s)
    path = kmalloc_path_ps(s, request.cache)
    wants = kvmalloc_begin(s.m, s.slub, s.vm, ac, request.cache, run.asked, request.gfp)
    first_stage(s, c, ac, path, wants)


@only_with("vm")
def begin_kvfree(s: Core, c: CpuIdx, ac: ContextIdx) -> None:
    """The stage before any lock of a free, by what served the allocation."""
    run = s.runs[ac]
    outcome = kv_outcome(run.detail)
    if outcome == KV_SLAB:
        begin_slab_later(s, c, ac, run.block)
    elif outcome == KV_PAGES:
        begin_block(s, c, ac, run.block, kv_order(run.detail))
    else:
        begin_vfree(s, c, ac)


@only_with("vm", NO_BLOCK)
def kv_block(s: Core, ac: ContextIdx) -> int:
    """The allocation handle: an object, a pfn or an area; NO_BLOCK where it has failed."""
    context = s.vm.contexts[ac]
    if context.outcome == KV_FAILED:
        return NO_BLOCK
    if context.outcome == KV_SLAB:
        return int(context.obj)
    return int(context.pfn if context.outcome == KV_PAGES else context.area)


@only_with("vm", 0)
def kv_detail_of(s: Core, ac: ContextIdx) -> int:
    """What its free needs beside that."""
    context = s.vm.contexts[ac]
    return kv_detail(int(context.outcome), int(context.order) if context.outcome == KV_PAGES else 0)
