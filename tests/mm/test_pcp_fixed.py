"""The per-CPU lists of Linux 6.0: one size, batches that grow while a CPU only frees."""

import pytest

from kmsim.mm.gfp import parse_gfp
from kmsim.mm.mmzone import PCPF_PREV_FREE_HIGH_ORDER, ZONE_BELOW_HIGH, ZONE_DMA, ZONE_RECLAIM_ACTIVE, Machine

from . import drivers
from .machines import M, machine_with, plain_machine
from .test_pcp import drains, refills

MOVABLE = parse_gfp("GFP_HIGHUSER_MOVABLE")


def fixed(batch: int, high: int, *, filled: bool = False) -> Machine:
    """One CPU, its lists' sizes set by hand."""
    lists = {(10, M): [0, 1024, 2048, 3072]} if filled else {}
    m = machine_with(lists, nr_cpus=1, auto_tune=False)
    pcp = m.pcps[0]
    pcp.batch = batch
    pcp.high = pcp.high_min = pcp.high_max = high
    return m


def test_a_refill_is_always_one_batch() -> None:
    m = fixed(8, 400, filled=True)
    assert refills(m, MOVABLE, 0, 50) == [8] * 7
    assert (m.pcps[0].high, m.pcps[0].alloc_factor) == (400, 0)


@pytest.mark.parametrize(("batch", "order", "nr_blocks"), [(8, 1, 4), (8, 2, 2), (8, 3, 2), (1, 0, 1), (1, 3, 1)])
def test_higher_orders_are_refilled_by_as_many_pages(batch: int, order: int, nr_blocks: int) -> None:
    assert refills(fixed(batch, 400, filled=True), MOVABLE, order, 2)[0] == nr_blocks


def test_drains_double_while_a_cpu_only_frees() -> None:
    m = fixed(4, 50)
    assert drains(m, 0, list(range(0, 300, 2))) == [4, 8, 16, 32, 46]
    assert (m.pcps[0].free_factor, m.pcps[0].high) == (4, 50)


def test_each_allocation_halves_the_next_drain() -> None:
    m = fixed(4, 50)
    drains(m, 0, list(range(0, 300, 2)))
    for factor in (2, 1, 0, 0):
        drivers.alloc(m, 0, MOVABLE, 0)
        assert m.pcps[0].free_factor == factor


def test_blocks_of_orders_1_to_3_empty_the_lists_once_there_was_a_drain() -> None:
    m = fixed(4, 50)
    assert drains(m, 3, [0, 16, 32]) == []
    m.pcps[0].free_factor = 1
    assert drains(m, 3, [64]) == [32]
    assert drains(m, 9, [512]) == [512]
    assert m.pcps[0].pcp_flags & PCPF_PREV_FREE_HIGH_ORDER == 0


def test_a_list_smaller_than_a_batch_gives_back_one_page_at_a_time() -> None:
    assert drains(fixed(8, 4), 0, [0, 2, 4, 6, 8, 10]) == [1, 1, 1]


def test_frees_while_the_zone_is_reclaimed_drain_at_four_batches() -> None:
    m = fixed(4, 300)
    m.zones[ZONE_DMA].zone_flags = ZONE_RECLAIM_ACTIVE
    assert drains(m, 0, list(range(0, 40, 2))) == [4, 8]
    assert m.pcps[0].high == 300


def test_the_zones_high_mark_has_no_say() -> None:
    m = fixed(4, 50)
    m.zones[ZONE_DMA].zone_flags = ZONE_BELOW_HIGH
    m.zones[ZONE_DMA].watermark[2] = 10_000
    assert drains(m, 0, list(range(0, 100, 2))) == [4]


def test_nothing_decays() -> None:
    m = fixed(4, 50)
    drains(m, 0, list(range(0, 90, 2)))
    drivers.decay(m, 0, ZONE_DMA)
    assert (m.pcps[0].count, m.pcps[0].high) == (45, 50)


def test_a_booted_machines_lists_have_one_size() -> None:
    m, tuned = plain_machine(auto_tune=False), plain_machine()
    pcp = m.pcps[0]
    assert pcp.high == pcp.high_min == pcp.high_max == tuned.pcps[0].high_min
    assert tuned.pcps[0].high == 0


def test_drains_double_no_more_often_than_the_kernel_is_built_for() -> None:
    m = fixed(4, 4000)
    m.params[0].batch_scale_max = 2
    assert drains(m, 0, list(range(0, 8100, 2))) == [4, 8, 16, 16, 16]
    assert m.pcps[0].free_factor == 2
