"""vmalloc's addresses beside their slow model: random requests, each at the same address, the same state at the end."""

from collections import Counter
from random import Random

import pytest

from kmsim.mm.mm_init import PfnRange
from kmsim.mm.vm_layout import Space, small_space, vmalloc_space
from kmsim.mm.vm_records import (
    FREE_TREE,
    MAX_VA_SIZE_PAGES,
    NO_AREA,
    NO_SPACE,
    NO_VA,
    VM_ALLOW_HUGE_VMAP,
)
from kmsim.mm.wants import FLUSH
from tests.models.vmap_model import Node, Range, VmapModel

from . import drivers
from .vm_drivers import DEFERRED, PURGE, VFREE, VFREE_ATOMIC, VMAP, VUNMAP, Ready, ready, recount

PAGE_SHIFT = 12


def list_from(kmsim: Ready, va: int) -> list[Range]:
    """The ranges of a list."""
    found = []
    while va != NO_VA:
        record = kmsim.vm.vas[va]
        found.append((int(record.start), int(record.end)))
        va = int(record.next)
    return found


def compare(kmsim: Ready, twin: VmapModel) -> None:
    """Hold free space, pools and lazily freed ranges against each other."""
    vm = kmsim.vm
    recount(kmsim.m, vm)
    assert list_from(kmsim, int(vm.trees[FREE_TREE].first)) == twin.free
    assert vm.params[0].vmap_lazy_nr == twin.lazy_nr
    assert bool(vm.params[0].drain_scheduled) == twin.drain_scheduled
    for number, node in enumerate(twin.nodes):
        assert sorted(list_from(kmsim, int(vm.nodes[number].lazy))) == sorted(piece for piece, _ in node.lazy)
        assert pools_of(kmsim, number) == {size: pool for size, pool in node.pools.items() if pool}


def pools_of(kmsim: Ready, number: int) -> dict[int, list[Range]]:
    """A node's pools that are not empty, by length."""
    first = number * MAX_VA_SIZE_PAGES
    pools = {size: list_from(kmsim, int(kmsim.vm.pools[first + size - 1].head)) for size in range(1, 257)}
    return {size: pool for size, pool in pools.items() if pool}


class Pair:
    """A machine's address space, its twin, and the areas that are mapped."""

    def __init__(self, seed: int, space: Space, nr_cpus: int, nr_nodes: int | None = None) -> None:
        self.random = Random(seed)
        self.kmsim = ready(space, nr_nodes, nr_cpus=nr_cpus, ram=(PfnRange(0, 40_000),))
        self.twin = VmapModel(space.start >> PAGE_SHIFT, space.end >> PAGE_SHIFT, PAGE_SHIFT, nr_cpus, nr_nodes)
        self.nr_cpus = nr_cpus
        self.held: list[int] = []
        self.reached: Counter[str] = Counter()

    def map(self, nr_pages: int) -> None:
        """Map pages, at the twin's address."""
        cpu = self.random.randrange(self.nr_cpus)
        waits = self.kmsim.request(cpu, VMAP, nr_pages)
        self.settle_alloc(cpu, nr_pages, 1, waits)

    def vmalloc_huge(self, nr_bytes: int) -> None:
        """Allocate with huge mappings, which the machine has blocks for."""
        cpu = self.random.randrange(self.nr_cpus)
        area = self.kmsim.vmalloc(nr_bytes, ac=cpu, vm_flags=VM_ALLOW_HUGE_VMAP)
        if area != NO_AREA and self.kmsim.vm.areas[area].page_order:
            self.reached["huge"] += 1
            self.settle_alloc(cpu, int(self.kmsim.vm.areas[area].nr_pages), 512, [])
            array = int(self.kmsim.vm.areas[area].pages_area)
            if array != NO_AREA:
                self.reached["array"] += 1
                start, end = self.range_of(array)
                assert self.twin.alloc(cpu, end - start, 1, None) == start
        else:
            self.reached["stop"] += 1

    def settle_alloc(self, cpu: int, nr_pages: int, align: int, waits: list[int]) -> None:
        """Let the twin do the same."""
        area = self.kmsim.area(cpu)
        told = None if area == NO_AREA else int(self.kmsim.vm.vas[self.kmsim.vm.areas[area].va].start)
        nr_flushes = len(self.twin.flushes)
        start = self.twin.alloc(cpu, nr_pages + 1, align, told)
        assert start == told
        if align == 1:
            assert waits.count(-FLUSH) == len(self.twin.flushes) - nr_flushes
        self.reached["purged in need"] += len(self.twin.flushes) > nr_flushes
        if area == NO_AREA:
            self.reached["exhausted"] += 1
            assert self.kmsim.vm.contexts[cpu].failure == NO_SPACE
        else:
            self.held.append(area)

    def range_of(self, area: int) -> Range:
        """An area's range."""
        va = self.kmsim.vm.vas[self.kmsim.vm.areas[area].va]
        return int(va.start), int(va.end)

    def unmap(self) -> None:
        """Free one area; sometimes from where one may not sleep."""
        area = self.held.pop(self.random.choice((0, -1, self.random.randrange(len(self.held)))))
        cpu = self.random.randrange(self.nr_cpus)
        self.twin.free_lazily(self.range_of(area))
        array = int(self.kmsim.vm.areas[area].pages_area)
        if array != NO_AREA:
            self.twin.free_lazily(self.range_of(array))
        if self.random.randrange(6) == 0:
            self.reached["deferred"] += 1
            assert self.kmsim.request(cpu, VFREE_ATOMIC, area) == []
            assert self.kmsim.vm.params[0].vfree_scheduled == 1
            self.kmsim.request(self.random.randrange(self.nr_cpus), DEFERRED, cpu)
        else:
            self.kmsim.request(cpu, self.random.choice((VUNMAP, VFREE)), area)

    def purge(self) -> None:
        """Run the work item."""
        nr_flushes = len(self.twin.flushes)
        self.twin.purge(full=False)
        self.twin.drain_scheduled = False
        cpu = self.random.randrange(self.nr_cpus)
        waits = self.kmsim.request(cpu, PURGE)
        assert waits.count(-FLUSH) == len(self.twin.flushes) - nr_flushes
        if len(self.twin.flushes) > nr_flushes:
            start, end = self.twin.flushes[-1]
            context = self.kmsim.vm.contexts[cpu]
            assert (context.flush_start, context.flush_pages) == (start, end - start)

    def run(self, nr_operations: int, sizes: list[int]) -> None:
        """Map, unmap and purge at random."""
        random = self.random
        for number in range(nr_operations):
            choice = random.randrange(100)
            hits = int(self.kmsim.vm.events[11])
            if choice < 55:
                self.map(random.choice(sizes))
            elif choice < 96 and self.held:
                self.unmap()
            elif choice < 99:
                self.purge()
            self.reached["ready"] += int(self.kmsim.vm.events[11]) - hits
            self.reached["scheduled"] += self.twin.drain_scheduled
            if number % 10 == 0:
                compare(self.kmsim, self.twin)
        compare(self.kmsim, self.twin)
        drivers.recount(self.kmsim.m)


