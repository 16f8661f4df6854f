"""After every event of random runs, a lock that it asked for is of a higher order than those held.

The orders are those of `LOCK_CLASSES`. A CPU holds what its levels hold, suspended ones too, and the mutexes of the
task that it runs. Of two locks that one event asks for and takes, which came first is not seen: only the pairs in
`IN_ONE_EVENT` may be.
"""

from collections import Counter
from collections.abc import Iterator, Sequence

import pytest

from kmsim.config import from_mapping
from kmsim.mm.indices import ContextIdx, CpuIdx, LockIdx
from kmsim.mm.locks import (
    BUSY_LOCK,
    CSD_LOCK,
    FREE_VMAP_AREA_LOCK,
    LAZY_LOCK,
    LOCK_CLASSES,
    LOCK_IRQSAVE,
    LOCK_MUTEX,
    LOCK_WAIT,
    LRU_LOCK,
    PCP_LOCK,
    POOL_LOCK,
    VMAP_PURGE_LOCK,
    ZONE_LOCK,
)
from kmsim.mm.mmzone import NO_PCP, zone_of_pcp
from kmsim.sim.core.records import NOBODY, NR_LEVELS, WAITING, Core, context_of, csd_lock_of, pcp_lock_of
from kmsim.sim.run.engine import Observer
from kmsim.sim.simulation import Simulation, new_simulation, run
from tests.sim import reclaim_studies, test_modes, test_modes_of_allocators
from tests.studies import Mapping

ORDERS = [of.order for of in LOCK_CLASSES]
SEED_WITH_A_PURGE = 0
SEED_THAT_RECLAIMS = 0
# A drain takes a list and its zone; an area's tree is let go of where a refill takes its list, to wait for the zone.
IN_ONE_EVENT = {(PCP_LOCK, ZONE_LOCK), (BUSY_LOCK, PCP_LOCK)}
Pair = tuple[int, int]  # the class of a lock that is held, and that of one that is asked for


class Ordered(Observer):
    """Asserts the order at each event; `seen` counts the pairs of classes that were held and asked for."""

    def __init__(self, core: Core, orders: Sequence[int]) -> None:
        self.seen: Counter[Pair] = Counter()
        self._orders = orders
        self._off_until = [0] * len(core.cpus)  # when each CPU lets go of a lock that it took with interrupts off

    def before(self, core: Core, c: CpuIdx) -> None:
        """Remember what was asked for until now."""
        assert core.cpus[c].time >= self._off_until[c], "an event with interrupts off"
        self._acquisitions = core.locks["acquisitions"].copy()
        self._flushes = set(flushes(core, c))
        self._held = set(held_by(core, c))

    def after(self, core: Core, c: CpuIdx) -> None:
        """Look at what the event has asked for."""
        asked = (core.locks["acquisitions"] - self._acquisitions).nonzero()[0].tolist()
        asked = [n for n in asked if core.locks[n].kind != LOCK_WAIT]  # counted when they are over
        off = [n for n in asked if core.locks[n].kind == LOCK_IRQSAVE]
        if off:
            assert not core.cpus[c].interruptible
            self._off_until[c] = int(core.cpus[c].time)
        if set(flushes(core, c)) - self._flushes:
            asked.append(csd_lock_of(core))
        held = [*off, *held_by(core, c)]
        for n in asked:
            for h in held:
                if h != n:
                    self._check(core, h, n, both_now=h not in self._held)
        nobody_sleeps_with_a_spinlock(core)

    def _check(self, core: Core, held: LockIdx, asked: LockIdx, *, both_now: bool) -> None:
        """Two that one event took came in their order, if they differ in it."""
        pair = [int(core.locks[n].lock_class) for n in (held, asked)]
        if both_now:
            pair.sort(key=lambda lock_class: self._orders[lock_class])
        outer, inner = pair
        names = f"{LOCK_CLASSES[outer].name} and {LOCK_CLASSES[inner].name}"
        assert not both_now or (outer, inner) in IN_ONE_EVENT, f"one event takes {names}"
        what = f"{LOCK_CLASSES[inner].name} is asked for under {LOCK_CLASSES[outer].name}"
        assert self._orders[outer] < self._orders[inner], what
        self.seen[outer, inner] += 1


def contexts_at_work(core: Core, c: CpuIdx) -> list[ContextIdx]:
    """What the levels of a CPU have under way."""
    return [context_of(core, level, c) for level in range(NR_LEVELS) if core.cpus[c].busy[level]]


