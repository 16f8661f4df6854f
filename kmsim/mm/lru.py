"""LRU lists: where folios stand, how many there are, what reclaiming them has cost (kernel: mm/swap.c, mm_inline.h).

A new folio waits in its CPU's batch, and comes to the head of its list when the batch is full; one that is activated
waits in another batch. Reclaim takes from the
tails. What a list's pages have cost lately (rotations, writes to swap) decides how the two types share the scan.

Leaves out the batches of folios that are deactivated or freed lazily, memory cgroups.
Invariant: nr pages of a list == its node's counter and its zones', each with the CPUs' pending deltas. The caller holds
the node's lru_lock, but where a docstring says otherwise.
"""

import numpy as np

from kmsim.jit import core, shared, small
from kmsim.mm.indices import ContextIdx, CpuIdx, NodeIdx, Pfn, ZoneIdx
from kmsim.mm.list import list_add, list_del
from kmsim.mm.lru_records import (
    ANON,
    FILE,
    FOLIO_ACTIVE,
    FOLIO_ALL,
    FOLIO_IN_BATCH,
    FOLIO_MLOCKED,
    FOLIO_SWAPBACKED,
    LRU_ACTIVE,
    LRU_ACTIVE_ANON,
    LRU_ACTIVE_FILE,
    LRU_FILE,
    LRU_INACTIVE_ANON,
    LRU_INACTIVE_FILE,
    LRU_UNEVICTABLE,
    NR_EVICTABLE_LISTS,
    OLD_PAGEVEC_SIZE,
    PAGEVEC_SIZE,
    PGACTIVATE,
    SWAP_CLUSTER_MAX,
    UNEVICTABLE_PGCULLED,
)
from kmsim.mm.mmzone import PG_LRU, Machine, pcp_index, pcps_of_zone
from kmsim.mm.zonelist import page_zone

GIB_SHIFT = 30


@small
def folio_flags(m: Machine, pfn: Pfn) -> int:
    """What a folio is; FOLIO_... of `mm.lru_records`."""
    return int(m.holders[pfn].folio_flags)


@small
def folio_set(m: Machine, pfn: Pfn, flags: int) -> None:
    """Set flags of a folio."""
    m.holders[pfn].folio_flags = folio_flags(m, pfn) | flags


@small
def folio_clear(m: Machine, pfn: Pfn, flags: int) -> None:
    """Clear flags of a folio."""
    m.holders[pfn].folio_flags = folio_flags(m, pfn) & (FOLIO_ALL ^ flags)


@small
def folio_nr_pages(m: Machine, pfn: Pfn) -> int:
    """The pages of a folio (kernel: folio_nr_pages)."""
    return 1 << int(m.pages[pfn].order)


@small
def folio_is_file_lru(flags: int) -> bool:
    """Is it a file's, and not swap's? (kernel: folio_is_file_lru)"""
    return flags & FOLIO_SWAPBACKED == 0


@small
def folio_evictable(flags: int) -> bool:
    """May it be reclaimed at all? (kernel: folio_evictable)"""
    return flags & FOLIO_MLOCKED == 0


@small
def folio_lru_list(flags: int) -> int:
    """The list for such a folio (kernel: folio_lru_list)."""
    if not folio_evictable(flags):
        return LRU_UNEVICTABLE
    lru = LRU_INACTIVE_FILE if folio_is_file_lru(flags) else LRU_INACTIVE_ANON
    return lru + LRU_ACTIVE if flags & FOLIO_ACTIVE else lru


@small
def is_file_list(lru: int) -> int:
    """FILE or ANON (kernel: is_file_lru)."""
    return FILE if lru >= LRU_FILE else ANON


@shared
def is_active_list(lru: int) -> bool:
    """Is it a list of active folios? (kernel: is_active_lru)"""
    return lru in (LRU_ACTIVE_ANON, LRU_ACTIVE_FILE)


@shared
def lru_head(m: Machine, node: NodeIdx, lru: int) -> Pfn:
    """The head of a node's LRU list."""
    return int(m.lru.lruvecs[node].lists) + lru


