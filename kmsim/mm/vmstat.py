"""Counters of free pages, kept per CPU and folded late (kernel: mm/vmstat.c).

Each CPU collects its changes of a zone's NR_FREE_PAGES and adds them to the zone's counter only
when they pass the zone's threshold. The watermark check reads the zone's counter without those
pending deltas, so it can be wrong by up to CPUs * threshold, as in the kernel.

Also the fragmentation indices, in the kernel's integer arithmetic. Leaves out every counter that
nothing in kmsim changes. Invariant: nr_free_pages + the CPUs' deltas == pages on the free lists.
The caller holds the zone's lock.
"""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from kmsim.jit import core, shared, small
from kmsim.mm.indices import ContextIdx, Migratetype, Order, ZoneIdx
from kmsim.mm.mmzone import MIGRATE_HIGHATOMIC, WMARK_HIGH, WMARK_LOW, WMARK_MIN, Machine, pcp_index, pcps_of_zone
from kmsim.mm.zone_lines import write_count

MAX_THRESHOLD = 125

Counts = Sequence[int] | NDArray[np.int64]  # of free blocks, by order


@small
def mod_zone_free_pages(m: Machine, ac: ContextIdx, delta: int) -> None:
    """Add to the CPU's pending delta, and fold it when it passes the threshold (kernel: __mod_zone_page_state)."""
    context = m.contexts[ac]
    pcp = m.pcps[pcp_index(m, context.zone, context.cpu)]
    pending = pcp.vm_stat_diff + delta
    if abs(pending) > pcp.stat_threshold:
        m.zones[context.zone].nr_free_pages += pending
        write_count(m, ac)
        pending = 0
    pcp.vm_stat_diff = pending


@small
def account_freepages(m: Machine, ac: ContextIdx, nr_pages: int, migratetype: Migratetype) -> None:
    """Count pages put on (or, negative, taken off) a free list of the context's zone (kernel: account_freepages)."""
    mod_zone_free_pages(m, ac, nr_pages)
    if migratetype == MIGRATE_HIGHATOMIC and m.params[0].lists_by_pageblock:
        m.zones[m.contexts[ac].zone].nr_free_highatomic += nr_pages


def normal_threshold(managed_pages: int, page_shift: int, nr_cpus: int) -> int:
    """The zone's threshold while kswapd sleeps (kernel: calculate_normal_threshold)."""
    units_of_128_mib = managed_pages >> (27 - page_shift)
    return min(MAX_THRESHOLD, 2 * nr_cpus.bit_length() * (1 + units_of_128_mib.bit_length()))


def pressure_threshold(watermark_distance: int, nr_cpus: int) -> int:
    """The zone's threshold while kswapd is awake (kernel: calculate_pressure_threshold)."""
    return min(MAX_THRESHOLD, max(1, watermark_distance // nr_cpus))


def refresh_zone_stat_thresholds(m: Machine) -> None:
    """Set every CPU's thresholds and each zone's drift mark (kernel: refresh_zone_stat_thresholds)."""
    nr_cpus = int(m.params[0].nr_cpus)
    for z, zone in enumerate(m.zones):
        if not zone.present_pages:
            continue
        threshold = normal_threshold(int(zone.managed_pages), int(m.params[0].page_shift), nr_cpus)
        pcps_of_zone(m, z)["stat_threshold"] = threshold
        drift = nr_cpus * threshold
        if drift > zone.watermark[WMARK_LOW] - zone.watermark[WMARK_MIN]:
            zone.percpu_drift_mark = zone.watermark[WMARK_HIGH] + drift


@core
def zone_page_state_snapshot(m: Machine, z: ZoneIdx) -> int:
    """The zone's free pages with every CPU's pending delta (kernel: zone_page_state_snapshot)."""
    nr_cpus = m.params[0].nr_cpus
    free_pages = m.zones[z].nr_free_pages
    for cpu in range(nr_cpus):
        free_pages += m.pcps[pcp_index(m, z, cpu)].vm_stat_diff
    return int(max(free_pages, 0))


@shared
def suitable_blocks(nr_free: Counts, order: Order) -> int:
    """How many blocks of an order the free ones of at least that order make."""
    blocks = 0
    for k in range(order, len(nr_free)):
        blocks += int(nr_free[k]) << (k - order)
    return blocks


@shared
def free_pages_of(nr_free: Counts) -> int:
    """The pages of these free blocks."""
    free_pages = 0
    for k in range(len(nr_free)):
        free_pages += int(nr_free[k]) << k
    return free_pages


def unusable_free_index(nr_free: Counts, order: Order) -> int:
    """The share of free memory, in thousandths, that no block of `order` can use (kernel: unusable_free_index).

    `nr_free` is the number of free blocks per order. 1000 where nothing is free.
    """
    free_pages = free_pages_of(nr_free)
    if not free_pages:
        return 1000
    return (free_pages - (suitable_blocks(nr_free, order) << order)) * 1000 // free_pages


@shared
def fragmentation_index(nr_free: Counts, order: Order) -> int:
    """Would a request fail for lack of memory (towards 0) or by fragmentation (towards 1000)?

    -1000 where it would succeed, 0 where nothing is free (kernel: __fragmentation_index).
    """
    total_blocks = 0
    for k in range(len(nr_free)):
        total_blocks += int(nr_free[k])
    if total_blocks == 0:
        return 0
    if suitable_blocks(nr_free, order):
        return -1000
    return 1000 - (1000 + free_pages_of(nr_free) * 1000 // (1 << order)) // total_blocks


@shared
def extfrag_for_order(nr_free: Counts, order: Order) -> int:
    """The percentage of free pages in blocks smaller than `order` (kernel: extfrag_for_order)."""
    free_pages = free_pages_of(nr_free)
    if free_pages == 0:
        return 0
    return (free_pages - (suitable_blocks(nr_free, order) << order)) * 100 // free_pages
