"""What a handle says of itself, requests for 0 bytes, and calls that were not run."""

from typing import Any

import pytest

import kmsim
from kmsim.config import from_mapping
from kmsim.sim.simulation import Process, Simulation
from kmsim.sim.user.alloc import ZERO_SIZE_PTR
from tests.sim.user.test_cpu_objects import doing

MACHINE = {"extends": "x86-laptop", "memory": "64MiB", "cpus": 1}


def alone(process: Any) -> None:
    """Run a process on a machine on which nothing else runs."""
    kmsim.run(from_mapping({"machine": MACHINE, "workload": {"threads": [{"name": "nobody"}]}}), processes=[process])


def test_zero_bytes_give_zero_size_ptr_where_the_kernels_do() -> None:
    found = []

    def part(cpu: Any) -> Process:
        calls = (cpu.kmalloc(0), cpu.kzalloc(0), cpu.kmalloc_array(0, 8), cpu.kcalloc(8, 0), cpu.krealloc(None, 0))
        for call in (*calls, cpu.kvmalloc(0), cpu.kvzalloc(0), cpu.kvcalloc(0, 0)):
            found.append((yield from call))
        for call in (cpu.vmalloc(0), cpu.vzalloc(0), cpu.alloc_pages_exact(0)):
            assert (yield from call) is None
        assert cpu.ksize(found[0]) == cpu.ksize(None) == 0

    doing(part)
    assert all(alloc is ZERO_SIZE_PTR for alloc in found)
    assert (ZERO_SIZE_PTR.address, ZERO_SIZE_PTR.nr_bytes, ZERO_SIZE_PTR.pages, ZERO_SIZE_PTR.cache) == (
        16,
        0,
        [],
        None,
    )
    assert ZERO_SIZE_PTR.is_contiguous
    assert not ZERO_SIZE_PTR.is_freed
    assert repr(ZERO_SIZE_PTR) == "<ZERO_SIZE_PTR: 0 bytes>"
    with pytest.raises(ValueError, match="no page frame"):
        _ = ZERO_SIZE_PTR.block


def test_freeing_nothing_does_nothing_as_often_as_one_likes() -> None:
    def part(cpu: Any) -> Process:
        for nothing in (None, ZERO_SIZE_PTR, 0, 16):
            for _ in range(2):
                yield from cpu.kfree(nothing)
                yield from cpu.kvfree(nothing)
        yield from cpu.vfree(None)
        yield from cpu.free_pages(None)
        yield from cpu.free_pages(0)

    assert doing(part).nr_done == doing().nr_done


def test_krealloc_to_nothing_frees_and_from_nothing_allocates() -> None:
    def part(cpu: Any) -> Process:
        alloc = yield from cpu.krealloc(ZERO_SIZE_PTR, 100)
        assert alloc.cache == "kmalloc-128"
        assert (yield from cpu.krealloc(alloc, 0)) is ZERO_SIZE_PTR
        assert alloc.is_freed
        area = yield from cpu.vmalloc(100)
        assert (yield from cpu.kvrealloc(area, 0)) is None
        assert area.is_freed
        alloc = yield from cpu.kvrealloc(ZERO_SIZE_PTR, 9)
        assert (yield from cpu.kvrealloc(alloc, 0)) is ZERO_SIZE_PTR

    doing(part)


