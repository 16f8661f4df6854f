"""Random operations on random machines: the compiled page allocator and its slow twin agree on everything.

A run is a list of phases (`phases.py`).
"""

from collections import Counter
from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kmsim.mm.memblock import Boot
from kmsim.mm.mm_init import PfnRange

from .machines import boot_of, boots, record_of
from .pair import Pair
from .phases import PHASES, Phase, long_run, run


@pytest.mark.slow
@given(boot=boots(), phases=st.lists(PHASES, min_size=3, max_size=8))
def test_a_random_machine_decides_as_its_twin(boot: Boot, phases: list[Phase]) -> None:
    pair = run(Pair(boot, Random(1)), phases)
    assert record_of(pair.m) == pair.twin.state()


@pytest.mark.slow
@given(boot=boots(), phases=st.lists(PHASES, min_size=3, max_size=20))
def test_many_random_machines_decide_as_their_twins(boot: Boot, phases: list[Phase]) -> None:
    pair = run(Pair(boot, Random(1)), phases)
    assert record_of(pair.m) == pair.twin.state()


STAGES = {
    "two zones, small pageblocks": boot_of(
        page_shift=16,
        max_page_order=5,
        pageblock_order=5,
        thp_built_in=False,
        ram=(PfnRange(60_001, 72_345),),
    ),
    "one zone, huge pages, blocks of many pageblocks": boot_of(max_page_order=13, ram=(PfnRange(0, 16_384),)),
    "x86-64, two zones": boot_of(
        arch="x86-64", nr_cpus=4, ram=(PfnRange(1, 159), PfnRange(256, 9_000)), reserved=(PfnRange(700, 800),)
    ),
    "three zones": boot_of(
        arch="x86-64", ram=(PfnRange(1, 159), PfnRange(256, 6_000), PfnRange(1 << 20, (1 << 20) + 5_000))
    ),
    "grouping given up": boot_of(
        page_shift=14, max_page_order=11, pageblock_order=11, thp_built_in=False, ram=(PfnRange(5, 6_000),)
    ),
    "no zone for DMA": boot_of(ram=(PfnRange((1 << 20) + 3, (1 << 20) + 4_000),)),
    "Linux 6.0": boot_of(auto_tune=False, check_pages=True, ram=(PfnRange(0, 9_000),)),
}
SITUATIONS = (
    "claim",
    "claim_refused",
    "steal",
    "boost",
    "highatomic",
    "from_highatomic",
    "merge_of_types",
    "below_high",
    "high_again",
    "nofragment_refused",
    "reserves",
    "no_watermarks",
    "lower_zone",
    "free_high",
    "decay",
    "locked",
    "checked",
    "free_factor",
    "nopage",
    "needs_slow_path",
)


@pytest.mark.slow
def test_long_runs_reach_every_situation() -> None:
    """Fixed seeds, so that a random test that no longer gets anywhere is noticed."""
    reached: Counter[str] = Counter()
    for number, boot in enumerate(STAGES.values()):
        reached += long_run(Pair(boot, Random(1)), 100 + number).reached
    assert {name: reached[name] for name in SITUATIONS if not reached[name]} == {}
