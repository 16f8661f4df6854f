"""Recount the LRU lists and the page cache, and stop where two records disagree (slow: it looks at every folio).

Checked: links, folios on the list that their flags name, counters of nodes and zones against the lists, with the CPUs'
pending deltas; as many pages isolated as reclaims under way have taken, those asleep too; pages of the page cache and
their entries lead to each other. Leaves out unevictable folios, which are on no list.
Invariant: nothing is changed. Lock order: nothing else runs.
"""

from kmsim.jit import core
from kmsim.mm.indices import NodeIdx
from kmsim.mm.list import list_empty, list_first
from kmsim.mm.lru import (
    folio_flags,
    folio_is_file_lru,
    folio_lru_list,
    folio_nr_pages,
    is_file_list,
    lru_head,
    node_cpu_index,
)
from kmsim.mm.lru_records import (
    FOLIO_HAS_MAPPING,
    NR_EVICTABLE_LISTS,
    NR_ISOLATED,
    NR_LRU_TYPES,
    NR_RECLAIM_LISTS,
)
from kmsim.mm.mmzone import PG_LRU, Machine, pcp_index
from kmsim.mm.page_cache import holder_of_entry, page_of_entry
from kmsim.mm.process import recount_processes
from kmsim.mm.rmap import NO_HOLDER, holder_of
from kmsim.mm.vmscan import DEACTIVATE_FOLIOS, FREE_BATCH, LOOK_AT_FOLIOS, PUT_BACK, PUT_BACK_ACTIVE_LIST
from kmsim.mm.vmscan_asleep import Reclaims
from kmsim.mm.zonelist import page_zone


@core
def validate_lru(m: Machine, asleep: Reclaims) -> None:
    """Recount the machine's LRU lists, between two critical sections; AssertionError names what is inconsistent.

    `asleep` has the reclaims that are put away.
    """
    for node in range(len(m.nodes)):
        for lru in range(NR_EVICTABLE_LISTS):
            recount_lru_list(m, node, lru)
        for lru_type in range(NR_LRU_TYPES):
            isolated = counted_of_node(m, node, NR_ISOLATED + lru_type)
            taken = taken_from_node(m.lru.reclaims, node, lru_type) + taken_from_node(asleep, node, lru_type)
            assert isolated == taken, "pages are isolated, but no reclaim has them"
    for ac in range(len(m.lru.reclaims)):
        for which in range(NR_RECLAIM_LISTS):
            is_empty = list_empty(m, int(m.lru.reclaims[ac].lists) + which)
            assert is_empty or has_isolated(m.lru.reclaims, ac), "a reclaim that is over holds folios"
    recount_page_cache(m)
    recount_processes(m)


@core
def has_isolated(reclaims: Reclaims, n: int) -> bool:
    """Is a reclaim between the isolation of folios and their return?"""
    stage = reclaims[n].stage
    return stage in (LOOK_AT_FOLIOS, FREE_BATCH, PUT_BACK, DEACTIVATE_FOLIOS, PUT_BACK_ACTIVE_LIST)


@core
def taken_from_node(reclaims: Reclaims, node: NodeIdx, lru_type: int) -> int:
    """Pages of a type that those of these reclaims that are under way have taken off a node's lists."""
    taken = 0
    for n in range(len(reclaims)):
        reclaim = reclaims[n]
        if has_isolated(reclaims, n) and reclaim.node == node and is_file_list(int(reclaim.lru)) == lru_type:
            taken += int(reclaim.nr_taken)
    return taken


@core
def recount_page_cache(m: Machine) -> None:
    """Follow every entry of the page cache to its page, and every page of a file that is known to its entry."""
    nr_in_memory = 0
    for index in range(len(m.lru.page_cache)):
        entry = int(m.lru.page_cache[index])
        if entry > 0:
            pfn = page_of_entry(entry)
            assert holder_of(m, pfn) == holder_of_entry(index), "a page of the page cache has another holder"
            assert folio_flags(m, pfn) & FOLIO_HAS_MAPPING, "a page of the page cache is of no file"
            nr_in_memory += 1
    for pfn in range(m.params[0].nr_frames):
        if folio_flags(m, pfn) & FOLIO_HAS_MAPPING and folio_is_file_lru(folio_flags(m, pfn)):
            nr_in_memory -= int(holder_of(m, pfn) != NO_HOLDER)
    assert nr_in_memory == 0, "a page of a file is not in the page cache"


@core
def recount_lru_list(m: Machine, node: NodeIdx, lru: int) -> None:
    """Check a node's list and the counters of its pages."""
    head = lru_head(m, node, lru)
    nr_pages = 0
    before = head
    pfn = list_first(m, head)
    while pfn != head:
        page = m.pages[pfn]
        assert 0 <= pfn < m.params[0].nr_frames, "an LRU list runs into another list's head"
        assert int(page.prev) == before, "a list's links disagree"
        assert int(page.page_flags) == PG_LRU, "a page is on an LRU list and does not say so"
        assert folio_lru_list(folio_flags(m, pfn)) == lru, "a folio is on another list than its flags name"
        assert m.zones[page_zone(m, pfn)].node == node, "a folio is on the list of another node"
        nr_pages += folio_nr_pages(m, pfn)
        before = pfn
        pfn = int(page.next)
    assert int(m.pages[head].prev) == before, "a list's links disagree"
    assert counted_of_node(m, node, lru) == nr_pages, "a node's counter differs from its LRU list"
    counted = 0
    for z in range(len(m.zones)):
        if m.zones[z].node == node:
            counted += counted_of_zone(m, z, lru)
    assert counted == nr_pages, "the zones' counters differ from an LRU list"


@core
def counted_of_node(m: Machine, node: NodeIdx, item: int) -> int:
    """A node's counter with the CPUs' pending deltas."""
    counted = int(m.lru.lruvecs[node].vm_stat[item])
    for cpu in range(m.params[0].nr_cpus):
        counted += int(m.lru.node_cpus[node_cpu_index(m, node, cpu)].vm_stat_diff[item])
    return counted


@core
def counted_of_zone(m: Machine, z: int, item: int) -> int:
    """A zone's counter with the CPUs' pending deltas."""
    counted = int(m.lru.zones[z].vm_stat[item])
    for cpu in range(m.params[0].nr_cpus):
        counted += int(m.lru.pcps[pcp_index(m, z, cpu)].vm_stat_diff[item])
    return counted
