"""Frees that must not be: refused with a report that names the object, its cache and both call sites."""

from typing import Any

import pytest

import kmsim
from kmsim.sim.simulation import Process, Simulation
from kmsim.sim.user.alloc import Alloc, BadFree, Site
from kmsim.units import PS_PER_NS
from tests.sim.stories import cheap, finished
from tests.sim.user.test_cpu_objects import BESIDE, doing


def test_a_double_free_names_the_object_and_both_call_sites() -> None:
    reports: list[BadFree] = []
    held: list[Alloc] = []

    def taker(simulation: Simulation) -> Process:
        yield simulation.env.timeout(1_000 * PS_PER_NS)
        held.append((yield from simulation.cpus[0].kmalloc(100)))
        yield simulation.env.timeout(1_000 * PS_PER_NS)
        yield from simulation.cpus[1].kfree(held[0])

    def culprit(simulation: Simulation) -> Process:
        yield simulation.env.timeout(5_000 * PS_PER_NS)
        before = simulation.nr_done
        for freed in (held[0], held[0].address):
            with pytest.raises(BadFree) as report:
                yield from simulation.cpus[0].kfree(freed)
            reports.append(report.value)
        assert simulation.nr_done == before

    finished(cheap(BESIDE, run={"validate_every": 1}), taker, culprit)
    freed_at = 2_015 * PS_PER_NS  # the allocation takes a zone's lock, 15 ns
    for report in reports:
        assert (report.problem, report.cache, report.address) == ("Object already free", "kmalloc-128", held[0].address)
        assert report.allocated == Site("taker", 0, 1_000 * PS_PER_NS)
        assert report.freed == Site("taker", 1, freed_at)
        assert report.asked == Site("culprit", 0, 5_000 * PS_PER_NS)
        assert str(report).splitlines()[2:] == [
            "BUG kmalloc-128: Object already free",
            "-" * 77,
            f"Object 0x{held[0].address:016x} of cache kmalloc-128",
            "Allocated in taker cpu=0 at 1,000.0 ns",
            "Freed in taker cpu=1 at 2,015.0 ns",
            "This free in culprit cpu=0 at 5,000.0 ns",
        ]


def test_a_free_to_the_wrong_cache_is_refused_and_the_object_lives() -> None:
    def part(cpu: Any) -> Process:
        one = yield from cpu.kmem_cache_create("one", 96, flags=["NO_MERGE"])
        two = yield from cpu.kmem_cache_create("two", 96, flags=["NO_MERGE"])
        alloc, good = (yield from cpu.kmem_cache_alloc(one)), (yield from cpu.kmem_cache_alloc(two))
        with pytest.raises(BadFree, match=r"Wrong slab cache\. two but object is from one") as report:
            yield from cpu.kmem_cache_free(two, alloc)
        assert (report.value.cache, report.value.freed) == ("one", None)
        assert report.value.allocated is not None
        with pytest.raises(BadFree, match="Wrong slab cache"):
            yield from cpu.kmem_cache_free_bulk(two, [good, alloc])
        with pytest.raises(BadFree, match="it is in the same bulk twice"):
            yield from cpu.kmem_cache_free_bulk(two, [good, good])
        assert not alloc.is_freed
        assert not good.is_freed
        yield from cpu.kmem_cache_free(one, alloc)
        yield from cpu.kfree(good)

    doing(part)


def test_memory_that_was_never_allocated_is_not_freed() -> None:
    strangers: list[Alloc] = []

    def leaving(cpu: Any) -> Process:
        strangers.append((yield from cpu.kmalloc(64)))

    def part(cpu: Any) -> Process:
        alloc = yield from cpu.kmalloc(64)
        for verb in ("free_pages", "kfree", "vfree", "vunmap", "kvfree"):
            with pytest.raises(BadFree, match="BUG memory: Invalid object pointer: nothing was allocated") as report:
                yield from getattr(cpu, verb)(alloc.address + 8)
            assert (report.value.address, report.value.allocated) == (alloc.address + 8, None)
        with pytest.raises(BadFree, match="it was allocated in another simulation"):
            yield from cpu.kfree(strangers[0])
        yield from cpu.kfree(alloc)

    doing(leaving)
    doing(part)


@pytest.mark.parametrize(
    ("given", "verbs"),
    [
        (lambda cpu: cpu.alloc_pages("GFP_KERNEL", order=1), ["kfree", "vfree", "vunmap", "kvfree"]),
        (lambda cpu: cpu.alloc_pages_exact(5000), ["free_pages", "kfree", "vfree", "kvfree"]),
        (lambda cpu: cpu.kmalloc(50), ["free_pages", "vfree", "vunmap"]),
        (lambda cpu: cpu.kmalloc(50_000), ["free_pages", "vfree", "vunmap"]),
        (lambda cpu: cpu.vmalloc(50_000), ["free_pages", "kfree", "vunmap"]),
        (lambda cpu: cpu.kvmalloc(5 << 20), ["free_pages", "kfree", "vunmap"]),
    ],
)
def test_memory_goes_back_to_where_it_came_from(given: Any, verbs: list[str]) -> None:
    def part(cpu: Any) -> Process:
        alloc = yield from given(cpu)
        for verb in verbs:
            with pytest.raises(BadFree, match="Wrong allocator"):
                yield from getattr(cpu, verb)(alloc)
        if "free_pages" in verbs:
            cache = yield from cpu.kmem_cache_create("mine", 64, flags=["NO_MERGE"])
            with pytest.raises(BadFree, match=r"Wrong allocator|Wrong slab cache"):
                yield from cpu.kmem_cache_free(cache, alloc)
        assert not alloc.is_freed

    doing(part)


def test_an_object_that_moves_cannot_be_freed_meanwhile() -> None:
    held: list[Any] = []

    def mover(simulation: Simulation) -> Process:
        held.append((yield from simulation.cpus[0].kmalloc(10_000)))
        yield simulation.env.timeout(1_000 * PS_PER_NS)
        held.append((yield from simulation.cpus[0].krealloc(held[0], 100_000)))

    def culprit(simulation: Simulation) -> Process:
        yield simulation.env.timeout(1_100 * PS_PER_NS)
        assert len(held) == 1  # the krealloc is under way
        with pytest.raises(BadFree, match="already free"):
            yield from simulation.cpus[1].kfree(held[0])

    finished(cheap(BESIDE, run={"validate_every": 1}), mover, culprit)
    assert held[1] is not None


def test_a_report_that_nobody_catches_ends_the_run() -> None:
    def freeing(simulation: Simulation) -> Process:
        alloc = yield from simulation.cpus[0].kmalloc(100)
        yield from simulation.cpus[0].kfree(alloc)
        yield from simulation.cpus[0].kfree(alloc)

    with pytest.raises(ValueError, match="BUG kmalloc-128: Object already free"):
        kmsim.run(cheap(BESIDE), processes=[freeing])
