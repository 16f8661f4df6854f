"""Where the cache line of a struct page is when it is touched, and who touches which."""

import numpy as np
import pytest

from kmsim.jit import entry
from kmsim.mm import cacheline
from kmsim.mm.gfp import parse_gfp
from kmsim.mm.list import list_add, list_add_tail, list_del
from kmsim.mm.mmzone import FAR_FROM_ALL, NO_CACHES, Machine, page_t
from kmsim.mm.params import CACHE_LINES_ASSUMED

from . import drivers
from .machines import M, machine_with, plain_machine

MOVABLE = parse_gfp("GFP_HIGHUSER_MOVABLE")
KINDS = ("hot", "other", "sequential", "memory")


@entry
def touch(m: Machine, cpu: int, pfn: int) -> None:
    """`cacheline.touch`, for Python."""
    cacheline.touch(m, cpu, pfn)


@entry
def touch_block(m: Machine, cpu: int, pfn: int, order: int) -> None:
    """`cacheline.touch_block`, for Python."""
    cacheline.touch_block(m, cpu, pfn, order)


@entry
def add(m: Machine, cpu: int, pfn: int, head: int, to_tail: bool) -> None:
    """`list_add` or `list_add_tail`, for Python."""
    if to_tail:
        list_add_tail(m, cpu, pfn, head)
    else:
        list_add(m, cpu, pfn, head)


@entry
def delete(m: Machine, cpu: int, pfn: int) -> None:
    """`list_del`, for Python."""
    list_del(m, cpu, pfn)


@pytest.fixture
def m() -> Machine:
    """A machine of which no page is on a list."""
    return machine_with({})


def lines(m: Machine) -> dict[str, int]:
    """What was counted since the last look, without zeros."""
    counts = {kind: int(m.work[0][f"lines_{kind}"]) for kind in KINDS}
    m.work[0] = 0
    return {kind: count for kind, count in counts.items() if count}


def touched(m: Machine, cpu: int, *pfns: int) -> list[str]:
    """What each touch was."""
    log = []
    for pfn in pfns:
        touch(m, cpu, pfn)
        log += lines(m)
    return log


def head_of(m: Machine) -> int:
    """An empty list's head."""
    return int(m.contexts[0].page_list)


def test_the_first_touch_comes_from_memory_and_the_next_is_hot(m: Machine) -> None:
    assert touched(m, 0, 700, 700, 700) == ["memory", "hot", "hot"]
    assert (m.cpus[0].nr_misses, m.cpus[0].last_pfn) == (1, 700)


def test_neighbours_in_both_directions_are_prefetched(m: Machine) -> None:
    assert touched(m, 0, 700, 701, 702, 704, 703, 702, 700) == [
        "memory",
        "sequential",
        "sequential",
        "memory",
        "sequential",
        "hot",
        "hot",
    ]
    assert (m.cpus[0].nr_misses, m.cpus[0].last_pfn) == (5, 703)


def test_no_page_is_beside_the_last_of_a_cpu_that_has_missed_none(m: Machine) -> None:
    assert touched(m, 0, 0) == ["memory"]
    assert m.cpus[1].last_pfn == FAR_FROM_ALL
    assert touched(m, 1, 1) == ["memory"]


def test_another_cpus_line_is_fetched_from_it_and_taken_away(m: Machine) -> None:
    assert touched(m, 0, 700) == ["memory"]
    assert touched(m, 1, 700, 700) == ["other", "hot"]
    assert touched(m, 0, 700) == ["other"]
    assert (m.pages[700].toucher, m.cpus[0].nr_misses, m.cpus[1].nr_misses) == (1, 2, 1)


def test_a_line_of_another_cpu_moves_no_prefetcher(m: Machine) -> None:
    touched(m, 0, 700)
    touched(m, 1, 50, 700)
    assert m.cpus[1].last_pfn == 50


def test_a_line_survives_as_many_misses_as_the_cache_has_lines(m: Machine) -> None:
    m.params[0].cache_lines = 3
    others = [1000, 1002, 1004, 1006]
    touched(m, 0, 700, *others[:3])
    assert touched(m, 0, 700) == ["hot"]
    touched(m, 0, 1010, 1012, 1014, 1016)
    assert touched(m, 0, 700) == ["memory"]


def test_a_touch_makes_a_line_young_again(m: Machine) -> None:
    m.params[0].cache_lines = 2
    assert touched(m, 0, 700, 1000, 1002, 700, 1004, 1006, 700) == [*["memory"] * 3, "hot", "memory", "memory", "hot"]


def test_another_cpus_line_is_lost_by_that_cpus_misses_not_by_ours(m: Machine) -> None:
    m.params[0].cache_lines = 2
    touched(m, 0, 700)
    touched(m, 1, 1000, 1002, 1004, 1006)
    assert touched(m, 1, 700) == ["other"]
    touched(m, 0, 800, 802, 804, 806)
    touched(m, 1, 700)
    m.params[0].cache_lines = 0
    touched(m, 1, 900)
    assert touched(m, 0, 700) == ["memory"]


