"""Direct reclaim: a request that found no page frees some itself (kernel: mm/vmscan.c).

It scans the LRU lists of the nodes that it could use, a larger share at each priority from 12 down to 0, until 32 pages
were freed. Where nothing was, all priorities run once more, and a third time with active lists by force. Where
`params.folio_reclaim` is off, as in 5.10 and 6.1: there is no second pass; folios wait for their list in batches of 15;
what was isolated is freed at once, the last first; and only writes and refaults count as cost. Levels, each
a loop in the kernel:
    pass        the priorities (do_try_to_free_pages)
    node        the zones of the zonelist, each node once (shrink_zones); for a block of order > 0 again, while that
                helps (should_continue_reclaim)
    list        of each of the four lists its share, 32 pages at once (shrink_lruvec)
    step        of shrinking one list (see `mm.vmscan_list`)
Where a loop stands, the request's reclaim record says (`Lru.reclaims`). `reclaim_begin` starts one, `reclaim_resume`
carries on what was wanted (see `mm.wants`): the node's lru_lock, a zone's lock while a batch is freed, to go on.

Leaves out kswapd's own loop, memory cgroups, shrinkers of slab caches, throttling, the limit of isolated pages.
Invariant: between two calls each page is on an LRU list, isolated on one of the reclaim's own lists, or waits in the
context's list to be freed. Lock order: one lock at a time: the lru_lock, or a context's pcp lock and then a zone's.
"""

from kmsim.jit import core, small
from kmsim.mm.compaction import compact_gap, compaction_suitable, gfp_compaction_allowed
from kmsim.mm.folio_batch import free_folios_begin, free_folios_resume
from kmsim.mm.indices import ContextIdx, ZoneIdx
from kmsim.mm.lru import inactive_is_low, is_active_list, is_file_list, node_state
from kmsim.mm.lru_records import (
    ALLOCSTALL,
    ANON,
    LRU_ACTIVE,
    LRU_ACTIVE_ANON,
    LRU_ACTIVE_FILE,
    LRU_FILE,
    LRU_INACTIVE_ANON,
    LRU_INACTIVE_FILE,
    NR_EVICTABLE_LISTS,
    PAGEVEC_SIZE,
    SWAP_CLUSTER_MAX,
)
from kmsim.mm.mmzone import NO_ZONE, NUMA_NO_NODE, PAGE_ALLOC_COSTLY_ORDER, WMARK_HIGH, WMARK_MIN, Machine, node_zone
from kmsim.mm.scan_count import can_reclaim_anon_pages, get_scan_count, prepare_scan_control, snapshot_refaults
from kmsim.mm.trace import TRACE_RECLAIM_BEGINS, TRACE_RECLAIM_ENDS, trace
from kmsim.mm.vmscan_list import (
    deactivate_folios,
    isolate_active,
    isolate_inactive,
    put_back_active,
    put_back_inactive,
    shrink_folio_list,
)
from kmsim.mm.vmstat import zone_page_state_snapshot
from kmsim.mm.wants import DONE, want_lock, want_to_go_on
from kmsim.mm.watermark import wmark_pages, zone_watermark_ok
from kmsim.mm.zonelist import next_zoneref

DEF_PRIORITY = 12
NO_LIST = -1  # before the first list of a round, and behind the last that is shrunk
# What a reclaim does next.
(
    NEXT_NODE,
    SHRINK_NODE,
    NEXT_LIST,
    ISOLATE,
    LOOK_AT_FOLIOS,
    FREE_BATCH,
    PUT_BACK,
    ISOLATE_ACTIVE,
    DEACTIVATE_FOLIOS,
    PUT_BACK_ACTIVE_LIST,
    NODE_DONE,
    RECLAIM_DONE,
) = range(12)


@core
def reclaim_begin(m: Machine, ac: ContextIdx) -> int:
    """Start to reclaim for the context's request; what does that want? (kernel: try_to_free_pages)

    When it is done, `did_some_progress` says how many pages were freed.
    """
    context = m.contexts[ac]
    reclaim = m.lru.reclaims[ac]
    reclaim.gfp_mask = context.gfp
    reclaim.order = context.order
    reclaim.reclaim_idx = context.highest_zoneidx
    reclaim.force_deactivate = reclaim.skipped_deactivate = reclaim.full_walk = 0
    reclaim.compaction_ready = reclaim.nr_reclaimed = 0
    trace(m, TRACE_RECLAIM_BEGINS, reclaim.order, reclaim.gfp_mask, 0, 0)
    start_pass(m, ac)
    return reclaim_go(m, ac)


