"""The rules by which a report is explained: 6.12's against the model's own check, others by cases."""

import random

import numpy as np
import pytest

from kmsim.jit import entry
from kmsim.mm.gfp import GFP_FLAGS, gfp_to_alloc_flags
from kmsim.mm.mmzone import MIGRATE_TYPES, Machine
from kmsim.mm.snapshot import save
from kmsim.mm.watermark import wmark_pages, zone_watermark_fast
from kmsim.procfs.mem_report import Blocks, Request, ZoneReport
from kmsim.study.report_rules import Asking, asking, flags_of, held
from tests.mm.machines import H, M, R, U, machine_with

LETTER = {U: "U", M: "M", R: "E", H: "H"}
NORMAL = 2
RELEASE = (6, 12)
GFPS = (
    *("GFP_KERNEL", "GFP_ATOMIC", "GFP_NOWAIT", "__GFP_HIGH | GFP_KERNEL"),
    *("GFP_ATOMIC | __GFP_NOMEMALLOC", "GFP_HIGHUSER_MOVABLE"),
)


@entry
def passes(m: Machine, zone: int, order: int, gfp: int, highest: int) -> bool:
    """Does the zone pass the check at its min mark?"""
    return zone_watermark_fast(m, zone, order, wmark_pages(m, zone, 0), highest, gfp_to_alloc_flags(gfp, order))


def mask_of(words: str) -> int:
    mask = 0
    for word in words.split(" | "):
        mask |= GFP_FLAGS[word]
    return mask


def of(words: str, release: tuple[int, int] = RELEASE) -> Asking:
    names = tuple(words.split(" | "))
    return asking(flags_of(Request("a", 0, mask_of(words), names, "", "", False, 1), release), release)


def report_of(m: Machine, z: int) -> ZoneReport:
    """The zone as a report would have it."""
    zone = m.zones[z]
    lists = save(m)[0].lists
    blocks = []
    for order in range(int(m.params[0].max_page_order) + 1):
        types = "".join(LETTER[mt] for mt in range(MIGRATE_TYPES) if (order, mt) in lists)
        blocks.append(Blocks(int(zone.nr_free[order]), types, at_least=False))
    boost = int(zone.watermark_boost)
    marks = [int(mark) + boost for mark in zone.watermark[:3]]
    return ZoneReport(
        0, "Normal", int(zone.nr_free_pages), marks[1], marks[0], marks[2], boost,
        int(zone.nr_reserved_highatomic), None, None, 0, tuple(map(int, zone.lowmem_reserve)), tuple(blocks), 1,
    )  # fmt: skip


@pytest.mark.slow
def test_the_rules_of_6_12_are_the_models() -> None:
    rng = random.Random(5)
    seen = set()
    for _ in range(60):
        lists: dict[tuple[int, int], list[int]] = {}
        types = {}
        for block in range(16):
            mt = rng.choice((U, M, M, R, H))
            types[512 * block] = mt
            for order in rng.sample(range(10), 3):
                lists.setdefault((order, mt), []).append(512 * block + (1 << order if order < 9 else 0))
        apart = {key: [pfn for pfn in pfns if key[0] < 9] for key, pfns in lists.items()}
        m = machine_with({key: pfns for key, pfns in apart.items() if pfns}, types)
        (z,) = np.flatnonzero(m.zones["present_pages"]).tolist()
        zone = m.zones[z]
        free = int(zone.nr_free_pages)
        zone.watermark[:3] = [rng.randrange(1, 2 * free), 2 * free, 3 * free]
        zone.watermark_boost = rng.choice((0, rng.randrange(1, free)))
        zone.nr_free_highatomic = sum(len(pfns) << order for (order, mt), pfns in apart.items() if mt == H)
        zone.nr_reserved_highatomic = rng.choice((0, 512, 1024)) if zone.nr_free_highatomic else 0
        for words in GFPS:
            for order in (0, 0, 1, 3, 5, 8):
                found = held(report_of(m, z), 0, order, of(words), RELEASE).passes
                expected = bool(passes(m, z, order, mask_of(words), NORMAL))
                if found is not None and zone.nr_reserved_highatomic >= zone.nr_free_highatomic:
                    assert found == expected, (words, order)
                    seen.add((words, found))
    assert len(seen) == 2 * len(GFPS)


def zone_of(free: int, minimum: int, blocks: tuple[Blocks, ...] = (), **more: object) -> ZoneReport:
    plain = ZoneReport(0, "Normal", free, 0, minimum, 0, 0, 0, None, None, 0, (), blocks, 1)
    return plain._replace(**more)


ONE_EACH = tuple(Blocks(1, "UM", at_least=False) for _ in range(11))


