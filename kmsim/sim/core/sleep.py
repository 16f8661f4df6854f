"""Operations that sleep: a thread that waits gives its CPU to others (kernel: mutex_lock, schedule_timeout).

A CPU has one record for what a thread of it is doing, so a sleeper's is put away, with those of the allocators'
requests, whichever they are, and comes back when the thread is given the CPU again. It stays on its CPU.

Leaves out: spinning for a mutex while its owner runs, priority inheritance. Invariant: a task that is
`parked` wants no CPU until it is woken or its time has come, and then takes up its operation before anything else; it
holds no spinlock, no per-CPU list, and no full batch of folios (see `mm.wants`).
"""

from kmsim.jit import core, only_with
from kmsim.mm.filemap import has_filled_batch
from kmsim.mm.indices import ContextIdx, CpuIdx, LockIdx, TaskIdx
from kmsim.mm.mmzone import NO_PCP, Machine
from kmsim.mm.slub_asleep import put_away, take_up
from kmsim.mm.vm_frame import nth_frame
from kmsim.mm.vm_records import FRAMES_PER_CONTEXT
from kmsim.mm.vmscan_asleep import put_away_reclaim, take_up_reclaim
from kmsim.mm.wants import GO_ON, SLEEP
from kmsim.sim.core.records import BEGIN_WORK, NEVER, NOBODY, START, STREAM, UNPARK, Core, context_of
from kmsim.sim.core.spinlock import count_hold, count_wait
from kmsim.sim.core.wake import refresh_wake, wake_changed
from kmsim.sim.core.winner_tree import set_time
from kmsim.units import TIME_UNITS
from kmsim.workload.plan import THREAD

JIFFY_PS = 4 * TIME_UNITS["ms"]  # kernel: CONFIG_HZ 250, Debian's, and that of the recordings


@core
def lock_mutex(s: Core, c: CpuIdx, ac: ContextIdx, n: LockIdx) -> bool:
    """Ask for mutex n; is it granted at once? Else the task sleeps, and has it when it wakes."""
    assert s.cpus[c].level == THREAD, "an interrupt takes a mutex"
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
    sleep_until(s, c, ac, NEVER)
    if lock.first_waiter == NOBODY:
        lock.first_waiter = k
    else:
        s.parked.runs[lock.last_waiter].next_waiter = k
    lock.last_waiter = k
    return False


@core
def unlock_mutex(s: Core, n: LockIdx) -> None:
    """Let go of mutex n, and wake who is first in its queue: it has the mutex then."""
    lock = s.locks[n]
    count_hold(s, n)
    heir = int(lock.first_waiter)
    lock.run = heir
    if heir == NOBODY:
        return
    assert s.tasks[heir].parked, "a task waits for a mutex and does not sleep"
    now = s.state[0].now
    lock.first_waiter = s.parked.runs[heir].next_waiter
    lock.since = now
    count_wait(s, n, now - s.parked.runs[heir].since)
    wake_up(s, heir)


@core
def sleep_until(s: Core, c: CpuIdx, ac: ContextIdx, until: int) -> None:
    """What the run wants is to sleep: until picosecond `until`, or until `wake_up` (NEVER: only that)."""
    s.runs[ac].then = GO_ON
    park(s, c, ac, until)


@core
def wake_up(s: Core, k: TaskIdx) -> None:
    """Wake a task that sleeps; one that is about to sleep goes on instead; to one that is awake, nothing happens.

    So nobody has to know which of the three a task is (kernel: try_to_wake_up).
    """
    task = s.tasks[k]
    if task.parked:
        task.wake_at = min(task.wake_at, s.state[0].now)
        wake_changed(s, k)
    elif task.running:
        run = s.runs[context_of(s, task.level, task.cpu)]
        if run.then == SLEEP:
            run.then = GO_ON


