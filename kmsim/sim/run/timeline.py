"""A run's events over time, for the Perfetto UI: one track for each CPU (format: Chrome's Trace Event Format, JSON).

An operation is a slice from its beginning to its end, an interrupt's lies within the one that it interrupts. Inside
it lie what it waits for (locks by their names, a flush of all TLBs) and the locks that it holds. A thread that
sleeps within an operation leaves the track, and its wait is a slice of its own track. The file has microseconds, of
which the UI keeps whole nanoseconds; the exact picoseconds are arguments of each slice.

Leaves out where cache lines come from, and what is allocated: the tables say that. Needs stepwise mode, and keeps a
few hundred bytes for each stage in memory. Invariant: on each track a slice ends no later than the one around it.
"""

from __future__ import annotations

import heapq
import json
from collections import defaultdict
from collections.abc import Iterator
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from kmsim.mm.indices import ContextIdx, CpuIdx, Level
from kmsim.mm.locks import LOCK_IRQSAVE, LOCK_TRY, LOCK_WAIT
from kmsim.sim.core.counted import waits_for_lists
from kmsim.sim.core.records import (
    BEGIN_WORK,
    FLUSHER,
    IDLE,
    KWORKER,
    NOBODY,
    NR_LEVELS,
    START,
    UNPARK,
    WAITING,
    Core,
    context_of,
    cpu_of,
    csd_lock_of,
    level_of,
)
from kmsim.sim.core.worker import is_worker
from kmsim.sim.run.engine import Observer
from kmsim.units import TIME_UNITS
from kmsim.workload.op_stream import KIND_NAMES
from kmsim.workload.plan import API_NAMES, Plan
from kmsim.workload.request import FILE_READ, is_block_of_pages

_WORK_NAMES = {FLUSHER: "flush the TLB", KWORKER: "kworker"}
_CPUS, _SLEEPERS = 1, 2  # the groups of tracks: what the UI calls processes, and 0 is the idle one


class Slice(NamedTuple):
    """What takes a stretch of time on a track; times in picoseconds."""

    group: int
    track: int
    name: str
    begin: int
    end: int
    of: str  # operation, wait or hold
    depth: int = 0  # of two that take the same time, the one with the smaller depth is around the other


