"""What the event core has counted until an instant, and between two: latencies, locks, and where CPUs spent time.

The core counts from the boot on and is never reset, but for its maxima (`sim.run.windows`): a stretch of time is
the difference of its ends. An operation belongs to the stretch in which it ends, a lock's waiting and
holding to that in which the core counts them; a wait that the core counts when it is over is divided at a cut
(see `add_waits_under_way`). Of a CPU, the stage under way at a cut is divided there:
its waiting comes first, then its instructions, its cache lines and what it does under a lock.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from kmsim.metrics.histogram import NR_BUCKETS
from kmsim.mm.indices import ContextIdx, LockIdx
from kmsim.mm.locks import LOCK_MUTEX, LOCK_TRY
from kmsim.mm.mmzone import NO_LOCK
from kmsim.mm.wants import LOCK
from kmsim.sim.core.records import (
    BEGIN_WORK,
    COUNT,
    IDLE,
    MAX_PS,
    NOBODY,
    NOT_WAITING,
    NR_LEVELS,
    START,
    UNPARK,
    WAITING,
    Core,
    csd_lock_of,
)
from kmsim.workload.plan import THREAD

Ints = NDArray[np.int64]

SPENT = ("instructions", "cache_lines", "lock_wait", "lock_hold", "switch", "interrupt", "idle")
LOCK_COUNTS = ("acquisitions", "contended", "wait_total", "hold_total")
LOCK_MAXIMA = ("wait_max", "hold_max")
_STAGE_PARTS = ("lock_wait", "instructions", "cache_lines", "lock_hold")  # in the order in which they pass


class Counted(NamedTuple):
    """What was counted from `start_ps` to `end_ps`; all times in picoseconds."""

    start_ps: int
    end_ps: int
    totals: Ints  # [class, cpu, column of `totals`]
    filled: Ints  # the filled buckets, ascending: (class, cpu, bucket) as one number
    nr_in_bucket: Ints
    locks: dict[str, Ints]  # by LOCK_COUNTS and LOCK_MAXIMA, then by lock
    spent: Ints  # [part of SPENT, cpu]

    @property
    def unfinished(self) -> Ints:
        """What of each CPU's time is in no part: that of the stages under way, unless they were divided."""
        in_parts: Ints = self.spent.sum(axis=0)
        return self.end_ps - self.start_ps - in_parts


def counted(core: Core, now_ps: int, *, divided: bool) -> Counted:
    """Everything since the boot; the stages under way are divided here, or left out."""
    classes = np.flatnonzero(core.totals[:, :, COUNT].any(axis=1))
    width = core.counts.shape[1] * NR_BUCKETS
    filled = [np.zeros(0, np.int64), *(k * width + np.flatnonzero(core.counts[k]) for k in classes.tolist())]
    all_filled = np.concatenate(filled)
    spent = spent_until(core, now_ps)
    if divided:
        spent += passed_of_stages(core, now_ps)
    locks = {name: core.locks[name].copy() for name in LOCK_COUNTS + LOCK_MAXIMA}
    add_waits_under_way(core, locks, now_ps)
    nr_in_bucket = core.counts.reshape(-1)[all_filled]
    return Counted(0, now_ps, core.totals.copy(), all_filled, nr_in_bucket, locks, spent)


def add_waits_under_way(core: Core, locks: dict[str, Ints], now_ps: int) -> None:
    """Count, until now, the waits that the core counts when they are over: of spinners, drains and sleepers."""
    for ac in np.flatnonzero(core.cpus["busy"].T).tolist():
        run = core.runs[ac]
        if run.then == WAITING:
            n = int(run.lock) if run.lock != NOBODY else csd_lock_of(core)
        elif waits_for_lists(core, ac) and run.since != NOT_WAITING:
            n = int(core.m.contexts[ac].lock)
        else:
            continue
        locks["acquisitions"][n] += run.lock == NOBODY  # that of a lock with a queue is counted when it is asked for
        _add_wait(locks, n, now_ps - int(run.since))
    for n in np.flatnonzero(core.locks["kind"] == LOCK_MUTEX).tolist():
        k = int(core.locks[n].first_waiter)
        while k != NOBODY:
            _add_wait(locks, n, now_ps - int(core.parked.runs[k].since))
            k = int(core.parked.runs[k].next_waiter)


