"""The lock of a per-CPU list, as a drain waits for it (kernel: pcp->lock in drain_pages_zone).

Requests only try it, and go to the zone, so a drain waits for a list that its own CPU or another drain holds; a
request that empties all lists when memory is short is a drain, too. Only a drain's acquisitions are counted, in one
record for each zone. The lock's word is in the lists' record (`mm.pcp_held`). Leaves out a queue: of several that
wait, the order is that of their CPUs.
"""

from kmsim.jit import core, only_with
from kmsim.mm.indices import ContextIdx, CpuIdx, LockIdx
from kmsim.mm.mmzone import Machine
from kmsim.sim.core.records import NOT_WAITING, Core
from kmsim.sim.core.spinlock import count_wait
from kmsim.sim.core.stage import no_parts, set_next_event


@core
def look_again(s: Core, c: CpuIdx, ac: ContextIdx, holder: CpuIdx) -> None:
    """Spin until the CPU that holds the lock does its next thing, and ask for it again."""
    now = s.state[0].now
    run = s.runs[ac]
    if run.since == NOT_WAITING:
        run.since = now
    again = s.cpus[holder].time
    no_parts(s, ac)
    run.lock_wait_ps = again - now if again > now else 1
    run.end_ps = now + run.lock_wait_ps
    set_next_event(s, c, ac)


@core
def count_taken(s: Core, ac: ContextIdx, n: LockIdx, held: int) -> None:
    """A drain has taken the lock, for so many picoseconds."""
    run = s.runs[ac]
    lock = s.locks[n]
    lock.acquisitions += 1
    lock.hold_total += held
    lock.hold_max = max(lock.hold_max, held)
    if run.since != NOT_WAITING:
        count_wait(s, n, s.state[0].now - run.since)
        run.since = NOT_WAITING


@only_with("lru")
def waits_for_no_list(_m: Machine, s: Core, ac: ContextIdx) -> None:
    """A new operation, which may empty all lists when memory is short."""
    s.runs[ac].since = NOT_WAITING
