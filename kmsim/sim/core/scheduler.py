"""Who runs on a CPU: the next thread, or the interrupt source that has waited longest; or nobody.

The highest level that has something to do runs; what it interrupts goes on afterwards. Interrupts
come between the stages of an operation or within one, except under a zone's lock. Threads of one CPU
run in turn (round robin): one runs until it sleeps or its time slice is over, and is never left
within an operation (kernel: the per-CPU list's lock disables preemption; so does PREEMPT_NONE).

Leaves out: priorities and fairness among threads (their weights in EEVDF), and what an interrupt
costs beyond its price (the cache that it takes).
"""

from kmsim.jit import core, small
from kmsim.mm.indices import ContextIdx, CpuIdx, Level, TaskIdx
from kmsim.sim.core.records import IDLE, NEVER, NOBODY, Core
from kmsim.sim.core.stage import no_parts
from kmsim.sim.core.wake import link_task, refresh_wake, unlink_task
from kmsim.sim.core.winner_tree import set_time
from kmsim.workload.plan import IRQ, SOFTIRQ, THREAD


@small
def enter(s: Core, c: CpuIdx, ac: ContextIdx, level: Level) -> None:
    """A level begins something new; first comes the price of getting there, if the CPU was elsewhere."""
    cpu = s.cpus[c]
    run = s.runs[ac]
    price = 0
    if level == THREAD:
        before = cpu.last_thread
        run.task = next_thread(s, c)
        if run.task != before and before != NOBODY:
            price = s.prices[0].context_switch
            cpu.switch_ps += price
    else:
        run.task = next_source(s, c, level)
        if cpu.level != level:
            price = s.prices[0].interrupt if level == IRQ else s.prices[0].softirq
            cpu.interrupt_ps += price
    cpu.busy[level] = 1
    s.tasks[run.task].running = 1
    run.then = s.tasks[run.task].begins
    run.left_ps = price
    if price:
        no_parts(s, ac)


@small
def next_thread(s: Core, c: CpuIdx) -> TaskIdx:
    """The thread that ran last, while its slice lasts, or the next in the circle that wants to run."""
    cpu = s.cpus[c]
    now = s.state[0].now
    last = int(cpu.last_thread)
    is_here = last != NOBODY and s.tasks[last].cpu == c
    if is_here and now < cpu.slice_end and s.tasks[last].wake_at <= now:
        return last
    k = int(s.tasks[last].next_task if is_here else cpu.first_task[THREAD])
    while s.tasks[k].wake_at > now:
        k = int(s.tasks[k].next_task)
    cpu.last_thread = k
    cpu.slice_end = now + s.state[0].timeslice_ps
    return k


@core
def next_source(s: Core, c: CpuIdx, level: Level) -> TaskIdx:
    """The softirq or irq source of a level that has waited longest."""
    first = int(s.cpus[c].first_task[level])
    longest = first
    k = int(s.tasks[first].next_task)
    while k != first:
        if s.tasks[k].wake_at < s.tasks[longest].wake_at:
            longest = k
        k = int(s.tasks[k].next_task)
    return longest


@small
def idle(s: Core, c: CpuIdx) -> None:
    """Nothing to do until some task wakes."""
    cpu = s.cpus[c]
    cpu.level = IDLE
    cpu.interruptible = 1
    cpu.idle_since = s.state[0].now
    set_time(s, c, min(cpu.wake[THREAD], cpu.wake[SOFTIRQ], cpu.wake[IRQ], NEVER))


@core
def place_woken(s: Core, c: CpuIdx) -> None:
    """Threads that are not pinned have woken: where this CPU is busy, move each to an idle one."""
    now = s.state[0].now
    nr_cpus = s.state[0].nr_cpus
    has_room = s.cpus[c].level == IDLE
    for k in range(len(s.tasks)):
        task = s.tasks[k]
        if task.cpu != c or task.pinned or task.running or not task.asleep or task.wake_at > now:
            continue
        task.asleep = 0
        if has_room:
            has_room = False
            continue
        for distance in range(1, nr_cpus):
            d = (c + distance) % nr_cpus
            if s.cpus[d].level == IDLE and s.cpus[d].time > now:
                unlink_task(s, k)
                link_task(s, k, d)
                refresh_wake(s, d, THREAD)
                set_time(s, d, now)
                break
    refresh_wake(s, c, THREAD)


@core
def pull(s: Core, c: CpuIdx) -> bool:
    """A CPU that would idle takes a thread that waits for another one, if one may move."""
    now = s.state[0].now
    for k in range(len(s.tasks)):
        task = s.tasks[k]
        d = int(task.cpu)
        if task.pinned or task.running or task.wake_at > now or d == c:
            continue
        if s.cpus[d].level != IDLE:
            task.asleep = 0
            unlink_task(s, k)
            link_task(s, k, c)
            refresh_wake(s, c, THREAD)
            return True
    return False
