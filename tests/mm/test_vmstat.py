"""Counters that fold late, and the kernel's fragmentation indices."""

import pytest

from kmsim.mm.gfp import parse_gfp
from kmsim.mm.mmzone import WMARK_HIGH, WMARK_LOW, WMARK_MIN, ZONE_DMA
from kmsim.mm.vmstat import (
    MAX_THRESHOLD,
    extfrag_for_order,
    fragmentation_index,
    normal_threshold,
    pressure_threshold,
    refresh_zone_stat_thresholds,
    unusable_free_index,
    zone_page_state_snapshot,
)

from . import drivers
from .machines import M, machine_with, pending, plain_machine


@pytest.mark.parametrize(
    ("managed_pages", "page_shift", "nr_cpus", "threshold"),
    [  # as /proc/zoneinfo showed them
        (16179, 16, 2, 16),
        (15990, 16, 16, 40),
        (57611, 12, 2, 8),
        (3840, 12, 2, 4),
        (3597312, 12, 16, 80),
        (1 << 30, 12, 256, MAX_THRESHOLD),
    ],
)
def test_the_threshold_grows_with_memory_and_cpus(
    managed_pages: int, page_shift: int, nr_cpus: int, threshold: int
) -> None:
    assert normal_threshold(managed_pages, page_shift, nr_cpus) == threshold


def test_under_pressure_the_threshold_keeps_the_error_inside_the_marks_distance() -> None:
    assert [pressure_threshold(distance, 4) for distance in (0, 3, 40, 4000)] == [1, 1, 10, MAX_THRESHOLD]


def test_a_delta_is_kept_back_until_it_passes_the_threshold() -> None:
    m = machine_with({(4, M): [0, 32, 64]})
    m.pcps["stat_threshold"][:] = 32
    gfp = parse_gfp("GFP_HIGHUSER_MOVABLE")
    seen = []
    for _ in range(3):
        drivers.alloc(m, 0, gfp, 4)
        seen.append((int(m.zones[ZONE_DMA].nr_free_pages), pending(m, ZONE_DMA)))
    drivers.free(m, 1, 0, 4)
    seen.append((int(m.zones[ZONE_DMA].nr_free_pages), pending(m, ZONE_DMA)))
    assert seen == [(48, [-16, 0]), (48, [-32, 0]), (0, [0, 0]), (0, [0, 16])]
    drivers.recount(m)


def test_the_snapshot_counts_pending_deltas_and_is_never_negative() -> None:
    plain = getattr(zone_page_state_snapshot, "py_func", zone_page_state_snapshot)
    m = plain_machine()
    m.zones[ZONE_DMA].nr_free_pages = 100
    m.pcps["vm_stat_diff"][:2] = [-30, 7]
    assert plain(m, ZONE_DMA) == 77
    m.pcps["vm_stat_diff"][:2] = [-130, 7]
    assert plain(m, ZONE_DMA) == 0


def test_the_drift_mark_is_set_only_where_deltas_could_hide_the_marks_distance() -> None:
    m = plain_machine()
    zone = m.zones[ZONE_DMA]
    assert zone.percpu_drift_mark == 0
    zone.watermark[WMARK_MIN], zone.watermark[WMARK_LOW], zone.watermark[WMARK_HIGH] = 100, 107, 114
    refresh_zone_stat_thresholds(m)
    assert zone.percpu_drift_mark == 114 + 2 * 4


ONE_OF_EACH = [1, 1, 1, 1]  # free blocks of orders 0 to 3: 15 pages


def test_the_unusable_index_is_the_share_that_an_order_cannot_use() -> None:
    assert [unusable_free_index(ONE_OF_EACH, order) for order in range(4)] == [0, 66, 200, 466]
    assert unusable_free_index([0, 0, 0, 0], 2) == 1000


def test_the_fragmentation_index_tells_lack_of_memory_from_fragmentation() -> None:
    assert fragmentation_index(ONE_OF_EACH, 3) == -1000
    assert fragmentation_index([0, 0, 0, 0], 3) == 0
    assert fragmentation_index([8, 0, 0, 0], 3) == 1000 - (1000 + 1000) // 8
    assert fragmentation_index([1, 0, 0, 0], 3) == 1000 - (1000 + 125)


def test_the_external_fragmentation_is_a_percentage() -> None:
    assert [extfrag_for_order(ONE_OF_EACH, order) for order in range(4)] == [0, 6, 20, 46]
    assert extfrag_for_order([0, 0], 1) == 0
