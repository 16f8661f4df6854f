"""Reads of pages of files: what is in memory, what is marked as used, what is remembered of a page that is gone."""

from collections.abc import Iterable

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from kmsim.mm.filemap import FLUSH_BATCH
from kmsim.mm.gfp import parse_gfp
from kmsim.mm.lru import lru_head
from kmsim.mm.lru_init import machine_that_reclaims, set_swap
from kmsim.mm.lru_records import (
    FILE,
    FOLIO_ACTIVE,
    FOLIO_HAS_MAPPING,
    FOLIO_IN_BATCH,
    FOLIO_REFERENCED,
    FOLIO_WORKINGSET,
    LRU_ACTIVE_FILE,
    LRU_EVENT_NAMES,
    LRU_INACTIVE_FILE,
    OLD_PAGEVEC_SIZE,
    PAGEVEC_SIZE,
    WORKINGSET_ACTIVATE,
)
from kmsim.mm.mmzone import MIGRATE_MOVABLE, NO_PAGE, PG_LRU, PGFREE, Machine
from kmsim.mm.rmap import NO_HOLDER
from kmsim.mm.snapshot import walk
from kmsim.mm.wants import DONE, LOCK

from . import drivers
from .machines import plain_machine
from .reclaim_drivers import free_batch, put, read_step, recount_lru, shadow_of

pytestmark = pytest.mark.slow  # what they need is compiled for them alone

GFP = parse_gfp("GFP_HIGHUSER_MOVABLE")
WITHOUT_RECLAIM = parse_gfp("GFP_HIGHUSER_MOVABLE & ~__GFP_DIRECT_RECLAIM")
NR_PAGES = 40_000  # of files; more than memory has


def machine() -> Machine:
    """`plain_machine`, two CPUs and 16,384 page frames, with LRU lists and files; no swap."""
    m = machine_that_reclaims(plain_machine(), NR_PAGES)
    set_swap(m, 0, 60)
    return m


def read(m: Machine, index: int, cpu: int = 0, gfp: int = GFP) -> int:
    """Read a page; where it is."""
    wanted = read_step(m, cpu, index, gfp, True)
    while wanted:
        wanted = read_step(m, cpu, 0, 0, False)
    return int(m.contexts[cpu].pfn)


def flags_of(m: Machine, index: int) -> int:
    """What the folio of a page that is in memory is."""
    assert m.lru.page_cache[index] > 0
    return int(m.holders[m.lru.page_cache[index] - 1].folio_flags)


def on_list(m: Machine, lru: int) -> list[int]:
    """The pages of files on a list, the head first."""
    return [int(m.holders[pfn].holder) - 1 for pfn in walk(m, lru_head(m, 0, lru))]


def counted(m: Machine, name: str) -> int:
    """An event counter."""
    return int(m.lru.vm_events[LRU_EVENT_NAMES.index(name)])


def check(m: Machine) -> None:
    """Recount all of it."""
    drivers.recount(m)
    recount_lru(m)


def nr_reclaiming(m: Machine) -> int:
    """How often a request has had to reclaim."""
    return sum(counted(m, name) for name in LRU_EVENT_NAMES if name.startswith("allocstall"))


def test_a_read_of_a_page_that_is_not_in_memory_brings_it_there() -> None:
    m = machine()
    pfn = read(m, 5)
    assert m.lru.page_cache[5] == pfn + 1
    assert (m.holders[pfn].holder, flags_of(m, 5)) == (6, FOLIO_HAS_MAPPING | FOLIO_REFERENCED)
    assert np.flatnonzero(m.lru.page_cache).tolist() == [5]
    assert (m.lru.work[0].pages_read, m.lru.work[0].pages_found) == (1, 0)
    assert m.pages[pfn].page_flags != PG_LRU  # it waits in the batch
    assert read(m, 5) == pfn
    assert (m.lru.work[0].pages_read, m.lru.work[0].pages_found) == (1, 1)
    check(m)


def test_a_second_read_activates_a_page_that_waits_in_the_batch() -> None:
    m = machine()
    read(m, 5)
    read(m, 5)
    assert flags_of(m, 5) == FOLIO_HAS_MAPPING | FOLIO_ACTIVE
    for index in range(100, 99 + PAGEVEC_SIZE):
        read(m, index)
    assert on_list(m, LRU_ACTIVE_FILE) == [5]
    assert on_list(m, LRU_INACTIVE_FILE) == [*reversed(range(100, 99 + PAGEVEC_SIZE))]
    check(m)


def test_the_second_reads_of_a_batch_of_pages_activate_them_together() -> None:
    m = machine()
    for index in range(PAGEVEC_SIZE):
        read(m, index)
    assert on_list(m, LRU_INACTIVE_FILE) == [*reversed(range(PAGEVEC_SIZE))]
    age = int(m.lru.lruvecs[0].nonresident_age)
    for index in range(PAGEVEC_SIZE - 1):
        read(m, index)
        assert flags_of(m, index) == FOLIO_HAS_MAPPING | FOLIO_IN_BATCH
    assert (on_list(m, LRU_ACTIVE_FILE), counted(m, "pgactivate")) == ([], 0)
    for _ in range(3):  # it waits once only, however often it is read
        read(m, 0)
    check(m)
    read(m, PAGEVEC_SIZE - 1)
    assert on_list(m, LRU_ACTIVE_FILE) == [*reversed(range(PAGEVEC_SIZE))]
    assert (on_list(m, LRU_INACTIVE_FILE), counted(m, "pgactivate")) == ([], PAGEVEC_SIZE)
    assert m.lru.lruvecs[0].nonresident_age == age + PAGEVEC_SIZE + 1  # page 0 was to be activated twice
    check(m)


