"""The end of an operation: its block goes to whom it belongs, its latency is counted, its task goes on."""

from kmsim.jit import core, small
from kmsim.metrics.histogram import bucket_of
from kmsim.mm.mmzone import NEEDS_SLOW_PATH
from kmsim.mm.vm_records import KV_VMALLOC
from kmsim.sim.core.due import push_due
from kmsim.sim.core.records import (
    BLOCK_DONE,
    BYTES,
    CHECK_DUE,
    COUNT,
    FAILED,
    HORIZON,
    MAX_PS,
    NO_BLOCK,
    SLOW_PATH,
    SUM_PS,
    TO_VMALLOC,
    Core,
)
from kmsim.sim.core.slab import object_got
from kmsim.sim.core.vmalloc import block_got, way_out, work_done
from kmsim.sim.core.wake import advance, refresh_wake, set_wake, wake_changed
from kmsim.workload.op_stream import ALLOC, FREE
from kmsim.workload.plan import EXACT, KVMALLOC, LARGE, SLAB, VMALLOC


@small
def complete(s: Core, c: int, ac: int) -> int:
    """The operation is over: record it, and see what the task wants next; why the core must stop, if it must."""
    run = s.runs[ac]
    s.cpus[c].busy[s.cpus[c].level] = 0
    s.tasks[run.task].running = 0
    if run.task >= s.state[0].first_worker:
        work_done(s, c, ac)
        return HORIZON
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
    api = s.requests[run.request].api
    totals = s.totals[2 * run.request + ALLOC, c]
    detail = 0
    block = int(context.pfn)
    if api > LARGE:
        block, detail = other_block(s, ac, api)
        totals[TO_VMALLOC] += api == KVMALLOC and detail == KV_VMALLOC
    if block == NO_BLOCK:
        totals[FAILED] += 1
        totals[SLOW_PATH] += context.failure == NEEDS_SLOW_PATH
        return
    totals[BYTES] += run.nr_bytes
    record(s, 2 * run.request + ALLOC, c, s.state[0].now - run.start_ps)
    if run.lifetime_ps >= 0:
        freer = s.tasks[run.task].freed_by
        push_due(s, freer, s.state[0].now + run.lifetime_ps, block, run.request, detail)
        if freer != run.task:
            set_wake(s, freer)
            wake_changed(s, freer)
    elif run.handle >= 0:
        slot = s.slots[run.handle]
        slot.block = block
        slot.request = run.request
        slot.detail = detail


@core
def other_block(s: Core, ac: int, api: int) -> tuple[int, int]:
    """What an allocation came to that is none of a block of pages: its number, and what its free has to know."""
    run = s.runs[ac]
    if api == SLAB:
        return object_got(s, ac), 0
    if api >= VMALLOC:
        return block_got(s, ac), way_out(s, ac)
    nr_pages = -(-run.nr_bytes >> s.m.params[0].page_shift)
    return int(s.m.contexts[ac].pfn), nr_pages if api == EXACT else 0


@small
def record(s: Core, operation_class: int, c: int, latency_ps: int) -> None:
    """Count one latency."""
    s.counts[operation_class, c, bucket_of(latency_ps)] += 1
    totals = s.totals[operation_class, c]
    totals[COUNT] += 1
    totals[SUM_PS] += latency_ps
    totals[MAX_PS] = max(totals[MAX_PS], latency_ps)
