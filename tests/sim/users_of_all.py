"""Processes of a user's that ask, at random, for what no workload asks for, beside a random study of all allocators.

Each CPU has one: krealloc and kvrealloc, objects in bulk, caches that are shrunk or end, mappings, areas whose
addresses were purged before, and drains of all per-CPU lists, which let others find these locked. All CPUs use one
cache, so that its list_lock is waited for. What a process holds is freed at its end.
"""

import random
from collections.abc import Generator
from typing import Any

import simpy

from kmsim.sim.run.clock import now_ps
from kmsim.sim.simulation import Simulation
from kmsim.sim.user.alloc import Alloc
from kmsim.sim.user.cpu import Cpu
from tests.sim import test_modes_of_allocators
from tests.studies import Mapping

CPUS_MAX = 4  # of such a study
NR_ROUNDS = 150
PAUSE_MAX = 500_000  # in ps
OBJECTS_MAX = 24
BULKS_MAX = 6
MEMORY_MAX = 12
OBJECT_SIZES = (3000, 4000, 5000, 8000, 20_000, 100_000)  # ever larger
MEMORY_SIZES = (200, 5000, 30_000, 100_000, 200_000)
BLOCK_ORDERS = (0, 1, 5)
SMALL_AREA = 40_000  # so few pages that a purge puts their addresses into a pool
LARGE_ORDER = 10

Process = Generator[simpy.Event, Any, Any]


def random_study(seed: int) -> Mapping:
    """A random study of all allocators, without the threads that ask for addresses: the CPUs are often free."""
    study = test_modes_of_allocators.random_study(seed)
    threads = study["workload"]["threads"]
    study["workload"]["threads"] = [thread for thread in threads if not asks_for_addresses(thread)]
    study["machine"]["vmalloc"] = {"size": "auto"}  # a purge before all are used up puts some into pools
    return study


def asks_for_addresses(thread: Mapping) -> bool:
    """Is it one that asks for vmalloc or kvmalloc?"""
    return any(request.get("api") in ("vmalloc", "kvmalloc") for request in thread.get("requests", ()))


class UserOfAll:
    """The process of one CPU; `log` says when it was given what address."""

    def __init__(self, seed: int, number: int) -> None:
        self.log: list[tuple[int, str, int]] = []
        self._rng = random.Random(f"user of all {seed} {number}")
        self._number = number
        self._cache: Any = None
        self._objects: list[Alloc] = []
        self._memory: list[Alloc] = []
        self._bulks: list[list[Alloc]] = []

    def __call__(self, simulation: Simulation) -> Process:
        if self._number >= len(simulation.cpus):
            return
        cpu = simulation.cpus[self._number]
        self._cache = yield from cpu.kmem_cache_create("of_users", 700)
        calls = [self._krealloc] * 12 + [self._kvrealloc] * 4 + [self._bulk] * 4 + [self._purged] * 3
        calls += [self._map, self._zeroed, self._own_cache, self._shrink] + [self._drain] * 4
        for _ in range(NR_ROUNDS):
            call = self._rng.choice(calls)
            yield simulation.env.timeout(self._rng.randrange(PAUSE_MAX))
            given = yield from call(cpu)
            self.log.append((now_ps(simulation.env), call.__name__, given.address if given else 0))
        yield from self._free_all(cpu)

    def _krealloc(self, cpu: Cpu) -> Process:
        """An object that grows, or a new one; and when it has many, the end of most of them."""
        given = self._taken(self._objects, 2 * OBJECTS_MAX)
        for size in OBJECT_SIZES[self._rng.randrange(4) :]:
            given = (yield from cpu.krealloc(given, size)) or given
            if self._rng.random() < 0.6:
                break
        self._objects += [given] if given else []
        if len(self._objects) > OBJECTS_MAX:
            self._rng.shuffle(self._objects)
            while len(self._objects) > OBJECTS_MAX // 4:
                yield from cpu.kfree(self._objects.pop())
        return given

    def _kvrealloc(self, cpu: Cpu) -> Process:
        """The same, from the slab, pages or vmalloc."""
        old = self._taken(self._memory, MEMORY_MAX)
        given = yield from cpu.kvrealloc(old, self._rng.choice(MEMORY_SIZES))
        self._memory += [held for held in (given or old,) if held]
        return given

    def _taken(self, held: list[Alloc], of: int) -> Alloc | None:
        """One of what it holds, or nothing; all of so many are equally likely."""
        place = self._rng.randrange(of)
        return held.pop(place) if place < len(held) else None

    def _bulk(self, cpu: Cpu) -> Process:
        """Objects of the cache that all share, or the free of some."""
        if self._cache is None:
            return None
        if len(self._bulks) == BULKS_MAX:
            yield from cpu.kmem_cache_free_bulk(self._cache, self._bulks.pop(self._rng.randrange(BULKS_MAX)))
            return None
        objects = yield from cpu.kmem_cache_alloc_bulk(self._cache, self._rng.randint(1, 40))
        self._bulks += [objects] if objects else []
        return objects[-1] if objects else None

    def _map(self, cpu: Cpu) -> Process:
        """A mapping of some blocks, and its end."""
        blocks = []
        for order in BLOCK_ORDERS:
            block = yield from cpu.alloc_pages("GFP_KERNEL", order=order)
            blocks += [block] if block else []
        mapping = (yield from cpu.vmap(blocks)) if blocks else None
        yield from cpu.vunmap(mapping)
        for block in blocks:
            yield from cpu.free_pages(block)
        return mapping

    def _zeroed(self, cpu: Cpu) -> Process:
        """Exact pages that are zeroed."""
        pages = yield from cpu.alloc_pages_exact(SMALL_AREA, "GFP_KERNEL | __GFP_ZERO")
        if pages:
            yield from cpu.free_pages_exact(pages, SMALL_AREA)
        return pages

    def _purged(self, cpu: Cpu) -> Process:
        """A small area before and after so many addresses that, sooner or later, a purge is due."""
        small = yield from cpu.vmalloc(SMALL_AREA)
        yield from cpu.vfree(small)
        block = yield from cpu.alloc_pages("GFP_KERNEL", order=LARGE_ORDER)
        if block:
            yield from cpu.vunmap((yield from cpu.vmap([block] * 2)))
            yield from cpu.free_pages(block)
        small = yield from cpu.vmalloc(SMALL_AREA)
        yield from cpu.vfree(small)
        return small

    def _own_cache(self, cpu: Cpu) -> Process:
        """A cache from its creation to its end."""
        cache = yield from cpu.kmem_cache_create(f"of_user_{self._number}", 900, flags=("NO_MERGE",))
        if cache is None:
            return None
        objects = yield from cpu.kmem_cache_alloc_bulk(cache, 20)
        if objects:
            yield from cpu.kmem_cache_free_bulk(cache, objects)
        yield from cpu.kmem_cache_destroy(cache)
        return None

    def _shrink(self, cpu: Cpu) -> Process:
        """The end of the shared cache's empty slabs."""
        if self._cache is not None:
            yield from cpu.kmem_cache_shrink(self._cache)
        return None

    def _drain(self, cpu: Cpu) -> Process:
        """The end of all per-CPU lists."""
        yield from cpu.drain_all_pages()
        return None

    def _free_all(self, cpu: Cpu) -> Process:
        """Everything back."""
        for alloc in self._objects:
            yield from cpu.kfree(alloc)
        for alloc in self._memory:
            yield from cpu.kvfree(alloc)
        for objects in self._bulks:
            yield from cpu.kmem_cache_free_bulk(self._cache, objects)
