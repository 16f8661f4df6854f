"""A CPU's own page lists: how they are refilled and drained, and how their sizes tune themselves."""

import pytest

from kmsim.mm.gfp import parse_gfp
from kmsim.mm.minmax import clamp
from kmsim.mm.mm_init import PfnRange
from kmsim.mm.mmzone import (
    PCPF_FREE_HIGH_BATCH,
    PCPF_PREV_FREE_HIGH_ORDER,
    ZONE_BELOW_HIGH,
    ZONE_DMA,
    ZONE_RECLAIM_ACTIVE,
    Machine,
)
from kmsim.mm.pcp import order_to_pindex

from . import drivers
from .machines import H, M, U, free_list, machine_with, pcp_lists, pending, plain_machine, type_of

MOVABLE = parse_gfp("GFP_HIGHUSER_MOVABLE")
UNMOVABLE = parse_gfp("GFP_KERNEL")


def tuned(batch: int = 8, high: int = 0, high_min: int = 40, high_max: int = 2000) -> Machine:
    """A machine of four big movable blocks, one CPU, its lists' sizes set by hand."""
    m = machine_with({(10, M): [0, 1024, 2048, 3072]}, nr_cpus=1)
    pcp = m.pcps[0]
    pcp.batch = batch
    pcp.high = high
    pcp.high_min = high_min
    pcp.high_max = high_max
    pcp.pcp_flags = 0
    return m


def refills(m: Machine, gfp: int, order: int, nr_blocks: int) -> list[int]:
    """How many blocks each refill brought while `nr_blocks` were allocated."""
    sizes = []
    for _ in range(nr_blocks):
        before = int(m.pcps[0].count)
        drivers.alloc(m, 0, gfp, order)
        brought = (int(m.pcps[0].count) - before >> order) + 1
        if brought:
            sizes.append(brought)
    return sizes


def test_refills_double_while_a_cpu_only_allocates() -> None:
    assert refills(tuned(), MOVABLE, 0, 500) == [8, 16, 32, 64, 128, 256]


@pytest.mark.parametrize(("scale", "sizes"), [(0, [8] * 13), (2, [8, 16, 32, 32, 32]), (6, [8, 16, 32, 64])])
def test_refills_scale_as_far_as_the_kernel_was_built_for(scale: int, sizes: list[int]) -> None:
    m = tuned()
    m.params[0].batch_scale_max = scale
    assert refills(m, MOVABLE, 0, 100) == sizes


@pytest.mark.parametrize(("scale", "sizes"), [(0, [8, 8, 8, 8]), (1, [16, 8, 8, 8])])
def test_drains_of_high_orders_scale_as_far_as_the_kernel_was_built_for(scale: int, sizes: list[int]) -> None:
    m = machine_with({}, nr_cpus=1, batch_scale_max=scale)
    pcp = m.pcps[0]
    pcp.batch, pcp.high_min, pcp.high_max, pcp.pcp_flags = 8, 400, 400, 0
    assert drains(m, 3, list(range(0, 80, 16))) == sizes


def test_a_refill_never_takes_more_than_high_allows() -> None:
    m = tuned(high_min=40, high_max=40)
    assert refills(m, MOVABLE, 0, 200) == [8, 16, 32, 32, 32, 32, 32, 32]
    assert m.pcps[0].high == 40


def test_high_grows_with_each_refill_unless_the_zone_is_below_its_high_mark() -> None:
    m = tuned()
    refills(m, MOVABLE, 0, 10)
    assert m.pcps[0].high == 40 + 8 + 16
    m = tuned()
    m.zones[ZONE_DMA].zone_flags = ZONE_BELOW_HIGH
    refills(m, MOVABLE, 0, 10)
    assert m.pcps[0].high == 40


@pytest.mark.parametrize(("order", "nr_blocks"), [(1, 4), (2, 2), (3, 2)])
def test_higher_orders_are_refilled_by_at_least_two_blocks(order: int, nr_blocks: int) -> None:
    assert refills(tuned(), MOVABLE, order, 9)[:2] == [nr_blocks, nr_blocks]


def test_a_list_smaller_than_a_batch_takes_one_block_at_a_time() -> None:
    assert refills(tuned(high_min=4, high_max=4), MOVABLE, 0, 3) == [1, 1, 1]