@small
def forget_totals(m: Machine, ac: ContextIdx) -> None:
    """What the context's request went through is noted elsewhere: the next one begins to count."""
    reclaim = m.lru.reclaims[ac]
    reclaim.nr_passes = 0
    reclaim.nr_retries = 0
    reclaim.nr_scanned_in_all = 0
    reclaim.nr_reclaimed_in_all = 0


@core
def reclaim_resume(m: Machine, ac: ContextIdx) -> int:
    """What the reclaim wanted is granted: go on; what does it want now?"""
    reclaim = m.lru.reclaims[ac]
    stage = reclaim.stage
    if stage == FREE_BATCH:
        wanted = free_folios_resume(m, ac)
        if wanted:
            return wanted
        after_batch(m, ac)
    elif stage == ISOLATE:
        isolate_inactive(m, ac)
        reclaim.stage = LOOK_AT_FOLIOS if reclaim.nr_taken else NEXT_LIST
        return want_to_go_on(m, ac)
    elif stage == ISOLATE_ACTIVE:
        isolate_active(m, ac)
        reclaim.stage = DEACTIVATE_FOLIOS
        return want_to_go_on(m, ac)
    elif stage == PUT_BACK:
        put_back_inactive(m, ac)
        reclaim.stage = NEXT_LIST
        return want_to_go_on(m, ac)
    elif stage == PUT_BACK_ACTIVE_LIST:
        put_back_active(m, ac)
        reclaim.stage = NODE_DONE if reclaim.ages_anon else NEXT_LIST
        return want_to_go_on(m, ac)
    return reclaim_go(m, ac)


@core
def reclaim_go(m: Machine, ac: ContextIdx) -> int:
    """Go on without a lock, up to the next one; what is wanted?"""
    reclaim = m.lru.reclaims[ac]
    while reclaim.stage != RECLAIM_DONE:
        stage = reclaim.stage
        if stage == NEXT_NODE:
            next_node(m, ac)
        elif stage == SHRINK_NODE:
            start_node(m, ac)
        elif stage == NEXT_LIST:
            choose_list(m, ac)
        elif stage == LOOK_AT_FOLIOS:
            reclaim.stage = FREE_BATCH
            shrink_folio_list(m, ac)
            wanted = free_folios_begin(m, ac)
            if wanted:
                return wanted
            after_batch(m, ac)
        elif stage == DEACTIVATE_FOLIOS:
            deactivate_folios(m, ac)
            reclaim.stage = PUT_BACK_ACTIVE_LIST
        elif stage == NODE_DONE:
            end_node(m, ac)
        else:
            return want_lock(m, ac, int(m.lru.lruvecs[reclaim.node].lru_lock))
    reclaim.did_some_progress = reclaim.nr_reclaimed if reclaim.nr_reclaimed else reclaim.compaction_ready
    trace(m, TRACE_RECLAIM_ENDS, reclaim.did_some_progress, 0, 0, 0)
    return DONE


@small
def after_batch(m: Machine, ac: ContextIdx) -> None:
    """A batch is freed: look at more folios; after the last ones the others go back."""
    reclaim = m.lru.reclaims[ac]
    is_last = reclaim.nr_of_batch < PAGEVEC_SIZE or not m.params[0].folio_reclaim
    reclaim.nr_of_batch = 0
    reclaim.stage = PUT_BACK if is_last else LOOK_AT_FOLIOS


@core
def start_pass(m: Machine, ac: ContextIdx) -> None:
    """Begin with the first priority (kernel: do_try_to_free_pages)."""
    reclaim = m.lru.reclaims[ac]
    m.lru.vm_events[ALLOCSTALL + reclaim.reclaim_idx] += 1
    reclaim.nr_passes += 1
    reclaim.priority = DEF_PRIORITY
    start_priority(m, ac)


@small
def start_priority(m: Machine, ac: ContextIdx) -> None:
    """Begin with the first node (kernel: shrink_zones)."""
    reclaim = m.lru.reclaims[ac]
    reclaim.nr_scanned = 0
    reclaim.zoneref = m.contexts[ac].preferred_zoneref
    reclaim.node = NUMA_NO_NODE
    reclaim.stage = NEXT_NODE


