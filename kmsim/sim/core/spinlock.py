"""A FIFO spinlock that is taken with interrupts on (kernel: spin_lock of the vmap nodes and of the free areas).

An interrupt that lands on the CPU of its holder lengthens the time that it is held, so the time of a grant
is not known when the lock is requested: such a lock has a queue. A waiter spins, and its CPU serves
interrupts meanwhile; it is granted the lock in its turn even while it is interrupted, as a queued spinlock
is, and then goes on with it when the interrupt is over.

Invariant: `lock.run` is the run that holds the lock; the runs behind it, by `next_waiter`, wait.
"""

from kmsim.jit import small
from kmsim.mm.indices import ContextIdx, CpuIdx, LockIdx
from kmsim.sim.core.costs import handover_ps
from kmsim.sim.core.records import NEVER, NOBODY, WAITING, Core, cpu_of
from kmsim.sim.core.stage import no_parts, set_next_event


@small
def request(s: Core, c: CpuIdx, ac: ContextIdx, n: LockIdx) -> bool:
    """Ask for lock n now; is it granted at once? Else the run waits in its queue."""
    lock = s.locks[n]
    run = s.runs[ac]
    run.lock = n
    lock.acquisitions += 1
    if lock.run == NOBODY:
        lock.run = ac
        return True
    run.since = s.state[0].now
    run.next_waiter = NOBODY
    if lock.first_waiter == NOBODY:
        lock.first_waiter = ac
    else:
        s.runs[lock.last_waiter].next_waiter = ac
    lock.last_waiter = ac
    spin(s, c, ac)
    return False


@small
def leave(s: Core, ac: ContextIdx) -> int:
    """Let go of the lock; the run that has it from now on, or NOBODY."""
    run = s.runs[ac]
    lock = s.locks[run.lock]
    count_hold(s, run.lock)
    run.lock = NOBODY
    heir = int(lock.first_waiter)
    lock.run = heir
    if heir != NOBODY:
        lock.first_waiter = s.runs[heir].next_waiter
        waited = s.state[0].now - s.runs[heir].since + handover_ps(s, int(lock.holder), cpu_of(s, heir))
        count_wait(s, s.runs[heir].lock, waited)
    return heir


@small
def count_wait(s: Core, n: LockIdx, wait: int) -> None:
    """Count a wait for a lock, in picoseconds."""
    lock = s.locks[n]
    lock.contended += 1
    lock.wait_total += wait
    lock.wait_max = max(lock.wait_max, wait)


@small
def count_hold(s: Core, n: LockIdx) -> None:
    """A lock is let go of."""
    lock = s.locks[n]
    held = s.state[0].now - lock.since
    lock.hold_total += held
    lock.hold_max = max(lock.hold_max, held)


@small
def spin(s: Core, c: CpuIdx, ac: ContextIdx) -> None:
    """Wait on the CPU until something else ends it."""
    no_parts(s, ac)
    s.runs[ac].then = WAITING
    spin_on(s, c, ac)


@small
def spin_on(s: Core, c: CpuIdx, ac: ContextIdx) -> None:
    """Begin to spin, or go on after an interrupt."""
    run = s.runs[ac]
    run.spun_from = s.state[0].now
    run.end_ps = NEVER
    set_next_event(s, c, ac)


@small
def stop_spinning(s: Core, ac: ContextIdx) -> None:
    """The CPU spins no more: it serves an interrupt, or the wait is over."""
    s.runs[ac].lock_wait_ps += s.state[0].now - s.runs[ac].spun_from
