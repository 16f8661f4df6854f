"""A request for a slab object: its first stage (the rest is granted by `sim.core.grant`).

In the fast path of SLUB nothing is locked, and so it is one stage. Kept out of the compiled core where
no request needs slabs.
"""

from kmsim.jit import only_with, prefetch
from kmsim.mm.indices import ContextIdx, CpuIdx, ObjectIdx
from kmsim.mm.slub import slab_alloc_begin, slab_free_begin
from kmsim.mm.slub_records import CHUNK_SHIFT
from kmsim.sim.core.costs import cache_lines_ps, no_light_work, slab_price
from kmsim.sim.core.grant import then
from kmsim.sim.core.records import OF_SLAB, Core
from kmsim.sim.core.stage import set_stage
from kmsim.sim.core.verbs import at_once
from kmsim.workload.op_stream import ALLOC


@only_with("slub", inlined=True)
def begin_slab(s: Core, c: CpuIdx, ac: ContextIdx, obj: ObjectIdx) -> None:
    """The stage before any lock, which is all of most operations."""
    run = s.runs[ac]
    run.verbs = OF_SLAB
    no_light_work(s)
    if run.kind == ALLOC:
        request = s.requests[run.request]
        wants = at_once(s, ac, slab_alloc_begin(s.m, s.slub, ac, request.cache, request.gfp))
        path = s.prices[0].slab_alloc_fast
    else:
        wants = at_once(s, ac, slab_free_begin(s.m, s.slub, ac, obj))
        path = s.prices[0].slab_free_fast
    path += s.m.work[0].bytes_zeroed * s.prices[0].zero_byte
    work = s.slub.work[0]
    if wants or work.alloc_slow or work.free_slow:
        path += slab_price(s, ac)
    set_stage(s, c, ac, path, cache_lines_ps(s))
    then(s, c, ac, wants)


@only_with("slub")
def begin_slab_later(s: Core, c: CpuIdx, ac: ContextIdx, obj: ObjectIdx) -> None:
    """The same, not compiled into its caller."""
    begin_slab(s, c, ac, obj)


@only_with("slub", -1, inlined=True)
def object_got(s: Core, ac: ContextIdx) -> ObjectIdx:
    """The object, or NO_BLOCK."""
    return int(s.slub.contexts[ac].obj)


@only_with("slub", inlined=True)
def look_ahead_slab(s: Core, obj: ObjectIdx) -> None:
    """Fetch what a free of this object will need."""
    prefetch(s.slub.links, obj)
    prefetch(s.slub.slab_of_chunk, obj >> CHUNK_SHIFT)
