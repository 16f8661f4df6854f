"""Foreign allocations: what another task took or gave back while a recording had interrupts on.

Recordings were disturbed now and then by a single allocation or free that is not in their log. A
difference is put down to one only if one such operation, tried on a copy of the simulated machine,
makes *all* that follows equal: nothing is skipped on suspicion.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import NamedTuple

from kmsim.mm.mmzone import NO_PAGE, Machine
from kmsim.mm.snapshot import copy_machine
from kmsim.sim.core.ask import allocate, free
from kmsim.validate.replay import SCRIPT_GFPS, free_frames

ORDERS = range(4)  # what small tasks of an idle kernel ask for: pages, slabs, stacks


class Foreign(NamedTuple):
    """An operation that nobody logged."""

    cpu: int
    is_alloc: bool
    migratetype: int
    order: int
    pfn: int

    def __str__(self) -> str:
        what = "allocation" if self.is_alloc else "free"
        return f"a foreign {what} of order {self.order} at pfn {self.pfn} on CPU {self.cpu}"


def allocations(m: Machine, cpus: list[int]) -> Iterator[tuple[Foreign, Machine]]:
    """Each allocation that may have come between, and the machine after it."""
    for order in ORDERS:
        for cpu in cpus:
            for migratetype, gfp in enumerate(SCRIPT_GFPS.tolist()):
                after = copy_machine(m)
                pfn = allocate(after, cpu, gfp, order)
                if pfn != NO_PAGE:
                    yield Foreign(cpu, True, migratetype, order, pfn), after


def frees(m: Machine, cpus: list[int], freed: list[int]) -> Iterator[tuple[Foreign, Machine]]:
    """Each free of pages that the recording holds to be free and kmsim does not."""
    used = free_frames(m)
    for order in ORDERS:
        for cpu in cpus:
            for pfn in freed:
                if pfn % (1 << order) == 0 and not used[pfn : pfn + (1 << order)].any():
                    after = copy_machine(m)
                    free(after, cpu, pfn, order)
                    yield Foreign(cpu, False, 0, order, pfn), after


def explain(
    m: Machine, cpus: list[int], freed: list[int], agrees: Callable[[Machine], bool]
) -> tuple[Foreign, Machine] | None:
    """The one foreign operation after which the machine agrees, and that machine; None if there is none."""
    for foreign, after in allocations(m, cpus):
        if agrees(after):
            return foreign, after
    for foreign, after in frees(m, cpus, freed):
        if agrees(after):
            return foreign, after
    return None