def test_ages_are_right_where_the_count_of_misses_passes_2_to_the_32(m: Machine) -> None:
    m.params[0].cache_lines = 2
    m.cpus[0].nr_misses = (1 << 32) - 2
    assert touched(m, 0, 700) == ["memory"]
    assert m.pages[700].touched == (1 << 32) - 1
    assert touched(m, 0, 800, 802) == ["memory", "memory"]
    assert m.cpus[0].nr_misses == (1 << 32) + 1
    assert touched(m, 0, 700) == ["hot"]
    assert m.pages[700].touched == 1
    assert touched(m, 0, 804, 806, 808, 700) == ["memory"] * 4
    assert touched(m, 1, 806) == ["other"]


@pytest.mark.parametrize(("order", "first"), [(3, 64), (9, 512)])
def test_the_lines_of_a_block_behind_its_first_are_as_hot_as_its_last(m: Machine, order: int, first: int) -> None:
    nr_pages = 1 << order
    touch_block(m, 0, first, order)
    assert lines(m) == {"sequential": nr_pages - 1, "memory": 1}
    assert (m.cpus[0].nr_misses, m.cpus[0].last_pfn) == (nr_pages, first + nr_pages - 1)
    touch_block(m, 0, first, order)
    assert lines(m) == {"hot": nr_pages}
    touch_block(m, 1, first, order)
    assert lines(m) == {"other": nr_pages}
    assert (m.cpus[1].nr_misses, m.cpus[1].last_pfn) == (nr_pages, FAR_FROM_ALL)
    touch_block(m, 0, first + nr_pages, order)
    assert lines(m) == {"sequential": nr_pages}
    assert not m.pages["toucher"][first + 1 : first + nr_pages - 1].any()


def test_a_walk_after_the_first_line_was_touched_still_fetches_the_others(m: Machine) -> None:
    assert touched(m, 0, 512) == ["memory"]
    touch_block(m, 0, 512, 9)
    assert lines(m) == {"hot": 1, "sequential": 511}


def test_a_walk_over_one_page_is_a_touch(m: Machine) -> None:
    touch_block(m, 0, 700, 0)
    touch_block(m, 0, 700, 0)
    assert lines(m) == {"memory": 1, "hot": 1}
    assert m.cpus[0].nr_misses == 1


def test_a_list_operation_touches_what_it_writes_but_no_head(m: Machine) -> None:
    head = head_of(m)
    add(m, 0, 700, head, False)
    assert lines(m) == {"memory": 1}
    add(m, 0, 800, head, False)  # writes 700, too
    assert lines(m) == {"memory": 1, "hot": 1}
    add(m, 0, 900, head, True)
    assert lines(m) == {"memory": 1, "hot": 1}
    delete(m, 1, 700)  # between 800 and 900
    assert lines(m) == {"other": 3}
    delete(m, 1, 900)
    assert lines(m) == {"hot": 2}
    delete(m, 1, 800)
    assert lines(m) == {"hot": 1}
    assert not m.pages["toucher"][int(m.params[0].nr_frames) :].any()


def test_a_freed_page_and_the_one_that_was_freed_before_it_are_touched() -> None:
    m = machine_with({(10, M): [1024]})
    drivers.free(m, 0, 700, 0)
    assert lines(m) == {"memory": 1}
    drivers.free(m, 0, 900, 0)
    assert lines(m) == {"memory": 1, "hot": 1}
    assert drivers.alloc(m, 0, MOVABLE, 0) == 900
    assert lines(m) == {"hot": 2}


def test_a_merge_looks_at_each_buddy_and_a_split_writes_each_half() -> None:
    m = machine_with({(4, M): [16]})
    drivers.free(m, 0, 0, 4)
    # The block, its buddy 16, that again as it leaves its list, the buddy 32, and 64 for the likely
    # merge; the merged block 0 as it is listed. Before that, all pages of the block that is freed, of
    # which the last is beside 16.
    assert lines(m) == {"memory": 3, "hot": 3, "sequential": 16}
    assert drivers.alloc(m, 1, MOVABLE, 4) == 0
    # The block of order 5 and its high half, 16; and the zone's count and lists, which CPU 0 has written.
    assert lines(m) == {"other": 4}


def test_a_booted_machines_lines_are_in_no_cache_and_nothing_is_counted() -> None:
    m = plain_machine()
    assert not m.pages["toucher"].any()
    assert not m.pages["touched"].any()
    assert not m.cpus["nr_misses"].any()
    assert all(m.work[0][name] == 0 for name in m.work.dtype.names or ())
    assert m.params[0].cache_lines == CACHE_LINES_ASSUMED


def test_without_caches_no_touch_is_seen(m: Machine) -> None:
    m.params[0].cache_lines = NO_CACHES
    assert touched(m, 0, 700, 700) == []
    touch_block(m, 0, 512, 9)
    assert lines(m) == {}
    assert not m.cpus["nr_misses"].any()
    assert not m.pages["toucher"].any()


def test_a_page_record_is_aligned() -> None:
    fields = page_t.fields
    assert fields is not None
    assert page_t.itemsize == 16
    assert all(offset % np.dtype(kind).itemsize == 0 for kind, offset, *_ in fields.values())


@pytest.mark.parametrize(("order", "weight"), [(0, 1), (3, 8), (10, 1024), (13, 1024)])
def test_in_a_request_of_a_higher_order_a_miss_takes_more_of_the_cache(m: Machine, order: int, weight: int) -> None:
    m.contexts[0].order = order
    assert touched(m, 0, 700) == ["memory"]
    assert m.cpus[0].nr_misses == weight
