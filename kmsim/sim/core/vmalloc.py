"""A request for vmalloc, vmap or kvmalloc: its first stage (the rest is granted by `sim.core.grant`).

A request of these goes through slabs, pages and locks of its own. What is done lazily is done by the CPUs' kworkers
(`sim.core.kworker`), and begins here, too. Requests that only a user's own process makes are in `sim.core.rare`.

Leaves out: helpers of a purge on other CPUs (their work is the purge's own). Kept out of the compiled core where no
request needs vmalloc.
"""

from kmsim.jit import only_with, prefetch
from kmsim.mm.indices import AreaIdx, ContextIdx, CpuIdx
from kmsim.mm.kvmalloc import kvmalloc_begin
from kmsim.mm.mmzone import NOPAGE
from kmsim.mm.slub_records import NO_CACHE
from kmsim.mm.vm_records import KV_FAILED, KV_PAGES, KV_SLAB, KV_VMALLOC, VM_ALLOW_HUGE_VMAP
from kmsim.mm.vmalloc import (
    deferred_vfree_begin,
    fetch_ahead,
    vfree_atomic_begin,
    vfree_begin,
    vm_purge_begin,
    vmalloc_begin,
)
from kmsim.sim.core.costs import no_work
from kmsim.sim.core.detail import kv_detail, kv_order, kv_outcome
from kmsim.sim.core.grant import first_stage
from kmsim.sim.core.pages import begin_block
from kmsim.sim.core.rare import begin_rare, is_rare, rare_block, rare_detail, rare_path
from kmsim.sim.core.records import NO_BLOCK, NOBODY, OF_VM, Core
from kmsim.sim.core.slab import begin_slab_later
from kmsim.workload.op_stream import ALLOC
from kmsim.workload.plan import KVMALLOC, THREAD, VMALLOC
from kmsim.workload.request import KVREALLOC, VMAP


@only_with("vm")
def begin_vm(s: Core, c: CpuIdx, ac: ContextIdx) -> None:
    """The stage before any lock."""
    run = s.runs[ac]
    s.m.contexts[ac].failure = NOPAGE  # unless a request for pages says otherwise
    if is_rare(s, ac):
        no_work(s)
        path = rare_path(s, ac)
        first_stage(s, c, ac, path, begin_rare(s, ac))
    elif run.kind == ALLOC:
        begin_vm_alloc(s, c, ac)
    elif kv_outcome(run.detail) == KV_SLAB:
        begin_slab_later(s, c, ac, run.block)
    elif kv_outcome(run.detail) == KV_PAGES:
        begin_block(s, c, ac, run.block, kv_order(run.detail))
    else:
        begin_vfree(s, c, ac)


@only_with("vm")
def begin_vm_alloc(s: Core, c: CpuIdx, ac: ContextIdx) -> None:
    """The first stage of an allocation."""
    run = s.runs[ac]
    run.verbs = OF_VM
    request = s.requests[run.request]
    no_work(s)
    path = 0
    if request.api == KVMALLOC:
        path = s.prices[0].slab_alloc_fast if request.cache != NO_CACHE else s.prices[0].alloc_fast
        wants = kvmalloc_begin(s.m, s.slub, s.vm, ac, request.cache, run.asked, request.gfp)
    else:
        vm_flags = VM_ALLOW_HUGE_VMAP if request.huge else 0
        wants = vmalloc_begin(s.m, s.slub, s.vm, ac, run.asked, request.gfp, vm_flags)
    first_stage(s, c, ac, path, wants)


@only_with("vm")
def begin_vfree(s: Core, c: CpuIdx, ac: ContextIdx) -> None:
    """The first stage of the free of an area; from an interrupt that is all."""
    run = s.runs[ac]
    run.verbs = OF_VM
    no_work(s)
    if s.cpus[c].level == THREAD:
        wants = vfree_begin(s.m, s.slub, s.vm, ac, run.block)
    else:
        wants = vfree_atomic_begin(s.m, s.vm, ac, run.block)
    first_stage(s, c, ac, 0, wants)


@only_with("vm")
def look_ahead_vm(s: Core, area: AreaIdx, cursor: int) -> None:
    """Fetch what a free of this area will need, and the area that the operation behind it may free."""
    if 0 <= area < len(s.vm.areas):
        fetch_ahead(s.m, s.slub, s.vm, area)
    slot = int(s.ops[cursor].slot)
    if 0 <= slot < len(s.slots):
        prefetch(s.vm.areas, int(s.slots[slot].block))


@only_with("vm")
def begin_scheduled(s: Core, c: CpuIdx, ac: ContextIdx) -> None:
    """A kworker begins what was scheduled on its CPU."""
    s.runs[ac].verbs = OF_VM
    no_work(s)
    if s.vm.cpus[c].vfree_scheduled:
        wants = deferred_vfree_begin(s.m, s.slub, s.vm, ac, c)
    else:
        assert s.state[0].purger == c, "a kworker was woken for nothing"
        s.state[0].purger = NOBODY
        wants = vm_purge_begin(s.m, s.slub, s.vm, ac)
    first_stage(s, c, ac, 0, wants)


@only_with("vm", NO_BLOCK)
def block_got(s: Core, ac: ContextIdx) -> int:
    """The allocation handle: an area, an object or a pfn; NO_BLOCK where it has failed."""
    if is_rare(s, ac) and s.requests[s.runs[ac].request].api != KVREALLOC:
        return rare_block(s, ac)
    context = s.vm.contexts[ac]
    outcome = kv_outcome(block_detail(s, ac))
    if outcome == KV_FAILED:
        return NO_BLOCK
    if outcome == KV_SLAB:
        return int(context.obj)
    return int(context.pfn if outcome == KV_PAGES else context.area)


@only_with("vm", 0)
def block_detail(s: Core, ac: ContextIdx) -> int:
    """What its free needs beside that (see `sim.core.detail`)."""
    context = s.vm.contexts[ac]
    api = s.requests[s.runs[ac].request].api
    if api in (VMALLOC, VMAP):
        return kv_detail(KV_VMALLOC, 0)
    if is_rare(s, ac) and api != KVREALLOC:
        return rare_detail(s, ac)
    return kv_detail(int(context.outcome), int(context.order) if context.outcome == KV_PAGES else 0)
