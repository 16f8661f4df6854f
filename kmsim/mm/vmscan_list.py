"""Scanning one LRU list, some pages at once: what is taken off it, and what comes back (kernel: mm/vmscan.c).

An inactive list is shrunk in three steps: folios are isolated from its tail (with the node's lru_lock), each is looked
at (see `mm.vmscan_folio`; without the lock), and what was not freed goes back. An active list likewise: its folios
become inactive. `mm.vmscan` goes from step to step. The numbers of a scan stand in the request's reclaim record.

Leaves out executable pages, which stay active when they were used. Invariant: every isolated folio is freed or put
back. Lock order: a docstring says where the caller holds the node's lru_lock; no other lock is held then.
"""

from kmsim.jit import core, small
from kmsim.mm.indices import ContextIdx
from kmsim.mm.list import list_add, list_del, list_empty, list_last, list_move, list_splice
from kmsim.mm.lru import (
    folio_add_lru,
    folio_clear,
    folio_evictable,
    folio_flags,
    folio_nr_pages,
    folio_set,
    is_file_list,
    lru_add_drain,
    lru_head,
    lru_note_cost,
    lruvec_add_folio,
    mod_node_state,
    update_lru_size,
    workingset_age_nonresident,
)
from kmsim.mm.lru_records import (
    ANON,
    FILE,
    FOLIO_ACTIVE,
    FOLIO_WORKINGSET,
    GOES_BACK,
    HOLD,
    NR_ISOLATED,
    NR_ZONE_TYPES,
    PAGEVEC_SIZE,
    PGACTIVATE,
    PGDEACTIVATE,
    PGREFILL,
    PGSCAN_ANON,
    PGSCAN_DIRECT,
    PGSCAN_SKIP,
    PGSTEAL_ANON,
    PGSTEAL_DIRECT,
    SKIPPED,
)
from kmsim.mm.mmzone import Machine, node_zone
from kmsim.mm.trace import TRACE_ISOLATED, TRACE_SHRUNK_ACTIVE, TRACE_SHRUNK_INACTIVE, trace, trace_more
from kmsim.mm.vmscan_folio import folio_referenced, shrink_folio
from kmsim.mm.zonelist import page_zone


@small
def reclaim_list(m: Machine, ac: ContextIdx, which: int) -> int:
    """The head of one of a reclaim's own lists."""
    return int(m.lru.reclaims[ac].lists) + which


@core
def isolate_lru_folios(m: Machine, ac: ContextIdx) -> None:
    """Take folios off the tail of the list; the caller holds the lru_lock (kernel: isolate_lru_folios).

    Those of too high a zone are not counted, and go to the head of the list.
    """
    lru_add_drain(m, ac)
    reclaim = m.lru.reclaims[ac]
    reclaim.total_scan = reclaim.nr_taken = 0
    for zone_type in range(NR_ZONE_TYPES):
        reclaim.skipped_of_type[zone_type] = reclaim.taken_of_type[zone_type] = 0
    head = lru_head(m, int(reclaim.node), int(reclaim.lru))
    scan = 0
    while scan < reclaim.nr_to_scan and not list_empty(m, head):
        pfn = list_last(m, head)
        nr_pages = folio_nr_pages(m, pfn)
        reclaim.total_scan += nr_pages
        zone_type = int(m.zones[page_zone(m, pfn)].zone_type)
        if zone_type > reclaim.reclaim_idx:
            reclaim.skipped_of_type[zone_type] += nr_pages
            list_move(m, ac, pfn, reclaim_list(m, ac, SKIPPED))
            continue
        scan += nr_pages
        m.pages[pfn].page_flags = 0
        reclaim.nr_taken += nr_pages
        reclaim.taken_of_type[zone_type] += nr_pages
        m.lru.work[0].folios_moved += 1
        list_move(m, ac, pfn, reclaim_list(m, ac, HOLD))
    list_splice(m, ac, reclaim_list(m, ac, SKIPPED), head)
    count_isolated(m, ac)


@core
def count_isolated(m: Machine, ac: ContextIdx) -> None:
    """Count what was isolated, and skipped."""
    reclaim = m.lru.reclaims[ac]
    lru = int(reclaim.lru)
    skipped = 0
    for zone_type in range(NR_ZONE_TYPES):
        skipped += reclaim.skipped_of_type[zone_type]
        m.lru.vm_events[PGSCAN_SKIP + zone_type] += reclaim.skipped_of_type[zone_type]
    trace(m, TRACE_ISOLATED, reclaim.reclaim_idx, reclaim.order, reclaim.nr_to_scan, reclaim.total_scan)
    trace_more(m, 5, skipped, reclaim.nr_taken, lru, 0)
    node, cpu = int(reclaim.node), int(m.contexts[ac].cpu)
    for zone_type in range(NR_ZONE_TYPES):
        if reclaim.taken_of_type[zone_type]:
            update_lru_size(m, node_zone(m, node, zone_type), cpu, lru, -int(reclaim.taken_of_type[zone_type]))
    mod_node_state(m, node, cpu, NR_ISOLATED + is_file_list(lru), int(reclaim.nr_taken))


