"""Orders of sizes, in Python and compiled."""

import pytest

from kmsim.jit import entry
from kmsim.mm.getorder import get_order, ilog2
from kmsim.mm.limits import S64_MAX


@entry
def compiled(nr_bytes: int, page_shift: int) -> int:
    """`get_order` as compiled code has it."""
    return get_order(nr_bytes, page_shift)


@pytest.mark.parametrize(
    ("nr_bytes", "page_shift", "order"),
    [
        (1, 12, 0),
        (4096, 12, 0),
        (4097, 12, 1),
        (8193, 12, 2),
        (1 << 22, 12, 10),
        ((1 << 22) + 1, 12, 11),
        (65_537, 16, 1),
        (S64_MAX, 12, 51),
    ],
)
def test_the_smallest_block_that_holds_the_bytes(nr_bytes: int, page_shift: int, order: int) -> None:
    assert get_order(nr_bytes, page_shift) == order
    assert compiled(nr_bytes, page_shift) == order


def test_a_shift_is_a_page_sizes_logarithm() -> None:
    assert [ilog2(page_size) for page_size in (1, 4096, 16_384, 65_536)] == [0, 12, 14, 16]
