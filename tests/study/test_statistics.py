"""Intervals, tests and cuts, each against scipy or a slow way to say the same."""

import math
import warnings

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from scipy import stats

from kmsim.study.paired import (
    NR_RESAMPLES,
    Observations,
    bootstrap_intervals,
    holm,
    paired_difference,
    unpaired_differences,
    variance_ratio,
)
from kmsim.study.quantiles import histogram_quantiles, quantile_interval, ranks
from kmsim.study.statistics import (
    batch_mean_interval,
    batch_means,
    differences,
    mean_interval,
    moments,
    sequential_done,
    von_neumann,
)
from kmsim.study.warm_up import mser_5

NAN = math.nan
NUMBERS = arrays(np.float64, st.integers(2, 30), elements=st.integers(-1000, 1000).map(lambda n: n / 8))


def normal(seed: int, *shape: int) -> np.ndarray:
    return np.random.default_rng(seed).normal(10, 2, shape)


# ---- means


@given(values=NUMBERS)
def test_a_mean_has_the_interval_of_student(values: np.ndarray) -> None:
    found = mean_interval(values)
    assert found[:3] == pytest.approx((len(values), values.mean(), values.std(ddof=1)))
    if found.sd > 0:
        expected = stats.t.interval(0.95, len(values) - 1, values.mean(), stats.sem(values))
        assert (found.low, found.high) == pytest.approx(expected, abs=1e-9)
    if found.sd > 0 and abs(found.mean) > 1e-9:
        assert found.half_width == pytest.approx((found.high - found.low) / 2 / abs(found.mean))


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        ([], (0, NAN, NAN, NAN, NAN, NAN)),
        ([NAN, NAN], (0, NAN, NAN, NAN, NAN, NAN)),
        ([3.0], (1, 3.0, NAN, NAN, NAN, NAN)),
        ([3.0, NAN], (1, 3.0, NAN, NAN, NAN, NAN)),
        ([0.1] * 7, (7, 0.1, 0.0, 0.1, 0.1, 0.0)),
        ([0.0, 0.0], (2, 0.0, 0.0, 0.0, 0.0, 0.0)),
    ],
)
def test_a_mean_of_little(values: list[float], expected: tuple[float, ...]) -> None:
    assert mean_interval(values) == pytest.approx(expected, rel=0, abs=0, nan_ok=True)


def test_a_width_relative_to_nothing_is_unknown() -> None:
    found = mean_interval([-1.0, 1.0])
    assert found.mean == 0
    assert found.high == pytest.approx(12.706, abs=1e-3)
    assert math.isnan(found.half_width)


def test_runs_that_yield_no_number_are_left_out() -> None:
    assert mean_interval([1.0, NAN, 2.0, math.inf, 4.0]) == mean_interval([1.0, 2.0, 4.0])


def test_large_numbers_lose_nothing() -> None:
    assert mean_interval([1e15, 1e15 + 1, 1e15 + 2])[:3] == (3, 1e15 + 1, 1.0)


def test_moments_of_many_groups_are_those_of_each() -> None:
    group = np.array([3, 0, 3, 1, 0, 3, 0])
    values = normal(1, 7)
    n, mean, sd = moments(group, values, 5)
    assert n.tolist() == [3, 1, 0, 3, 0]
    for k in (0, 1, 3):
        assert mean[k] == pytest.approx(values[group == k].mean())
    assert sd[[0, 3]] == pytest.approx([values[group == k].std(ddof=1) for k in (0, 3)])
    assert np.isnan(mean[[2, 4]]).all()
    assert np.isnan(sd[[1, 2, 4]]).all()


@pytest.mark.parametrize(
    ("values", "half_width", "at_least", "done"),
    [
        ([10.0, 10.1, 9.9, 10.0], 0.05, 4, True),
        ([10.0, 10.1, 9.9, 10.0], 0.05, 5, False),
        ([10.0, 10.1, 9.9, 10.0], 0.005, 4, False),
        ([10.0, 10.1, NAN, 9.9], 0.05, 4, False),
        ([10.0], 0.5, 1, False),
        ([5.0, 5.0], 0.01, 2, True),
        ([0.0, 0.0], 0.01, 2, True),
        ([-1.0, 1.0, 0.0], 0.5, 2, False),
        ([NAN] * 50, 0.5, 2, False),
        ([], 0.5, 2, False),
    ],
)
def test_replications_are_enough(values: list[float], half_width: float, at_least: int, done: bool) -> None:
    assert sequential_done(values, half_width, at_least) == done


