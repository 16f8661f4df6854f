"""The emptying of all CPUs' per-CPU lists, one batch after the other (kernel: drain_all_pages).

A list that its own CPU holds is waited for, and so is one that another drain empties. Of a list's lock only these
acquisitions are counted, in one record for each zone: requests only try it, and go to the zone. It is held from
the wait for the zone's lock to the end of the batch. Lock order: as `mm.page_alloc` has it.
"""

from kmsim.jit import core, small
from kmsim.mm.drain import drain_all_begin, drain_all_locked, skip_empty
from kmsim.mm.indices import ContextIdx, CpuIdx, LockIdx, PcpIdx
from kmsim.mm.locks import zone_lock
from kmsim.mm.mmzone import zone_of_pcp
from kmsim.mm.pcp import pcp_lock_holder
from kmsim.mm.pcp_held import hold_pcp
from kmsim.mm.wants import DONE, want_lock
from kmsim.sim.core.costs import cache_lines_ps, instructions_ps, no_work
from kmsim.sim.core.lock import hold_lock_for
from kmsim.sim.core.records import NOBODY, OF_DRAIN, Core, pcp_lock_of
from kmsim.sim.core.spinlock import count_wait
from kmsim.sim.core.stage import set_next_event, set_stage


@core
def begin_drain(s: Core, c: CpuIdx, ac: ContextIdx) -> None:
    """The stage before any lock."""
    run = s.runs[ac]
    run.verbs = OF_DRAIN
    run.since = NOBODY
    run.then = drain_all_begin(s.m, ac, pcp_lock_of(s, 0))
    set_stage(s, c, ac, s.prices[0].free_fast, 0)


@core
def drain_next(s: Core, c: CpuIdx, ac: ContextIdx) -> None:
    """Take the lock of the lists that the drain has come to and drain a batch, or wait for it; or that was all."""
    m = s.m
    run = s.runs[ac]
    while m.contexts[ac].pcp < len(m.pcps):
        p = int(m.contexts[ac].pcp)
        z = zone_of_pcp(m, p)
        n = pcp_lock_of(s, z)
        if skip_empty(m, ac):
            if run.since != NOBODY:  # emptied while it waited
                count_pcp_lock(s, ac, n, 0)
            continue
        run.then = want_lock(m, ac, n)
        if m.pcps[p].locked:
            wait_for_pcp(s, c, ac, p)
            return
        hold_pcp(m, ac, p)
        no_work(s)
        drain_all_locked(m, ac)
        hold_lock_for(s, c, ac, zone_lock(z), s.prices[0].lock_hold + instructions_ps(s) + cache_lines_ps(s, True))
        count_pcp_lock(s, ac, n, run.end_ps - s.state[0].now)
        return
    run.then = DONE
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
def count_pcp_lock(s: Core, ac: ContextIdx, n: LockIdx, held: int) -> None:
    """A drain has taken the lock of a per-CPU list, for so many picoseconds."""
    run = s.runs[ac]
    lock = s.locks[n]
    lock.acquisitions += 1
    lock.hold_total += held
    lock.hold_max = max(lock.hold_max, held)
    if run.since != NOBODY:
        count_wait(s, n, s.state[0].now - run.since)
        run.since = NOBODY