def flushes(core: Core, c: CpuIdx) -> Iterator[ContextIdx]:
    """What waits for flushes of TLBs on a CPU."""
    for ac in contexts_at_work(core, c):
        if core.runs[ac].then == WAITING and core.runs[ac].lock == NOBODY:
            yield ac


def held_by(core: Core, c: CpuIdx) -> Iterator[LockIdx]:
    """What a CPU holds, but for what it took with interrupts off."""
    mutexes = (core.locks["kind"] == LOCK_MUTEX).nonzero()[0].tolist()
    for ac in contexts_at_work(core, c):
        run_ = core.runs[ac]
        held_pcp = int(core.m.contexts[ac].held_pcp)
        if held_pcp != NO_PCP:
            yield pcp_lock_of(core, zone_of_pcp(core.m, held_pcp))
        if run_.lock != NOBODY and core.locks[run_.lock].run == ac:
            yield int(run_.lock)
        yield from (n for n in mutexes if core.locks[n].run == run_.task)


def nobody_sleeps_with_a_spinlock(core: Core) -> None:
    """A mutex may be held asleep, and nothing else."""
    for k in core.tasks["parked"].nonzero()[0].tolist():
        assert core.parked.runs[k].lock == NOBODY
        assert core.parked.contexts[k].held_pcp == NO_PCP


def stepwise(study: Mapping) -> Simulation:
    """A simulation of a study, event by event."""
    return new_simulation(from_mapping(study | {"run": study["run"] | {"stepwise": True}}))


def pairs_of(study: Mapping, orders: Sequence[int] = ORDERS) -> Counter[Pair]:
    """Run a study event by event; what was asked for under what."""
    return pairs_in(stepwise(study), orders)


def pairs_in(simulation: Simulation, orders: Sequence[int] = ORDERS) -> Counter[Pair]:
    """Run a simulation; what was asked for under what."""
    ordered = Ordered(simulation.core, orders)
    simulation.engine.observers.append(ordered)
    list(run(simulation))
    return ordered.seen


def test_locks_of_pages_are_asked_for_in_order() -> None:
    seen = sum((pairs_of(test_modes.random_study(seed)) for seed in (1, 5, 7)), Counter[Pair]())
    assert set(seen) == {(PCP_LOCK, ZONE_LOCK)}


@pytest.mark.slow
def test_locks_of_all_allocators_are_asked_for_in_order() -> None:
    seen = sum((pairs_of(test_modes_of_allocators.random_study(seed)) for seed in (0, 2, 4)), Counter[Pair]())
    of_purge = {asked for held, asked in seen if held == VMAP_PURGE_LOCK}
    assert of_purge >= {CSD_LOCK, FREE_VMAP_AREA_LOCK, LAZY_LOCK, POOL_LOCK, ZONE_LOCK}
    assert (PCP_LOCK, ZONE_LOCK) in seen
    assert all(asked not in (VMAP_PURGE_LOCK, CSD_LOCK) or held == VMAP_PURGE_LOCK for held, asked in seen)


@pytest.mark.slow
def test_locks_of_what_reclaims_are_asked_for_in_order() -> None:
    """The lru_lock is asked for under a drain's hold of per-CPU lists at most, and nothing is asked for under it."""
    simulation = stepwise(reclaim_studies.random_study("pages", SEED_THAT_RECLAIMS))
    seen = pairs_in(simulation)
    (lru_lock,) = (simulation.core.locks["lock_class"] == LRU_LOCK).nonzero()[0]
    assert simulation.core.locks["acquisitions"][lru_lock] > 0
    assert (PCP_LOCK, ZONE_LOCK) in seen
    assert all(held != LRU_LOCK and (asked != LRU_LOCK or held == PCP_LOCK) for held, asked in seen)


@pytest.mark.parametrize(("outer", "inner"), [(PCP_LOCK, ZONE_LOCK), (VMAP_PURGE_LOCK, CSD_LOCK)])
def test_another_order_is_found_wrong(outer: int, inner: int) -> None:
    orders = list(ORDERS)
    orders[outer], orders[inner] = orders[inner], orders[outer]
    found = f"{LOCK_CLASSES[inner].name} is asked for under {LOCK_CLASSES[outer].name}"
    with pytest.raises(AssertionError, match=found):
        pairs_of(test_modes_of_allocators.random_study(SEED_WITH_A_PURGE), orders)
