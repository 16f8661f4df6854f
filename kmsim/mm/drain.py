"""Emptying per-CPU lists: on request, and little by little while a CPU is idle (kernel: mm/page_alloc.c).

A drain gives back at most batch << batch_scale_max pages per hold of the zone's lock, as the
kernel does to let others in; of Linux 5.10, whose lists hold order 0 alone, all at once. Its verbs work like those of
`mm.page_alloc`; the CPU that runs the drain need not be the one whose list it is.

The walk through all lists (`drain_all_begin`) is the only one that waits for a list's lock, instead of trying it; the
others are told that they have it. Leaves out pcpu_drain_mutex. Invariant: a drain that is over holds no list. Lock
order: a list's lock, then its zone's.
"""

from kmsim.jit import core, small
from kmsim.mm.indices import ContextIdx, CpuIdx, LockIdx, PcpIdx, ZoneIdx
from kmsim.mm.ladder import DRAIN_PCP, NR_STAGES, PAGES_DONE
from kmsim.mm.locks import pcp_lock, zone_lock
from kmsim.mm.mmzone import NO_PCP, Machine, cpu_of_pcp, pcp_index, zone_of_pcp
from kmsim.mm.pcp import NO_CPU, decay_pcp_high, free_pcppages_bulk, nr_drained_at_once, pcp_lock_holder
from kmsim.mm.pcp_held import hold_pcp
from kmsim.mm.wants import DONE, want_lock, want_to_go_on

NEXT_LISTS, LISTS_LOCKED = range(NR_STAGES, NR_STAGES + 2)  # stages of the walk, behind those of mm.page_alloc


@core
def drain_begin(m: Machine, ac: ContextIdx, z: ZoneIdx, cpu: CpuIdx) -> int:
    """Start to empty a CPU's lists of one zone; what does that want? (kernel: drain_pages_zone)"""
    context = m.contexts[ac]
    context.zone = z
    context.pcp = pcp_index(m, z, cpu)
    return want_lock(m, ac, zone_lock(z)) if m.pcps[context.pcp].count > 0 else DONE


@core
def drain_locked(m: Machine, ac: ContextIdx) -> int:
    """Give one batch back; what is wanted now? What was freed meanwhile is drained as well."""
    context = m.contexts[ac]
    pcp = m.pcps[context.pcp]
    nr_left = pcp.count
    nr_pages = nr_drained_at_once(m, int(context.pcp))
    free_pcppages_bulk(m, ac, context.pcp, nr_pages, 0)
    return want_lock(m, ac, zone_lock(context.zone)) if nr_left > nr_pages and pcp.count > 0 else DONE


@core
def decay_begin(m: Machine, ac: ContextIdx, z: ZoneIdx, cpu: CpuIdx) -> int:
    """Start vmstat's periodic trimming of a CPU's lists; what does that want? (kernel: decay_pcp_high)"""
    context = m.contexts[ac]
    context.zone = z
    context.pcp = pcp_index(m, z, cpu)
    context.nr_wanted = decay_pcp_high(m, int(context.pcp))
    return want_lock(m, ac, zone_lock(z)) if context.nr_wanted > 0 else DONE


@core
def decay_locked(m: Machine, ac: ContextIdx) -> int:
    """Give one batch of the surplus back; what is wanted now?"""
    context = m.contexts[ac]
    nr_pages = min(context.nr_wanted, m.pcps[context.pcp].batch)
    free_pcppages_bulk(m, ac, context.pcp, nr_pages, 0)
    context.nr_wanted -= nr_pages
    return want_lock(m, ac, zone_lock(context.zone)) if context.nr_wanted > 0 else DONE


@core
def drain_all_begin(m: Machine, ac: ContextIdx) -> int:
    """Start to empty every CPU's lists of every zone; what does that want? (kernel: drain_all_pages)"""
    m.contexts[ac].pcp = 0
    m.contexts[ac].stage = NEXT_LISTS
    return want_to_go_on(m, ac)


@core
def drain_all_resume(m: Machine, ac: ContextIdx, first_pcp_lock: LockIdx) -> int:
    """What the drain wanted is granted: go on; what does it want now? The lists' locks begin with `first_pcp_lock`.

    A list's lock, and while that is held its zone's, for one batch; then, without them, to go on.
    """
    context = m.contexts[ac]
    if context.stage == NEXT_LISTS:
        return want_next_lists(m, ac, first_pcp_lock)
    if context.stage == LISTS_LOCKED:
        return want_zone(m, ac)
    assert context.stage == DRAIN_PCP, "a drain that waits for nothing"
    if drain_locked(m, ac) == DONE:
        context.pcp = lists_after(m, int(context.pcp))
    context.stage = NEXT_LISTS
    return want_to_go_on(m, ac)


@small
def want_next_lists(m: Machine, ac: ContextIdx, first_pcp_lock: LockIdx) -> int:
    """Want the lock of the next lists that are not empty, or nothing more."""
    context = m.contexts[ac]
    while context.pcp != NO_PCP:
        if m.pcps[context.pcp].count > 0:
            context.zone = zone_of_pcp(m, int(context.pcp))
            context.stage = LISTS_LOCKED
            return want_lock(m, ac, pcp_lock(first_pcp_lock, int(context.zone)))
        context.pcp = lists_after(m, int(context.pcp))
    context.stage = PAGES_DONE
    return DONE


@small
def lists_after(m: Machine, p: PcpIdx) -> PcpIdx:
    """The lists that the walk comes to next, CPU by CPU and of each zone after zone, or NO_PCP."""
    cpu = cpu_of_pcp(m, p)
    z = zone_of_pcp(m, p) + 1
    if z == len(m.zones):
        z = 0
        cpu += 1
    return pcp_index(m, z, cpu) if cpu < m.params[0].nr_cpus else NO_PCP


@small
def want_zone(m: Machine, ac: ContextIdx) -> int:
    """Hold the lists and want their zone's lock; or go on, where they were emptied while it waited for them."""
    context = m.contexts[ac]
    if m.pcps[context.pcp].count == 0:
        context.stage = NEXT_LISTS
        return want_to_go_on(m, ac)
    hold_pcp(m, ac, int(context.pcp))
    context.stage = DRAIN_PCP
    return want_lock(m, ac, zone_lock(context.zone))


@small
def holder_waited_for(m: Machine, p: PcpIdx) -> CpuIdx:
    """The CPU that holds the lists whose lock a drain wants, or NO_CPU: it does not wait for empty ones."""
    return pcp_lock_holder(m, p) if m.pcps[p].count > 0 else NO_CPU


@core
def drain_all_pages(m: Machine, ac: ContextIdx) -> None:
    """Empty every CPU's lists of every zone, where every lock is free (kernel: drain_all_pages)."""
    for cpu in range(m.params[0].nr_cpus):
        for z in range(len(m.zones)):
            if m.zones[z].present_pages:
                wanted = drain_begin(m, ac, z, cpu)
                while wanted:
                    wanted = drain_locked(m, ac)
