"""Is one better than the other: differences of means, with intervals and tests.

Runs are *paired* where they saw the same random numbers: then what is common to both cancels in the
difference, and the interval is that of the differences (t), not that of two means (Welch). What the common
numbers save is the *variance ratio*: the variance of the differences over the sum of both variances, about 1
where runs have nothing in common, and below 1 where pairs help. Common random numbers help where the requests
that were drawn decide the response; where it hangs on who waits for whom at a contended lock, points soon have
different stories, and the ratio stays near 1.

Bootstrap intervals are BCa (scipy), of `NR_RESAMPLES` resamples drawn from a stream by name: the same call has
the same interval, whatever else is computed. Of few pairs they are too narrow (of 10 pairs they cover 90 %, of
60 they cover 94 %: `tests/validation/test_lock_queues.py`); t is there for those. Equal differences give an
interval without a width, p = 0 where the difference is not 0, and p = 1 where it is. Values that are equal but for
rounding are equal (`statistics.differences`).

Sources: Welch (1947); Efron, Better Bootstrap Confidence Intervals (1987); Holm, A Simple Sequentially Rejective
Multiple Test Procedure (1979).
"""

from __future__ import annotations

import warnings
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike

from kmsim.study.statistics import CONFIDENCE, Floats, Ints, Moments, differences, moments, t_quantile
from kmsim.workload.seeds import stream

NR_RESAMPLES = 1_999  # with one more, 2.5 % of them is a whole number
RESAMPLES_BYTES_MAX = 1 << 26  # what is resampled at once


class Difference(NamedTuple):
    """Level minus baseline: n pairs, both means, the intervals by t and by bootstrap, p, and the variance ratio."""

    n: int
    baseline_mean: float
    difference: float
    low: float
    high: float
    boot_low: float
    boot_high: float
    p: float
    variance_ratio: float


class Differences(NamedTuple):
    """The same of many groups: arrays, without the bootstrap."""

    n: Ints
    baseline_mean: Floats
    difference: Floats
    low: Floats
    high: Floats
    p: Floats
    variance_ratio: Floats


class Observations(NamedTuple):
    """Values, and to which group each of them belongs."""

    group: Ints
    value: Floats


def paired_difference(
    baseline: ArrayLike, level: ArrayLike, name: str = "", confidence: float = CONFIDENCE
) -> Difference:
    """Level minus baseline, pair by pair, where both are finite; `name` is that of the bootstrap's stream."""
    a, b = np.asarray(baseline, np.float64), np.asarray(level, np.float64)
    both = np.isfinite(a) & np.isfinite(b)
    group = np.zeros(int(both.sum()), np.int64)
    found = paired_differences(group, a[both], b[both], 1, confidence)
    boot = bootstrap_intervals(name, [Observations(group, differences(b[both], a[both]))], 1, confidence)
    return Difference(
        int(found.n[0]),
        float(found.baseline_mean[0]),
        float(found.difference[0]),
        float(found.low[0]),
        float(found.high[0]),
        float(boot[0][0]),
        float(boot[1][0]),
        float(found.p[0]),
        float(found.variance_ratio[0]),
    )


def paired_differences(
    group: Ints, baseline: Floats, level: Floats, nr_groups: int, confidence: float = CONFIDENCE
) -> Differences:
    """Of each group of pairs of finite values: level minus baseline, with t."""
    apart = moments(group, differences(level, baseline), nr_groups)
    of_baseline, of_level = moments(group, baseline, nr_groups), moments(group, level, nr_groups)
    error = apart.sd / np.sqrt(np.maximum(apart.n, 1))
    freedom = (apart.n - 1).astype(np.float64)
    width = t_quantile(freedom, confidence) * error
    both = of_baseline.sd**2 + of_level.sd**2
    saved = np.divide(apart.sd**2, both, out=np.full(nr_groups, np.nan), where=both > 0)
    p = _p_of_no_difference(apart.mean, error, freedom)
    return Differences(apart.n, of_baseline.mean, apart.mean, apart.mean - width, apart.mean + width, p, saved)


def unpaired_differences(baseline: Moments, level: Moments, confidence: float = CONFIDENCE) -> Differences:
    """For each group: the level's mean minus the baseline's, of independent samples (Welch); n of the smaller."""
    variances = [of.sd**2 / np.maximum(of.n, 1) for of in (baseline, level)]
    error = np.sqrt(variances[0] + variances[1])
    parts = sum(
        variance**2 / np.maximum(of.n - 1, 1) for variance, of in zip(variances, (baseline, level), strict=True)
    )
    nothing = np.full(len(error), np.nan)
    # Without any variance the interval has no width, whatever the degrees of freedom are.
    freedom: Floats = np.where(error == 0, 1.0, np.divide(error**4, parts, out=nothing.copy(), where=parts > 0))
    apart = differences(level.mean, baseline.mean)
    width = t_quantile(freedom, confidence) * error
    p = _p_of_no_difference(apart, error, freedom)
    n = np.minimum(baseline.n, level.n)
    return Differences(n, baseline.mean, apart, apart - width, apart + width, p, nothing)