def read_until_full(m: Machine, reads: Iterable[int]) -> None:
    """Read page after page, of which the last fills a batch, and wait for the lru_lock then."""
    *earlier, last = reads
    for index in earlier:
        read(m, index)
    wanted = read_step(m, 0, last, GFP, True)
    while m.lru.reclaims[0].read_stage != FLUSH_BATCH:
        assert wanted != DONE
        wanted = read_step(m, 0, 0, 0, False)
    assert wanted == LOCK


def test_no_other_page_joins_a_batch_that_is_full() -> None:
    m = machine()
    read_until_full(m, range(PAGEVEC_SIZE))
    with pytest.raises(AssertionError, match="a folio joins a full batch"):
        read(m, PAGEVEC_SIZE)


def test_no_other_page_waits_to_be_activated_with_a_batch_that_is_full() -> None:
    m = machine()
    for index in range(2 * PAGEVEC_SIZE):
        read(m, index)
    read_until_full(m, range(PAGEVEC_SIZE))
    with pytest.raises(AssertionError, match="a folio joins a full batch"):
        read(m, PAGEVEC_SIZE)


def test_a_batch_is_full_until_its_folios_are_on_their_lists() -> None:
    m = machine()
    read_until_full(m, range(PAGEVEC_SIZE))
    assert read_step(m, 0, 0, 0, False) == DONE
    assert m.lru.reclaims[0].read_stage != FLUSH_BATCH
    check(m)


def test_a_page_that_is_active_is_only_marked() -> None:
    m = machine()
    for index in (*range(PAGEVEC_SIZE), *range(PAGEVEC_SIZE)):
        read(m, index)
    age = int(m.lru.lruvecs[0].nonresident_age)
    for _ in range(3):
        read(m, 7)
    assert flags_of(m, 7) == FOLIO_HAS_MAPPING | FOLIO_ACTIVE | FOLIO_REFERENCED
    assert (m.lru.cpus[0].nr_to_activate, m.lru.lruvecs[0].nonresident_age) == (0, age)


def test_reads_of_a_file_that_is_larger_than_memory_reclaim_its_oldest_pages() -> None:
    m = machine()
    for index in range(20_000):
        read(m, index)
    cached = np.flatnonzero(m.lru.page_cache > 0)
    assert cached.tolist() == [*range(cached[0], 20_000)]
    gone = m.lru.page_cache[: cached[0]]
    assert [shadow_of(age, 0, 0)[0] for age in range(len(gone))] == gone.tolist()  # evicted one by one, in order
    assert counted(m, "pgsteal_direct") == len(gone) == m.lru.lruvecs[0].nonresident_age
    assert nr_reclaiming(m) * PAGEVEC_SIZE < len(gone)
    check(m)


@pytest.mark.parametrize("workingset", [0, 1])
@pytest.mark.parametrize("beyond", [0, 1])
def test_a_page_that_comes_back_soon_enough_is_active_at_once(beyond: int, workingset: int) -> None:
    m = machine()
    for index in (*range(40 * PAGEVEC_SIZE), *range(40 * PAGEVEC_SIZE)):
        read(m, index)
    lruvec = m.lru.lruvecs[0]
    lruvec.nonresident_age += 5000
    size, age = int(lruvec.vm_stat[LRU_ACTIVE_FILE]), int(lruvec.nonresident_age)
    assert size > 1000
    (m.lru.page_cache[NR_PAGES - 1], *_) = shadow_of(age - size - beyond, 0, workingset)
    read(m, NR_PAGES - 1)
    cost = int(lruvec.file_cost)
    is_recent = beyond == 0
    was_active = is_recent and workingset == 1
    found = flags_of(m, NR_PAGES - 1)
    assert (bool(found & FOLIO_ACTIVE), bool(found & FOLIO_WORKINGSET)) == (is_recent, was_active)
    assert (lruvec.nonresident_age - age, cost) == (int(is_recent), int(was_active) * 32)
    item = WORKINGSET_ACTIVATE + FILE
    assert lruvec.vm_stat[item] + m.lru.node_cpus["vm_stat_diff"][:, item].sum() == is_recent
    assert (counted(m, "workingset_refault_file"), counted(m, "workingset_restore_file")) == (1, was_active)
    check(m)


@given(age=st.integers(0, 1 << 50), node=st.integers(0, 15), workingset=st.integers(0, 1))
def test_a_shadow_has_all_that_was_put_into_it(age: int, node: int, workingset: int) -> None:
    shadow, *found = shadow_of(age, node, workingset)
    assert shadow < 0
    assert found == [age, node, workingset]