@shared
def node_cpu_index(m: Machine, node: NodeIdx, cpu: CpuIdx) -> int:
    """Where in `node_cpus` what a CPU has of a node is; that of all CPUs lies one behind the other."""
    return int(node * m.params[0].nr_cpus + cpu)


@small
def mod_node_state(m: Machine, node: NodeIdx, cpu: CpuIdx, item: int, delta: int) -> None:
    """Add to a node's counter, by way of the CPU's pending delta (kernel: __mod_node_page_state)."""
    record = m.lru.node_cpus[node_cpu_index(m, node, cpu)]
    pending = record.vm_stat_diff[item] + delta
    if abs(pending) > record.stat_threshold:
        m.lru.lruvecs[node].vm_stat[item] += pending
        pending = 0
    record.vm_stat_diff[item] = pending


@small
def mod_zone_lru_state(m: Machine, z: ZoneIdx, cpu: CpuIdx, item: int, delta: int) -> None:
    """Add to a zone's counter of LRU pages, by way of the CPU's pending delta (kernel: __mod_zone_page_state)."""
    p = pcp_index(m, z, cpu)
    record = m.lru.pcps[p]
    pending = record.vm_stat_diff[item] + delta
    if abs(pending) > m.pcps[p].stat_threshold:
        m.lru.zones[z].vm_stat[item] += pending
        pending = 0
    record.vm_stat_diff[item] = pending


@small
def node_state(m: Machine, node: NodeIdx, item: int) -> int:
    """A node's counter, without pending deltas; no lock is needed (kernel: node_page_state)."""
    return max(int(m.lru.lruvecs[node].vm_stat[item]), 0)


@small
def zone_lru_state(m: Machine, z: ZoneIdx, item: int) -> int:
    """A zone's counter of LRU pages, without pending deltas; no lock is needed (kernel: zone_page_state)."""
    return max(int(m.lru.zones[z].vm_stat[item]), 0)


@core
def zone_lru_state_snapshot(m: Machine, z: ZoneIdx, item: int) -> int:
    """The same with every CPU's pending delta (kernel: zone_page_state_snapshot)."""
    pages = int(m.lru.zones[z].vm_stat[item])
    for cpu in range(m.params[0].nr_cpus):
        pages += int(m.lru.pcps[pcp_index(m, z, cpu)].vm_stat_diff[item])
    return max(pages, 0)


@core
def update_lru_size(m: Machine, z: ZoneIdx, cpu: CpuIdx, lru: int, nr_pages: int) -> None:
    """Count pages that came to (or, negative, left) a list (kernel: update_lru_size)."""
    mod_node_state(m, int(m.zones[z].node), cpu, lru, nr_pages)
    mod_zone_lru_state(m, z, cpu, lru, nr_pages)


@core
def lruvec_add_folio(m: Machine, ac: ContextIdx, pfn: Pfn) -> None:
    """Put a folio at the head of its list; unevictable ones are counted only (kernel: lruvec_add_folio)."""
    z = page_zone(m, pfn)
    lru = folio_lru_list(folio_flags(m, pfn))
    m.lru.work[0].folios_moved += 1
    m.pages[pfn].page_flags = PG_LRU
    update_lru_size(m, z, int(m.contexts[ac].cpu), lru, folio_nr_pages(m, pfn))
    if lru != LRU_UNEVICTABLE:
        list_add(m, ac, pfn, lru_head(m, int(m.zones[z].node), lru))


@small
def lru_batch(m: Machine) -> int:
    """Folios in a CPU's batch (kernel: PAGEVEC_SIZE)."""
    return PAGEVEC_SIZE if m.params[0].folio_reclaim else OLD_PAGEVEC_SIZE


@core
def folio_add_lru(m: Machine, ac: ContextIdx, pfn: Pfn) -> bool:
    """Put a folio into the CPU's batch; is the batch to be flushed now? (kernel: folio_add_lru)

    No lock is needed. Folios of order > 0 do not wait.
    """
    batch = m.lru.cpus[m.contexts[ac].cpu]
    assert batch.nr_to_add < lru_batch(m), "a folio joins a full batch"
    batch.to_add[batch.nr_to_add] = pfn
    batch.nr_to_add += 1
    return bool(batch.nr_to_add == lru_batch(m) or int(m.pages[pfn].order) > 0)


