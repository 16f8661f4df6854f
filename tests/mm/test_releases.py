"""Machines of each kernel release: they hold what must hold under random requests, and differ where releases do."""

from typing import Any

import pytest

from kmsim.jit import entry
from kmsim.mm.gfp import ALLOC_HARDER, ALLOC_HIGHATOMIC, ALLOC_NO_BOOST, parse_gfp
from kmsim.mm.kernels import KERNELS, Kernel
from kmsim.mm.mmzone import (
    MIGRATE_RECLAIMABLE,
    MIGRATE_TYPES,
    MIGRATE_UNMOVABLE,
    NO_PAGE,
    ZONE_BOOSTED_WATERMARK,
    ZONE_DMA,
    Machine,
    pcps_of_zone,
)
from kmsim.mm.pageblock import free_list_head
from kmsim.mm.snapshot import walk
from kmsim.mm.watermark import alloc_flags_of
from kmsim.mm.zone_setup import zone_batchsize, zone_batchsize_of_order0

from . import drivers, scenario
from .machines import machine_with, plain_machine, type_of

UNMOVABLE = parse_gfp("GFP_KERNEL | __GFP_DMA")
OLDER = [release for release in KERNELS if KERNELS[release].series < KERNELS["6.12"].series]


@entry
def flags_of(m: Machine, gfp: int, order: int) -> int:
    """What a request may do once the low watermark has stopped it, for Python callers."""
    return alloc_flags_of(m, gfp, order)


def lists_of(m: Machine, order: int) -> dict[int, list[int]]:
    """The free blocks of an order in the first zone, by type, where there are some."""
    found = {
        migratetype: walk(m, free_list_head(m, ZONE_DMA, order, migratetype)) for migratetype in range(MIGRATE_TYPES)
    }
    return {migratetype: pfns for migratetype, pfns in found.items() if pfns}


def rules(release: str) -> dict[str, Any]:
    """A release's parameters."""
    return KERNELS[release]._asdict()


@pytest.mark.parametrize("release", KERNELS)
def test_random_requests_leave_a_machine_that_can_be_recounted(release: str) -> None:
    assert scenario.play(None, **rules(release)) == scenario.play(None, **rules(release))


def test_releases_serve_the_same_requests_otherwise() -> None:
    handed_out = [scenario.play(None, **rules(release))["handed_out"] for release in KERNELS]
    assert all(one != other for n, one in enumerate(handed_out) for other in handed_out[:n])


def test_lists_of_order_0_alone_leave_other_blocks_to_the_zone() -> None:
    m = plain_machine(**rules("5.10"))
    pfn = drivers.alloc(m, 0, UNMOVABLE, 1)
    assert pfn != NO_PAGE
    assert not m.pcps["count"].any()
    drivers.free(m, 0, pfn, 1)
    assert not m.pcps["count"].any()
    drivers.alloc(m, 0, UNMOVABLE, 0)
    assert m.pcps["count"].sum() == pcps_of_zone(m, ZONE_DMA)["batch"][0] - 1


@pytest.mark.parametrize(("managed", "batch", "high"), [(57_114, 15, 90), (3_977, 1, 0)])
def test_lists_of_order_0_alone_are_sized_by_their_batch(managed: int, batch: int, high: int) -> None:
    """As recorded of 5.10: a zone that is too small for a batch has lists that hold nothing."""
    assert (zone_batchsize(managed, 12), 6 * zone_batchsize_of_order0(managed, 12)) == (batch, high)


@pytest.mark.parametrize("release", OLDER)
def test_a_fallback_moves_free_pages_of_a_pageblock_that_keeps_its_type(release: str) -> None:
    """Of pageblock 512 one block of order 5 is free: too little to change its type, but it moves, and is split."""
    m = machine_with({(5, MIGRATE_RECLAIMABLE): [512]}, {512: MIGRATE_RECLAIMABLE}, **rules(release))
    pfn = drivers.alloc(m, 0, UNMOVABLE, 4)
    assert pfn == 512
    assert type_of(m, 512) == MIGRATE_RECLAIMABLE
    assert lists_of(m, 4) == {MIGRATE_UNMOVABLE: [528]}
    drivers.recount(m)


@pytest.mark.parametrize("release", ["6.12", "7.3"])
def test_a_claim_since_6_12_leaves_the_rest_where_it_was(release: str) -> None:
    m = machine_with({(5, MIGRATE_RECLAIMABLE): [512]}, {512: MIGRATE_RECLAIMABLE}, **rules(release))
    assert drivers.alloc(m, 0, UNMOVABLE, 4) == 512
    assert lists_of(m, 4) == {MIGRATE_RECLAIMABLE: [528]}
    drivers.recount(m)


@pytest.mark.parametrize(
    ("gfp", "order", "flags"),
    [
        ("GFP_ATOMIC", 0, ALLOC_HARDER),
        ("GFP_ATOMIC", 2, ALLOC_HARDER | ALLOC_HIGHATOMIC),
        ("GFP_ATOMIC | __GFP_NOMEMALLOC", 0, 0),
        ("GFP_NOWAIT", 0, 0),
        ("__GFP_HIGH", 0, 0),
        ("GFP_KERNEL | __GFP_HIGH", 2, 0),
    ],
)
def test_before_6_3_only_atomic_requests_try_harder(gfp: str, order: int, flags: int) -> None:
    found = flags_of(plain_machine(**rules("5.10")), parse_gfp(gfp), order)
    assert found & (ALLOC_HARDER | ALLOC_HIGHATOMIC) == flags
    assert bool(found & ALLOC_NO_BOOST) == gfp.startswith("GFP_ATOMIC")


@pytest.mark.parametrize(("release", "wakes"), [("5.10", True), ("6.1", False), ("6.12", False)])
def test_up_to_5_10_whoever_takes_from_a_boosted_zone_wakes_kswapd(release: str, wakes: bool) -> None:
    m = plain_machine(**rules(release))
    m.zones[ZONE_DMA].zone_flags |= ZONE_BOOSTED_WATERMARK
    quiet = parse_gfp("GFP_KERNEL & ~__GFP_KSWAPD_RECLAIM | __GFP_DMA")
    assert drivers.alloc(m, 0, quiet, 0) != NO_PAGE
    assert bool(m.zones[ZONE_DMA].zone_flags & ZONE_BOOSTED_WATERMARK) != wakes


def test_a_row_differs_from_the_newest_in_what_it_says() -> None:
    newest, default = KERNELS["6.12"], Kernel(auto_tune=True, check_pages=False)
    assert newest == default
    for release, kernel in KERNELS.items():
        assert (kernel == newest) == (release == "6.12")
        major, minor = release.split(".")
        assert kernel.series == 1000 * int(major) + int(minor)
    for rule in Kernel._fields:
        values = {getattr(kernel, rule) for kernel in KERNELS.values()}
        assert (len(values) == 1) == (rule in BUILD_OPTIONS), rule


BUILD_OPTIONS = ("tails_written", "batch_scale_max")  # the same in each release
