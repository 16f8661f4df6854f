"""Workers: threads and interrupts of the kernel's own, which do work that others schedule.

A worker is a task with a record of what it does (`task_t.does`), and a CPU knows its own (`cpu_t.kworker`, `flusher`):
    KWORKER    frees what interrupts have put off, and purges vmalloc's lazily freed addresses (`sim.core.kworker`)
    FLUSHER    an interrupt that flushes its CPU's TLB (`sim.core.flush`)
One sleeps until it is woken for something, does that, and looks whether there is more. Invariant: what a worker does
is in this table; of what no config needs, only the rows are compiled.
"""

from kmsim.jit import core, only_with, shared
from kmsim.mm.indices import ContextIdx, CpuIdx, TaskIdx
from kmsim.mm.wants import DONE
from kmsim.sim.core.flush import flushed
from kmsim.sim.core.grant import then
from kmsim.sim.core.kworker import has_work
from kmsim.sim.core.records import FLUSHER, KWORKER, NEVER, OF_FLUSH, STREAM, WORK, Core
from kmsim.sim.core.stage import set_stage
from kmsim.sim.core.vmalloc import begin_scheduled
from kmsim.sim.core.wake import refresh_wake


@shared
def is_worker(s: Core, k: TaskIdx) -> bool:
    """Is the task a worker, and not one with a stream of operations?"""
    return bool(s.tasks[k].does != STREAM)


@core
def begin_work(s: Core, c: CpuIdx, ac: ContextIdx) -> None:
    """A worker begins what it was woken for."""
    run = s.runs[ac]
    run.kind = WORK
    does = s.tasks[run.task].does
    if does == FLUSHER:
        begin_flush(s, c, ac)
    else:
        assert does == KWORKER, "a worker that does nothing known begins"
        begin_scheduled(s, c, ac)


@core
def work_done(s: Core, c: CpuIdx, ac: ContextIdx) -> None:
    """A worker has done its work: it sleeps, unless there is more."""
    task = s.tasks[s.runs[ac].task]
    task.wake_at = NEVER
    if task.does == FLUSHER:
        flushed(s)
    else:
        assert task.does == KWORKER, "a worker that does nothing known is done"
        if has_work(s, c):
            task.wake_at = s.state[0].now
    refresh_wake(s, c, task.level)


@only_with("vm")
def begin_flush(s: Core, c: CpuIdx, ac: ContextIdx) -> None:
    """A CPU flushes its TLB."""
    s.runs[ac].verbs = OF_FLUSH
    set_stage(s, c, ac, s.prices[0].tlb_flush, 0)
    then(s, c, ac, DONE)
