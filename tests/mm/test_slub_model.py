"""Random operations on random machines: the compiled slab allocator and its slow twin agree on everything."""

from collections import Counter
from random import Random
from typing import NamedTuple

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kmsim.mm.gfp import parse_gfp
from kmsim.mm.memblock import Boot
from kmsim.mm.mm_init import PfnRange

from .machines import boot_of, boots
from .slub_pair import GFPS, SlubPair, some_caches

GFP_NOWAIT = parse_gfp("GFP_NOWAIT")


class Phase(NamedTuple):
    """A stretch of one run."""

    seed: int
    nr_operations: int
    alloc_share: int  # per cent
    leave_pages: int  # how many pages are left when memory is filled first; -1: memory is not filled
    burst: int  # allocations or frees of one kind in a row


PHASES = st.builds(
    Phase,
    seed=st.integers(0, 1 << 30),
    nr_operations=st.integers(5, 60),
    alloc_share=st.sampled_from((15, 35, 50, 65, 85)),
    leave_pages=st.sampled_from((-1, -1, -1, 0, 40)),
    burst=st.sampled_from((1, 10, 60)),
)


def run_phase(pair: SlubPair, phase: Phase) -> None:
    """Run the phase's operations and compare the states at its end."""
    random = pair.random = Random(phase.seed)
    if phase.leave_pages >= 0:
        fill(pair, phase.leave_pages)
    gfps = random.sample(GFPS, 3)
    for _ in range(phase.nr_operations):
        pair.cpu = random.randrange(pair.pages.machine.nr_cpus)
        cache = random.randrange(len(pair.geometries))
        choice = random.randrange(100)
        if choice < 2:
            pair.shrink(cache)
        elif choice < 10:
            bulk(pair, cache, random.choice(gfps), random.randrange(100) < phase.alloc_share)
        elif random.randrange(100) < phase.alloc_share:
            for _ in range(random.randint(1, phase.burst)):
                if not pair.alloc(cache, random.choice(gfps)):
                    break
        else:
            for _ in range(min(len(pair.held), random.randint(1, phase.burst))):
                pair.free(*pop(pair))
    pair.compare()


def bulk(pair: SlubPair, cache: int, gfp: int, is_alloc: bool) -> None:
    """One bulk request."""
    random = pair.random
    if is_alloc:
        pair.alloc_bulk(cache, gfp, random.choice((1, 7, 16, 64, 256)))
    elif pair.held:
        pair.free_bulk([pop(pair) for _ in range(min(len(pair.held), random.randint(1, 64)))])


