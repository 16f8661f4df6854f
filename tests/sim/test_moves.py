"""Blocks move under whoever holds them, in the middle of random runs: nobody notices, in either mode.

The move is a test's own, until compaction does it: a free block of the zone is taken off its list and gets the old
block's record, the old one is freed, and the holder's slot is written once.
"""

import random
from collections import Counter
from collections.abc import Callable, Generator
from typing import Any

import numpy as np
import pytest
import simpy

from kmsim.config import from_mapping
from kmsim.jit import entry
from kmsim.mm.buddy import page_del_and_expand, split_large_buddy
from kmsim.mm.indices import Pfn
from kmsim.mm.lru_records import ALLOCSTALL
from kmsim.mm.mmzone import PG_BUDDY, PG_PCP, PGALLOC, PGFREE, ZONE_NAMES, Machine
from kmsim.mm.page_alone import free_pages
from kmsim.mm.pageblock import pageblock_migratetype
from kmsim.mm.rmap import NO_HOLDER
from kmsim.mm.zonelist import page_zone
from kmsim.sim.core.records import NO_BLOCK, Core
from kmsim.sim.core.recount import recount
from kmsim.sim.core.slot import slot_of, with_holders
from kmsim.sim.run.clock import now_ps
from kmsim.sim.simulation import Simulation, UserProcess, new_simulation, run
from kmsim.sim.user.alloc import BadFree
from kmsim.workload.plan import PAGES
from tests.sim import reclaim_studies, test_modes, test_modes_of_allocators
from tests.sim.test_modes import check_same_cores
from tests.studies import Mapping, mapping

MOVABLE = "GFP_HIGHUSER_MOVABLE"
US = 1_000_000
EVERY = 2 * US  # at most from one move to the next
EVERY_OF_RECLAIM = 500 * US  # in a run that is longer: memory is short at its end

Process = Generator[simpy.Event, Any, None]


@entry
def move_pages(m: Machine, pfn: Pfn, free: Pfn) -> None:
    """Move a block to the beginning of a free one of its zone; a context is borrowed for it."""
    m.contexts[0].zone = page_zone(m, pfn)
    order = int(m.pages[pfn].order)
    page_del_and_expand(m, 0, free, order, int(m.pages[free].order), pageblock_migratetype(m, free))
    m.pages[free] = m.pages[pfn]
    split_large_buddy(m, 0, pfn, order, False)


@entry
def free_block(m: Machine, pfn: Pfn, order: int) -> None:
    """`mm.page_alloc.free_pages`, for Python callers."""
    free_pages(m, 0, pfn, order)


def move(core: Core, pfn: Pfn, free: Pfn) -> None:
    """Move a held block, and let its holder know."""
    m = core.m
    assert m.holders is not None
    borrowed, work = m.contexts[0].copy(), m.work[0].copy()
    move_pages(m, pfn, free)
    m.contexts[0], m.work[0] = borrowed, work
    holder = int(m.holders[pfn].holder)
    m.holders[pfn].holder = NO_HOLDER
    m.holders[free].holder = holder
    slot_of(core, holder).block = free


class Mover:
    """A process that moves random blocks, at random times, until it is told to stop; everything is recounted then."""

    def __init__(self, seed: int, every: int) -> None:
        self.log: list[tuple[int, int, int]] = []  # time, and the block's first page before and after
        self.of: Counter[str] = Counter()  # how many moves of what kind
        self.is_over = False
        self._every = every
        self._rng = random.Random(f"moves {seed}")

    def process(self, simulation: Simulation) -> Process:
        while not self.is_over:
            yield simulation.env.timeout(self._rng.randrange(self._every))
            self._move_one(simulation.core, int(simulation.env.now))

    def _move_one(self, core: Core, now: int) -> None:
        m = core.m
        assert m.holders is not None
        held = np.flatnonzero((m.holders["holder"] != NO_HOLDER) & (m.holders["folio_flags"] == 0))
        if not len(held):
            return
        pfn = int(self._rng.choice(held))
        free = self._place(m, pfn)
        if free is None:
            return
        holder = int(m.holders[pfn].holder)
        self.of["timed" if holder < 0 else "slotted"] += 1
        self.of["larger"] += int(m.pages[pfn].order) > 0
        self.of["during an operation"] += bool(core.cpus["busy"].any())
        move(core, pfn, free)
        recount(core)
        self.log.append((now, pfn, free))

    def _place(self, m: Machine, pfn: Pfn) -> int | None:
        """The beginning of a free block of the same zone that is large enough."""
        (zone,) = (zone for zone in m.zones if zone.start_pfn <= pfn < zone.end_pfn)
        pages = m.pages[zone.start_pfn : zone.end_pfn]
        free = np.flatnonzero((pages["page_flags"] == PG_BUDDY) & (pages["order"] >= m.pages[pfn].order))
        return int(zone.start_pfn + self._rng.choice(free)) if len(free) else None


