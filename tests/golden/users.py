"""The processes of the study `users`: between them they call everything that a process can ask of a CPU.

Each notes what it is given, and when; what they note is hashed as a table of its own.
"""

from collections.abc import Generator
from typing import Any

import simpy

from kmsim.sim.alloc import Alloc
from kmsim.sim.clock import now_ps
from kmsim.sim.cpu import Cpu
from kmsim.sim.simulation import Simulation
from kmsim.units import TIME_UNITS

US = TIME_UNITS["us"]
LOG_COLUMNS = ("process", "time_ps", "call", "address")

Process = Generator[simpy.Event, Any, None]


class Users:
    """The processes, and the log of what they were given: rows of LOG_COLUMNS."""

    def __init__(self) -> None:
        self.log: list[tuple[str, int, str, str]] = []
        self.processes = (self.of_pages, self.of_objects, self.of_caches, self.of_areas)

    def note(self, process: str, cpu: Cpu, call: str, given: Alloc | None) -> None:
        """Note what a call has given, by its address; empty: nothing."""
        address = "" if given is None else hex(given.address)
        self.log.append((process, now_ps(cpu.simulation.env), call, address))

    def of_pages(self, simulation: Simulation) -> Process:
        """Blocks, exact pages, and the emptying of all lists."""
        cpu, other = simulation.cpus
        for order in (0, 3, 10):
            block = yield from cpu.alloc_pages("GFP_KERNEL", order=order)
            self.note("pages", cpu, "alloc_pages", block)
            yield simulation.env.timeout(2 * US)
            if block is not None:
                yield from other.free_pages(block)
        exact = yield from cpu.alloc_pages_exact(20_000)
        self.note("pages", cpu, "alloc_pages_exact", exact)
        yield from cpu.drain_all_pages()
        yield from cpu.free_pages_exact(exact, 20_000)
        self.note("pages", cpu, "free_pages_exact", None)

    def of_objects(self, simulation: Simulation) -> Process:
        """Objects of any size, which grow and shrink."""
        cpu = simulation.cpus[0]
        held = None
        for size in (10, 60, 64, 5000, 30_000, 100):
            held = yield from cpu.krealloc(held, size)
            self.note("objects", cpu, "krealloc", held)
        array = yield from cpu.kcalloc(9, 100)
        self.note("objects", cpu, "kcalloc", array)
        yield from cpu.kfree(array)
        yield from cpu.kfree(held)
        large = yield from cpu.kmalloc(100_000)
        self.note("objects", cpu, "kmalloc", large)
        yield from cpu.kfree(large)

    def of_caches(self, simulation: Simulation) -> Process:
        """A cache of its own, from its creation to its end, with objects by the dozen."""
        cpu = simulation.cpus[1]
        cache = yield from cpu.kmem_cache_create("golden", 300, flags=("NO_MERGE",), constructor_ps=US)
        assert cache is not None
        one = yield from cpu.kmem_cache_alloc(cache)
        self.note("caches", cpu, "kmem_cache_alloc", one)
        for nr in (3, 40):
            many = yield from cpu.kmem_cache_alloc_bulk(cache, nr)
            for obj in many:
                self.note("caches", cpu, "kmem_cache_alloc_bulk", obj)
            yield from cpu.kmem_cache_free_bulk(cache, many)
        yield from cpu.kmem_cache_shrink(cache)
        yield from cpu.kmem_cache_free(cache, one)
        yield from cpu.kmem_cache_destroy(cache)
        self.note("caches", cpu, "kmem_cache_destroy", None)

    def of_areas(self, simulation: Simulation) -> Process:
        """vmalloc, kvmalloc and mappings of pages that are there."""
        cpu, other = simulation.cpus
        areas = []
        for call in (cpu.vmalloc(50_000), cpu.vzalloc(100), cpu.vmalloc_huge(3 << 20), cpu.vmalloc_user(9000)):
            areas.append((yield from call))
            self.note("areas", cpu, "vmalloc", areas[-1])
        yield simulation.env.timeout(5 * US)
        for area in areas:
            yield from other.vfree(area)
        blocks = []
        for _ in range(3):
            blocks.append((yield from cpu.alloc_pages("GFP_KERNEL", order=1)))
        mapping = yield from cpu.vmap(blocks)
        self.note("areas", cpu, "vmap", mapping)
        yield from cpu.vunmap(mapping)
        for block in blocks:
            yield from cpu.free_pages(block)
        held = None
        for size in (100, 3000, 50_000, 9 << 20, 60_000):
            held = yield from cpu.kvrealloc(held, size)
            self.note("areas", cpu, "kvrealloc", held)
        yield from cpu.kvfree(held)
