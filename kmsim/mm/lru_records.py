"""The records of a machine whose memory can be reclaimed (kernel: struct lruvec, pglist_data, scan_control).

Words, here and everywhere:
    folio       a block that holds a file's pages or a process's memory, named by its first pfn
    LRU list    the folios of a node that were used alike, the latest first; there are four: anonymous or file, inactive
                or active. Unevictable (mlocked) folios are counted, and on no list
    lruvec      the LRU lists of a node, and what is remembered of what reclaiming them cost
    batch       folios that a CPU has not put on their list yet, or not yet moved to the active one
    page cache  the pages of all files, numbered through; which are in memory (see `mm.filemap`)
    shadow      what the page cache keeps of a page that was reclaimed: when that was
    reclaim     one request's way through the slow path (kernel: scan_control, and the locals of the functions it is in)

An LRU list runs through the page records, as free lists do, and what a folio is stands in `Machine.holders` (see
`mm.rmap`). All of this is there only where a run can reclaim: `Machine.lru` is None elsewhere.

Counters of a node and of a zone are kept like NR_FREE_PAGES (see `mm.vmstat`): each CPU collects its changes and adds
them when they pass a threshold; who reads the counter does not see them.

Invariant: a folio with PG_LRU is on the list that its flags name, or unevictable. Leaves out memory cgroups, the
multi-generational LRU, pages under writeback, and counters that decide nothing.
"""

from collections.abc import Sequence
from typing import NamedTuple, cast

import numpy as np
from numpy.typing import NDArray

from kmsim.jit import Record
from kmsim.mm.locks import LRU_LOCK, PCP_LOCK, Lock, all_locks, first_of_class, lru_lock, pcp_lock
from kmsim.mm.oom import new_oom, new_processes

# LRU lists, and the counters of their pages in a node and in a zone (kernel: enum lru_list).
LRU_INACTIVE_ANON, LRU_ACTIVE_ANON, LRU_INACTIVE_FILE, LRU_ACTIVE_FILE, LRU_UNEVICTABLE = range(5)
LRU_ACTIVE, LRU_FILE = 1, 2  # what to add to LRU_INACTIVE_ANON
NR_EVICTABLE_LISTS = 4
NR_ZONE_LRU_ITEMS = 5

# More counters of a node (kernel: enum node_stat_item); isolated pages and refaults: of anonymous memory, of files.
NR_ISOLATED = 5
WORKINGSET_ACTIVATE = 7
NR_NODE_LRU_ITEMS = 9
ANON, FILE = range(2)
NR_LRU_TYPES = 2
NR_ZONE_TYPES = 4

# What a folio is (kernel: enum pageflags, and what page tables say of it); by the bits of recordings, which have two
# more: under writeback (bit 2), with private data (bit 8).
FOLIO_REFERENCED = 1 << 0
FOLIO_DIRTY = 1 << 1
FOLIO_SWAPBACKED = 1 << 3
FOLIO_SWAPCACHE = 1 << 4
FOLIO_WORKINGSET = 1 << 5
FOLIO_MAPPED = 1 << 6
FOLIO_PINNED = 1 << 7  # somebody has a reference that is not explained by page tables and caches
FOLIO_MLOCKED = 1 << 9
FOLIO_RECLAIM = 1 << 10
FOLIO_ACCESSED = 1 << 11  # in a page table, as the next two
FOLIO_PTE_DIRTY = 1 << 12
FOLIO_HAS_MAPPING = 1 << 13  # a file's, or in the swap cache
FOLIO_ACTIVE = 1 << 14
FOLIO_IN_BATCH = 1 << 15  # waits to be activated, which is a reference of its own
FOLIO_PROCESS_SHIFT = 16  # above the flags: the number of the process whose anonymous page it is, + 1 (`mm.process`)
FOLIO_ALL = (1 << 32) - 1

