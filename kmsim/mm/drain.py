"""Emptying per-CPU lists: on request, and little by little while a CPU is idle (kernel: mm/page_alloc.c).

A drain gives back at most batch << batch_scale_max pages per hold of the zone's lock, as the
kernel does to let others in. Its verbs work like those of
`mm.page_alloc`; the CPU that runs the drain need not be the one whose list it is.
"""

from kmsim.jit import core
from kmsim.mm.indices import ContextIdx, CpuIdx, ZoneIdx
from kmsim.mm.mmzone import Machine, pcp_index
from kmsim.mm.pcp import decay_pcp_high, free_pcppages_bulk


@core
def drain_begin(m: Machine, ac: ContextIdx, z: ZoneIdx, cpu: CpuIdx) -> bool:
    """Start to empty a CPU's lists of one zone; is the lock wanted? (kernel: drain_pages_zone)"""
    context = m.contexts[ac]
    context.zone = z
    context.pcp = pcp_index(m, z, cpu)
    return bool(m.pcps[context.pcp].count > 0)


@core
def drain_locked(m: Machine, ac: ContextIdx) -> bool:
    """Give one batch back; is the lock wanted again? What was freed meanwhile is drained as well."""
    context = m.contexts[ac]
    pcp = m.pcps[context.pcp]
    nr_left = pcp.count
    nr_pages = min(nr_left, pcp.batch << m.params[0].batch_scale_max)
    free_pcppages_bulk(m, ac, context.pcp, nr_pages, 0)
    return bool(nr_left > nr_pages and pcp.count > 0)


@core
def decay_begin(m: Machine, ac: ContextIdx, z: ZoneIdx, cpu: CpuIdx) -> bool:
    """Start vmstat's periodic trimming of a CPU's lists; is the lock wanted? (kernel: decay_pcp_high)"""
    context = m.contexts[ac]
    context.zone = z
    context.pcp = pcp_index(m, z, cpu)
    context.nr_wanted = decay_pcp_high(m, int(context.pcp))
    return bool(context.nr_wanted > 0)


@core
def decay_locked(m: Machine, ac: ContextIdx) -> bool:
    """Give one batch of the surplus back; is the lock wanted again?"""
    context = m.contexts[ac]
    nr_pages = min(context.nr_wanted, m.pcps[context.pcp].batch)
    free_pcppages_bulk(m, ac, context.pcp, nr_pages, 0)
    context.nr_wanted -= nr_pages
    return bool(context.nr_wanted > 0)


@core
def drain_all_pages(m: Machine, ac: ContextIdx) -> None:
    """Empty every CPU's lists of every zone, where every lock is free (kernel: drain_all_pages)."""
    for cpu in range(m.params[0].nr_cpus):
        for z in range(len(m.zones)):
            if m.zones[z].present_pages:
                wanted = drain_begin(m, ac, z, cpu)
                while wanted:
                    wanted = drain_locked(m, ac)
