"""One operation on one CPU: its stages, what each costs, and what came of it.

    begin       outside locks: checks, the per-CPU lists; `mm` says which lock is wanted next, if any
    lock        from the request to the release, interrupts off; again while `mm` wants a lock
    tail        what follows the last lock of an allocation: checking and zeroing its pages

The state changes at the beginning of each stage (see `sim.lock` for why that is exact), time passes
until its end. A per-CPU list's own lock is held from `begin` to the end of the last stage that works
on it: an interrupt in between finds it taken and goes to the zone.

Lock order: a CPU holds the lock of one per-CPU list at most, then of one zone.
"""

from kmsim.jit import core, prefetch, small
from kmsim.metrics.histogram import bucket_of
from kmsim.mm.drain import drain_begin, drain_locked
from kmsim.mm.gfp import GFP_ZERO
from kmsim.mm.mmzone import NEEDS_SLOW_PATH, NO_PAGE
from kmsim.mm.page_alloc import DONE, DRAIN, REFILL, after_lock, alloc_begin, free_begin, locked
from kmsim.mm.pcp import pcp_index
from kmsim.sim.costs import cache_lines_ps, instructions_ps
from kmsim.sim.due import first_due_at, pop_due, push_due
from kmsim.sim.lock import acquire
from kmsim.sim.records import (
    BLOCK_DONE,
    CHECK_DUE,
    COMPLETE,
    COUNT,
    DRAIN_NEXT,
    FAILED,
    HORIZON,
    LOCK,
    MAX_PS,
    NOBODY,
    SLOW_PATH,
    SUM_PS,
    TAIL,
    Core,
)
from kmsim.sim.stage import set_next_event, set_stage
from kmsim.sim.wake import advance, refresh_wake, set_wake, wake_changed
from kmsim.sim.winner_tree import set_time
from kmsim.workload.op_stream import ALLOC, FREE


@small
def start(s: Core, c: int, ac: int) -> None:
    """Take the task's next operation and begin it: the first due block, or what its stream says."""
    run = s.runs[ac]
    task = s.tasks[run.task]
    now = s.state[0].now
    run.start_ps = now
    due_at = first_due_at(s, run.task)
    if due_at <= now and due_at <= task.next_at:
        pop_due(s, run.task)
        entry = s.due[task.first_due + task.nr_due]
        run.from_stream = 0
        run.kind = FREE
        run.request = entry.request
        begin(s, c, ac, entry.pfn)
        return
    op = s.ops[task.cursor]
    task.cursor += 1
    run.from_stream = 1
    run.kind = op.kind
    run.request = op.request
    run.handle = op.handle
    run.lifetime_ps = op.lifetime_ps
    look_ahead(s, task.cursor)
    pfn = NO_PAGE
    if op.kind == FREE:
        slot = s.slots[op.handle]
        pfn = slot.pfn
        run.request = slot.request
        slot.pfn = NO_PAGE
    begin(s, c, ac, pfn)


@small
def look_ahead(s: Core, cursor: int) -> None:
    """Fetch what the task's next operations will need; other CPUs act until then (a quarter faster at 16 CPUs).

    It may look behind the end of a block, where something else lies; that costs nothing but the fetch.
    """
    prefetch(s.ops, cursor + 4)
    prefetch(s.slots, int(s.ops[cursor + 1].handle))
    prefetch(s.m.pages, int(s.slots[s.ops[cursor].handle].pfn))


@small
def no_work(s: Core) -> None:
    """A new stage: nothing done yet."""
    work = s.m.work[0]
    work.splits = 0
    work.merges = 0
    work.pages_moved = 0
    work.frames_scanned = 0
    work.pages_checked = 0
    work.bytes_zeroed = 0
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
def begin(s: Core, c: int, ac: int, pfn: int) -> None:
    """The stage outside locks."""
    m = s.m
    run = s.runs[ac]
    no_light_work(s)
    if run.kind == ALLOC:
        request = s.requests[run.request]
        wanted = alloc_begin(m, ac, request.gfp, request.order)
        path = s.prices[0].alloc_fast
    elif run.kind == FREE:
        wanted = free_begin(m, ac, pfn, s.requests[run.request].order)
        path = s.prices[0].free_fast
    else:
        run.drained = 0
        run.then = DRAIN_NEXT
        set_stage(s, c, ac, s.prices[0].free_fast, 0)
        return
    stage = m.contexts[ac].stage
    on_pcp = is_bulk(stage) or (stage == DONE and (run.kind == FREE or m.contexts[ac].pfn != NO_PAGE))
    if on_pcp:
        hold_pcp(s, c, ac)
    then_after(s, ac, wanted)
    checks = m.work[0].watermark_checks * s.prices[0].watermark_check
    set_stage(s, c, ac, path + checks, cache_lines_ps(s, on_pcp))


@small
def hold_pcp(s: Core, c: int, ac: int) -> None:
    """Hold the lock of the per-CPU list that the request works on."""
    context = s.m.contexts[ac]
    p = pcp_index(s.m, context.zone, context.cpu)
    s.m.pcps[p].locked = c + 1
    s.runs[ac].pcp = p


@small
def release_pcp(s: Core, ac: int) -> None:
    """Let go of a per-CPU list, unless its refill or drain still waits for the zone's lock."""
    run = s.runs[ac]
    if run.pcp != NOBODY and not (run.then == LOCK and is_bulk(s.m.contexts[ac].stage)):
        s.m.pcps[run.pcp].locked = 0
        run.pcp = NOBODY