@core
def next_node(m: Machine, ac: ContextIdx) -> None:
    """Find the next node that is to be shrunk; behind the last, end the priority (kernel: shrink_zones)."""
    reclaim = m.lru.reclaims[ac]
    while True:
        zoneref = int(reclaim.zoneref)
        zone = int(m.zonerefs[zoneref].zone)
        if zone == NO_ZONE:
            end_priority(m, ac)
            return
        reclaim.zoneref = next_zoneref(m, zoneref, int(reclaim.reclaim_idx))
        if reclaim.order > PAGE_ALLOC_COSTLY_ORDER and compaction_ready(m, ac, zone):
            reclaim.compaction_ready = 1
        elif m.zones[zone].node != reclaim.node:
            reclaim.node = m.zones[zone].node
            reclaim.stage = SHRINK_NODE
            return


@core
def end_priority(m: Machine, ac: ContextIdx) -> None:
    """All nodes were shrunk: take a larger share next, unless enough was freed (kernel: do_try_to_free_pages)."""
    reclaim = m.lru.reclaims[ac]
    is_enough = reclaim.nr_reclaimed >= SWAP_CLUSTER_MAX or reclaim.compaction_ready
    if not is_enough and reclaim.priority > 0:
        reclaim.priority -= 1
        start_priority(m, ac)
        return
    remember_refaults(m, ac)
    reclaim.stage = RECLAIM_DONE
    if reclaim.nr_reclaimed or reclaim.compaction_ready:
        return
    if not reclaim.full_walk and m.params[0].folio_reclaim:
        reclaim.full_walk = 1
        start_pass(m, ac)
    elif reclaim.skipped_deactivate:
        reclaim.force_deactivate = 1
        reclaim.skipped_deactivate = 0
        start_pass(m, ac)


@core
def remember_refaults(m: Machine, ac: ContextIdx) -> None:
    """At the end of a pass each node of the zonelist remembers its refaults."""
    zoneref = int(m.contexts[ac].preferred_zoneref)
    last = NUMA_NO_NODE
    while m.zonerefs[zoneref].zone != NO_ZONE:
        node = int(m.zones[m.zonerefs[zoneref].zone].node)
        if node != last:
            snapshot_refaults(m, node)
            last = node
        zoneref = next_zoneref(m, zoneref, int(m.lru.reclaims[ac].reclaim_idx))


@core
def start_node(m: Machine, ac: ContextIdx) -> None:
    """Begin to shrink a node: how much of each list? (kernel: shrink_node)"""
    reclaim = m.lru.reclaims[ac]
    reclaim.nr_reclaimed_before = reclaim.nr_reclaimed
    prepare_scan_control(m, ac)
    get_scan_count(m, ac)
    reclaim.nr_reclaimed_of_lruvec = 0
    reclaim.ages_anon = 0
    reclaim.lru = NO_LIST
    reclaim.stage = NEXT_LIST


@core
def choose_list(m: Machine, ac: ContextIdx) -> None:
    """Find the next list to shrink, round after round; after the last, active ones age (kernel: shrink_lruvec)."""
    reclaim = m.lru.reclaims[ac]
    nr = reclaim.nr
    while reclaim.lru != NO_LIST or nr[LRU_INACTIVE_ANON] or nr[LRU_ACTIVE_FILE] or nr[LRU_INACTIVE_FILE]:
        for lru in range(int(reclaim.lru) + 1, NR_EVICTABLE_LISTS):
            if nr[lru] and takes_from(m, ac, lru):
                return
        reclaim.lru = NO_LIST
        if end_round(m, ac):
            break
    reclaim.nr_reclaimed += reclaim.nr_reclaimed_of_lruvec
    reclaim.stage = NODE_DONE
    if m.lru.swap[0].total_pages > 0 and inactive_is_low(m, int(reclaim.node), ANON):
        reclaim.ages_anon = 1
        reclaim.lru = LRU_ACTIVE_ANON
        reclaim.nr_to_scan = SWAP_CLUSTER_MAX
        reclaim.stage = ISOLATE_ACTIVE


@small
def takes_from(m: Machine, ac: ContextIdx, lru: int) -> bool:
    """Take a list's next share; is it to be shrunk? Active ones only where that is allowed (kernel: shrink_list)."""
    reclaim = m.lru.reclaims[ac]
    reclaim.nr_to_scan = min(reclaim.nr[lru], SWAP_CLUSTER_MAX)
    reclaim.nr[lru] -= reclaim.nr_to_scan
    is_active = is_active_list(lru)
    if is_active and not (int(reclaim.may_deactivate) >> is_file_list(lru)) & 1:
        reclaim.skipped_deactivate = 1
        return False
    reclaim.lru = lru
    reclaim.stage = ISOLATE_ACTIVE if is_active else ISOLATE
    return True


