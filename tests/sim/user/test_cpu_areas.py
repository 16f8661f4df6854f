"""A user's own processes and exact pages, vmalloc, vmap and kvmalloc.

The prices are in `tests.sim.stories`.
"""

from typing import Any

import numpy as np
import pytest

from kmsim.mm.vm_records import KV_FAILED, KV_OUTCOMES, KV_PAGES, KV_REASONS, KV_SLAB, KV_VMALLOC, VM_USERMAP
from kmsim.sim.run.clock import now_ps
from kmsim.sim.simulation import Process, Simulation, new_simulation
from kmsim.sim.user.alloc import BadFree
from kmsim.sim.user.cpu import Cpu
from kmsim.study.tables import tables_of
from kmsim.workload.request import LARGE, SLAB, VMALLOC
from tests.sim.stories import cheap, finished, prices
from tests.sim.user.test_cpu_objects import BESIDE, doing
from tests.studies import study


def free_pages(cpu: Cpu) -> int:
    """All free pages, those on per-CPU lists too."""
    m = cpu.held.machine
    of_orders = m.zones["nr_free"].sum(axis=0)
    return int((of_orders << np.arange(len(of_orders))).sum() + m.pcps["count"].sum())


# ---- exact pages


def test_exact_pages_take_as_many_as_their_bytes() -> None:
    seen: list[int] = []

    def part(cpu: Any) -> Process:
        before = free_pages(cpu)
        for nr_bytes in (1, 4096, 4097, 20_000, 1 << 20):
            alloc = yield from cpu.alloc_pages_exact(nr_bytes)
            seen.append(before - free_pages(cpu))
            assert alloc.pfn == alloc.address >> 12
            yield from cpu.free_pages_exact(alloc, nr_bytes)
            assert free_pages(cpu) == before
        assert (yield from cpu.alloc_pages_exact((4 << 20) + 1)) is None
        alloc = yield from cpu.alloc_pages_exact_nid(0, 5000)
        yield from cpu.free_pages_exact(alloc.address, 8000)  # as many pages
        with pytest.raises(ValueError, match="a node is 0 to 0, not 1"):
            yield from cpu.alloc_pages_exact_nid(1, 5000)

    doing(part)
    assert seen == [1, 1, 2, 5, 256]


def test_a_wrong_size_of_exact_pages_does_the_kernels_damage_or_is_refused() -> None:
    def part(cpu: Any) -> Process:
        before = free_pages(cpu)
        alloc = yield from cpu.alloc_pages_exact(5 * 4096)
        with pytest.raises(BadFree, match="Wrong size: 2 pages behind its end would be freed, whoever has them"):
            yield from cpu.free_pages_exact(alloc, 7 * 4096)
        assert not alloc.is_freed
        assert free_pages(cpu) == before - 5
        with pytest.raises(BadFree, match="Wrong size: 3 pages are left behind, allocated and nobody's"):
            yield from cpu.free_pages_exact(alloc, 2 * 4096)
        assert alloc.is_freed
        assert free_pages(cpu) == before - 3

    doing(part)


# ---- vmalloc


def test_areas_lie_one_behind_the_other_with_a_guard_page_between() -> None:
    seen: list[Any] = []

    def part(cpu: Any) -> Process:
        before = free_pages(cpu)
        areas = []
        for call in (cpu.vmalloc(5000), cpu.vzalloc(1), cpu.vmalloc_user(4096), cpu.vmalloc(9000, "GFP_NOIO")):
            areas.append((yield from call))
        first = areas[0].address
        seen.extend((area.address - first) >> 12 for area in areas)
        flags = [int(cpu.held.core.vm.areas[area.block].vm_flags) & VM_USERMAP for area in areas]
        assert flags == [0, 0, VM_USERMAP, 0]
        assert before - free_pages(cpu) >= 7
        with pytest.raises(ValueError, match="no one page frame"):
            _ = areas[0].pfn
        for area in areas:
            yield from cpu.vfree(area)
        yield from cpu.vfree(None)

    doing(part)
    assert seen == [0, 3, 5, 7]


def test_huge_mappings_and_what_is_larger_than_memory() -> None:
    def part(cpu: Any) -> Process:
        huge = yield from cpu.vmalloc_huge(2 << 20)
        small = yield from cpu.vmalloc(2 << 20)
        orders = [int(cpu.held.core.vm.areas[area.block].page_order) for area in (huge, small)]
        assert orders == [9, 0]
        assert (yield from cpu.vmalloc(1 << 30)) is None
        yield from cpu.vfree(huge.address)
        yield from cpu.vfree(small)

    simulation = doing(part)
    events = dict(tables_of(simulation)["vmstat"].to_numpy().tolist())
    assert events["kmsim:vmalloc_failed_exceeds_memory"] == 1
    assert events["kmsim:vmalloc"] == events["kmsim:vfree"] == 2


