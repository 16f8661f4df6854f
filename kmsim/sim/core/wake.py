"""When tasks want to run: at their next operation or their first due block, whichever is earlier.

`cpu.wake[level]` is the earliest of the tasks of a level on a CPU. It is right whenever no task of
that level is in an operation; nobody reads it meanwhile. A thread that is not pinned and wakes
while its CPU is busy is moved to an idle one, if there is one, as the scheduler does at wake-up:
the first idle CPU after its own, by number.
"""

from kmsim.jit import core, small
from kmsim.mm.indices import CpuIdx, Level, TaskIdx
from kmsim.sim.core.due import first_due_at
from kmsim.sim.core.records import NEVER, NO_BLOCK, NOBODY, Core
from kmsim.sim.core.winner_tree import set_time
from kmsim.workload.op_stream import FREE
from kmsim.workload.plan import THREAD


@small
def advance(s: Core, k: TaskIdx) -> bool:
    """Find out when the task's next operation is due; False where its block is done."""
    task = s.tasks[k]
    at = task.arrived if task.is_open else s.state[0].now
    while task.cursor < task.end_op:
        op = s.ops[task.cursor]
        at += op.gap_ps
        if at >= task.until_ps:
            task.end_op = task.cursor
            break
        if op.kind != FREE or s.slots[op.slot].block != NO_BLOCK:
            task.arrived = at
            task.next_at = min(at, NEVER)
            set_wake(s, k)
            return True
        task.cursor += 1  # there is nothing to free: its allocation failed
    task.next_at = NEVER
    set_wake(s, k)
    return False


@small
def set_wake(s: Core, k: TaskIdx) -> None:
    """The earlier of a task's two reasons to run; one that sleeps within an operation has neither."""
    task = s.tasks[k]
    if task.parked:
        return
    task.wake_at = min(task.next_at, first_due_at(s, k))
    if not task.pinned:
        task.asleep = task.wake_at > s.state[0].now


@small
def refresh_wake(s: Core, c: CpuIdx, level: Level) -> None:
    """Find the earliest of the tasks of a level on a CPU."""
    cpu = s.cpus[c]
    first = cpu.first_task[level]
    if first != NOBODY and (s.tasks[first].next_task != first or not s.tasks[first].pinned):
        refresh_several(s, c, level)
        return
    cpu.wake[level] = s.tasks[first].wake_at if first != NOBODY else NEVER
    if level == THREAD:
        cpu.unpinned_wake = NEVER


@core
def refresh_several(s: Core, c: CpuIdx, level: Level) -> None:
    """The same where there are several, or where they may move."""
    cpu = s.cpus[c]
    first = cpu.first_task[level]
    earliest = NEVER
    unpinned = NEVER
    k = first
    while True:
        task = s.tasks[k]
        earliest = min(earliest, task.wake_at)
        if not task.pinned and task.asleep and not task.running:
            unpinned = min(unpinned, task.wake_at)
        k = task.next_task
        if k == first:
            break
    cpu.wake[level] = earliest
    if level == THREAD:
        cpu.unpinned_wake = unpinned


@small
def wake_changed(s: Core, k: TaskIdx) -> None:
    """The time at which a task wants to run has changed; it is in no operation."""
    task = s.tasks[k]
    c = int(task.cpu)
    cpu = s.cpus[c]
    refresh_wake(s, c, task.level)
    if cpu.interruptible and (cpu.level < task.level or not task.pinned):
        time = max(min(cpu.time, task.wake_at), s.state[0].now)
        if time != cpu.time:
            set_time(s, c, time)


@core
def link_task(s: Core, k: TaskIdx, c: CpuIdx) -> None:
    """Put a task on a CPU, behind the others of its level."""
    task = s.tasks[k]
    cpu = s.cpus[c]
    task.cpu = c
    first = cpu.first_task[task.level]
    if first == NOBODY:
        cpu.first_task[task.level] = k
        task.next_task = k
        return
    last = first
    while s.tasks[last].next_task != first:
        last = s.tasks[last].next_task
    s.tasks[last].next_task = k
    task.next_task = first


@core
def unlink_task(s: Core, k: TaskIdx) -> None:
    """Take a task off its CPU."""
    task = s.tasks[k]
    cpu = s.cpus[task.cpu]
    before = k
    while s.tasks[before].next_task != k:
        before = s.tasks[before].next_task
    s.tasks[before].next_task = task.next_task
    if cpu.first_task[task.level] == k:
        cpu.first_task[task.level] = task.next_task if task.next_task != k else NOBODY
    refresh_wake(s, task.cpu, task.level)
