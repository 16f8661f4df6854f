"""The stages of a request for pages: what each does in `mm`, and what it costs.

    begin       outside locks: checks, the per-CPU lists; `mm` says which lock is wanted next, if any
    lock        from the request to the release, interrupts off; again while `mm` wants a lock
    tail        what follows the last lock of an allocation: checking and zeroing its pages

A per-CPU list's own lock is held from `begin` to the end of the last stage that works on it: an
interrupt in between finds it taken and goes to the zone.
"""

from kmsim.jit import core, small
from kmsim.mm.gfp import GFP_ZERO
from kmsim.mm.indices import ContextIdx, CpuIdx, LockIdx, Order, Pfn
from kmsim.mm.locks import zone_lock
from kmsim.mm.mmzone import NO_PAGE, pcp_index
from kmsim.mm.page_alloc import DRAIN_PCP, PAGES_DONE, REFILL, after_lock, alloc_begin, free_begin, locked
from kmsim.mm.pcp import lock_pcp, unlock_pcp
from kmsim.sim.core.costs import cache_lines_ps, instructions_ps
from kmsim.sim.core.lock import acquire
from kmsim.sim.core.records import COMPLETE, LIST_LOCK, LOCK, NOBODY, SLAB_LOCK, TAIL, VM_LOCK, Core
from kmsim.sim.core.stage import set_stage
from kmsim.sim.core.winner_tree import set_time
from kmsim.workload.op_stream import ALLOC

WANTS_LOCK = (LOCK, SLAB_LOCK, LIST_LOCK, VM_LOCK)


@small
def no_work(s: Core) -> None:
    """A new stage: nothing done yet."""
    work = s.m.work[0]
    work.splits = 0
    work.merges = 0
    work.blocks_moved = 0
    work.frames_scanned = 0
    work.pages_checked = 0
    work.bytes_zeroed = 0
    work.pages_freed = 0
    no_light_work(s)


@small
def no_light_work(s: Core) -> None:
    """The same for what is done outside locks, which is all that most stages do."""
    work = s.m.work[0]
    work.watermark_checks = 0
    work.lines_hot = 0
    work.lines_other = 0
    work.lines_sequential = 0
    work.lines_memory = 0


@small
def begin_pages(s: Core, c: CpuIdx, ac: ContextIdx, pfn: Pfn, order: Order) -> None:
    """The stage outside locks."""
    m = s.m
    run = s.runs[ac]
    no_light_work(s)
    if run.kind == ALLOC:
        wanted = alloc_begin(m, ac, s.requests[run.request].gfp, order)
        path = s.prices[0].alloc_fast
    else:
        wanted = free_begin(m, ac, pfn, order)
        path = s.prices[0].free_fast
    stage = m.contexts[ac].stage
    on_pcp = is_bulk(stage) or (stage == PAGES_DONE and (run.kind != ALLOC or m.contexts[ac].pfn != NO_PAGE))
    if on_pcp:
        hold_pcp(s, c, ac)
    then_after(s, ac, wanted)
    checks = m.work[0].watermark_checks * s.prices[0].watermark_check
    set_stage(s, c, ac, path + checks, cache_lines_ps(s, on_pcp))


@small
def hold_pcp(s: Core, c: CpuIdx, ac: ContextIdx) -> None:
    """Hold the lock of the per-CPU list that the request works on."""
    context = s.m.contexts[ac]
    p = pcp_index(s.m, context.zone, context.cpu)
    lock_pcp(s.m, p, c)
    s.runs[ac].pcp = p


@small
def release_pcp(s: Core, ac: ContextIdx) -> None:
    """Let go of a per-CPU list, unless its refill or drain still waits for the zone's lock."""
    run = s.runs[ac]
    if run.pcp != NOBODY and not (is_bulk(s.m.contexts[ac].stage) and run.then in WANTS_LOCK):
        unlock_pcp(s.m, run.pcp)
        run.pcp = NOBODY


@small
def is_bulk(stage: int) -> bool:
    """Does this critical section move many pages between a per-CPU list and the zone?"""
    return stage in (REFILL, DRAIN_PCP)


@small
def then_after(s: Core, ac: ContextIdx, wanted: bool) -> None:
    """What the run does when this stage ends."""
    run = s.runs[ac]
    if wanted:
        run.then = LOCK
        return
    context = s.m.contexts[ac]
    run.then = COMPLETE
    if run.kind == ALLOC and context.pfn != NO_PAGE and (context.to_check or context.gfp & GFP_ZERO):
        run.then = TAIL


@small
def lock_pages(s: Core, c: CpuIdx, ac: ContextIdx) -> None:
    """The stage under the zone's lock that the request wants."""
    m = s.m
    context = m.contexts[ac]
    z = int(context.zone)
    in_bulk = is_bulk(context.stage)
    no_work(s)
    wanted = locked(m, ac)
    hold_lock(s, c, ac, zone_lock(z), in_bulk)
    then_after(s, ac, wanted)
    if wanted and is_bulk(context.stage):
        hold_pcp(s, c, ac)


@small
def hold_lock(s: Core, c: CpuIdx, ac: ContextIdx, n: LockIdx, in_bulk: bool) -> None:
    """Take a lock, interrupts off, for as long as what was done under it takes."""
    hold_lock_for(s, c, ac, n, s.prices[0].lock_hold + instructions_ps(s) + cache_lines_ps(s, in_bulk))


@small
def hold_lock_for(s: Core, c: CpuIdx, ac: ContextIdx, n: LockIdx, hold: int) -> None:
    """The same, for a given time in picoseconds."""
    wait, taking, released = acquire(s, n, c, hold)
    run = s.runs[ac]
    run.instructions_ps = taking
    run.cache_lines_ps = 0
    run.lock_wait_ps = wait
    run.lock_hold_ps = hold
    run.end_ps = released
    s.cpus[c].interruptible = 0
    set_time(s, c, released)


@core
def tail(s: Core, c: CpuIdx, ac: ContextIdx) -> None:
    """The stage behind the last lock of an allocation."""
    no_work(s)
    after_lock(s.m, ac)
    s.runs[ac].then = COMPLETE
    set_stage(s, c, ac, instructions_ps(s), cache_lines_ps(s, False))