class Users:
    """A process that holds movable blocks and frees them by their handles, wherever they are then."""

    def __init__(self) -> None:
        self.log: list[tuple[int, int]] = []  # where a block was, and where it was freed

    def process(self, simulation: Simulation) -> Process:
        cpu = simulation.cpus[0]
        for order in (0, 3, 0, 1):
            allocs = []
            for _ in range(5):
                alloc = yield from cpu.alloc_pages(MOVABLE, order)
                assert alloc is not None
                allocs.append((alloc, alloc.pfn, alloc.address))
            yield simulation.env.timeout(20 * US)
            for alloc, pfn, address in allocs:
                with pytest.raises(BadFree, match="its pages can move"):
                    yield from cpu.free_pages(address)
                self.log.append((pfn, alloc.pfn))
                yield from cpu.free_pages(alloc)


def to_move(study: Mapping, seed: int) -> Mapping:
    """The study with many movable blocks, with exchanges of blocks, and interrupts that end.

    Timed operations are even in number: of an odd one, the last block is never freed (`workload.phases`).
    """
    rng = random.Random(f"to move {seed}")
    workload = study["workload"]
    for of in (*workload["threads"], *workload["interrupts"]):
        for request in of.get("requests", ()):
            if "order" in request and rng.random() < 0.7:
                request["gfp"] = MOVABLE if of in workload["threads"] else "GFP_NOWAIT | __GFP_MOVABLE"
    for thread in workload["threads"]:
        if thread.get("live") and len(thread["cpus"]) > 1:
            thread["remote_frees"] = 0.5
        if "lifetime" in thread:
            thread["operations"] += thread["operations"] % 2
    for source in workload["interrupts"]:
        source["operations"] = 2 * rng.randint(1, 30)
    return study


def moved(
    study: Mapping, seed: int, processes: tuple[UserProcess, ...], *, stepwise: bool, every: int = EVERY
) -> tuple[Simulation, Mover]:
    """A run in which blocks move, and then what is still under way to its end."""
    config = from_mapping(study | {"run": study.get("run", {}) | {"stepwise": stepwise}})
    simulation, mover = new_simulation(config, processes), Mover(seed, every)
    simulation.engine.core = with_holders(simulation.core)
    simulation.env.process(mover.process(simulation))
    for _ in run(simulation):
        pass
    mover.is_over = True
    while simulation.core.cpus["busy"].any() or simulation.core.tasks["nr_due"].any():
        simulation.env.run(until=now_ps(simulation.env) + US)
    recount(simulation.core)
    return simulation, mover


def nr_free(m: Machine) -> int:
    """How many pages are free, or on a per-CPU list."""
    heads = m.pages[: int(m.params[0].nr_frames)]
    return int((1 << heads["order"][(heads["page_flags"] & (PG_BUDDY | PG_PCP)) != 0].astype(np.int64)).sum())


def free_what_is_held(core: Core) -> None:
    """Free the block of every full slot for pages, once."""
    for slot in core.slots:
        if slot.block != NO_BLOCK and core.requests[slot.request].api == PAGES:
            assert not core.m.pages[slot.block].page_flags, "a block is freed twice"
            free_block(core.m, int(slot.block), int(core.requests[slot.request].order))


def check_moves(
    study: Mapping, seed: int, users: Callable[[], Users] | None = None, every: int = EVERY
) -> tuple[Simulation, Mover]:
    """Both modes come to the same; the default one's run."""
    found = []
    for stepwise in (False, True):
        own = users() if users else None
        simulation, mover = moved(study, seed, (own.process,) if own else (), stepwise=stepwise, every=every)
        found.append((simulation, mover, own.log if own else []))
    (default, mover, log), (other, other_mover, other_log) = found
    assert mover.log == other_mover.log
    assert log == other_log
    assert default.nr_done == other.nr_done
    check_same_cores(default.core, other.core)
    return default, mover


NR_OF_PAGES, NR_OF_ALL = 14, 6  # random studies
AT_ONCE = (1, 3, 8)  # the default selection has these: blocks in slots, exchanged ones, and timed ones
SEEDS = [*AT_ONCE, *(pytest.param(seed, marks=pytest.mark.slow) for seed in range(NR_OF_PAGES) if seed not in AT_ONCE)]
LEAST_MOVES = 20
SEED_OF_RECLAIM = 2