@pytest.mark.parametrize(
    ("release", "gfp", "lowest"),
    [
        ((3, 10), "GFP_KERNEL", 1024),
        ((3, 10), "GFP_ATOMIC", 384),  # a half by __GFP_HIGH, and a quarter of that as it cannot wait
        ((3, 10), "GFP_NOWAIT", 768),
        ((5, 10), "GFP_ATOMIC", 384),
        ((5, 10), "GFP_NOWAIT", 1024),
        ((5, 10), "__GFP_HIGH | GFP_KERNEL", 512),
        ((6, 1), "GFP_ATOMIC", 384),
        ((6, 7), "GFP_ATOMIC", 384),
        ((6, 7), "GFP_NOWAIT", 1024),
        ((6, 7), "__GFP_HIGH | GFP_KERNEL", 512),
    ],
)
def test_how_far_down_flags_let_a_request_go(release: tuple[int, int], gfp: str, lowest: int) -> None:
    by = of(gfp, release)
    assert held(zone_of(lowest, 1024, ONE_EACH), 0, 0, by, release).passes is False
    assert held(zone_of(lowest + 1, 1024, ONE_EACH), 0, 0, by, release).passes is True


def test_up_to_4_3_smaller_blocks_are_taken_off_order_by_order() -> None:
    by = of("GFP_KERNEL", (3, 10))
    # 1,000 single pages and one block of order 2: free - 3 is above the mark, but not what is left of it.
    zone = zone_of(1004, 900, (Blocks(1000, "U", False), Blocks(0, "", False), Blocks(1, "U", False)))
    found = held(zone, 0, 2, by, (3, 10))
    assert (found.passes, found.below_at) == (False, 0)
    assert held(zone, 0, 2, by, (4, 4)).passes is True


def test_the_highatomic_reserve_is_for_who_may_use_it() -> None:
    zone = zone_of(1500, 1024, ONE_EACH, reserved_highatomic=512)
    assert held(zone, 0, 0, of("GFP_KERNEL", (6, 7)), (6, 7)).passes is False
    assert held(zone, 0, 0, of("__GFP_HIGH | GFP_KERNEL", (6, 7)), (6, 7)).passes is True
    # From 6.12 on only its free pages are taken off, which are not printed.
    assert held(zone, 0, 0, of("GFP_KERNEL"), RELEASE).passes is None
    only_h = (*ONE_EACH[:3], *[Blocks(1, "H", at_least=False)] * 8)
    assert held(zone_of(9000, 1024, only_h), 0, 3, of("GFP_KERNEL", (6, 7)), (6, 7)).passes is False
    assert held(zone_of(9000, 1024, only_h), 0, 3, of("GFP_ATOMIC", (6, 7)), (6, 7)).passes is True


def test_cma_blocks_are_for_movable_requests() -> None:
    cma = tuple(Blocks(1, "C", at_least=False) for _ in range(11))
    zone = zone_of(2000, 1024, cma, free_cma=900)
    assert held(zone, 0, 0, of("GFP_KERNEL", (5, 10)), (5, 10)).passes is True
    assert held(zone, 0, 1, of("GFP_KERNEL", (5, 10)), (5, 10)).passes is False
    assert held(zone, 0, 1, of("GFP_HIGHUSER_MOVABLE", (5, 10)), (5, 10)).passes is True
    assert held(zone_of(2000, 1200, cma, free_cma=900), 0, 0, of("GFP_KERNEL", (5, 10)), (5, 10)).passes is False


def test_bits_of_kernels_that_print_no_names() -> None:
    old = flags_of(Request("a", 0, 0x4020, (), "", "", False, 1), (3, 10))
    assert old == {"__GFP_HIGH", "__GFP_COMP"}
    assert flags_of(Request("a", 0, 0xD0, (), "", "", False, 1), (3, 10)) == {
        "__GFP_DIRECT_RECLAIM", "__GFP_IO", "__GFP_FS",
    }  # fmt: skip
    new = flags_of(Request("a", 0, 0x2280020, (), "", "", False, 1), (4, 4))
    assert {"__GFP_HIGH", "__GFP_ATOMIC", "__GFP_KSWAPD_RECLAIM"} <= new


@pytest.mark.parametrize(("release", "below_at"), [((3, 7), 0), ((3, 9), 0), ((3, 10), None), ((4, 3), None)])
def test_cma_is_off_before_smaller_blocks_up_to_3_9_only(release: tuple[int, int], below_at: int | None) -> None:
    blocks = (Blocks(1000, "UC", False), Blocks(500, "UC", False))
    found = held(zone_of(2000, 400, blocks, free_cma=900), 0, 1, of("GFP_KERNEL", release), release)
    assert (found.most_usable, found.below_at) == (1099, below_at)
