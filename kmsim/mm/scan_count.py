"""How much of each LRU list is scanned (kernel: prepare_scan_control, get_scan_count of mm/vmscan.c).

Files are scanned alone while there are enough inactive ones that are not missed, or where nothing can be swapped; else
both types share the scan by what each has cost lately and by swappiness. Active lists are looked at only where too few
pages are inactive, or where evicted pages came back.

Leaves out memory cgroups, demotion to slower nodes, proactive reclaim. Invariant: only the request's reclaim record is
changed. Lock order: reads counters without locks.
"""

from kmsim.jit import core, small
from kmsim.mm.indices import ContextIdx, NodeIdx, ZoneIdx
from kmsim.mm.lru import inactive_is_low, is_file_list, node_state, zone_lru_state, zone_lru_state_snapshot
from kmsim.mm.lru_records import (
    ANON,
    FILE,
    LRU_ACTIVE_ANON,
    LRU_ACTIVE_FILE,
    LRU_INACTIVE_ANON,
    LRU_INACTIVE_FILE,
    NR_EVICTABLE_LISTS,
    SWAP_CLUSTER_MAX,
    WORKINGSET_ACTIVATE,
)
from kmsim.mm.mmzone import WMARK_HIGH, Machine, node_zone
from kmsim.mm.trace import TRACE_SCAN_COUNT, trace, trace_more
from kmsim.mm.vmstat import zone_page_state_snapshot
from kmsim.mm.watermark import wmark_pages

MAX_SWAPPINESS = 200
DEACTIVATE_ANON, DEACTIVATE_FILE = 1 << ANON, 1 << FILE
SCAN_EQUAL, SCAN_FRACT, SCAN_ANON, SCAN_FILE = range(4)


@small
def can_reclaim_anon_pages(m: Machine) -> bool:
    """Is there room in swap? (kernel: can_reclaim_anon_pages)"""
    return bool(m.lru.swap[0].nr_free > 0)


@core
def zone_reclaimable_pages(m: Machine, z: ZoneIdx) -> int:
    """Pages that reclaim could come by; where there are none, the free ones (kernel: zone_reclaimable_pages)."""
    pages = zone_lru_state_snapshot(m, z, LRU_INACTIVE_FILE) + zone_lru_state_snapshot(m, z, LRU_ACTIVE_FILE)
    if can_reclaim_anon_pages(m):
        pages += zone_lru_state_snapshot(m, z, LRU_INACTIVE_ANON) + zone_lru_state_snapshot(m, z, LRU_ACTIVE_ANON)
    return pages if pages else zone_page_state_snapshot(m, z)


@core
def prepare_scan_control(m: Machine, ac: ContextIdx) -> None:
    """Find out how the node that is to be shrunk stands (kernel: prepare_scan_control)."""
    reclaim = m.lru.reclaims[ac]
    node = int(reclaim.node)
    lruvec = m.lru.lruvecs[node]
    reclaim.anon_cost = lruvec.anon_cost
    reclaim.file_cost = lruvec.file_cost
    if reclaim.force_deactivate:
        may_deactivate = DEACTIVATE_ANON | DEACTIVATE_FILE
    else:
        may_deactivate = 0
        for is_file in (ANON, FILE):
            came_back = node_state(m, node, WORKINGSET_ACTIVATE + is_file) != lruvec.refaults[is_file]
            if came_back or inactive_is_low(m, node, is_file):
                may_deactivate |= 1 << is_file
    reclaim.may_deactivate = may_deactivate
    inactive_file = node_state(m, node, LRU_INACTIVE_FILE)
    reclaim.cache_trim_mode = inactive_file >> reclaim.priority != 0 and may_deactivate & DEACTIVATE_FILE == 0
    reclaim.file_is_tiny = file_is_tiny(m, node, int(reclaim.priority), may_deactivate)


@core
def file_is_tiny(m: Machine, node: NodeIdx, priority: int, may_deactivate: int) -> bool:
    """Are there so few file pages that only anonymous ones can bring the node above its marks?"""
    free = 0
    high = 0
    for z in range(node_zone(m, node, 0), node_zone(m, node, int(m.nodes[node].nr_zones))):
        if m.zones[z].managed_pages:
            free += max(int(m.zones[z].nr_free_pages), 0)
            high += wmark_pages(m, z, WMARK_HIGH)
    files = node_state(m, node, LRU_ACTIVE_FILE) + node_state(m, node, LRU_INACTIVE_FILE)
    anon = node_state(m, node, LRU_INACTIVE_ANON)
    return files + free <= high and may_deactivate & DEACTIVATE_ANON == 0 and anon >> priority != 0


@core
def scan_balance(m: Machine, ac: ContextIdx) -> int:
    """Which types are scanned, SCAN_...? (kernel: get_scan_count)"""
    reclaim = m.lru.reclaims[ac]
    if not can_reclaim_anon_pages(m):
        return SCAN_FILE
    if reclaim.priority == 0 and m.lru.swap[0].swappiness:
        return SCAN_EQUAL
    if reclaim.file_is_tiny:
        return SCAN_ANON
    return SCAN_FILE if reclaim.cache_trim_mode else SCAN_FRACT


@core
def get_scan_count(m: Machine, ac: ContextIdx) -> None:
    """How many pages of each list are to be scanned at this priority (kernel: get_scan_count)."""
    reclaim = m.lru.reclaims[ac]
    balance = scan_balance(m, ac)
    swappiness = int(m.lru.swap[0].swappiness)
    total_cost = reclaim.anon_cost + reclaim.file_cost
    anon_cost = total_cost + reclaim.anon_cost
    file_cost = total_cost + reclaim.file_cost
    total_cost = anon_cost + file_cost
    anon_part = swappiness * (total_cost + 1) // (anon_cost + 1)
    file_part = (MAX_SWAPPINESS - swappiness) * (total_cost + 1) // (file_cost + 1)
    for lru in range(NR_EVICTABLE_LISTS):
        is_file = is_file_list(lru)
        scan = lruvec_lru_size(m, ac, lru) >> reclaim.priority
        if balance == SCAN_FRACT:
            scan = scan * (file_part if is_file else anon_part) // (anon_part + file_part)
        elif balance != SCAN_EQUAL and (balance == SCAN_FILE) != (is_file == FILE):
            scan = 0
        reclaim.nr[lru] = scan
        reclaim.targets[lru] = scan
    trace(m, TRACE_SCAN_COUNT, reclaim.priority, reclaim.nr[0], reclaim.nr[1], reclaim.nr[2])
    trace_more(m, 5, reclaim.nr[3], reclaim.anon_cost, reclaim.file_cost, reclaim.may_deactivate)
    trace_more(m, 9, reclaim.cache_trim_mode, reclaim.file_is_tiny, SWAP_CLUSTER_MAX, 0)


@core
def lruvec_lru_size(m: Machine, ac: ContextIdx, lru: int) -> int:
    """Pages of a list that the request could use (kernel: lruvec_lru_size)."""
    reclaim = m.lru.reclaims[ac]
    node = int(reclaim.node)
    pages = 0
    for z in range(node_zone(m, node, 0), node_zone(m, node, int(reclaim.reclaim_idx)) + 1):
        if m.zones[z].managed_pages:
            pages += zone_lru_state(m, z, lru)
    return pages


@core
def snapshot_refaults(m: Machine, node: NodeIdx) -> None:
    """Remember how many evicted pages have come back (kernel: snapshot_refaults)."""
    for is_file in (ANON, FILE):
        m.lru.lruvecs[node].refaults[is_file] = node_state(m, node, WORKINGSET_ACTIVATE + is_file)
