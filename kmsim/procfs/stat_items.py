"""The names of a kernel's counters, in the order of its files (kernel: vmstat_text).

They are those of a 6.12 kernel without CMA, swap and the other options that the reference configuration lacks, and
what recorded kernels of the older releases that are built in print instead. Zones' and nodes' are also the lines of
/proc/zoneinfo.
"""

from collections.abc import Iterable

from kmsim.mm.kernels import NEWEST
from kmsim.mm.mmzone import ZONE_NAMES


def _names(words: str) -> tuple[str, ...]:
    return tuple(words.split())


ZONE_STAT_ITEMS = _names(
    """nr_free_pages nr_free_pages_blocks nr_zone_inactive_anon nr_zone_active_anon nr_zone_inactive_file
    nr_zone_active_file nr_zone_unevictable nr_zone_write_pending nr_mlock nr_bounce nr_free_cma"""
)
FREE_BLOCKS = "nr_free_pages_blocks"
_PAGE_TABLES = "nr_page_table_pages"  # a zone's up to 5.10, a node's since
NUMA_STAT_ITEMS = _names("numa_hit numa_miss numa_foreign numa_interleave numa_local numa_other")
NODE_STAT_ITEMS = _names(
    """nr_inactive_anon nr_active_anon nr_inactive_file nr_active_file nr_unevictable nr_slab_reclaimable
    nr_slab_unreclaimable nr_isolated_anon nr_isolated_file workingset_nodes workingset_refault_anon
    workingset_refault_file workingset_activate_anon workingset_activate_file workingset_restore_anon
    workingset_restore_file workingset_nodereclaim nr_anon_pages nr_mapped nr_file_pages nr_dirty
    nr_writeback nr_writeback_temp nr_shmem nr_shmem_hugepages nr_shmem_pmdmapped nr_file_hugepages
    nr_file_pmdmapped nr_anon_transparent_hugepages nr_vmscan_write nr_vmscan_immediate_reclaim
    nr_dirtied nr_written nr_throttled_written nr_kernel_misc_reclaimable nr_foll_pin_acquired
    nr_foll_pin_released nr_vmalloc nr_kernel_stack nr_page_table_pages nr_sec_page_table_pages pgdemote_kswapd
    pgdemote_direct pgdemote_khugepaged pgdemote_proactive"""
)
# Behind these, since they are a node's: events of all memory before, and some that are new.
_RECLAIM_ITEMS = _names(
    """pgsteal_kswapd pgsteal_direct pgsteal_khugepaged pgsteal_proactive pgsteal_anon pgsteal_file pgscan_kswapd
    pgscan_direct pgscan_khugepaged pgscan_proactive pgscan_anon pgscan_file pgrotate_anon pgrotate_file pgrefill"""
)
_LAST_NODE_ITEMS = _names("nr_hugetlb nr_balloon_pages nr_kernel_file_pages nr_gpu_active nr_gpu_reclaim")
_SERIES_OF_NODE_RECLAIM = 7_003  # what was recorded of it prints them so, and 6.12 does not
# Of these, what a machine that reclaims counts, by the numbers of `mm.lru_records`.
LRU_LISTS = ("inactive_anon", "active_anon", "inactive_file", "active_file", "unevictable")
ZONE_LRU_ITEMS = tuple(f"nr_zone_{name}" for name in LRU_LISTS)
NODE_LRU_ITEMS = (
    *(f"nr_{name}" for name in LRU_LISTS),
    *("nr_isolated_anon", "nr_isolated_file", "workingset_activate_anon", "workingset_activate_file"),
)
VM_STAT_ITEMS = _names("nr_dirty_threshold nr_dirty_background_threshold nr_memmap_pages nr_memmap_boot_pages")
_EVENTS_BY_ZONE = ("pgalloc", "allocstall", "pgskip")
_EVENTS = _names(
    """pgfree pgactivate pgdeactivate pglazyfree pgfault pgmajfault pglazyfreed pgrefill pgreuse
    pgsteal_kswapd pgsteal_direct pgsteal_khugepaged pgscan_kswapd pgscan_direct pgscan_khugepaged
    pgscan_direct_throttle pgscan_anon pgscan_file pgsteal_anon pgsteal_file pginodesteal slabs_scanned
    kswapd_inodesteal kswapd_low_wmark_hit_quickly kswapd_high_wmark_hit_quickly pageoutrun pgrotated
    drop_pagecache drop_slab oom_kill pgmigrate_success pgmigrate_fail thp_migration_success
    thp_migration_fail thp_migration_split compact_migrate_scanned compact_free_scanned compact_isolated
    compact_stall compact_fail compact_success compact_daemon_wake compact_daemon_migrate_scanned
    compact_daemon_free_scanned htlb_buddy_alloc_success htlb_buddy_alloc_fail unevictable_pgs_culled
    unevictable_pgs_scanned unevictable_pgs_rescued unevictable_pgs_mlocked unevictable_pgs_munlocked
    unevictable_pgs_cleared unevictable_pgs_stranded"""
)
_NUMA_EVENTS = ("zone_reclaim_success", "zone_reclaim_failed")
_BEHIND_NUMA_EVENTS = "pginodesteal"
_THP_EVENTS = _names(
    """thp_fault_alloc thp_fault_fallback thp_fault_fallback_charge thp_collapse_alloc
    thp_collapse_alloc_failed thp_file_alloc thp_file_fallback thp_file_fallback_charge thp_file_mapped
    thp_split_page thp_split_page_failed thp_deferred_split_page thp_underused_split_page thp_split_pmd
    thp_scan_exceed_none_pte thp_scan_exceed_swap_pte thp_scan_exceed_share_pte thp_split_pud
    thp_zero_page_alloc thp_zero_page_alloc_failed thp_swpout thp_swpout_fallback"""
)
_X86_EVENTS = _names(
    """direct_map_level2_splits direct_map_level3_splits direct_map_level2_collapses
    direct_map_level3_collapses"""
)
_X86_THP_EVENTS = ("thp_split_pud",)  # CONFIG_HAVE_ARCH_TRANSPARENT_HUGEPAGE_PUD
LAST = "nr_unstable"  # always 0, kept for old readers

