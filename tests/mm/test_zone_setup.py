"""Watermarks, reserves and list sizes: real kernels' numbers, and the rules one by one."""

from typing import Any

import numpy as np
import pytest

from kmsim.mm.mm_init import PfnRange
from kmsim.mm.mmzone import PCPF_FREE_HIGH_BATCH, ZONE_DMA, ZONE_DMA32, ZONE_MOVABLE, ZONE_NORMAL, Machine, new_machine
from kmsim.mm.zone_setup import (
    Sysctl,
    apply_sysctl,
    calculate_min_free_kbytes,
    init_watermarks,
    mult_frac,
    recommended_min_free_kbytes,
    set_cacheinfo,
    set_fixed_sizes,
    thp_starts,
    write_sysctl,
    zone_batchsize,
)
from tests.params import params

from .machines import plain_machine

DEFAULTS = Sysctl()


def zones_of(managed: dict[int, int], page_shift: int = 12, nr_cpus: int = 2, **changes: Any) -> Machine:
    """A machine whose zones have these managed pages, and no page frames to speak of."""
    pmd_order = page_shift - 3
    shape: dict[str, Any] = {"page_shift": page_shift, "pmd_order": pmd_order, "pageblock_order": pmd_order}
    m = new_machine(params(nr_frames=1, nr_cpus=nr_cpus, **shape | {"max_page_order": max(pmd_order, 10)} | changes))
    for z, pages in managed.items():
        m.zones[z].managed_pages = m.zones[z].present_pages = pages
    return m


def marks(m: Machine, z: int) -> list[int]:
    """A zone's min, low, high and promo marks."""
    return [int(mark) for mark in m.zones[z].watermark]


@pytest.mark.parametrize(
    ("min_free_kbytes", "expected"),
    [(1024, [16, 32, 48, 64]), (5000, [78, 97, 116, 135]), (16384, [256, 320, 384, 448])],
)
def test_marks_of_a_real_machine_of_64k_pages(min_free_kbytes: int, expected: list[int]) -> None:
    m = zones_of({ZONE_DMA: 16179}, page_shift=16)
    apply_sysctl(m, DEFAULTS, min_free_kbytes)
    assert marks(m, ZONE_DMA) == expected
    assert marks(m, ZONE_MOVABLE) == [32, 32, 32, 32]


