"""A user's own processes and the slab: kmalloc and its kin, caches of their own.

The prices are in `tests.sim.stories`.
"""

from typing import Any

import pytest

from kmsim.mm.slub_recount import nr_live_objects
from kmsim.sim.run.clock import now_ps
from kmsim.sim.simulation import SPARE_CACHES, Process, Simulation, new_simulation
from kmsim.sim.user.alloc import Alloc, BadFree
from kmsim.sim.user.caches import Cache
from kmsim.study.slab_tables import slabinfo_text
from kmsim.study.tables import tables_of
from kmsim.workload.request import LARGE, SLAB
from tests.sim.stories import PAIR, cheap, finished, prices
from tests.studies import study

BESIDE = PAIR | {"cpus": [1]}  # what runs beside the user's process
PRICED = prices(slab_alloc_fast="10ns", slab_free_fast="20ns", zero_byte="1ns")


def doing(*parts: Any, **others: Any) -> Simulation:
    """The simulation at its end, in which each part, a generator function of a CPU, was done on CPU 0."""

    def process(simulation: Simulation) -> Process:
        for part in parts:
            yield from part(simulation.cpus[0])

    late = BESIDE | {"start": "10ms"}
    return finished(cheap(late, run={"validate_every": 1}, **others), process)


# ---- kmalloc


def test_kmalloc_takes_the_smallest_cache_that_fits_and_a_block_beyond_two_pages() -> None:
    found: list[tuple[Any, ...]] = []

    def part(cpu: Any) -> Process:
        for size in (1, 8, 9, 96, 97, 192, 193, 8192, 8193, 4 << 20):
            alloc = yield from cpu.kmalloc(size)
            found.append((size, alloc.cache, cpu.ksize(alloc), alloc.nr_bytes))
            yield from cpu.kfree(alloc)
        alloc = yield from cpu.kmalloc(50, "GFP_KERNEL | __GFP_RECLAIMABLE")
        found.append((50, alloc.cache, cpu.ksize(alloc), alloc.nr_bytes))
        yield from cpu.kfree(alloc)

    simulation = doing(part)
    assert found == [
        (1, "kmalloc-8", 8, 1),
        (8, "kmalloc-8", 8, 8),
        (9, "kmalloc-16", 16, 9),
        (96, "kmalloc-96", 96, 96),
        (97, "kmalloc-128", 128, 97),
        (192, "kmalloc-192", 192, 192),
        (193, "kmalloc-256", 256, 193),
        (8192, "kmalloc-8k", 8192, 8192),
        (8193, None, 16384, 8193),
        (4 << 20, None, 4 << 20, 4 << 20),
        (50, "kmalloc-rcl-64", 64, 50),
    ]
    slub, caches = simulation.core.slub, simulation.plan.caches
    assert slub is not None
    assert caches is not None
    assert [nr_live_objects(slub, number) for number in range(2, len(caches.geometries))] == [0] * 40


def test_what_is_too_large_for_kmalloc_or_overflows_is_none() -> None:
    answers: list[Any] = []

    def part(cpu: Any) -> Process:
        answers.append((yield from cpu.kmalloc((4 << 20) + 1)))
        answers.append((yield from cpu.kmalloc(1 << 63)))
        answers.append((yield from cpu.kmalloc_array(1 << 33, 1 << 31)))
        answers.append((yield from cpu.kcalloc(1 << 33, 1 << 31)))
        answers.append((yield from cpu.kmalloc_array(1 << 33, 1 << 30)))  # does not overflow
        yield from cpu.kfree(None)

    simulation = doing(part)
    assert answers == [None] * 5
    assert len(simulation.core.requests) == 1  # of the thread


def test_zeroed_objects_take_longer_by_their_bytes() -> None:
    times: list[int] = []

    def part(cpu: Any) -> Process:
        env = cpu.held.env
        first = yield from cpu.kmalloc(500)
        yield from cpu.kfree(first)
        for call in (cpu.kmalloc(500), cpu.kzalloc(500), cpu.kmalloc_array(5, 100), cpu.kcalloc(5, 100)):
            began = now_ps(env)
            alloc = yield from call
            times.append(now_ps(env) - began)
            yield from cpu.kfree(alloc)

    doing(part, costs=PRICED)
    assert times == [10_000, 10_000 + 512_000, 10_000, 10_000 + 512_000]