X86 = vmalloc_space("x86-64", PAGE_SHIFT)


@pytest.mark.parametrize("seed", range(4))
def test_several_cpus_get_the_addresses_of_the_twin(seed: int) -> None:
    pair = Pair(seed, X86, nr_cpus=1 + seed)
    pair.run(400, [1, 1, 2, 4, 4, 7, 64, 255, 256, 600])
    assert pair.reached["deferred"]
    assert pair.reached["ready"] or seed == 0


def test_a_small_space_is_exhausted_and_purged_as_the_twin_is() -> None:
    pair = Pair(7, small_space(4 << 20), nr_cpus=2, nr_nodes=1)
    pair.run(500, [1, 2, 5, 30, 100])
    assert pair.reached["exhausted"]
    assert pair.reached["purged in need"]


def test_a_small_space_of_several_nodes_gives_its_pools_back_in_need() -> None:
    pair = Pair(8, small_space(4 << 20), nr_cpus=3)
    pair.run(500, [1, 2, 5, 30, 100])
    assert pair.reached["exhausted"]
    assert pair.reached["ready"]


def test_many_lazily_freed_pages_schedule_the_drain() -> None:
    pair = Pair(9, X86, nr_cpus=1)
    pair.run(300, [600, 900, 1000])
    assert pair.reached["scheduled"]


@pytest.mark.parametrize("seed", range(3))
def test_aligned_requests_lie_where_the_kernel_could_have_put_them(seed: int) -> None:
    pair = Pair(seed, X86, nr_cpus=2)
    random = pair.random
    for _ in range(150):
        choice = random.randrange(10)
        if choice < 2 and not pair.reached["stop"]:
            pair.vmalloc_huge(random.choice((2 << 20, (2 << 20) + 1, 5 << 20)))
        elif choice < 5:
            pair.map(random.choice((1, 3, 500, 520)))
        elif pair.held:
            pair.unmap()
        if pair.reached["stop"]:
            break
        compare(pair.kmsim, pair.twin)
    assert pair.reached["huge"] >= 5
    assert pair.reached["array"]


def test_the_twin_merges_and_splits() -> None:
    twin = VmapModel(100, 200, PAGE_SHIFT, 1)
    starts = [twin.alloc(0, 10, 1, None) for _ in range(3)]
    assert starts == [100, 110, 120]
    twin.free_lazily((110, 120))
    assert twin.alloc(0, 5, 1, None) == 130
    twin.purge(full=False)
    assert twin.alloc(0, 5, 1, None) == 110
    assert twin.flushes == [(110, 120)]
    assert twin.nodes == [Node()]
