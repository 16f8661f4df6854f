"""Emptying per-CPU lists: on request, and little by little while a CPU is idle (kernel: mm/page_alloc.c).

A drain gives back at most batch << batch_scale_max pages per hold of the zone's lock, as the
kernel does to let others in. Its verbs work like those of
`mm.page_alloc`; the CPU that runs the drain need not be the one whose list it is. `drain_all_begin`
starts a walk through all lists.
"""

from kmsim.jit import core, small
from kmsim.mm.indices import ContextIdx, CpuIdx, LockIdx, ZoneIdx
from kmsim.mm.locks import zone_lock
from kmsim.mm.mmzone import Machine, pcp_index, zone_of_pcp
from kmsim.mm.pcp import decay_pcp_high, free_pcppages_bulk
from kmsim.mm.wants import DONE, want_lock


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
    nr_pages = min(nr_left, pcp.batch << m.params[0].batch_scale_max)
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
def drain_all_begin(m: Machine, ac: ContextIdx, first_pcp_lock: LockIdx) -> int:
    """Start to empty every CPU's lists of every zone; the first one's lock is wanted (kernel: drain_all_pages).

    Which lists, `contexts[ac].pcp` says; the caller holds their lock, which is only here waited for, while it drains.
    """
    m.contexts[ac].pcp = 0
    return want_lock(m, ac, first_pcp_lock)


@small
def skip_empty(m: Machine, ac: ContextIdx) -> bool:
    """If the lists that the drain has come to are empty, go on to the next; are they?"""
    context = m.contexts[ac]
    if m.pcps[context.pcp].count > 0:
        context.zone = zone_of_pcp(m, int(context.pcp))
        return False
    context.pcp += 1
    return True


@small
def drain_all_locked(m: Machine, ac: ContextIdx) -> None:
    """Give one batch back under the zone's lock, and go on to the next lists where that was all."""
    pcp_lock = int(m.contexts[ac].lock)
    if drain_locked(m, ac) == DONE:
        m.contexts[ac].pcp += 1
    m.contexts[ac].lock = pcp_lock  # which is wanted again


@core
def drain_all_pages(m: Machine, ac: ContextIdx) -> None:
    """Empty every CPU's lists of every zone, where every lock is free (kernel: drain_all_pages)."""
    for cpu in range(m.params[0].nr_cpus):
        for z in range(len(m.zones)):
            if m.zones[z].present_pages:
                wanted = drain_begin(m, ac, z, cpu)
                while wanted:
                    wanted = drain_locked(m, ac)
