"""Sheaves: which object comes next, where objects go, and what holds when CPUs free each other's."""

from random import Random

import numpy as np
import pytest

from kmsim.mm.gfp import parse_gfp
from kmsim.mm.mmzone import Machine
from kmsim.mm.sheaf_records import IN_SHEAF, MAX_FULL_SHEAVES, NO_SHEAF
from kmsim.mm.slab_common import Caches
from kmsim.mm.slab_geometry import SLAB_NO_SHEAVES, SLAB_NOLEAKTRACE, Geometry, SlabBuild, new_geometry
from kmsim.mm.slub_records import NO_OBJECT, SLAB_PFMEMALLOC, Slub, new_slub
from kmsim.mm.wants import DONE, LOCK

from . import slub_drivers
from .machines import plain_machine
from .slub_drivers import ALLOC, FREE

pytestmark = pytest.mark.slow  # what they need is compiled for them alone

BUILD = SlabBuild(page_shift=12, nr_cpus=2, max_page_order=10, sheaves=True)
KERNEL, NOWAIT, ATOMIC = (parse_gfp(text) for text in ("GFP_KERNEL", "GFP_NOWAIT", "GFP_ATOMIC"))
CACHE = 0
INTERRUPT = 2  # the context of CPU 0 above its thread's


def geometry(size: int, **how: int) -> Geometry:
    return new_geometry(BUILD, "mine", size, **how)


def machine(*geometries: Geometry, nr_prefilled: int = 0) -> tuple[Machine, Slub]:
    """Two CPUs and caches with sheaves, the first of objects of 1 KiB (12 in a sheaf, 16 in a slab)."""
    m = plain_machine(sheaves=True)
    return m, new_slub(m, geometries or [geometry(1024)], nr_prefilled=nr_prefilled)


def alloc(m: Machine, sl: Slub, cpu: int = 0, gfp: int = KERNEL, cache: int = CACHE) -> int:
    return slub_drivers.finish(m, sl, cpu, slub_drivers.begin(m, sl, cpu, ALLOC, cache, gfp, 0))


def free(m: Machine, sl: Slub, obj: int, cpu: int = 0) -> None:
    slub_drivers.finish(m, sl, cpu, slub_drivers.begin(m, sl, cpu, FREE, obj, 0, 0))


def held(sl: Slub, cpu: int = 0) -> tuple[int, int, int, int]:
    """Objects of main and of spare (-1: none), full sheaves in the barn, empty ones."""
    of_cpu, barn = sl.sheaves.cpus[cpu], sl.sheaves.barns[0]
    sizes = [int(sl.sheaves.sheaves["nr_objects"][s]) if s != NO_SHEAF else -1 for s in (of_cpu.main, of_cpu.spare)]
    return (*sizes, int(barn.nr_full), int(barn.nr_empty))  # type: ignore[return-value]


@pytest.mark.parametrize(("size", "capacity"), [(8, 60), (248, 60), (256, 28), (1016, 28), (1024, 12), (4096, 4)])
def test_a_sheaf_fills_an_object_of_kmalloc_s(size: int, capacity: int) -> None:
    """As recorded of 7.3 on x86-64."""
    assert geometry(size).sheaf_capacity == capacity


def test_who_asks_for_more_gets_more_and_joins_no_other_cache() -> None:
    caches = Caches(BUILD)
    plain, own = caches.create("plain", 256), caches.create("own", 256, sheaf_capacity=32)
    assert plain == caches.index_of("kmalloc-256") != own
    assert caches.geometries[own].sheaf_capacity == 32


@pytest.mark.parametrize("flag", [SLAB_NOLEAKTRACE, SLAB_NO_SHEAVES])
def test_a_cache_without_sheaves_gives_from_its_slabs_one_by_one(flag: int) -> None:
    m, sl = machine(geometry(1024, flags=flag))
    objects = [alloc(m, sl) for _ in range(20)]
    assert sorted(objects) == list(range(20))
    assert held(sl) == (-1, -1, 0, 0)
    for obj in objects:
        free(m, sl, obj)
        slub_drivers.recount(m, sl)
    assert sl.caches[CACHE].alloc_slowpath == 20


def test_the_object_that_came_last_goes_first() -> None:
    """A new slab fills the sheaf with 0 to 11; what is left stays at the head of the node's list."""
    m, sl = machine()
    assert [alloc(m, sl) for _ in range(3)] == [11, 10, 9]
    assert held(sl) == (9, 0, 0, 0)
    free(m, sl, 10)
    assert alloc(m, sl) == 10
    assert (sl.cache_nodes[0].nr_partial, sl.cache_nodes[0].nr_slabs) == (1, 1)
    slub_drivers.recount(m, sl)


def test_full_sheaves_gather_in_the_barn_and_then_the_spare_one_is_flushed() -> None:
    m, sl = machine()
    objects = [alloc(m, sl) for _ in range(12 * 16)]
    for obj in objects:
        free(m, sl, obj)
    assert held(sl) == (12, 12, MAX_FULL_SHEAVES, 0)
    assert sl.sheaves.caches[CACHE].barn_put_fail == 4
    assert sl.sheaves.caches[CACHE].sheaf_flush == 4 * 12
    slub_drivers.recount(m, sl)


