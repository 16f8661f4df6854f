"""A run's events over time, for the Perfetto UI: one track for each CPU (format: Chrome's Trace Event Format, JSON).

An operation is a slice from its beginning to its end, an interrupt's lies within the one that it interrupts. Inside
it lie what it waits for and what it holds: locks by their names. A thread that sleeps within an operation leaves the
track, and its wait is a slice of its own track. Times are microseconds, exact to the picosecond.

Leaves out where cache lines come from, and what is allocated: the tables say that. Needs stepwise mode, and keeps a
few hundred bytes for each stage in memory. Invariant: on each track a slice ends before the one around it does.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from kmsim.mm.indices import CpuIdx, Level
from kmsim.sim.core.records import IDLE, NOBODY, NR_LEVELS, START, UNPARK, WAITING, Core, context_of, cpu_of, level_of
from kmsim.sim.core.vmalloc import FLUSH, WORK
from kmsim.sim.run.engine import Observer
from kmsim.units import TIME_UNITS
from kmsim.workload.op_stream import KIND_NAMES
from kmsim.workload.plan import API_NAMES, Plan

_WORK_NAMES = {FLUSH: "flush the TLB", WORK: "kworker"}
_PER_CPU_LIST = "a per-CPU list"  # the one thing but a lock of the table that is waited for: by drains
_CPUS, _SLEEPERS = 0, 1  # the groups of tracks


class Slice(NamedTuple):
    """What takes a stretch of time on a track; times in picoseconds."""

    group: int
    track: int
    name: str
    begin: int
    end: int
    of: str  # operation, wait or hold


class _Running(NamedTuple):
    """One operation under way, and how to tell it from the next of its task."""

    task: int
    number: int  # of those that its task has done before
    name: str
    begin: int


class Timeline(Observer):
    """Writes down what every CPU does, while a stepwise run goes on."""

    def __init__(self, core: Core, plan: Plan, lock_names: list[str]) -> None:
        self.slices: list[Slice] = []
        self._plan = plan
        self._lock_names = lock_names
        nr_cpus = len(core.cpus)
        self._running: list[list[_Running | None]] = [[None] * NR_LEVELS for _ in range(nr_cpus)]
        self._spinning: dict[int, tuple[int, int]] = {}  # by run: the lock it spins for, and since when
        self._holding: dict[int, tuple[int, int]] = {}  # by lock that is taken with interrupts on: the run, since when
        self._sleeping: dict[int, int] = {}  # by task: since when
        self._taken: NDArray[np.int64] = core.locks["acquisitions"].copy()

    def before(self, core: Core, _: int) -> None:
        """Remember which locks were taken until now."""
        self._taken = core.locks["acquisitions"].copy()

    def after(self, core: Core, c: CpuIdx) -> None:
        """End and begin what the event has ended and begun."""
        now = int(core.state[0].now)
        self._note_releases(core, now)
        self._note_operations(core, c, now)
        self._note_stage(core, c, now)
        self._note_grants(core, now)

    def close(self, core: Core, now_ps: int) -> None:
        """The run is over: end what is still under way."""
        for c, levels in enumerate(self._running):
            for level in range(NR_LEVELS):
                self._end_operation(c, level, levels[level], now_ps)
        for ac, (lock, since) in self._spinning.items():
            self._wait(cpu_of(core, ac), lock, since, now_ps)
        for lock, (ac, since) in self._holding.items():
            self._hold(cpu_of(core, ac), lock, since, now_ps)
        for k, since in self._sleeping.items():
            self._add(_SLEEPERS, k, "sleep", since, now_ps, "wait")

    def _note_operations(self, core: Core, c: CpuIdx, now: int) -> None:
        for level in range(NR_LEVELS):
            before, here = self._running[c][level], self._operation(core, c, level, now)
            if before is not None and here is not None and before[:2] == here[:2]:
                continue
            self._end_operation(c, level, before, now)
            self._running[c][level] = here
            if before is not None and core.tasks[before.task].parked:
                self._sleeping[before.task] = now
            if here is not None and here.task in self._sleeping:
                self._add(_SLEEPERS, here.task, "sleep", self._sleeping.pop(here.task), now, "wait")

    def _operation(self, core: Core, c: CpuIdx, level: Level, now: int) -> _Running | None:
        """What a level of a CPU is doing, if it has begun anything."""
        run = core.runs[context_of(core, level, c)]
        if not core.cpus[c].busy[level] or run.then in (START, UNPARK):
            return None
        k = int(run.task)
        return _Running(k, int(core.tasks[k].nr_done), self._name(core, run), now)

    def _name(self, core: Core, run: Any) -> str:
        k, kind = int(run.task), int(run.kind)
        if kind in _WORK_NAMES:
            return _WORK_NAMES[kind]
        of = self._plan.tasks[k].name if k < len(self._plan.tasks) else "user"
        what = KIND_NAMES[kind]
        if what not in ("alloc", "free"):
            return f"{of}: {what}"
        request = core.requests[run.request]
        size = f"order {request.order}" if request.order else f"{run.nr_bytes} B" if what == "alloc" else ""
        return f"{of}: {what} {API_NAMES[int(request.api)]} {size}".rstrip()

    def _end_operation(self, c: CpuIdx, level: Level, running: _Running | None, now: int) -> None:
        if running is not None:
            self._add(_CPUS, c, running.name, running.begin, now, "operation")
            self._running[c][level] = None

    def _note_releases(self, core: Core, now: int) -> None:
        """Locks with interrupts on, which are held until their holder's stage really ends."""
        for lock, (ac, since) in list(self._holding.items()):
            if core.locks[lock].run != ac:
                del self._holding[lock]
                self._hold(cpu_of(core, ac), lock, since, now)

    def _note_grants(self, core: Core, now: int) -> None:
        """Such locks that were handed to a run that spun for them and goes on now, with no interrupt above it."""
        for ac, (lock, since) in list(self._spinning.items()):
            c = cpu_of(core, ac)
            if core.runs[ac].then != WAITING and core.cpus[c].level == level_of(core, ac):
                del self._spinning[ac]
                held_from = max(int(core.locks[lock].since), now)
                self._wait(c, lock, since, held_from)
                self._holding[lock] = (ac, held_from)

    def _note_stage(self, core: Core, c: CpuIdx, now: int) -> None:
        """What the CPU's new stage waits for and holds."""
        level = int(core.cpus[c].level)
        if level == IDLE or not core.cpus[c].busy[level]:
            return
        ac = context_of(core, level, c)
        run = core.runs[ac]
        wait, hold, end = int(run.lock_wait_ps), int(run.lock_hold_ps), int(run.end_ps)
        taken = (core.locks["acquisitions"] - self._taken).nonzero()[0]
        if run.then == WAITING and run.lock != NOBODY:
            self._spinning.setdefault(ac, (int(run.lock), now))
        elif run.lock != NOBODY:
            self._holding.setdefault(int(run.lock), (ac, max(int(core.locks[run.lock].since), now)))
        elif len(taken):
            self._wait(c, int(taken[0]), now, now + wait)
            self._hold(c, int(taken[0]), end - hold, end)
        elif wait and end == now + wait:
            self._add(_CPUS, c, f"wait for {_PER_CPU_LIST}", now, end, "wait")

    def _wait(self, c: CpuIdx, lock: int, begin: int, end: int) -> None:
        self._add(_CPUS, c, f"wait for {self._lock_names[lock]}", begin, end, "wait")

    def _hold(self, c: CpuIdx, lock: int, begin: int, end: int) -> None:
        self._add(_CPUS, c, f"hold {self._lock_names[lock]}", begin, end, "hold")

    def _add(self, group: int, track: int, name: str, begin: int, end: int, of: str) -> None:
        if end > begin:
            self.slices.append(Slice(group, track, name, begin, end, of))


