"""The event core on SimPy's clock: tasks are handed operations and told when these are done.

An `Engine` is all that SimPy processes share of a run: the clock, the core, and for each task an event that fires
when its block of operations is done. Who hands operations (`sim.run.task`, a user's process) and who drives the
core's events (`sim.run.drivers`) meet here and know nothing of each other. Operations are written to where the core
reads them, a task's when it has done those before.

Invariant: `core` is replaced as a whole where an array of it must grow, and only between two events; so nobody
keeps it, or an array of it, over a `yield`.
"""

from __future__ import annotations

from collections.abc import Callable
from itertools import pairwise

import numpy as np
import simpy
from numpy.typing import NDArray

from kmsim.mm.indices import CpuIdx, TaskIdx
from kmsim.mm.mmzone import Machine
from kmsim.sim.core.event_loop import add_task, hand_block
from kmsim.sim.core.records import NEVER, OPS_READ_AHEAD, Core
from kmsim.sim.run.clock import now_ps
from kmsim.workload.phases import NO_END
from kmsim.workload.plan import THREAD


class Observer:
    """Looks on in stepwise mode: told of each event of a CPU, before and after it. It changes nothing of the core."""

    def before(self, core: Core, c: CpuIdx) -> None:
        """CPU c is about to take its next event, at `core.cpus[c].time`."""

    def after(self, core: Core, c: CpuIdx) -> None:
        """It has taken it; the time is `core.state[0].now`."""

    def close(self, core: Core, now_ps: int) -> None:
        """The run is over."""


class Engine:
    """The clock and the event core of one run."""

    def __init__(self, env: simpy.Environment, core: Core, nr_tasks: int) -> None:
        self.env = env
        self.core = core
        self.nr_tasks = nr_tasks  # those of the plan, and then those of the user's processes
        self.panicked = env.event()
        self.observers: list[Observer] = []
        self.moved: Callable[[], None] = lambda: None  # tells the drivers that a CPU's next event has moved
        self._block_done: dict[int, simpy.Event] = {}  # by task
        first_ops = core.tasks["first_op"][: nr_tasks + len(core.cpus)].tolist()
        ends = pairwise([*first_ops, len(core.ops) - OPS_READ_AHEAD])
        self._rooms = [slice(*each) for each in ends]  # by task of the plan, or of a CPU's user

    @property
    def machine(self) -> Machine:
        """The state of the allocators."""
        return self.core.m

    @property
    def nr_done(self) -> int:
        """How many operations are done."""
        return int(self.core.state[0].nr_done)

    def room(self, k: TaskIdx) -> NDArray[np.void]:
        """Where a task's operations lie, as of now: to be written while it has none left."""
        return self.core.ops[self._rooms[k]]

    def nr_begun(self, k: TaskIdx) -> int:
        """How many operations a task has begun of those that it was handed last: all, or those before their end."""
        return int(self.core.tasks["end_op"][k]) - int(self._rooms[k].start)

    def hand(self, k: TaskIdx, nr_ops: int, until_ps: int = NO_END) -> simpy.Event:
        """Let a task begin the operations that lie in its room at once; an event that fires when all are done."""
        done = self.env.event()
        if hand_block(self.core, k, now_ps(self.env), nr_ops, min(until_ps, NEVER)):
            self._block_done[k] = done
            self.moved()
        else:
            done.succeed()
        return done

    def block_done(self, k: TaskIdx) -> None:
        """A task has done all operations that it was handed."""
        self._block_done.pop(k).succeed()

    def new_thread(self, cpu: CpuIdx) -> int:
        """The number of a thread for a user's process on a CPU."""
        k = self.nr_tasks
        self.nr_tasks += 1
        task = self.core.tasks[k]
        task.level = THREAD
        task.pinned = 1
        task.freed_by = k
        add_task(self.core, k, cpu)
        return k

    def free(self) -> None:
        """Let go of the machine's memory, which may be gigabytes, without waiting for a collector of cycles."""
        del self.core
