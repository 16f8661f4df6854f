"""What nearly always follows the end of a stage, in one piece: the same task goes on, and nobody else on its CPU.

That is what the scheduler comes to (`pick`, `enter`) where no higher level has something to do. Between two
stages of an operation that is all there is to ask (`goes_on`). Between two operations the task must be alone on its
level of the CPU, and its next operation due (`follows_at_once`); then what the scheduler would have written is written.

In stepwise mode the scheduler is asked each time. A test of random studies says that results are the same, bit for bit.
"""

from kmsim.jit import small
from kmsim.mm.indices import ContextIdx, CpuIdx, Level
from kmsim.mm.may_oom import has_panicked
from kmsim.mm.wants import GO_ON, LOCK
from kmsim.sim.core.due import first_due_at
from kmsim.sim.core.records import NO_BLOCK, START, Core
from kmsim.sim.core.stage import higher_wake
from kmsim.workload.op_stream import FREE
from kmsim.workload.plan import THREAD


@small
def is_undisturbed(s: Core, c: CpuIdx) -> bool:
    """Does the level that runs on a CPU go on running now, if it has something to do?"""
    cpu = s.cpus[c]
    now = s.state[0].now
    return bool(not s.state[0].stepwise and cpu.unpinned_wake > now and higher_wake(s, c, cpu.level) > now)


@small
def goes_on(s: Core, c: CpuIdx, ac: ContextIdx) -> bool:
    """Is a run whose stage is over granted what it wants without asking the scheduler?"""
    return s.runs[ac].then in (LOCK, GO_ON) and is_undisturbed(s, c)


@small
def follows_at_once(s: Core, c: CpuIdx, ac: ContextIdx) -> bool:
    """May the task of a run that is over begin its next operation without asking the scheduler?"""
    run = s.runs[ac]
    task = s.tasks[run.task]
    now = s.state[0].now
    if has_panicked(s.m):
        return False
    if task.next_task != run.task or not task.pinned or not run.from_stream or task.cursor >= task.end_op:
        return False
    if not is_undisturbed(s, c) or s.state[0].nr_done == s.state[0].check_at or task.begins != START:
        return False
    if task.nr_due and first_due_at(s, run.task) <= now:
        return False
    op = s.ops[task.cursor]
    at = (task.arrived if task.is_open else now) + op.gap_ps
    if at > now or at >= task.until_ps or (op.kind == FREE and s.slots[op.slot].block == NO_BLOCK):
        return False
    follow(s, c, ac, s.cpus[c].level, at)
    return True


@small
def follow(s: Core, c: CpuIdx, ac: ContextIdx, level: Level, at: int) -> None:
    """Write what the scheduler would have: the task's next operation is due at `at`, and the task still runs."""
    run = s.runs[ac]
    cpu = s.cpus[c]
    task = s.tasks[run.task]
    now = s.state[0].now
    task.arrived = at
    task.next_at = at
    task.wake_at = at
    cpu.wake[level] = at
    run.then = START
    if level == THREAD and now >= cpu.slice_end:
        cpu.slice_end = now + s.state[0].timeslice_ps
