"""Threads are put away in the middle of their operations, at each kind of wait, and taken up again: in every allocator.

Until something sleeps in an allocation, a test does it: it looks at the CPUs, mostly when one has begun a stage, and
lets a thread sleep for a while, wherever that may sleep: not with a spinlock, nor with a per-CPU list. Whatever it
wants next, and whose request it is in, it wants that when it wakes. Everything is recounted each time.
"""

import random
from collections import Counter
from collections.abc import Callable, Generator, Sequence
from copy import deepcopy
from functools import cache
from typing import Any

import numpy as np
import pytest
import simpy

from kmsim.config import from_mapping
from kmsim.jit import entry
from kmsim.mm.filemap import FLUSH_BATCH
from kmsim.mm.locks import (
    BUSY_LOCK,
    CSD_LOCK,
    FREE_VMAP_AREA_LOCK,
    LAZY_LOCK,
    LRU_LOCK,
    NODE_LIST_LOCK,
    PAGE_TABLE_LOCK,
    PCP_LOCK,
    POOL_LOCK,
    VMAP_PURGE_LOCK,
    ZONE_LOCK,
)
from kmsim.mm.lru_records import ALLOCSTALL, NR_ZONE_TYPES
from kmsim.mm.mmzone import NO_PCP, Machine
from kmsim.mm.slow_path import RECLAIMING
from kmsim.mm.vmscan import LOOK_AT_FOLIOS, PUT_BACK
from kmsim.mm.wants import DONE, FLUSH, GO_ON, LOCK, NR_WANTS, SLEEP, want_to_sleep
from kmsim.sim.core.records import (
    IDLE,
    NEVER,
    NOBODY,
    OF_DRAIN,
    OF_FILE,
    OF_KMALLOC,
    OF_LISTS,
    OF_PAGES,
    OF_SLAB,
    OF_VM,
    STREAM,
    WORK,
    Core,
)
from kmsim.sim.core.recount import recount
from kmsim.sim.core.sleep import park, wake_up
from kmsim.sim.run.clock import now_ps
from kmsim.sim.simulation import Simulation, new_simulation, run
from kmsim.workload.op_stream import KIND_NAMES
from kmsim.workload.plan import API_NAMES, THREAD
from tests.sim import reclaim_studies, test_modes, test_modes_of_allocators, users_of_all
from tests.sim.test_modes import check_same_cores, seeds
from tests.sim.users_of_all import CPUS_MAX, UserOfAll
from tests.studies import Mapping, mapping

LOOK_EVERY = 150_000  # at most, in ps
SHARE_AT_RANDOM = 0.1  # of looks; the others follow an event
SLEEP_MAX = 3_000_000
OFTEN = 5  # that a thread is put away in one and the same kind of wait
LOOKS_MAX = 20_000
NR_STUDIES = 10
NR_OF = {"users": 20, "drained": 2}  # what only users ask for is rarer; the other is made for what it is to meet
NR_AT_ONCE = 2
A_SMALL_ONE = 2  # a study that reclaims in little memory
MODES = (False, True)  # stepwise?
ANY = -1
IN_RECLAIM = ", in reclaim "


def reclaim_study(seed: int) -> Mapping:
    """A study in which memory is short; what the test recounts, the run need not."""
    study = reclaim_studies.random_study("pages", seed)
    del study["run"]["validate_every"]
    return study


def drained_study(seed: int) -> Mapping:
    """A study in which memory is short, and per-CPU lists are emptied all the time: by workers, and in the slow path.

    Blocks are not to be had by reclaim alone, so their requests empty all lists while others use theirs.
    """
    order0: Mapping = {"operations": 1500, "live": 20, "requests": [{"gfp": "GFP_HIGHUSER_MOVABLE"}]}
    larger = {"operations": 60, "live": 30, "requests": [{"gfp": "GFP_HIGHUSER_MOVABLE", "order": 3}]}
    reads: Mapping = {"operations": 1200, "requests": [{"api": "file_read", "file_size": "64MiB"}]}
    study = mapping(
        larger,
        *(threads | {"cpus": [c]} for c in (1, 2) for threads in (order0, reads)),
        seed=seed,
        cpus=3,
        swap="8MiB",
        timeslice="10us",
        state={"filled": {"page_cache": 0.5, "anonymous": 0.4}},
    )
    study["workload"]["drains"] = [{"cpu": 0, "every": "2us"}]
    return study


STUDIES: dict[str, Callable[[int], Mapping]] = {
    "pages": test_modes.random_study,
    "allocators": test_modes_of_allocators.random_study,
    "users": users_of_all.random_study,
    "reclaim": reclaim_study,
    "drained": drained_study,
}