@core
def park(s: Core, c: CpuIdx, ac: ContextIdx, until: int) -> None:
    """Put a thread's operation away, between two stages or within one; the CPU looks for something else."""
    run = s.runs[ac]
    assert s.cpus[c].level == THREAD, "an interrupt sleeps"
    assert run.lock == NOBODY, "a thread sleeps that holds a spinlock or waits for one"
    assert s.m.contexts[ac].held_pcp == NO_PCP, "a thread sleeps that holds a per-CPU list"
    k = int(run.task)
    s.parked.runs[k] = run
    s.parked.contexts[k] = s.m.contexts[ac]
    park_slab(s, k, ac)
    park_vm(s, k, ac)
    park_reclaim(s.m, s, k, ac)
    park_pages(s, k, ac)
    task = s.tasks[k]
    task.parked = 1
    task.begins = UNPARK
    task.wake_at = until
    s.cpus[c].busy[THREAD] = 0
    refresh_wake(s, c, THREAD)
    set_time(s, c, s.state[0].now)


@core
def unpark(s: Core, ac: ContextIdx) -> None:
    """Take up the operation where it was put away."""
    k = int(s.runs[ac].task)
    s.runs[ac] = s.parked.runs[k]
    s.m.contexts[ac] = s.parked.contexts[k]
    unpark_slab(s, k, ac)
    unpark_vm(s, k, ac)
    unpark_reclaim(s.m, s, k, ac)
    s.m.pages[s.m.contexts[ac].page_list] = s.parked.page_lists[k]
    task = s.tasks[k]
    task.parked = 0
    task.begins = START if task.does == STREAM else BEGIN_WORK


@core
def park_pages(s: Core, k: TaskIdx, ac: ContextIdx) -> None:
    """Put away the list of pages that a bulk request has come to; they stay linked to its head."""
    head = int(s.m.contexts[ac].page_list)
    s.parked.page_lists[k] = s.m.pages[head]
    s.m.pages[head].next = head
    s.m.pages[head].prev = head


@only_with("slub")
def park_slab(s: Core, k: TaskIdx, ac: ContextIdx) -> None:
    """Put away its request to SLUB."""
    put_away(s.slub, ac, s.parked.slab_contexts, s.parked.bulk, k)


@only_with("slub")
def unpark_slab(s: Core, k: TaskIdx, ac: ContextIdx) -> None:
    """Take that up again."""
    take_up(s.slub, ac, s.parked.slab_contexts, s.parked.bulk, k)


@only_with("lru")
def park_reclaim(m: Machine, s: Core, k: TaskIdx, ac: ContextIdx) -> None:
    """Put away its way through the slow path, with the folios that it has isolated."""
    assert not has_filled_batch(m, ac), "a thread sleeps whose CPU's batch of folios is full"
    put_away_reclaim(m, ac, s.parked.reclaims, s.parked.reclaim_heads, k)


@only_with("lru")
def unpark_reclaim(m: Machine, s: Core, k: TaskIdx, ac: ContextIdx) -> None:
    """Take that up again."""
    take_up_reclaim(m, ac, s.parked.reclaims, s.parked.reclaim_heads, k)


@only_with("vm")
def park_vm(s: Core, k: TaskIdx, ac: ContextIdx) -> None:
    """Put away its request to vmalloc, with all functions that it is in."""
    s.parked.vm_contexts[k] = s.vm.contexts[ac]
    for n in range(FRAMES_PER_CONTEXT):
        s.parked.vm_frames[nth_frame(k, n)] = s.vm.frames[nth_frame(ac, n)]
    s.vm.contexts[ac].depth = 0


@only_with("vm")
def unpark_vm(s: Core, k: TaskIdx, ac: ContextIdx) -> None:
    """Take that up again."""
    s.vm.contexts[ac] = s.parked.vm_contexts[k]
    for n in range(FRAMES_PER_CONTEXT):
        s.vm.frames[nth_frame(ac, n)] = s.parked.vm_frames[nth_frame(k, n)]
