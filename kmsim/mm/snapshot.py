"""A whole machine state as plain lists, in and out, for boots from a given state and for comparing.

A `ZoneState` says what a zone's free lists, pageblocks and per-CPU lists hold, head first. It is
the form in which real kernels' states were recorded and in which generated states are made.
`load` takes the lists as they are given; `mm.recount.validate` then checks that they are consistent.
`copy_machine` gives a machine of its own in the same state, for a question that is not to change it.
"""

from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from kmsim.mm.indices import Order, PcpListIdx
from kmsim.mm.mmzone import (
    MIGRATE_HIGHATOMIC,
    MIGRATE_TYPES,
    NR_LOWORDER_PCP_LISTS,
    NR_PCP_LISTS,
    NR_WMARK,
    PCP_MT_SHIFT,
    PG_BUDDY,
    PG_PCP,
    Machine,
    node_zone,
    pcp_index,
    pcps_of_zone,
)
from kmsim.mm.pageblock import free_list_head
from kmsim.mm.pcp import pindex_to_migratetype, pindex_to_order
from kmsim.mm.zonelist import build_all_zonelists

Pfns = NDArray[np.int64]
RECORDED_PCP_FIELDS = ("count", "high", "high_min", "high_max", "batch", "pcp_flags", "alloc_factor", "free_count")
PCP_FIELDS = (*RECORDED_PCP_FIELDS, "free_factor")


def copy_machine(m: Machine) -> Machine:
    """A machine of its own in the same state, with the same policies."""
    arrays: dict[str, Any] = {name: part.copy() for name, part in m._asdict().items() if isinstance(part, np.ndarray)}
    return m._replace(**arrays)


@dataclass
class PcpState:
    """One CPU's lists of one zone: the counters of `PCP_FIELDS`, and pfns by list index, head first.

    `pending` is what the CPU has counted of the zone's free pages and not yet folded into its counter.
    """

    counters: dict[str, int]
    lists: dict[int, Pfns] = field(default_factory=dict)
    pending: int = 0


@dataclass
class ZoneState:
    """One zone. `lists` maps (order, migratetype) to pfns, head first; `pageblocks` are migratetypes.

    `pageblocks[0]` is the pageblock that holds `start_pfn`. `watermark` has no boost in it.
    """

    node: int
    zone_type: int
    start_pfn: int
    spanned_pages: int
    present_pages: int
    managed_pages: int
    watermark: list[int]
    watermark_boost: int
    lowmem_reserve: list[int]
    zone_flags: int
    nr_reserved_highatomic: int
    pageblocks: NDArray[np.uint8]
    lists: dict[tuple[int, int], Pfns]
    pcps: list[PcpState]
    vm_numa_event: list[int] = field(default_factory=list)  # empty: none counted

    def nr_free_pages(self) -> int:
        """Pages on the free lists."""
        return sum(len(pfns) << order for (order, _), pfns in self.lists.items())


def load(m: Machine, states: list[ZoneState]) -> None:
    """Put the given zones into a new machine; a zone's counter is short of its CPUs' pending deltas."""
    for state in states:
        z = node_zone(m, state.node, state.zone_type)
        zone = m.zones[z]
        zone.start_pfn = state.start_pfn
        zone.end_pfn = state.start_pfn + state.spanned_pages
        zone.present_pages = state.present_pages
        zone.managed_pages = state.managed_pages
        zone.watermark[: len(state.watermark)] = state.watermark
        zone.watermark_boost = state.watermark_boost
        zone.lowmem_reserve[:] = state.lowmem_reserve
        zone.zone_flags = state.zone_flags
        zone.nr_reserved_highatomic = state.nr_reserved_highatomic
        zone.vm_numa_event[: len(state.vm_numa_event)] = state.vm_numa_event
        first = state.start_pfn >> int(m.params[0].pageblock_order)
        m.pageblocks[first : first + len(state.pageblocks)] = state.pageblocks
        for (order, migratetype), pfns in state.lists.items():
            link(m, free_list_head(m, z, order, migratetype), pfns, order, PG_BUDDY)
            zone.nr_free[order] += len(pfns)
            if migratetype == MIGRATE_HIGHATOMIC and m.params[0].lists_by_pageblock:
                zone.nr_free_highatomic += len(pfns) << order
        zone.nr_free_pages = state.nr_free_pages()
        for cpu, pcp_state in enumerate(state.pcps):
            pcp = m.pcps[pcp_index(m, z, cpu)]
            for name, value in pcp_state.counters.items():
                pcp[name] = value
            pcp.vm_stat_diff = pcp_state.pending
            zone.nr_free_pages -= pcp_state.pending
            for pindex, pfns in pcp_state.lists.items():
                order = pindex_to_order(pindex, int(m.params[0].pmd_order))
                link(m, int(pcp.lists) + pindex, pfns, order, PG_PCP)
                set_pcp_migratetypes(m, pindex, pfns)
    build_all_zonelists(m)


