"""Latency histograms with a bounded relative error (after HdrHistogram).

A bucket is the value's top bits: its power of two and the next `SUB_BITS` bits, so a bucket is at
most 1/128 of its values wide and no logarithm is taken. A quantile is read as the middle of its
bucket, less than 0.4 % off; count, sum and maximum are exact.
"""

import numpy as np
from numpy.typing import NDArray

from kmsim.jit import core, entry, small

SUB_BITS = 7
NR_BUCKETS = (64 - SUB_BITS) << SUB_BITS

Counts = NDArray[np.int64]


@small
def bucket_of(value: int) -> int:
    """The bucket of a value >= 0."""
    exponent = 0
    top = value >> (SUB_BITS + 1)
    step = 32
    while step:
        if top >> step:
            exponent += step
            top >>= step
        step >>= 1
    if value >> (SUB_BITS + 1):
        exponent += 1
    return (exponent << SUB_BITS) + (value >> exponent)


def bucket_bounds() -> tuple[Counts, Counts]:
    """The lowest value of each bucket, and of the one after it; int64 arrays of NR_BUCKETS."""
    index = np.arange(NR_BUCKETS + 1, dtype=np.int64)
    exponent = np.maximum((index >> SUB_BITS) - 1, 0)
    mantissa = index - (exponent << SUB_BITS)
    low = np.minimum(mantissa.astype(np.float64) * 2.0**exponent, 2.0**62).astype(np.int64)
    return low[:-1], low[1:]


@core
def record(counts: Counts, totals: Counts, value: int) -> None:
    """Count a value; `totals` holds count, sum and maximum."""
    counts[bucket_of(value)] += 1
    totals[0] += 1
    totals[1] += value
    totals[2] = max(totals[2], value)


@entry
def record_entry(counts: Counts, totals: Counts, value: int) -> None:
    """`record` for Python callers."""
    record(counts, totals, value)


def quantile(counts: Counts, q: float) -> float:
    """The q-quantile, read as the middle of its bucket; NaN where nothing was counted."""
    total = int(counts.sum())
    if not total:
        return float("nan")
    rank = max(1, int(np.ceil(q * total)))
    bucket = int(np.searchsorted(np.cumsum(counts), rank))
    low, high = bucket_bounds()
    return (float(low[bucket]) + float(high[bucket] - 1)) / 2
