"""Latency histograms: where a value is counted, and what is read back."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from kmsim.jit import entry
from kmsim.metrics.histogram import NR_BUCKETS, bucket_bounds, bucket_of, ranked

LARGEST = (1 << 62) - 1  # picoseconds: 53 simulated days
THOUSANDTHS = (1, 250, 500, 900, 990, 999, 1000)

Ints = NDArray[np.int64]


@entry
def count(counts: Ints, values: Ints) -> None:
    """Count values as the event core does."""
    for value in values:
        counts[bucket_of(value)] += 1


def counted(values: list[int] | Ints) -> Ints:
    counts = np.zeros(NR_BUCKETS, np.int64)
    count(counts, np.asarray(values, np.int64))
    return counts


def middles(histograms: list[Ints], thousandths: int) -> list[float]:
    """The quantile of each of several histograms, none empty."""
    filled = [np.flatnonzero(counts) for counts in histograms]
    first = np.cumsum([0, *map(len, filled[:-1])])
    counts = np.concatenate([counts[buckets] for counts, buckets in zip(histograms, filled, strict=True)])
    low, high = bucket_bounds()
    bucket = np.concatenate(filled)[ranked(counts, first, thousandths)]
    return [float(middle) for middle in (low[bucket] + high[bucket] - 1) / 2]


def bounds_of(value: int) -> tuple[int, int]:
    """The bounds of the one bucket that the value was counted in."""
    (bucket,) = np.flatnonzero(counted([value]))
    low, high = bucket_bounds()
    return int(low[bucket]), int(high[bucket])


@pytest.mark.parametrize("exponent", range(62))
def test_a_bucket_contains_what_it_counts_at_every_magnitude(exponent: int) -> None:
    for value in ((1 << exponent) - 1, 1 << exponent, (1 << exponent) + 1, (3 << exponent) >> 1):
        low, high = bounds_of(value)
        assert low <= value < high


@given(st.integers(0, LARGEST))
def test_a_bucket_contains_any_value_it_counts(value: int) -> None:
    low, high = bounds_of(value)
    assert low <= value < high


def test_the_buckets_follow_each_other_without_gap() -> None:
    low, high = bucket_bounds()
    assert low[0] == 0
    assert (high[:-1] == low[1:]).all()
    below_the_largest = low < LARGEST
    assert (high > low)[below_the_largest].all()


def test_a_bucket_is_at_most_a_128th_of_its_values_wide() -> None:
    low, high = bucket_bounds()
    large = (low >= 128) & (low < LARGEST)
    assert ((high - low)[large] / low[large]).max() <= 0.008
    assert (high - low)[:256].tolist() == [1] * 256


DISTRIBUTIONS = {
    "lognormal": lambda rng: rng.lognormal(11, 2, 5000),
    "exponential": lambda rng: rng.exponential(60_000, 5000),
    "two values": lambda rng: rng.choice([61_000, 43_123_000], 5000, p=[0.99, 0.01]),
    "uniform": lambda rng: rng.integers(0, 200, 5000),
}


@pytest.mark.parametrize("name", DISTRIBUTIONS)
@pytest.mark.parametrize("seed", [1, 2])
def test_quantiles_are_those_of_the_values_within_one_percent(name: str, seed: int) -> None:
    values = np.asarray(DISTRIBUTIONS[name](np.random.default_rng(seed))).astype(np.int64)
    for thousandths in THOUSANDTHS:
        exact = np.quantile(values, thousandths / 1000, method="inverted_cdf")
        assert middles([counted(values)], thousandths) == [pytest.approx(exact, rel=0.01, abs=0.01)], thousandths


@pytest.mark.parametrize("thousandths", THOUSANDTHS)
def test_many_histograms_at_once_have_the_quantiles_of_each(thousandths: int) -> None:
    rng = np.random.default_rng(3)
    samples = [draw(rng).astype(np.int64)[: rng.integers(1, 300)] for draw in DISTRIBUTIONS.values() for _ in range(20)]
    exact = [np.quantile(values, thousandths / 1000, method="inverted_cdf") for values in samples]
    assert middles([counted(values) for values in samples], thousandths) == pytest.approx(exact, rel=0.01, abs=0.01)


def test_every_quantile_of_one_value_is_that_value() -> None:
    assert [middles([counted([100])], thousandths) for thousandths in (1, 500, 1000)] == [[100]] * 3


def test_the_rank_of_a_quantile_is_counted_in_whole_numbers() -> None:
    # 0.07 * 100 is a little more than 7 in floating point.
    assert middles([counted(list(range(1, 101)))], 70) == [7]


def test_of_no_histogram_there_is_no_quantile() -> None:
    nothing = np.zeros(0, np.int64)
    assert len(ranked(nothing, nothing, 500)) == 0