PAGEVEC_SIZE = 31  # folios in a batch
OLD_PAGEVEC_SIZE = 15  # the same in 5.10 and 6.1
SWAP_CLUSTER_MAX = 32  # pages; what a reclaim aims at, and scans at once

# Event counters (kernel: enum vm_event_item). The first two are one for each type of zone.
ALLOCSTALL = 0
PGSCAN_SKIP = 4
(
    PGACTIVATE,
    PGDEACTIVATE,
    PGREFILL,
    PGSTEAL_DIRECT,
    PGSCAN_DIRECT,
    PGSCAN_ANON,
    PGSCAN_FILE,
    PGSTEAL_ANON,
    PGSTEAL_FILE,
    PSWPOUT,
    PGPGOUT,
    UNEVICTABLE_PGCULLED,
    COMPACTSTALL,
    COMPACTFAIL,
    COMPACTSUCCESS,
    WORKINGSET_REFAULT_FILE,
    WORKINGSET_RESTORE_FILE,
    OOM_KILL,
) = range(8, 26)
NR_LRU_EVENTS = 26
LRU_EVENT_NAMES = (
    *(f"allocstall_{zone}" for zone in ("dma", "dma32", "normal", "movable")),
    *(f"pgskip_{zone}" for zone in ("dma", "dma32", "normal", "movable")),
    "pgactivate",
    "pgdeactivate",
    "pgrefill",
    "pgsteal_direct",
    "pgscan_direct",
    "pgscan_anon",
    "pgscan_file",
    "pgsteal_anon",
    "pgsteal_file",
    "pswpout",
    "pgpgout",
    "unevictable_pgs_culled",
    "compact_stall",
    "compact_fail",
    "compact_success",
    "workingset_refault_file",
    "workingset_restore_file",
    "oom_kill",
)
assert len(LRU_EVENT_NAMES) == NR_LRU_EVENTS