def test_a_refill_is_handed_out_in_the_order_in_which_it_came() -> None:
    m = tuned()
    assert [drivers.alloc(m, 0, MOVABLE, 0) for _ in range(5)] == [0, 1, 2, 3, 4]
    assert pcp_lists(m, ZONE_DMA, 0) == {order_to_index(M, 0): [5, 6, 7]}


def test_the_page_freed_last_is_handed_out_first() -> None:
    m = tuned()
    pfns = [drivers.alloc(m, 0, MOVABLE, 0) for _ in range(3)]
    for pfn in pfns:
        drivers.free(m, 0, pfn, 0)
    assert [drivers.alloc(m, 0, MOVABLE, 0) for _ in range(3)] == pfns[::-1]


def order_to_index(migratetype: int, order: int) -> int:
    """Which list holds an order and type."""
    return int(getattr(order_to_pindex, "py_func", order_to_pindex)(migratetype, order))


def test_each_order_and_type_has_its_list() -> None:
    indices = [order_to_index(migratetype, order) for order in range(4) for migratetype in range(3)]
    assert indices == list(range(12))
    assert [order_to_index(migratetype, 9) for migratetype in range(3)] == [12, 13, 12]


def test_order_4_never_waits_in_a_list_but_huge_pages_do_where_thp_is_built_in() -> None:
    for thp_built_in, held in ((True, 512), (False, 0)):
        m = plain_machine(thp_built_in=thp_built_in)
        for order, expected in ((4, 0), (9, held)):
            drivers.free(m, 0, drivers.alloc(m, 0, MOVABLE, order), order)
            assert m.pcps[0].count >= expected
            assert bool(m.pcps[0].count) == bool(expected)


def test_a_highatomic_page_waits_among_the_movable_ones_and_finds_its_way_home() -> None:
    m = machine_with({}, types={0: H})
    drivers.free(m, 0, 5, 0)
    assert pcp_lists(m, ZONE_DMA, 0) == {order_to_index(M, 0): [5]}
    drivers.drain(m, 0, ZONE_DMA, 0)
    assert free_list(m, ZONE_DMA, 0, H) == [5]


def test_a_freed_page_joins_the_list_of_its_pageblocks_present_type() -> None:
    m = tuned()
    pfn = drivers.alloc(m, 0, UNMOVABLE, 0)
    assert type_of(m, pfn) == U
    m.pageblocks[pfn >> 9] = M
    drivers.free(m, 0, pfn, 0)
    assert pcp_lists(m, ZONE_DMA, 0)[order_to_index(M, 0)] == [pfn]


def drains(m: Machine, order: int, pfns: list[int]) -> list[int]:
    """How many pages each drain gave back while the blocks were freed."""
    sizes = []
    for pfn in pfns:
        expected = int(m.pcps[0].count) + (1 << order)
        drivers.free(m, 0, pfn, order)
        if m.pcps[0].count < expected:
            sizes.append(expected - int(m.pcps[0].count))
    return sizes


def test_a_list_is_drained_when_it_reaches_high() -> None:
    m = machine_with({}, nr_cpus=1)
    m.pcps[0].batch, m.pcps[0].high_min, m.pcps[0].high_max = 4, 20, 20
    assert drains(m, 0, list(range(0, 60, 2))) == [16]
    assert m.pcps[0].count == 14


def test_the_coldest_page_of_the_freed_ones_list_goes_first() -> None:
    m = machine_with({}, nr_cpus=1)
    m.pcps[0].batch, m.pcps[0].high_min, m.pcps[0].high_max = 2, 4, 4
    drains(m, 0, [10, 20, 30, 40])
    assert pcp_lists(m, ZONE_DMA, 0)[order_to_index(M, 0)] == [40, 30]
    assert free_list(m, ZONE_DMA, 0, M) == [20, 10]


def test_a_drain_goes_on_with_the_lists_after_the_freed_ones() -> None:
    m = machine_with({}, types={512: U}, nr_cpus=1)
    m.pcps[0].batch, m.pcps[0].high_min, m.pcps[0].high_max = 4, 8, 8
    for pfn in (0, 2, 4, 6, 8, 512, 514, 516):
        drivers.free(m, 0, pfn, 0)
    assert pcp_lists(m, ZONE_DMA, 0) == {order_to_index(M, 0): [8, 6, 4, 2]}


