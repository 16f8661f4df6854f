"""95 % intervals cover the truth in 93 to 97 % of 1,000 repeats, where the truth is known: queues for a lock.

`pytest -m slow -s` prints what each covers. A test that fails says that runs of this length are too short for
the method, or that the method is wrong; the length may be changed, the 93 and the 97 may not.
"""

from collections.abc import Iterable
from typing import NamedTuple

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy.stats import binom

from kmsim.sim.core.records import Core
from kmsim.study.paired import Observations, bootstrap_intervals, paired_differences, unpaired_differences
from kmsim.study.quantiles import quantile_interval, ranks
from kmsim.study.statistics import Mean, batch_mean_interval, batch_means, mean_interval, moments, sequential_done
from kmsim.study.warm_up import mser_5
from kmsim.workload.seeds import stream
from tests.validation.lock_queues import Queue, free_core, waits_of

pytestmark = pytest.mark.slow

REPEATS = 1000
RUNS = 10
INTERVAL = 50  # requests of which a series has the mean, as a run's samples have of an interval

MM1, MD1 = Queue("M", 0.5), Queue("D", 0.5)
BUSY_MM1, BUSY_MD1 = Queue("M", 0.8), Queue("D", 0.8)

Floats = NDArray[np.float64]


class Found(NamedTuple):
    """The intervals of all repeats."""

    low: Floats
    high: Floats
    middle: Floats

    def coverage(self, truth: float, what: str) -> float:
        """How often the truth lies in the interval; printed."""
        share = float(((self.low <= truth) & (truth <= self.high)).mean())
        bias = self.middle.mean() / truth - 1
        print(f"{what}: {share:.1%} of {len(self.low):,} intervals cover the truth, bias {bias:+.2%}")
        return share


def of_means(means: Iterable[Mean]) -> Found:
    """The intervals of means."""
    return Found(*np.array([(mean.low, mean.high, mean.mean) for mean in means]).T)


def as_it_says(share: float) -> bool:
    """Is that what a 95 % interval covers?"""
    return 0.93 <= share <= 0.97


@pytest.fixture(scope="module")
def core() -> Core:
    return free_core()


def waits(core: Core, queue: Queue, repeat: int, runs: int, requests: int) -> Floats:
    """The waiting times of independent runs, in picoseconds; a lock is free at first."""
    rng = stream(repeat, f"{queue} {runs} {requests}")
    shape = (runs, requests)
    return waits_of(core, queue.gaps(rng, shape), queue.holds(rng, shape)).astype(np.float64)


# ---- replications


