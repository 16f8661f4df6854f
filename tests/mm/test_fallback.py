"""What a request takes when its own type has run out: whose pageblock, how much of it, and at what price."""

from kmsim.mm.gfp import parse_gfp
from kmsim.mm.mm_init import PfnRange
from kmsim.mm.mmzone import (
    EXTFRAG,
    KSWAPD_WAKEUPS,
    NO_PAGE,
    ZONE_BOOSTED_WATERMARK,
    ZONE_DMA,
    ZONE_NORMAL,
)

from . import drivers
from .machines import H, M, R, U, free_blocks, free_list, machine_with, plain_machine, set_watermarks, type_of

UNMOVABLE = parse_gfp("GFP_KERNEL")
MOVABLE = parse_gfp("GFP_HIGHUSER_MOVABLE")
RECLAIMABLE = parse_gfp("GFP_KERNEL | __GFP_RECLAIMABLE")
FOUR_GIB = 1 << 20


def test_a_claimed_pageblock_changes_type() -> None:
    m = machine_with({(9, M): [512]})
    assert drivers.alloc(m, 0, UNMOVABLE, 4) == 512
    assert type_of(m, 512) == U
    assert free_list(m, ZONE_DMA, 8, U) == [512 + 256]
    assert free_list(m, ZONE_DMA, 8, M) == []
    assert m.events[EXTFRAG] == 1


def test_a_claimed_block_of_many_pageblocks_changes_all_of_them() -> None:
    m = machine_with({(10, M): [1024]})
    assert drivers.alloc(m, 0, UNMOVABLE, 4) == 1024
    assert [type_of(m, pfn) for pfn in (1024, 1536, 2048)] == [U, U, M]


def test_the_largest_block_of_another_type_is_claimed() -> None:
    m = machine_with({(5, M): [512], (8, M): [1024], (6, M): [1536]})
    assert drivers.alloc(m, 0, UNMOVABLE, 4) == 1024
    assert [type_of(m, pfn) for pfn in (512, 1024, 1536)] == [M, U, M]


def test_the_rest_of_a_claimed_pageblock_moves_to_the_tails_of_its_new_lists() -> None:
    m = machine_with({(8, M): [1024], (5, M): [1024 + 320, 512], (4, M): [1024 + 416]})
    assert drivers.alloc(m, 0, UNMOVABLE, 6) == 1024
    drivers.recount(m)
    assert free_list(m, ZONE_DMA, 5, M) == [512]
    assert free_list(m, ZONE_DMA, 5, U) == [1024 + 320]
    assert free_list(m, ZONE_DMA, 4, U) == [1024 + 416]


def test_a_pageblock_full_of_the_other_type_is_not_claimed_but_stolen_from() -> None:
    m = machine_with({(5, U): [512], (8, U): [1024]}, {512: 0, 1024: 0})
    m.pageblocks[2] = U
    drivers.recount(m)
    assert drivers.alloc(m, 0, MOVABLE, 4) == 1024  # 256 of 512 pages are free: claimed
    assert type_of(m, 1024) == M
    m = machine_with({(5, U): [512], (7, U): [1024]}, {512: 0, 1024: 0})
    assert drivers.alloc(m, 0, MOVABLE, 4) == 512  # 128 of 512: the smallest block is stolen from instead
    assert type_of(m, 512) == U
    assert free_list(m, ZONE_DMA, 4, U) == [512 + 16]


def test_movable_pages_in_use_count_as_alike_for_an_unmovable_claim() -> None:
    """They can be migrated away one day; pages of a reclaimable pageblock cannot."""
    m = machine_with({(5, M): [512]})
    assert drivers.alloc(m, 0, UNMOVABLE, 4) == 512
    assert type_of(m, 512) == U
    m = machine_with({(5, R): [512]}, {512: R})
    assert drivers.alloc(m, 0, UNMOVABLE, 4) == 512
    assert type_of(m, 512) == R


def test_movable_requests_leave_small_blocks_of_others_alone_until_they_must_steal() -> None:
    """Order 3 is less than half of pageblock_order 9: no pageblock is even looked at."""
    m = machine_with({(3, U): [512]}, {512: U})
    m.work[0].frames_scanned = 0
    assert drivers.alloc(m, 0, MOVABLE, 0) == 512
    assert m.work[0].frames_scanned == 0
    assert type_of(m, 512) == U


def test_each_type_has_its_own_order_of_preference() -> None:
    blocks = {(9, U): [0], (9, M): [1024], (9, R): [2048]}
    types = {0: U, 2048: R}
    own = {UNMOVABLE: U, MOVABLE: M, RECLAIMABLE: R}
    taken = {}
    for gfp, migratetype in own.items():
        others = {key: pfns for key, pfns in blocks.items() if key[1] != migratetype}
        m = machine_with(others, types)
        taken[gfp] = [drivers.alloc(m, 0, gfp, 4) for _ in range(33)][0:33:32]
    assert taken == {UNMOVABLE: [2048, 1024], MOVABLE: [2048, 0], RECLAIMABLE: [0, 1024]}