Process = Generator[simpy.Event, Any, None]
Wait = tuple[int, int]  # what a run wants, and the class of the lock or ANY
Kind = tuple[str, int, Wait]  # what it does, and by whose verbs it goes on


@entry
def put_away(s: Core, c: int, now: int, until: int) -> None:
    """Let the thread on a CPU sleep: at the end of its stage, if it would only go on, else in the middle of it."""
    run = s.runs[c]
    if run.then == GO_ON:
        run.then = want_to_sleep(s.m, c, until)
        return
    run.left_ps = run.end_ps - now
    s.state[0].now = now
    park(s, c, c, until)


@entry
def wake(s: Core, k: int, now: int) -> None:
    """Wake a thread that sleeps until then."""
    s.state[0].now = now
    wake_up(s, k)


class Sandman:
    """A process that lets threads sleep, at random times, until it is told to stop; everything is recounted then."""

    def __init__(self, seed: int) -> None:
        self.log: list[tuple[int, int, int]] = []  # when, the CPU, and the task
        self.kinds: Counter[Kind] = Counter()
        self.nr_meanwhile = 0  # operations that other threads of their CPUs have done while they slept
        self.waited_for: tuple[int, ...] = ()  # how often each of WAITED_FOR was waited for
        self.is_over = False
        self._rng = random.Random(f"put away {seed}")
        self.nr_woken = 0  # that slept until they were woken
        self._asleep: dict[int, tuple[int, int]] = {}  # by task: its CPU, and what others had done there
        self._to_wake: dict[int, int] = {}  # by task: when

    def process(self, simulation: Simulation) -> Process:
        while needs_no_reclaim(simulation.core.m) and not self.is_over:
            yield simulation.env.timeout(LOOK_EVERY)
        nr_looks = 0
        while self._to_wake or not (self.is_over or nr_looks == LOOKS_MAX):
            yield simulation.env.timeout(self._next_look(simulation.core, now_ps(simulation.env)))
            core, now = simulation.core, now_ps(simulation.env)
            self._see_who_wakes(core)
            self._wake(core, now)
            nr_looks += 1
            for c in range(len(core.cpus)) if nr_looks < LOOKS_MAX and not self.is_over else ():
                if self._may_sleep(core, c, now) and self.kinds[kind_of(core, c)] < OFTEN:
                    self._let_sleep(core, c, now)
            simulation.engine.moved()

    def _next_look(self, core: Core, now: int) -> int:
        """When to look again, in so many ps: mostly as soon as a CPU has begun something else."""
        if self._rng.random() < SHARE_AT_RANDOM:
            return self._rng.randrange(1, LOOK_EVERY)
        return min(max(int(core.cpus["time"].min()) - now, 0) + 1, LOOK_EVERY)

    def _may_sleep(self, core: Core, c: int, now: int) -> bool:
        cpu, run_ = core.cpus[c], core.runs[c]
        if cpu.level != THREAD or not cpu.busy[THREAD] or run_.end_ps <= now:
            return False
        if run_.then == GO_ON:
            return True
        if core.m.lru is not None and core.m.lru.reclaims[c].read_stage == FLUSH_BATCH:
            return False
        is_put_away = cpu.interruptible and run_.lock == NOBODY and core.m.contexts[c].held_pcp == NO_PCP
        return bool(is_put_away and run_.then < NR_WANTS and run_.then != SLEEP)

    def _let_sleep(self, core: Core, c: int, now: int) -> None:
        k = int(core.runs[c].task)
        self.kinds[kind_of(core, c)] += 1
        self.log.append((now, c, k))
        until = now + self._rng.randrange(1, SLEEP_MAX)
        if core.runs[c].then == GO_ON and self._rng.random() < 0.5:
            self._to_wake[k] = until
            until = NEVER
        put_away(core, c, now, until)
        if core.tasks[k].parked:
            self._asleep[k] = (c, others_done(core, c, k))
        recount(core)

    def _wake(self, core: Core, now: int) -> None:
        for k, at in list(self._to_wake.items()):
            if now >= at and core.tasks[k].parked:
                assert core.tasks[k].wake_at == NEVER
                wake(core, k, now)
                self.nr_woken += 1
                del self._to_wake[k]

    def _see_who_wakes(self, core: Core) -> None:
        for k, (c, before) in list(self._asleep.items()):
            if not core.tasks[k].parked:
                self.nr_meanwhile += others_done(core, c, k) - before
                del self._asleep[k]


def needs_no_reclaim(m: Machine) -> bool:
    """Is it a machine that reclaims, whose memory has not been short yet?"""
    if m.lru is None:
        return False
    return not m.lru.vm_events[ALLOCSTALL : ALLOCSTALL + NR_ZONE_TYPES].any()


