"""Splitting and merging: which half is handed on, and where the rest goes."""

from random import Random

import pytest

from kmsim.mm.gfp import parse_gfp
from kmsim.mm.mm_init import PfnRange
from kmsim.mm.mmzone import (
    NO_PAGE,
    ZONE_DMA,
    ZONE_DMA32,
)

from . import drivers
from .machines import H, M, U, free_blocks, free_list, machine_with, plain_machine, type_of

MOVABLE = parse_gfp("GFP_HIGHUSER_MOVABLE")
WHOLE = list(range(0, 16384, 1024))


def test_low_half_is_handed_on() -> None:
    m = plain_machine()
    assert drivers.alloc(m, 0, MOVABLE, 4) == 0
    halves = {(order, M): [1 << order] for order in range(4, 10)}
    assert free_blocks(m, ZONE_DMA) == halves | {(10, M): WHOLE[1:]}
    assert m.work[0].splits == 6


def test_the_smallest_sufficient_block_is_split() -> None:
    m = machine_with({(5, M): [512], (7, M): [1024], (10, M): [2048]})
    assert drivers.alloc(m, 0, MOVABLE, 6) == 1024
    assert free_list(m, ZONE_DMA, 6, M) == [1024 + 64]


def test_a_block_of_the_very_order_is_taken_from_the_head() -> None:
    m = machine_with({(4, M): [512, 96, 1024]})
    assert [drivers.alloc(m, 0, MOVABLE, 4) for _ in range(3)] == [512, 96, 1024]
    assert free_blocks(m, ZONE_DMA) == {}


def test_freeing_everything_restores_the_largest_blocks() -> None:
    m = plain_machine()
    random = Random(5)
    held = []
    while True:
        order = random.choice((0, 0, 1, 2, 3, 5, 9))
        pfn = drivers.alloc(m, random.randrange(2), random.choice((MOVABLE, parse_gfp("GFP_ATOMIC"))), order)
        if pfn == NO_PAGE:
            break
        held.append((pfn, order))
    random.shuffle(held)
    for pfn, order in held:
        drivers.free(m, random.randrange(2), pfn, order)
    drivers.drain_all(m, 0)
    drivers.recount(m)
    blocks = free_blocks(m, ZONE_DMA)
    assert {order for order, _ in blocks} == {10}
    assert sorted(pfn for pfns in blocks.values() for pfn in pfns) == WHOLE


def test_a_freed_block_merges_upwards_until_a_buddy_is_missing() -> None:
    m = plain_machine()
    blocks = [drivers.alloc(m, 0, MOVABLE, 4) for _ in range(4)]
    assert blocks == [0, 16, 32, 48]
    m.work[0].merges = 0
    for pfn in (16, 32, 0):
        drivers.free(m, 0, pfn, 4)
    assert m.work[0].merges == 1
    assert free_list(m, ZONE_DMA, 5, M) == [0]
    assert free_list(m, ZONE_DMA, 4, M) == [32]
    drivers.free(m, 0, 48, 4)
    assert free_blocks(m, ZONE_DMA) == {(10, M): [0, *WHOLE[1:]]}


def test_a_block_whose_next_merge_is_likely_goes_to_the_tail() -> None:
    m = plain_machine()
    for pfn in range(0, 128, 16):
        assert drivers.alloc(m, 0, MOVABLE, 4) == pfn
    drivers.free(m, 0, 112, 4)
    drivers.free(m, 0, 32, 4)
    drivers.free(m, 0, 48, 4)
    drivers.free(m, 0, 0, 4)  # its pair's buddy, 32 of order 5, is free
    drivers.free(m, 0, 80, 4)  # its pair's buddy, 96 of order 5, is not
    assert free_list(m, ZONE_DMA, 4, M) == [80, 112, 0]


def test_no_merge_is_likely_just_below_the_largest_order() -> None:
    """The pair would be a largest block, which merges with nothing: the free block at 1024 says nothing."""
    m = machine_with({(9, M): [2048], (10, M): [1024]}, thp_built_in=False)
    drivers.free(m, 0, 0, 9)
    assert free_list(m, ZONE_DMA, 9, M) == [0, 2048]


def test_no_merge_is_likely_where_the_pair_begins_in_another_zone() -> None:
    """Pages 4096 to 8191 begin DMA32; the pair 0 to 8191 begins in DMA, so 8192's being free says nothing."""
    m = plain_machine(
        arch="x86-64", max_page_order=14, ram=(PfnRange(1, 159), PfnRange(256, 20480)), thp_built_in=False
    )
    gfp = parse_gfp("GFP_KERNEL | __GFP_DMA32 | __GFP_MOVABLE")
    assert [drivers.alloc(m, 0, gfp, 12) for _ in range(2)] == [4096, 16384]
    drivers.free(m, 0, 16384, 12)
    drivers.free(m, 0, 4096, 12)
    assert free_list(m, ZONE_DMA32, 13, U) + free_list(m, ZONE_DMA32, 13, M) == [8192]
    assert free_list(m, ZONE_DMA32, 12, M) == [4096, 16384]


def test_a_block_at_a_ragged_end_finds_no_buddy_beyond_it() -> None:
    m = plain_machine(ram=(PfnRange(3, 1000),))
    orders = [order for order, _ in sorted(free_blocks(m, ZONE_DMA))]
    assert orders == [0, 2, 3, 4, 5, 6, 7, 8]
    held = [drivers.alloc(m, 0, MOVABLE, order) for order in (8, 8, 4)]
    for pfn, order in zip(held, (8, 8, 4), strict=True):
        drivers.free(m, 0, pfn, order)
    drivers.recount(m)
    assert [order for order, _ in sorted(free_blocks(m, ZONE_DMA))] == orders


def two_pageblocks_freed(first_type: int) -> dict[tuple[int, int], list[int]]:
    """The lists after two pageblocks that share one block were freed, the first being of another type."""
    m = machine_with({}, types={0: first_type}, thp_built_in=False)
    drivers.free(m, 0, 0, 9)
    drivers.free(m, 0, 512, 9)
    drivers.recount(m)
    assert type_of(m, 512) == M
    return free_blocks(m, ZONE_DMA)


def test_a_merge_across_pageblocks_gives_both_one_type() -> None:
    assert two_pageblocks_freed(U) == {(10, M): [0]}


def test_without_grouping_a_merge_records_unmovable() -> None:
    m = machine_with({}, types={0: U}, ram=(PfnRange(0, 1500),), thp_built_in=False)
    drivers.free(m, 0, 0, 9)
    drivers.free(m, 0, 512, 9)
    assert free_blocks(m, ZONE_DMA) == {(10, M): [0]}
    assert [type_of(m, pfn) for pfn in (0, 512)] == [U, M]


def test_a_highatomic_pageblock_merges_with_no_other() -> None:
    assert two_pageblocks_freed(H) == {(9, H): [0], (9, M): [512]}


def test_a_block_of_many_pageblocks_is_freed_to_the_list_of_each() -> None:
    m = machine_with({}, types={512: H})
    drivers.free(m, 0, 0, 10)
    drivers.recount(m)
    assert free_blocks(m, ZONE_DMA) == {(9, M): [0], (9, H): [512]}


def test_a_block_cannot_be_freed_twice() -> None:
    m = plain_machine()
    pfn = drivers.alloc(m, 0, MOVABLE, 4)
    drivers.free(m, 0, pfn, 4)
    free_before = int(m.zones[ZONE_DMA].nr_free_pages)
    with pytest.raises(AssertionError, match="double free"):
        drivers.free(m, 0, 0, 4)
    assert m.zones[ZONE_DMA].nr_free_pages == free_before