def test_an_object_that_has_room_stays_and_another_moves_with_its_bytes() -> None:
    seen: list[Any] = []

    def part(cpu: Any) -> Process:
        env = cpu.held.env
        warm = yield from cpu.kmalloc(1000)
        yield from cpu.kfree(warm)
        alloc = yield from cpu.krealloc(None, 100)
        began, where = now_ps(env), alloc.address
        same = yield from cpu.krealloc(alloc, 128)
        seen.append((same is alloc, same.address == where, same.nr_bytes, now_ps(env) - began))
        began = now_ps(env)
        moved = yield from cpu.krealloc(alloc, 1000)
        seen.append((moved is alloc, alloc.is_freed, moved.cache, moved.nr_bytes, now_ps(env) - began))
        yield from cpu.krealloc(moved, 0)
        seen.append(moved.is_freed)

    doing(part, costs=PRICED)
    assert seen == [(True, True, 128, 0), (False, True, "kmalloc-1k", 1000, 10_000 + 20_000 + 128_000), True]


def test_krealloc_moves_between_the_slab_and_large_blocks() -> None:
    seen: list[Any] = []

    def part(cpu: Any) -> Process:
        alloc = yield from cpu.kmalloc(10)
        for size in (20_000, 32_768, 40_000, 10, 65_536):
            alloc = yield from cpu.krealloc(alloc, size)
            seen.append((alloc.api, cpu.ksize(alloc), alloc.nr_bytes))
        yield from cpu.kfree(alloc)

    simulation = doing(part)
    assert seen == [
        (LARGE, 32768, 20_000),
        (LARGE, 32768, 32_768),
        (LARGE, 65536, 40_000),
        (LARGE, 65536, 10),
        (LARGE, 65536, 65_536),
    ]
    table = tables_of(simulation)["operations"]
    freed = table[(table["kind"] == "free") & (table["api"] == "kmalloc_large")]
    assert freed[["order", "count"]].to_numpy().tolist() == [[4, 1]]  # the one that kfree gave back


def test_a_krealloc_without_memory_leaves_the_object() -> None:
    seen: list[Any] = []

    def part(cpu: Any) -> Process:
        alloc = yield from cpu.kmalloc(20_000)
        held = []
        while (block := (yield from cpu.alloc_pages("GFP_NOWAIT", order=6))) is not None:
            held.append(block)
        seen.append((yield from cpu.krealloc(alloc, 1 << 22, "GFP_NOWAIT")))
        seen.append((yield from cpu.krealloc(alloc, 1 << 30)))
        seen.append((alloc.is_freed, alloc.api, cpu.ksize(alloc), alloc.nr_bytes))
        yield from cpu.kfree(alloc)
        for block in held:
            yield from cpu.free_pages(block)

    doing(part)
    assert seen == [None, None, (False, LARGE, 32768, 20_000)]


def test_an_objects_page_frame_is_that_of_its_address() -> None:
    def part(cpu: Any) -> Process:
        allocs = []
        for _ in range(20):
            allocs.append((yield from cpu.kmalloc(300)))
        addresses = [alloc.address for alloc in allocs]
        assert addresses == list(range(addresses[0], addresses[0] + 20 * 512, 512))
        assert [alloc.pfn for alloc in allocs] == [address >> 12 for address in addresses]
        assert all(cpu.held.handles[alloc.address] is alloc for alloc in allocs)
        for alloc in allocs:
            yield from cpu.kfree(alloc.address)
        assert all(alloc.is_freed for alloc in allocs)

    doing(part)


# ---- caches


def test_a_cache_of_ones_own_has_its_geometry_its_records_and_a_constructor() -> None:
    seen: list[Any] = []

    def part(cpu: Any) -> Process:
        env = cpu.held.env
        cache = yield from cpu.kmem_cache_create("mine", 200, flags=["HWCACHE_ALIGN"], constructor_ps=3_000)
        geometry = cpu.held.plan.caches.geometries[cache.number]
        seen.append((geometry.name, geometry.object_size, geometry.size, geometry.has_ctor))
        seen.append([record.cache for record in cpu.held.cache_records[cache.number]])
        began = now_ps(env)
        alloc = yield from cpu.kmem_cache_alloc(cache)
        seen.append((alloc.cache, alloc.nr_bytes, now_ps(env) - began >= geometry.objects * 3_000))
        yield from cpu.kmem_cache_free(cache, alloc)
        with pytest.raises(ValueError, match="constructed, and must not be zeroed"):
            yield from cpu.kmem_cache_zalloc(cache)
        yield from cpu.kmem_cache_destroy(cache)
        with pytest.raises(ValueError, match="'mine' is destroyed"):
            yield from cpu.kmem_cache_alloc(cache)
        yield from cpu.kmem_cache_destroy(None)

    simulation = doing(part)
    assert seen[0] == ("mine", 200, 256, True)
    assert seen[1:] == [["kmem_cache", "kmem_cache_node"], ("mine", 200, True)]
    assert all(alloc.is_freed for alloc in simulation.held.handles.values())
    text = slabinfo_text(simulation)
    assert text is not None
    assert "vmap_area" in text
    assert "mine" not in text
    assert "mine" in tables_of(simulation)["slabs"]["cache"].tolist()