@pytest.mark.parametrize(
    ("queue", "requests"), [(MM1, 5_000), (MD1, 5_000), (BUSY_MM1, 20_000), (BUSY_MD1, 20_000)], ids=str
)
def test_replications_whose_warm_up_is_given(core: Core, queue: Queue, requests: int) -> None:
    def one(repeat: int) -> Mean:
        return mean_interval(waits(core, queue, repeat, RUNS, requests)[:, requests // 10 :].mean(axis=1))

    found = of_means(map(one, range(REPEATS)))
    assert as_it_says(found.coverage(queue.mean_wait, f"t over {RUNS} replications of {requests:,}, {queue}"))


def test_replications_until_the_interval_is_narrow(core: Core) -> None:
    at_least, at_most, half_width = 10, 60, 0.05

    def one(repeat: int) -> Mean:
        means = waits(core, MM1, repeat, at_most, 3_000)[:, 300:].mean(axis=1)
        enough = (n for n in range(at_least, at_most) if sequential_done(means[:n], half_width, at_least))
        return mean_interval(means[: next(enough, at_most)])

    means = [one(repeat) for repeat in range(REPEATS)]
    share = of_means(means).coverage(MM1.mean_wait, f"t over replications of 3,000 until +- {half_width:.0%}, {MM1}")
    numbers = np.array([mean.n for mean in means])
    print(f"    {numbers.mean():.0f} replications, {(numbers == at_most).mean():.1%} at the cap")
    assert as_it_says(share)


def intervals(core: Core, queue: Queue, repeat: int, requests: int) -> Floats:
    """Series of means, one for each run."""
    return waits(core, queue, repeat, RUNS, requests).reshape(RUNS, -1, INTERVAL).mean(axis=2)


@pytest.mark.parametrize("queue", [MM1, MD1], ids=str)
def test_replications_with_one_cut_by_mser_5(core: Core, queue: Queue) -> None:
    requests = 10_000

    def one(repeat: int) -> Mean:
        series = intervals(core, queue, repeat, requests)
        return mean_interval(series[:, mser_5(series.mean(axis=0)) :].mean(axis=1))

    found = of_means(map(one, range(REPEATS)))
    assert as_it_says(found.coverage(queue.mean_wait, f"the same of {requests:,}, one cut by MSER-5, {queue}"))


@pytest.mark.parametrize("requests", [2_000, 10_000])
def test_replications_each_cut_by_mser_5_of_another_run(core: Core, requests: int) -> None:
    # What a run is cut by must not know the run's own numbers: a pilot run with others will do.
    def one(repeat: int) -> Mean:
        series, pilots = (intervals(core, MM1, repeat + first, requests) for first in (0, REPEATS))
        return mean_interval([run[mser_5(pilot) :].mean() for run, pilot in zip(series, pilots, strict=True)])

    found = of_means(map(one, range(REPEATS)))
    what = f"the same of {requests:,}, each cut by MSER-5 of a pilot, {MM1}"
    assert as_it_says(found.coverage(MM1.mean_wait, what))
    assert abs(found.middle.mean() / MM1.mean_wait - 1) < 0.005


def own_cuts(core: Core, queue: Queue, requests: int) -> Found:
    """Intervals where each run is cut where MSER-5 says of that run alone."""

    def one(repeat: int) -> Mean:
        series = intervals(core, queue, repeat, requests)
        return mean_interval([run[mser_5(run) :].mean() for run in series])

    return of_means(map(one, range(REPEATS)))


@pytest.mark.parametrize(("queue", "requests"), [(MM1, 50_000), (MD1, 50_000)], ids=str)
def test_long_replications_each_cut_by_mser_5(core: Core, queue: Queue, requests: int) -> None:
    found = own_cuts(core, queue, requests)
    assert as_it_says(found.coverage(queue.mean_wait, f"the same of {requests:,}, each cut by MSER-5, {queue}"))


def test_short_replications_each_cut_by_mser_5_are_biased(core: Core) -> None:
    # A burst of waiting near the beginning looks like warming up and is cut off: what is left waits too little.
    found = own_cuts(core, MM1, 2_000)
    share = found.coverage(MM1.mean_wait, f"the same of 2,000, each cut by MSER-5, {MM1}")
    assert share < 0.93
    assert found.middle.mean() < 0.98 * MM1.mean_wait


# ---- batches of one run


@pytest.mark.parametrize(
    ("queue", "requests"), [(MM1, 50_000), (MD1, 50_000), (BUSY_MM1, 200_000), (BUSY_MD1, 200_000)], ids=str
)
def test_batches_of_one_long_run(core: Core, queue: Queue, requests: int) -> None:
    repeats = range(REPEATS)
    runs = (batch_mean_interval(batch_means(waits(core, queue, k, 1, requests)[0, 1_000:])) for k in repeats)
    means, tested = [], []
    for run in runs:
        means.append(run.mean)
        tested.append(run.p < 0.05)
    share = of_means(means).coverage(queue.mean_wait, f"20 batches of {requests:,}, {queue}")
    print(f"    called too short in {np.mean(tested):.1%}")
    assert as_it_says(share)
    assert np.mean(tested) < 0.1


@pytest.mark.parametrize(("nr_batches", "seen"), [(20, 0.15), (100, 0.95)])
def test_batches_that_are_too_short_are_found_out(core: Core, nr_batches: int, seen: float) -> None:
    # With 20 batches the test sees little: a correlation of 0.1 in one run of five.
    series = (waits(core, BUSY_MM1, k, 1, 3_000)[0, 1_000:] for k in range(REPEATS))
    runs = [batch_mean_interval(batch_means(run, nr_batches)) for run in series]
    what = f"{nr_batches} batches of 3,000, {BUSY_MM1}"
    share = of_means([run.mean for run in runs]).coverage(BUSY_MM1.mean_wait, what)
    tested = np.mean([run.p < 0.05 for run in runs])
    print(f"    called too short in {tested:.1%}, correlation {np.mean([run.lag_1 for run in runs]):.2f}")
    assert share < 0.93
    assert tested > seen


# ---- quantiles


NR_OBSERVED = 2_000
OBSERVED = Queue("M", 0.6)


@pytest.fixture(scope="module")
def observed(core: Core) -> Floats:
    """The wait of the 150th request of each run, [repeat, run]: independent, of a lock that has long been in use."""
    return np.array([waits(core, OBSERVED, repeat, NR_OBSERVED, 150)[:, -1] for repeat in range(REPEATS)])


@pytest.mark.parametrize("q", [0.5, 0.9, 0.99])
def test_quantiles_by_order_statistics(observed: Floats, q: float) -> None:
    of_repeat = [quantile_interval(values, q) for values in observed]
    found = Found(*np.array([(one.low, one.high, one.value) for one in of_repeat]).T)
    share = found.coverage(OBSERVED.wait_quantile(q), f"quantile {q} of {NR_OBSERVED:,} independent waits, {OBSERVED}")
    low, high = (int(rank[0]) for rank in ranks(NR_OBSERVED, np.array([q])))
    below = binom(NR_OBSERVED, q).cdf
    exact = below(high - 1) - below(low - 1)
    print(f"    by the ranks: {exact:.1%}")
    assert as_it_says(share)
    assert abs(share - exact) < 3 * np.sqrt(exact * (1 - exact) / REPEATS)


# ---- differences


def means_of_two(core: Core, *, common: bool, runs: int, requests: int = 3_000) -> list[Floats]:
    """Mean waits of M/D/1 and M/M/1, [repeat, run]; with common random numbers, requests come at the same times."""
    found = []
    for queue in (MD1, MM1):
        means = np.empty((REPEATS, runs))
        for repeat in range(REPEATS):
            shape = (runs, requests)
            gaps = queue.gaps(stream(repeat, "gaps" if common else f"gaps {queue}"), shape)
            holds = queue.holds(stream(repeat, "holds"), shape)
            means[repeat] = waits_of(core, gaps, holds)[:, requests // 10 :].mean(axis=1)
        found.append(means)
    return found


@pytest.mark.parametrize("runs", [10, 60])
def test_paired_differences(core: Core, runs: int) -> None:
    truth = MM1.mean_wait - MD1.mean_wait
    constant, exponential = (means.ravel() for means in means_of_two(core, common=True, runs=runs))
    group = np.repeat(np.arange(REPEATS), runs)
    found = paired_differences(group, constant, exponential, REPEATS)
    low, high = bootstrap_intervals("queues", [Observations(group, exponential - constant)], REPEATS)
    what = f"difference of {runs} pairs"
    by_t = Found(found.low, found.high, found.difference).coverage(truth, f"{what}, t")
    by_bootstrap = Found(low, high, found.difference).coverage(truth, f"{what}, bootstrap")
    print(f"    variance ratio {found.variance_ratio.mean():.2f}")
    assert as_it_says(by_t)
    # Of few pairs, a bootstrap is too narrow: it divides by n, and knows no t.
    assert as_it_says(by_bootstrap) if runs >= 60 else 0.87 < by_bootstrap < by_t
    assert found.variance_ratio.mean() < 0.9


def test_unpaired_differences(core: Core) -> None:
    truth = MM1.mean_wait - MD1.mean_wait
    group = np.repeat(np.arange(REPEATS), RUNS)
    both = [moments(group, means.ravel(), REPEATS) for means in means_of_two(core, common=False, runs=RUNS)]
    found = unpaired_differences(*both)
    by_welch = Found(found.low, found.high, found.difference)
    assert as_it_says(by_welch.coverage(truth, f"difference of {RUNS} runs each, Welch"))