# ---- batches


def test_batches_leave_out_the_first_observations() -> None:
    assert batch_means([9, 9, 1, 2, 3, 4, 5, 6], 3).tolist() == [1.5, 3.5, 5.5]
    assert batch_means(np.arange(8), 8).tolist() == list(range(8))


def test_the_mean_of_a_run_is_that_of_its_batches() -> None:
    batches = normal(2, 20)
    found = batch_mean_interval(batches)
    assert found.mean == mean_interval(batches)
    apart = batches - batches.mean()
    assert found.lag_1 == pytest.approx((apart[1:] * apart[:-1]).sum() / (apart**2).sum())


def test_short_batches_are_found_out() -> None:
    noise = normal(3, 4000)
    slow = np.convolve(noise, np.ones(100), "valid")
    assert batch_mean_interval(batch_means(slow[:3000], 100)).p < 1e-6
    assert batch_mean_interval(batch_means(noise, 20)).p > 0.05


def test_the_test_of_batches_is_wrong_as_often_as_it_says() -> None:
    group = np.repeat(np.arange(4000), 20)
    p = von_neumann(group, normal(4, 4000 * 20), 4000)[1]
    assert 0.04 < (p < 0.05).mean() < 0.06


@pytest.mark.parametrize("batches", [[], [1.0], [1.0, 2.0], [2.0] * 9, [NAN] * 9])
def test_a_test_of_little_says_nothing(batches: list[float]) -> None:
    found = batch_mean_interval(batches)
    assert math.isnan(found.lag_1)
    assert math.isnan(found.p)


def test_batches_of_many_runs_may_come_mixed() -> None:
    group, values = np.array([0, 1, 0, 1, 1, 0, 0, 1]), normal(5, 8)
    both = von_neumann(group, values, 2)
    for k in range(2):
        alone = batch_mean_interval(values[group == k])
        assert (both[0][k], both[1][k]) == pytest.approx((alone.lag_1, alone.p))


# ---- warm-up