@core
def end_round(m: Machine, ac: ContextIdx) -> bool:
    """Each list had its turn: is that all? Once enough was freed, the smaller type is done (kernel: shrink_lruvec)."""
    reclaim = m.lru.reclaims[ac]
    if reclaim.nr_reclaimed_of_lruvec < SWAP_CLUSTER_MAX or reclaim.priority == DEF_PRIORITY:
        return False
    nr, targets = reclaim.nr, reclaim.targets
    nr_file = nr[LRU_INACTIVE_FILE] + nr[LRU_ACTIVE_FILE]
    nr_anon = nr[LRU_INACTIVE_ANON] + nr[LRU_ACTIVE_ANON]
    if nr_file == 0 or nr_anon == 0:
        return True
    ends = LRU_INACTIVE_ANON if nr_file > nr_anon else LRU_INACTIVE_FILE
    left = min(nr_file, nr_anon)
    percentage = left * 100 // (targets[ends] + targets[ends + LRU_ACTIVE] + 1)
    nr[ends] = 0
    nr[ends + LRU_ACTIVE] = 0
    goes_on = LRU_FILE - ends
    for lru in (goes_on, goes_on + LRU_ACTIVE):
        scanned = targets[lru] - nr[lru]
        wanted = targets[lru] * (100 - percentage) // 100
        nr[lru] = wanted - min(wanted, scanned)
    return False


@core
def end_node(m: Machine, ac: ContextIdx) -> None:
    """A node was shrunk: once more, or on to the next (kernel: shrink_node)."""
    reclaim = m.lru.reclaims[ac]
    nr_of_node = reclaim.nr_reclaimed - reclaim.nr_reclaimed_before
    if should_continue_reclaim(m, ac, nr_of_node > 0):
        reclaim.stage = SHRINK_NODE
        return
    reclaim.stage = NEXT_NODE
    if reclaim.nr_reclaimed:
        m.lru.lruvecs[reclaim.node].kswapd_failures = 0


@core
def should_continue_reclaim(m: Machine, ac: ContextIdx, was_of_use: bool) -> bool:
    """Does the block need more free pages, and are there some to be had? (kernel: should_continue_reclaim)"""
    reclaim = m.lru.reclaims[ac]
    order = int(reclaim.order)
    is_pressing = order > PAGE_ALLOC_COSTLY_ORDER or reclaim.priority < DEF_PRIORITY - 2
    if order == 0 or not is_pressing or not was_of_use or not gfp_compaction_allowed(int(reclaim.gfp_mask)):
        return False
    node = int(reclaim.node)
    for z in range(node_zone(m, node, 0), node_zone(m, node, int(reclaim.reclaim_idx)) + 1):
        if m.zones[z].managed_pages and (block_is_free(m, ac, z) or compaction_is_suitable(m, ac, z)):
            return False
    inactive = node_state(m, node, LRU_INACTIVE_FILE)
    if can_reclaim_anon_pages(m):
        inactive += node_state(m, node, LRU_INACTIVE_ANON)
    return inactive > compact_gap(order)


@small
def block_is_free(m: Machine, ac: ContextIdx, z: ZoneIdx) -> bool:
    """Would the request be served by the zone as it is?"""
    reclaim = m.lru.reclaims[ac]
    mark = wmark_pages(m, z, WMARK_MIN)
    free_pages = max(int(m.zones[z].nr_free_pages), 0)
    return zone_watermark_ok(m, z, int(reclaim.order), mark, int(reclaim.reclaim_idx), 0, free_pages)


@small
def compaction_is_suitable(m: Machine, ac: ContextIdx, z: ZoneIdx) -> bool:
    """Could compaction make a block for the request?"""
    reclaim = m.lru.reclaims[ac]
    return compaction_suitable(m, z, int(reclaim.order), int(reclaim.reclaim_idx))


@core
def compaction_ready(m: Machine, ac: ContextIdx, z: ZoneIdx) -> bool:
    """Is there so much free that compaction should go ahead for a costly block? (kernel: compaction_ready)"""
    reclaim = m.lru.reclaims[ac]
    if not gfp_compaction_allowed(int(reclaim.gfp_mask)):
        return False
    if block_is_free(m, ac, z):
        return True
    if not compaction_is_suitable(m, ac, z):
        return False
    mark = wmark_pages(m, z, WMARK_HIGH) + compact_gap(int(reclaim.order))
    free_pages = max(int(m.zones[z].nr_free_pages), 0)
    if free_pages < m.zones[z].percpu_drift_mark:
        free_pages = zone_page_state_snapshot(m, z)
    return zone_watermark_ok(m, z, 0, mark, int(reclaim.reclaim_idx), 0, free_pages)