def set_pcp_migratetypes(m: Machine, pindex: PcpListIdx, pfns: Pfns) -> None:
    """Say of blocks on a per-CPU list which type they had when they came there: the list's, or their pageblocks'."""
    migratetypes = np.full(len(pfns), pindex_to_migratetype(pindex), np.uint8)
    if pindex >= NR_LOWORDER_PCP_LISTS:
        migratetypes = m.pageblocks[pfns >> int(m.params[0].pageblock_order)]
    m.pages["page_flags"][pfns] |= migratetypes << PCP_MT_SHIFT


def link(m: Machine, head: int, pfns: Pfns, order: Order, page_flags: int) -> None:
    """Make the (empty) list at `head` hold these blocks, in this order."""
    if not len(pfns):
        return
    ring = np.concatenate(([head], pfns, [head]))
    m.pages["next"][ring[:-1]] = ring[1:]
    m.pages["prev"][ring[1:]] = ring[:-1]
    m.pages["order"][pfns] = order
    m.pages["page_flags"][pfns] = page_flags


def walk(m: Machine, head: int) -> list[int]:
    """The pfns on a list, head first."""
    pfns = []
    following = m.pages["next"]
    pfn = int(following[head])
    while pfn != head:
        pfns.append(pfn)
        pfn = int(following[pfn])
    return pfns


def save(m: Machine) -> list[ZoneState]:
    """The state of every populated zone; empty lists are left out."""
    pageblock_order = int(m.params[0].pageblock_order)
    states = []
    for z, zone in enumerate(m.zones):
        if not zone.present_pages:
            continue
        lists = {}
        for order in range(int(m.params[0].max_page_order) + 1):
            for migratetype in range(MIGRATE_TYPES):
                pfns = walk(m, free_list_head(m, z, order, migratetype))
                if pfns:
                    lists[order, migratetype] = np.array(pfns)
        pcps = []
        for pcp in pcps_of_zone(m, z):
            held = {i: walk(m, int(pcp.lists) + i) for i in range(NR_PCP_LISTS)}
            pcps.append(
                PcpState(
                    counters={name: int(pcp[name]) for name in PCP_FIELDS},
                    lists={i: np.array(pfns) for i, pfns in held.items() if pfns},
                )
            )
        first = int(zone.start_pfn) >> pageblock_order
        last = (int(zone.end_pfn) - 1) >> pageblock_order
        states.append(
            ZoneState(
                node=int(zone.node),
                zone_type=int(zone.zone_type),
                start_pfn=int(zone.start_pfn),
                spanned_pages=int(zone.end_pfn - zone.start_pfn),
                present_pages=int(zone.present_pages),
                managed_pages=int(zone.managed_pages),
                watermark=[int(mark) for mark in zone.watermark[:NR_WMARK]],
                watermark_boost=int(zone.watermark_boost),
                lowmem_reserve=[int(pages) for pages in zone.lowmem_reserve],
                zone_flags=int(zone.zone_flags),
                nr_reserved_highatomic=int(zone.nr_reserved_highatomic),
                pageblocks=m.pageblocks[first : last + 1].copy(),
                lists=lists,
                pcps=pcps,
                vm_numa_event=zone.vm_numa_event.tolist(),
            )
        )
    return states
