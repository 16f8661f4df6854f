"""Which prices fit P2, P3 and P4: for each machine's list, one value for each price and all rows at once.

A benchmark runs alone, so that its time is the sum of what it does, each times its price. So: simulate each row
once, and once more for each price, a little dearer; from these slopes a linear program finds the prices whose
worst row is off least. Where no row is off by more than `ENOUGH`, prices stay near where the search starts: many
differ little in what the rows see of them. A last simulation with the rounded prices is what is reported.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy.optimize import linprog

from experiments.calibration_slab_vmalloc.published import rows_of, simulated_ns

# The error, as a share of what was measured, below which nearness to the start decides.
ENOUGH = {"e5-1650-v4": 0.1, "page-bench-2017": 0.1, "slab-test-3.19": 0.16, "graviton3": 0.1}
NEARNESS = 0.02  # the weight of staying near the start, against the worst row's error
STEP_NS = 1.0

Floats = NDArray[np.float64]


class Range(NamedTuple):
    """A price that is fitted, in ns: where the search starts, and what is plausible."""

    start: float
    low: float
    high: float


# Starts: what xeon-gold-5320 has of pages, by the clock, and what was assumed of slabs and vmalloc.
FITTED: dict[str, dict[str, Range]] = {
    "e5-1650-v4": {
        "alloc_fast": Range(33, 12, 60),
        "free_fast": Range(31, 12, 50),
        "bulk_page": Range(5, 1, 20),
        "slab_alloc_fast": Range(8.3, 4, 16),
        "slab_free_fast": Range(8.3, 4, 16),
        "bulk_object": Range(4, 1, 12),
    },
    "page-bench-2017": {
        "alloc_fast": Range(30, 11, 55),
        "free_fast": Range(28, 11, 45),
        "bulk_page": Range(4.5, 1, 18),
        "page_moved": Range(6.5, 2, 20),
        "buddy_merge": Range(17, 3, 30),
        "slab_alloc_fast": Range(5.3, 3, 14),
        "slab_free_fast": Range(5.3, 3, 14),
    },
    "slab-test-3.19": {
        "alloc_fast": Range(60, 30, 130),
        "free_fast": Range(45, 20, 90),
        "page_moved": Range(5, 1.5, 17),
        "buddy_merge": Range(22, 6, 60),
        "lock_hold": Range(30, 8, 60),
        "lock_uncontended": Range(25, 9, 40),
        "slab_alloc_fast": Range(13, 8, 18),
        "slab_free_fast": Range(7, 3, 12),
        "slab_alloc_slow": Range(15, 5, 60),
        "slab_free_slow": Range(9, 3, 18),
        "slab_cmpxchg": Range(7.3, 5, 12),
        "slab_new": Range(60, 20, 200),
        "slab_discard": Range(50, 15, 200),
        "object_set_up": Range(0.7, 0.3, 2),
        "line_hot": Range(0.2, 0.02, 1),
        "line_sequential": Range(3, 1, 5),
        "line_memory": Range(150, 60, 220),
    },
    "graviton3": {
        "vmalloc": Range(210, 80, 420),
        "vfree": Range(130, 50, 260),
        "vmap_step": Range(2.5, 1, 9),
        "pte_set": Range(8, 1, 14),
        "pte_cleared": Range(6, 1, 11),
        "bulk_page": Range(17, 2, 34),
        "free_fast": Range(44, 20, 66),
        "page_moved": Range(7, 2, 20),
        "buddy_merge": Range(12, 4, 40),
        "lock_hold": Range(20, 5, 70),
        "lock_uncontended": Range(30, 15, 50),
    },
}


def slopes(points: pd.DataFrame, base: str, starts: dict[str, float], report: Callable[[str], None]) -> Any:
    """What each row takes, in ns, with the prices where they start, and how it grows with each."""
    at_start, matrix = [], []
    for row in rows_of(points):
        report(f"{row.costs}: {row.benchmark} {row.n}")
        latency = simulated_ns(row, base, starts)
        dearer = [simulated_ns(row, base, starts | {name: price + STEP_NS}) for name, price in starts.items()]
        at_start.append(latency)
        matrix.append([(other - latency) / STEP_NS for other in dearer])
    return np.array(at_start), np.array(matrix)


def fit(points: pd.DataFrame, base: str, report: Callable[[str], None]) -> dict[str, float]:
    """The prices of one list, in ns, that fit all its rows best."""
    ranges = FITTED[base]
    starts = {name: price.start for name, price in ranges.items()}
    at_start, slope = slopes(points, base, starts, report)
    measured = points["measured_ns"].to_numpy()
    start = np.array(list(starts.values()))
    fixed = (at_start - slope @ start) / measured
    found = best(slope / measured[:, None], 1 - fixed, start, list(ranges.values()), ENOUGH[base])
    return {name: float(f"{price:.3g}") for name, price in zip(starts, found, strict=True)}


def best(share: Floats, wanted: Floats, start: Floats, ranges: list[Range], enough: float) -> Floats:
    """The prices within their ranges for which `share @ prices` is nearest to `wanted`, in the worst row.

    Unknowns: the prices, the worst error, and how far each price is from its start, as a share of that.
    """
    nr_rows, nr_prices = share.shape
    one, none = np.ones((nr_rows, 1)), np.zeros((nr_rows, nr_prices))
    far, here = np.diag(1 / start), np.zeros((nr_prices, 1))
    above, below = np.hstack((share, -one, none)), np.hstack((-share, -one, none))
    up, down = np.hstack((far, here, -np.eye(nr_prices))), np.hstack((-far, here, -np.eye(nr_prices)))
    unit = np.ones(nr_prices)
    bounds = [(price.low, price.high) for price in ranges] + [(enough, None)] + [(0.0, None)] * nr_prices
    result = linprog(
        np.concatenate((np.zeros(nr_prices), [1.0], NEARNESS / nr_prices * unit)),
        A_ub=np.vstack((above, below, up, down)),
        b_ub=np.concatenate((wanted, -wanted, unit, -unit)),
        bounds=bounds,
    )
    assert result.status == 0, result.message
    return np.asarray(result.x[:nr_prices])
