"""How deep each request may go into a zone's reserves, and what it finds out on the way."""

import pytest

from kmsim.mm.gfp import parse_gfp
from kmsim.mm.mm_init import PfnRange
from kmsim.mm.mmzone import (
    KSWAPD_WAKEUPS,
    NEEDS_SLOW_PATH,
    NO_PAGE,
    NOPAGE,
    ZONE_BELOW_HIGH,
    ZONE_DMA,
    ZONE_NORMAL,
    Machine,
)

from . import drivers
from .machines import H, M, machine_with, plain_machine, set_watermarks

FOUR_GIB = 1 << 20
MARKS = (400, 500, 600)
SINGLES = list(range(0, 2048, 2))


def marked(**changes: int) -> Machine:
    """A machine of movable blocks with marks 400, 500, 600 and a boost of choice."""
    m = machine_with({(10, M): list(range(0, 8192, 1024))}, nr_cpus=1)
    set_watermarks(m, ZONE_DMA, MARKS)
    for name, value in changes.items():
        m.zones[ZONE_DMA][name] = value
    return m


def exhaust(m: Machine, text: str, order: int) -> int:
    """Allocate until it fails; the free pages that are left."""
    gfp = parse_gfp(text)
    while drivers.alloc(m, 0, gfp, order) != NO_PAGE:
        pass
    return int(m.zones[ZONE_DMA].nr_free_pages)


@pytest.mark.parametrize(
    ("text", "floor"),
    [
        ("GFP_HIGHUSER_MOVABLE", 400),
        ("GFP_NOWAIT | __GFP_MOVABLE", 400),
        ("GFP_HIGHUSER_MOVABLE | __GFP_NORETRY", 400),
        ("GFP_HIGHUSER_MOVABLE & ~__GFP_RECLAIM", 400),
        ("GFP_HIGHUSER_MOVABLE | __GFP_HIGH", 200),
        ("GFP_ATOMIC | __GFP_MOVABLE", 150),
        ("GFP_ATOMIC | __GFP_MOVABLE | __GFP_NOMEMALLOC", 200),
    ],
)
def test_each_request_stops_at_its_own_floor(text: str, floor: int) -> None:
    """It must leave more than the floor after all but one of its own pages are gone."""
    left = exhaust(marked(), text, 4)
    assert left - 15 <= floor < left - 15 + 16


def test_requests_that_will_free_memory_may_use_all_of_it() -> None:
    assert exhaust(marked(), "GFP_ATOMIC | __GFP_MOVABLE | __GFP_MEMALLOC", 4) == 0
    nomemalloc = "GFP_HIGHUSER_MOVABLE | __GFP_MEMALLOC | __GFP_NOMEMALLOC"
    assert exhaust(marked(), nomemalloc, 4) == 400


def test_a_boost_raises_the_floor() -> None:
    assert exhaust(marked(watermark_boost=64), "GFP_HIGHUSER_MOVABLE", 4) == 464


def single_pages(free: int) -> Machine:
    """A machine with that many free single pages, marks 400, 500, 600 and a boost of 300."""
    m = machine_with({(0, M): SINGLES[:free]}, nr_cpus=1)
    set_watermarks(m, ZONE_DMA, MARKS)
    m.zones[ZONE_DMA].watermark_boost = 300
    return m


def test_only_order_0_requests_with_gfp_high_may_ignore_the_boost() -> None:
    assert drivers.alloc(single_pages(350), 0, parse_gfp("GFP_ATOMIC | __GFP_MOVABLE"), 0) != NO_PAGE
    assert drivers.alloc(single_pages(410), 0, parse_gfp("GFP_HIGHUSER_MOVABLE"), 0) == NO_PAGE
    assert drivers.alloc(single_pages(150), 0, parse_gfp("GFP_ATOMIC | __GFP_MOVABLE"), 0) == NO_PAGE


def test_a_high_order_needs_a_block_however_many_pages_are_free() -> None:
    m = machine_with({(0, M): SINGLES, (3, M): [4096]}, nr_cpus=1)
    assert drivers.alloc(m, 0, parse_gfp("GFP_HIGHUSER_MOVABLE"), 4) == NO_PAGE
    assert drivers.alloc(m, 0, parse_gfp("GFP_HIGHUSER_MOVABLE"), 3) == 4096


def test_highatomic_pages_do_not_count_for_ordinary_requests() -> None:
    m = machine_with({(0, M): SINGLES[:450], (9, H): [4096]}, types={4096: H}, nr_cpus=1)
    set_watermarks(m, ZONE_DMA, (500, 500, 500))
    assert drivers.alloc(m, 0, parse_gfp("GFP_HIGHUSER_MOVABLE"), 0) == NO_PAGE
    assert drivers.alloc(m, 0, parse_gfp("GFP_NOWAIT | __GFP_MOVABLE"), 0) != NO_PAGE


def test_a_zone_keeps_its_reserve_from_requests_that_could_use_a_higher_one() -> None:
    m = plain_machine(ram=(PfnRange(FOUR_GIB - 2048, FOUR_GIB + 2048),))
    for z in (ZONE_DMA, ZONE_NORMAL):
        set_watermarks(m, z, (10, 10, 10))
    m.zones[ZONE_DMA].lowmem_reserve[ZONE_NORMAL] = 1000
    assert exhaust(m, "GFP_KERNEL | __GFP_MOVABLE", 4) > 1010
    assert exhaust(m, "GFP_KERNEL | __GFP_MOVABLE | __GFP_DMA", 4) < 100


