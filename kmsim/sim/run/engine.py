"""The event core on SimPy's clock: tasks are handed operations and told when these are done.

An `Engine` is all that SimPy processes share of a run: the clock, the core, and for each task an event that fires
when its block of operations is done. Who hands operations (`sim.run.task`, a user's process) and who drives the
core's events (`sim.run.drivers`) meet here and know nothing of each other.

Invariant: `core` is replaced as a whole where an array of it must grow, and only between two events; so nobody
keeps it, or an array of it, over a `yield`.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import simpy
from numpy.typing import NDArray

from kmsim.mm.indices import CpuIdx, TaskIdx
from kmsim.mm.mmzone import Machine
from kmsim.sim.core.event_loop import add_task, hand_block
from kmsim.sim.core.records import NEVER, Core
from kmsim.sim.run.clock import now_ps
from kmsim.workload.op_stream import op_t
from kmsim.workload.phases import NO_END
from kmsim.workload.plan import THREAD

WORDS_OF_AN_OP = op_t.itemsize // 8


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
        self.first_op: list[int] = core.tasks["first_op"].tolist()  # by task, where its operations lie
        self.observers: list[Observer] = []
        self.moved: Callable[[], None] = lambda: None  # tells the drivers that a CPU's next event has moved
        self._block_done: dict[int, simpy.Event] = {}  # by task
        self._op_words: NDArray[np.uint64] = core.ops.view(np.uint64)  # the operations of all tasks, as plain words

    @property
    def machine(self) -> Machine:
        """The state of the allocators."""
        return self.core.m

    @property
    def nr_done(self) -> int:
        """How many operations are done."""
        return int(self.core.state[0].nr_done)

    def hand(self, k: TaskIdx, ops: np.ndarray[tuple[int], np.dtype[np.void]], until_ps: int = NO_END) -> simpy.Event:
        """Give a task operations (of `op_t`), which it begins at once; an event that fires when all are done."""
        first = self.first_op[k] * WORDS_OF_AN_OP  # copied as words, which is faster than field by field
        self._op_words[first : first + len(ops) * WORDS_OF_AN_OP] = ops.view(np.uint64)
        done = self.env.event()
        if hand_block(self.core, k, now_ps(self.env), len(ops), min(until_ps, NEVER)):
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
        del self._op_words
        del self.core