def variance_ratio(baseline: ArrayLike, level: ArrayLike) -> float:
    """The variance of paired differences over the sum of both variances; NaN where neither varies."""
    return paired_difference(baseline, level).variance_ratio


def _p_of_no_difference(apart: Floats, error: Floats, freedom: Floats) -> Floats:
    """The probability of a difference at least this large if there is none (two-sided t)."""
    from scipy.special import stdtr

    t = np.divide(np.abs(apart), error, out=np.full(len(apart), np.nan), where=error > 0)
    p = 2 * stdtr(freedom, -t)
    return np.where(error == 0, np.where(apart == 0, 1.0, 0.0), p)


def holm(p: ArrayLike) -> Floats:
    """Holm-adjusted p-values: in at most 5 % of families is any below 0.05 by chance alone; NaN is not a test."""
    given = np.asarray(p, np.float64)
    tested = np.flatnonzero(~np.isnan(given))
    order = tested[np.argsort(given[tested], kind="stable")]
    found = np.full(len(given), np.nan)
    found[order] = np.minimum(np.maximum.accumulate(given[order] * np.arange(len(order), 0, -1)), 1)
    return found


def holm_in_each(family: Ints, p: Floats) -> Floats:
    """The same within each family of tests (Holm, A simple sequentially rejective multiple test procedure, 1979)."""
    found = np.full(len(p), np.nan)
    for one in np.unique(family):
        found[family == one] = holm(p[family == one])
    return found


def bootstrap_intervals(
    name: str, samples: list[Observations], nr_groups: int, confidence: float = CONFIDENCE
) -> tuple[Floats, Floats]:
    """BCa intervals of each group's mean, or of two samples, of the second's mean minus the first's.

    A group's interval depends on `name` and its own values alone. NaN of fewer than two values.
    """
    ordered = [_in_order(sample) for sample in samples]
    sizes = np.stack([np.bincount(sample.group, minlength=nr_groups) for sample in ordered])
    starts = np.cumsum(sizes, axis=1) - sizes
    low, high = np.full(nr_groups, np.nan), np.full(nr_groups, np.nan)
    for size in np.unique(sizes, axis=1).T:
        if size.min() < 2:
            continue
        groups = np.flatnonzero((sizes == size[:, None]).all(axis=0))
        at_once = max(1, RESAMPLES_BYTES_MAX // (8 * NR_RESAMPLES * int(size.sum())))
        for k in range(0, len(groups), at_once):
            some = groups[k : k + at_once]
            rows = [
                sample.value[start[some][:, None] + np.arange(n)]
                for sample, start, n in zip(ordered, starts, size, strict=True)
            ]
            low[some], high[some] = _bca(name, rows, confidence)
    return low, high


def _in_order(sample: Observations) -> Observations:
    order = np.argsort(sample.group, kind="stable")
    return Observations(sample.group[order], sample.value[order])


def _bca(name: str, rows: list[Floats], confidence: float) -> tuple[Floats, Floats]:
    """Of each row; where all values of a row are equal, the interval has no width."""
    from scipy.stats import DegenerateDataWarning, bootstrap

    with warnings.catch_warnings(), np.errstate(invalid="ignore"):
        warnings.simplefilter("ignore", DegenerateDataWarning)
        interval = bootstrap(
            rows,
            _mean_difference,
            axis=-1,
            vectorized=True,
            n_resamples=NR_RESAMPLES,
            confidence_level=confidence,
            rng=stream(0, f"bootstrap {name}"),
        ).confidence_interval
    equal = np.all([differences(row.max(axis=1), row.min(axis=1)) == 0 for row in rows], axis=0)
    known = _mean_difference(*(row[:, -1] for row in rows))  # the one that `moments` takes
    return np.where(equal, known, interval.low), np.where(equal, known, interval.high)


def _mean_difference(*samples: Floats, axis: int | None = None) -> Floats:
    """The mean of one sample, or the second's minus the first's."""
    means = samples if axis is None else [sample.mean(axis=axis) for sample in samples]
    return means[0] if len(means) == 1 else differences(means[1], means[0])
