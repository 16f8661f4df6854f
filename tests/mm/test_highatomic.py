"""Pageblocks kept for high-order requests that cannot wait."""

import pytest

from kmsim.mm.gfp import parse_gfp
from kmsim.mm.mm_init import PfnRange
from kmsim.mm.mmzone import NO_PAGE, ZONE_DMA, Machine

from . import drivers
from .machines import H, M, U, free_blocks, free_list, machine_with, set_watermarks, type_of

ATOMIC = parse_gfp("GFP_ATOMIC")


def pressed(**changes: object) -> Machine:
    """Pageblocks of 32 pages, one CPU, and a low mark that only the reserves are above."""
    settings = {"max_page_order": 5, "pageblock_order": 5, "thp_built_in": False, "nr_cpus": 1} | changes
    m = machine_with({(5, U): list(range(0, 2048, 32))}, types=dict.fromkeys(range(0, 2048, 32), U), **settings)
    set_watermarks(m, ZONE_DMA, (2000, 3000, 3000))
    return m


def test_an_atomic_block_below_the_low_mark_reserves_its_pageblock() -> None:
    m = pressed()
    pfn = drivers.alloc(m, 0, ATOMIC, 4)
    assert pfn == 0
    assert type_of(m, pfn) == H
    assert free_list(m, ZONE_DMA, 4, H) == [16]
    assert m.zones[ZONE_DMA].nr_reserved_highatomic == 32
    assert m.zones[ZONE_DMA].nr_free_highatomic == 16
    drivers.recount(m)


def test_nothing_is_reserved_above_the_low_mark_for_single_pages_or_for_requests_that_can_wait() -> None:
    for text, order, low in (
        ("GFP_ATOMIC", 4, 100),
        ("GFP_ATOMIC", 0, 3000),
        ("GFP_KERNEL | __GFP_HIGH", 4, 3000),
        ("GFP_NOWAIT", 4, 3000),
        ("GFP_ATOMIC | __GFP_NOMEMALLOC", 4, 3000),
    ):
        m = pressed()
        set_watermarks(m, ZONE_DMA, (1000, low, low))
        assert drivers.alloc(m, 0, parse_gfp(text), order) == 0, text
        assert m.zones[ZONE_DMA].nr_reserved_highatomic == 0, text


def test_atomic_requests_take_from_the_reserve_first() -> None:
    m = pressed()
    assert [drivers.alloc(m, 0, ATOMIC, 4) for _ in range(2)] == [0, 16]
    assert m.zones[ZONE_DMA].nr_reserved_highatomic == 32


def test_the_reserve_is_limited_to_a_hundredth_of_the_zone() -> None:
    """16,384 pages: 163, rounded up to 6 pageblocks of 32."""
    m = pressed()
    m.zones[ZONE_DMA].watermark[0] = 0
    for _ in range(20):
        assert drivers.alloc(m, 0, ATOMIC, 5) != NO_PAGE
    assert m.zones[ZONE_DMA].nr_reserved_highatomic == 192
    assert sum(int(migratetype) == H for migratetype in m.pageblocks) == 6


def test_a_zone_of_less_than_a_hundred_pageblocks_reserves_nothing() -> None:
    m = pressed(ram=(PfnRange(0, 3100),))
    assert drivers.alloc(m, 0, ATOMIC, 4) == 0
    assert m.zones[ZONE_DMA].nr_reserved_highatomic == 0


def test_a_block_of_many_pageblocks_reserves_them_all() -> None:
    m = machine_with(
        {(7, M): [0, 128, 256]},
        max_page_order=7,
        pageblock_order=5,
        thp_built_in=False,
        nr_cpus=1,
    )
    set_watermarks(m, ZONE_DMA, (100, 3000, 3000))
    assert drivers.alloc(m, 0, ATOMIC, 6) == 0
    assert m.zones[ZONE_DMA].nr_reserved_highatomic == 64
    assert [type_of(m, pfn) for pfn in (0, 32, 64)] == [H, H, U]
    drivers.recount(m)


