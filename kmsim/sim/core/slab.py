"""The stages of a request for a slab object: what each does in `mm.slub`, and what it costs.

    begin   outside locks: the fast path, or the slow path up to the first lock that it wants
    lock    under the cache's list lock, or under a zone's where a slab's pages come or go; interrupts off
    go on   what follows a lock, outside of locks

In the fast path of SLUB nothing is locked, and so it is one stage. Kept out of the compiled core where
no request needs slabs.
"""

from kmsim.jit import only_with, prefetch
from kmsim.mm.indices import ContextIdx, CpuIdx, ObjectIdx
from kmsim.mm.slub import slab_alloc_begin, slab_free_begin, slab_locked
from kmsim.mm.slub_records import CHUNK_SHIFT
from kmsim.mm.slub_steps import NO_LOCK
from kmsim.sim.core.costs import cache_lines_ps, instructions_ps, slab_instructions_ps
from kmsim.sim.core.pages import hold_lock_for, hold_pcp, is_bulk, no_light_work, no_work
from kmsim.sim.core.records import COMPLETE, SLAB_LOCK, Core, is_zones
from kmsim.sim.core.stage import set_stage
from kmsim.workload.op_stream import ALLOC


@only_with("slub")
def begin_slab(s: Core, c: CpuIdx, ac: ContextIdx, obj: ObjectIdx) -> None:
    """The stage before any lock, which is all of most operations."""
    run = s.runs[ac]
    no_light_work(s)
    s.m.work[0].bytes_zeroed = 0
    if run.kind == ALLOC:
        request = s.requests[run.request]
        wanted = slab_alloc_begin(s.m, s.slub, ac, request.cache, request.gfp)
        path = s.prices[0].slab_alloc_fast + s.m.work[0].bytes_zeroed * s.prices[0].zero_byte
    else:
        wanted = slab_free_begin(s.m, s.slub, ac, obj)
        path = s.prices[0].slab_free_fast
    work = s.slub.work[0]
    if wanted or work.alloc_slow or work.free_slow:
        path += slab_price(s, ac)
    slab_then(s, c, ac, wanted)
    set_stage(s, c, ac, path, cache_lines_ps(s, False))


@only_with("slub", 0)
def slab_price(s: Core, ac: ContextIdx) -> int:
    """The instructions of what was done in slow paths; then nothing is done."""
    constructed = s.slub.work[0].objects_constructed * s.constructors[s.slub.contexts[ac].cache]
    price = slab_instructions_ps(s) + constructed
    no_slab_work(s)
    return int(price)


@only_with("slub")
def no_slab_work(s: Core) -> None:
    """A new stage: nothing done yet. Where nothing slow was done, all is still zero."""
    work = s.slub.work[0]
    work.alloc_slow = 0
    work.free_slow = 0
    work.cmpxchg = 0
    work.slabs_new = 0
    work.objects_set_up = 0
    work.objects_constructed = 0
    work.slabs_moved = 0
    work.slabs_discarded = 0
    work.bulk_objects = 0


@only_with("slub")
def slab_then(s: Core, c: CpuIdx, ac: ContextIdx, wanted: bool) -> None:
    """What the run does when this stage ends."""
    s.runs[ac].then = SLAB_LOCK if wanted else COMPLETE
    lock = s.slub.contexts[ac].lock
    if wanted and is_zones(s, lock) and is_bulk(s.m.contexts[ac].stage):
        hold_pcp(s, c, ac)


@only_with("slub")
def lock_slab(s: Core, c: CpuIdx, ac: ContextIdx) -> None:
    """The stage under the lock that the request wants, or without one."""
    lock = int(s.slub.contexts[ac].lock)
    in_bulk = is_zones(s, lock) and is_bulk(s.m.contexts[ac].stage)
    no_work(s)
    wanted = slab_locked(s.m, s.slub, ac)
    instructions = instructions_ps(s) + slab_price(s, ac)
    if lock == NO_LOCK:
        set_stage(s, c, ac, instructions, cache_lines_ps(s, False))
    else:
        hold_lock_for(s, c, ac, lock, s.prices[0].lock_hold + instructions + cache_lines_ps(s, in_bulk))
    slab_then(s, c, ac, wanted)


@only_with("slub", -1)
def object_got(s: Core, ac: ContextIdx) -> ObjectIdx:
    """The object, or NO_BLOCK."""
    return int(s.slub.contexts[ac].obj)


@only_with("slub")
def look_ahead_slab(s: Core, obj: ObjectIdx) -> None:
    """Fetch what a free of this object will need."""
    if s.slub is not None:  # in plain Python all functions are there
        prefetch(s.slub.links, obj)
        prefetch(s.slub.slab_of_chunk, obj >> CHUNK_SHIFT)
