"""Workers: threads and interrupts of the kernel's own, which do work that others schedule.

A worker is a task with a record of what it does (`task_t.does`), and a CPU knows its own (`cpu_t.kworker`, `flusher`):
    KWORKER    frees what interrupts have put off, and purges vmalloc's lazily freed addresses
    FLUSHER    an interrupt that flushes its CPU's TLB
One sleeps until it is woken for something, does that, and looks whether there is more. What a kworker begins is in
`sim.core.vmalloc`. Leaves out the workqueues: a kworker serves its CPU alone. Invariant: a worker that is woken has
something to do. Kept out of the compiled core with vmalloc.
"""

from kmsim.jit import only_with, shared
from kmsim.mm.indices import ContextIdx, CpuIdx, TaskIdx
from kmsim.sim.core.flush import flushed
from kmsim.sim.core.records import FLUSHER, NEVER, NOBODY, STREAM, Core
from kmsim.sim.core.wake import refresh_wake, wake_changed


@shared
def is_worker(s: Core, k: TaskIdx) -> bool:
    """Is the task a worker, and not one with a stream of operations?"""
    return bool(s.tasks[k].does != STREAM)


@only_with("vm")
def wake_for_scheduled(s: Core, c: CpuIdx) -> None:
    """Wake this CPU's kworker for what was scheduled here."""
    if not s.vm.params[0].drain_scheduled and not s.vm.cpus[c].vfree_scheduled:
        return
    if s.vm.params[0].drain_scheduled and s.state[0].purger == NOBODY:
        s.state[0].purger = c
    kworker = int(s.cpus[c].kworker)
    task = s.tasks[kworker]
    if has_work(s, c) and not task.running and task.wake_at == NEVER:
        task.wake_at = s.state[0].now
        wake_changed(s, kworker)


@only_with("vm", False)
def has_work(s: Core, c: CpuIdx) -> bool:
    """Is anything scheduled on this CPU?"""
    return bool(s.state[0].purger == c or s.vm.cpus[c].vfree_scheduled)


@only_with("vm")
def work_done(s: Core, c: CpuIdx, ac: ContextIdx) -> None:
    """A worker has done its work: it sleeps, unless there is more."""
    task = s.tasks[s.runs[ac].task]
    task.wake_at = NEVER
    if task.does == FLUSHER:
        flushed(s)
    elif has_work(s, c):
        task.wake_at = s.state[0].now
    refresh_wake(s, c, task.level)