def test_a_pageblock_that_is_not_all_in_the_zone_is_not_reserved() -> None:
    m = machine_with(
        {(3, U): [8], (2, U): [28]},
        types={8: U},
        ram=(PfnRange(8, 16384),),
        max_page_order=5,
        pageblock_order=5,
        thp_built_in=False,
        nr_cpus=1,
    )
    set_watermarks(m, ZONE_DMA, (0, 3000, 3000))
    m.pcps["high_max"][:] = m.pcps["high_min"][:] = 0  # no refill: one block at a time
    assert drivers.alloc(m, 0, ATOMIC, 2) == 28
    assert m.zones[ZONE_DMA].nr_reserved_highatomic == 0


def test_ordinary_requests_never_get_reserved_pages_but_non_blocking_ones_do_at_last() -> None:
    m = machine_with({(5, H): [0]}, types={0: H}, max_page_order=5, pageblock_order=5, thp_built_in=False)
    m.zones[ZONE_DMA].nr_reserved_highatomic = 32
    assert drivers.alloc(m, 0, parse_gfp("GFP_KERNEL | __GFP_HIGH"), 0) == NO_PAGE
    assert drivers.alloc(m, 0, parse_gfp("GFP_NOWAIT"), 0) == 0
    drivers.recount(m)


def test_a_freed_block_of_the_reserve_returns_to_it() -> None:
    m = pressed()
    pfn = drivers.alloc(m, 0, ATOMIC, 4)
    drivers.free(m, 0, pfn, 4)
    assert free_blocks(m, ZONE_DMA)[5, H] == [0]
    assert m.zones[ZONE_DMA].nr_free_highatomic == 32


def without_pressure(*, early: bool) -> Machine:
    """The low mark far away; of 7.3, or of 6.12."""
    m = pressed(atomic_early=early, reserves_at_min=early)
    set_watermarks(m, ZONE_DMA, (100, 200, 300))
    return m


@pytest.mark.parametrize("early", [False, True])
def test_an_early_flag_leaves_an_empty_list_empty(early: bool) -> None:
    m = without_pressure(early=early)
    high = int(m.pcps[0].high)
    assert drivers.alloc(m, 0, ATOMIC, 1) == 0
    assert (m.pcps[0].count == 0) == early
    assert m.pcps[0].high > high  # which grows with the size of a refill, even where there is none
    assert m.zones[ZONE_DMA].nr_reserved_highatomic == 0
    drivers.recount(m)


@pytest.mark.parametrize("early", [False, True])
def test_an_early_flag_takes_from_the_reserve_above_the_low_mark(early: bool) -> None:
    m = pressed(atomic_early=early, reserves_at_min=early)
    assert drivers.alloc(m, 0, ATOMIC, 4) == 0
    set_watermarks(m, ZONE_DMA, (100, 200, 300))
    assert drivers.alloc(m, 0, ATOMIC, 4) == (16 if early else 32)


@pytest.mark.parametrize("at_min", [False, True])
def test_a_block_of_a_list_is_reserved_unless_that_is_for_those_of_the_zone(at_min: bool) -> None:
    m = pressed(reserves_at_min=at_min)
    set_watermarks(m, ZONE_DMA, (100, 200, 300))
    first = drivers.alloc(m, 0, parse_gfp("GFP_KERNEL"), 1)
    assert m.pcps[0].count > 0
    set_watermarks(m, ZONE_DMA, (2000, 3000, 3000))
    assert drivers.alloc(m, 0, ATOMIC, 1) == first + 2
    assert m.zones[ZONE_DMA].nr_reserved_highatomic == (0 if at_min else 32)
    assert drivers.alloc(m, 0, ATOMIC, 4) != NO_PAGE
    assert m.zones[ZONE_DMA].nr_reserved_highatomic == 32
    drivers.recount(m)