def test_nothing_falls_back_to_highatomic() -> None:
    m = machine_with({(9, H): [512]}, {512: H})
    m.zones[ZONE_DMA].nr_reserved_highatomic = 512
    assert drivers.alloc(m, 0, UNMOVABLE, 4) == NO_PAGE
    assert free_blocks(m, ZONE_DMA) == {(9, H): [512]}


def test_a_lower_zone_is_used_before_the_normal_zone_is_fragmented() -> None:
    m = plain_machine(ram=(PfnRange(FOUR_GIB - 4096, FOUR_GIB + 4096),))
    for z in (ZONE_DMA, ZONE_NORMAL):
        set_watermarks(m, z, (0, 0, 0))
        m.zones[z].lowmem_reserve[:] = 0
    while drivers.alloc(m, 0, MOVABLE, 8) >= FOUR_GIB:
        pass
    drivers.free(m, 0, FOUR_GIB + 256, 8)  # half a movable pageblock is all that Normal has
    assert drivers.alloc(m, 0, UNMOVABLE, 4) < FOUR_GIB
    assert m.events[EXTFRAG] == 1


def test_the_normal_zone_is_fragmented_where_nothing_else_is_left() -> None:
    m = machine_with({(5, M): [FOUR_GIB + 512]}, ram=(PfnRange(FOUR_GIB, FOUR_GIB + 16384),))
    assert drivers.alloc(m, 0, UNMOVABLE, 4) == FOUR_GIB + 512
    assert type_of(m, FOUR_GIB + 512) == U


def claim_part(factor: int, high: int = 1000) -> tuple[int, int]:
    """The boost, and whether kswapd is to be woken, after part of a pageblock was claimed."""
    m = machine_with({(8, M): [512], (10, M): [2048]}, watermark_boost_factor=factor)
    set_watermarks(m, ZONE_DMA, (0, 0, high))
    assert drivers.alloc(m, 0, MOVABLE, 10) == 2048
    assert drivers.alloc(m, 0, parse_gfp("GFP_ATOMIC & ~__GFP_KSWAPD_RECLAIM"), 4) == 512
    zone = m.zones[ZONE_DMA]
    return int(zone.watermark_boost), int(zone.zone_flags) & ZONE_BOOSTED_WATERMARK


def test_a_fragmenting_claim_boosts_the_watermarks_by_a_pageblock() -> None:
    assert claim_part(15000) == (512, 0)


def test_the_boost_is_limited_to_a_share_of_the_high_mark_but_a_pageblock_is_always_allowed() -> None:
    assert claim_part(15000, high=20) == (512, 0)
    m = machine_with({(8, M): [512], (7, M): [1024], (6, M): [2048]})
    set_watermarks(m, ZONE_DMA, (0, 0, 400))
    gfp = parse_gfp("GFP_ATOMIC | __GFP_MEMALLOC")
    assert [drivers.alloc(m, 0, gfp, order) for order in (8, 7, 6)] == [512, 1024, 2048]
    assert m.zones[ZONE_DMA].watermark_boost == 400 * 3 // 2


def test_boosting_can_be_switched_off() -> None:
    assert claim_part(0) == (0, 0)


def test_a_request_that_may_wake_kswapd_does_so_after_a_boost() -> None:
    m = machine_with({(8, M): [512], (10, M): [2048]})
    set_watermarks(m, ZONE_DMA, (0, 0, 1000))
    before = m.events.copy()
    assert drivers.alloc(m, 0, MOVABLE, 10) == 2048
    assert drivers.alloc(m, 0, parse_gfp("GFP_ATOMIC"), 4) == 512
    assert m.zones[ZONE_DMA].zone_flags & ZONE_BOOSTED_WATERMARK == 0
    assert (m.events - before)[KSWAPD_WAKEUPS] == 1


def test_the_rung_that_served_is_remembered_while_a_list_is_refilled() -> None:
    """A claim is tried once, for the first page of the refill: 480 pages in use and one block are looked at."""
    m = machine_with({(5, U): [512, 1024, 1536, 2048]}, dict.fromkeys((512, 1024, 1536, 2048), U))
    m.work[0].frames_scanned = 0
    assert drivers.alloc(m, 0, MOVABLE, 0) == 512
    assert m.pcps[0].count + 1 == m.events[EXTFRAG] == 3
    assert m.work[0].frames_scanned == 481


def test_a_pageblock_that_is_not_all_in_the_zone_is_not_claimed() -> None:
    for start, migratetype in ((0, U), (8, M)):
        m = machine_with({(8, M): [256]}, ram=(PfnRange(start, 16384),))
        assert drivers.alloc(m, 0, UNMOVABLE, 4) == 256
        assert type_of(m, 256) == migratetype


def test_without_grouping_everything_is_unmovable_and_nothing_is_a_fallback() -> None:
    m = plain_machine(ram=(PfnRange(0, 1500),))
    assert m.params[0].mobility_disabled
    drivers.alloc(m, 0, MOVABLE, 4)
    drivers.alloc(m, 0, RECLAIMABLE, 4)
    drivers.recount(m)
    assert m.events[EXTFRAG] == 1  # the boot's lists are movable: the first request claims what it needs
    assert type_of(m, 0) == U
