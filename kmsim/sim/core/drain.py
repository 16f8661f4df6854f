"""The emptying of all CPUs' per-CPU lists, one batch after the other (kernel: drain_all_pages).

A list that its own CPU holds is waited for. Lock order: as `mm.page_alloc` has it.
"""

from kmsim.jit import core, small
from kmsim.mm.drain import drain_begin, drain_locked
from kmsim.mm.indices import ContextIdx, CpuIdx, PcpIdx
from kmsim.mm.mmzone import cpu_of_pcp, zone_of_pcp
from kmsim.mm.pcp import lock_pcp, pcp_lock_holder
from kmsim.sim.core.pages import hold_lock, no_work
from kmsim.sim.core.records import COMPLETE, Core
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
            continue
        if m.pcps[p].locked:
            wait_for_pcp(s, c, ac, p)
            return
        lock_pcp(m, p, c)
        run.pcp = p
        no_work(s)
        if not drain_locked(m, ac):
            run.drained += 1
        hold_lock(s, c, ac, z, True)
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
    again = s.cpus[pcp_lock_holder(s.m, p)].time
    wait = again - now if again > now else 1
    set_stage(s, c, ac, 0, 0)
    run = s.runs[ac]
    run.lock_wait_ps = wait
    run.end_ps = now + wait
    set_next_event(s, c, ac)
