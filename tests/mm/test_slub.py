"""Situations of the slab allocator, each by itself: bad frees, cache lines, memory, counters, what slabinfo says."""

from random import Random

import numpy as np
import pytest

from kmsim.mm.gfp import parse_gfp
from kmsim.mm.mm_init import PfnRange
from kmsim.mm.mmzone import NO_LOCK, Machine
from kmsim.mm.slub_object import FREE_NO_OBJECT, FREE_NO_SLAB, FREE_TWICE, FREE_WRONG_CACHE
from kmsim.mm.slub_records import NO_OBJECT, Slub, list_lock_of, new_slub, slab_t
from kmsim.mm.slub_recount import slab_totals

from . import slub_drivers
from .machines import plain_machine
from .slub_pair import geometry_of

GFP_KERNEL = parse_gfp("GFP_KERNEL")
LINES = ("lines_hot", "lines_other", "lines_sequential", "lines_memory")


def with_caches(*sizes: int, partial: tuple[int, int] = (2, 5), nr_cpus: int = 2) -> tuple[Machine, Slub]:
    """A machine of 64 MiB with caches of order 0."""
    m = plain_machine(nr_cpus=nr_cpus)
    return m, new_slub(m, [geometry_of(12, size, 0, partial=partial) for size in sizes])


def alloc(m: Machine, sl: Slub, cache: int = 0, cpu: int = 0) -> int:
    """An object."""
    wanted = slub_drivers.begin(m, sl, cpu, slub_drivers.ALLOC, cache, GFP_KERNEL, 0)
    return slub_drivers.finish(m, sl, cpu, wanted)


def free(m: Machine, sl: Slub, obj: int, cpu: int = 0) -> None:
    """Free it."""
    slub_drivers.finish(m, sl, cpu, slub_drivers.begin(m, sl, cpu, slub_drivers.FREE, obj, 0, 0))


def lines(m: Machine) -> list[int]:
    """Lines touched since the last question: hot, other, sequential, memory."""
    counted = [int(m.work[0][name]) for name in LINES]
    for name in LINES:
        m.work[0][name] = 0
    return counted


# ---- bad frees


def test_bad_frees_are_told_apart() -> None:
    m, sl = with_caches(1024, 64)
    obj = alloc(m, sl)
    assert slub_drivers.problem(sl, obj, 0) == slub_drivers.problem(sl, obj, -1) == 0
    assert slub_drivers.problem(sl, obj, 1) == FREE_WRONG_CACHE
    assert slub_drivers.problem(sl, obj + 1, 0) == FREE_TWICE  # it is in the slab, and was never allocated
    assert slub_drivers.problem(sl, obj + 4, 0) == FREE_NO_SLAB  # 4 objects in a slab, 8 numbers in a chunk
    assert [slub_drivers.problem(sl, bad, 0) for bad in (NO_OBJECT, 8, 1 << 20)] == [FREE_NO_OBJECT] * 3
    assert [slub_drivers.owner(sl, each) for each in (obj, obj + 4, NO_OBJECT, 1 << 30)] == [0, -1, -1, -1]
    free(m, sl, obj)
    assert slub_drivers.problem(sl, obj, 0) == FREE_TWICE


def test_a_double_free_is_refused_by_the_core_too() -> None:
    m, sl = with_caches(1024)
    obj = alloc(m, sl)
    free(m, sl, obj)
    with pytest.raises(AssertionError, match="double free"):
        free(m, sl, obj)


def test_an_object_of_a_discarded_slab_belongs_to_nothing() -> None:
    m, sl = with_caches(1024, partial=(0, 0))
    obj = alloc(m, sl)
    free(m, sl, obj)
    slub_drivers.finish(m, sl, 0, slub_drivers.begin(m, sl, 0, slub_drivers.SHRINK, 0, 0, 0))
    assert sl.cache_nodes[0].nr_slabs == 0
    assert slub_drivers.problem(sl, obj, 0) == FREE_NO_SLAB


# ---- stages


def test_what_follows_a_critical_section_is_done_without_its_lock() -> None:
    m, sl = with_caches(1024)
    seen = []
    wanted = slub_drivers.begin(m, sl, 0, slub_drivers.ALLOC, 0, GFP_KERNEL, 0)
    while wanted:
        seen.append((int(m.contexts[0].lock), int(sl.work[0].objects_set_up)))
        wanted = slub_drivers.locked(m, sl, 0)
    assert seen == [(0, 0), (NO_LOCK, 0)]  # a zone's lock for the page; the objects are set up behind it
    assert sl.work[0].objects_set_up == 4


def test_an_empty_slab_of_the_node_is_discarded_under_its_list_lock() -> None:
    m, sl = with_caches(1024, partial=(0, 0))
    objects = [alloc(m, sl) for _ in range(8)]
    free(m, sl, objects[0])  # full before: onto the CPU's list
    free(m, sl, objects[1])
    slub_drivers.finish(m, sl, 0, slub_drivers.begin(m, sl, 0, slub_drivers.SHRINK, 0, 0, 0))
    free(m, sl, objects[2])
    assert slub_drivers.begin(m, sl, 0, slub_drivers.FREE, objects[3], 0, 0)
    assert m.contexts[0].lock == list_lock_of(sl, 0, 0)
    slub_drivers.finish(m, sl, 0, True)
    assert sl.caches[0].free_remove_partial == 1
    assert sl.work[0].slabs_discarded == 1


