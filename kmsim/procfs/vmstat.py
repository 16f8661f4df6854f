"""/proc/vmstat: the machine's counters by name (kernel: vmstat_text, vmstat_show).

The names are those of a 6.12 kernel without CMA, swap and the other options that the reference
configuration lacks; architecture, THP and NUMA decide some of them. What kmsim does not model
is printed as 0. NR_FREE_PAGES is without the CPUs' pending deltas, as the kernel's counter is.
`ZONE_STAT_ITEMS`, `NUMA_STAT_ITEMS` and `NODE_STAT_ITEMS` are also the lines of /proc/zoneinfo.
"""

import re
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from kmsim.mm.mmzone import NR_VM_NUMA_EVENT_ITEMS, PGALLOC, PGFREE, ZONE_NAMES, Machine
from kmsim.procfs.text import count, lines_of, refusal, shown


def _names(words: str) -> tuple[str, ...]:
    return tuple(words.split())


ZONE_STAT_ITEMS = _names(
    """nr_free_pages nr_zone_inactive_anon nr_zone_active_anon nr_zone_inactive_file nr_zone_active_file
    nr_zone_unevictable nr_zone_write_pending nr_mlock nr_bounce nr_free_cma"""
)
NUMA_STAT_ITEMS = _names("numa_hit numa_miss numa_foreign numa_interleave numa_local numa_other")
NODE_STAT_ITEMS = _names(
    """nr_inactive_anon nr_active_anon nr_inactive_file nr_active_file nr_unevictable nr_slab_reclaimable
    nr_slab_unreclaimable nr_isolated_anon nr_isolated_file workingset_nodes workingset_refault_anon
    workingset_refault_file workingset_activate_anon workingset_activate_file workingset_restore_anon
    workingset_restore_file workingset_nodereclaim nr_anon_pages nr_mapped nr_file_pages nr_dirty
    nr_writeback nr_writeback_temp nr_shmem nr_shmem_hugepages nr_shmem_pmdmapped nr_file_hugepages
    nr_file_pmdmapped nr_anon_transparent_hugepages nr_vmscan_write nr_vmscan_immediate_reclaim
    nr_dirtied nr_written nr_throttled_written nr_kernel_misc_reclaimable nr_foll_pin_acquired
    nr_foll_pin_released nr_kernel_stack nr_page_table_pages nr_sec_page_table_pages pgdemote_kswapd
    pgdemote_direct pgdemote_khugepaged"""
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
_X86_EVENTS = ("direct_map_level2_splits", "direct_map_level3_splits")
_X86_THP_EVENTS = ("thp_split_pud",)  # CONFIG_HAVE_ARCH_TRANSPARENT_HUGEPAGE_PUD
_LAST = "nr_unstable"  # always 0, kept for old readers

_LINE = re.compile(r"([a-z][a-z0-9_]{0,63}) (\S+)")


class VmStat(NamedTuple):
    """The file's counters by name, in the file's order."""

    counters: dict[str, int]


def names(*, arch: str, thp_built_in: bool, numa: bool = False) -> list[str]:
    """The file's names, in order, for `arch` "x86-64" or "arm64"."""
    x86 = arch == "x86-64"
    by_zone = [f"{event}_{zone.lower()}" for event in _EVENTS_BY_ZONE for zone in ZONE_NAMES]
    numa_items = NUMA_STAT_ITEMS if numa else ()
    listed = [*ZONE_STAT_ITEMS, *numa_items, *NODE_STAT_ITEMS, *VM_STAT_ITEMS, *by_zone, *_EVENTS]
    first_event = listed.index(by_zone[0])
    listed[first_event:first_event] = ["pgpgin", "pgpgout", "pswpin", "pswpout"]
    if numa:
        place = listed.index(_BEHIND_NUMA_EVENTS)
        listed[place:place] = _NUMA_EVENTS
    if thp_built_in:
        listed += [event for event in _THP_EVENTS if x86 or event not in _X86_THP_EVENTS]
    if x86:
        listed += _X86_EVENTS
    return [*listed, _LAST]


def rows(m: Machine, arch: str = "x86-64") -> VmStat:
    """What the file says of this machine; the machine itself does not know its architecture."""
    params = m.params[0]
    counters = dict.fromkeys(names(arch=arch, thp_built_in=bool(params.thp_built_in), numa=bool(params.numa)), 0)
    if params.numa:
        counters |= numa_events(m.zones)
    counters["nr_free_pages"] = max(0, int(m.zones["nr_free_pages"].sum()))
    for zone_type, name in enumerate(ZONE_NAMES):
        counters[f"pgalloc_{name.lower()}"] = int(m.events[PGALLOC + zone_type])
    counters["pgfree"] = int(m.events[PGFREE])
    return VmStat(counters)


def numa_events(zones: NDArray[np.void]) -> dict[str, int]:
    """Where the allocations from some zones landed, by name (kernel: sum_vm_numa_events)."""
    totals = zones["vm_numa_event"].sum(axis=0).tolist()
    return dict(zip(NUMA_STAT_ITEMS, totals, strict=True))


def text(vmstat: VmStat) -> str:
    """The file, as the kernel prints it."""
    return "".join(f"{name} {value}\n" for name, value in vmstat.counters.items())


def show(m: Machine, arch: str = "x86-64") -> str:
    """This machine's /proc/vmstat (kernel: vmstat_show)."""
    return text(rows(m, arch))


def parse(content: str) -> VmStat:
    """Read a /proc/vmstat of any kernel; ValueError names the first line that does not belong there."""
    counters: dict[str, int] = {}
    for number, line in enumerate(lines_of(content), 1):
        match = _LINE.fullmatch(line)
        if match is None:
            raise refusal(number, f"not 'NAME COUNT': {shown(line)}")
        if match[1] in counters:
            raise refusal(number, f"{match[1]} for the second time")
        counters[match[1]] = count(match[2], number)
    if _LAST not in counters:
        raise refusal(len(counters) + 1, f"cut off before {_LAST!r}, the kernel's last line")
    return VmStat(counters)


assert len(NUMA_STAT_ITEMS) == NR_VM_NUMA_EVENT_ITEMS
