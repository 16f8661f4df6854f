"""A request for vmap, which only a user's own process makes: its first stage (`sim.core.grant` grants the rest).

It maps an area over as many pages as its bytes take; its free is that of any area (`sim.core.kvmalloc`). Leaves out
whose the pages are: they stay their holder's. Kept out of the compiled core with vmalloc.
"""

from kmsim.jit import only_with
from kmsim.mm.indices import ContextIdx, CpuIdx
from kmsim.mm.vmalloc import vmap_begin
from kmsim.sim.core.costs import no_work
from kmsim.sim.core.grant import first_stage
from kmsim.sim.core.records import OF_VM, Core


@only_with("vm")
def begin_vmap(s: Core, c: CpuIdx, ac: ContextIdx) -> None:
    """The stage before any lock."""
    run = s.runs[ac]
    run.verbs = OF_VM
    no_work(s)
    wants = vmap_begin(s.m, s.slub, s.vm, ac, run.asked >> s.m.params[0].page_shift)
    first_stage(s, c, ac, 0, wants)
