"""A stage on a CPU: a stretch of time at whose end something is decided.

An interrupt or a softirq may come in between, unless the stage is one under a zone's lock: that is
spun for and held with interrupts off, and what is due meanwhile runs when it is released.
"""

from kmsim.jit import small
from kmsim.mm.indices import ContextIdx, CpuIdx, Level
from kmsim.sim.core.records import NEVER, Core
from kmsim.sim.core.winner_tree import set_time
from kmsim.workload.plan import IRQ, SOFTIRQ


@small
def set_stage(s: Core, c: CpuIdx, ac: ContextIdx, instructions: int, cache_lines: int) -> None:
    """Let a stage begin that interrupts may interrupt; its parts in picoseconds."""
    run = s.runs[ac]
    no_parts(s, ac)
    run.instructions_ps = instructions
    run.cache_lines_ps = cache_lines
    run.end_ps = s.state[0].now + instructions + cache_lines
    set_next_event(s, c, ac)


@small
def no_parts(s: Core, ac: ContextIdx) -> None:
    """A stage whose time is counted elsewhere, or not known yet."""
    run = s.runs[ac]
    run.instructions_ps = 0
    run.cache_lines_ps = 0
    run.lock_wait_ps = 0
    run.lock_hold_ps = 0


@small
def set_next_event(s: Core, c: CpuIdx, ac: ContextIdx) -> None:
    """The CPU's next event: the end of its stage, or before that whatever may interrupt it."""
    cpu = s.cpus[c]
    cpu.interruptible = 1
    time = min(s.runs[ac].end_ps, higher_wake(s, c, cpu.level), cpu.unpinned_wake)
    set_time(s, c, max(time, s.state[0].now))


@small
def higher_wake(s: Core, c: CpuIdx, level: Level) -> int:
    """When the first task of a higher level than this one wants to run on a CPU."""
    wake = s.cpus[c].wake
    time = wake[IRQ] if level < IRQ else NEVER
    return int(min(time, wake[SOFTIRQ]) if level < SOFTIRQ else time)


@small
def account(s: Core, c: CpuIdx, ac: ContextIdx) -> None:
    """A stage is over: add its parts to what the CPU has spent."""
    cpu = s.cpus[c]
    run = s.runs[ac]
    cpu.instructions_ps += run.instructions_ps
    cpu.cache_lines_ps += run.cache_lines_ps
    cpu.lock_wait_ps += run.lock_wait_ps
    cpu.lock_hold_ps += run.lock_hold_ps
