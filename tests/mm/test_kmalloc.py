"""kmalloc's situations: small and large, resized in place and moved, freed, and what cannot be had."""

from random import Random
from typing import Any, NamedTuple

import pytest

from kmsim.mm.gfp import parse_gfp
from kmsim.mm.kmalloc import Memory, kmalloc_array_size
from kmsim.mm.mm_init import PfnRange
from kmsim.mm.mmzone import NO_PAGE, NOPAGE, Machine
from kmsim.mm.slab_common import Caches
from kmsim.mm.slab_geometry import SLAB_TYPESAFE_BY_RCU, SlabBuild
from kmsim.mm.slub_records import NO_CACHE, NO_OBJECT, Slub, new_slub

from . import drivers, slub_drivers
from .machines import boot_of, plain_machine, record_of, twin_of
from .slub_pair import SlubPair, geometry_of

GFP_KERNEL = parse_gfp("GFP_KERNEL")
GFP_COMP = parse_gfp("__GFP_COMP")
NOTHING = Memory(NO_OBJECT, NO_PAGE)


class Kernel(NamedTuple):
    """A machine whose caches are kmalloc's."""

    m: Machine
    sl: Slub
    caches: Caches

    def kmalloc(self, size: int, gfp: int = GFP_KERNEL) -> Memory:
        """Memory of `size` bytes, or NOTHING."""
        slub_drivers.kmalloc(self.m, self.sl, 0, size, self.index(size, gfp), gfp)
        return slub_drivers.given(self.sl, 0)

    def krealloc(self, old: Memory, size: int, gfp: int = GFP_KERNEL) -> Memory:
        """The memory with another size."""
        cache = self.index(size, gfp) if size else NO_CACHE
        slub_drivers.krealloc(self.m, self.sl, 0, tuple(old), size, cache, gfp)
        return slub_drivers.given(self.sl, 0)

    def kfree(self, memory: Memory) -> None:
        """Give it back."""
        slub_drivers.kfree(self.m, self.sl, 0, memory.obj, memory.large_pfn)
        slub_drivers.recount(self.m, self.sl)
        drivers.recount(self.m)

    def ksize(self, memory: Memory) -> int:
        """What it can really hold."""
        return slub_drivers.size_of(self.m, self.sl, memory.obj, memory.large_pfn)

    def index(self, size: int, gfp: int) -> int:
        """The number of the cache."""
        index = self.caches.kmalloc_index(size, gfp)
        return NO_CACHE if index is None else index


def kernel(**changes: Any) -> Kernel:
    """64 MiB of 4 KiB pages."""
    m = plain_machine(**changes)
    caches = Caches(SlabBuild(page_shift=12, nr_cpus=2, max_page_order=10))
    return Kernel(m, new_slub(m, caches.geometries), caches)


SIZES = (1, 8, 9, 96, 97, 100, 192, 193, 4096, 8192, 8193, 20_000, 200_100, 1 << 22)


@pytest.mark.parametrize("size", SIZES)
def test_ksize_is_the_rounded_size(size: int) -> None:
    k = kernel()
    memory = k.kmalloc(size)
    assert k.ksize(memory) == k.caches.kmalloc_size_roundup(size)
    assert (memory.large_pfn != NO_PAGE) == (size > 8192)
    assert (memory.obj != NO_OBJECT) == (size <= 8192)
    k.kfree(memory)


def test_a_large_block_is_what_the_page_allocator_gives() -> None:
    k = kernel()
    pages = twin_of(k.m)
    blocks = [k.kmalloc(size) for size in (8193, 40_000, 1 << 20)]
    orders = (2, 4, 8)
    taken = [pages.alloc_pages(0, GFP_KERNEL | GFP_COMP, order) for order in orders]
    assert blocks == [Memory(NO_OBJECT, pfn) for pfn in taken]
    for block, order in zip(blocks, orders, strict=True):
        k.kfree(block)
        pages.free_pages(0, block.large_pfn, order)
    assert record_of(k.m) == pages.state()


def test_nothing_is_larger_than_the_largest_block() -> None:
    k = kernel()
    assert k.kmalloc((1 << 22) + 1) == NOTHING
    assert k.kmalloc(1 << 40) == NOTHING
    assert k.m.contexts[0].failure == NOPAGE


def test_freeing_nothing_is_nothing() -> None:
    k = kernel()
    before = record_of(k.m)
    k.kfree(NOTHING)
    assert record_of(k.m) == before


