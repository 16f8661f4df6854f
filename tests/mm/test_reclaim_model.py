"""Random requests on random machines without free memory: reclaim and its slow twin come to the same.

Memory is filled, most of it becomes folios of all kinds, and then requests come that reclaim. Pages, free lists, LRU
lists, costs, counters and events are compared.
"""

from random import Random
from typing import NamedTuple

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kmsim.mm.gfp import GFP_DIRECT_RECLAIM, parse_gfp
from kmsim.mm.lru import lru_head
from kmsim.mm.lru_init import machine_that_reclaims, set_swap
from kmsim.mm.lru_records import (
    FOLIO_ACCESSED,
    FOLIO_ACTIVE,
    FOLIO_DIRTY,
    FOLIO_HAS_MAPPING,
    FOLIO_MAPPED,
    FOLIO_MLOCKED,
    FOLIO_PINNED,
    FOLIO_PTE_DIRTY,
    FOLIO_RECLAIM,
    FOLIO_REFERENCED,
    FOLIO_SWAPBACKED,
    FOLIO_SWAPCACHE,
    FOLIO_WORKINGSET,
    LRU_EVENT_NAMES,
)
from kmsim.mm.memblock import Boot
from kmsim.mm.mmzone import PGFREE
from kmsim.mm.snapshot import walk
from tests.models.lru_model import LISTS, Folio
from tests.models.reclaim_model import ReclaimModel

from . import reclaim_drivers
from .machines import boot_of, boots, record_of
from .pair import GFPS, Pair

RECLAIMING = (
    *(gfp for gfp in GFPS if gfp & GFP_DIRECT_RECLAIM),
    parse_gfp("GFP_NOFS"),
    parse_gfp("GFP_KERNEL | __GFP_RETRY_MAYFAIL"),
    parse_gfp("GFP_TRANSHUGE"),
    parse_gfp("GFP_HIGHUSER_MOVABLE | __GFP_NORETRY"),
)
FLAGS = {
    "active": FOLIO_ACTIVE,
    "referenced": FOLIO_REFERENCED,
    "accessed": FOLIO_ACCESSED,
    "dirty": FOLIO_DIRTY,
    "pte_dirty": FOLIO_PTE_DIRTY,
    "mapped": FOLIO_MAPPED,
    "pinned": FOLIO_PINNED,
    "mlocked": FOLIO_MLOCKED,
    "swapcache": FOLIO_SWAPCACHE,
    "workingset": FOLIO_WORKINGSET,
    "reclaim": FOLIO_RECLAIM,
}
COUNTED = ("pgscan_direct", "pgsteal_direct", "pgrefill", "pgactivate", "pgdeactivate", "pswpout")


class Pressure(NamedTuple):
    """What memory is filled with, and what is asked for then."""

    seed: int
    swap: int  # pages
    kept: float  # the share of memory that is no folio
    shares: tuple[int, int, int]  # of files, anonymous memory, files in memory
    used: float  # how often a folio is active, accessed, dirty ...
    nr_operations: int
    orders: tuple[int, ...]


PRESSURES = st.builds(
    Pressure,
    seed=st.integers(0, 1 << 30),
    swap=st.sampled_from((0, 0, 50, 5000)),
    kept=st.sampled_from((0.02, 0.3, 0.9)),
    shares=st.sampled_from(((8, 1, 1), (1, 8, 1), (3, 3, 1), (1, 0, 0), (0, 1, 0))),
    used=st.sampled_from((0.0, 0.2, 0.6)),
    nr_operations=st.integers(5, 150),
    orders=st.sampled_from(((0,), (0, 0, 0, 1), (0, 1, 2, 3), (3, 4, 5))),
)