def test_pages_that_are_mapped_stay_with_their_owner() -> None:
    def part(cpu: Any) -> Process:
        block = yield from cpu.alloc_pages("GFP_KERNEL", order=2)
        exact = yield from cpu.alloc_pages_exact(3 * 4096)
        before = free_pages(cpu)
        mapping = yield from cpu.vmap([block, exact])
        record = cpu.held.core.vm.areas[mapping.block]
        assert int(record.nr_bytes) == 7 * 4096
        with pytest.raises(BadFree, match="Wrong allocator: vmap gave it, and vunmap takes it back"):
            yield from cpu.vfree(mapping)
        yield from cpu.vunmap(mapping)
        yield from cpu.vunmap(None)
        assert before - free_pages(cpu) < 8  # only tables and slabs
        yield from cpu.free_pages(block)
        yield from cpu.free_pages_exact(exact, 3 * 4096)
        with pytest.raises(ValueError, match="needs at least one block"):
            yield from cpu.vmap([])
        with pytest.raises(BadFree, match="already free"):
            yield from cpu.vmap([block])

    doing(part)


# ---- kvmalloc


def test_kvmalloc_comes_from_the_slab_or_the_pages_or_leaves_for_vmalloc() -> None:
    seen: list[Any] = []

    def part(cpu: Any) -> Process:
        held = []
        calls = [cpu.kvmalloc(100), cpu.kvzalloc(8192), cpu.kvmalloc_array(100, 100), cpu.kvcalloc(5 << 10, 1 << 10)]
        for call in calls:
            alloc = yield from call
            seen.append((alloc.api, alloc.cache, alloc.nr_bytes))
            held.append(alloc)
        yield from cpu.vfree(held.pop())
        for alloc in held:
            yield from cpu.kvfree(alloc)
        for alloc in ((yield from cpu.kmalloc(10)), (yield from cpu.vmalloc(10))):
            yield from cpu.kvfree(alloc)
        alloc = yield from cpu.kvmalloc(20_000)
        yield from cpu.kfree(alloc)
        yield from cpu.kvfree(None)

    simulation = doing(part)
    assert seen == [
        (SLAB, "kmalloc-128", 100),
        (SLAB, "kmalloc-8k", 8192),
        (LARGE, None, 10_000),
        (VMALLOC, None, 5 << 20),
    ]
    vm = simulation.core.vm
    assert vm is not None
    assert [int(vm.events[KV_OUTCOMES + outcome]) for outcome in (KV_SLAB, KV_PAGES, KV_VMALLOC)] == [2, 2, 1]


def test_kvmalloc_that_can_only_fail_is_counted_by_its_reason() -> None:
    def part(cpu: Any) -> Process:
        assert (yield from cpu.kvmalloc(1 << 31)) is None
        assert (yield from cpu.kvmalloc(1 << 31, "GFP_ATOMIC")) is None
        assert (yield from cpu.kvmalloc(5 << 20, "GFP_ATOMIC")) is None
        assert (yield from cpu.kvmalloc_array(1 << 32, 1 << 32)) is None
        assert (yield from cpu.kvcalloc(1 << 32, 1 << 32)) is None

    vm = doing(part).core.vm
    assert vm is not None
    assert int(vm.events[KV_OUTCOMES + KV_FAILED]) == 5
    assert vm.events[KV_REASONS + 1 : KV_REASONS + 7].tolist() == [0, 0, 0, 2, 1, 2]


def test_kvrealloc_keeps_or_moves_between_slab_pages_and_vmalloc() -> None:
    seen: list[Any] = []

    def part(cpu: Any) -> Process:
        alloc = yield from cpu.kvrealloc(None, 100)
        for size in (128, 5000, 100_000, 131_072, 5 << 20, 6 << 20, 1000, 7 << 20):
            new = yield from cpu.kvrealloc(alloc, size)
            seen.append((new is alloc, new.api, new.nr_bytes))
            alloc = new
        yield from cpu.kvrealloc(alloc, 0)
        assert alloc.is_freed
        assert (yield from cpu.kvrealloc((yield from cpu.kmalloc(10)), 1 << 32)) is None

    doing(part)
    assert seen == [
        (True, SLAB, 128),
        (False, SLAB, 5000),
        (False, LARGE, 100_000),
        (True, LARGE, 131_072),
        (False, VMALLOC, 5 << 20),
        (True, VMALLOC, 6 << 20),  # whole huge pages
        (True, VMALLOC, 1000),
        (False, VMALLOC, 7 << 20),
    ]


