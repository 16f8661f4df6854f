"""A request for vmalloc: its first stage, and the first stage of an area's free (`sim.core.grant` grants the rest).

A request of these goes through slabs, pages and locks of its own. What is done lazily is done by the CPUs' kworkers
(`sim.core.kworker`), and begins here, too.

Leaves out: helpers of a purge on other CPUs (their work is the purge's own). Kept out of the compiled core where no
request needs vmalloc.
"""

from kmsim.jit import only_with, prefetch
from kmsim.mm.indices import AreaIdx, ContextIdx, CpuIdx
from kmsim.mm.vm_records import VM_ALLOW_HUGE_VMAP
from kmsim.mm.vmalloc import (
    deferred_vfree_begin,
    fetch_ahead,
    vfree_atomic_begin,
    vfree_begin,
    vm_purge_begin,
    vmalloc_begin,
)
from kmsim.sim.core.costs import no_work
from kmsim.sim.core.grant import first_stage
from kmsim.sim.core.records import NO_BLOCK, NOBODY, OF_VM, Core
from kmsim.workload.plan import THREAD


@only_with("vm")
def begin_vmalloc(s: Core, c: CpuIdx, ac: ContextIdx) -> None:
    """The stage before any lock of an allocation."""
    run = s.runs[ac]
    run.verbs = OF_VM
    request = s.requests[run.request]
    no_work(s)
    vm_flags = VM_ALLOW_HUGE_VMAP if request.huge else 0
    first_stage(s, c, ac, 0, vmalloc_begin(s.m, s.slub, s.vm, ac, run.asked, request.gfp, vm_flags))


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
def area_got(s: Core, ac: ContextIdx) -> int:
    """The area, or NO_BLOCK; of vmap, too."""
    return int(s.vm.contexts[ac].area)
