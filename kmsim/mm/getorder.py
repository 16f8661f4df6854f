"""Bytes as an order of pages (kernel: asm-generic/getorder.h, linux/log2.h)."""

from kmsim.jit import shared
from kmsim.mm.indices import Order


@shared
def get_order(nr_bytes: int, page_shift: int) -> Order:
    """The order of the smallest block that holds so many bytes, at least 1 (kernel: get_order).

    It may be larger than the machine's largest order.
    """
    order = 0
    left = (nr_bytes - 1) >> page_shift
    while left:
        order += 1
        left >>= 1
    return order


def ilog2(number: int) -> int:
    """The base-2 logarithm of a number, rounded down; of a page's size in bytes, this is PAGE_SHIFT (kernel: ilog2)."""
    return number.bit_length() - 1
