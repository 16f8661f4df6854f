"""A FIFO spinlock as a timestamp (kernel: the queued spinlock of a zone).

Requests are served in the order in which they are made, so the time of each grant is known when
the request is made: `start = max(now, free_at)`. What the critical section does to the state may
be done then and there, because no later request can come before it. Interrupts are off from the
request to the release, so nothing can move the holder's end.

Leaves out locks whose holder can be delayed (interrupts on) or that put waiters to sleep.
Invariant: free_at never falls. A lock is never reserved ahead of the time at which it is requested.
"""

from kmsim.jit import small
from kmsim.mm.indices import ContextIdx, CpuIdx, LockIdx
from kmsim.sim.core.costs import handover_ps, taking_ps
from kmsim.sim.core.records import Core
from kmsim.sim.core.winner_tree import set_time


@small
def acquire(s: Core, n: LockIdx, c: CpuIdx, hold: int) -> tuple[int, int, int]:
    """CPU c asks for lock n now and keeps it for `hold`: waiting, taking, and when it is released.

    Waiting is counted as lock_stat does: until the lock is had, its handover included, and only where
    it was contended; then `taking` is 0.
    """
    lock = s.locks[n]
    now = s.state[0].now
    wait = 0
    taking = 0
    if lock.free_at > now:
        wait = lock.free_at - now + handover_ps(s, int(lock.holder), c)
        lock.contended += 1
        lock.wait_total += wait
        lock.wait_max = max(lock.wait_max, wait)
    else:
        taking = taking_ps(s, n, c)
    lock.holder = c
    lock.acquisitions += 1
    lock.hold_total += hold
    lock.hold_max = max(lock.hold_max, hold)
    lock.free_at = now + wait + taking + hold
    return wait, taking, int(lock.free_at)


@small
def hold_lock_for(s: Core, c: CpuIdx, ac: ContextIdx, n: LockIdx, hold: int) -> None:
    """Take a lock for a stage, interrupts off, for a given time in picoseconds."""
    wait, taking, released = acquire(s, n, c, hold)
    run = s.runs[ac]
    run.instructions_ps = taking
    run.cache_lines_ps = 0
    run.lock_wait_ps = wait
    run.lock_hold_ps = hold
    run.end_ps = released
    s.cpus[c].interruptible = 0
    set_time(s, c, released)
