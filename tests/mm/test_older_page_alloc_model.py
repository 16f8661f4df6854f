"""Random operations on random machines of older releases: the page allocator and their slow twins agree.

What the releases do otherwise is told by their source; recordings decide some of it (`tests/validation`).
"""

from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kmsim.mm.memblock import Boot
from kmsim.mm.mm_init import PfnRange

from .machines import boot_of, boots
from .older_pair import TWINS, OlderPair
from .phases import PHASES, Phase, long_run, run
from .test_page_alloc_model import STAGES
from .test_page_exact import ExactPair

RELEASES = tuple(TWINS)


@pytest.mark.slow
@pytest.mark.parametrize("release", RELEASES)
@given(boot=boots(), phases=st.lists(PHASES, min_size=3, max_size=8))
def test_a_random_machine_decides_as_its_releases_twin(release: str, boot: Boot, phases: list[Phase]) -> None:
    pair = run(OlderPair(boot, release), phases)
    assert pair.records() == pair.twin.state()


SITUATIONS = (
    "move",
    "not_moved",
    "kept_type",
    "other_list",
    "kept_back",
    "boost",
    "highatomic",
    "from_highatomic",
    "unreserve",
    "nofragment_refused",
    "reserves",
    "no_watermarks",
    "lower_zone",
    "locked",
    "checked",
    "nopage",
    "needs_slow_path",
)
OF_RELEASE: dict[str, tuple[str, ...]] = {"6.1": ("free_factor", "free_high"), "5.10": ()}


class OlderExactPair(OlderPair, ExactPair):
    """A machine of a release and its twin that also have exact pages, and chains if there is a bulk allocator."""

    def chain(self, cpu: int, gfp: int, nr_pages: int) -> None:
        """Allocate a chain, if the kernel can."""
        if self.has_bulk:
            super().chain(cpu, gfp, nr_pages)


@pytest.mark.parametrize("release", RELEASES)
def test_random_exact_pages_of_older_releases_are_the_twins(release: str) -> None:
    pair = OlderExactPair(boot_of(ram=(PfnRange(0, 9000),)), release)
    pair.run(250)
    assert pair.reached["spared"] > 10
    assert pair.reached["nopage"] + pair.reached["needs_slow_path"] > 0


@pytest.mark.slow
@pytest.mark.parametrize("release", RELEASES)
def test_long_runs_of_older_releases_reach_every_situation(release: str) -> None:
    """Fixed seeds, so that a random test that no longer gets anywhere is noticed."""
    reached: Counter[str] = Counter()
    for number, boot in enumerate(STAGES.values()):
        reached += long_run(OlderPair(boot, release), 100 + number).reached
    assert [name for name in SITUATIONS + OF_RELEASE[release] if not reached[name]] == []
