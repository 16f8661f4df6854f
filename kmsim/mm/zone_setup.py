"""Watermarks, lowmem reserves and per-CPU list sizes from a machine's size (kernel: mm/page_alloc.c).

Plain Python: it runs at boot and when a sysctl is written, never on the hot path. Follows the
kernel's integer arithmetic to the page. Leaves out highmem, NUMA's unmapped and slab ratios, and
user_min_free_kbytes' refusal of smaller automatic values.
"""

from math import isqrt
from typing import Any, NamedTuple

import numpy as np

from kmsim.mm.getorder import ilog2
from kmsim.mm.indices import NodeIdx, Order
from kmsim.mm.lru_records import SWAP_CLUSTER_MAX
from kmsim.mm.mmzone import (
    MIGRATE_PCPTYPES,
    MIGRATE_TYPES,
    NR_WMARK,
    PCPF_FREE_HIGH_BATCH,
    WMARK_HIGH,
    WMARK_LOW,
    ZONE_MOVABLE,
    ZONE_NORMAL,
    Machine,
    pcps_of_zone,
    zones_of_node,
)
from kmsim.mm.vmstat import refresh_zone_stat_thresholds

MIN_PERCPU_PAGELIST_HIGH_FRACTION = 8


class Sysctl(NamedTuple):
    """The knobs of /proc/sys/vm that the page allocator reads, with the kernel's defaults."""

    min_free_kbytes: int | None = None  # None: as calculate_min_free_kbytes finds it
    watermark_scale_factor: int = 10
    lowmem_reserve_ratio: tuple[int, int, int, int] = (256, 256, 32, 0)
    percpu_pagelist_high_fraction: int = 0


def nr_free_buffer_pages(m: Machine) -> int:
    """Pages above the high watermark in zones up to Normal (kernel: nr_free_buffer_pages)."""
    return sum(
        max(0, int(zone.managed_pages) - int(zone.watermark[WMARK_HIGH] + zone.watermark_boost))
        for zone in m.zones
        if zone.zone_type <= ZONE_NORMAL and zone.present_pages
    )


def calculate_min_free_kbytes(m: Machine) -> int:
    """The reserve that the kernel chooses for the size of memory, in KiB (kernel: calculate_min_free_kbytes)."""
    lowmem_kbytes = nr_free_buffer_pages(m) << (int(m.params[0].page_shift) - 10)
    return min(max(isqrt(lowmem_kbytes * 16), 128), 262144)


