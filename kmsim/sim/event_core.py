"""The event core: the CPUs' events in the order of (time, CPU), compiled.

`run_until` takes event after event, never past its horizon: the next instant at which a SimPy
process acts, which has the first word at its time. It stops early where Python must act: a task's
block of operations is done, or a recount is due. `step_once` takes one CPU's event, for stepwise mode; it is
the same compiled code, which takes long to compile.

An operation has one event where it stays on its per-CPU list and follows the one before at once, and
one more for each lock, pause and interruption.
"""

from kmsim.jit import entry
from kmsim.sim.dispatch import step
from kmsim.sim.records import CPU_BITS, HORIZON, NEVER, NOBODY, Core
from kmsim.sim.wake import advance, link_task, set_wake, wake_changed


@entry
def run_until(s: Core, horizon: int, only: int) -> int:
    """Run all events before `horizon`, or one, where that is CPU `only`'s (NOBODY: all); why it stopped."""
    limit = horizon << CPU_BITS
    while s.tree[1] < limit:
        c = int(s.tree[1] & ((1 << CPU_BITS) - 1))
        assert only in (NOBODY, c), "the next event is another CPU's"
        stop = step(s, c)
        if stop != HORIZON or only != NOBODY:
            return stop
    return HORIZON


def step_once(s: Core, c: int) -> int:
    """Run one CPU's next event, which must be the first of all; why it would stop."""
    return run_until(s, NEVER, c)


@entry
def hand_block(s: Core, k: int, now: int, nr_ops: int, until_ps: int) -> bool:
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
def add_task(s: Core, k: int, c: int) -> None:
    """Put a new task, with nothing to do yet, on a CPU."""
    task = s.tasks[k]
    task.next_at = NEVER
    set_wake(s, k)
    link_task(s, k, c)
