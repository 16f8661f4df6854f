"""A page allocator as one would write it with SimPy: a process for each CPU, a Resource for the zone's lock.

Single pages come from a CPU's own list. An empty list is refilled with a batch, a list above `high` gives a batch back,
both under the lock of one zone, whose free blocks are split and merge. Each CPU allocates until it holds `live` pages;
then it frees `turn` of them at random, allocates as many, and so on. Times are in nanoseconds.

Leaves out what kmsim has besides: GFP flags, migratetypes and fallbacks, several zones and their watermarks, requests
of higher orders, lists that tune their size, the price of cache lines, interrupts, threads that share a CPU, samples
over time, and whole picoseconds, by which kmsim's runs repeat bit for bit on any machine.
"""

import random
from collections.abc import Generator
from typing import Any, NamedTuple

import simpy

MAX_ORDER = 10
# Prices of configs/costs/xeon-gold-5320.yaml.
ALLOC_NS, FREE_NS, LOCK_NS, HOLD_NS, PAGE_MOVED_NS = 56.5, 51.6, 49.0, 80.0, 11.8

Steps = Generator[simpy.Event, Any, None]


class Load(NamedTuple):
    """What each CPU does, and what its list holds."""

    operations: int
    live: int = 1000
    think_ns: float = 0
    turn: int = 1
    batch: int = 63
    high: int = 252


class Zone:
    """Free blocks by order, and the lock that protects them."""

    def __init__(self, env: simpy.Environment, nr_pages: int) -> None:
        self.lock = simpy.Resource(env)
        self.free: list[set[int]] = [set() for _ in range(MAX_ORDER + 1)]
        self.free[MAX_ORDER].update(range(0, nr_pages, 1 << MAX_ORDER))

    def take_page(self) -> int:
        """Take a page from the smallest free block; the halves that are left over stay free."""
        order = next((order for order, blocks in enumerate(self.free) if blocks), None)
        if order is None:
            raise MemoryError("the machine has no free page")
        pfn = self.free[order].pop()
        while order:
            order -= 1
            self.free[order].add(pfn + (1 << order))
        return pfn

    def give_page(self, pfn: int) -> None:
        """Free a page; it merges with its buddy as long as that is free."""
        order = 0
        while order < MAX_ORDER and pfn ^ (1 << order) in self.free[order]:
            self.free[order].remove(pfn ^ (1 << order))
            pfn &= ~(1 << order)
            order += 1
        self.free[order].add(pfn)

    def nr_free(self) -> int:
        """Pages in its free blocks."""
        return sum(len(blocks) << order for order, blocks in enumerate(self.free))


class Cpu:
    """A CPU's list, the pages that it holds, and what it measured."""

    def __init__(self, env: simpy.Environment, zone: Zone, load: Load, seed: int) -> None:
        self.env, self.zone, self.load, self.random = env, zone, load, random.Random(seed)
        self.pages: list[int] = []
        self.held: list[int] = []
        self.alloc_ns: list[float] = []
        self.free_ns: list[float] = []
        self.refills = self.drains = 0

    def run(self) -> Steps:
        """All its operations."""
        is_freeing = False
        for _ in range(self.load.operations):
            if self.load.think_ns:
                yield self.env.timeout(self.load.think_ns)
            if len(self.held) == self.load.live:
                is_freeing = True
            elif len(self.held) == self.load.live - self.load.turn:
                is_freeing = False
            yield from self.free() if is_freeing else self.alloc()

    def alloc(self) -> Steps:
        """Take a page from the list, which may have to be refilled."""
        start = self.env.now
        yield self.env.timeout(ALLOC_NS)
        if not self.pages:
            with self.zone.lock.request() as turn:
                yield turn
                yield self.env.timeout(LOCK_NS + HOLD_NS + self.load.batch * PAGE_MOVED_NS)
                self.pages = [self.zone.take_page() for _ in range(self.load.batch)]
            self.refills += 1
        self.held.append(self.pages.pop())
        self.alloc_ns.append(self.env.now - start)

    def free(self) -> Steps:
        """Put one of the held pages on the list, which may have to give some back."""
        start = self.env.now
        i = self.random.randrange(len(self.held))
        self.held[i], self.held[-1] = self.held[-1], self.held[i]
        self.pages.append(self.held.pop())
        yield self.env.timeout(FREE_NS)
        if len(self.pages) > self.load.high:
            with self.zone.lock.request() as turn:
                yield turn
                yield self.env.timeout(LOCK_NS + HOLD_NS + self.load.batch * PAGE_MOVED_NS)
                for _ in range(self.load.batch):
                    self.zone.give_page(self.pages.pop())
            self.drains += 1
        self.free_ns.append(self.env.now - start)


class Model:
    """The machine, ready to run."""

    def __init__(self, nr_cpus: int, load: Load, nr_pages: int = 1 << 20) -> None:
        self.env = simpy.Environment()
        self.zone = Zone(self.env, nr_pages)
        self.cpus = [Cpu(self.env, self.zone, load, seed) for seed in range(nr_cpus)]
        for cpu in self.cpus:
            self.env.process(cpu.run())

    def run(self) -> None:
        """Until every CPU is done."""
        self.env.run()

    def counts(self) -> dict[str, int]:
        """What was done, and where the pages are; by the names that plain.c prints."""
        return {
            "allocs": sum(len(cpu.alloc_ns) for cpu in self.cpus),
            "frees": sum(len(cpu.free_ns) for cpu in self.cpus),
            "refills": sum(cpu.refills for cpu in self.cpus),
            "drains": sum(cpu.drains for cpu in self.cpus),
            "held": sum(len(cpu.held) for cpu in self.cpus),
            "listed": sum(len(cpu.pages) for cpu in self.cpus),
            "free": self.zone.nr_free(),
        }