def test_krealloc_stays_where_the_object_is_large_enough() -> None:
    k = kernel()
    obj = k.kmalloc(100)
    assert [k.krealloc(obj, size) for size in (128, 1, 101)] == [obj] * 3
    assert k.sl.work[0].bytes_copied == 0


@pytest.mark.parametrize(("old", "new"), [(100, 129), (100, 50_000), (9000, 50_000)])
def test_krealloc_moves_to_where_there_is_room(old: int, new: int) -> None:
    k = kernel()
    obj = k.kmalloc(old)
    held = k.ksize(obj)
    moved = k.krealloc(obj, new)
    assert moved not in (obj, NOTHING)
    assert k.ksize(moved) >= new
    assert k.sl.work[0].bytes_copied == held
    if obj.obj != NO_OBJECT:
        assert slub_drivers.problem(k.sl, obj.obj, -1) != 0
    k.kfree(moved)


def test_krealloc_of_nothing_allocates_and_to_nothing_frees() -> None:
    k = kernel()
    obj = k.krealloc(NOTHING, 300)
    assert k.ksize(obj) == 512
    assert k.krealloc(obj, 0) == NOTHING
    assert slub_drivers.problem(k.sl, obj.obj, -1) != 0


def test_krealloc_that_finds_no_memory_leaves_the_object() -> None:
    k = kernel()
    obj = k.kmalloc(100)
    assert k.krealloc(obj, 1 << 23) == NOTHING
    assert slub_drivers.problem(k.sl, obj.obj, -1) == 0


def test_kzalloc_zeroes_the_whole_object_and_not_the_slab() -> None:
    k = kernel()
    zero = GFP_KERNEL | parse_gfp("__GFP_ZERO")
    for _ in range(3):  # slow path, then twice the fast path
        k.kmalloc(100, zero)
    assert k.m.work[0].bytes_zeroed == 3 * 128
    k.kmalloc(8193, zero)
    assert k.m.work[0].bytes_zeroed == 3 * 128 + 16_384


def test_init_on_alloc_zeroes_objects_and_the_pages_of_a_new_slab() -> None:
    k = kernel(init_on_alloc=True)
    for _ in range(3):
        k.kfree(k.kmalloc(100))
    assert k.m.work[0].bytes_zeroed == 4096 + 3 * 128


def test_init_on_free_zeroes_freed_objects_and_the_pointer_that_a_free_one_had() -> None:
    k = kernel(init_on_alloc=True, init_on_free=True)
    for _ in range(3):
        k.kfree(k.kmalloc(100))
    assert k.m.work[0].bytes_zeroed == 3 * (128 + 8 + 128)


@pytest.mark.parametrize("option", ["init_on_alloc", "init_on_free"])
def test_what_outlives_a_free_is_not_zeroed(option: str) -> None:
    m = plain_machine(**{option: True})
    sl = new_slub(m, [geometry_of(12, 64, 0, flags=SLAB_TYPESAFE_BY_RCU), geometry_of(12, 64, 0, has_ctor=True)])
    for cache in (0, 1):
        obj = slub_drivers.finish(m, sl, 0, slub_drivers.begin(m, sl, 0, slub_drivers.ALLOC, cache, GFP_KERNEL, 0))
        slub_drivers.finish(m, sl, 0, slub_drivers.begin(m, sl, 0, slub_drivers.FREE, obj, 0, 0))
    assert m.work[0].bytes_zeroed == (2 * 4096 if option == "init_on_alloc" else 0)


def test_an_array_that_overflows_is_refused() -> None:
    assert kmalloc_array_size(3, 100) == 300
    assert kmalloc_array_size(0, 100) == 0
    assert kmalloc_array_size(1 << 32, (1 << 32) - 1) == (1 << 64) - (1 << 32)
    assert kmalloc_array_size(1 << 32, 1 << 32) is None


def test_real_caches_decide_as_their_twins() -> None:
    build = SlabBuild(page_shift=12, nr_cpus=2, max_page_order=10)
    geometries = Caches(build).geometries
    random = Random(5)
    pair = SlubPair(boot_of(ram=(PfnRange(0, 12_000),)), geometries, None, random)
    for turn in range(1500):
        pair.cpu = random.randrange(2)
        if random.randrange(100) < (80 if turn % 500 < 250 else 25):
            pair.alloc(random.randrange(len(geometries)), GFP_KERNEL)
        elif pair.held:
            pair.free(*pair.held.pop(random.randrange(len(pair.held))))
    pair.compare()
    assert len(pair.held) > 50
