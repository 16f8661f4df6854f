"""A request to shrink a cache, which only a user's own process makes: its first stage (kernel: kmem_cache_shrink).

It gives no block and is never freed. Leaves out the work items by which the kernel flushes the slabs of other CPUs.
The rest is granted by `sim.core.grant`. Kept out of the compiled core with vmalloc.
"""

from kmsim.jit import only_with
from kmsim.mm.indices import ContextIdx, CpuIdx
from kmsim.mm.slub import slab_shrink_begin
from kmsim.sim.core.costs import no_work
from kmsim.sim.core.grant import first_stage
from kmsim.sim.core.records import OF_SLAB, Core


@only_with("vm")
def begin_shrink(s: Core, c: CpuIdx, ac: ContextIdx) -> None:
    """The stage before any lock."""
    run = s.runs[ac]
    run.verbs = OF_SLAB
    no_work(s)
    first_stage(s, c, ac, 0, slab_shrink_begin(s.m, s.slub, ac, s.requests[run.request].cache))