# The release from which on a counter is there, where that is not the oldest; and counters that were elsewhere.
_SINCE = {
    _SERIES_OF_NODE_RECLAIM: _names(
        """nr_free_pages_blocks nr_vmalloc pgdemote_proactive direct_map_level2_collapses
        direct_map_level3_collapses"""
    ),
    6_012: _names(
        """pgdemote_khugepaged nr_memmap_pages nr_memmap_boot_pages pgsteal_khugepaged pgscan_khugepaged
        thp_underused_split_page"""
    ),
    6_001: _names(
        """nr_throttled_written nr_sec_page_table_pages pgdemote_kswapd pgdemote_direct thp_scan_exceed_none_pte
        thp_scan_exceed_swap_pte thp_scan_exceed_share_pte"""
    )
    + _X86_EVENTS[:2],
}
_UNTIL = {_SERIES_OF_NODE_RECLAIM: ("nr_bounce", "nr_writeback_temp")}  # gone from that release on
_DEMOTIONS = ("pgdemote_kswapd", "pgdemote_direct")  # events of all memory up to 6.6, of a node since
_SERIES_OF_NODE_DEMOTIONS = 6_007
_SERIES_OF_NODE_PAGE_TABLES = 5_011


def zone_stat_items(series: int = NEWEST.series) -> tuple[str, ...]:
    """A zone's counters (kernel: enum zone_stat_item); `series` is a release as 6012."""
    found = _of_release(ZONE_STAT_ITEMS, series)
    if series < _SERIES_OF_NODE_PAGE_TABLES:
        found.insert(found.index("nr_bounce"), _PAGE_TABLES)
    return tuple(found)


def node_stat_items(series: int = NEWEST.series) -> tuple[str, ...]:
    """A node's counters (kernel: enum node_stat_item)."""
    elsewhere = () if series >= _SERIES_OF_NODE_DEMOTIONS else _DEMOTIONS
    if series < _SERIES_OF_NODE_PAGE_TABLES:
        elsewhere = (*elsewhere, _PAGE_TABLES)
    found = [name for name in _of_release(NODE_STAT_ITEMS, series) if name not in elsewhere]
    if series >= _SERIES_OF_NODE_RECLAIM:
        found += [*_RECLAIM_ITEMS, *_LAST_NODE_ITEMS]
    return tuple(found)


def _of_release(listed: Iterable[str], series: int) -> list[str]:
    """Those of these counters that a release has."""
    later = {name for since, names_since in _SINCE.items() if since > series for name in names_since}
    gone = {name for until, names_until in _UNTIL.items() if until <= series for name in names_until}
    return [name for name in listed if name not in later | gone]


def names(*, arch: str, thp_built_in: bool, numa: bool = False, series: int = NEWEST.series) -> list[str]:
    """The names of a release's /proc/vmstat, in order, for `arch` "x86-64" or "arm64"."""
    x86 = arch == "x86-64"
    events = [name for name in _EVENTS if series < _SERIES_OF_NODE_RECLAIM or name not in _RECLAIM_ITEMS]
    by_zone = [f"{event}_{zone.lower()}" for event in _EVENTS_BY_ZONE for zone in ZONE_NAMES]
    numa_items = NUMA_STAT_ITEMS if numa else ()
    listed = [*zone_stat_items(series), *numa_items, *node_stat_items(series), *VM_STAT_ITEMS, *by_zone, *events]
    if series < _SERIES_OF_NODE_DEMOTIONS:
        place = listed.index("pgscan_kswapd")
        listed[place:place] = _DEMOTIONS
    first_event = listed.index(by_zone[0])
    listed[first_event:first_event] = ["pgpgin", "pgpgout", "pswpin", "pswpout"]
    if numa:
        place = listed.index(_BEHIND_NUMA_EVENTS)
        listed[place:place] = _NUMA_EVENTS
    if thp_built_in:
        listed += [event for event in _THP_EVENTS if x86 or event not in _X86_THP_EVENTS]
    if x86:
        listed += _X86_EVENTS
    return [*_of_release([*listed, LAST], series)]
