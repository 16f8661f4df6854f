"""Means of what runs yield, and how far they can be trusted.

Words, here and in `paired`, `quantiles` and `estimates`:
    observation  one number that is independent of the others: of a replication, or nearly so of a long batch
    group        the observations of which one mean is taken: of one response at one point
    half_width   half of the confidence interval, relative to the mean: 0.05 is "+- 5 %"
    batch        a stretch of one long run, so long that its mean knows little of the one before

Everything works on many groups at once: `group` says of each observation to which it belongs. Numbers that
are not finite are left out, and `n` says how many are left. What is equal but for rounding is equal
(`differences`). Degenerate groups: of no observation, the mean is NaN; of one, the interval is NaN; of equal
ones, the interval has no width; around a mean of 0, `half_width` is NaN unless the interval has no width.

Sources: Student's t; von Neumann's ratio as a test of batches: Fishman, Principles of Discrete Event Simulation
(1978), Alexopoulos and Seila, Output Data Analysis (Handbook of Simulation, 1998).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]

CONFIDENCE = 0.95
NR_BATCHES = 20  # Schmeiser, Batch Size Effects in the Analysis of Simulation Output (1982): 10 to 30 are enough
ROUNDING = 2.0**-50  # four units in the last place: a response is made of whole numbers by two or three operations


class Mean(NamedTuple):
    """The mean of some observations and its confidence interval; `half_width` is relative."""

    n: int
    mean: float
    sd: float
    low: float
    high: float
    half_width: float


class BatchMean(NamedTuple):
    """A mean by batches; `lag_1` is their correlation with the batch before, `p` that of independence."""

    mean: Mean
    lag_1: float
    p: float


class Moments(NamedTuple):
    """Of each group: how many observations there are, their mean and their standard deviation."""

    n: Ints
    mean: Floats
    sd: Floats


def mean_interval(values: ArrayLike, confidence: float = CONFIDENCE) -> Mean:
    """The mean of independent observations, with Student's t."""
    found = finite(values)
    n, mean, sd = moments(np.zeros(len(found), np.int64), found, 1)
    width = t_width(n, sd, confidence)
    columns = (mean, sd, mean - width, mean + width, relative_width(mean, width))
    return Mean(int(n[0]), *(float(column[0]) for column in columns))


def batch_mean_interval(batches: ArrayLike, confidence: float = CONFIDENCE) -> BatchMean:
    """The mean of one run by the means of its batches, in their order; a small `p` says that they are too short.

    A large one says little: with 20 batches, a correlation of 0.1 is seen in one run of five.
    """
    found = finite(batches)
    lag_1, p = von_neumann(np.zeros(len(found), np.int64), found, 1)
    return BatchMean(mean_interval(found, confidence), float(lag_1[0]), float(p[0]))


def batch_means(series: ArrayLike, nr_batches: int = NR_BATCHES) -> Floats:
    """The means of batches of one length; what is left over is dropped at the beginning, where a run warms up."""
    values = np.asarray(series, np.float64)
    length = len(values) // nr_batches
    assert length > 0, "fewer observations than batches"
    found: Floats = values[len(values) - nr_batches * length :].reshape(nr_batches, length).mean(axis=1)
    return found


def finite(values: ArrayLike) -> Floats:
    """The numbers that are finite."""
    numbers = np.asarray(values, np.float64).ravel()
    found: Floats = numbers[np.isfinite(numbers)]
    return found


def moments(group: Ints, values: Floats, nr_groups: int) -> Moments:
    """Mean and standard deviation of each group of finite values; equal values have exactly no deviation.

    The mean of values that are equal but for rounding is one of them.
    """
    n = np.bincount(group, minlength=nr_groups)
    origin = np.zeros(nr_groups)
    origin[group] = values  # any value of the group: sums of differences from it lose nothing
    apart = differences(values, origin[group])
    shift = _quotient(_sums(group, apart, nr_groups), n)
    apart -= shift[group]
    squares = _sums(group, apart * apart, nr_groups)
    mean = np.where(n > 0, origin + shift, np.nan)
    return Moments(n, mean, np.sqrt(_quotient(squares, n - 1)))