def waits_for_lists(core: Core, ac: ContextIdx) -> bool:
    """Does a run want the lock of per-CPU lists, which only those that empty them wait for?"""
    n = int(core.m.contexts[ac].lock)
    return bool(core.runs[ac].then == LOCK and n != NO_LOCK and core.locks[n].kind == LOCK_TRY)


def _add_wait(locks: dict[str, Ints], n: LockIdx, wait: int) -> None:
    locks["contended"][n] += 1
    locks["wait_total"][n] += wait
    locks["wait_max"][n] = max(locks["wait_max"][n], wait)


def since(later: Counted, earlier: Counted) -> Counted:
    """What was counted between two; the maxima are those of `later`."""
    totals = later.totals.copy()
    totals[: len(earlier.totals)] -= earlier.totals  # a user's process may have asked for something new
    totals[..., MAX_PS] = later.totals[..., MAX_PS]
    nr_in_bucket = later.nr_in_bucket.copy()
    nr_in_bucket[np.searchsorted(later.filled, earlier.filled)] -= earlier.nr_in_bucket
    is_filled = nr_in_bucket > 0
    locks = {name: later.locks[name] - earlier.locks[name] for name in LOCK_COUNTS}
    spent = later.spent - earlier.spent
    assert (nr_in_bucket >= 0).all(), "a bucket was emptied"
    assert (spent >= 0).all(), "a CPU has taken time back"
    return Counted(
        earlier.end_ps,
        later.end_ps,
        totals,
        later.filled[is_filled],
        nr_in_bucket[is_filled],
        locks | {name: later.locks[name] for name in LOCK_MAXIMA},
        spent,
    )


def spent_until(core: Core, now_ps: int) -> Ints:
    """What each CPU has spent on each part of SPENT, stages under way left out."""
    spent = {part: core.cpus[f"{part}_ps"].copy() for part in SPENT}
    level = core.cpus["level"]
    spent["idle"] += np.where(level == IDLE, now_ps - core.cpus["idle_since"], 0)
    for of_level, runs in enumerate(core.runs.reshape(NR_LEVELS, -1)):
        # The price of getting to a task is counted when it begins to pass: what has not passed is taken back.
        left = np.where(level == of_level, runs["end_ps"] - now_ps, runs["left_ps"])
        on_its_way = (core.cpus["busy"][:, of_level] == 1) & _is_begun(runs)
        spent["switch" if of_level == THREAD else "interrupt"] -= np.where(on_its_way, left, 0)
    return np.stack(list(spent.values()))


def _is_begun(runs: NDArray[np.void]) -> NDArray[np.bool_]:
    """Has a task just been given the CPU, so that what passes is the price of getting there?"""
    return np.isin(runs["then"], (START, BEGIN_WORK, UNPARK))


def passed_of_stages(core: Core, now_ps: int) -> Ints:
    """What has passed of the stages under way, by part of SPENT and CPU."""
    passed = {part: np.zeros(len(core.cpus), np.int64) for part in SPENT}
    for of_level, runs in enumerate(core.runs.reshape(NR_LEVELS, -1)):
        is_running = core.cpus["level"] == of_level
        is_spinning = runs["then"] == WAITING
        parts = {part: runs[f"{part}_ps"].copy() for part in _STAGE_PARTS}
        parts["lock_wait"] += np.where(is_spinning & is_running, now_ps - runs["spun_from"], 0)
        left = np.where(is_running, runs["end_ps"] - now_ps, runs["left_ps"])
        rest = sum(parts.values(), np.zeros(len(core.cpus), np.int64)) - np.where(is_spinning, 0, left)
        is_counted = ~is_running & ~is_spinning & (left == 0)  # it was suspended between two stages
        is_under_way = (core.cpus["busy"][:, of_level] == 1) & ~_is_begun(runs) & ~is_counted
        rest = np.where(is_under_way, rest, 0)
        assert (rest >= 0).all(), "a stage lasts longer than its parts"
        for part, length in parts.items():
            of_part = np.minimum(length, rest)
            passed[part] += of_part
            rest -= of_part
    return np.stack(list(passed.values()))
