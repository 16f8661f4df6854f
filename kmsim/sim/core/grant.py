"""The stage loop: what a run wants is granted, whichever allocator it asks (the protocol is `mm.wants`).

A stage ends, and its run wants something (`run.then`). What is granted begins the next stage: `mm` does what follows,
that takes its time, and at its end the run wants the next thing.
    GO_ON       a stage without a lock
    LOCK        by the lock's kind (`mm.locks`): a timestamp where interrupts are off (`sim.core.lock`), else a queue of
                runs that spin (`sim.core.spinlock`); that of a per-CPU list, which only drains wait for, is asked for
                until it is had (`sim.core.pcp_lock`), and with it, in the same instant, its zone's
    MUTEX, UNLOCK, SLEEP    the thread gives its CPU to others meanwhile (`sim.core.sleep`)
    FLUSH       every other CPU serves an interrupt (`sim.core.flush`)
    TRY_LOCK    at once, within the stage: the lists' lock is free, or not (`sim.core.verbs`)
    SLOW_PATH   at once: reclaim, which begins with a stage of its own, or a failure (`sim.core.verbs`)
    DONE        the operation is over (`sim.core.outcome`)

State changes at the beginning of a stage, which is exact: see `sim.core.lock`. Invariant: a run holds at most one
spinlock, for one stage; a list's lock does not count. Lock order: `mm.locks` has it.
"""

from kmsim.jit import core, only_with, small
from kmsim.mm.drain import holder_waited_for
from kmsim.mm.indices import ContextIdx, CpuIdx, LockIdx
from kmsim.mm.locks import LOCK_IRQSAVE, LOCK_SPIN, LOCK_TRY
from kmsim.mm.mmzone import zone_of_pcp
from kmsim.mm.pcp import NO_CPU
from kmsim.mm.pcp_held import hold_while_waiting
from kmsim.mm.wants import FLUSH, GO_ON, LOCK, MUTEX, SLEEP, UNLOCK
from kmsim.sim.core.costs import cache_lines_ps, handover_ps, no_work, price, taking_ps
from kmsim.sim.core.flush import flush
from kmsim.sim.core.kworker import wake_for_scheduled
from kmsim.sim.core.lock import hold_lock_for
from kmsim.sim.core.pcp_lock import count_taken, look_again
from kmsim.sim.core.records import NOBODY, OF_VM, Core, cpu_of, level_of, pcp_lock_of
from kmsim.sim.core.sleep import JIFFY_PS, lock_mutex, sleep_until, unlock_mutex
from kmsim.sim.core.spinlock import leave, request, stop_spinning
from kmsim.sim.core.stage import no_parts, set_next_event, set_stage
from kmsim.sim.core.verbs import at_once, carry_on


@small
def grant(s: Core, c: CpuIdx, ac: ContextIdx) -> None:
    """Let the run have what it wants, or wait for that."""
    wants = s.runs[ac].then
    if wants == LOCK:
        grant_lock(s, c, ac, int(s.m.contexts[ac].lock))
    elif wants == GO_ON:
        go_on_without_lock(s, c, ac)
    else:
        grant_to_thread(s, c, ac, wants)


@core
def grant_later(s: Core, c: CpuIdx, ac: ContextIdx) -> None:
    """The same, not compiled into its caller: for what does not follow the stage before at once."""
    grant(s, c, ac)


@core
def grant_to_thread(s: Core, c: CpuIdx, ac: ContextIdx, wants: int) -> None:
    """The same for what takes longer than a stage: a mutex, a flush, sleep."""
    if wants == MUTEX:
        if lock_mutex(s, c, ac, int(s.m.contexts[ac].mutex)):
            go_on_without_lock(s, c, ac)
    elif wants == UNLOCK:
        unlock_mutex(s, int(s.m.contexts[ac].mutex))
        go_on_without_lock(s, c, ac)
    elif wants == FLUSH:
        flush(s, c, ac)
    else:
        assert wants == SLEEP, "an operation that is over goes on"
        until = int(s.m.contexts[ac].wake_at)
        sleep_until(s, c, ac, until if until >= 0 else s.state[0].now - until * JIFFY_PS)


@small
def grant_lock(s: Core, c: CpuIdx, ac: ContextIdx, n: LockIdx) -> None:
    """Let the run have a spinlock, now or in its turn."""
    kind = s.locks[n].kind
    if kind == LOCK_IRQSAVE:
        hold_lock(s, c, ac, n)
    elif kind == LOCK_SPIN:
        grant_spinlock(s, c, ac, n)
    else:
        assert kind == LOCK_TRY, "a lock of an unknown kind"
        grant_pcp_lock(s, c, ac, n)


