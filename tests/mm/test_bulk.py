"""Many pages at once: in which order they come, when a bulk request stops, and how batches are freed."""

import numpy as np

from kmsim.mm.gfp import parse_gfp
from kmsim.mm.mm_init import PfnRange
from kmsim.mm.mmzone import NOPAGE, PGALLOC, PGFREE, ZONE_DMA, ZONE_NORMAL, Machine

from . import drivers
from .machines import M, free_list, machine_with, pcp_lists, pending, plain_machine, set_watermarks

MOVABLE = parse_gfp("GFP_HIGHUSER_MOVABLE")
FOUR_GIB = 1 << 20


def bulk(m: Machine, nr_pages: int, gfp: int = MOVABLE) -> list[int]:
    """The pages of one bulk request on CPU 0."""
    pfns = np.zeros(nr_pages, np.int64)
    return pfns[: drivers.bulk(m, 0, gfp, nr_pages, pfns)].tolist()


def test_pages_come_as_single_requests_would_get_them() -> None:
    m, single = plain_machine(), plain_machine()
    assert bulk(m, 100) == [drivers.alloc(single, 0, MOVABLE, 0) for _ in range(100)]
    assert m.events[PGALLOC + ZONE_DMA] == 100
    drivers.recount(m)


def test_bulk_requests_leave_free_count_alone_and_single_ones_halve_it() -> None:
    m = plain_machine()
    m.pcps[0].free_count = 40
    bulk(m, 5)
    assert m.pcps[0].free_count == 40
    drivers.alloc(m, 0, MOVABLE, 0)
    assert m.pcps[0].free_count == 20


def test_a_request_for_one_page_goes_the_way_of_all_others() -> None:
    m = plain_machine()
    m.pcps[0].free_count = 40
    assert bulk(m, 1) == [0]
    assert m.pcps[0].free_count == 20
    assert m.events[PGALLOC + ZONE_DMA] == 1


def test_one_page_is_given_where_the_zone_could_not_stay_above_its_mark() -> None:
    m = machine_with({(10, M): [0]}, nr_cpus=1)
    set_watermarks(m, ZONE_DMA, (100, 500, 900))
    assert len(bulk(m, 524)) == 1
    assert len(bulk(m, 10)) == 10


def test_a_bulk_request_with_no_page_at_all_is_counted_once() -> None:
    m = machine_with({}, nr_cpus=1)
    assert bulk(m, 10, parse_gfp("GFP_NOWAIT")) == []
    assert m.events[NOPAGE] == 1


def test_a_bulk_request_stops_where_the_zone_runs_dry() -> None:
    """The counter says that there is more, because a CPU's delta is pending."""
    m = machine_with({(1, M): [0, 4, 8]}, nr_cpus=2)
    m.zones[ZONE_DMA].nr_free_pages += 100
    m.pcps[1].vm_stat_diff -= 100
    drivers.recount(m)
    assert sorted(bulk(m, 50)) == [0, 1, 4, 5, 8, 9]
    drivers.recount(m)


def test_the_first_zone_that_stays_above_its_mark_serves_the_whole_request() -> None:
    m = plain_machine(ram=(PfnRange(FOUR_GIB - 4096, FOUR_GIB + 2048),))
    set_watermarks(m, ZONE_NORMAL, (10, 1000, 1000))
    assert all(pfn >= FOUR_GIB for pfn in bulk(m, 500))
    assert all(pfn < FOUR_GIB for pfn in bulk(m, 900))


def test_the_reserve_of_the_preferred_zone_is_read_not_that_of_the_request() -> None:
    """GFP_HIGHUSER_MOVABLE is held against lowmem_reserve[3], but a bulk request against that of its first zone."""
    m = plain_machine()
    m.zones[ZONE_DMA].lowmem_reserve[:] = [0, 0, 0, 100_000]
    assert len(bulk(m, 20)) == 20
    assert drivers.alloc(m, 0, MOVABLE, 4) == -1


def test_a_batch_frees_what_no_list_holds_first_and_the_rest_in_order() -> None:
    m = machine_with({}, nr_cpus=1)
    drivers.folios(m, 0, np.array([8, 512, 3, 1024]), np.array([0, 4, 0, 4]))
    assert free_list(m, ZONE_DMA, 4, M) == [1024, 512]
    assert list(pcp_lists(m, ZONE_DMA, 0).values()) == [[3, 8]]
    assert m.events[PGFREE] == 34
    drivers.recount(m)


def test_a_batch_of_blocks_of_all_orders_comes_back_whole() -> None:
    m = plain_machine()
    orders = [0, 3, 5, 9, 1, 10, 2]
    pfns = [drivers.alloc(m, 0, MOVABLE, order) for order in orders]
    drivers.folios(m, 1, np.array(pfns), np.array(orders))
    drivers.drain_all(m, 0)
    drivers.recount(m)
    assert m.zones[ZONE_DMA].nr_free_pages + sum(pending(m, ZONE_DMA)) == 16384
    assert m.events[PGFREE] == m.events[PGALLOC + ZONE_DMA] == sum(1 << order for order in orders)
