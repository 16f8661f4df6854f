"""How much a per-CPU list holds and moves where lists hold order 0 alone (Linux 5.10; kernel: mm/page_alloc.c).

`high` is six batches and never changes; a refill and a drain are one batch each, whatever the CPU does. A policy (see
`mm.kernels`); the others, with the same verbs, are `mm.pcp_tuned` and `mm.pcp_fixed`, and `mm.pcp` chooses.

Leaves out nothing that this kernel has. Invariant: what a verb returns depends on the lists' sizes alone. Lock order:
the caller holds the lists, which this kernel does by turning interrupts off; no zone lock.
"""

from kmsim.jit import small
from kmsim.jit_policies import verb
from kmsim.mm.indices import Order, PcpIdx, ZoneIdx
from kmsim.mm.mmzone import Machine


@verb
@small
def note_alloc(_m: Machine, _p: PcpIdx) -> None:
    """Note an allocation: this kernel does not."""


@verb
@small
def nr_pcp_alloc(m: Machine, _z: ZoneIdx, p: PcpIdx, _order: Order) -> int:
    """How many pages the next refill takes (kernel: __rmqueue_pcplist)."""
    return int(m.pcps[p].batch)


@verb
@small
def nr_to_drain(m: Machine, _z: ZoneIdx, p: PcpIdx, _order: Order) -> int:
    """After a free: how many pages to give back to the zone, 0 for none (kernel: free_unref_page_commit)."""
    pcp = m.pcps[p]
    return int(pcp.batch) if pcp.count >= pcp.high_min else 0


@verb
@small
def decay_pcp_high(_m: Machine, _p: PcpIdx) -> int:
    """How many pages vmstat's periodic worker drains: none, since a fixed `high` does not decay."""
    return 0
