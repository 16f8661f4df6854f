"""The boot: which zone gets which page frames, and in what blocks."""

import pytest

from kmsim.mm.memblock import boot_machine, free_range, recount, zone_bounds
from kmsim.mm.mm_init import PfnRange, overlap, subtract
from kmsim.mm.mmzone import NR_EVENTS, ZONE_DMA, ZONE_DMA32, ZONE_NORMAL, new_machine, page_t
from tests.params import params

from .machines import M, U, boot_of, free_blocks, plain_machine

FOUR_GIB = 1 << 20


def ranges(*pairs: tuple[int, int]) -> tuple[PfnRange, ...]:
    """Page frame ranges."""
    return tuple(PfnRange(*pair) for pair in pairs)


@pytest.mark.parametrize(
    ("pieces", "holes", "left"),
    [
        (ranges((0, 100)), (), [(0, 100)]),
        (ranges((0, 100)), ranges((0, 100)), []),
        (ranges((0, 100)), ranges((10, 20)), [(0, 10), (20, 100)]),
        (ranges((0, 100)), ranges((0, 10), (90, 120)), [(10, 90)]),
        (ranges((0, 100), (200, 300)), ranges((50, 250)), [(0, 50), (250, 300)]),
        (ranges((10, 20)), ranges((0, 5), (30, 40)), [(10, 20)]),
    ],
)
def test_holes_are_cut_out(
    pieces: tuple[PfnRange, ...], holes: tuple[PfnRange, ...], left: list[tuple[int, int]]
) -> None:
    assert subtract(pieces, holes) == left


def test_an_overlap_is_counted_in_pages() -> None:
    assert overlap(ranges((0, 10), (20, 30)), 5, 25) == 10
    assert overlap(ranges((0, 10)), 10, 20) == 0


def test_x86_64_has_dma_dma32_and_normal() -> None:
    boot = boot_of(arch="x86-64", ram=ranges((1, 159), (256, FOUR_GIB + 5000)))
    assert zone_bounds(boot)[0][:3] == [(1, 4096), (4096, FOUR_GIB), (FOUR_GIB, FOUR_GIB + 5000)]
    assert overlap(boot.ram, *zone_bounds(boot)[0][3]) == 0


def test_arm64_has_dma_up_to_4_gib_and_no_dma32() -> None:
    boot = boot_of(ram=ranges((FOUR_GIB - 4096, FOUR_GIB + 4096)))
    dma, dma32, normal, _ = zone_bounds(boot)[0]
    assert (dma, normal) == ((FOUR_GIB - 4096, FOUR_GIB), (FOUR_GIB, FOUR_GIB + 4096))
    assert dma32.start == dma32.end
    m = boot_machine(boot)
    assert [int(pages) for pages in m.zones["present_pages"]] == [4096, 0, 4096, 0]


def test_free_memory_comes_in_the_largest_aligned_blocks_lowest_first() -> None:
    m = plain_machine(ram=ranges((5, 4100)))
    assert free_blocks(m, ZONE_DMA) == {
        (0, M): [5],
        (1, M): [6],
        (2, M): [4096],
        (3, M): [8],
        (4, M): [16],
        (5, M): [32],
        (6, M): [64],
        (7, M): [128],
        (8, M): [256],
        (9, M): [512],
        (10, M): [1024, 2048, 3072],
    }


def test_reserved_pages_and_holes_are_not_free() -> None:
    m = plain_machine(ram=ranges((0, 2048), (3072, 4096)), reserved=ranges((1024, 2048)))
    zone = m.zones[ZONE_DMA]
    assert free_blocks(m, ZONE_DMA) == {(10, M): [0, 3072]}
    assert (zone.start_pfn, zone.end_pfn, zone.present_pages, zone.managed_pages) == (0, 4096, 3072, 2048)


