"""GFP flags in words: as the kernel's tracepoints print them, and read back as the same mask."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kmsim.metrics.gfp_names import gfp_names, gfp_of_names
from kmsim.mm.gfp import GFP_FLAGS, parse_gfp

NAMED = sorted({name for name in GFP_FLAGS if GFP_FLAGS[name]})


@pytest.mark.parametrize(
    "words",
    [
        "GFP_KERNEL",
        "GFP_ATOMIC",
        "GFP_NOWAIT",
        "GFP_KERNEL_ACCOUNT",
        "GFP_HIGHUSER_MOVABLE|__GFP_ZERO",
        "GFP_KERNEL|__GFP_RECLAIMABLE",
        "GFP_TRANSHUGE_LIGHT",
        "GFP_TRANSHUGE",
        "GFP_USER|GFP_DMA32",
        "__GFP_ZERO",
    ],
)
def test_composites_come_first_and_the_rest_follows(words: str) -> None:
    assert gfp_names(parse_gfp(words)) == words


def test_a_flag_taken_away_leaves_the_largest_composite_within() -> None:
    assert gfp_names(parse_gfp("GFP_KERNEL & ~__GFP_FS")) == "GFP_NOFS"
    assert gfp_names(parse_gfp("GFP_USER & ~__GFP_IO")) == "GFP_NOIO|__GFP_FS|__GFP_HARDWALL"


def test_no_flag_and_flags_without_a_name() -> None:
    assert gfp_names(0) == "none"
    assert gfp_names(1 << 30 | GFP_FLAGS["GFP_DMA"]) == "GFP_DMA|0x40000000"


@given(st.sets(st.sampled_from(NAMED)))
def test_the_words_are_read_back_as_the_same_mask(names: set[str]) -> None:
    mask = 0
    for name in names:
        mask |= GFP_FLAGS[name]
    words = gfp_names(mask)
    assert (parse_gfp(words) if mask else 0) == mask
    assert len(words.split("|")) <= max(mask.bit_count(), 1)  # composites take the place of their flags


@given(st.integers(0, (1 << 30) - 1))
def test_names_are_read_back(gfp: int) -> None:
    assert gfp_of_names(gfp_names(gfp)) == gfp