@pytest.mark.slow
@pytest.mark.parametrize("seed", SEEDS)
def test_pages_move_and_every_block_is_freed_once(seed: int) -> None:
    study = to_move(test_modes.random_study(seed), seed)
    at_boot = nr_free(new_simulation(from_mapping(study)).machine)
    simulation, mover = check_moves(study, seed)
    assert mover.of["during an operation"] > LEAST_MOVES
    assert mover.of[{1: "slotted", 3: "timed", 8: "larger"}.get(seed, "during an operation")] > LEAST_MOVES
    m = simulation.machine
    free_what_is_held(simulation.core)
    assert nr_free(m) == at_boot
    assert m.events[PGALLOC : PGALLOC + len(ZONE_NAMES)].sum() == m.events[PGFREE]


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(NR_OF_ALL))
def test_pages_move_beside_all_other_memory_and_under_users_handles(seed: int) -> None:
    study = to_move(test_modes_of_allocators.random_study(seed), seed)
    users: list[Users] = []

    def new_users() -> Users:
        users.append(Users())
        return users[-1]

    simulation, mover = check_moves(study, seed, new_users)
    assert len(mover.log) > LEAST_MOVES
    assert any(allocated != freed for allocated, freed in users[0].log), "no block of the users has moved"
    free_what_is_held(simulation.core)


@pytest.mark.slow
def test_pages_move_where_others_are_reclaimed_and_those_of_files_stay() -> None:
    study = to_move(reclaim_studies.random_study("pages", SEED_OF_RECLAIM), SEED_OF_RECLAIM)
    simulation, mover = check_moves(study, SEED_OF_RECLAIM, every=EVERY_OF_RECLAIM)
    m = simulation.machine
    assert m.lru.vm_events[ALLOCSTALL : ALLOCSTALL + len(ZONE_NAMES)].sum() > LEAST_MOVES, "little was reclaimed"
    assert len(mover.log) > LEAST_MOVES
    free_what_is_held(simulation.core)
    assert (m.lru.page_cache > 0).any()


# ---- what a recount finds


@pytest.fixture(scope="module")
def held() -> Core:
    """A run that has ended, whose slots are full of movable blocks."""
    threads = ({"operations": 60, "live": 40, "requests": [{"gfp": MOVABLE}]}, {"operations": 20, "live": 40})
    simulation, mover = moved(mapping(*threads), 1, (), stepwise=False)
    assert mover.log
    return simulation.core


def copied(core: Core) -> Core:
    """The same, to be spoilt."""
    assert core.m.holders is not None
    m = core.m._replace(holders=core.m.holders.copy(), pages=core.m.pages.copy())
    return core._replace(m=m, slots=core.slots.copy(), timed=core.timed.copy(), tasks=core.tasks.copy())


def spoil(core: Core, how: str) -> None:
    """Let two records disagree."""
    holders = core.m.holders
    assert holders is not None
    pfn, other = (int(pfn) for pfn in np.flatnonzero(holders["holder"])[:2])
    n = int(holders[pfn].holder) - 1
    if how == "no holder":
        holders[pfn].holder = NO_HOLDER
    elif how == "another's holder":
        holders[pfn].holder = holders[other].holder
    elif how == "exchanged holders":
        holders[pfn].holder, holders[other].holder = int(holders[other].holder), n + 1
    elif how == "stale holder":
        core.slots[n].block = NO_BLOCK
    elif how == "moved and not told":
        holders[pfn].holder, core.slots[n].block = NO_HOLDER, pfn + 1
    elif how == "immovable":
        (immovable,) = {int(slot.request) for slot in core.slots} - {int(core.slots[n].request)}
        core.slots[n].request = immovable
    elif how == "another order":
        core.m.pages[pfn].order = 1
    else:
        task = core.tasks[0]
        task.nr_due = task.nr_due_most = task.nr_due_max = 1
        core.timed[task.first_due].block = NO_BLOCK


@pytest.mark.slow
@pytest.mark.parametrize(
    ("how", "found"),
    [
        ("no holder", "a slot's block has another holder"),
        ("another's holder", "a page's holder has another block"),
        ("exchanged holders", "a page's holder has another block"),
        ("stale holder", "a page's holder has another block"),
        ("moved and not told", "a slot's block has another holder"),
        ("immovable", "a page that may not move has a holder"),
        ("another order", "a held block is of another order"),
        ("empty and due", "the slot of a block that is due is empty"),
    ],
)
def test_a_recount_finds_where_slots_and_pages_disagree(held: Core, how: str, found: str) -> None:
    core = copied(held)
    recount(core)
    spoil(core, how)
    with pytest.raises(AssertionError, match=found):
        recount(core)