def test_a_full_sheaf_of_one_cpu_serves_the_other() -> None:
    m, sl = machine()
    objects = [alloc(m, sl) for _ in range(36)]
    for obj in objects:
        free(m, sl, obj)
    assert held(sl)[2:] == (1, 0)
    nr_slabs = int(sl.cache_nodes[0].nr_slabs)
    assert alloc(m, sl, cpu=1) in objects
    assert (held(sl, 1), sl.cache_nodes[0].nr_slabs) == ((11, -1, 0, 1), nr_slabs)
    slub_drivers.recount(m, sl)


def test_an_interrupt_that_finds_the_sheaves_in_use_goes_to_the_slabs() -> None:
    m, sl = machine()
    assert m.contexts[INTERRUPT].cpu == 0
    objects = [alloc(m, sl) for _ in range(36)]
    for obj in objects:
        free(m, sl, obj)
    for _ in range(24):
        alloc(m, sl)
    assert held(sl) == (0, 0, 1, 0)
    wanted = slub_drivers.begin(m, sl, 0, ALLOC, CACHE, KERNEL, 0)
    assert wanted == LOCK
    assert sl.sheaves.cpus[0].locked
    nr_slowly = int(sl.caches[CACHE].alloc_slowpath)
    of_interrupt = alloc(m, sl, INTERRUPT, ATOMIC)
    assert of_interrupt != NO_OBJECT
    assert sl.caches[CACHE].alloc_slowpath == nr_slowly + 1
    slub_drivers.recount(m, sl)
    free(m, sl, of_interrupt, INTERRUPT)
    obj = slub_drivers.finish(m, sl, 0, wanted)
    assert obj in objects
    assert not sl.sheaves.cpus[0].locked
    slub_drivers.recount(m, sl)


def test_an_object_of_the_reserves_goes_straight_to_its_slab() -> None:
    m, sl = machine()
    obj = alloc(m, sl)
    sl.slabs[0].slab_flags |= SLAB_PFMEMALLOC
    before = held(sl)
    free(m, sl, obj)
    assert held(sl) == before
    assert sl.slabs[0].inuse == 11


def test_an_object_that_lies_in_a_sheaf_is_not_freed_again() -> None:
    m, sl = machine()
    obj = alloc(m, sl)
    free(m, sl, obj)
    assert int(sl.links[obj]) & IN_SHEAF
    assert slub_drivers.problem(sl, obj, CACHE)
    with pytest.raises(AssertionError, match="double free"):
        free(m, sl, obj)


def test_without_memory_nothing_is_lost() -> None:
    m, sl = machine()
    m.zones["watermark"] += 100_000
    assert alloc(m, sl, gfp=NOWAIT) == NO_OBJECT
    assert not np.any(sl.links & IN_SHEAF)
    m.zones["watermark"] -= 100_000
    assert alloc(m, sl, gfp=NOWAIT) == 11
    slub_drivers.recount(m, sl)


def test_a_prefilled_sheaf_gives_as_many_as_were_asked_for() -> None:
    m, sl = machine(nr_prefilled=2)
    sheaf = slub_drivers.prefill(m, sl, 0, CACHE, KERNEL, 5)
    assert [slub_drivers.take_from(m, sl, 0, sheaf, KERNEL) for _ in range(13)] == [*range(11, -1, -1), NO_OBJECT]
    slub_drivers.return_sheaf(m, sl, 0, CACHE, KERNEL, sheaf)
    assert held(sl) == (0, 0, 0, 0)
    larger = slub_drivers.prefill(m, sl, 0, CACHE, KERNEL, 40)
    assert sl.sheaves.sheaves[larger].nr_objects == 40
    slub_drivers.return_sheaf(m, sl, 0, CACHE, KERNEL, larger)
    assert sl.sheaves.sheaves[larger].nr_objects == 0
    assert slub_drivers.prefill(m, sl, 0, CACHE, KERNEL, 30) == larger
    slub_drivers.recount(m, sl)


@pytest.mark.parametrize("seed", range(4))
def test_cpus_that_free_each_other_s_objects_lose_none(seed: int) -> None:
    """Requests of both CPUs, and of an interrupt on one, cut at their locks and continued in turns."""
    random = Random(seed)
    m, sl = machine(geometry(1024), geometry(64), geometry(4096), geometry(2000, flags=SLAB_NOLEAKTRACE))
    contexts = (0, 1, INTERRUPT)
    mine: list[int] = []
    under_way: dict[int, int] = {}
    for number in range(1500):
        ac = random.choice(contexts)
        if ac == 0 and INTERRUPT in under_way:
            ac = INTERRUPT  # which CPU 0 runs to its end first
        if ac in under_way:
            wanted = slub_drivers.locked(m, sl, ac)
        elif mine and random.random() < (0.3 if number % 500 < 300 else 0.7):
            wanted = slub_drivers.begin(m, sl, ac, FREE, mine.pop(random.randrange(len(mine))), 0, 0)
        else:
            wanted = slub_drivers.begin(m, sl, ac, ALLOC, random.randrange(4), random.choice((KERNEL, NOWAIT)), 0)
            under_way[ac] = NO_OBJECT
        if wanted != DONE:
            under_way.setdefault(ac, DONE)
        elif under_way.pop(ac, DONE) == NO_OBJECT:
            mine.append(int(sl.contexts[ac].obj))
        if number % 50 == 0:
            slub_drivers.recount(m, sl)
    assert len(set(mine)) == len(mine)
    assert not any(int(sl.links[obj]) & IN_SHEAF for obj in mine)