class ReclaimPair(Pair):
    """A machine that reclaims and its twin."""

    twin: ReclaimModel

    def __init__(self, boot: Boot, pressure: Pressure) -> None:
        super().__init__(boot, Random(pressure.seed), ReclaimModel)
        self.m = machine_that_reclaims(self.m)
        self.pressure = pressure
        self.is_filling = False
        self.twin.swap_total = self.twin.swap_free = pressure.swap
        set_swap(self.m, pressure.swap, self.twin.swappiness)

    def recount(self) -> None:
        """Recount the machine after an operation; while memory is filled, which takes many, once at the end."""
        if not self.is_filling:
            super().recount()

    def fill(self) -> None:
        """Allocate movable blocks until one fails, and make folios of most of them."""
        self.is_filling = True
        random = self.random
        nr_cpus = self.twin.machine.nr_cpus
        order = random.choice((0, 0, 0, 1, 2))
        gfp = parse_gfp("GFP_HIGHUSER_MOVABLE & ~__GFP_DIRECT_RECLAIM")
        while self.alloc(random.randrange(nr_cpus), gfp, order):
            pass
        random.shuffle(self.held)
        keep = int(len(self.held) * self.pressure.kept)
        while len(self.held) > keep:
            self.add(random.randrange(nr_cpus), self.random_folio(*self.held.pop()))
        self.is_filling = False
        self.recount()

    def random_folio(self, pfn: int, order: int) -> Folio:
        """A folio of some kind that has been used in some way."""
        random, used = self.random, self.pressure.used
        kind = random.choices(("file", "anon", "shmem"), self.pressure.shares)[0]
        folio = Folio(pfn, order, kind)
        for name in ("active", "referenced", "accessed", "pte_dirty", "mapped"):
            setattr(folio, name, random.random() < used)
        folio.mapped |= kind == "anon"
        folio.dirty = kind != "file" or random.random() < used / 8
        folio.pte_dirty &= kind != "file" and folio.mapped
        folio.accessed &= folio.mapped
        folio.pinned = random.random() < used / 8
        folio.mlocked = random.random() < used / 8
        return folio

    def add(self, cpu: int, folio: Folio) -> None:
        """Put a folio on both machines' lists."""
        flags = flags_of(folio)
        reclaim_drivers.add_folio(self.m, cpu, folio.pfn, flags)
        self.twin.lru.add(cpu, folio)

    def compare(self) -> None:
        """Hold the states against each other."""
        self.expected[PGFREE] += self.twin.nr_freed
        self.twin.nr_freed = 0
        super().compare()
        if self.m.lru is None:  # compared when it booted; it is to reclaim from then on
            return
        self.twin.lru.validate()
        reclaim_drivers.recount_lru(self.m)
        lru = self.twin.lru
        for number, name in enumerate(LISTS):
            found = [(pfn, int(self.m.holders[pfn].folio_flags)) for pfn in walk(self.m, lru_head(self.m, 0, number))]
            assert found == [(folio.pfn, flags_of(folio)) for folio in lru.lists[name]], name
            assert self.m.lru.lruvecs[0].vm_stat[number] == lru.of_node[name].total
        lruvec = self.m.lru.lruvecs[0]
        assert (lruvec.anon_cost, lruvec.file_cost) == (lru.cost["anon"], lru.cost["file"])
        assert lruvec.nonresident_age == lru.age
        assert self.m.lru.swap[0].nr_free == self.twin.swap_free
        for name in COUNTED:
            assert self.m.lru.vm_events[LRU_EVENT_NAMES.index(name)] == lru.events[name], name


def flags_of(folio: Folio) -> int:
    """What a folio of the twin is in the machine's words."""
    flags = sum(flag for name, flag in FLAGS.items() if getattr(folio, name))
    if folio.kind != "file":
        flags |= FOLIO_SWAPBACKED
    if folio.kind != "anon" or folio.swapcache:
        flags |= FOLIO_HAS_MAPPING
    return flags


def run(boot: Boot, pressure: Pressure) -> ReclaimPair:
    """Fill memory, and let requests reclaim it."""
    pair = ReclaimPair(boot, pressure)
    pair.fill()
    pair.compare()
    random = pair.random
    top = pair.twin.machine.max_page_order
    for number in range(pressure.nr_operations):
        cpu = random.randrange(pair.twin.machine.nr_cpus)
        if pair.held and random.randrange(6) == 0:
            pair.free(cpu, *pair.pop())
        else:
            gfps = RECLAIMING if random.randrange(8) else GFPS
            pair.alloc(cpu, random.choice(gfps), min(random.choice(pressure.orders), top))
        if number % 25 == 0:
            pair.compare()
    pair.compare()
    return pair


@pytest.mark.slow
@given(boot=boots(), pressure=PRESSURES)
def test_a_random_machine_reclaims_as_its_twin(boot: Boot, pressure: Pressure) -> None:
    pair = run(boot, pressure)
    assert record_of(pair.m) == pair.twin.state()


@pytest.mark.slow
def test_what_is_reached() -> None:
    """One machine with swap: pages are written, reclaimed, kept, activated and deactivated."""
    pressure = Pressure(3, 5000, 0.02, (3, 3, 1), 0.6, 400, (0, 0, 0, 1))
    pair = run(boot_of(), pressure)
    events = {name: int(count) for name, count in zip(LRU_EVENT_NAMES, pair.m.lru.vm_events, strict=True)}
    for name in (*COUNTED, "allocstall_normal"):
        assert events[name] > 0, name
