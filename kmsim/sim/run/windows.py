"""The stretches of a run that are measured: what comes after its warm-up, and windows of one length of that.

A process cuts the run at these instants, before anything else happens at them. The core's maxima (the longest
latency, wait and hold) begin again at each cut; `close` gives it those of everything measured.
"""

from __future__ import annotations

from collections.abc import Generator, Iterator
from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np
import simpy
from numpy.typing import NDArray

from kmsim.mm.slub_records import Slub
from kmsim.sim.core.counted import LOCK_MAXIMA, Counted, counted, since
from kmsim.sim.core.records import MAX_PS, Core
from kmsim.sim.core.single_records import forget_singles
from kmsim.sim.run.clock import now_ps
from kmsim.sim.run.engine import Engine
from kmsim.units import PS_PER_NS

BATCHES_MAX = 1000  # assumed: no estimate needs more, and each has its tables

Ints = NDArray[np.int64]


class Reading(NamedTuple):
    """All counters at an instant, those that only the tables of a whole run show too."""

    counted: Counted
    events: Ints
    vm_events: Ints | None
    lru_events: Ints | None
    reclaimed: Ints | None
    slub: Slub | None  # with caches and CPUs' slabs as they were then


@dataclass
class Windows:
    """What is measured of a run."""

    warm_up_ps: int = 0
    batch_ps: int | None = None
    start: Reading | None = None  # at the end of the warm-up
    batches: list[Counted] = field(default_factory=list)
    end_ps: int = 0
    _last: Counted | None = None
    _longest: Ints = field(default_factory=lambda: np.zeros((0, 0), np.int64))
    _lock_longest: dict[str, Ints] = field(default_factory=dict)

    @property
    def is_cut(self) -> bool:
        """Is anything but the run as a whole measured?"""
        return self.warm_up_ps > 0 or self.batch_ps is not None

    def begin(self, core: Core, now: int) -> None:
        """The warm-up is over."""
        self._last = counted(core, now, divided=True)
        slub, vm = core.slub, core.vm
        if self.warm_up_ps:
            self.start = Reading(
                self._last,
                core.m.events.copy(),
                None if vm is None else vm.events.copy(),
                None if core.m.lru is None else core.m.lru.vm_events.copy(),
                None if core.reclaimed is None else core.reclaimed.copy(),
                None if slub is None else slub._replace(caches=slub.caches.copy(), cpu_slabs=slub.cpu_slabs.copy()),
            )
            forget_singles(core.singles)
        _forget_maxima(core)
        self._longest = core.totals[..., MAX_PS].copy()
        self._lock_longest = {name: core.locks[name].copy() for name in LOCK_MAXIMA}

    def cut(self, core: Core, now: int) -> None:
        """A window is over."""
        assert self._last is not None, "the warm-up comes first"
        here = counted(core, now, divided=True)
        self.batches.append(since(here, self._last))
        self._last = here
        self._keep_maxima(core)
        _forget_maxima(core)

    def close(self, core: Core, now: int) -> None:
        """The run is over: give the core the maxima of everything measured."""
        self.end_ps = now
        if self._last is None:
            if self.warm_up_ps:  # it ended before: nothing was measured
                _forget_maxima(core)
                forget_singles(core.singles)
            return
        self._keep_maxima(core)
        core.totals[..., MAX_PS] = self._longest
        for name, longest in self._lock_longest.items():
            core.locks[name] = longest

    def _keep_maxima(self, core: Core) -> None:
        longest = core.totals[..., MAX_PS].copy()
        known = len(self._longest)  # a user's process may have asked for something new
        longest[:known] = np.maximum(longest[:known], self._longest)
        self._longest = longest
        for name, of_locks in self._lock_longest.items():
            self._lock_longest[name] = np.maximum(of_locks, core.locks[name])

    def measured(self, core: Core) -> Counted:
        """Everything after the warm-up; of a run that ended before that, nothing."""
        at_end = counted(core, self.end_ps, divided=self.warm_up_ps > 0)
        if not self.warm_up_ps:
            return at_end
        return since(at_end, at_end if self.start is None else self.start.counted)

    def remarks(self) -> Iterator[str]:
        """Remarks on what was not measured."""
        if self.warm_up_ps > 0 and self.start is None:
            yield (
                f"the run ended at {_ns(self.end_ps)}, before its warm-up of "
                f"{_ns(self.warm_up_ps)} did: nothing was measured"
            )
        elif self.batch_ps is not None:
            left_ps = self.end_ps - self.warm_up_ps - len(self.batches) * self.batch_ps
            if left_ps >= self.batch_ps:
                yield f"the first {BATCHES_MAX} batches are kept; {_ns(left_ps)} after them are in none"
            elif left_ps > 0:
                yield f"the last {_ns(left_ps)} make no batch of {_ns(self.batch_ps)}: they are in none"


def windows(engine: Engine, of_run: Windows) -> Generator[simpy.Event, None, None]:
    """The process that cuts a run."""
    env = engine.env
    if of_run.warm_up_ps:
        yield env.timeout(of_run.warm_up_ps)
    of_run.begin(engine.core, now_ps(env))
    while of_run.batch_ps is not None and len(of_run.batches) < BATCHES_MAX:
        yield env.timeout(of_run.batch_ps)
        of_run.cut(engine.core, now_ps(env))


def _forget_maxima(core: Core) -> None:
    core.totals[..., MAX_PS] = 0
    for name in LOCK_MAXIMA:
        core.locks[name] = 0


def _ns(time_ps: int) -> str:
    return f"{time_ps / PS_PER_NS:,} ns"