def recommended_min_free_kbytes(m: Machine) -> int:
    """The reserve for huge pages, which khugepaged sets (kernel: set_recommended_min_free_kbytes)."""
    nr_zones = sum(1 for zone in m.zones if zone.zone_type <= ZONE_NORMAL and zone.present_pages)
    blocks_per_zone = 2 + MIGRATE_PCPTYPES * MIGRATE_PCPTYPES
    pages = (nr_zones * blocks_per_zone) << int(m.params[0].pageblock_order)
    return min(pages, nr_free_buffer_pages(m) // 20) << (int(m.params[0].page_shift) - 10)


def mult_frac(value: int, numerator: int, denominator: int) -> int:
    """value * numerator / denominator as the kernel rounds it (kernel: mult_frac)."""
    quotient, remainder = divmod(value, denominator)
    return quotient * numerator + remainder * numerator // denominator


def setup_per_zone_wmarks(m: Machine, min_free_kbytes: int, watermark_scale_factor: int) -> None:
    """Set every zone's watermarks and take the boosts away (kernel: __setup_per_zone_wmarks)."""
    pages_min = min_free_kbytes >> (int(m.params[0].page_shift) - 10)
    own_mark = bool(m.params[0].movable_has_mark)
    sharing = [zone for zone in m.zones if zone.zone_type != ZONE_MOVABLE or not own_mark]
    lowmem_pages = sum(int(zone.managed_pages) for zone in sharing)
    for zone in m.zones:
        managed = int(zone.managed_pages)
        share = pages_min * managed // lowmem_pages
        zone.watermark_boost = 0
        movable = zone.zone_type == ZONE_MOVABLE and own_mark
        zone.watermark[:] = zone_marks(managed, share, watermark_scale_factor, movable=movable)


def zone_marks(managed_pages: int, share: int, watermark_scale_factor: int, *, movable: bool) -> list[int]:
    """The marks of a zone, from min upwards, by its share of the reserve in pages."""
    mark = min(max(managed_pages // 1024, SWAP_CLUSTER_MAX), 128) if movable else share
    distance = max(share >> 2, mult_frac(managed_pages, watermark_scale_factor, 10000))
    return [mark + i * distance for i in range(NR_WMARK)]


def setup_per_zone_lowmem_reserve(m: Machine, ratios: tuple[int, int, int, int]) -> None:
    """Set what each zone keeps from requests that may use a higher one (kernel: setup_per_zone_lowmem_reserve)."""
    for n in range(len(m.nodes)):
        zones = zones_of_node(m, n)
        for zone, ratio in zip(zones, ratios, strict=True):
            above = 0
            for higher in zones[zone.zone_type + 1 :]:
                above += int(higher.managed_pages)
                zone.lowmem_reserve[higher.zone_type] = above // ratio if ratio and zone.managed_pages else 0


def zone_batchsize(managed_pages: int, page_shift: int) -> int:
    """Pages moved between a per-CPU list and the zone at once (kernel: zone_batchsize)."""
    return max(1, zone_batchsize_of_order0(managed_pages, page_shift))


def zone_batchsize_of_order0(managed_pages: int, page_shift: int) -> int:
    """The same before it is made at least 1, by which lists of order 0 alone are sized."""
    batch = max(min(managed_pages >> 10, (1 << 20) >> page_shift) // 4, 1)
    return (1 << ilog2(batch + batch // 2)) - 1


def zone_highsize(zone: Any, batch: int, nr_cpus: int, high_fraction: int) -> int:
    """The size a per-CPU list may reach (kernel: zone_highsize)."""
    if high_fraction:
        total_pages = int(zone.managed_pages) // high_fraction
    else:
        total_pages = int(zone.watermark[WMARK_LOW] + zone.watermark_boost)
    return max(total_pages // nr_cpus, batch << 2)


def nr_split_cpus(m: Machine, n: NodeIdx) -> int:
    """How many CPUs share a zone's pages: those of its node, or all where that has none (kernel: zone_highsize)."""
    return int((m.cpus["node"] == n).sum()) or len(m.cpus)


def zone_set_pageset_high_and_batch(m: Machine, high_fraction: int) -> None:
    """Set the sizes of every per-CPU list (kernel: zone_set_pageset_high_and_batch)."""
    params = m.params[0]
    if not params.high_order_lists:
        set_order0_lists(m, high_fraction)
        return
    for z, zone in enumerate(m.zones):
        nr_cpus = nr_split_cpus(m, int(zone.node))
        batch = int(params.pcp_batch) or zone_batchsize(int(zone.managed_pages), int(params.page_shift))
        high_min = zone_highsize(zone, batch, nr_cpus, high_fraction)
        high_max = high_min
        if not high_fraction and params.auto_tune:
            high_max = zone_highsize(zone, batch, nr_cpus, MIN_PERCPU_PAGELIST_HIGH_FRACTION)
        pcps = pcps_of_zone(m, z)
        pcps["batch"] = batch
        pcps["high_min"] = high_min
        pcps["high_max"] = high_max
        if not params.auto_tune:
            pcps["high"] = high_min
    set_fixed_sizes(m)


def set_order0_lists(m: Machine, fraction: int) -> None:
    """Set the sizes of lists that hold order 0 alone: by the batch, or by the share of a zone that each CPU may have.

    A fixed batch stands in place of the zone's (kernel: pageset_set_high_and_batch of 5.10).
    """
    params = m.params[0]
    page_shift = int(params.page_shift)
    for z, zone in enumerate(m.zones):
        managed = int(zone.managed_pages)
        batch = int(params.pcp_batch) or zone_batchsize_of_order0(managed, page_shift)
        high = 6 * batch
        if fraction:
            high = managed // fraction
            batch = min(high // 4, page_shift * 8)
        pcps = pcps_of_zone(m, z)
        pcps["batch"] = max(batch, 1)
        for size in ("high", "high_min", "high_max"):
            pcps[size] = high
    set_fixed_sizes(m)


def set_fixed_sizes(m: Machine) -> None:
    """Set the sizes of per-CPU lists that are parameters, whatever the kernel would find.

    A fixed `high` is set as percpu_pagelist_high_fraction sets it: as high_min and as high_max, so that it is
    not tuned. Neither is below four batches (kernel: zone_highsize).
    """
    params, pcps = m.params[0], m.pcps
    if not params.pcp_batch and not params.pcp_high:
        return
    if params.pcp_batch:
        pcps["batch"] = params.pcp_batch
    for size in ("high_min", "high_max"):
        pcps[size] = np.maximum(params.pcp_high or pcps[size], pcps["batch"] << 2)
    if not params.auto_tune:
        pcps["high"] = pcps["high_min"]


def set_cacheinfo(m: Machine, cache_slice_bytes: int) -> None:
    """Let lists keep a batch of high-order frees where a CPU's share of the cache is large enough.

    (kernel: zone_pcp_update_cacheinfo)
    """
    large = cache_slice_bytes >> int(m.params[0].page_shift) > 3 * m.pcps["batch"]
    m.pcps["pcp_flags"] = large * PCPF_FREE_HIGH_BATCH


def apply_sysctl(m: Machine, sysctl: Sysctl, min_free_kbytes: int) -> None:
    """Recompute everything that follows from sysctls and managed pages, for a given reserve."""
    set_reserve(m, sysctl, min_free_kbytes)
    setup_per_zone_lowmem_reserve(m, sysctl.lowmem_reserve_ratio)


def managed_pages_changed(m: Machine) -> None:
    """What follows where the boot has given pages to zones whose marks are set (kernel: adjust_managed_page_count)."""
    if m.params[0].reserve_follows:
        setup_per_zone_lowmem_reserve(m, Sysctl().lowmem_reserve_ratio)


def set_reserve(m: Machine, sysctl: Sysctl, min_free_kbytes: int) -> None:
    """Set watermarks and what is sized by them (kernel: setup_per_zone_wmarks)."""
    setup_per_zone_wmarks(m, min_free_kbytes, sysctl.watermark_scale_factor)
    zone_set_pageset_high_and_batch(m, sysctl.percpu_pagelist_high_fraction)


def write_sysctl(m: Machine, sysctl: Sysctl, min_free_kbytes: int) -> None:
    """Write every knob that is not at its default, after the boot; each write recomputes its own part only.

    `min_free_kbytes` is the reserve that the boot chose (kernel: the handlers of page_alloc_sysctl_table).
    """
    default = Sysctl()
    if sysctl.min_free_kbytes is not None or sysctl.watermark_scale_factor != default.watermark_scale_factor:
        set_reserve(m, sysctl, sysctl.min_free_kbytes or min_free_kbytes)
    if sysctl.lowmem_reserve_ratio != default.lowmem_reserve_ratio:
        setup_per_zone_lowmem_reserve(m, sysctl.lowmem_reserve_ratio)
    if sysctl.percpu_pagelist_high_fraction != default.percpu_pagelist_high_fraction:
        zone_set_pageset_high_and_batch(m, sysctl.percpu_pagelist_high_fraction)


def thp_starts(m: Machine) -> bool:
    """Does the kernel start its THP machinery? Not below 512 MiB (kernel: hugepage_init)."""
    total_pages = sum(int(zone.managed_pages) for zone in m.zones)
    return bool(m.params[0].thp_built_in) and total_pages << int(m.params[0].page_shift) >= 512 << 20


def init_watermarks(m: Machine, *, thp_enabled: bool) -> int:
    """Compute the watermarks of the boot; returns the resulting min_free_kbytes (kernel: init_per_zone_wmark_min).

    Expects managed pages to be set and watermarks to be 0. With THP built in and enough memory the
    boot does this twice: khugepaged raises the reserve, or, THP being off, it is computed
    again from the pages above the new high watermarks.
    """
    chosen = calculate_min_free_kbytes(m)
    apply_sysctl(m, Sysctl(), chosen)
    refresh_zone_stat_thresholds(m)
    if thp_starts(m):
        if thp_enabled:
            chosen = max(chosen, recommended_min_free_kbytes(m))
        elif m.params[0].thp_off_recomputes:
            chosen = calculate_min_free_kbytes(m)
        else:
            return chosen
        set_reserve(m, Sysctl(), chosen)
    return chosen


def has_few_pageblocks(present_pages: int, pageblock_order: Order) -> bool:
    """Is grouping by mobility given up on a machine of a few pageblocks? (kernel: build_all_zonelists)"""
    return present_pages < MIGRATE_TYPES << pageblock_order