def differences(a: Floats, b: Floats) -> Floats:
    """a - b of finite values, elementwise; exactly 0 where they are equal but for rounding."""
    found: Floats = np.where(np.isclose(a, b, rtol=ROUNDING, atol=0.0), 0.0, a - b)
    return found


def t_width(n: Ints, sd: Floats, confidence: float = CONFIDENCE) -> Floats:
    """Half of the confidence interval of each mean, in the response's unit; NaN of fewer than two observations."""
    return t_quantile(n - 1, confidence) * sd / np.sqrt(np.maximum(n, 1))


def t_quantile(freedom: Ints | Floats, confidence: float = CONFIDENCE) -> Floats:
    """How many standard errors the interval reaches to either side; NaN without a degree of freedom."""
    from scipy.special import stdtrit

    distinct, place = np.unique(np.asarray(freedom, np.float64), return_inverse=True)
    found: Floats = stdtrit(np.where(distinct > 0, distinct, np.nan), (1 + confidence) / 2)[place]
    return found


def relative_width(mean: Floats, width: Floats) -> Floats:
    """The half width relative to the mean: 0 if the half width is 0, NaN if only the mean is."""
    return np.where(width == 0, 0.0, _quotient(width, np.abs(mean)))


def von_neumann(group: Ints, values: Floats, nr_groups: int) -> tuple[Floats, Floats]:
    """For each group, in its order: the correlation at lag 1, and the probability of so much in independent values.

    NaN of fewer than three values, or equal ones. The alternative is that neighbours are alike.
    """
    from scipy.special import ndtr

    order = np.argsort(group, kind="stable")
    group, values = group[order], values[order]
    n, mean, sd = moments(group, values, nr_groups)
    together = group[1:] == group[:-1]
    steps = np.bincount(group[1:][together], np.diff(values)[together] ** 2, nr_groups)
    tested = (n > 2) & (sd > 0)
    squares = np.where(tested, sd * sd * (n - 1), np.nan)
    alike = 1 - steps / (2 * squares)
    spread = np.sqrt(np.where(tested, (n - 2) / np.maximum(n * n - 1.0, 1), np.nan))
    # In the sum of steps, either end counts once and all others twice: without the ends, it is the correlation.
    first, last = _ends(group, values, nr_groups)
    lag_1 = alike - ((first - mean) ** 2 + (last - mean) ** 2) / (2 * squares)
    p: Floats = ndtr(-alike / spread)
    return lag_1, p


def _ends(group: Ints, values: Floats, nr_groups: int) -> tuple[Floats, Floats]:
    """The first and the last value of each group; groups are in order."""
    first, last = np.full(nr_groups, np.nan), np.full(nr_groups, np.nan)
    last[group] = values
    first[group[::-1]] = values[::-1]
    return first, last


def _sums(group: Ints, values: Floats, nr_groups: int) -> Floats:
    """The sum of each group."""
    found: Floats = np.bincount(group, values, nr_groups).astype(np.float64, copy=False)
    return found


def _quotient(a: Floats, b: Floats | Ints) -> Floats:
    """a / b; NaN where b is not above 0."""
    found: Floats = np.divide(a, b, out=np.full(np.shape(a), np.nan), where=np.asarray(b) > 0)
    return found


def sequential_done(values: Sequence[float] | Floats, half_width: float, at_least: int) -> bool:
    """Are these replications enough: so many that yield a number, and the interval as narrow as asked for?

    A response that no run yields is never done: that is for the cap. Stopping at the first n that does covers
    the truth a little less often than the confidence says (Law, Simulation Modeling and Analysis, section 9.4.1):
    93.5 % with at least 10 for +- 5 % (`tests/validation/test_lock_queues.py`).
    """
    found = mean_interval(values)
    return found.n >= max(at_least, 2) and found.half_width <= half_width