def slow_mser_5(series: np.ndarray) -> int:
    """By the definition: the squared standard error of what is left, for each cut of the first half."""
    batches = [series[k : k + 5].mean() for k in range(0, len(series) - 4, 5)]
    if len(batches) < 4:
        return 0
    errors = {}
    for cut in range(len(batches) // 2 + 1):
        left = np.array(batches[cut:])
        errors[cut] = ((left - left.mean()) ** 2).sum() / len(left) ** 2
    return 5 * min(errors, key=lambda cut: (round(errors[cut], 12), cut))


@given(seed=st.integers(0, 10_000), n=st.integers(0, 300), slope=st.floats(0, 20))
def test_the_cut_is_that_of_the_definition(seed: int, n: int, slope: float) -> None:
    series = normal(seed, n) + slope * np.exp(-np.arange(n) / 20)
    assert mser_5(series) == slow_mser_5(series)


@pytest.mark.parametrize(
    ("series", "cut"),
    [
        ([], 0),
        ([1.0] * 100, 0),
        ([9.0] * 19, 0),
        ([9.0] * 20 + [1.0] * 80, 20),
        ([9.0] * 22 + [1.0] * 78, 25),
        ([9.0] * 80 + [1.0] * 20, 0),
        ([NAN] * 20 + [9.0] * 5 + [1.0] * 75, 25),
        ([9.0] * 10 + [NAN] * 10 + [1.0, NAN] * 40, 10),
        ([NAN] * 40, 0),
    ],
)
def test_where_a_run_has_warmed_up(series: list[float], cut: int) -> None:
    assert mser_5(series) == cut


# ---- quantiles


@pytest.mark.parametrize(("n", "q"), [(10, 0.5), (100, 0.5), (100, 0.9), (1000, 0.999), (5000, 0.999), (7, 0.01)])
def test_ranks_leave_out_as_little_as_they_may(n: int, q: float) -> None:
    low, high = (int(rank[0]) for rank in ranks(n, np.array([q])))
    below = stats.binom(n, q).cdf  # of the number of observations below the quantile
    assert below(low - 1) < 0.025 <= below(low)
    assert 1 - below(high - 1) <= 0.025 < 1 - below(high - 2)


def test_the_interval_of_a_median_is_tabulated() -> None:
    # Conover, Practical Nonparametric Statistics: of 100 observations, the 40th to the 61st.
    found = quantile_interval(np.random.default_rng(1).permutation(100) + 1.0, 0.5)
    assert found == (100, 50, 40, 61)


def test_a_rank_is_not_lost_to_rounding() -> None:
    assert 0.07 * 100 > 7
    assert quantile_interval(np.arange(1.0, 101), 0.07).value == 7


def test_nothing_is_known_beyond_the_largest() -> None:
    found = quantile_interval(np.arange(100.0), 0.999)
    assert found[:3] == (100, 99, 98)
    assert math.isnan(found.high)
    assert quantile_interval([], 0.5) == pytest.approx((0, NAN, NAN, NAN), nan_ok=True)
    assert quantile_interval([NAN, 5.0], 0.5) == pytest.approx((1, 5, NAN, NAN), nan_ok=True)
    assert quantile_interval([5.0] * 50, 0.5) == (50, 5, 5, 5)


@given(values=st.lists(st.integers(0, 99), min_size=1, max_size=300), q=st.sampled_from([0.01, 0.5, 0.9, 0.99]))
def test_a_histogram_has_the_interval_of_its_values_to_a_bucket(values: list[int], q: float) -> None:
    low = np.arange(0, 100, 10)
    count = np.bincount(np.array(values) // 10, minlength=10)
    found = histogram_quantiles(low, low + 10, count, q)
    exact = quantile_interval(values, q)
    assert found.n == exact.n
    for name, shift in (("value", 5), ("low", 0), ("high", 10)):
        number = getattr(exact, name)
        expected = number if math.isnan(number) else number // 10 * 10 + shift
        assert getattr(found, name)[0] == pytest.approx(expected, nan_ok=True)


def test_many_quantiles_of_a_histogram_of_nothing() -> None:
    found = histogram_quantiles([0, 1], [1, 2], [0, 0], [0.5, 0.9])
    assert found.n == 0
    assert np.isnan([found.value, found.low, found.high]).all()


def test_a_histogram_of_a_billion_values() -> None:
    found = histogram_quantiles([0, 1, 2], [1, 2, 3], [499_000_000, 2_000_000, 499_000_000], [0.5, 0.999])
    assert (found.low[0], found.value[0], found.high[0]) == (1, 1.5, 2)
    assert (found.low[1], found.high[1]) == (2, 3)


# ---- differences


@given(seed=st.integers(0, 1000), n=st.integers(2, 40))
def test_a_paired_difference_is_that_of_scipy(seed: int, n: int) -> None:
    a, b = normal(seed, 2, n)
    found = paired_difference(a, b)
    expected = stats.ttest_rel(b, a)
    interval = expected.confidence_interval(0.95)
    assert (found.n, found.baseline_mean) == (n, pytest.approx(a.mean()))
    assert found.difference == pytest.approx((b - a).mean())
    assert (found.low, found.high, found.p) == pytest.approx((interval.low, interval.high, expected.pvalue))
    assert found.variance_ratio == pytest.approx((b - a).var() / (a.var() + b.var()))


@given(seed=st.integers(0, 1000), n=st.integers(2, 20), m=st.integers(2, 20))
def test_an_unpaired_difference_is_that_of_welch(seed: int, n: int, m: int) -> None:
    a, b = normal(seed, n), 3 * normal(seed + 1, m)
    found = unpaired_differences(*(moments(np.zeros(len(x), int), x, 1) for x in (a, b)))
    expected = stats.ttest_ind(b, a, equal_var=False)
    interval = expected.confidence_interval(0.95)
    assert found.n == min(n, m)
    assert (found.low[0], found.high[0], found.p[0]) == pytest.approx((interval.low, interval.high, expected.pvalue))


def test_a_bootstrap_is_that_of_scipy_and_always_the_same() -> None:
    a, b = normal(5, 2, 12)
    found = paired_difference(a, b, "study latency")
    assert found == paired_difference(a, b, "study latency")
    assert found.boot_low != paired_difference(a, b, "another").boot_low
    expected = stats.bootstrap([b - a], np.mean, n_resamples=100 * NR_RESAMPLES, rng=1).confidence_interval
    assert (found.boot_low, found.boot_high) == pytest.approx((expected.low, expected.high), abs=0.15)


def test_a_bootstrap_of_two_samples_is_that_of_scipy() -> None:
    a, b = normal(6, 15), normal(7, 11)
    low, high = bootstrap_intervals("two", [Observations(np.zeros(len(x), int), x) for x in (a, b)], 1)
    expected = stats.bootstrap([a, b], lambda a, b: b.mean() - a.mean(), n_resamples=50_000, rng=1, vectorized=False)
    interval = expected.confidence_interval
    assert (low[0], high[0]) == pytest.approx((interval.low, interval.high), abs=0.15)


def test_the_bootstrap_of_a_group_depends_on_nothing_else() -> None:
    group = np.array([0, 1, 1, 3, 1, 0, 3, 3, 1, 0, 4])
    values = normal(8, len(group))
    low, high = bootstrap_intervals("x", [Observations(group, values)], 6)
    for k in (0, 1, 3):
        mine = values[group == k]
        alone = bootstrap_intervals("x", [Observations(np.zeros(len(mine), int), mine)], 1)
        assert (low[k], high[k]) == (alone[0][0], alone[1][0])
    assert np.isnan([low[[2, 4, 5]], high[[2, 4, 5]]]).all()


@pytest.mark.parametrize(
    ("a", "b", "difference", "low", "boot_low", "p"),
    [
        ([], [], NAN, NAN, NAN, NAN),
        ([1.0], [3.0], 2.0, NAN, NAN, NAN),
        ([1.0, NAN], [3.0, 4.0], 2.0, NAN, NAN, NAN),
        ([1.0, 2.0], [3.0, 4.0], 2.0, 2.0, 2.0, 0.0),
        ([1.0, 2.0, NAN], [1.0, 2.0, 5.0], 0.0, 0.0, 0.0, 1.0),
        ([5.0, 5.0], [5.0, 5.0], 0.0, 0.0, 0.0, 1.0),
    ],
)
def test_a_difference_of_little(
    a: list[float], b: list[float], difference: float, low: float, boot_low: float, p: float
) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        found = paired_difference(a, b)
    expected = (difference, low, boot_low, p)
    assert (found.difference, found.low, found.boot_low, found.p) == pytest.approx(expected, nan_ok=True)
    assert math.isnan(found.variance_ratio) or found.variance_ratio == 0


def test_common_numbers_save_what_is_common() -> None:
    common, a, b = normal(9, 3, 2000)
    assert variance_ratio(a, b) == pytest.approx(1, abs=0.1)
    assert variance_ratio(a + 3 * common, b + 3 * common) == pytest.approx(0.1, abs=0.02)
    assert variance_ratio(a, -a) == pytest.approx(2)
    assert math.isnan(variance_ratio([1.0, 1.0], [2.0, 2.0]))


def slow_holm(p: list[float]) -> list[float]:
    """By rejecting step by step: the smallest level at which each is rejected."""
    order = sorted(range(len(p)), key=lambda k: p[k])
    found = [0.0] * len(p)
    for place, k in enumerate(order):
        needed = (p[order[before]] * (len(p) - before) for before in range(place + 1))
        found[k] = min(1.0, max(needed))
    return found


@given(p=st.lists(st.floats(0, 1), max_size=12))
def test_holm_rejects_step_by_step(p: list[float]) -> None:
    assert holm(p).tolist() == pytest.approx(slow_holm(p))


def test_holm_counts_only_what_was_tested() -> None:
    assert holm([0.01, NAN, 0.04, 0.03]).tolist() == pytest.approx([0.03, NAN, 0.06, 0.06], nan_ok=True)
    assert holm([]).tolist() == []


def test_holm_keeps_the_share_of_studies_that_are_wrong_anywhere() -> None:
    rng = np.random.default_rng(10)
    wrong = [(holm(rng.uniform(size=20)) < 0.05).any() for _ in range(2000)]
    assert 0.035 < np.mean(wrong) < 0.065


def test_what_is_equal_but_for_rounding_is_equal() -> None:
    sums = np.array([0.1 + 0.2, 0.1 + 0.7, 1e15 + 1])
    assert (sums[:2] != [0.3, 0.8]).all()
    assert differences(sums, np.array([0.3, 0.8, 1e15])).tolist() == [0, 0, 1]
    assert mean_interval([0.3, 0.1 + 0.2, 0.3])[:3] == (3, 0.3, 0.0)
