"""What the processes of a user's own hold of one run: slots of the core, handles by address, caches they created.

Leaves out what a handle is and when it may be freed (`sim.user.alloc`), and the order of calls (`sim.user.calls`).
Invariant: a handle that is not freed has a slot of its own; `handles` has, for each address, the handle of the
memory that was allocated there last.
"""

from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import numpy as np
import simpy

from kmsim.config.machine import MachineConfig
from kmsim.mm.indices import SlotIdx, TaskIdx
from kmsim.mm.mmzone import Machine
from kmsim.sim.core.records import NO_BLOCK, NR_KINDS, Core
from kmsim.sim.run.engine import Engine
from kmsim.sim.user.alloc import Alloc
from kmsim.workload.phases import NOT_TIMED
from kmsim.workload.plan import Plan, Request
from kmsim.workload.turns import NO_SLOT

USER_SLOTS = 64


@dataclass
class Held:
    """All that users' processes hold of one run, and the way in which they ask for more."""

    engine: Engine
    plan: Plan
    config: MachineConfig
    slab_seeds: list[int] | None
    free_slots: list[int] = field(default_factory=list)
    handles: dict[int, Alloc] = field(default_factory=dict)  # by address; freed ones, too
    cache_records: dict[int, list[Alloc]] = field(default_factory=dict)  # of the caches that users have created

    @property
    def env(self) -> simpy.Environment:
        """The clock."""
        return self.engine.env

    @property
    def core(self) -> Core:
        """The event core, as of now."""
        return self.engine.core

    @property
    def machine(self) -> Machine:
        """The state of the allocators."""
        return self.engine.core.m

    def hand_call(
        self, k: TaskIdx, kind: int, slot: SlotIdx, request: Request | None, nr_bytes: int = 0
    ) -> simpy.Event:
        """Give a task one operation, on a user's slot; an event that fires when it is done."""
        number = 0 if request is None else self.request_index(request)  # this may replace the core
        self.engine.room(k)[0] = (0, NOT_TIMED, nr_bytes, slot, NO_SLOT, number, kind, 0)
        return self.engine.hand(k, 1)

    def request_index(self, request: Request) -> int:
        """Which of the core's requests this is; a new one if none."""
        known = self._request_numbers.get(request)
        if known is None:
            known = len(self.core.requests)
            self.engine.core = grown(self.core, requests=1, counts=NR_KINDS, totals=NR_KINDS, reclaimed=NR_KINDS)
            self.core.requests[known] = request
            self._request_numbers[request] = known
        return known

    @cached_property
    def _request_numbers(self) -> dict[Request, int]:
        return {Request(*known): n for n, known in enumerate(self.core.requests.tolist())}

    def new_slot(self) -> SlotIdx:
        """A slot for a user's block."""
        if not self.free_slots:
            first = len(self.core.slots)
            self.engine.core = grown(self.core, slots=USER_SLOTS)
            self.core.slots["block"][first:] = NO_BLOCK
            self.free_slots = list(range(len(self.core.slots) - 1, first - 1, -1))
        return self.free_slots.pop()

    def return_slot(self, slot: SlotIdx) -> None:
        """A user's block is gone."""
        self.free_slots.append(slot)


def grown(core: Core, **records: int) -> Core:
    """The core with that many more records, zeroed, at the ends of some of its arrays, but for those it has not."""
    fields: dict[str, Any] = {}
    for name, count in records.items():
        array = getattr(core, name)
        if array is None:
            continue
        fields[name] = np.concatenate((array, np.zeros((count, *array.shape[1:]), array.dtype)))
    return core._replace(**fields)
