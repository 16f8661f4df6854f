"""A request for objects in bulk, which only a user's own process makes: its first stage, handle and detail.

As many objects as `detail` says, in the context's row of `mm.slub`'s `bulk`; freed from there, too. The block is the
first of them (kernel: kmem_cache_alloc_bulk, kmem_cache_free_bulk). Leaves out requests whose objects belong to several
caches. The rest is granted by `sim.core.grant`. Kept out of the compiled core with vmalloc.
"""

from kmsim.jit import only_with
from kmsim.mm.indices import ContextIdx, CpuIdx
from kmsim.mm.slub import slab_alloc_bulk_begin, slab_free_bulk_begin
from kmsim.mm.slub_records import bulk_row
from kmsim.sim.core.costs import no_work
from kmsim.sim.core.grant import first_stage
from kmsim.sim.core.records import NO_BLOCK, OF_SLAB, Core
from kmsim.workload.op_stream import FREE


@only_with("vm")
def begin_objects(s: Core, c: CpuIdx, ac: ContextIdx) -> None:
    """The stage before any lock."""
    run = s.runs[ac]
    run.verbs = OF_SLAB
    request = s.requests[run.request]
    no_work(s)
    if run.kind == FREE:
        path = s.prices[0].slab_free_fast
        wants = slab_free_bulk_begin(s.m, s.slub, ac, int(run.detail))
    else:
        path = s.prices[0].slab_alloc_fast
        nr_objects = int(s.slots[run.slot].detail)
        wants = slab_alloc_bulk_begin(s.m, s.slub, ac, request.cache, request.gfp, nr_objects)
    first_stage(s, c, ac, path, wants)


@only_with("vm", NO_BLOCK)
def first_object(s: Core, ac: ContextIdx) -> int:
    """The first of the objects; NO_BLOCK where there is none."""
    return int(s.slub.bulk[bulk_row(ac)]) if s.slub.contexts[ac].nr_objects else NO_BLOCK


@only_with("vm", 0)
def nr_objects_got(s: Core, ac: ContextIdx) -> int:
    """How many objects there are."""
    return int(s.slub.contexts[ac].nr_objects)
