"""A flush of all CPUs' TLBs (kernel: flush_tlb_kernel_range): on x86 an interrupt on every CPU, on arm64 a broadcast.

Flushes come one after the other. The wait for the other CPUs is counted as that for a lock (kernel: csd_lock_wait).
Leaves out what is flushed: all flushes have one price. Invariant: `state.flushing` is the run whose flush is under
way, and those that wait for theirs stand behind it by `next_waiter`. Kept out of the compiled core with vmalloc.
"""

from kmsim.jit import only_with
from kmsim.mm.indices import ContextIdx, CpuIdx
from kmsim.mm.wants import GO_ON
from kmsim.sim.core.records import NOBODY, Core, cpu_of, csd_lock_of, level_of
from kmsim.sim.core.spinlock import count_wait, spin, stop_spinning
from kmsim.sim.core.stage import set_next_event, set_stage
from kmsim.sim.core.wake import wake_changed


@only_with("vm")
def flush(s: Core, c: CpuIdx, ac: ContextIdx) -> None:
    """Flush all TLBs; the run goes on when that is done."""
    state = s.state[0]
    if not state.interrupts_flush or state.nr_cpus == 1:
        set_stage(s, c, ac, s.prices[0].tlb_flush, 0)
        s.runs[ac].then = GO_ON
        return
    s.runs[ac].next_waiter = NOBODY
    s.runs[ac].since = state.now
    if state.flushing == NOBODY:
        interrupt_others(s, ac)
    else:
        last = int(state.flushing)
        while s.runs[last].next_waiter != NOBODY:
            last = int(s.runs[last].next_waiter)
        s.runs[last].next_waiter = ac
    spin(s, c, ac)


@only_with("vm")
def interrupt_others(s: Core, ac: ContextIdx) -> None:
    """Let every CPU but the run's own flush its TLB, as soon as it lets interrupts in."""
    state = s.state[0]
    state.flushing = ac
    state.nr_to_flush = state.nr_cpus - 1
    for d in range(state.nr_cpus):
        if d != cpu_of(s, ac):
            flusher = int(s.cpus[d].flusher)
            s.tasks[flusher].wake_at = state.now
            wake_changed(s, flusher)


@only_with("vm")
def flushed(s: Core) -> None:
    """One more CPU has flushed its TLB: when all have, the one that asked goes on."""
    state = s.state[0]
    state.nr_to_flush -= 1
    if state.nr_to_flush:
        return
    ac = int(state.flushing)
    c = cpu_of(s, ac)
    run = s.runs[ac]
    n = csd_lock_of(s)
    s.locks[n].acquisitions += 1
    count_wait(s, n, state.now - run.since)
    state.flushing = NOBODY
    if run.next_waiter != NOBODY:
        interrupt_others(s, int(run.next_waiter))
    run.then = GO_ON
    if s.cpus[c].level == level_of(s, ac):
        stop_spinning(s, ac)
        run.end_ps = state.now + s.prices[0].tlb_flush
        set_next_event(s, c, ac)
    run.left_ps = s.prices[0].tlb_flush
    run.instructions_ps = s.prices[0].tlb_flush