@small
def is_bulk(stage: int) -> bool:
    """Does this critical section move many pages between a per-CPU list and the zone?"""
    return stage in (REFILL, DRAIN)


@small
def then_after(s: Core, ac: int, wanted: bool) -> None:
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
def lock(s: Core, c: int, ac: int) -> None:
    """The stage under the lock that the request wants."""
    m = s.m
    context = m.contexts[ac]
    z = int(context.zone)
    in_bulk = is_bulk(context.stage)
    no_work(s)
    wanted = locked(m, ac)
    hold_zone(s, c, ac, z, in_bulk)
    then_after(s, ac, wanted)
    if wanted and is_bulk(context.stage):
        hold_pcp(s, c, ac)


@small
def hold_zone(s: Core, c: int, ac: int, z: int, in_bulk: bool) -> None:
    """Take a zone's lock for as long as what was done under it takes."""
    hold = s.prices[0].lock_hold + instructions_ps(s) + cache_lines_ps(s, in_bulk)
    wait, taking, released = acquire(s, z, c, hold)
    run = s.runs[ac]
    run.instructions_ps = taking
    run.cache_lines_ps = 0
    run.lock_wait_ps = wait
    run.lock_hold_ps = hold
    run.end_ps = released
    s.cpus[c].interruptible = 0
    set_time(s, c, released)


@core
def tail(s: Core, c: int, ac: int) -> None:
    """The stage behind the last lock of an allocation."""
    no_work(s)
    after_lock(s.m, ac)
    s.runs[ac].then = COMPLETE
    set_stage(s, c, ac, instructions_ps(s), cache_lines_ps(s, False))


@core
def drain_next(s: Core, c: int, ac: int) -> None:
    """Go on with the emptying of all per-CPU lists: the next batch, or the end (kernel: drain_all_pages)."""
    m = s.m
    run = s.runs[ac]
    while run.drained < len(m.pcps):
        p = int(run.drained)
        z = p // s.state[0].nr_cpus
        owner = p - z * s.state[0].nr_cpus
        if not drain_begin(m, ac, z, owner):
            run.drained += 1
            continue
        if m.pcps[p].locked:
            wait_for_pcp(s, c, ac, p)
            return
        m.pcps[p].locked = c + 1
        run.pcp = p
        no_work(s)
        if not drain_locked(m, ac):
            run.drained += 1
        hold_zone(s, c, ac, z, True)
        return
    run.then = COMPLETE
    set_stage(s, c, ac, 0, 0)


@small
def wait_for_pcp(s: Core, c: int, ac: int, p: int) -> None:
    """Spin until the CPU that holds a per-CPU list's lock does its next thing, and look again.

    Only a drain ever waits here (a list's own CPU goes to the zone instead), so the order of several
    that wait is that of their CPUs.
    """
    now = s.state[0].now
    again = s.cpus[s.m.pcps[p].locked - 1].time
    wait = again - now if again > now else 1
    set_stage(s, c, ac, 0, 0)
    run = s.runs[ac]
    run.lock_wait_ps = wait
    run.end_ps = now + wait
    set_next_event(s, c, ac)


@small
def complete(s: Core, c: int, ac: int) -> int:
    """The operation is over: record it, and see what the task wants next; why the core must stop, if it must."""
    run = s.runs[ac]
    s.cpus[c].busy[s.cpus[c].level] = 0
    s.tasks[run.task].running = 0
    s.tasks[run.task].nr_done += 1
    s.state[0].nr_done += 1
    stop = CHECK_DUE if s.state[0].nr_done == s.state[0].check_at else HORIZON
    if run.kind == ALLOC:
        keep(s, c, ac)
    elif run.kind == FREE:
        record(s, 2 * run.request + FREE, c, s.state[0].now - run.start_ps)
    if not run.from_stream:
        set_wake(s, run.task)
    elif not advance(s, run.task):
        s.state[0].stopped_task = run.task
        stop |= BLOCK_DONE
    refresh_wake(s, c, s.tasks[run.task].level)
    return stop


@small
def keep(s: Core, c: int, ac: int) -> None:
    """An allocation is over: give its block to whom it belongs, or count the failure."""
    run = s.runs[ac]
    context = s.m.contexts[ac]
    pfn = context.pfn
    if pfn == NO_PAGE:
        totals = s.totals[2 * run.request + ALLOC, c]
        totals[FAILED] += 1
        totals[SLOW_PATH] += context.failure == NEEDS_SLOW_PATH
        return
    record(s, 2 * run.request + ALLOC, c, s.state[0].now - run.start_ps)
    if run.lifetime_ps >= 0:
        freer = s.tasks[run.task].freed_by
        push_due(s, freer, s.state[0].now + run.lifetime_ps, pfn, run.request)
        if freer != run.task:
            set_wake(s, freer)
            wake_changed(s, freer)
    elif run.handle >= 0:
        slot = s.slots[run.handle]
        slot.pfn = pfn
        slot.request = run.request


@small
def record(s: Core, operation_class: int, c: int, latency_ps: int) -> None:
    """Count one latency."""
    s.counts[operation_class, c, bucket_of(latency_ps)] += 1
    totals = s.totals[operation_class, c]
    totals[COUNT] += 1
    totals[SUM_PS] += latency_ps
    totals[MAX_PS] = max(totals[MAX_PS], latency_ps)