lruvec_t = np.dtype(
    (
        Record,
        [
            ("lists", np.int64),  # the first of its NR_EVICTABLE_LISTS list heads in `pages`
            ("anon_cost", np.int64),
            ("file_cost", np.int64),
            ("nonresident_age", np.int64),
            ("refaults", np.int64, (NR_LRU_TYPES,)),
            ("vm_stat", np.int64, (NR_NODE_LRU_ITEMS,)),
            ("kswapd_failures", np.int64),
            ("lru_lock", np.int64),  # the number of its lock
        ],
    )
)
# A CPU's pending deltas of a node's counters (kernel: per_cpu_nodestat).
node_cpu_t = np.dtype((Record, [("vm_stat_diff", np.int64, (NR_NODE_LRU_ITEMS,)), ("stat_threshold", np.int64)]))
# A CPU's batches of folios that are to be added to LRU lists, and to be activated (kernel: cpu_fbatches).
lru_cpu_t = np.dtype(
    (
        Record,
        [
            ("nr_to_add", np.int64),
            ("to_add", np.int64, (PAGEVEC_SIZE,)),
            ("nr_to_activate", np.int64),
            ("to_activate", np.int64, (PAGEVEC_SIZE,)),
            ("nr_slots", np.int64),  # of swap, to be given to pages (kernel: swp_slots)
        ],
    )
)
zone_lru_t = np.dtype(
    (
        Record,
        [
            ("vm_stat", np.int64, (NR_ZONE_LRU_ITEMS,)),
            ("compact_considered", np.int64),
            ("compact_defer_shift", np.int64),
            ("compact_order_failed", np.int64),
            ("pcp_lock", np.int64),  # the number under which the locks of its per-CPU lists are counted
        ],
    )
)
pcp_lru_t = np.dtype((Record, [("vm_stat_diff", np.int64, (NR_ZONE_LRU_ITEMS,))]))
swap_t = np.dtype(
    (
        Record,
        [
            ("total_pages", np.int64),  # kernel: total_swap_pages
            ("nr_free", np.int64),  # kernel: nr_swap_pages
            ("swappiness", np.int64),
            ("next_node_page", np.int64),  # in `node_pages`: the first that is not asked for yet, and the end
            ("end_node_page", np.int64),
        ],
    )
)
reclaim_t = np.dtype(
    (
        Record,
        [
            ("step", np.int64),  # of the slow path: what goes on (see mm.slow_path)
            ("refused_at", np.int64),  # the walk through the zones that is under way, should it be in vain
            ("did_some_progress", np.int64),
            ("no_progress_loops", np.int64),
            ("compact_priority", np.int64),
            ("compact_result", np.int64),
            ("compaction_retries", np.int64),
            ("alloc_flags", np.int64),  # of the request
            ("stage", np.int64),  # of reclaim: see mm.vmscan
            ("gfp_mask", np.int64),
            ("order", np.int64),
            ("priority", np.int64),
            ("reclaim_idx", np.int64),
            ("anon_cost", np.int64),
            ("file_cost", np.int64),
            ("may_deactivate", np.int64),
            ("force_deactivate", np.int64),
            ("skipped_deactivate", np.int64),
            ("full_walk", np.int64),
            ("cache_trim_mode", np.int64),
            ("file_is_tiny", np.int64),
            ("compaction_ready", np.int64),
            ("nr_scanned", np.int64),
            ("nr_reclaimed", np.int64),
            ("zoneref", np.int64),  # the zone that is looked at
            ("node", np.int64),  # the node that is shrunk, or was last
            ("nr_reclaimed_before", np.int64),  # by this call, before the node was shrunk
            ("nr", np.int64, (NR_EVICTABLE_LISTS,)),  # pages of each list still to be scanned
            ("targets", np.int64, (NR_EVICTABLE_LISTS,)),  # and at first
            ("nr_reclaimed_of_lruvec", np.int64),
            ("lru", np.int64),  # the list that is shrunk
            ("ages_anon", np.int64),  # the one shrink of the active anonymous list that follows all others
            ("nr_to_scan", np.int64),
            ("lists", np.int64),  # the first of its NR_RECLAIM_LISTS list heads in `pages`
            ("nr_of_batch", np.int64),  # folios that wait to be freed
            ("nr_looked_at", np.int64),  # folios, by all reclaims since the caller has set it to 0
            # Of one shrink of one list (kernel: struct reclaim_stat, and locals).
            ("total_scan", np.int64),
            ("skipped_of_type", np.int64, (NR_ZONE_TYPES,)),
            ("taken_of_type", np.int64, (NR_ZONE_TYPES,)),
            ("nr_taken", np.int64),
            ("nr_of_list", np.int64),  # reclaimed
            ("nr_dirty", np.int64),
            ("nr_activate", np.int64, (NR_LRU_TYPES,)),
            ("nr_ref_keep", np.int64),
            ("nr_pageout", np.int64),
            # A read of a file's page (see `mm.filemap`).
            ("read_stage", np.int64),
            ("read_page", np.int64),  # in the page cache
            ("next_reaped", np.int64),  # of a killed process: the page frame to look at next (see `mm.exit_mmap`)
            # What the request went through since the caller has set these to 0.
            ("nr_passes", np.int64),
            ("nr_retries", np.int64),
            ("nr_scanned_in_all", np.int64),
            ("nr_reclaimed_in_all", np.int64),
        ],
    )
)
# What reclaim and reads have done, in counts that the price list turns into time; see `mm.work`.
lru_work_t = np.dtype(
    (
        Record,
        [
            ("folios_moved", np.int64),  # taken off an LRU list, or put on one
            ("folios_scanned", np.int64),
            ("folios_unmapped", np.int64),  # taken out of their file or page table, and freed
            ("pages_swapped", np.int64),
            ("pages_read", np.int64),  # of files, from their device
            ("pages_found", np.int64),  # in the page cache
        ],
    )
)
HOLD, GOES_BACK, SKIPPED = range(3)  # lists of a reclaim: what was isolated, what goes back, what is of too high a zone
NR_RECLAIM_LISTS = 3
assert NR_RECLAIM_LISTS == SKIPPED + 1