def test_late_pages_are_managed_but_did_not_count_for_the_marks() -> None:
    early = plain_machine(reserved=ranges((1024, 8192)))
    late = plain_machine(released=ranges((1024, 8192)))
    assert late.zones[ZONE_DMA].watermark.tolist() == early.zones[ZONE_DMA].watermark.tolist()
    assert late.zones[ZONE_DMA].managed_pages == 16384
    assert sorted(free_blocks(late, ZONE_DMA)[10, M]) == list(range(0, 16384, 1024))


def test_a_zone_boundary_inside_a_large_block_divides_it() -> None:
    """Page 4096 begins DMA32; blocks of 2^14 pages could cover both zones."""
    m = plain_machine(arch="x86-64", max_page_order=14, ram=ranges((1, 159), (256, 40_000)))
    dma = [pfn for pfns in free_blocks(m, ZONE_DMA).values() for pfn in pfns]
    assert max(dma) == 2048
    assert min(pfn for pfns in free_blocks(m, ZONE_DMA32).values() for pfn in pfns) == 4096
    assert free_blocks(m, ZONE_DMA32)[14, M] == [16384]


def test_the_last_block_may_reach_beyond_memory_but_no_page_there_is_free() -> None:
    m = plain_machine(ram=ranges((0, 16_000)))
    assert m.params[0].nr_frames == 16384
    assert len(m.pageblocks) == 32
    assert not m.pages["page_flags"][16_000:16_384].any()


def test_a_booted_machine_has_no_pending_deltas_and_empty_lists() -> None:
    m = plain_machine(nr_cpus=4)
    assert not m.pcps["vm_stat_diff"].any()
    assert not m.pcps["count"].any()
    assert m.zones[ZONE_DMA].nr_free_pages == 16384
    assert m.events.tolist() == [0] * NR_EVENTS


def test_boots_above_4_gib_have_only_the_normal_zone() -> None:
    m = plain_machine(ram=ranges((FOUR_GIB + 512, FOUR_GIB + 5000)))
    assert [z for z in range(4) if m.zones[z].present_pages] == [ZONE_NORMAL]


def test_a_range_given_back_later_merges_with_its_neighbours() -> None:
    m = plain_machine(reserved=ranges((1000, 1024)))
    m.zones[ZONE_DMA].managed_pages += 24
    free_range(m, 1000, 1024)
    assert 0 in free_blocks(m, ZONE_DMA)[10, M]
    assert m.zones[ZONE_DMA].nr_free_pages == 16384


def test_a_page_record_takes_sixteen_bytes() -> None:
    assert page_t.itemsize == 16


@pytest.mark.parametrize(("max_page_order", "thp_built_in"), [(2, False), (16, False), (8, True)])
def test_an_illegal_geometry_is_our_own_mistake(max_page_order: int, thp_built_in: bool) -> None:
    with pytest.raises(AssertionError):
        new_machine(params(nr_frames=4096, max_page_order=max_page_order, pageblock_order=3, thp_built_in=thp_built_in))


def test_grouping_given_up_leaves_the_boots_pageblocks_movable() -> None:
    m = plain_machine(ram=ranges((0, 1024)))
    assert free_blocks(m, ZONE_DMA) == {(10, M): [0]}
    assert m.params[0].mobility_disabled
    assert U not in m.pageblocks


def test_no_block_lies_in_two_zones_even_where_frame_0_is_free() -> None:
    m = boot_machine(boot_of(arch="x86-64", max_page_order=14, ram=(PfnRange(0, 40_000),)))
    assert [int(zone.nr_free_pages) for zone in m.zones] == [4096, 35_904, 0, 0]
    recount(m)


def test_what_is_released_outside_of_ram_gives_nothing() -> None:
    ram = ranges((4096, 16384))
    m = plain_machine(ram=ram, released=ranges((0, 512), (4000, 4608), (16000, 17000)))
    whole = plain_machine(ram=ram)
    assert m.zones["managed_pages"].tolist() == whole.zones["managed_pages"].tolist()
    recount(m)