def test_a_page_that_waits_to_be_activated_is_not_reclaimed() -> None:
    m = machine()
    for index in range(PAGEVEC_SIZE):
        read(m, index, 1)
    pfn = read(m, 3, 1)
    assert flags_of(m, 3) & FOLIO_IN_BATCH
    for index in range(100, 18_000):
        read(m, index)
    assert (m.lru.page_cache[:PAGEVEC_SIZE] > 0).nonzero()[0].tolist() == [3]
    assert m.lru.page_cache[3] == pfn + 1
    check(m)


def test_of_two_reads_of_one_page_at_once_one_gives_its_page_back() -> None:
    m = machine()
    assert read_step(m, 0, 8, GFP, True) != 0
    assert read_step(m, 1, 8, GFP, True) != 0
    of_cpu = [0, 1]
    while of_cpu:
        of_cpu = [cpu for cpu in of_cpu if read_step(m, cpu, 0, 0, False)]
    first, second = (int(m.contexts[cpu].pfn) for cpu in (0, 1))
    assert first == second == m.lru.page_cache[8] - 1
    assert m.events[PGFREE] == 1
    assert (m.lru.work[0].pages_read, m.lru.work[0].pages_found) == (1, 1)
    assert flags_of(m, 8) == FOLIO_HAS_MAPPING  # the batch is another CPU's, so nothing but the mark is gone
    assert np.count_nonzero(m.holders["holder"] != NO_HOLDER) == 1
    check(m)


def test_a_read_that_gets_no_page_leaves_nothing_behind() -> None:
    m = machine()
    index = 0
    while read(m, index, gfp=WITHOUT_RECLAIM) != NO_PAGE:
        index += 1
    assert 10_000 < index == m.lru.work[0].pages_read == np.count_nonzero(m.lru.page_cache)
    assert (m.lru.page_cache[index], m.lru.work[0].pages_found, nr_reclaiming(m)) == (0, 0, 0)
    check(m)
    assert read(m, index) != NO_PAGE
    assert nr_reclaiming(m) == 1
    check(m)


# ---- up to Linux 6.1


def old_machine() -> Machine:
    """`machine`, whose kernel reclaims as 5.10 and 6.1."""
    m = machine_that_reclaims(plain_machine(folio_reclaim=False), NR_PAGES)
    set_swap(m, 0, 60)
    return m


def test_a_batch_of_an_older_kernel_holds_fifteen_folios() -> None:
    m = old_machine()
    for index in range(OLD_PAGEVEC_SIZE - 1):
        read(m, index)
    assert on_list(m, LRU_INACTIVE_FILE) == []
    read(m, OLD_PAGEVEC_SIZE - 1)
    assert on_list(m, LRU_INACTIVE_FILE) == [*reversed(range(OLD_PAGEVEC_SIZE))]
    for index in range(OLD_PAGEVEC_SIZE):
        read(m, index)
    assert on_list(m, LRU_ACTIVE_FILE) == [*reversed(range(OLD_PAGEVEC_SIZE))]
    check(m)


@pytest.mark.parametrize("is_old", [True, False])
def test_an_older_kernel_frees_single_pages_the_last_first(is_old: bool) -> None:
    m = old_machine() if is_old else machine()
    single = [drivers.alloc(m, 0, WITHOUT_RECLAIM, 0) for _ in range(3)]
    larger = drivers.alloc(m, 0, WITHOUT_RECLAIM, 1)
    for pfn, order in ((single[0], 0), (larger, 1), (single[1], 0), (single[2], 0)):
        put(m, 0, pfn, order)
    expected = [*reversed(single), larger] if is_old else [single[0], larger, *single[1:]]
    assert walk(m, int(m.contexts[0].page_list)) == expected
    before = int(m.pcps["count"].sum())
    assert free_batch(m, 0) == DONE
    assert m.pcps["count"].sum() == before + 5
    pindex_0 = int(m.pcps[0].lists) + MIGRATE_MOVABLE
    assert walk(m, pindex_0)[:3] == (single if is_old else [*reversed(single)])
    assert walk(m, int(m.contexts[0].page_list)) == []
    check(m)


def test_a_refault_costs_an_older_kernel_what_a_page_does() -> None:
    m = old_machine()
    for index in (*range(600), *range(600)):
        read(m, index)
    (m.lru.page_cache[NR_PAGES - 1], *_) = shadow_of(int(m.lru.lruvecs[0].nonresident_age), 0, 1)
    read(m, NR_PAGES - 1)
    assert m.lru.lruvecs[0].file_cost == 1
    check(m)


@pytest.mark.parametrize(("is_old", "passes"), [(True, 1), (False, 2)])
def test_an_older_kernel_has_no_second_pass_where_nothing_is_to_be_had(is_old: bool, passes: int) -> None:
    m = old_machine() if is_old else machine()
    while drivers.alloc(m, 0, WITHOUT_RECLAIM, 0) != NO_PAGE:
        pass
    assert read(m, 5) == NO_PAGE
    assert nr_reclaiming(m) == passes * (1 + 16)  # it is tried again 16 times
    check(m)