class Lru(NamedTuple):
    """What a machine that can reclaim has besides its pages."""

    lruvecs: NDArray[np.void]  # by node
    node_cpus: NDArray[np.void]  # by node, and CPU by CPU within
    cpus: NDArray[np.void]
    zones: NDArray[np.void]  # as `Machine.zones`
    pcps: NDArray[np.void]  # as `Machine.pcps`
    reclaims: NDArray[np.void]  # as `Machine.contexts`
    swap: NDArray[np.void]
    vm_events: NDArray[np.int64]
    work: NDArray[np.void]
    # By page of the page cache: its pfn + 1; 0: it was never read; below 0: its shadow (see `mm.workingset`).
    page_cache: NDArray[np.int64]
    # Pages that the swap cache needs for its own nodes: after how many folios that a request has looked at, order, gfp.
    # Which these are is an input of replays; runs have none.
    node_pages: NDArray[np.int64]
    processes: NDArray[np.void]  # that have memory, in the order in which they were started (see `mm.oom`)
    oom: NDArray[np.void]  # the killer


NO_LRU = cast(Lru, None)  # of a machine that does not reclaim


def nr_lru_heads(nr_nodes: int, nr_contexts: int) -> int:
    """List heads in `pages` that a machine which can reclaim needs more than another."""
    return nr_nodes * NR_EVICTABLE_LISTS + nr_contexts * NR_RECLAIM_LISTS


def new_lru(counts: tuple[int, int, int, int], first_head: int) -> Lru:
    """Empty lists and counters for so many nodes, zones, CPUs and contexts; list heads begin with `first_head`.

    Locks are numbered as on a machine without slabs and vmalloc (`all_locks`); who has more of them numbers them anew.
    """
    nr_nodes, nr_zones, nr_cpus, nr_contexts = counts
    lru = Lru(
        lruvecs=np.zeros(nr_nodes, lruvec_t),
        node_cpus=np.zeros(nr_nodes * nr_cpus, node_cpu_t),
        cpus=np.zeros(nr_cpus, lru_cpu_t),
        zones=np.zeros(nr_zones, zone_lru_t),
        pcps=np.zeros(nr_zones * nr_cpus, pcp_lru_t),
        reclaims=np.zeros(nr_contexts, reclaim_t),
        swap=np.zeros(1, swap_t),
        vm_events=np.zeros(NR_LRU_EVENTS, np.int64),
        work=np.zeros(1, lru_work_t),
        page_cache=np.zeros(0, np.int64),
        node_pages=np.zeros((0, 3), np.int64),
        processes=new_processes([]),
        oom=new_oom(0),
    )
    lru.oom["alone"] = lru.oom["killer_disabled"] = 1
    lru.lruvecs["lists"] = first_head + np.arange(nr_nodes) * NR_EVICTABLE_LISTS
    number_locks(lru, all_locks(nr_zones, nr_lruvecs=nr_nodes))
    first_of_contexts = first_head + nr_nodes * NR_EVICTABLE_LISTS
    lru.reclaims["lists"] = first_of_contexts + np.arange(nr_contexts) * NR_RECLAIM_LISTS
    return lru


def number_locks(lru: Lru, locks: Sequence[Lock]) -> None:
    """Say which of a machine's locks are counted for its per-CPU lists, and which are its nodes' lru_locks."""
    first = first_of_class(locks, PCP_LOCK)
    lru.zones["pcp_lock"] = [pcp_lock(first, z) for z in range(len(lru.zones))]
    first = first_of_class(locks, LRU_LOCK)
    lru.lruvecs["lru_lock"] = [lru_lock(first, node) for node in range(len(lru.lruvecs))]
