"""The event loop: the CPUs' events in the order of (time, CPU), compiled.

`run_until` takes event after event, never past its horizon: the next instant at which a SimPy
process acts, which goes first at that time. It stops early where Python must act: a task's
block of operations is done, or a recount is due. `step_once` takes one event through the same entry, so that
nothing is compiled twice.

An operation has one event where it stays on its per-CPU list and follows the one before at once, and
one more for each lock, pause and interruption. In an event a CPU ends its stage (`step`), the highest
level that has something to do is found (`pick`) and begins its next stage (`go_on`).
"""

from kmsim.jit import entry, small
from kmsim.mm.indices import ContextIdx, CpuIdx, TaskIdx
from kmsim.mm.pcp_held import let_go
from kmsim.mm.wants import DONE
from kmsim.sim.core.grant import grant, grant_later, leave_spinlock
from kmsim.sim.core.operation import start, start_next
from kmsim.sim.core.outcome import complete, leave
from kmsim.sim.core.records import (
    BEGIN_WORK,
    HORIZON,
    IDLE,
    NEVER,
    NOBODY,
    NR_LEVELS,
    START,
    UNPARK,
    WAITING,
    Core,
    context_of,
)
from kmsim.sim.core.scheduler import enter, idle, place_woken, pull
from kmsim.sim.core.sleep import unpark
from kmsim.sim.core.spinlock import spin_on, stop_spinning
from kmsim.sim.core.stage import account, set_next_event
from kmsim.sim.core.straight_on import follows_at_once, goes_on
from kmsim.sim.core.wake import advance, link_task, set_wake, wake_changed
from kmsim.sim.core.winner_tree import is_before, next_cpu
from kmsim.sim.core.worker import begin_work, is_worker
from kmsim.workload.plan import THREAD


@entry
def run_until(s: Core, horizon: int, only: int) -> int:
    """Run all events before `horizon`; returns why it stopped. With `only`, run one event, which must be that CPU's."""
    while is_before(s, horizon):
        c = next_cpu(s)
        assert only in (NOBODY, c), "the next event is another CPU's"
        stop = step(s, c)
        if stop != HORIZON or only != NOBODY:
            return stop
    return HORIZON


@small
def step(s: Core, c: CpuIdx) -> int:
    """A CPU's next event, now; why the core must stop after it (HORIZON: it need not)."""
    cpu = s.cpus[c]
    now = cpu.time
    s.state[0].now = now
    level = cpu.level
    if level == IDLE:
        cpu.idle_ps += now - cpu.idle_since
        cpu.idle_since = now
    elif cpu.busy[level]:
        ac = context_of(s, level, c)
        run = s.runs[ac]
        run.left_ps = run.end_ps - now
        if run.left_ps == 0:
            account(s, c, ac)
            let_go(s.m, ac, run.then)
            if run.lock != NOBODY:
                leave_spinlock(s, ac)
            if run.then == DONE:
                if not is_worker(s, run.task):
                    complete(s, c, ac)
                    if follows_at_once(s, c, ac):
                        start_next(s, c, ac)
                        return HORIZON
                stop = leave(s, c, ac)
                if stop != HORIZON:
                    return stop  # the same event goes on from here when the core is called again
            elif goes_on(s, c, ac):
                grant(s, c, ac)
                return HORIZON
        elif run.then == WAITING:
            stop_spinning(s, ac)
    if cpu.unpinned_wake <= now:
        place_woken(s, c)
    pick(s, c)
    return HORIZON


@small
def pick(s: Core, c: CpuIdx) -> None:
    """Let the highest level run that has something to do."""
    cpu = s.cpus[c]
    now = s.state[0].now
    for higher in range(NR_LEVELS):
        level = NR_LEVELS - 1 - higher
        if cpu.busy[level] or cpu.wake[level] <= now:
            break
    else:
        level = THREAD
        if s.state[0].nr_unpinned == 0 or not pull(s, c):
            idle(s, c)
            return
    ac = context_of(s, level, c)
    if not cpu.busy[level]:
        enter(s, c, ac, level)
    cpu.level = level
    go_on(s, c, ac)


@small
def go_on(s: Core, c: CpuIdx, ac: ContextIdx) -> None:
    """Go on with an operation: with the rest of its stage, or with what follows that."""
    run = s.runs[ac]
    if run.then == WAITING:
        spin_on(s, c, ac)
    elif run.left_ps > 0:
        finish_stage(s, c, ac)
    elif run.then == START:
        start(s, c, ac)
    elif run.then == BEGIN_WORK:
        begin_work(s, c, ac)
    else:
        if run.then == UNPARK:
            unpark(s, ac)
            if run.left_ps > 0:
                finish_stage(s, c, ac)
                return
        grant_later(s, c, ac)


@small
def finish_stage(s: Core, c: CpuIdx, ac: ContextIdx) -> None:
    """Go on with the rest of a stage."""
    run = s.runs[ac]
    run.end_ps = s.state[0].now + run.left_ps
    set_next_event(s, c, ac)


def step_once(s: Core, c: CpuIdx) -> int:
    """Run one CPU's next event, which must be the first of all; why it would stop."""
    return run_until(s, NEVER, c)


@entry
def hand_block(s: Core, k: TaskIdx, now: int, nr_ops: int, until_ps: int) -> bool:
    """Give a task the operations that were written to its part of `ops`; False where none of them will begin."""
    s.state[0].now = now
    task = s.tasks[k]
    task.cursor = task.first_op
    task.end_op = task.first_op + nr_ops
    task.until_ps = until_ps
    if advance(s, k):
        wake_changed(s, k)
        return True
    return False


@entry
def add_task(s: Core, k: TaskIdx, c: CpuIdx) -> None:
    """Put a new task, with nothing to do yet, on a CPU."""
    task = s.tasks[k]
    task.next_at = NEVER
    set_wake(s, k)
    link_task(s, k, c)
