"""A CPU as a user's own SimPy process sees it: ask for pages, give them back.

    def my_thread(simulation):
        cpu = simulation.cpus[0]
        alloc = yield from cpu.alloc_pages("GFP_KERNEL", order=3)
        yield simulation.env.timeout(2 * US)
        if alloc is not None:
            yield from cpu.free_pages(alloc)

    kmsim.run("study.yaml", processes=[my_thread])

The calls take part in everything: they share the CPU with its kernel threads (and pay for the switch),
are interrupted, wait for locks, and are counted. Calls on one CPU are served one after the other.
An operation that has begun goes on: do not throw a `simpy.Interrupt` into a process that is within a call.
"""

from __future__ import annotations

from collections.abc import Generator
from typing import TYPE_CHECKING

import simpy

from kmsim.mm.gfp import gfp_problem, parse_gfp
from kmsim.sim.records import NO_BLOCK
from kmsim.workload.op_stream import ALLOC, DRAIN, FREE
from kmsim.workload.plan import Request

if TYPE_CHECKING:
    from kmsim.sim.simulation import Simulation

NO_SLOT = -1

Call = Generator[simpy.Event, None, None]


class Alloc:
    """A block that a process holds: a handle that stays good wherever the block's pages lie."""

    def __init__(self, simulation: Simulation, slot: int, request: Request) -> None:
        self._simulation = simulation
        self.slot = slot  # where the simulator remembers the block
        self.request = request
        self.is_freed = False

    @property
    def pfn(self) -> int:
        """The block's first page frame, as of now; ValueError once it is freed."""
        if self.is_freed:
            raise ValueError("a block that has been freed has no page frame")
        return int(self._simulation.core.slots[self.slot].block)


class Cpu:
    """One simulated CPU."""

    def __init__(self, simulation: Simulation, number: int) -> None:
        self._simulation = simulation
        self.number = number
        self._turns = simpy.Resource(simulation.env)
        self._task: int | None = None

    def alloc_pages(self, gfp: str | int, order: int = 0) -> Generator[simpy.Event, None, Alloc | None]:
        """Allocate a block of 2^order pages here; `gfp` as the kernel writes it. None where there is no page.

        ValueError for flags that the kernel would warn of, or an order above max_page_order.
        """
        flags = parse_gfp(gfp) if isinstance(gfp, str) else gfp
        highest = int(self._simulation.machine.params[0].max_page_order)
        if type(order) is not int or not 0 <= order <= highest:
            raise ValueError(f"an order is 0 to {highest}, not {order!r}")
        problem = gfp_problem(flags, order)
        if problem is not None:
            raise ValueError(f"{gfp!r} with order {order}: {problem}")
        request = Request(flags, order)
        slot = self._simulation.new_slot()
        nr_bytes = 1 << order + int(self._simulation.machine.params[0].page_shift)
        yield from self._call(ALLOC, slot, request, nr_bytes)
        if self._simulation.core.slots[slot].block == NO_BLOCK:
            self._simulation.return_slot(slot)
            return None
        return Alloc(self._simulation, slot, request)

    def free_pages(self, alloc: Alloc) -> Generator[simpy.Event, None, None]:
        """Free a block here, wherever it was allocated; ValueError where it is freed already."""
        if alloc.is_freed:
            raise ValueError("a block can be freed once")
        alloc.is_freed = True
        yield from self._call(FREE, alloc.slot, alloc.request)
        self._simulation.return_slot(alloc.slot)

    def drain_all_pages(self) -> Call:
        """Give the pages on all CPUs' lists back to the zones, from here (kernel: drain_all_pages)."""
        yield from self._call(DRAIN, NO_SLOT, None)

    def _call(self, kind: int, slot: int, request: Request | None, nr_bytes: int = 0) -> Call:
        """One operation of this CPU's own task, when the calls before it are done."""
        simulation = self._simulation
        with self._turns.request() as turn:
            yield turn
            if self._task is None:
                self._task = simulation.new_task(self.number)
            yield simulation.hand_call(self._task, kind, slot, request, nr_bytes)
