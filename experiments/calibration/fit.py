"""Which prices fit P1: one value for each, for all points at once.

A run's latencies are linear in the prices as long as the same CPUs wait for the same locks. So, again and
again: simulate, measure the slope along each price, and take the prices that fit best by these slopes,
within a step in which they may be trusted. The large errors count most (the fifth power of each, as a share
of what it may be): what is asked for is a bound on the worst. Runs are small, with a cache as much smaller;
what that changes is found by one full-sized simulation, and corrected for.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
import pandas as pd
from scipy.optimize import least_squares

from experiments.calibration.p1 import ERROR_BARS, Scale, simulated

SMALL = Scale(cache_lines=2048)
CORES = (1, 2, 3, 8, 26)  # from 4 on the curves are straight lines through the origin
SLOPE_STEP = 0.1  # of a price
TRUST = (1.4, 1.25)  # how far a price may move, as a factor, in each round
POWER = 2.5  # of a residual; least squares doubles it
PRIOR = 0.03  # the weight of staying near the start, for prices that no point depends on


class Range(NamedTuple):
    """A price that is fitted, in ns: where the search starts, and what is plausible."""

    start: float
    low: float
    high: float


FITTED = {
    "alloc_fast": Range(52, 20, 90),
    "free_fast": Range(55, 20, 80),
    "lock_handover": Range(70, 30, 300),
    "lock_hold": Range(80, 5, 150),
    "buddy_split": Range(2, 1, 30),
    "buddy_merge": Range(26, 1, 60),
    "page_moved": Range(12, 1, 30),
    "page_check": Range(0.05, 0.02, 2),
    "line_hot": Range(0.05, 0.02, 1),
    "line_other": Range(80, 30, 100),
    "line_other_overlapped": Range(10, 5, 100),
    "line_sequential": Range(4, 0.5, 8),
    "line_memory": Range(200, 50, 220),
    "line_memory_overlapped": Range(30, 8, 100),
}
NAMES = list(FITTED)
Report = Callable[[str], None]


def fitted_points(points: pd.DataFrame) -> pd.DataFrame:
    """The points that the fit looks at; `repeat` is the same for all cores."""
    is_taken = points["cores"].isin(CORES) & ((points["curve"] != "repeat") | (points["cores"] == 1))
    return points[is_taken | (points["order"] > 0)]


def fit(points: pd.DataFrame, report: Report) -> dict[str, float]:
    """The prices, in ns, that fit all points best."""
    taken = fitted_points(points)
    x = np.array([FITTED[name].start for name in NAMES])
    small = latencies(taken, x)
    best = (np.inf, x)
    correction = simulated(taken, prices_of(x)) / small
    for trust in TRUST:
        slope = slopes(taken, x, small)
        x = improved(taken, x, trust, lambda y, x=x, small=small, slope=slope: correction * (small + slope @ (y - x)))
        small = latencies(taken, x)
        error = worst_share(taken, correction * small)
        found = ", ".join(f"{name} {price:g}" for name, price in prices_of(x).items())
        report(f"worst error {error:.2f} of what it may be: {found}")
        best = min(best, (error, x), key=lambda found: found[0])
    return prices_of(best[1])


def prices_of(x: np.ndarray) -> dict[str, float]:
    """The prices by name, of three digits, and whole picoseconds."""
    return {name: round(float(f"{value:.3g}"), 3) for name, value in zip(NAMES, x, strict=True)}


def latencies(points: pd.DataFrame, x: np.ndarray) -> np.ndarray:
    """What small runs take."""
    return simulated(points, dict(zip(NAMES, x, strict=True)), SMALL)


def slopes(points: pd.DataFrame, x: np.ndarray, latency: np.ndarray) -> np.ndarray:
    """How the latency of each point changes with each price."""
    columns = []
    for i in range(len(x)):
        moved = x.copy()
        moved[i] *= 1 + SLOPE_STEP
        columns.append((latencies(points, moved) - latency) / (moved[i] - x[i]))
    return np.column_stack(columns)


def improved(
    points: pd.DataFrame, x: np.ndarray, trust: float, model: Callable[[np.ndarray], np.ndarray]
) -> np.ndarray:
    """The prices at which a model of the latencies fits best, none further than a factor from `x`."""
    low = np.log(np.maximum([price.low for price in FITTED.values()], x / trust))
    high = np.log(np.minimum([price.high for price in FITTED.values()], x * trust))
    start = np.log([price.start for price in FITTED.values()])

    def residuals(log_price: np.ndarray) -> np.ndarray:
        share = shares(points, model(np.exp(log_price)))
        return np.concatenate((np.sign(share) * np.abs(share) ** POWER, PRIOR * (log_price - start)))

    middle = np.clip(np.log(x), low + 1e-9, high - 1e-9)
    return np.exp(least_squares(residuals, middle, bounds=(low, high)).x)


def shares(points: pd.DataFrame, latency: np.ndarray) -> np.ndarray:
    """Each point's error as a share of what it may be; as much for twice too slow as for twice too fast."""
    bars = points["order"].map(ERROR_BARS).to_numpy() / 100
    return np.log(np.maximum(latency, 1e-3) / points["measured_ns"].to_numpy()) / bars


def worst_share(points: pd.DataFrame, latency: np.ndarray) -> float:
    """The largest error, as a share of what it may be."""
    return float(np.abs(shares(points, latency)).max())
