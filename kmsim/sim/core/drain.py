"""The emptying of all CPUs' per-CPU lists, one batch after the other (kernel: drain_all_pages).

A list that its own CPU holds is waited for, and so is one that another drain empties. Of a list's lock only these
acquisitions are counted, in one record for each zone: requests only try it, and go to the zone. It is held from
the wait for the zone's lock to the end of the batch. Lock order: as `mm.locks` has it.
"""

from kmsim.jit import core, small
from kmsim.mm.drain import drain_begin, drain_locked
from kmsim.mm.indices import ContextIdx, CpuIdx, PcpIdx
from kmsim.mm.locks import zone_lock
from kmsim.mm.mmzone import cpu_of_pcp, zone_of_pcp
from kmsim.mm.pcp import lock_pcp, pcp_lock_holder
from kmsim.sim.core.pages import hold_lock, no_work
from kmsim.sim.core.records import COMPLETE, NOBODY, Core, pcp_lock_of
from kmsim.sim.core.spinlock import count_wait
from kmsim.sim.core.stage import set_next_event, set_stage


@core
def drain_next(s: Core, c: CpuIdx, ac: ContextIdx) -> None:
    """Go on with the emptying of all per-CPU lists: the next batch, or the end (kernel: drain_all_pages)."""
    m = s.m
    run = s.runs[ac]
    while run.drained < len(m.pcps):
        p = int(run.drained)
        z = zone_of_pcp(m, p)
        if not drain_begin(m, ac, z, cpu_of_pcp(m, p)):
            run.drained += 1
            if run.since != NOBODY:  # emptied while it waited
                count_pcp_lock(s, ac, z, 0)
            continue
        if m.pcps[p].locked:
            wait_for_pcp(s, c, ac, p)
            return
        lock_pcp(m, p, c)
        run.pcp = p
        no_work(s)
        if not drain_locked(m, ac):
            run.drained += 1
        hold_lock(s, c, ac, zone_lock(z), True)
        count_pcp_lock(s, ac, z, run.end_ps - s.state[0].now)
        return
    run.then = COMPLETE
    set_stage(s, c, ac, 0, 0)


@small
def wait_for_pcp(s: Core, c: CpuIdx, ac: ContextIdx, p: PcpIdx) -> None:
    """Spin until the CPU that holds a per-CPU list's lock does its next thing, and look again.

    Only a drain ever waits here (a list's own CPU goes to the zone instead), so the order of several
    that wait is that of their CPUs.
    """
    now = s.state[0].now
    if s.runs[ac].since == NOBODY:
        s.runs[ac].since = now
    again = s.cpus[pcp_lock_holder(s.m, p)].time
    wait = again - now if again > now else 1
    set_stage(s, c, ac, 0, 0)
    run = s.runs[ac]
    run.lock_wait_ps = wait
    run.end_ps = now + wait
    set_next_event(s, c, ac)


@small
def count_pcp_lock(s: Core, ac: int, z: int, held: int) -> None:
    """A drain has taken the lock of a per-CPU list of this zone, for so many picoseconds."""
    run = s.runs[ac]
    n = pcp_lock_of(s, z)
    lock = s.locks[n]
    lock.acquisitions += 1
    lock.hold_total += held
    lock.hold_max = max(lock.hold_max, held)
    if run.since != NOBODY:
        count_wait(s, n, s.state[0].now - run.since)
        run.since = NOBODY