def test_high_order_frees_in_a_row_are_all_given_back() -> None:
    m = machine_with({}, nr_cpus=1)
    pcp = m.pcps[0]
    pcp.batch, pcp.high_min, pcp.high_max, pcp.pcp_flags = 8, 400, 400, 0
    assert drains(m, 3, list(range(0, 80, 16))) == [16, 8, 8, 8]
    assert pcp.pcp_flags & PCPF_PREV_FREE_HIGH_ORDER


def test_where_the_cache_is_large_a_batch_of_high_order_frees_is_kept() -> None:
    m = machine_with({}, nr_cpus=1)
    pcp = m.pcps[0]
    pcp.batch, pcp.high_min, pcp.high_max, pcp.pcp_flags = 40, 400, 400, PCPF_FREE_HIGH_BATCH
    pcp.free_count = 40
    assert drains(m, 3, list(range(0, 96, 16))) == [40]


def test_order_0_frees_break_the_row() -> None:
    m = machine_with({}, nr_cpus=1)
    pcp = m.pcps[0]
    pcp.batch, pcp.high_min, pcp.high_max, pcp.pcp_flags = 2, 400, 400, 0
    for pfn in range(0, 160, 16):
        drivers.free(m, 0, pfn, 3)
        drivers.free(m, 0, pfn + 8, 0)
    assert pcp.count == 90


def test_frees_below_the_high_mark_shrink_high_and_drain() -> None:
    m = machine_with({}, nr_cpus=1)
    pcp = m.pcps[0]
    pcp.batch, pcp.high, pcp.high_min, pcp.high_max = 4, 300, 10, 400
    m.zones[ZONE_DMA].zone_flags = ZONE_BELOW_HIGH
    m.zones[ZONE_DMA].watermark[2] = 10_000
    drivers.free(m, 0, 0, 0)
    assert pcp.high == 296
    drains(m, 0, list(range(2, 200, 2)))
    assert pcp.high == 10
    assert pcp.count <= 16


def test_frees_while_the_zone_is_reclaimed_drain_at_four_batches() -> None:
    m = machine_with({}, nr_cpus=1)
    pcp = m.pcps[0]
    pcp.batch, pcp.high, pcp.high_min, pcp.high_max = 4, 300, 200, 400
    m.zones[ZONE_DMA].zone_flags = ZONE_RECLAIM_ACTIVE
    assert drains(m, 0, list(range(0, 40, 2)))[0] == 12
    assert pcp.count < 16


def test_a_full_list_lets_high_grow_to_what_is_freed_in_a_row() -> None:
    m = machine_with({}, nr_cpus=1)
    pcp = m.pcps[0]
    pcp.batch, pcp.high, pcp.high_min, pcp.high_max = 4, 20, 20, 400
    assert drains(m, 0, list(range(0, 42, 2))) == [16]
    assert pcp.high == 24


def test_decay_takes_an_eighth_of_high_and_drains_to_it() -> None:
    m = machine_with({}, nr_cpus=1)
    pcp = m.pcps[0]
    pcp.batch, pcp.high, pcp.high_min, pcp.high_max = 4, 80, 20, 400
    drains(m, 0, list(range(0, 150, 2)))
    assert pcp.count == 75
    drivers.decay(m, 0, ZONE_DMA)
    assert (pcp.high, pcp.count) == (70, 70)
    for _ in range(30):
        drivers.decay(m, 0, ZONE_DMA)
    assert (pcp.high, pcp.count) == (20, 20)


def test_draining_empties_the_lists_on_the_account_of_the_cpu_that_drains() -> None:
    m = plain_machine(ram=(PfnRange(0, 16384),))
    pfn = drivers.alloc(m, 0, MOVABLE, 0)
    drivers.free(m, 0, pfn, 0)
    m.pcps["stat_threshold"][:] = 125
    before = pending(m, ZONE_DMA)
    count = int(m.pcps[0].count)
    drivers.drain(m, 1, ZONE_DMA, 0)
    assert pcp_lists(m, ZONE_DMA, 0) == {}
    assert pending(m, ZONE_DMA) == [before[0], before[1] + count]


def test_clamp_looks_at_its_upper_bound_first() -> None:
    plain = getattr(clamp, "py_func", clamp)
    assert [plain(value, 3, 7) for value in (1, 3, 5, 7, 9)] == [3, 3, 5, 7, 7]
    assert plain(5, 9, 4) == 4
