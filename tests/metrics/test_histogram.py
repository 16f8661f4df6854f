"""Latency histograms: where a value is counted, and what is read back."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from kmsim.metrics.histogram import NR_BUCKETS, bucket_bounds, quantile, record_entry

LARGEST = (1 << 62) - 1  # picoseconds: 53 simulated days
QUANTILES = (0.001, 0.25, 0.5, 0.9, 0.99, 0.999, 1.0)


def recorded(values: list[int] | NDArray[np.int64]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    counts, totals = np.zeros(NR_BUCKETS, np.int64), np.zeros(3, np.int64)
    for value in values:
        record_entry(counts, totals, int(value))
    return counts, totals


def bounds_of(value: int) -> tuple[int, int]:
    """The bounds of the one bucket that the value was counted in."""
    counts, _ = recorded([value])
    (bucket,) = np.flatnonzero(counts)
    low, high = bucket_bounds()
    return int(low[bucket]), int(high[bucket])


@pytest.mark.parametrize("exponent", range(62))
def test_a_bucket_contains_what_it_counts_at_every_magnitude(exponent: int) -> None:
    for value in ((1 << exponent) - 1, 1 << exponent, (1 << exponent) + 1, (3 << exponent) >> 1):
        low, high = bounds_of(value)
        assert low <= value < high


@settings(deadline=None, max_examples=500)
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


def test_count_sum_and_maximum_are_exact() -> None:
    counts, totals = recorded([7, 10**15 + 1, 7, 0])
    assert totals.tolist() == [4, 10**15 + 15, 10**15 + 1]
    assert counts.sum() == 4


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
    counts, _ = recorded(values)
    for q in QUANTILES:
        exact = np.quantile(values, q, method="inverted_cdf")
        assert quantile(counts, q) == pytest.approx(exact, rel=0.01, abs=0.01), q


def test_a_quantile_of_nothing_is_no_number() -> None:
    assert np.isnan(quantile(np.zeros(NR_BUCKETS, np.int64), 0.5))


def test_every_quantile_of_one_value_is_that_value() -> None:
    counts, _ = recorded([100])
    assert [quantile(counts, q) for q in (0.0, 0.5, 1.0)] == [100, 100, 100]
