"""Exact pages and chains of pages: beside the slow model, and what a wrong size does."""

from random import Random

import pytest

from kmsim.mm.gfp import parse_gfp
from kmsim.mm.memblock import Boot
from kmsim.mm.mm_init import PfnRange
from kmsim.mm.mmzone import EXACT_SAVED, NO_PAGE, PGFREE, Machine
from tests.models.exact_model import alloc_pages_exact, free_pages_exact, nr_pages_of, order_of

from . import drivers
from .machines import M, boot_of, free_list, machine_with, plain_machine
from .pair import GFPS, Pair

GFP_KERNEL = parse_gfp("GFP_KERNEL")
ZERO = parse_gfp("__GFP_ZERO")


class ExactPair(Pair):
    """A machine and its twin that also have exact pages and chains."""

    def exact(self, cpu: int, gfp: int, size: int) -> None:
        """Allocate exact pages, and give them back at some time."""
        gfp &= ~(parse_gfp("__GFP_COMP") | parse_gfp("__GFP_HIGHMEM"))
        saved_before = int(self.m.events[EXACT_SAVED])
        pfn = drivers.exact_alloc(self.m, cpu, gfp, size)
        assert pfn == alloc_pages_exact(self.twin, cpu, gfp, size), (cpu, hex(gfp), size)
        nr_pages, order = nr_pages_of(self.twin, size), order_of(self.twin, size)
        self.note([(pfn, order)] if pfn != NO_PAGE else [])
        if pfn != NO_PAGE:
            del self.held[-1]
            nr_spared = (1 << order) - nr_pages
            assert self.m.events[EXACT_SAVED] - saved_before == nr_spared
            self.expected[PGFREE] += nr_spared
            self.exacts.append((pfn, size))
            self.reached["spared"] += nr_spared
        self.recount()

    def free_exact(self, cpu: int) -> None:
        """Free some of them."""
        pfn, size = self.exacts.pop(self.random.randrange(len(self.exacts)))
        assert drivers.exact_free(self.m, cpu, pfn, size) == 0
        free_pages_exact(self.twin, cpu, pfn, size)
        self.expected[PGFREE] += nr_pages_of(self.twin, size)
        self.recount()

    def chain(self, cpu: int, gfp: int, nr_pages: int) -> None:
        """Allocate a chain, and free it at some time."""
        first = drivers.chain_alloc(self.m, cpu, gfp, nr_pages)
        pages = self.chain_of(first)
        assert pages == self.twin.alloc_pages_bulk(cpu, gfp, nr_pages)
        self.note([(pfn, 0) for pfn in pages])
        if pages:
            del self.held[-len(pages) :]
            self.chains.append(first)
        self.recount()

    def chain_of(self, pfn: int) -> list[int]:
        """The pages of a chain."""
        pages = []
        while pfn != NO_PAGE:
            pages.append(pfn)
            pfn = int(self.m.pages[pfn].next)
        return pages

    def free_chain(self, cpu: int) -> None:
        """Free one of them."""
        first = self.chains.pop(self.random.randrange(len(self.chains)))
        pages = self.chain_of(first)
        drivers.chain_free(self.m, cpu, first)
        for pfn in pages:
            self.twin.free_pages(cpu, pfn, 0)
        self.expected[PGFREE] += len(pages)
        self.recount()

    def run(self, nr_operations: int) -> None:
        """Do any of it at random."""
        self.exacts: list[tuple[int, int]] = []
        self.chains: list[int] = []
        random, page_bytes = self.random, 1 << self.twin.machine.page_shift
        largest = page_bytes << self.twin.machine.max_page_order
        for _ in range(nr_operations):
            cpu, choice = random.randrange(self.twin.machine.nr_cpus), random.randrange(10)
            gfp = random.choice(GFPS)
            if choice < 4:
                sizes = (1, page_bytes + 1, 9 * page_bytes, random.randint(1, largest), largest + 1)
                self.exact(cpu, gfp, random.choice(sizes))
            elif choice < 6:
                self.chain(cpu, gfp, random.choice((1, 2, 30, 100)))
            elif choice < 8 and self.exacts:
                self.free_exact(cpu)
            elif choice < 9 and self.chains:
                self.free_chain(cpu)
            else:
                self.alloc(cpu, gfp, random.choice((0, 0, 3)))
        self.compare()


@pytest.mark.parametrize(
    "boot",
    [
        boot_of(ram=(PfnRange(0, 9000),)),
        boot_of(
            page_shift=16, max_page_order=5, pageblock_order=5, thp_built_in=False, ram=(PfnRange(60_001, 72_345),)
        ),
        boot_of(arch="x86-64", nr_cpus=3, ram=(PfnRange(1, 159), PfnRange(256, 9_000)), check_pages=True),
    ],
    ids=["4K", "64K, two zones", "x86-64, pages checked"],
)
def test_random_exact_pages_and_chains_are_the_twins(boot: Boot) -> None:
    pair = ExactPair(boot, Random(5))
    pair.run(250)
    assert pair.reached["spared"] > 10
    assert pair.reached["nopage"] + pair.reached["needs_slow_path"] > 0


def test_the_tail_goes_to_the_tails_of_the_lists_page_by_page() -> None:
    m = machine_with({(3, M): [64], (0, M): [200], (1, M): [300]}, nr_cpus=1)
    assert drivers.exact_alloc(m, 0, parse_gfp("GFP_HIGHUSER_MOVABLE"), 5 * 4096) == 64
    assert free_list(m, 0, 0, M) == [200, 69]
    assert free_list(m, 0, 1, M) == [300, 70]
    drivers.recount(m)


def test_a_request_beyond_the_largest_order_fails() -> None:
    m = plain_machine()
    assert drivers.exact_alloc(m, 0, GFP_KERNEL, (4 << 20) + 1) == NO_PAGE
    assert m.events[EXACT_SAVED] == 0
    assert drivers.exact_alloc(m, 0, GFP_KERNEL, 4 << 20) != NO_PAGE


def test_the_whole_block_is_zeroed() -> None:
    m = plain_machine()
    drivers.exact_alloc(m, 0, GFP_KERNEL | ZERO, 5 * 4096)
    assert m.work[0].bytes_zeroed == 8 * 4096


def test_a_free_of_too_few_bytes_leaves_pages_behind() -> None:
    m = plain_machine()
    free = drivers_free(m)
    pfn = drivers.exact_alloc(m, 0, GFP_KERNEL, 6 * 4096)
    assert drivers.exact_free(m, 0, pfn, 4 * 4096) == -2
    assert free - drivers_free(m) == 2


def test_a_free_of_too_many_bytes_is_refused() -> None:
    m = plain_machine()
    pfn = drivers.exact_alloc(m, 0, GFP_KERNEL, 6 * 4096)
    free = drivers_free(m)
    assert drivers.exact_free(m, 0, pfn, 8 * 4096) == 2
    assert free == drivers_free(m)
    assert drivers.exact_free(m, 0, pfn, 6 * 4096) == 0


def drivers_free(m: Machine) -> int:
    """Free pages, once all per-CPU lists are empty."""
    drivers.drain_all(m, 0)
    drivers.recount(m)
    return sum(int(count) << order for order, count in enumerate(m.zones[0].nr_free))