def test_a_cache_that_merges_shares_the_objects_of_another() -> None:
    def part(cpu: Any) -> Process:
        caches = cpu.held.plan.caches
        nr_before = len(caches.geometries)
        first = yield from cpu.kmem_cache_create("first", 120, align=8)
        second = yield from cpu.kmem_cache_create("second", 118, align=8)
        alias = yield from cpu.kmem_cache_create("alias", 192)
        assert (first.number, second.number) == (nr_before, nr_before)
        assert alias.number < nr_before
        alloc = yield from cpu.kmem_cache_alloc(first)
        yield from cpu.kmem_cache_destroy(first)  # only the name goes: the second still uses it
        assert second.number in cpu.held.cache_records
        yield from cpu.kmem_cache_free(second, alloc)
        yield from cpu.kmem_cache_destroy(second)
        yield from cpu.kmem_cache_destroy(alias)
        assert cpu.held.cache_records == {}

    doing(part)


def test_the_kernels_usual_caches_are_there_by_name() -> None:
    def part(cpu: Any) -> Process:
        cache = yield from cpu.kmem_cache_create("dentry")
        assert cache.object_size == 192
        alloc = yield from cpu.kmem_cache_zalloc(cache)
        yield from cpu.kfree(alloc)  # any object will do
        again = yield from cpu.kmem_cache_create("dentry")
        assert again.number == cache.number
        with pytest.raises(ValueError, match="created by others"):
            yield from cpu.kmem_cache_destroy(again)

    doing(part)


@pytest.mark.slow
def test_a_bulk_has_all_objects_or_none() -> None:
    def part(cpu: Any) -> Process:
        cache = yield from cpu.kmem_cache_create("mine", 4096, flags=["NO_MERGE"])
        allocs = yield from cpu.kmem_cache_alloc_bulk(cache, 20)
        assert len({alloc.address for alloc in allocs}) == 20
        assert {alloc.cache for alloc in allocs} == {"mine"}
        yield from cpu.kmem_cache_free(cache, allocs[7])
        yield from cpu.kmem_cache_free_bulk(cache, [*allocs[:7], *allocs[8:]])
        assert all(alloc.is_freed for alloc in allocs)
        held = []
        while (block := (yield from cpu.alloc_pages("GFP_NOWAIT", order=0))) is not None:
            held.append(block)
        assert (yield from cpu.kmem_cache_alloc_bulk(cache, 256, "GFP_NOWAIT")) == []
        for block in held:
            yield from cpu.free_pages(block)

    simulation = doing(part)
    slub = simulation.core.slub
    assert slub is not None
    assert simulation.plan.caches is not None
    assert nr_live_objects(slub, simulation.plan.caches.index_of("mine")) == 0


def test_shrinking_gives_empty_slabs_back() -> None:
    seen: list[int] = []

    def part(cpu: Any) -> Process:
        cache = yield from cpu.kmem_cache_create("mine", 1024, flags=["NO_MERGE"])
        allocs = yield from cpu.kmem_cache_alloc_bulk(cache, 200)
        yield from cpu.kmem_cache_free_bulk(cache, allocs[1:])
        seen.append(int(cpu.held.core.slub.cache_nodes[cache.number].nr_slabs))
        yield from cpu.kmem_cache_shrink(cache)
        seen.append(int(cpu.held.core.slub.cache_nodes[cache.number].nr_slabs))
        yield from cpu.kmem_cache_free(cache, allocs[0])

    doing(part)
    assert seen[0] > 5
    assert seen[1] == 1