# ---- cache lines


def test_a_new_slab_is_written_in_order_and_its_objects_are_hot() -> None:
    m, sl = with_caches(256)
    m.params[0].cache_lines = 1000
    alloc(m, sl)
    assert lines(m)[2] >= 16
    for _ in range(15):
        alloc(m, sl)
    assert lines(m) == [15, 0, 0, 0]


def test_an_object_freed_by_another_cpu_is_other_and_comes_back_as_other() -> None:
    m, sl = with_caches(256)
    m.params[0].cache_lines = 1000
    objects = [alloc(m, sl) for _ in range(16)]
    lines(m)
    for obj in objects[:8]:
        free(m, sl, obj, cpu=1)
    others = lines(m)[1]
    assert 8 <= others <= 9  # the struct page, too
    for _ in range(8):  # the first finds the free list of its slab refilled
        alloc(m, sl)
    assert lines(m)[1] in (8, 9)
    assert sl.caches[0].alloc_refill == 1


def test_what_is_freed_and_allocated_here_stays_hot_until_the_cache_forgets_it() -> None:
    m, sl = with_caches(256)
    m.params[0].cache_lines = 1000
    obj = alloc(m, sl)
    lines(m)
    for _ in range(5):
        free(m, sl, obj)
        assert alloc(m, sl) == obj
    assert lines(m) == [10, 0, 0, 0]
    m.cpus[0].nr_misses += 2000
    free(m, sl, obj)
    assert lines(m) == [0, 0, 0, 1]


def test_small_objects_share_their_lines() -> None:
    m, sl = with_caches(16)
    m.params[0].cache_lines = 1000
    objects = [alloc(m, sl) for _ in range(257)]  # the last is of the next slab
    for obj in objects[:256]:
        free(m, sl, obj, cpu=1)
    lines(m)
    m.cpus[1].nr_misses += 5000
    for _ in range(256):
        alloc(m, sl, cpu=1)
    hot, other, sequential, memory = lines(m)
    assert other == 0
    assert hot + sequential + memory >= 256
    assert 64 <= sequential + memory <= 70


# ---- memory


def test_the_records_are_small() -> None:
    assert slab_t.itemsize == 32
    nr_objects = 32
    for size in (64, 96, 128):
        nr_objects = 4096 // size
        chunks = -(-nr_objects // 8)
        assert (32 + chunks * (8 * 2 + 4)) / nr_objects <= 8


def test_slabs_and_numbers_are_recycled() -> None:
    m, sl = with_caches(1024, 1000, partial=(0, 0))  # 4 objects each: they share
    used = set()
    for cache in (0, 1) * 5:
        objects = [alloc(m, sl, cache) for _ in range(40)]
        for obj in objects:
            free(m, sl, obj)
        slub_drivers.finish(m, sl, 0, slub_drivers.begin(m, sl, 0, slub_drivers.SHRINK, cache, 0, 0))
        used.add((int(sl.params[0].nr_slabs_used), int(sl.params[0].nr_chunks_used)))
    assert used == {(10, 10)}


def test_there_are_numbers_for_all_of_memory() -> None:
    m = plain_machine(ram=(PfnRange(0, 2048),))
    sl = new_slub(m, [geometry_of(12, 1024, 0), geometry_of(12, 8, 0), geometry_of(12, 2048, 0)])
    nr_objects = 0
    for cache in (0, 1, 2):
        while (obj := alloc(m, sl, cache)) != NO_OBJECT:
            nr_objects += 1
            if nr_objects % 5000 == 0:
                break
        assert obj == NO_OBJECT or nr_objects % 5000 == 0
    slub_drivers.recount(m, sl)
    assert np.count_nonzero(sl.slabs["slab_flags"]) > 10


# ---- what slabinfo says


def test_slabinfo_counts_what_cpus_hold_as_active() -> None:
    m, sl = with_caches(1024)
    objects = [alloc(m, sl) for _ in range(6)]
    free(m, sl, objects[5])
    assert slab_totals(sl, 0) == (8, 8, 2)
    free(m, sl, objects[0])
    assert slab_totals(sl, 0) == (8, 8, 2)
    slub_drivers.finish(m, sl, 0, slub_drivers.begin(m, sl, 0, slub_drivers.SHRINK, 0, 0, 0))
    assert slab_totals(sl, 0) == (4, 8, 2)


def test_a_long_list_is_counted_from_a_sample(monkeypatch: pytest.MonkeyPatch) -> None:
    m, sl = with_caches(1024, partial=(0, 1000))
    random = Random(3)
    objects = [alloc(m, sl) for _ in range(400)]
    for place in range(0, 400, 4):
        for obj in objects[place : place + random.randint(1, 3)]:
            free(m, sl, obj)
    slub_drivers.finish(m, sl, 0, slub_drivers.begin(m, sl, 0, slub_drivers.SHRINK, 0, 0, 0))
    exact = slab_totals(sl, 0)
    monkeypatch.setattr("kmsim.mm.slub_recount._MAX_PARTIAL_TO_SCAN", 10)
    sampled = slab_totals(sl, 0)
    nr_partial = int(sl.cache_nodes[0].nr_partial)
    assert nr_partial == 100
    # Shrinking has put the fullest first: five slabs with one free object, and five with three.
    assert sampled.active_objects == 400 - (5 * 1 + 5 * 3) * nr_partial // 10
    assert sampled[1:] == exact[1:]
