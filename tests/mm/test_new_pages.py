"""What is done with new pages beside handing them out: checks, where the kernel does them, and zeroing."""

import numpy as np
import pytest

from kmsim.mm.gfp import parse_gfp
from kmsim.mm.mmzone import NO_PAGE, NOPAGE, ZONE_DMA, Machine

from . import drivers
from .machines import M, machine_with, plain_machine, set_watermarks

MOVABLE = parse_gfp("GFP_HIGHUSER_MOVABLE")
ZEROED = parse_gfp("GFP_HIGHUSER_MOVABLE | __GFP_ZERO")
PAGE_SIZE = 4096


def checked(m: Machine, gfp: int, order: int) -> int:
    """The pages that one allocation checks."""
    before = int(m.work[0].pages_checked)
    assert drivers.alloc(m, 0, gfp, order) != NO_PAGE
    return int(m.work[0].pages_checked) - before


def zeroed(m: Machine, gfp: int, order: int) -> int:
    """The bytes that one allocation zeroes."""
    before = int(m.work[0].bytes_zeroed)
    drivers.alloc(m, 0, gfp, order)
    return int(m.work[0].bytes_zeroed) - before


def test_pages_are_not_checked_unless_the_kernel_does() -> None:
    m = plain_machine()
    assert [checked(m, MOVABLE, order) for order in (0, 3, 4, 9)] == [0, 0, 0, 0]


def test_every_page_that_enters_a_list_is_checked_once_and_none_that_leaves() -> None:
    m = plain_machine(check_pages=True, auto_tune=False)
    batch = int(m.pcps[0].batch)
    assert [checked(m, MOVABLE, 0) for _ in range(batch + 1)] == [batch, *[0] * (batch - 1), batch]
    assert checked(m, MOVABLE, 3) == max(batch >> 3, 2) << 3


def test_a_block_of_the_buddy_allocator_is_checked_whole_after_the_lock() -> None:
    m = machine_with({(10, M): [0]}, check_pages=True, thp_built_in=False)
    assert [checked(m, MOVABLE, order) for order in (4, 5, 8)] == [16, 32, 256]
    m.work[0] = 0
    drivers.free(m, 0, 0, 4)
    assert m.work[0].pages_checked == 0


def test_a_check_touches_every_line_of_the_block() -> None:
    m = machine_with({(10, M): [0]}, check_pages=True, thp_built_in=False)
    before = machine_with({(10, M): [0]}, thp_built_in=False)
    for machine in (m, before):
        drivers.alloc(machine, 0, MOVABLE, 9)
    assert m.work[0].lines_hot - before.work[0].lines_hot == 1  # the first: it has just left its list
    assert m.work[0].lines_sequential - before.work[0].lines_sequential == 511


def test_what_is_asked_for_zeroed_is_zeroed_wherever_it_comes_from() -> None:
    m = plain_machine()
    assert [zeroed(m, ZEROED, order) for order in (0, 0, 3, 4, 9)] == [PAGE_SIZE << n for n in (0, 0, 3, 4, 9)]
    assert zeroed(m, MOVABLE, 4) == 0
    drivers.free(m, 0, drivers.alloc(m, 0, ZEROED, 4), 4)
    assert m.work[0].bytes_zeroed == PAGE_SIZE * (1 + 1 + 8 + 16 + 512 + 16)


def test_a_bulk_request_zeroes_the_pages_that_it_got() -> None:
    pfns = np.zeros(40, np.int64)
    m = plain_machine(check_pages=True)
    assert drivers.bulk(m, 0, ZEROED, 40, pfns) == 40
    assert m.work[0].bytes_zeroed == 40 * PAGE_SIZE
    m.work[0] = 0
    m.pcps["locked"] = 1  # falls back to one page, of the buddy allocator
    assert drivers.bulk(m, 0, ZEROED, 40, pfns) == 1
    assert m.work[0].bytes_zeroed == PAGE_SIZE
    assert m.work[0].pages_checked == 1


def test_a_request_that_failed_zeroes_and_checks_nothing() -> None:
    m = machine_with({}, check_pages=True)
    assert zeroed(m, parse_gfp("GFP_NOWAIT | __GFP_ZERO"), 4) == 0
    assert (m.events[NOPAGE], m.work[0].pages_checked) == (1, 0)


def test_each_zone_that_is_tried_counts_as_one_check_of_watermarks() -> None:
    m = machine_with({(10, M): [0]})
    drivers.alloc(m, 0, MOVABLE, 4)
    assert m.work[0].watermark_checks == 1
    m.work[0] = 0
    set_watermarks(m, ZONE_DMA, (5000, 6000, 7000))
    assert drivers.alloc(m, 0, parse_gfp("GFP_NOWAIT"), 4) == NO_PAGE
    assert m.work[0].watermark_checks == 3  # fast path, adjusted, retry
    m.work[0] = 0
    set_watermarks(m, ZONE_DMA, (0, 0, 0))
    drivers.bulk(m, 0, MOVABLE, 5, np.zeros(5, np.int64))
    assert m.work[0].watermark_checks == 1


def test_init_on_alloc_zeroes_what_nobody_asked_to_be_zeroed() -> None:
    m = plain_machine(init_on_alloc=True)
    assert [zeroed(m, gfp, order) for gfp in (MOVABLE, ZEROED) for order in (0, 4, 9)] == [
        PAGE_SIZE << order for order in (0, 4, 9)
    ] * 2
    assert freed(m, 4) == 0
    assert drivers.bulk(m, 0, MOVABLE, 5, np.zeros(5, np.int64)) == 5
    assert zeroed(machine_with({}, init_on_alloc=True), parse_gfp("GFP_NOWAIT"), 4) == 0  # there was no page


@pytest.mark.parametrize("init_on_alloc", [False, True])
def test_init_on_free_zeroes_at_the_free_and_so_never_at_the_allocation(init_on_alloc: bool) -> None:
    m = plain_machine(init_on_alloc=init_on_alloc, init_on_free=True)
    assert [zeroed(m, gfp, order) for gfp in (MOVABLE, ZEROED) for order in (0, 4, 9)] == [0] * 6
    assert [freed(m, order) for order in (0, 3, 4, 9)] == [PAGE_SIZE << order for order in (0, 3, 4, 9)]


def freed(m: Machine, order: int) -> int:
    """The bytes that one free zeroes."""
    pfn = drivers.alloc(m, 0, MOVABLE, order)
    before = int(m.work[0].bytes_zeroed)
    drivers.free(m, 0, pfn, order)
    return int(m.work[0].bytes_zeroed) - before