def test_list_sizes_of_real_machines() -> None:
    """As `fresh.state` of recorded kernels shows them: batch and high_max of each zone."""
    m = zones_of({ZONE_DMA: 3840, ZONE_DMA32: 501213, ZONE_NORMAL: 3597312}, nr_cpus=16)
    apply_sysctl(m, DEFAULTS, 67584)
    assert [int(m.pcps[z * 16].batch) for z in range(3)] == [1, 63, 63]
    assert [int(m.pcps[z * 16].high_max) for z in range(3)] == [30, 501213 // 128, 3597312 // 128]
    assert [int(m.pcps[z * 16].high_min) for z in range(2)] == [4, 252]


def test_lowmem_reserves_of_a_real_machine() -> None:
    m = zones_of({ZONE_DMA: 3840, ZONE_DMA32: 501213, ZONE_NORMAL: 3597312}, nr_cpus=16)
    apply_sysctl(m, DEFAULTS, 67584)
    reserves = [[int(pages) for pages in zone.lowmem_reserve] for zone in m.zones]
    assert reserves == [[0, 1957, 16009, 16009], [0, 0, 14052, 14052], [0, 0, 0, 0], [0, 0, 0, 0]]


def test_a_ratio_of_0_or_an_empty_zone_reserves_nothing() -> None:
    m = zones_of({ZONE_DMA: 3840, ZONE_NORMAL: 100_000})
    apply_sysctl(m, Sysctl(lowmem_reserve_ratio=(0, 1, 32, 0)), 1024)
    assert int(m.zones["lowmem_reserve"].sum()) == 0


@pytest.mark.parametrize(
    ("managed", "batch"), [(100, 1), (3840, 1), (16384, 3), (57611, 15), (120_000, 31), (250_757, 63), (1 << 24, 63)]
)
def test_the_batch_is_one_less_than_a_power_of_two(managed: int, batch: int) -> None:
    assert zone_batchsize(managed, 12) == batch


def test_the_batch_moves_no_more_than_a_quarter_of_a_mebibyte_and_a_half() -> None:
    assert [zone_batchsize(1 << 24, shift) for shift in (12, 14, 16)] == [63, 15, 3]


def test_the_reserve_is_the_root_of_memory_between_two_bounds() -> None:
    assert calculate_min_free_kbytes(zones_of({ZONE_DMA: 16179}, page_shift=16)) == 4070
    assert calculate_min_free_kbytes(zones_of({ZONE_DMA: 200})) == 128
    assert calculate_min_free_kbytes(zones_of({ZONE_NORMAL: 1 << 32})) == 262144


def test_the_scale_factor_sets_the_distance_between_marks() -> None:
    m = zones_of({ZONE_DMA: 16179}, page_shift=16)
    apply_sysctl(m, Sysctl(watermark_scale_factor=1000), 4054)
    assert marks(m, ZONE_DMA) == [63, 63 + 1617, 63 + 2 * 1617, 63 + 3 * 1617]


def test_marks_forget_a_boost() -> None:
    m = zones_of({ZONE_DMA: 16179}, page_shift=16)
    m.zones[ZONE_DMA].watermark_boost = 999
    apply_sysctl(m, DEFAULTS, 4054)
    assert m.zones[ZONE_DMA].watermark_boost == 0


@pytest.mark.parametrize(("fraction", "high"), [(8, 16179 // 8 // 2), (100, 16179 // 100 // 2), (16179, 12)])
def test_a_fraction_of_the_zone_fixes_the_list_size(fraction: int, high: int) -> None:
    m = zones_of({ZONE_DMA: 16179}, page_shift=16)
    apply_sysctl(m, Sysctl(percpu_pagelist_high_fraction=fraction), 4054)
    assert (int(m.pcps[0].high_min), int(m.pcps[0].high_max)) == (high, high)


def test_khugepaged_raises_the_reserve_where_thp_is_enabled() -> None:
    m = zones_of({ZONE_DMA: 48005, ZONE_NORMAL: 16167}, page_shift=16, max_page_order=13)
    assert init_watermarks(m, thp_enabled=True) > 200_000
    m = zones_of({ZONE_DMA: 48005, ZONE_NORMAL: 16167}, page_shift=16, max_page_order=13)
    assert init_watermarks(m, thp_enabled=False) < 9_000


def test_the_recommended_reserve_is_eleven_pageblocks_a_zone_but_at_most_a_twentieth() -> None:
    big = zones_of({ZONE_DMA: 3840, ZONE_DMA32: 501213, ZONE_NORMAL: 3597312})
    assert recommended_min_free_kbytes(big) == 3 * 11 * 512 * 4
    assert recommended_min_free_kbytes(big) == 67584
    assert recommended_min_free_kbytes(zones_of({ZONE_DMA: 20_000})) == 1000 * 4


@pytest.mark.parametrize(
    ("pages", "built_in", "starts"), [(131072, True, True), (131071, True, False), (131072, False, False)]
)
def test_thp_starts_from_512_mib_on(pages: int, built_in: bool, starts: bool) -> None:
    assert thp_starts(zones_of({ZONE_DMA: pages}, thp_built_in=built_in)) == starts


def test_a_written_reserve_counts_in_the_end() -> None:
    m = zones_of({ZONE_DMA: 16179}, page_shift=16)
    write_sysctl(m, Sysctl(min_free_kbytes=1024), init_watermarks(m, thp_enabled=True))
    assert marks(m, ZONE_DMA) == [16, 32, 48, 64]


def test_a_written_ratio_leaves_the_marks_of_the_boot() -> None:
    m = zones_of({ZONE_DMA: 16179, ZONE_NORMAL: 8000}, page_shift=16)
    chosen = init_watermarks(m, thp_enabled=False)
    before = marks(m, ZONE_DMA)
    m.zones[ZONE_DMA].managed_pages += 1000
    write_sysctl(m, Sysctl(lowmem_reserve_ratio=(1, 1, 1, 1)), chosen)
    assert marks(m, ZONE_DMA) == before
    assert int(m.zones[ZONE_DMA].lowmem_reserve[ZONE_NORMAL]) == 8000


def test_lists_keep_high_orders_where_the_cache_is_large() -> None:
    m = zones_of({ZONE_DMA: 16179}, page_shift=16)
    apply_sysctl(m, DEFAULTS, 4054)
    for slice_bytes, flags in ((9 << 16, 0), (10 << 16, PCPF_FREE_HIGH_BATCH)):
        set_cacheinfo(m, slice_bytes)
        assert int(m.pcps[0].pcp_flags) == flags


def sizes(m: Machine, z: int) -> list[int]:
    """The batch, high_min, high_max and high of a zone's per-CPU lists."""
    return [int(m.pcps[z * int(m.params[0].nr_cpus)][name]) for name in ("batch", "high_min", "high_max", "high")]


def sized(fraction: int = 0, **changes: Any) -> Machine:
    """A machine of 16,384 pages with these parameters, its per-CPU lists sized."""
    m = zones_of({ZONE_DMA: 16_384}, **changes)
    apply_sysctl(m, Sysctl(percpu_pagelist_high_fraction=fraction), 4096)
    return m


def test_a_fixed_batch_stands_in_every_zone_and_high_is_at_least_four() -> None:
    assert sizes(sized(), ZONE_DMA) == [3, 640, 1024, 0]
    assert sizes(sized(pcp_batch=16), ZONE_DMA) == [16, 640, 1024, 0]
    assert sizes(sized(pcp_batch=300), ZONE_DMA) == [300, 1200, 1200, 0]
    assert sizes(sized(pcp_batch=16), ZONE_NORMAL) == [16, 64, 64, 0]


def test_a_fixed_high_is_not_tuned_and_at_least_four_batches() -> None:
    assert sizes(sized(pcp_high=100), ZONE_DMA) == [3, 100, 100, 0]
    assert sizes(sized(pcp_high=100, pcp_batch=40), ZONE_DMA) == [40, 160, 160, 0]
    assert sizes(sized(pcp_high=100, auto_tune=False), ZONE_DMA) == [3, 100, 100, 100]
    assert sizes(sized(fraction=8, pcp_batch=5), ZONE_DMA) == [5, 1024, 1024, 0]


def test_lists_of_order_0_alone_hold_six_batches_of_a_fixed_batch() -> None:
    order0 = {"auto_tune": False, "high_order_lists": False}
    assert sizes(sized(**order0), ZONE_DMA) == [3, 18, 18, 18]
    assert sizes(sized(pcp_batch=4, **order0), ZONE_DMA) == [4, 24, 24, 24]
    assert sizes(sized(fraction=8, pcp_batch=4, **order0), ZONE_DMA) == [4, 2048, 2048, 2048]
    assert sizes(sized(pcp_batch=4, pcp_high=100, **order0), ZONE_DMA) == [4, 100, 100, 100]


def test_fixed_sizes_stay_when_the_marks_change() -> None:
    m = sized(pcp_high=100, pcp_batch=16)
    write_sysctl(m, Sysctl(min_free_kbytes=20_000), 4096)
    assert sizes(m, ZONE_DMA) == [16, 100, 100, 0]


def test_sizes_that_are_not_fixed_are_left_to_the_kernel() -> None:
    m = sized()
    before = m.pcps.copy()
    set_fixed_sizes(m)
    assert np.array_equal(m.pcps, before)


def test_grouping_is_given_up_below_four_pageblocks() -> None:
    for pages, disabled in ((2047, 1), (2048, 0)):
        m = plain_machine(ram=(PfnRange(0, pages),))
        assert int(m.params[0].mobility_disabled) == disabled


def test_fractions_are_multiplied_as_the_kernel_does() -> None:
    assert mult_frac(12_345, 10, 10_000) == 12
    assert mult_frac(1 << 60, 15_000, 10_000) == (1 << 60) * 3 // 2