@core
def isolate_inactive(m: Machine, ac: ContextIdx) -> None:
    """The first step of shrinking an inactive list; the caller holds the lru_lock (kernel: shrink_inactive_list)."""
    isolate_lru_folios(m, ac)
    reclaim = m.lru.reclaims[ac]
    reclaim.nr_scanned_in_all += reclaim.total_scan
    m.lru.vm_events[PGSCAN_DIRECT] += reclaim.total_scan
    m.lru.vm_events[PGSCAN_ANON + is_file_list(int(reclaim.lru))] += reclaim.total_scan
    reclaim.nr_of_list = reclaim.nr_dirty = reclaim.nr_ref_keep = reclaim.nr_pageout = 0
    reclaim.nr_activate[ANON] = reclaim.nr_activate[FILE] = 0
    reclaim.nr_of_batch = 0


@core
def shrink_folio_list(m: Machine, ac: ContextIdx) -> None:
    """Look at isolated folios until a batch is full, or none is left (kernel: shrink_folio_list).

    Up to Linux 6.1, all are looked at before the first is freed.
    """
    reclaim = m.lru.reclaims[ac]
    hold = reclaim_list(m, ac, HOLD)
    while not list_empty(m, hold):
        pfn = list_last(m, hold)
        list_del(m, ac, pfn)
        shrink_folio(m, ac, pfn)
        if reclaim.nr_of_batch == PAGEVEC_SIZE and m.params[0].folio_reclaim:
            return
    m.lru.vm_events[PGACTIVATE] += reclaim.nr_activate[ANON] + reclaim.nr_activate[FILE]


@core
def put_back_inactive(m: Machine, ac: ContextIdx) -> None:
    """The last step: what was kept goes back; the caller holds the lru_lock (kernel: shrink_inactive_list)."""
    reclaim = m.lru.reclaims[ac]
    move_folios_to_lru(m, ac)
    node, is_file = int(reclaim.node), is_file_list(int(reclaim.lru))
    mod_node_state(m, node, int(m.contexts[ac].cpu), NR_ISOLATED + is_file, -int(reclaim.nr_taken))
    reclaim.nr_reclaimed_in_all += reclaim.nr_of_list
    m.lru.vm_events[PGSTEAL_DIRECT] += reclaim.nr_of_list
    m.lru.vm_events[PGSTEAL_ANON + is_file] += reclaim.nr_of_list
    lru_note_cost(m, node, is_file, int(reclaim.nr_pageout), int(reclaim.total_scan - reclaim.nr_of_list))
    reclaim.nr_reclaimed_of_lruvec += reclaim.nr_of_list
    trace(m, TRACE_SHRUNK_INACTIVE, reclaim.total_scan, reclaim.nr_of_list, reclaim.nr_dirty, 0)
    trace_more(m, 7, reclaim.nr_activate[ANON], reclaim.nr_activate[FILE], reclaim.nr_ref_keep, 0)
    trace_more(m, 11, reclaim.priority, is_file, 0, 0)


@core
def move_folios_to_lru(m: Machine, ac: ContextIdx) -> int:
    """Put the folios that are kept on their lists; how many pages that was (kernel: move_folios_to_lru)."""
    reclaim = m.lru.reclaims[ac]
    kept = reclaim_list(m, ac, GOES_BACK)
    nr_moved = 0
    while not list_empty(m, kept):
        pfn = list_last(m, kept)
        list_del(m, ac, pfn)
        if not folio_evictable(folio_flags(m, pfn)):
            putback_lru(m, ac, pfn)
            continue
        lruvec_add_folio(m, ac, pfn)
        nr_moved += folio_nr_pages(m, pfn)
        if folio_flags(m, pfn) & FOLIO_ACTIVE:
            workingset_age_nonresident(m, int(reclaim.node), folio_nr_pages(m, pfn))
    return nr_moved


@small
def putback_lru(m: Machine, ac: ContextIdx, pfn: int) -> None:
    """Give back a folio that turned out to be unevictable; it goes by way of the batch (kernel: folio_putback_lru)."""
    if folio_add_lru(m, ac, pfn):
        lru_add_drain(m, ac)


@core
def isolate_active(m: Machine, ac: ContextIdx) -> None:
    """The first step of shrinking an active list; the caller holds the lru_lock (kernel: shrink_active_list)."""
    isolate_lru_folios(m, ac)
    m.lru.vm_events[PGREFILL] += m.lru.reclaims[ac].total_scan


@core
def deactivate_folios(m: Machine, ac: ContextIdx) -> None:
    """The step between: every folio is to become inactive, whether it was used or not (kernel: shrink_active_list)."""
    hold = reclaim_list(m, ac, HOLD)
    while not list_empty(m, hold):
        pfn = list_last(m, hold)
        list_del(m, ac, pfn)
        if folio_evictable(folio_flags(m, pfn)):
            folio_referenced(m, pfn)
            folio_clear(m, pfn, FOLIO_ACTIVE)
            folio_set(m, pfn, FOLIO_WORKINGSET)
        list_add(m, ac, pfn, reclaim_list(m, ac, GOES_BACK))


@core
def put_back_active(m: Machine, ac: ContextIdx) -> None:
    """The last step; the caller holds the lru_lock (kernel: shrink_active_list)."""
    reclaim = m.lru.reclaims[ac]
    nr_deactivated = move_folios_to_lru(m, ac)
    m.lru.vm_events[PGDEACTIVATE] += nr_deactivated
    is_file = is_file_list(int(reclaim.lru))
    mod_node_state(m, int(reclaim.node), int(m.contexts[ac].cpu), NR_ISOLATED + is_file, -int(reclaim.nr_taken))
    trace(m, TRACE_SHRUNK_ACTIVE, reclaim.nr_taken, 0, nr_deactivated, 0)
    trace_more(m, 5, reclaim.priority, is_file, 0, 0)