def test_movable_requests_are_held_against_the_reserve_for_the_movable_zone() -> None:
    m = plain_machine(ram=(PfnRange(FOUR_GIB - 2048, FOUR_GIB + 2048),))
    for z in (ZONE_DMA, ZONE_NORMAL):
        set_watermarks(m, z, (10, 10, 10))
    m.zones[ZONE_DMA].lowmem_reserve[:] = [0, 0, 0, 1200]
    assert exhaust(m, "GFP_HIGHUSER_MOVABLE", 4) > 1210


def test_a_zone_is_marked_below_high_by_an_allocation_and_recovers_by_a_drain() -> None:
    m = marked()
    pcp = m.pcps[0]
    pcp.batch, pcp.high_min, pcp.high_max = 4, 8, 8
    held = [drivers.alloc(m, 0, parse_gfp("GFP_HIGHUSER_MOVABLE"), 4) for _ in range(478)]
    assert m.zones[ZONE_DMA].zone_flags & ZONE_BELOW_HIGH
    for pfn in held[:10]:
        drivers.free(m, 0, pfn, 4)
    assert m.zones[ZONE_DMA].nr_free_pages > 600
    assert m.zones[ZONE_DMA].zone_flags & ZONE_BELOW_HIGH, "only a drain of a per-CPU list looks again"
    for pfn in range(held[20], held[20] + 8):
        drivers.free(m, 0, pfn, 0)
    assert not m.zones[ZONE_DMA].zone_flags & ZONE_BELOW_HIGH


def failures(text: str, order: int) -> tuple[int, int, int]:
    """How a request that finds nothing is counted: NOPAGE, NEEDS_SLOW_PATH, KSWAPD_WAKEUPS."""
    m = machine_with({}, nr_cpus=1)
    assert drivers.alloc(m, 0, parse_gfp(text), order) == NO_PAGE
    return tuple(int(m.events[event]) for event in (NOPAGE, NEEDS_SLOW_PATH, KSWAPD_WAKEUPS))  # type: ignore[return-value]


@pytest.mark.parametrize(
    ("text", "order", "counted"),
    [
        ("GFP_NOWAIT", 0, (1, 0, 2)),
        ("GFP_ATOMIC", 2, (1, 0, 2)),
        ("GFP_DMA", 0, (1, 0, 0)),
        ("GFP_KERNEL & ~__GFP_RECLAIM", 0, (1, 0, 0)),
        ("GFP_TRANSHUGE_LIGHT", 4, (1, 0, 0)),
        ("GFP_KERNEL & ~__GFP_KSWAPD_RECLAIM", 0, (0, 1, 0)),
        ("GFP_KERNEL", 0, (0, 1, 2)),
        ("GFP_KERNEL", 1, (0, 1, 1)),  # goes to compaction first
        ("GFP_KERNEL | __GFP_MEMALLOC", 1, (0, 1, 2)),
        ("GFP_HIGHUSER_MOVABLE", 3, (0, 1, 2)),
        ("GFP_HIGHUSER_MOVABLE", 4, (0, 1, 1)),
        ("GFP_NOIO", 4, (0, 1, 2)),  # may not compact
    ],
)
def test_a_failure_is_counted_with_the_wakeups_before_it(text: str, order: int, counted: tuple[int, int, int]) -> None:
    assert failures(text, order) == counted


def test_where_no_zone_could_ever_serve_a_request_nothing_is_tried() -> None:
    """All memory is above 4 GiB: there is no ZONE_DMA, and not even kswapd is woken."""
    m = plain_machine(ram=(PfnRange(FOUR_GIB, FOUR_GIB + 4096),))
    assert drivers.alloc(m, 0, parse_gfp("GFP_KERNEL | __GFP_DMA"), 0) == NO_PAGE
    assert [int(m.events[event]) for event in (NOPAGE, NEEDS_SLOW_PATH, KSWAPD_WAKEUPS)] == [1, 0, 0]


def test_kswapd_sleeps_on_where_the_node_is_balanced_and_nothing_is_boosted() -> None:
    for boost, wakeups in ((0, 0), (5, 1)):
        m = machine_with({(0, M): [0, 2, 4, 6]}, nr_cpus=1)
        m.zones[ZONE_DMA].watermark_boost = boost
        m.zones[ZONE_DMA].watermark[1] = 1000  # the low mark alone is out of reach
        assert drivers.alloc(m, 0, parse_gfp("GFP_KERNEL | __GFP_HIGH"), 0) in (0, NO_PAGE)
        assert (m.events[KSWAPD_WAKEUPS] > 0) == bool(wakeups)


def test_the_check_reads_the_counter_without_pending_deltas() -> None:
    m = marked()
    m.zones[ZONE_DMA].watermark[:] = 8192 - 100
    m.zones[ZONE_DMA].nr_free_pages -= 100
    m.pcps[0].vm_stat_diff += 100
    drivers.recount(m)
    assert drivers.alloc(m, 0, parse_gfp("GFP_NOWAIT"), 0) == NO_PAGE