@core
def lru_add_drain(m: Machine, ac: ContextIdx) -> None:
    """Put the folios of the CPU's batches on their lists, in the order in which they came (kernel: lru_add_drain)."""
    batch = m.lru.cpus[m.contexts[ac].cpu]
    for index in range(batch.nr_to_add):
        pfn = int(batch.to_add[index])
        if not folio_evictable(folio_flags(m, pfn)):
            folio_clear(m, pfn, FOLIO_ACTIVE)
            m.lru.vm_events[UNEVICTABLE_PGCULLED] += folio_nr_pages(m, pfn)
        lruvec_add_folio(m, ac, pfn)
    batch.nr_to_add = 0
    for index in range(batch.nr_to_activate):
        lru_activate(m, ac, int(batch.to_activate[index]))
    batch.nr_to_activate = 0


@core
def lru_activate(m: Machine, ac: ContextIdx, pfn: Pfn) -> None:
    """Move a folio of a batch to its active list, unless it is isolated or active by now (kernel: lru_activate)."""
    folio_clear(m, pfn, FOLIO_IN_BATCH)
    flags = folio_flags(m, pfn)
    if int(m.pages[pfn].page_flags) != PG_LRU or flags & FOLIO_ACTIVE or not folio_evictable(flags):
        return
    update_lru_size(m, page_zone(m, pfn), int(m.contexts[ac].cpu), folio_lru_list(flags), -folio_nr_pages(m, pfn))
    list_del(m, ac, pfn)
    folio_set(m, pfn, FOLIO_ACTIVE)
    lruvec_add_folio(m, ac, pfn)
    m.lru.vm_events[PGACTIVATE] += folio_nr_pages(m, pfn)


@core
def lru_note_cost(m: Machine, node: NodeIdx, is_file: int, nr_io: int, nr_rotated: int) -> None:
    """Remember what reclaiming pages of one type has cost; old costs fade (kernel: lru_note_cost).

    Up to Linux 6.1, rotations cost nothing.
    """
    lruvec = m.lru.lruvecs[node]
    cost = nr_io * SWAP_CLUSTER_MAX + nr_rotated if m.params[0].folio_reclaim else nr_io
    if is_file:
        lruvec.file_cost += cost
    else:
        lruvec.anon_cost += cost
    size = 0
    for lru in range(NR_EVICTABLE_LISTS):
        size += node_state(m, node, lru)
    if lruvec.file_cost + lruvec.anon_cost > size // 4:
        lruvec.file_cost //= 2
        lruvec.anon_cost //= 2


@small
def workingset_age_nonresident(m: Machine, node: NodeIdx, nr_pages: int) -> None:
    """Let the node's memory of what was evicted grow older (kernel: workingset_age_nonresident)."""
    m.lru.lruvecs[node].nonresident_age += nr_pages


@core
def inactive_is_low(m: Machine, node: NodeIdx, is_file: int) -> bool:
    """Are too few of the pages of a type inactive? No lock is needed (kernel: inactive_is_low)."""
    inactive = node_state(m, node, LRU_FILE * is_file)
    active = node_state(m, node, LRU_FILE * is_file + LRU_ACTIVE)
    gib = (inactive + active) >> (GIB_SHIFT - int(m.params[0].page_shift))
    ratio = int_sqrt(10 * gib) if gib else 1
    return inactive * ratio < active


@small
def int_sqrt(x: int) -> int:
    """The largest whole number whose square is not larger (kernel: int_sqrt)."""
    root = 0
    while (root + 1) * (root + 1) <= x:
        root += 1
    return root


def refresh_node_stat_thresholds(m: Machine) -> None:
    """Set the thresholds of node counters: the largest of the node's zones (kernel: refresh_zone_stat_thresholds)."""
    nr_cpus = int(m.params[0].nr_cpus)
    for z, zone in enumerate(m.zones):
        first = node_cpu_index(m, int(zone.node), 0)
        of_node = m.lru.node_cpus["stat_threshold"][first : first + nr_cpus]
        np.maximum(of_node, pcps_of_zone(m, z)["stat_threshold"], out=of_node)
