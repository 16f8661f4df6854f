"""Kworkers: when a CPU's kworker is woken, and whether there is more to do (kernel: schedule_work, queue_work).

It frees what interrupts have put off, and purges vmalloc's lazily freed addresses; what that is stands in
`sim.core.vmalloc`. Leaves out the workqueues: a kworker serves its CPU alone. Invariant: a kworker that is woken has
something to do. Kept out of the compiled core with vmalloc, which alone schedules work.
"""

from kmsim.jit import only_with
from kmsim.mm.indices import CpuIdx
from kmsim.sim.core.records import NEVER, NOBODY, Core
from kmsim.sim.core.wake import wake_changed


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