class _Hold(NamedTuple):
    """A lock that is held with interrupts on, or is about to be."""

    waited_from: int | None
    begin: int  # later than now: the lock is still on its way


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
        self._spinning: dict[int, tuple[int, int]] = {}  # by run: the lock, or flush, it spins for, and since when
        self._draining: dict[int, tuple[int, int]] = {}  # by run: a drain's per-CPU list in the same way
        self._holding: dict[tuple[int, int], _Hold] = {}  # by lock that is taken with interrupts on, and run
        self._sleeping: dict[int, int] = {}  # by task: since when
        self._locks: NDArray[np.void] = core.locks.copy()

    def before(self, core: Core, _: int) -> None:
        """Remember how often the locks were taken until now, and how long they were held."""
        self._locks = core.locks.copy()

    def after(self, core: Core, c: CpuIdx) -> None:
        """End and begin what the event has ended and begun."""
        now = int(core.state[0].now)
        taken = (core.locks["acquisitions"] - self._locks["acquisitions"]).nonzero()[0].tolist()
        self._note_releases(core, c, taken, now)
        self._note_drain(core, c, now)
        self._note_operations(core, c, now)
        self._note_stage(core, c, taken, now)
        self._note_grants(core, now)

    def close(self, core: Core, now_ps: int) -> None:
        """The run is over: end what is still under way."""
        for c, levels in enumerate(self._running):
            for level in range(NR_LEVELS):
                self._end_operation(c, level, levels[level], now_ps)
        for waits in (self._spinning, self._draining):
            for ac, (lock, since) in waits.items():
                self._wait(core, ac, lock, since, now_ps)
        for lock, ac in list(self._holding):
            self._end_hold(core, lock, ac, now_ps)
        for k, since in self._sleeping.items():
            self._add(_SLEEPERS, k, "sleep", since, now_ps, "wait")
        ended = (each._replace(end=min(each.end, now_ps)) for each in self.slices)
        self.slices = [each for each in ended if each.begin < each.end]

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
        if not core.cpus[c].busy[level] or run.then in (START, BEGIN_WORK, UNPARK):
            return None
        k = int(run.task)
        return _Running(k, int(core.tasks[k].nr_done), self._name(core, run), now)

    def _name(self, core: Core, run: Any) -> str:
        k, kind = int(run.task), int(run.kind)
        if is_worker(core, k):
            return _WORK_NAMES[int(core.tasks[k].does)]
        of = self._plan.tasks[k].name if k < len(self._plan.tasks) else "user"
        what = KIND_NAMES[kind]
        if what not in ("alloc", "free"):
            return f"{of}: {what}"
        request = core.requests[run.request]
        api = int(request.api)
        size = f"{run.asked} B" if what == "alloc" else ""
        if is_block_of_pages(api):
            size = f"order {request.order}"
        elif api == FILE_READ:
            size = f"page {run.asked}"
        return f"{of}: {what} {API_NAMES[api]} {size}".rstrip()

    def _end_operation(self, c: CpuIdx, level: Level, running: _Running | None, now: int) -> None:
        if running is not None:
            self._add(_CPUS, c, running.name, running.begin, now, "operation", level)
            self._running[c][level] = None

    def _note_releases(self, core: Core, c: CpuIdx, taken: list[int], now: int) -> None:
        """Locks with interrupts on, which are held until their holder's stage really ends; it may take them again."""
        for lock, ac in list(self._holding):
            if core.locks[lock].run != ac or (lock in taken and cpu_of(core, ac) == c):
                self._end_hold(core, lock, ac, now)

    def _note_grants(self, core: Core, now: int) -> None:
        """What a run has spun for, and now has: it goes on, with no interrupt above it."""
        for ac, (lock, since) in list(self._spinning.items()):
            if core.runs[ac].then == WAITING or core.cpus[cpu_of(core, ac)].level != level_of(core, ac):
                continue
            del self._spinning[ac]
            if core.runs[ac].lock == NOBODY:
                self._wait(core, ac, lock, since, now)
            else:
                self._holding[lock, ac] = _Hold(since, _hold_from(core, ac))

    def _note_drain(self, core: Core, c: CpuIdx, now: int) -> None:
        """A drain's wait for a per-CPU list, which interrupts may interrupt, begins, ends, or is for another list."""
        level = int(core.cpus[c].level)
        if level == IDLE:
            return
        ac = context_of(core, level, c)
        run = core.runs[ac]
        since = int(run.since) if waits_for_lists(core, ac) else NOBODY
        before = self._draining.get(ac)
        if before is not None and before[1] != since:
            del self._draining[ac]
            self._wait(core, ac, *before, now)
        if since != NOBODY:
            lock = int(core.m.contexts[ac].lock)
            self._draining.setdefault(ac, (lock, since))

    def _note_stage(self, core: Core, c: CpuIdx, taken: list[int], now: int) -> None:
        """What the CPU's new stage, or the rest of one, waits for and holds."""
        level = int(core.cpus[c].level)
        if level == IDLE or not core.cpus[c].busy[level]:
            return
        ac = context_of(core, level, c)
        run = core.runs[ac]
        if run.then == WAITING:
            lock = int(run.lock) if run.lock != NOBODY else csd_lock_of(core)
            self._spinning.setdefault(ac, (lock, now))
        elif run.lock != NOBODY and ac not in self._spinning:
            held = self._holding.get((int(run.lock), ac), _Hold(None, now))
            if held.begin >= now:
                self._holding[int(run.lock), ac] = held._replace(begin=_hold_from(core, ac))
        elif run.lock == NOBODY:
            self._note_taken(core, ac, taken, now)

    def _note_taken(self, core: Core, ac: ContextIdx, taken: list[int], now: int) -> None:
        """Locks with interrupts off: when they are let go of is known at once. A drain takes two, the outer last."""
        end = int(core.runs[ac].end_ps)
        for lock in reversed(taken):
            held = int(core.locks[lock].hold_total - self._locks[lock].hold_total)
            kind = int(core.locks[lock].kind)
            if kind == LOCK_IRQSAVE:
                self._wait(core, ac, lock, now, now + int(core.runs[ac].lock_wait_ps))
            if kind in (LOCK_IRQSAVE, LOCK_TRY):
                self._hold(core, ac, lock, end - held, end)

    def _end_hold(self, core: Core, lock: int, ac: ContextIdx, now: int) -> None:
        held = self._holding.pop((lock, ac))
        if held.waited_from is not None:
            self._wait(core, ac, lock, held.waited_from, min(held.begin, now))
        self._hold(core, ac, lock, held.begin, now)

    def _wait(self, core: Core, ac: ContextIdx, lock: int, begin: int, end: int) -> None:
        name = "a TLB flush" if core.locks[lock].kind == LOCK_WAIT else self._lock_names[lock]
        self._add(_CPUS, cpu_of(core, ac), f"wait for {name}", begin, end, "wait", level_of(core, ac))

    def _hold(self, core: Core, ac: ContextIdx, lock: int, begin: int, end: int) -> None:
        name = self._lock_names[lock]
        self._add(_CPUS, cpu_of(core, ac), f"hold {name}", begin, end, "hold", level_of(core, ac))

    def _add(self, group: int, track: int, name: str, begin: int, end: int, of: str, level: int = 0) -> None:
        if end > begin:
            self.slices.append(Slice(group, track, name, begin, end, of, 2 * level + (of != "operation")))


