"""What common random numbers save, in the simulator itself: the same requests at points that are compared."""

from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

import kmsim
from kmsim.study.paired import paired_difference, variance_ratio
from tests.studies import Mapping, mapping

REPLICATIONS = 20
ELSEWHERE = 1000  # seeds that nothing else has

MIXED = {"operations": 400, "live": 1, "think": {"exponential": "1us"}} | {
    "requests": [{"order": 0, "weight": 9}, {"order": 6}]
}
ONE_ORDER = MIXED | {"requests": [{"order": 6}]}
ARM = {"extends": "arm64-server", "memory": "1GiB"}

# What is compared: the baseline, and the level.
PRICE_LISTS = ({"costs": {"extends": "xeon-gold-5320"}}, {"costs": {"extends": "e5-1650-v4"}})
PAGE_SIZES = (ARM | {"page_size": "4KiB"}, ARM | {"page_size": "64KiB"})

Floats = NDArray[np.float64]


def mean_latencies(
    thread: Mapping, point: dict[str, Any], first_seed: int = 1, replications: int = REPLICATIONS
) -> Floats:
    """The mean latency of allocations, by replication; nanoseconds."""

    def one(seed: int) -> float:
        result = kmsim.run(mapping(*[thread] * 4, seed=seed, cpus=4, **point))
        rows = result.tables["operations"].query("kind == 'alloc'")
        return float(np.average(rows["mean_ns"], weights=rows["count"]))

    return np.array([one(first_seed + replication) for replication in range(replications)])


@pytest.mark.slow
@pytest.mark.parametrize("points", [PRICE_LISTS, PAGE_SIZES], ids=["price lists", "page sizes"])
def test_common_numbers_reduce_the_variance(points: tuple[dict[str, Any], dict[str, Any]]) -> None:
    baseline, level = (mean_latencies(MIXED, point) for point in points)
    independent = mean_latencies(MIXED, points[1], ELSEWHERE)
    common_ratio, independent_ratio = variance_ratio(baseline, level), variance_ratio(baseline, independent)
    print(f"variance ratio: common {common_ratio:.3f}, independent {independent_ratio:.2f}")
    # Of 20 pairs, the ratio of independent runs has a standard deviation of about 0.23.
    assert 0.5 < independent_ratio < 1.5
    assert common_ratio < 0.3
    assert variance_ratio(baseline[:10], level[:10]) < 0.3
    paired, apart = (paired_difference(baseline, other) for other in (level, independent))
    assert paired.high - paired.low < 0.6 * (apart.high - apart.low)


def test_common_numbers_save_little_of_what_depends_on_who_comes_first() -> None:
    # All requests are alike: latency varies with who waits for whom, and that is another story at each point.
    baseline, level = (mean_latencies(ONE_ORDER, point, replications=10) for point in PRICE_LISTS)
    assert variance_ratio(baseline, level) > 0.5


def test_the_same_point_with_the_same_numbers_does_not_differ() -> None:
    first, again = (mean_latencies(MIXED, PRICE_LISTS[0], replications=3) for _ in range(2))
    found = paired_difference(first, again)
    assert (found.difference, found.low, found.high, found.p, found.variance_ratio) == (0, 0, 0, 1, 0)
