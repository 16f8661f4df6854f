"""Latency histograms with a bounded relative error (after HdrHistogram).

A bucket is the value's top bits: its power of two and the next `SUB_BITS` bits, so a bucket is at
most 1/128 of its values wide and no logarithm is taken. A quantile is read as the middle of its
bucket, less than 0.4 % off.
"""

from functools import cache

import numpy as np
from numpy.typing import NDArray

from kmsim.jit import small

SUB_BITS = 7
NR_BUCKETS = (64 - SUB_BITS) << SUB_BITS

_MANTISSA_BITS = 52  # of a float64; its exponent is _BIAS more than the whole number's bit length
_BIAS = 1022

Counts = NDArray[np.int64]


@small
def bucket_of(value: int) -> int:
    """The bucket of a value >= 0."""
    top = np.float64(value >> (SUB_BITS + 1))  # what is rounded up to a power of 2 is put into the same bucket
    exponent = max(int(top.view(np.int64) >> _MANTISSA_BITS) - _BIAS, 0)  # its bit length; that of 0 is 0
    return (exponent << SUB_BITS) + (value >> exponent)


@cache
def bucket_bounds() -> tuple[Counts, Counts]:
    """The lowest value of each bucket, and of the one after it; int64 arrays of NR_BUCKETS, not to be written."""
    index = np.arange(NR_BUCKETS + 1, dtype=np.int64)
    exponent = np.maximum((index >> SUB_BITS) - 1, 0)
    mantissa = index - (exponent << SUB_BITS)
    low = np.minimum(mantissa.astype(np.float64) * 2.0**exponent, 2.0**62).astype(np.int64)
    low.setflags(write=False)
    return low[:-1], low[1:]


def ranked(counts: Counts, first: Counts, thousandths: int) -> Counts:
    """Where a quantile lies, for many histograms at once: for each, an index into `counts`.

    `counts` are the filled buckets of one histogram after the other, each in ascending order; `first`
    is where each begins, so none is empty. The quantile of 500 thousandths is the median.
    """
    assert not len(first) or first[0] == 0
    assert (counts > 0).all(), "only filled buckets"
    if not len(first):
        return first
    cumulative = np.cumsum(counts)
    before = cumulative[first] - counts[first]
    total = np.diff(before, append=cumulative[-1])
    rank = np.maximum(-(-total * thousandths // 1000), 1)
    places: Counts = np.searchsorted(cumulative, before + rank)
    return places
