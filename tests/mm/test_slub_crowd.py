"""Requests of many contexts run through each other, also on one CPU, and still decide as their twins do."""

from collections import Counter
from random import Random

import pytest

from kmsim.mm.gfp import parse_gfp
from kmsim.mm.mm_init import PfnRange

from .machines import boot_of
from .slub_crowd import Crowd
from .slub_pair import geometry_of

GFP_ATOMIC = parse_gfp("GFP_ATOMIC")
GFP_MEMALLOC = parse_gfp("GFP_ATOMIC | __GFP_MEMALLOC")
SITUATIONS = (
    "retry_load_slab",
    "reread",
    "nothing under the lock",
    "cmpxchg_double_fail",
    "empty elsewhere",
    "deactivate_to_head",
    "deactivate_to_tail",
    "deactivate_full",
    "free_remove_partial",
)


def run(seed: int, nr_turns: int) -> Counter[str]:
    """Run random turns; what was reached."""
    random = Random(seed)
    boot = boot_of(nr_cpus=random.randint(1, 3), ram=(PfnRange(0, 16_384),))
    geometries = [
        geometry_of(12, random.choice((512, 1024, 1360)), order, partial=random.choice(((1, 0), (0, 1), (2, 2))))
        for order in (0, random.choice((0, 1)))
    ]
    crowd = Crowd(boot, geometries[: random.randint(1, 2)], random.choice((0, 0.1)), random)
    for turn in range(nr_turns):
        share = (70, 30, 50, 45)[turn * 8 // nr_turns % 4]
        crowd.turn(share, random.choice((GFP_ATOMIC, GFP_ATOMIC, GFP_MEMALLOC)))
        if turn % 100 == 0:
            crowd.compare()
    crowd.compare()
    return crowd.reached


def test_requests_that_run_through_each_other_reach_every_situation() -> None:
    reached: Counter[str] = Counter()
    for seed in range(30):
        reached += run(seed, 600)
    assert [name for name in SITUATIONS if not reached[name]] == []


@pytest.mark.slow
def test_many_requests_that_run_through_each_other() -> None:
    assert sum((run(seed, 3000) for seed in range(1000, 1100)), Counter())["retry_load_slab"] > 0
