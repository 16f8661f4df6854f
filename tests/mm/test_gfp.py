"""GFP masks: names, values, what they mean, and which the kernel would warn of."""

from typing import Any

import pytest

from kmsim.mm.gfp import (
    ALLOC_HIGHATOMIC,
    ALLOC_KSWAPD,
    ALLOC_MIN_RESERVE,
    ALLOC_NON_BLOCK,
    GFP_FLAGS,
    gfp_problem,
    gfp_to_alloc_flags,
    gfp_zone,
    parse_gfp,
)
from kmsim.mm.mmzone import ZONE_DMA, ZONE_DMA32, ZONE_MOVABLE, ZONE_NORMAL


def plain(function: Any) -> Any:
    """A compiled helper as the Python function that it was."""
    return getattr(function, "py_func", function)


@pytest.mark.parametrize(
    ("text", "value"),
    [  # as real kernels printed them
        ("GFP_KERNEL", 0xCC0),
        ("GFP_ATOMIC", 0x820),
        ("GFP_NOWAIT", 0x2800),
        ("GFP_NOIO", 0xC00),
        ("GFP_NOFS", 0xC40),
        ("GFP_USER", 0x100CC0),
        ("GFP_HIGHUSER", 0x100CC2),
        ("GFP_HIGHUSER_MOVABLE", 0x100CCA),
        ("GFP_TRANSHUGE_LIGHT", 0x1C20CA),
        ("GFP_TRANSHUGE", 0x1C24CA),
        ("GFP_KERNEL | __GFP_ZERO", 0xDC0),
        ("GFP_KERNEL & ~__GFP_DIRECT_RECLAIM | __GFP_NORETRY", 0x108C0),
    ],
)
def test_a_mask_has_the_kernels_value(text: str, value: int) -> None:
    assert parse_gfp(text) == value


def test_single_flags_are_single_bits_and_differ() -> None:
    composites = {"__GFP_RECLAIM"}
    bits = [value for name, value in GFP_FLAGS.items() if name.startswith("__") and name not in composites and value]
    assert all(value & (value - 1) == 0 for value in bits)
    assert len(set(bits)) == len(bits)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("GFP_KERNLE", "'GFP_KERNLE' is not a GFP flag"),
        ("", "'' is not a GFP flag"),
        ("GFP_KERNEL & __GFP_IO", "'__GFP_IO' after & must be ~ and a GFP flag"),
        ("GFP_KERNEL & ~IO", "'IO' is not a GFP flag"),
    ],
)
def test_a_bad_word_is_named(text: str, message: str) -> None:
    with pytest.raises(ValueError, match="^" + message.replace("(", r"\(") + "$"):
        parse_gfp(text)


@pytest.mark.parametrize(
    ("text", "zone"),
    [
        ("GFP_KERNEL", ZONE_NORMAL),
        ("GFP_KERNEL | __GFP_MOVABLE", ZONE_NORMAL),
        ("GFP_HIGHUSER", ZONE_NORMAL),
        ("GFP_HIGHUSER_MOVABLE", ZONE_MOVABLE),
        ("GFP_DMA", ZONE_DMA),
        ("GFP_DMA | __GFP_MOVABLE", ZONE_DMA),
        ("GFP_DMA32", ZONE_DMA32),
        ("GFP_DMA32 | __GFP_MOVABLE", ZONE_DMA32),
    ],
)
def test_the_zone_bits_name_the_highest_zone(text: str, zone: int) -> None:
    assert plain(gfp_zone)(parse_gfp(text)) == zone
    assert gfp_problem(parse_gfp(text), 0) is None


@pytest.mark.parametrize(
    "text", ["GFP_DMA | GFP_DMA32", "GFP_HIGHUSER | __GFP_DMA", "GFP_HIGHUSER_MOVABLE | GFP_DMA32"]
)
def test_zone_bits_that_exclude_each_other_are_refused(text: str) -> None:
    problem = gfp_problem(parse_gfp(text), 0)
    assert problem is not None
    assert "__GFP_DMA32" in problem
    with pytest.raises(AssertionError, match="exclude"):
        plain(gfp_zone)(parse_gfp(text))


@pytest.mark.parametrize(
    ("text", "order", "problem"),
    [
        ("GFP_KERNEL", 10, None),
        ("GFP_KERNEL | __GFP_NOFAIL", 1, None),
        ("GFP_KERNEL | __GFP_NOFAIL", 2, "order 0 or 1 where __GFP_NOFAIL is given"),
        ("GFP_NOWAIT | __GFP_NOFAIL", 0, "__GFP_DIRECT_RECLAIM where __GFP_NOFAIL is given"),
        ("GFP_HIGHUSER_MOVABLE | __GFP_RECLAIMABLE", 0, "not both __GFP_MOVABLE and __GFP_RECLAIMABLE"),
    ],
)
def test_what_the_kernel_warns_of_is_refused(text: str, order: int, problem: str | None) -> None:
    assert gfp_problem(parse_gfp(text), order) == problem


@pytest.mark.parametrize(
    ("text", "order", "flags"),
    [
        ("GFP_KERNEL", 3, ALLOC_KSWAPD),
        ("GFP_NOWAIT", 3, ALLOC_KSWAPD | ALLOC_NON_BLOCK),
        ("GFP_ATOMIC", 0, ALLOC_KSWAPD | ALLOC_MIN_RESERVE | ALLOC_NON_BLOCK),
        ("GFP_ATOMIC", 1, ALLOC_KSWAPD | ALLOC_MIN_RESERVE | ALLOC_NON_BLOCK | ALLOC_HIGHATOMIC),
        ("GFP_ATOMIC | __GFP_NOMEMALLOC", 1, ALLOC_KSWAPD | ALLOC_MIN_RESERVE),
        ("GFP_KERNEL | __GFP_HIGH", 1, ALLOC_KSWAPD | ALLOC_MIN_RESERVE),
        ("GFP_DMA", 0, ALLOC_NON_BLOCK),
    ],
)
def test_flags_become_reserves(text: str, order: int, flags: int) -> None:
    assert plain(gfp_to_alloc_flags)(parse_gfp(text), order) == flags