def _hold_from(core: Core, ac: ContextIdx) -> int:
    """When the run has the lock of its stage, which has just begun or goes on: the stage ends by holding it."""
    return int(core.runs[ac].end_ps - core.runs[ac].lock_hold_ps)


def trace_events(slices: list[Slice], plan: Plan, nr_cpus: int) -> Iterator[dict[str, Any]]:
    """The events of the file: names of the tracks, then beginnings and ends of slices, in the order of time."""
    for group, name in ((_CPUS, "CPUs"), (_SLEEPERS, "threads that sleep for a lock")):
        yield {"ph": "M", "pid": group, "name": "process_name", "args": {"name": name}}
    by_track: dict[tuple[int, int], list[Slice]] = defaultdict(list)
    for each in slices:
        by_track[each.group, each.track].append(each)
    for group, track in sorted({(_CPUS, c) for c in range(nr_cpus)} | by_track.keys()):
        at = {"pid": group, "tid": _thread(group, track, nr_cpus)}
        yield {"ph": "M", **at, "name": "thread_name", "args": {"name": _track_name(group, track, plan)}}
    tracks = [_of_track(by_track[key], nr_cpus) for key in sorted(by_track)]
    for _, event in heapq.merge(*tracks, key=lambda timed: timed[0]):
        yield event


def _thread(group: int, track: int, nr_cpus: int) -> int:
    """The track's number for the UI: from 1, and none twice."""
    return 1 + track if group == _CPUS else 1 + nr_cpus + track


def _track_name(group: int, track: int, plan: Plan) -> str:
    if group == _CPUS:
        return f"CPU {track}"
    return plan.tasks[track].name if track < len(plan.tasks) else "user"


def _of_track(slices: list[Slice], nr_cpus: int) -> Iterator[tuple[int, dict[str, Any]]]:
    """A track's events, each with its time: an outer beginning first, an inner end first, ends before beginnings."""
    around: list[Slice] = []
    for each in sorted(slices, key=lambda each: (each.begin, -each.end, each.depth)):
        while around and around[-1].end <= each.begin:
            yield _end(around.pop(), nr_cpus)
        assert not around or each.end <= around[-1].end, f"{each} is not within {around[-1]}"
        around.append(each)
        yield _beginning(each, nr_cpus)
    while around:
        yield _end(around.pop(), nr_cpus)


def _beginning(each: Slice, nr_cpus: int) -> tuple[int, dict[str, Any]]:
    exact = {"begin_ps": each.begin, "duration_ps": each.end - each.begin}
    at = _at(each, each.begin, nr_cpus)
    return each.begin, {"ph": "B", **at, "name": each.name, "cat": each.of, "args": exact}


def _end(each: Slice, nr_cpus: int) -> tuple[int, dict[str, Any]]:
    return each.end, {"ph": "E", **_at(each, each.end, nr_cpus)}


def _at(each: Slice, ps: int, nr_cpus: int) -> dict[str, Any]:
    return {"pid": each.group, "tid": _thread(each.group, each.track, nr_cpus), "ts": ps / TIME_UNITS["us"]}


def trace_text(slices: list[Slice], plan: Plan, nr_cpus: int) -> str:
    """The whole file, a line for each event."""
    lines = ",\n".join(json.dumps(event) for event in trace_events(slices, plan, nr_cpus))
    return f'{{"displayTimeUnit": "ns", "traceEvents": [\n{lines}\n]}}\n'
