"""How much a per-CPU list holds and moves where it tunes itself (since Linux 6.7; kernel: mm/page_alloc.c).

Batches grow while a CPU only allocates (alloc_factor) or only frees (free_count). `high` tunes
itself between high_min and high_max: up when refills follow each other, down when the zone is below
its high watermark. A drain gives back at most batch << batch_scale_max pages. A policy (see
`mm.kernels`); the others, with the same verbs, are `mm.pcp_fixed` and `mm.pcp_order0`, and `mm.pcp` chooses.

Leaves out what switches ZONE_RECLAIM_ACTIVE (kswapd). Invariant: high_min <= high_max, and what a
verb returns is at most what it says. Lock order: the caller holds the pcp lock; no zone lock.
"""

from kmsim.jit import core, small
from kmsim.jit_policies import verb
from kmsim.mm.indices import Order, PcpIdx, ZoneIdx
from kmsim.mm.minmax import clamp
from kmsim.mm.mmzone import (
    PAGE_ALLOC_COSTLY_ORDER,
    PCPF_FREE_HIGH_BATCH,
    PCPF_PREV_FREE_HIGH_ORDER,
    ZONE_BELOW_HIGH,
    ZONE_RECLAIM_ACTIVE,
    Machine,
)


@verb
@small
def note_alloc(m: Machine, p: PcpIdx) -> None:
    """Note an allocation: the next drain is to be smaller (kernel: rmqueue_pcplist)."""
    m.pcps[p].free_count >>= 1


@verb
@core
def nr_pcp_alloc(m: Machine, z: ZoneIdx, p: PcpIdx, order: Order) -> int:
    """How many blocks the next refill takes (kernel: nr_pcp_alloc)."""
    pcp = m.pcps[p]
    base_batch = pcp.batch
    high = clamp(pcp.high, pcp.high_min, pcp.high_max)
    pcp.high = high
    if high < base_batch:
        return 1
    batch = base_batch if order else base_batch << pcp.alloc_factor
    if pcp.high_min != pcp.high_max and not m.zones[z].zone_flags & ZONE_BELOW_HIGH:
        high = min(high + batch, pcp.high_max)
        pcp.high = high
    if order == 0:
        max_nr_alloc = max(high - pcp.count - base_batch, base_batch)
        if batch <= max_nr_alloc and pcp.alloc_factor < m.params[0].batch_scale_max:
            pcp.alloc_factor += 1
        batch = min(batch, max_nr_alloc)
    if batch > 1:
        batch = max(batch >> order, 2)
    return int(batch)


@verb
@small
def nr_to_drain(m: Machine, z: ZoneIdx, p: PcpIdx, order: Order) -> int:
    """After a free: how many pages to give back to the zone, 0 for none (kernel: free_unref_page_commit)."""
    pcp = m.pcps[p]
    pcp.alloc_factor >>= 1
    batch = pcp.batch
    free_high = False
    if order and order <= PAGE_ALLOC_COSTLY_ORDER:
        free_high = (
            pcp.free_count >= nr_before_free_high(m, p)
            and pcp.pcp_flags & PCPF_PREV_FREE_HIGH_ORDER != 0
            and (pcp.pcp_flags & PCPF_FREE_HIGH_BATCH == 0 or pcp.count >= batch)
        )
        pcp.pcp_flags |= PCPF_PREV_FREE_HIGH_ORDER
    else:
        pcp.pcp_flags &= ~PCPF_PREV_FREE_HIGH_ORDER
    if pcp.free_count < batch << m.params[0].batch_scale_max:
        pcp.free_count += 1 << order
    high = nr_pcp_high(m, z, p, free_high)
    if pcp.count < high:
        return 0
    return nr_pcp_free(m, p, high, free_high)


@small
def nr_before_free_high(m: Machine, p: PcpIdx) -> int:
    """How much must have been freed of late before a free of a larger block empties the lists."""
    pcp = m.pcps[p]
    return int(pcp.batch + pcp.high_min // 2) if m.params[0].free_high_late else int(pcp.batch)


@small
def nr_pcp_high(m: Machine, z: ZoneIdx, p: PcpIdx, free_high: bool) -> int:
    """The count at which a free drains, after `high` has been tuned (kernel: nr_pcp_high)."""
    pcp = m.pcps[p]
    batch = pcp.batch
    high_min = pcp.high_min
    high_max = pcp.high_max
    high = clamp(pcp.high, high_min, high_max)
    pcp.high = high
    if not high:
        return 0
    if free_high:
        pcp.high = max(high - (batch << m.params[0].batch_scale_max), high_min)
        return 0
    zone_flags = m.zones[z].zone_flags
    if zone_flags & ZONE_RECLAIM_ACTIVE:
        pcp.high = max(high - max(pcp.free_count, batch), high_min)
        return int(min(batch << 2, pcp.high))
    if high_min == high_max:
        return int(high)
    if zone_flags & ZONE_BELOW_HIGH:
        pcp.high = max(high - max(pcp.free_count, batch), high_min)
        high = max(pcp.count, high_min)
    elif pcp.count >= high:
        need_high = pcp.free_count + batch
        if pcp.high < need_high:
            pcp.high = clamp(need_high, high_min, high_max)
    return int(high)


@small
def nr_pcp_free(m: Machine, p: PcpIdx, high: int, free_high: bool) -> int:
    """How many pages one drain gives back (kernel: nr_pcp_free)."""
    pcp = m.pcps[p]
    batch = pcp.batch
    if free_high:
        return int(min(pcp.count, batch << m.params[0].batch_scale_max))
    if high < batch:
        return 1
    return clamp(pcp.free_count, batch, high - batch)


@verb
@core
def decay_pcp_high(m: Machine, p: PcpIdx) -> int:
    """Let `high` decay towards high_min; returns how many pages to drain then (kernel: decay_pcp_high)."""
    pcp = m.pcps[p]
    if pcp.high > pcp.high_min:
        pcp.high = max(pcp.count - (pcp.batch << m.params[0].batch_scale_max), pcp.high - (pcp.high >> 3), pcp.high_min)
    return int(max(pcp.count - pcp.high, 0))
