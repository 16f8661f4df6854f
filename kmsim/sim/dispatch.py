"""What a CPU does next: go on, serve an interrupt, or run the next thread.

The highest level that has something to do runs; what it interrupts goes on afterwards. Interrupts
come between the stages of an operation or within one, except under a zone's lock. Threads of one CPU
run in turn (round robin): one runs until it sleeps or its time slice is over, and is never left
within an operation (kernel: the per-CPU list's lock disables preemption; so does PREEMPT_NONE).

Leaves out: priorities and fairness among threads (their weights in EEVDF), and what an interrupt
costs beyond its price (the cache that it takes).
"""

from kmsim.jit import core, small
from kmsim.mm.indices import ContextIdx, CpuIdx, Level, TaskIdx
from kmsim.sim.drain import drain_next
from kmsim.sim.list_stages import lock_list
from kmsim.sim.operation import start
from kmsim.sim.outcome import complete
from kmsim.sim.page_stages import lock_pages, release_pcp, tail
from kmsim.sim.records import (
    BEGIN_WORK,
    COMPLETE,
    DRAIN_NEXT,
    HORIZON,
    IDLE,
    LIST_LOCK,
    LOCK,
    NEVER,
    NOBODY,
    NR_LEVELS,
    SLAB_LOCK,
    START,
    TAIL,
    UNPARK,
    VM_GO,
    VM_LOCK,
    WAITING,
    Core,
    context_of,
)
from kmsim.sim.slab_stages import lock_slab
from kmsim.sim.sleep import unpark
from kmsim.sim.spinlock import spin_on, stop_spinning
from kmsim.sim.stage import account, no_parts, set_next_event
from kmsim.sim.vm_stages import begin_work, go_vm, leave_spinlock, lock_vm
from kmsim.sim.wake import link_task, refresh_wake, unlink_task
from kmsim.sim.winner_tree import set_time
from kmsim.workload.plan import IRQ, SOFTIRQ, THREAD


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
            release_pcp(s, ac)
            if run.lock != NOBODY:
                leave_spinlock(s, ac)
            if run.then == COMPLETE:
                stop = complete(s, c, ac)
                if stop != HORIZON:
                    return stop  # the same event goes on from here when the core is called again
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
def go_on(s: Core, c: CpuIdx, ac: ContextIdx) -> None:
    """Go on with an operation: with the rest of its stage, or with what follows that."""
    run = s.runs[ac]
    if run.then == WAITING:
        spin_on(s, c, ac)
    elif run.left_ps > 0:
        run.end_ps = s.state[0].now + run.left_ps
        set_next_event(s, c, ac)
    elif run.then == START:
        start(s, c, ac)
    elif run.then == LOCK:
        lock_pages(s, c, ac)
    elif run.then == SLAB_LOCK:
        lock_slab(s, c, ac)
    elif run.then == TAIL:
        tail(s, c, ac)
    elif run.then == DRAIN_NEXT:
        drain_next(s, c, ac)
    elif run.then == LIST_LOCK:
        lock_list(s, c, ac)
    elif run.then == VM_LOCK:
        lock_vm(s, c, ac)
    elif run.then == VM_GO:
        go_vm(s, c, ac)
    elif run.then == BEGIN_WORK:
        begin_work(s, c, ac)
    else:
        assert run.then == UNPARK, "an operation that is over goes on"
        unpark(s, ac)
        go_vm(s, c, ac)


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