@pytest.mark.parametrize(
    ("call", "nr_pages", "said"),
    [
        (lambda cpu: cpu.kmalloc(100), 1, "<100 bytes, object of kmalloc-128 at 0x"),
        (lambda cpu: cpu.kmalloc(1), 1, "<1 byte, object of kmalloc-8 at 0x"),
        (lambda cpu: cpu.kmalloc(8192), 2, "<8,192 bytes, object of kmalloc-8k at 0x"),
        (lambda cpu: cpu.kmalloc(8193), 4, "<8,193 bytes, block of kmalloc at 0x"),
        (lambda cpu: cpu.alloc_pages("GFP_KERNEL", 3), 8, "<32,768 bytes, block of alloc_pages at 0x"),
        (lambda cpu: cpu.alloc_pages_exact(33 << 10), 9, "<33,792 bytes, block of alloc_pages_exact at 0x"),
        (lambda cpu: cpu.vmalloc(33 << 10), 9, "<33,792 bytes, area of vmalloc at 0xffffc9"),
        (lambda cpu: cpu.kvmalloc(5 << 20), 1536, "<5,242,880 bytes, area of vmalloc at 0xffffc9"),
    ],
)
def test_a_handle_says_what_it_is(call: Any, nr_pages: int, said: str) -> None:
    def process(simulation: Simulation) -> Process:
        cpu = simulation.cpus[0]
        alloc = yield from call(cpu)
        assert len(set(alloc.pages)) == nr_pages
        assert alloc.is_contiguous, "fresh memory"
        assert repr(alloc).startswith(said)
        assert f"{alloc.pages[0]:#x}" in repr(alloc)
        if alloc.cache is not None:
            assert alloc.pages[0] == alloc.pfn

    alone(process)


@pytest.mark.parametrize(("flags", "ksize"), [((), 104), (("HWCACHE_ALIGN",), 128), (("TYPESAFE_BY_RCU",), 104)])
def test_an_object_can_use_its_slot_unless_it_is_read_after_its_free(flags: tuple[str, ...], ksize: int) -> None:
    """Kernel: slab_ksize."""

    def process(simulation: Simulation) -> Process:
        cpu = simulation.cpus[0]
        cache = yield from cpu.kmem_cache_create("ours", 100, flags=[*flags, "NO_MERGE"])
        alloc = yield from cpu.kmem_cache_alloc(cache)
        assert cpu.ksize(alloc) == ksize

    alone(process)


def test_memory_of_vmalloc_need_not_be_contiguous_and_that_of_kmalloc_is() -> None:
    def process(simulation: Simulation) -> Process:
        cpu = simulation.cpus[0]
        held = []
        for _ in range(200):
            held.append((yield from cpu.alloc_pages("GFP_KERNEL", 0)))
        for page in held[::2]:
            yield from cpu.free_pages(page)
        area = yield from cpu.vmalloc(64 << 10)
        block = yield from cpu.kmalloc(64 << 10)
        assert (area.is_contiguous, block.is_contiguous) == (False, True)
        assert (len(area.pages), len(block.pages)) == (16, 16)
        assert "16 page frames, not contiguous" in repr(area)
        mapped = yield from cpu.vmap([held[1], held[3]])
        assert mapped.pages == [held[1].pfn, held[3].pfn]
        yield from cpu.vfree(area)
        assert "freed in process cpu=0" in repr(area)
        with pytest.raises(ValueError, match="has been freed"):
            _ = area.pages

    alone(process)


def used_as_memory(cpu: Any) -> Process:
    yield from cpu.kfree(cpu.kmalloc(100))


def handed_to_simpy(cpu: Any) -> Process:
    yield cpu.kmalloc(100)


def looked_into(cpu: Any) -> Process:
    yield cpu.held.env.timeout(1)
    _ = cpu.kmalloc(100).pages


@pytest.mark.parametrize("part", [used_as_memory, handed_to_simpy, looked_into])
def test_a_call_without_yield_from_is_said_in_a_sentence(part: Any) -> None:
    sentence = r"kmalloc has not been called yet: write `yield from cpu\.kmalloc\(\.\.\.\)`"
    with pytest.raises((AttributeError, RuntimeError), match=sentence):
        alone(lambda simulation: part(simulation.cpus[0]))


def test_a_call_that_is_dropped_is_warned_of_once() -> None:
    def process(simulation: Simulation) -> Process:
        alloc = yield from simulation.cpus[0].kmalloc(100)
        simulation.cpus[0].kfree(alloc)

    with pytest.warns(RuntimeWarning, match="kfree has not been called yet") as warned:
        alone(process)
    assert len(warned) == 1


def test_a_call_may_be_a_process_of_its_own() -> None:
    def process(simulation: Simulation) -> Process:
        alloc = yield simulation.env.process(simulation.cpus[0].kmalloc(100))
        assert alloc.cache == "kmalloc-128"

    alone(process)