def kind_of(core: Core, c: int) -> Kind:
    """What a thread does, and what it will want when its stage is over."""
    run_ = core.runs[c]
    lock = int(core.locks[core.m.contexts[c].lock].lock_class) if run_.then == LOCK else ANY
    return does(core, c) + in_reclaim(core.m, c), int(run_.verbs), (int(run_.then), lock)


def in_reclaim(m: Machine, c: int) -> str:
    """How far a request has reclaimed."""
    if m.lru is None or m.lru.reclaims[c].step != RECLAIMING:
        return ""
    return f"{IN_RECLAIM}{int(m.lru.reclaims[c].stage)}"


def does(core: Core, c: int) -> str:
    """What a thread does: an API of an operation, a drain, or a worker's work."""
    run_ = core.runs[c]
    if run_.verbs == OF_DRAIN:
        return "drain"
    if run_.kind == WORK:
        return "work"
    return f"{KIND_NAMES[int(run_.kind)]} {API_NAMES[int(core.requests[run_.request].api)]}"


def others_done(core: Core, c: int, k: int) -> int:
    """What the other threads of a CPU have done."""
    tasks = core.tasks[(core.tasks["cpu"] == c) & (core.tasks["level"] == THREAD) & (core.tasks["does"] == STREAM)]
    return int(tasks["nr_done"].sum() - core.tasks[k].nr_done)


def with_sleepers(
    study: Mapping, users: Sequence[UserOfAll], seed: int, *, stepwise: bool
) -> tuple[Simulation, Sandman]:
    """A run in which threads are put away, and then what is still under way to its end."""
    config = from_mapping(study | {"run": study.get("run", {}) | {"stepwise": stepwise}})
    simulation, sandman = new_simulation(config, users), Sandman(seed)
    simulation.env.process(sandman.process(simulation))
    for _ in run(simulation):
        pass
    sandman.is_over = True
    while simulation.core.tasks["parked"].any() or (simulation.core.cpus["level"] != IDLE).any():
        simulation.env.run(until=now_ps(simulation.env) + SLEEP_MAX)
    recount(simulation.core)
    assert not any(done for record in work_of_objects(simulation.core) for done in record.item())
    locks = simulation.core.locks
    sandman.waited_for = tuple(int(locks["contended"][locks["lock_class"] == of].sum()) for of in WAITED_FOR)
    return simulation, sandman


def work_of_objects(core: Core) -> list[Any]:
    """What SLUB and vmalloc have done that is not priced yet."""
    return [part.work[0] for part in (core.slub, core.vm) if part is not None]


def that_end(study: Mapping) -> Mapping:
    """The study with interrupts that end, and several threads on each CPU, which its drains may share."""
    study = deepcopy(study)
    for source in study["workload"]["interrupts"]:
        source["operations"] = 40
    for thread in study["workload"]["threads"]:
        thread["per_cpu"] = 2
    return study


def check_sleepers(name: str, seed: int) -> Sandman:
    """Both modes come to the same; the default one's."""
    study = that_end(STUDIES[name](seed))
    users = [[UserOfAll(seed, c) for c in range(CPUS_MAX if name == "users" else 0)] for _ in MODES]
    (default, sandman), (other, other_sandman) = (
        with_sleepers(study, of_mode, seed, stepwise=mode) for of_mode, mode in zip(users, MODES, strict=True)
    )
    assert [user.log for user in users[0]] == [user.log for user in users[1]]
    assert sandman.log == other_sandman.log
    assert sandman.kinds == other_sandman.kinds
    check_same_cores(default.core, other.core)
    assert (np.array([lock.run for lock in default.core.locks]) == NOBODY).all()
    return sandman


NOTHING, ON, FLUSHES = (DONE, ANY), (GO_ON, ANY), (FLUSH, ANY)
ZONE, LIST = (LOCK, ZONE_LOCK), (LOCK, NODE_LIST_LOCK)
LISTS, LRU = (LOCK, PCP_LOCK), (LOCK, LRU_LOCK)  # a list's of a CPU's pages, and a node's LRU lists
ADDRESS, TABLE, POOL = (LOCK, FREE_VMAP_AREA_LOCK), (LOCK, PAGE_TABLE_LOCK), (LOCK, POOL_LOCK)
BUSY, LAZY = (LOCK, BUSY_LOCK), (LOCK, LAZY_LOCK)