def trace_events(slices: list[Slice], plan: Plan, nr_cpus: int) -> Iterator[dict[str, Any]]:
    """The events of the file: names of the tracks, then the slices in the order of their beginnings."""
    for group, name in ((_CPUS, "CPUs"), (_SLEEPERS, "threads that sleep for a lock")):
        yield {"ph": "M", "pid": group, "name": "process_name", "args": {"name": name}}
    for c in range(nr_cpus):
        yield {"ph": "M", "pid": _CPUS, "tid": c, "name": "thread_name", "args": {"name": f"CPU {c}"}}
    for k in sorted({each.track for each in slices if each.group == _SLEEPERS}):
        name = plan.tasks[k].name if k < len(plan.tasks) else "user"
        yield {"ph": "M", "pid": _SLEEPERS, "tid": k, "name": "thread_name", "args": {"name": name}}
    us = TIME_UNITS["us"]
    for each in sorted(slices, key=lambda each: (each.begin, -each.end)):
        at = {"pid": each.group, "tid": each.track, "ts": each.begin / us, "dur": (each.end - each.begin) / us}
        yield {"ph": "X", "name": each.name, "cat": each.of, **at}


def trace_text(slices: list[Slice], plan: Plan, nr_cpus: int) -> str:
    """The whole file, a line for each event."""
    lines = ",\n".join(json.dumps(event) for event in trace_events(slices, plan, nr_cpus))
    return f'{{"displayTimeUnit": "ns", "traceEvents": [\n{lines}\n]}}\n'
