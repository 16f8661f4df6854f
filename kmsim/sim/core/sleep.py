"""Operations that sleep: a thread that waits for a mutex gives its CPU to others (kernel: mutex_lock).

A CPU has one record for what a thread of it is doing, so a sleeper's is put away, with the records of the
allocators' requests, and comes back when the thread is given the CPU again. It stays on its CPU.

Leaves out: spinning for a mutex while its owner runs, priority inheritance. Invariant: a task that is
`parked` wants no CPU until it is woken, and then takes up its operation before anything else.
"""

from kmsim.jit import only_with
from kmsim.mm.indices import ContextIdx, CpuIdx, LockIdx
from kmsim.mm.vm_records import FRAMES_PER_CONTEXT
from kmsim.sim.core.records import BEGIN_WORK, NEVER, NOBODY, START, UNPARK, Core, is_worker
from kmsim.sim.core.spinlock import count_hold, count_wait
from kmsim.sim.core.wake import refresh_wake, wake_changed
from kmsim.sim.core.winner_tree import set_time
from kmsim.workload.plan import THREAD


@only_with("vm", False)
def lock_mutex(s: Core, c: CpuIdx, ac: ContextIdx, n: LockIdx) -> bool:
    """Ask for mutex n; is it granted at once? Else the task sleeps."""
    lock = s.locks[n]
    k = int(s.runs[ac].task)
    lock.acquisitions += 1
    if lock.run == NOBODY:
        lock.run = k
        lock.since = s.state[0].now
        return True
    run = s.runs[ac]
    run.since = s.state[0].now
    run.next_waiter = NOBODY
    park(s, c, ac)
    if lock.first_waiter == NOBODY:
        lock.first_waiter = k
    else:
        s.parked.runs[lock.last_waiter].next_waiter = k
    lock.last_waiter = k
    return False


@only_with("vm")
def unlock_mutex(s: Core, n: LockIdx) -> None:
    """Let go of mutex n, and wake who is first in its queue: it has the mutex then."""
    lock = s.locks[n]
    count_hold(s, n)
    heir = int(lock.first_waiter)
    lock.run = heir
    if heir == NOBODY:
        return
    now = s.state[0].now
    lock.first_waiter = s.parked.runs[heir].next_waiter
    lock.since = now
    count_wait(s, n, now - s.parked.runs[heir].since)
    task = s.tasks[heir]
    task.wake_at = now
    wake_changed(s, heir)


@only_with("vm")
def park(s: Core, c: CpuIdx, ac: ContextIdx) -> None:
    """Put the operation away; the CPU looks for something else."""
    k = int(s.runs[ac].task)
    s.parked.runs[k] = s.runs[ac]
    s.parked.contexts[k] = s.m.contexts[ac]
    s.parked.slab_contexts[k] = s.slub.contexts[ac]
    s.parked.vm_contexts[k] = s.vm.contexts[ac]
    for n in range(FRAMES_PER_CONTEXT):
        s.parked.vm_frames[k * FRAMES_PER_CONTEXT + n] = s.vm.frames[ac * FRAMES_PER_CONTEXT + n]
    s.vm.contexts[ac].depth = 0
    task = s.tasks[k]
    task.parked = 1
    task.begins = UNPARK
    task.wake_at = NEVER
    s.cpus[c].busy[THREAD] = 0
    refresh_wake(s, c, THREAD)
    set_time(s, c, s.state[0].now)


@only_with("vm")
def unpark(s: Core, ac: ContextIdx) -> None:
    """Take up the operation where it was put away."""
    k = int(s.runs[ac].task)
    s.runs[ac] = s.parked.runs[k]
    s.m.contexts[ac] = s.parked.contexts[k]
    s.slub.contexts[ac] = s.parked.slab_contexts[k]
    s.vm.contexts[ac] = s.parked.vm_contexts[k]
    for n in range(FRAMES_PER_CONTEXT):
        s.vm.frames[ac * FRAMES_PER_CONTEXT + n] = s.parked.vm_frames[k * FRAMES_PER_CONTEXT + n]
    s.tasks[k].parked = 0
    s.tasks[k].begins = BEGIN_WORK if is_worker(s, k) else START