# At what waits threads are put away, by the verbs by which they go on: at these, and at no others. Nothing takes time
# before a request for a mutex, and no thread can be put away there: it sleeps for that itself, as it spins for a flush
# (WAITED_FOR). A try at a list's lock, and the slow path, are answered in the instant in which they are wanted.
OF_VERBS: dict[int, set[Wait]] = {
    OF_PAGES: {NOTHING, ON, ZONE, LISTS, LRU},
    OF_LISTS: {NOTHING, ON, ZONE},
    OF_SLAB: {NOTHING, ON, ZONE, LIST},
    OF_KMALLOC: {NOTHING, ON, ZONE, LIST},
    OF_VM: {NOTHING, ON, ZONE, LIST, ADDRESS, TABLE, BUSY, LAZY, POOL, FLUSHES},
    OF_DRAIN: {ON, LISTS},
    OF_FILE: {NOTHING, ON, ZONE, LISTS, LRU},
}
WITH_ISOLATED = {f"{IN_RECLAIM}{stage}" for stage in (LOOK_AT_FOLIOS, PUT_BACK)}  # folios, and what was to come next
# And in what only users' processes ask for.
OF_USERS: dict[str, set[Wait]] = {
    "alloc krealloc": {NOTHING, ON, ZONE, LIST},
    "alloc kvrealloc": {NOTHING, ON, ZONE},
    "alloc vmap": {NOTHING, ON, ZONE, ADDRESS, TABLE, POOL},
    "free vmap": {ON, LAZY},
    "alloc objects": {NOTHING, ON, ZONE, LIST},
    "free objects": {NOTHING, ON, LIST},
    "alloc cache_shrink": {NOTHING, ON, LIST},
    "alloc cache_destroy": {NOTHING, ON, ZONE, LIST},
}
WAITED_FOR = (VMAP_PURGE_LOCK, CSD_LOCK)


@cache
def sleepers(name: str, seed: int) -> Sandman:
    """How the threads of a random study were put away; it is run once."""
    return check_sleepers(name, seed)


def verbs_of(name: str, seed: int) -> set[int]:
    """By whose verbs threads went on that were put away."""
    return {verbs for _, verbs, _ in sleepers(name, seed).kinds}


@pytest.mark.slow
@pytest.mark.parametrize("seed", seeds(NR_AT_ONCE, NR_STUDIES))
def test_threads_are_put_away_in_requests_for_pages(seed: int) -> None:
    # Where all are served by a list that they hold, there are none: what there must be, the last test says.
    assert verbs_of("pages", seed) <= {OF_PAGES, OF_DRAIN}


@pytest.mark.slow
@pytest.mark.parametrize("seed", seeds(NR_AT_ONCE, NR_STUDIES))
def test_threads_are_put_away_in_every_allocator(seed: int) -> None:
    assert verbs_of("allocators", seed) >= {OF_LISTS, OF_SLAB, OF_VM}


@pytest.mark.slow
@pytest.mark.parametrize("seed", seeds(NR_AT_ONCE, NR_STUDIES))
def test_threads_are_put_away_in_what_only_users_ask_for(seed: int) -> None:
    assert verbs_of("users", seed) >= {OF_LISTS, OF_SLAB, OF_KMALLOC, OF_VM, OF_DRAIN}


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(NR_STUDIES))
def test_threads_are_put_away_while_they_reclaim(seed: int) -> None:
    assert any(IN_RECLAIM in what for what, _, _ in sleepers("reclaim", seed).kinds)


@pytest.mark.slow
def test_threads_are_put_away_with_folios_that_they_have_isolated() -> None:
    seen = {
        what[what.index(IN_RECLAIM) :] for what, _, _ in sleepers("reclaim", A_SMALL_ONE).kinds if IN_RECLAIM in what
    }
    assert seen >= WITH_ISOLATED


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(NR_OF["drained"]))
def test_threads_are_put_away_where_lists_are_emptied(seed: int) -> None:
    seen = {(verbs, wait) for _, verbs, wait in sleepers("drained", seed).kinds}
    assert seen >= {(OF_PAGES, LISTS), (OF_FILE, ZONE), (OF_DRAIN, LISTS)}


@pytest.mark.slow
def test_threads_are_put_away_at_each_kind_of_wait() -> None:
    runs = [sleepers(name, seed) for name in STUDIES for seed in range(NR_OF.get(name, NR_STUDIES))]
    seen = sum((sandman.kinds for sandman in runs), Counter())
    assert {verbs: {wait for _, of, wait in seen if of == verbs} for verbs in OF_VERBS} == OF_VERBS
    for what, waits in OF_USERS.items():
        assert {wait for of, _, wait in seen if of == what} >= waits, what
    for counted in ("nr_meanwhile", "nr_woken"):
        assert sum(getattr(sandman, counted) for sandman in runs) > 0
    waited_for = [sleepers("allocators", seed).waited_for for seed in range(NR_STUDIES)]
    assert all(sum(nr_waits) > 0 for nr_waits in zip(*waited_for, strict=True))
