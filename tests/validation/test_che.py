"""A reader of a file that is larger than memory: its hit rate against theory, and against the same lists in Python.

Who reads each page with a given probability, page after page, finds less in a cache than in the best static set of
pages, and with two lists more than LRU would find, or as much; for LRU there is Che's approximation. (Che, Tung and
Wang, "Hierarchical Web Caching Systems", 2002; Fricker, Robert and Roberts, "A versatile and accurate approximation
for LRU cache performance", 2012, for how good it is.)
"""

from collections import OrderedDict
from typing import NamedTuple

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy.optimize import brentq

from kmsim.mm.lru_init import machine_that_reclaims, set_swap
from kmsim.mm.mm_init import PfnRange
from kmsim.workload.file_pages import PagesOfFile
from tests.mm.machines import plain_machine
from tests.mm.reclaim_drivers import read_step
from tests.mm.test_filemap import GFP

pytestmark = pytest.mark.slow

NR_FRAMES = 4096
NR_PAGES = 8000  # of the file
WARM_UP, NR_READS = 80_000, 200_000  # before the first of these, each page is read once
SEED = 22
BATCH, PAGEVEC = 32, 31

Numbers = NDArray[np.float64]


class Found(NamedTuple):
    """What came of the reads after the warm-up."""

    hits: NDArray[np.bool_]
    sizes: NDArray[np.int64]  # pages in memory, after each read

    @property
    def hit_rate(self) -> float:
        """The share of reads that found their page."""
        return float(self.hits.mean())


class TwoLists:
    """An inactive and an active list of a cache of so many pages (the oldest first), and the reads of them."""

    def __init__(self, size: int) -> None:
        self.size, self.age = size, 0
        self.inactive: OrderedDict[int, bool] = OrderedDict()  # by page: was it read again?
        self.active: OrderedDict[int, bool] = OrderedDict()
        self.evicted_at: dict[int, int] = {}

    def read(self, page: int) -> bool:
        """Read a page; was it there?"""
        if page in self.active:
            self.active[page] = True
        elif self.inactive.get(page):
            del self.inactive[page]
            self.active[page] = False
            self.age += 1
        elif page in self.inactive:
            self.inactive[page] = True
        else:
            self.reclaim()
            distance = self.age - self.evicted_at.pop(page, -self.size * 1000)
            is_recent = distance <= len(self.active)
            self.age += is_recent
            (self.active if is_recent else self.inactive)[page] = True
            return False
        return True

    def reclaim(self) -> None:
        """Where the cache is full, let 32 pages go; where too few are inactive, as many become so before."""
        if len(self.active) + len(self.inactive) < self.size:
            return
        for _ in range(BATCH):
            if len(self.inactive) < len(self.active):
                self.inactive.__setitem__(*self.active.popitem(last=False))
            page, _ = self.inactive.popitem(last=False)
            self.evicted_at[page] = self.age
            self.age += 1


def reads_of(zipf: float) -> NDArray[np.int64]:
    """The pages that are read, one after the other: each once, so that none is read for the first time later."""
    rng = np.random.default_rng(SEED)
    drawn = np.empty(WARM_UP - NR_PAGES + NR_READS)
    PagesOfFile(NR_PAGES, zipf).draw(rng, drawn)
    return np.concatenate((rng.permutation(NR_PAGES), drawn.astype(np.int64) - 1))


def on_a_machine(pages: NDArray[np.int64]) -> Found:
    """The reads on one CPU of a machine without swap."""
    m = machine_that_reclaims(plain_machine(nr_cpus=1, ram=(PfnRange(0, NR_FRAMES),)), NR_PAGES)
    set_swap(m, 0, 60)
    hits = np.zeros(len(pages), bool)
    sizes = np.zeros(len(pages), np.int64)
    work = m.lru.work[0]
    size = 0
    for n, page in enumerate(pages.tolist()):
        found, freed = work.pages_found, work.folios_unmapped
        wanted = read_step(m, 0, page, GFP, True)
        while wanted:
            wanted = read_step(m, 0, 0, 0, False)
        hits[n] = work.pages_found > found
        size += int(not hits[n]) - int(work.folios_unmapped - freed)
        sizes[n] = size
    assert size == np.count_nonzero(m.lru.page_cache > 0)
    return Found(hits[WARM_UP:], sizes[WARM_UP:])


def directly(pages: NDArray[np.int64], size: int) -> Found:
    """The same reads of two lists."""
    lists = TwoLists(size)
    hits = np.array([lists.read(page) for page in pages.tolist()])
    return Found(hits[WARM_UP:], np.full(NR_READS, size))


def probabilities(zipf: float) -> Numbers:
    """How likely each page is to be read."""
    weights = np.arange(1, NR_PAGES + 1, dtype=np.float64) ** -zipf
    return weights / weights.sum()


def che(of_page: Numbers, size: float) -> float:
    """The hit rate of an LRU cache of so many pages, by Che's approximation."""

    def overfull(time: float) -> float:
        return float((1 - np.exp(-of_page * time)).sum() - size)

    time = brentq(overfull, 1, 1e9)
    return float((of_page * (1 - np.exp(-of_page * time))).sum())


def best_static(of_page: Numbers, size: float) -> float:
    """The hit rate of the pages that are read most."""
    return float(np.sort(of_page)[::-1][: round(size)].sum())


@pytest.mark.parametrize("zipf", [0.0, 0.7, 1.0])
def test_the_hit_rate_is_between_lru_and_the_best_static_set(zipf: float) -> None:
    pages = reads_of(zipf)
    found = on_a_machine(pages)
    size = float(found.sizes.mean())
    of_page = probabilities(zipf)
    low, high = che(of_page, size), best_static(of_page, size)
    error = 3 * float(np.sqrt(found.hit_rate * (1 - found.hit_rate) / NR_READS))
    same = directly(pages, int(found.sizes.max()))
    print(
        f"zipf {zipf}: {size:.0f} pages, Che {low:.4f}, found {found.hit_rate:.4f} +- {error:.4f}, best {high:.4f}, "
        f"directly {same.hit_rate:.4f}, other {np.mean(found.hits != same.hits):.4f}"
    )
    assert low - error <= found.hit_rate <= high + error
    assert abs(found.hit_rate - same.hit_rate) <= error
