"""The end of an operation: its block is kept for the free, its latency is counted, its task goes on."""

from kmsim.jit import only_with, small
from kmsim.metrics.histogram import bucket_of
from kmsim.mm.indices import ContextIdx, CpuIdx
from kmsim.mm.may_oom import has_panicked
from kmsim.mm.mmzone import NEEDS_SLOW_PATH, Machine
from kmsim.mm.vm_records import KV_VMALLOC
from kmsim.mm.vmscan import forget_totals
from kmsim.sim.core.apis import block_and_detail
from kmsim.sim.core.detail import kv_outcome
from kmsim.sim.core.due import push_due
from kmsim.sim.core.records import (
    BLOCK_DONE,
    BYTES,
    CHECK_DUE,
    COUNT,
    FAILED,
    HAS_RECLAIMED,
    HORIZON,
    MAX_PS,
    NEEDED_SLOW_PATH,
    NO_BLOCK,
    PAGES_RECLAIMED,
    PAGES_SCANNED,
    PANICKED,
    PASSES,
    RETRIES,
    SUM_PS,
    TO_VMALLOC,
    Core,
    class_of,
)
from kmsim.sim.core.singles import keep_single
from kmsim.sim.core.slab import object_got
from kmsim.sim.core.slot import fill, holder_of_slot, holder_of_timed
from kmsim.sim.core.wake import advance, refresh_wake, set_wake, wake_changed
from kmsim.sim.core.worker import is_worker, work_done
from kmsim.workload.op_stream import ALLOC, FREE
from kmsim.workload.phases import NOT_TIMED
from kmsim.workload.plan import KVMALLOC, SLAB
from kmsim.workload.request import FILE_READ, bytes_asked, is_block_of_pages
from kmsim.workload.turns import NO_SLOT


@small
def complete(s: Core, c: CpuIdx, ac: ContextIdx) -> None:
    """The operation of a task with a stream is over: record it."""
    run = s.runs[ac]
    s.tasks[run.task].nr_done += 1
    s.state[0].nr_done += 1
    if run.kind == ALLOC:
        keep(s, c, ac)
    elif run.kind == FREE:
        record(s, class_of(run.request, FREE), c, s.state[0].now - run.start_ps)
        keep_single(s, c, ac, run.block)


@small
def leave(s: Core, c: CpuIdx, ac: ContextIdx) -> int:
    """What the run did is over: find out when its task runs next; why the core must stop, or HORIZON."""
    run = s.runs[ac]
    s.cpus[c].busy[s.cpus[c].level] = 0
    s.tasks[run.task].running = 0
    if is_worker(s, run.task):
        work_done(s, c, ac)
        return HORIZON
    stop = CHECK_DUE if s.state[0].nr_done == s.state[0].check_at else HORIZON
    if not run.from_stream:
        set_wake(s, run.task)
    elif not advance(s, run.task):
        s.state[0].stopped_task = run.task
        stop |= BLOCK_DONE
    if has_panicked(s.m):
        stop |= PANICKED
    refresh_wake(s, c, s.tasks[run.task].level)
    return stop


@small
def keep(s: Core, c: CpuIdx, ac: ContextIdx) -> None:
    """An allocation is over: put its block into a slot or the heap of the task that frees it, or count the failure."""
    run = s.runs[ac]
    context = s.m.contexts[ac]
    api = s.requests[run.request].api
    totals = s.totals[class_of(run.request, ALLOC), c]
    detail = 0
    block = int(context.pfn)
    if api == SLAB:
        block = object_got(s, ac)
    elif not is_block_of_pages(api) and api != FILE_READ:
        block, detail = block_and_detail(s, ac, api)
        totals[TO_VMALLOC] += api == KVMALLOC and kv_outcome(detail) == KV_VMALLOC
    keep_single(s, c, ac, block)
    note_reclaim(s.m, s, ac)
    if block == NO_BLOCK:
        totals[FAILED] += 1
        totals[NEEDED_SLOW_PATH] += context.failure == NEEDS_SLOW_PATH
        return
    totals[BYTES] += bytes_asked(api, run.asked)
    record(s, class_of(run.request, ALLOC), c, s.state[0].now - run.start_ps)
    if run.lifetime_ps != NOT_TIMED:
        freer = s.tasks[run.task].freed_by
        n = push_due(s, freer, s.state[0].now + run.lifetime_ps)
        fill(s, s.timed[n], holder_of_timed(n), block, run.request, detail)
        if freer != run.task:
            set_wake(s, freer)
            wake_changed(s, freer)
    elif run.slot != NO_SLOT:
        fill(s, s.slots[run.slot], holder_of_slot(run.slot), block, run.request, detail)


@only_with("lru")
def note_reclaim(m: Machine, s: Core, ac: ContextIdx) -> None:
    """Count what the request has reclaimed, if it had to."""
    reclaim = m.lru.reclaims[ac]
    if reclaim.nr_passes or reclaim.nr_retries:
        totals = s.reclaimed[class_of(s.runs[ac].request, ALLOC)]
        totals[HAS_RECLAIMED] += 1
        totals[PASSES] += reclaim.nr_passes
        totals[RETRIES] += reclaim.nr_retries
        totals[PAGES_SCANNED] += reclaim.nr_scanned_in_all
        totals[PAGES_RECLAIMED] += reclaim.nr_reclaimed_in_all
        forget_totals(m, ac)


@small
def record(s: Core, operation_class: int, c: CpuIdx, latency_ps: int) -> None:
    """Count one latency."""
    s.counts[operation_class, c, bucket_of(latency_ps)] += 1
    totals = s.totals[operation_class, c]
    totals[COUNT] += 1
    totals[SUM_PS] += latency_ps
    totals[MAX_PS] = max(totals[MAX_PS], latency_ps)
