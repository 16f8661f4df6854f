"""Quantiles and their confidence intervals by order statistics, of samples and of histograms.

The number of observations below the true quantile q is binomial, whatever their distribution is: so the
interval goes from one rank to another, and covers the truth at least as often as it says. Where no rank is far
enough out (p99.9 of 100 observations), that end is NaN: nothing is known there. Of a histogram, the ends are
those of the buckets in which the ranks lie. Observations have to be independent; latencies of one run are only
nearly so, and their interval is too narrow.

Source: David and Nagaraja, Order Statistics (2003), section 7.1.
"""

from __future__ import annotations

from functools import lru_cache
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike

from kmsim.study.statistics import CONFIDENCE, Floats, Ints, finite


class Quantile(NamedTuple):
    """A quantile of n observations and its confidence interval."""

    n: int
    value: float
    low: float
    high: float


class Quantiles(NamedTuple):
    """Several quantiles of one histogram: arrays."""

    n: int
    value: Floats
    low: Floats
    high: Floats


def quantile_interval(values: ArrayLike, q: float, confidence: float = CONFIDENCE) -> Quantile:
    """The quantile 0 < q < 1 of independent observations: the smallest value that q of them do not exceed."""
    found = np.sort(finite(values))
    n = len(found)
    if n == 0:
        return Quantile(0, np.nan, np.nan, np.nan)
    low, high = ranks(n, np.array([q]), confidence)
    value = found[_rank(n, np.array([q]))[0] - 1]
    return Quantile(
        n,
        float(value),
        float(found[low[0] - 1]) if low[0] > 0 else np.nan,
        float(found[high[0] - 1]) if high[0] <= n else np.nan,
    )


def histogram_quantiles(
    low: ArrayLike, high: ArrayLike, count: ArrayLike, q: ArrayLike, confidence: float = CONFIDENCE
) -> Quantiles:
    """Quantiles of a histogram whose buckets, in ascending order, hold `count` values from low up to high.

    The value is the middle of its bucket.
    """
    counts = np.asarray(count, np.int64)
    ends = np.asarray(low, np.float64), np.asarray(high, np.float64)
    wanted = np.atleast_1d(np.asarray(q, np.float64))
    n = int(counts.sum())
    if n == 0:
        nothing = np.full(len(wanted), np.nan)
        return Quantiles(0, nothing, nothing, nothing)
    last = np.cumsum(counts)  # the rank of the last value of each bucket

    def of_rank(rank: Ints, bounds: Floats) -> Floats:
        place = np.searchsorted(last, np.clip(rank, 1, n))
        found: Floats = np.where((rank >= 1) & (rank <= n), bounds[place], np.nan)
        return found

    from_rank, to_rank = ranks(n, wanted, confidence)
    middle = of_rank(_rank(n, wanted), (ends[0] + ends[1]) / 2)
    return Quantiles(n, middle, of_rank(from_rank, ends[0]), of_rank(to_rank, ends[1]))


def ranks(n: int, q: Floats, confidence: float = CONFIDENCE) -> tuple[Ints, Ints]:
    """The ranks (from 1) between which the true quantiles lie; 0 and n + 1 where no rank is far enough out."""
    each = [_ranks(n, share, confidence) for share in q.tolist()]
    return np.array([low for low, _ in each], np.int64), np.array([high for _, high in each], np.int64)


@lru_cache(4096)  # the runs of a sweep have the same numbers of operations
def _ranks(n: int, q: float, confidence: float) -> tuple[int, int]:
    from scipy.stats import binom

    tail = (1 - confidence) / 2
    return int(binom.ppf(tail, n, q)), int(binom.ppf(1 - tail, n, q)) + 1


def _rank(n: int, q: Floats) -> Ints:
    """The rank of a quantile: a share of at least q lies at or below it; 1e-9 undoes the rounding of q * n."""
    found: Ints = np.clip(np.ceil(q * n - 1e-9), 1, n).astype(np.int64)
    return found
