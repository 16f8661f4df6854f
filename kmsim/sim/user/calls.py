"""The calls of users' processes on a CPU: one operation of the CPU's own task after the other."""

from __future__ import annotations

from collections.abc import Generator

import simpy

from kmsim.mm.gfp import GFP_DMA32, GFP_HIGHMEM, gfp_problem, parse_gfp
from kmsim.mm.indices import Order, SlotIdx
from kmsim.mm.limits import INT_MAX
from kmsim.sim.core.records import NO_BLOCK
from kmsim.sim.user.alloc import VERBS, Alloc, BadFree, Site, site
from kmsim.sim.user.held import Held
from kmsim.workload.op_stream import ALLOC, FREE
from kmsim.workload.request import Request, can_move

Call = Generator[simpy.Event, None, None]
Allocating = Generator[simpy.Event, None, Alloc | None]


class Calls:
    """The calls of one CPU are served one after another, each as one operation of its own task."""

    def __init__(self, held: Held, number: int) -> None:
        self.held = held
        self.number = number
        self._turns = simpy.Resource(held.env)
        self._task: int | None = None

    def _site(self) -> Site:
        return site(self.held.env, self.number)

    def _turn(self, kind: int, slot: SlotIdx, request: Request | None, nr_bytes: int = 0) -> Call:
        """One operation of this CPU's own task, when the calls before it are done."""
        with self._turns.request() as turn:
            yield turn
            yield self._operation(kind, slot, request, nr_bytes)

    def _operation(self, kind: int, slot: SlotIdx, request: Request | None, nr_bytes: int = 0) -> simpy.Event:
        """The same, for a caller whose turn it is."""
        held = self.held
        if self._task is None:
            self._task = held.engine.new_thread(self.number)
        return held.hand_call(self._task, kind, slot, request, nr_bytes)

    def _allocate(self, request: Request, nr_bytes: int) -> Allocating:
        """Memory, as a handle; None where there is none."""
        held, allocated = self.held, self._site()
        slot = held.new_slot()
        yield from self._turn(ALLOC, slot, request, nr_bytes)
        if held.core.slots[slot].block == NO_BLOCK:
            held.return_slot(slot)
            return None
        return self._held(slot, request, nr_bytes, allocated)

    def _held(self, slot: SlotIdx, request: Request, nr_bytes: int, allocated: Site) -> Alloc:
        """A handle for what a slot holds."""
        alloc = Alloc(self.held.engine, self.held.plan.caches, slot, request, nr_bytes, allocated)
        self.held.handles[alloc.address] = alloc
        return alloc

    def _free(self, alloc: Alloc) -> Call:
        """Free memory that `_to_free` has checked."""
        alloc.give_back(self._site())
        yield from self._turn(FREE, alloc.slot, alloc.request)
        self.held.return_slot(alloc.slot)

    def _to_free(self, alloc: Alloc | int, *apis: int) -> Alloc:
        """The handle of live memory of one of these allocators; BadFree else. An int is an address.

        Memory that can move is known by its handle alone.
        """
        asked = self._site()
        if isinstance(alloc, int):
            alloc = self._at(alloc, asked)
        if alloc.engine is not self.held.engine:
            raise alloc.refused("Invalid object pointer: it was allocated in another simulation", asked)
        if alloc.is_freed:
            raise alloc.refused("Object already free", asked)
        if alloc.api not in apis:
            given, freed_by = VERBS[alloc.api]
            raise alloc.refused(f"Wrong allocator: {given} gave it, and {freed_by} takes it back", asked)
        return alloc

    def _at(self, address: int, asked: Site) -> Alloc:
        """The handle of what was allocated at an address last; BadFree where there is none."""
        alloc = self.held.handles.get(address)
        if alloc is None:
            raise BadFree("Invalid object pointer: nothing was allocated here", address, asked)
        if self.held.machine.holders is not None and can_move(alloc.request.api, alloc.request.gfp):
            raise alloc.refused("Invalid object pointer: its pages can move, so only its handle frees it", asked)
        return alloc

    def _gfp(self, gfp: str | int, *, order: Order = 0, zero: int = 0, refuse: int = GFP_DMA32 | GFP_HIGHMEM) -> int:
        """The flags of a request; ValueError where the kernel would warn of them."""
        flags = (parse_gfp(gfp) if isinstance(gfp, str) else gfp) | zero
        problem = gfp_problem(flags, order)
        if problem is None and flags & refuse:
            problem = "no flag that this allocator has to drop"
        if problem is not None:
            raise ValueError(f"{gfp!r}" + (f" with order {order}" if order else "") + f": {problem}")
        return flags


def is_zero(nr_bytes: int) -> bool:
    """Is this the size 0, at which the kernel's allocators ask for nothing? (an int, and not False)"""
    return type(nr_bytes) is int and nr_bytes == 0


def check_size(nr_bytes: int, most: int = INT_MAX) -> None:
    """ValueError unless it is a size that can be asked for; an operation counts its bytes in an int."""
    if type(nr_bytes) is not int or not 1 <= nr_bytes <= most:
        raise ValueError(f"a size is 1 to {most} bytes, not {nr_bytes!r}")