def pop(pair: SlubPair) -> tuple[int, tuple]:
    """An object to be freed: the oldest, the youngest, one in a neighbourhood or any."""
    place = pair.random.choice((0, -1, len(pair.held) // 2, pair.random.randrange(len(pair.held))))
    return pair.held.pop(place)


def fill(pair: SlubPair, leave_pages: int) -> None:
    """Allocate pages until there are none, and give some back, here and there."""
    order = pair.random.choice((0, 0, 3))
    gfp = pair.random.choice((GFP_NOWAIT, parse_gfp("GFP_ATOMIC"), parse_gfp("GFP_ATOMIC | __GFP_MEMALLOC")))
    while len(pair.blocks) < 12_000 and pair.alloc_pages(gfp, order):
        pass
    pair.random.shuffle(pair.blocks)
    for _ in range(min(leave_pages, len(pair.blocks))):
        pair.free_pages(*pair.blocks.pop())


def run(boot: Boot, phases: list[Phase], seed: int, *, shuffled: bool) -> SlubPair:
    """Run the phases, comparing all the way; free everything and destroy the caches."""
    random = Random(seed)
    geometries = some_caches(boot.params.page_shift, random)
    seeds = [random.randrange(1 << 32) for _ in geometries] if shuffled else None
    pair = SlubPair(boot, geometries, seeds, random)
    for phase in phases:
        run_phase(pair, phase)
    for cache in range(len(geometries)):
        assert pair.destroy(cache) == sum(obj[0].cache.number == cache for _, obj in pair.held)
    random.shuffle(pair.held)
    while pair.held:
        pair.cpu = random.randrange(boot.params.nr_cpus)
        pair.free(*pair.held.pop())
    for cache in range(len(geometries)):
        assert pair.destroy(cache) == 0
        assert pair.sl.cache_nodes[cache].nr_slabs == 0
    pair.compare()
    return pair


@given(
    boot=boots(), phases=st.lists(PHASES, min_size=2, max_size=6), seed=st.integers(0, 1 << 30), shuffled=st.booleans()
)
def test_random_caches_decide_as_their_twins(boot: Boot, phases: list[Phase], seed: int, shuffled: bool) -> None:
    pair = run(boot, phases, seed, shuffled=shuffled)
    assert pair.sl.params[0].nr_slabs_used <= len(pair.sl.slabs)


@pytest.mark.slow
@given(
    boot=boots(), phases=st.lists(PHASES, min_size=3, max_size=15), seed=st.integers(0, 1 << 30), shuffled=st.booleans()
)
def test_many_random_caches_decide_as_their_twins(boot: Boot, phases: list[Phase], seed: int, shuffled: bool) -> None:
    pair = run(boot, phases, seed, shuffled=shuffled)
    assert pair.sl.params[0].nr_slabs_used <= len(pair.sl.slabs)


STAGES = {
    "4 KiB pages, 4 CPUs": boot_of(nr_cpus=4, ram=(PfnRange(0, 4_000),)),
    "16 KiB pages": boot_of(page_shift=14, max_page_order=11, pageblock_order=11, ram=(PfnRange(5, 6_000),)),
    "64 KiB pages": boot_of(
        page_shift=16, max_page_order=5, pageblock_order=5, thp_built_in=False, ram=(PfnRange(60_001, 63_345),)
    ),
    "x86-64, two zones": boot_of(
        arch="x86-64", nr_cpus=3, ram=(PfnRange(1, 159), PfnRange(256, 7_000)), reserved=(PfnRange(700, 800),)
    ),
    "one CPU": boot_of(nr_cpus=1, ram=(PfnRange(0, 2_000),)),
}
SITUATIONS = (
    "alloc_fastpath",
    "alloc_slowpath",
    "alloc_from_partial",
    "alloc_slab",
    "alloc_refill",
    "free_fastpath",
    "free_slowpath",
    "free_frozen",
    "free_add_partial",
    "free_remove_partial",
    "free_slab",
    "cpuslab_flush",
    "deactivate_full",
    "deactivate_empty",
    "deactivate_to_head",
    "deactivate_to_tail",
    "deactivate_remote_frees",
    "deactivate_bypass",
    "order_fallback",
    "cpu_partial_alloc",
    "cpu_partial_free",
    "cpu_partial_node",
    "cpu_partial_drain",
    "cpu slab of the reserves",
    "partial of the reserves",
    "node's slab of the reserves",
    "no cpu partial slabs",
    "nothing under the lock",
    "out of memory",
    "bulk given back",
    "empty on the node's list",
    "empty elsewhere",
    "lookahead",
    "promoted",
)


@pytest.mark.slow
def test_long_runs_reach_every_situation() -> None:
    """Fixed seeds, so that a random test that no longer gets anywhere is noticed."""
    reached: Counter[str] = Counter()
    for number, boot in enumerate(STAGES.values()):
        random = Random(200 + number)
        phases = [
            Phase(random.randrange(1 << 30), 60, share, pages, burst)
            for share, pages, burst in (
                (80, -1, 60),
                (40, -1, 30),
                (85, 60, 60),
                (20, -1, 60),
                (85, 0, 60),
                (30, -1, 5),
            )
        ]
        twin = run(boot, phases, number, shuffled=number % 2 == 1).twin
        reached += twin.reached
        for cache in twin.caches:
            reached += cache.stats
    assert [name for name in SITUATIONS if not reached[name]] == []