def test_moving_takes_as_long_as_the_bytes_that_are_copied() -> None:
    times: list[int] = []

    def part(cpu: Any) -> Process:
        env = cpu.held.env
        for _ in range(2):  # the first finds no slabs
            alloc = yield from cpu.kvmalloc(1000)
            began = now_ps(env)
            alloc = yield from cpu.kvrealloc(alloc, 3000)
            times.append(now_ps(env) - began)
            yield from cpu.kvfree(alloc)

    doing(part, costs=prices(slab_alloc_fast="10ns", slab_free_fast="20ns", zero_byte="1ns"))
    assert times[1] == 10_000 + 20_000 + 1_024_000


# ---- both modes


def test_both_modes_tell_the_same_story_of_all_verbs() -> None:
    logs: list[list[tuple[Any, ...]]] = []

    def one_after_the_other(number: int, log: list[tuple[Any, ...]]) -> Any:
        def process(simulation: Simulation) -> Process:
            cpu, other = simulation.cpus[number], simulation.cpus[1 - number]
            cache = yield from cpu.kmem_cache_create(f"mine{number}", 300 + 64 * number, flags=["NO_MERGE"])
            assert cache is not None
            for n in range(12):
                size = 40 * 3**n % 3_000_000 + 1
                objects = yield from cpu.kmem_cache_alloc_bulk(cache, 7 * n + 1)
                held = [(yield from cpu.kmalloc(size)), (yield from cpu.kvmalloc(size)), (yield from cpu.vmalloc(size))]
                exact = yield from other.alloc_pages_exact(size % 100_000 + 1)
                block = yield from cpu.alloc_pages("GFP_KERNEL", order=n % 6)
                assert exact is not None
                assert block is not None
                mapping = yield from cpu.vmap([block, exact])
                held[0] = yield from other.krealloc(held[0], 2 * size)
                held[1] = yield from other.kvrealloc(held[1], 3 * size)
                everything = [*objects, *held, exact, block, mapping]
                log.append((now_ps(simulation.env), *(alloc.address for alloc in everything if alloc is not None)))
                yield from other.kmem_cache_free_bulk(cache, objects[1:] or objects)
                if n:
                    yield from cpu.kmem_cache_free(cache, objects[0])
                for alloc in held:
                    yield from cpu.kvfree(alloc)
                yield from other.vunmap(mapping)
                yield from cpu.free_pages(block)
                yield from cpu.free_pages_exact(exact, size % 100_000 + 1)
            yield from cpu.kmem_cache_shrink(cache)
            yield from cpu.kmem_cache_destroy(cache)
            log.append((now_ps(simulation.env),))

        return process

    tables = []
    for stepwise in (False, True):
        log: list[tuple[Any, ...]] = []
        run = {"stepwise": stepwise, "validate_every": 5}
        costs = prices(slab_alloc_slow="70ns", slab_free_slow="30ns", vmalloc="400ns", tlb_flush="900ns")
        thread = BESIDE | {"operations": 300, "live": 20}
        config = cheap(thread, run=run, costs=costs)
        simulation = finished(config, one_after_the_other(0, log), one_after_the_other(1, log))
        logs.append(log)
        tables.append(tables_of(simulation))
    assert len(logs[0]) == 26
    assert logs[0] == logs[1]
    assert all(tables[0][name].equals(tables[1][name]) for name in tables[0])


# ---- mistakes


@pytest.mark.parametrize(
    ("verb", "arguments", "why"),
    [
        ("alloc_pages_exact", (-1,), "a size is 1 to"),
        ("alloc_pages_exact", (8, "GFP_KERNEL | __GFP_COMP"), "no flag that this allocator has to drop"),
        ("alloc_pages_exact", (1 << 20, "GFP_KERNEL | __GFP_NOFAIL"), "order 0 or 1"),
        ("vmalloc", (1 << 31,), "a size is 1 to 2147483647 bytes"),
        ("vzalloc", (-3,), "a size is 1 to"),
        ("vmalloc_huge", (True,), "a size is 1 to"),
        ("kvmalloc", (-1,), "a size is 1 to"),
        ("kvmalloc", (8, "__GFP_MOVABLE | __GFP_RECLAIMABLE"), "not both"),
        ("kvcalloc", (-1, 1), "an array has 0 or more"),
    ],
)
def test_a_request_that_cannot_be_is_refused(verb: str, arguments: tuple[Any, ...], why: str) -> None:
    def never(simulation: Simulation) -> Process:
        yield simulation.env.timeout(1)

    simulation = new_simulation(study(), [never])
    with pytest.raises(ValueError, match=why):
        next(getattr(simulation.cpus[0], verb)(*arguments))
    assert (simulation.held.free_slots, simulation.engine.nr_tasks) == ([], len(simulation.plan.tasks))
