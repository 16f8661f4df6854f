"""How much a per-CPU list holds and moves where its size is fixed (before Linux 6.7; kernel: mm/page_alloc.c).

`high` is high_min and never changes; a refill takes one batch; a drain doubles (free_factor) while a CPU only frees, at
most params.batch_scale_max times (6.1.y). A policy (see `mm.kernels`); the others, with the same verbs, are
`mm.pcp_tuned` and `mm.pcp_order0`, and `mm.pcp` chooses.

Leaves out what switches ZONE_RECLAIM_ACTIVE (kswapd). Invariant: batch << free_factor is less than
twice the largest drain. Lock order: the caller holds the pcp lock; no zone lock.
"""

from kmsim.jit import core, small
from kmsim.jit_policies import verb
from kmsim.mm.indices import Order, PcpIdx, ZoneIdx
from kmsim.mm.minmax import clamp
from kmsim.mm.mmzone import PAGE_ALLOC_COSTLY_ORDER, ZONE_RECLAIM_ACTIVE, Machine


@verb
@small
def note_alloc(m: Machine, p: PcpIdx) -> None:
    """Note an allocation: the next drain is to be smaller (kernel: rmqueue_pcplist)."""
    m.pcps[p].free_factor >>= 1


@verb
@small
def nr_pcp_alloc(m: Machine, _z: ZoneIdx, p: PcpIdx, order: Order) -> int:
    """How many blocks the next refill takes (kernel: __rmqueue_pcplist)."""
    batch = m.pcps[p].batch
    if batch > 1:
        batch = max(batch >> order, 2)
    return int(batch)


@verb
@core
def nr_to_drain(m: Machine, z: ZoneIdx, p: PcpIdx, order: Order) -> int:
    """After a free: how many pages to give back to the zone, 0 for none (kernel: free_unref_page_commit)."""
    pcp = m.pcps[p]
    free_high = pcp.free_factor != 0 and order != 0 and order <= PAGE_ALLOC_COSTLY_ORDER
    high = nr_pcp_high(m, z, p, free_high)
    if pcp.count < high:
        return 0
    return nr_pcp_free(m, p, high, free_high)


@small
def nr_pcp_high(m: Machine, z: ZoneIdx, p: PcpIdx, free_high: bool) -> int:
    """The count at which a free drains (kernel: nr_pcp_high)."""
    high = m.pcps[p].high_min
    if free_high:
        return 0
    if high and m.zones[z].zone_flags & ZONE_RECLAIM_ACTIVE:
        return int(min(m.pcps[p].batch << 2, high))
    return int(high)


@small
def nr_pcp_free(m: Machine, p: PcpIdx, high: int, free_high: bool) -> int:
    """How many pages one drain gives back; the next one may be twice as large (kernel: nr_pcp_free)."""
    pcp = m.pcps[p]
    batch = pcp.batch
    if free_high:
        return int(pcp.count)
    if high < batch:
        return 1
    nr_pages = batch << pcp.free_factor
    if nr_pages < high - batch and pcp.free_factor < m.params[0].batch_scale_max:
        pcp.free_factor += 1
    return clamp(nr_pages, batch, high - batch)


@verb
@small
def decay_pcp_high(_m: Machine, _p: PcpIdx) -> int:
    """How many pages vmstat's periodic worker drains: none, since a fixed `high` does not decay."""
    return 0