def test_a_cache_with_live_objects_is_not_destroyed() -> None:
    def part(cpu: Any) -> Process:
        cache = yield from cpu.kmem_cache_create("mine", 200, flags=["NO_MERGE"])
        allocs = yield from cpu.kmem_cache_alloc_bulk(cache, 3)
        with pytest.raises(BadFree, match=r"BUG mine: Objects remaining on __kmem_cache_shutdown\(\): 3") as report:
            yield from cpu.kmem_cache_destroy(cache)
        assert (report.value.cache, report.value.asked.process) == ("mine", "process")
        yield from cpu.kmem_cache_free_bulk(cache, allocs)  # it is still there
        yield from cpu.kmem_cache_destroy(cache)
        new = yield from cpu.kmem_cache_create("mine", 300, flags=["NO_MERGE"])
        assert new.number == cache.number + 1

    doing(part)


def test_caches_that_are_created_in_a_run_hand_out_objects_in_random_order_too() -> None:
    def addresses(seed: int, slab: dict[str, Any]) -> list[int]:
        got: list[Alloc] = []

        def process(simulation: Simulation) -> Process:
            cpu = simulation.cpus[0]
            cache = yield from cpu.kmem_cache_create("mine", 256, flags=["NO_MERGE"])
            assert cache is not None
            got.extend((yield from cpu.kmem_cache_alloc_bulk(cache, 16)))

        finished(cheap(BESIDE, seed=seed, slab=slab), process)
        first = min(alloc.address for alloc in got)
        return [alloc.address - first for alloc in got]

    in_order = list(range(0, 4096, 256))
    assert addresses(1, {}) == in_order
    shuffled = addresses(1, {"freelist_random": True})
    assert sorted(shuffled) == in_order != shuffled
    assert addresses(2, {"freelist_random": True}) != shuffled


def test_there_are_so_many_spare_caches_and_no_more() -> None:
    def part(cpu: Any) -> Process:
        for n in range(SPARE_CACHES):
            assert (yield from cpu.kmem_cache_create(f"c{n}", 64, flags=["NO_MERGE"])) is not None
        with pytest.raises(ValueError, match="used up"):
            yield from cpu.kmem_cache_create("more", 64, flags=["NO_MERGE"])

    doing(part)


# ---- mistakes


@pytest.mark.parametrize(
    ("verb", "arguments", "why"),
    [
        ("kmalloc", (-1,), "a size is 1 to"),
        ("kmalloc", (1.5,), "a size is 1 to"),
        ("kmalloc", (8, "GFP_KERNEL | __GFP_HIGHMEM"), "no flag that this allocator has to drop"),
        ("kmalloc", (8, "GFP_KERNEL | __GFP_DMA32"), "no flag"),
        ("kmalloc", (1 << 20, "GFP_KERNEL | __GFP_NOFAIL"), "order 0 or 1 where __GFP_NOFAIL"),
        ("kcalloc", (8, -8), "an array has 0 or more"),
        ("kmem_cache_create", ("nobody knows it",), "it needs a size"),
        ("kmem_cache_create", ("kmalloc-7", 7), "one of the kernel's own names"),
        ("kmem_cache_create", ("mine", 0), "must have objects of at least 1 byte"),
        ("kmem_cache_create", ("mine", 64 << 20), "largest slab|order"),
        ("kmem_cache_create", ("vmap_area", 32), "a cache must have another name or the same geometry"),
        ("kmem_cache_alloc_bulk", (Cache("c", 5, 8, has_ctor=False), 0), "a bulk has 1 to 256"),
        ("kmem_cache_free_bulk", (Cache("c", 5, 8, has_ctor=False), []), "a bulk has 1 to 256"),
    ],
)
def test_a_request_that_cannot_be_is_refused(verb: str, arguments: tuple[Any, ...], why: str) -> None:
    def never(simulation: Simulation) -> Process:
        yield simulation.env.timeout(1)

    simulation = new_simulation(study(), [never])
    with pytest.raises(ValueError, match=why):
        next(getattr(simulation.cpus[0], verb)(*arguments))
    assert (simulation.held.free_slots, simulation.engine.nr_tasks) == ([], len(simulation.plan.tasks))


def test_objects_and_blocks_have_no_common_number() -> None:
    def part(cpu: Any) -> Process:
        small, large = (yield from cpu.kmalloc(8)), (yield from cpu.kmalloc(1 << 20))
        assert (small.api, large.api) == (SLAB, LARGE)
        with pytest.raises(BadFree, match="Wrong allocator: the slab gave it"):
            yield from cpu.free_pages(small)
        with pytest.raises(BadFree, match="Wrong allocator: kmalloc gave it, and kfree takes it back"):
            yield from cpu.free_pages(large)
        yield from cpu.kfree(small)
        yield from cpu.kfree(large)

    doing(part)