@small
def hold_lock(s: Core, c: CpuIdx, ac: ContextIdx, n: LockIdx) -> None:
    """Hold a spinlock as soon as it is the run's turn, interrupts off."""
    no_work(s)
    wants = carry_on(s, ac)
    hold_lock_for(s, c, ac, n, s.prices[0].lock_hold + price(s, ac) + cache_lines_ps(s))
    then(s, c, ac, wants)


@core
def grant_pcp_lock(s: Core, c: CpuIdx, ac: ContextIdx, n: LockIdx) -> None:
    """Let the run have the lock of a per-CPU list, and its zone's at once, if nobody holds the list."""
    p = int(s.m.contexts[ac].pcp)  # of the zone's lists, whose locks are counted under one number, these
    assert n == pcp_lock_of(s, zone_of_pcp(s.m, p)), "a drain wants the lock of other lists than it names"
    holder = holder_waited_for(s.m, p)
    if holder != NO_CPU:
        look_again(s, c, ac, holder)
        return
    no_work(s)
    wants = carry_on(s, ac)
    held = 0
    if wants == LOCK:
        hold_lock(s, c, ac, int(s.m.contexts[ac].lock))
        held = s.runs[ac].end_ps - s.state[0].now
    else:
        end_stage(s, c, ac, 0, wants)
    count_taken(s, ac, n, held)


@small
def go_on_without_lock(s: Core, c: CpuIdx, ac: ContextIdx) -> None:
    """A stage without a lock."""
    no_work(s)
    end_stage(s, c, ac, 0, carry_on(s, ac))


@small
def first_stage(s: Core, c: CpuIdx, ac: ContextIdx, path: int, begun: int) -> None:
    """The stage that an operation begins with, which holds no lock: `begun` is what its first verb has wanted."""
    end_stage(s, c, ac, path, at_once(s, ac, begun))


@small
def end_stage(s: Core, c: CpuIdx, ac: ContextIdx, path: int, wants: int) -> None:
    """What was done without a lock takes its time, beside that of a path; and what the run wants then."""
    set_stage(s, c, ac, path + price(s, ac), cache_lines_ps(s))
    then(s, c, ac, wants)


@small
def then(s: Core, c: CpuIdx, ac: ContextIdx, wants: int) -> None:
    """What the run wants when the stage that begins now is over."""
    run = s.runs[ac]
    run.then = wants
    hold_while_waiting(s.m, ac, wants)
    if run.verbs == OF_VM:
        wake_for_scheduled(s, c)


# ---- spinlocks with interrupts on


@only_with("vm")
def grant_spinlock(s: Core, c: CpuIdx, ac: ContextIdx, n: LockIdx) -> None:
    """Ask for a spinlock; if it is free, hold it."""
    if request(s, c, ac, n):
        hold_spinlock(s, c, ac, taking_ps(s, n, c), 0)


@only_with("vm")
def hold_spinlock(s: Core, c: CpuIdx, ac: ContextIdx, taking: int, wait: int) -> None:
    """Hold a spinlock, interrupts on; where something else runs on the CPU now, its time begins after that."""
    run = s.runs[ac]
    lock = s.locks[run.lock]
    now = s.state[0].now
    no_work(s)
    wants = carry_on(s, ac)
    hold = s.prices[0].lock_hold + price(s, ac) + cache_lines_ps(s)
    spun = run.lock_wait_ps if wait else 0
    no_parts(s, ac)
    run.instructions_ps = taking
    run.lock_wait_ps = spun + wait
    run.lock_hold_ps = hold
    lock.holder = c
    lock.since = now + taking + wait
    run.left_ps = taking + wait + hold
    if s.cpus[c].level == level_of(s, ac):
        run.end_ps = now + run.left_ps
        set_next_event(s, c, ac)
    then(s, c, ac, wants)


@only_with("vm")
def leave_spinlock(s: Core, ac: ContextIdx) -> None:
    """Let go of the spinlock that the run holds; the next one in its queue is granted it."""
    heir = leave(s, ac)
    if heir != NOBODY:
        c = cpu_of(s, heir)
        if s.cpus[c].level == level_of(s, heir):
            stop_spinning(s, heir)
        hold_spinlock(s, c, heir, 0, handover_ps(s, int(s.locks[s.runs[heir].lock].holder), c))
