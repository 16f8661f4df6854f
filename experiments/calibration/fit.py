"""Which prices fit P1: one value for each, for all points at once.

A run's latencies are linear in the prices as long as the same CPUs wait for the same locks. So: simulate, measure the
slope along each price, and take the prices that fit best by these slopes, within a step in which they may be trusted.
Slopes are taken from small runs, with a cache as much smaller; where they begin, from runs of P1's own size. The search
starts at what is known of such hardware, and stays near that where no point says otherwise.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy.optimize import least_squares

from experiments.calibration.p1 import ERROR_BARS, Scale, simulated

SMALL = Scale(one_in=10)
CORES = (1, 2, 3, 8)  # from 4 on the curves are straight lines through the origin
SLOPE_STEP = 0.1  # of a price
TRUST = 2.0  # how far a price may move, as a factor
POWER = 1.5  # of a residual; least squares doubles it
CYCLE = 0.294  # ns at 3.4 GHz, the highest clock of this CPU: nothing that is done once for a page takes less
PRIOR = 0.4  # the weight of staying near the start: what a price that is off by a factor of e costs


class Range(NamedTuple):
    """A price that is fitted, in ns: where the search starts, and what is plausible."""

    start: float
    low: float
    high: float


# Lines of memory and of other cores' caches start at what is usual for such a server: 90 ns to memory, 70 ns to another
# core, and 12.8 GB/s of memory read by one core. The others are guesses.
FITTED = {
    "alloc_fast": Range(54, 20, 90),
    "free_fast": Range(51, 20, 80),
    "lock_handover": Range(49, 20, 150),
    "lock_hold": Range(20, 5, 150),
    "buddy_split": Range(3, 1, 30),
    "buddy_merge": Range(25, 1, 60),
    "page_moved": Range(10, 1, 30),
    "page_check": Range(0.47, CYCLE, 2),
    "line_hot": Range(0.4, CYCLE, 4),
    "line_other": Range(70, 40, 120),
    "line_other_overlapped": Range(20, 5, 100),
    "line_sequential": Range(5, 1, 10),
    "line_memory": Range(90, 70, 150),
    "line_memory_overlapped": Range(22, 8, 100),
}
NAMES = list(FITTED)
# What is left out together, by what its points have in common.
WITHOUT = {"curve": ("curve", "order"), "order": ("order",), "benchmark": ("curve",), "cores": ("cores",)}
Floats = NDArray[np.float64]


class Model(NamedTuple):
    """What the prices make of some points: near where it was taken, their latencies are linear in the prices."""

    points: pd.DataFrame
    x: Floats  # the prices at which it was taken, ns
    latency: Floats  # ns, simulated at P1's counts
    slope: Floats  # [point, price]

    def at(self, y: Floats) -> Floats:
        """The latencies with other prices."""
        return self.latency + self.slope @ (y - self.x)

    def without(self, is_left_out: NDArray[np.bool_]) -> Model:
        """The same of the other points."""
        kept = ~is_left_out
        return Model(self.points[kept], self.x, self.latency[kept], self.slope[kept])


def fitted_points(points: pd.DataFrame) -> pd.DataFrame:
    """The points that the fit looks at; `repeat` is the same for all cores."""
    is_taken = points["cores"].isin(CORES) & ((points["curve"] != "repeat") | (points["cores"] == 1))
    return points[is_taken | (points["order"] > 0)]


def fit(points: pd.DataFrame) -> tuple[Model, Floats]:
    """The model where the search starts, and the prices, in ns, at which it fits all points best."""
    model = model_at(fitted_points(points), np.array([FITTED[name].start for name in NAMES]))
    return model, improved(model)


def model_at(points: pd.DataFrame, x: Floats) -> Model:
    """The model at some prices: slopes from small runs, and where they begin from runs of P1's size."""
    small = latencies(points, x)
    latency = simulated(points, dict(zip(NAMES, x, strict=True)))
    return Model(points, x, latency, slopes(points, x, small) * (latency / small)[:, None])


def left_out(model: Model) -> pd.DataFrame:
    """Each point as the fit to all others has it, without its curve, its order, its benchmark or its number of cores.

    By the model, not simulated anew: curve, order, cores, measured_ns, and for each of WITHOUT what was predicted.
    """
    table = model.points.copy()
    for name, columns in WITHOUT.items():
        groups = table.groupby(list(columns)).ngroup().to_numpy()
        predicted = np.empty(len(table))
        for group in np.unique(groups):
            is_left_out = groups == group
            predicted[is_left_out] = model.at(improved(model.without(is_left_out)))[is_left_out]
        table[f"without_{name}_ns"] = predicted.round(1)
    return table


def prices_of(x: Floats) -> dict[str, float]:
    """The prices by name."""
    return dict(zip(NAMES, (float(price) for price in x), strict=True))


def latencies(points: pd.DataFrame, x: Floats) -> Floats:
    """What small runs take."""
    return simulated(points, dict(zip(NAMES, x, strict=True)), SMALL)


def slopes(points: pd.DataFrame, x: Floats, latency: Floats) -> Floats:
    """How the latency of each point changes with each price."""
    columns = []
    for i in range(len(x)):
        moved = x.copy()
        moved[i] *= 1 + SLOPE_STEP
        columns.append((latencies(points, moved) - latency) / (moved[i] - x[i]))
    return np.column_stack(columns)


def improved(model: Model) -> Floats:
    """The prices at which the model fits its points best, of three digits and whole picoseconds."""
    low = np.log(np.maximum([price.low for price in FITTED.values()], model.x / TRUST))
    high = np.log(np.minimum([price.high for price in FITTED.values()], model.x * TRUST))
    start = np.log([price.start for price in FITTED.values()])

    def residuals(log_price: Floats) -> Floats:
        share = shares(model.points, model.at(np.exp(log_price)))
        return np.concatenate((np.sign(share) * np.abs(share) ** POWER, PRIOR * (log_price - start)))

    middle = np.clip(np.log(model.x), low + 1e-9, high - 1e-9)
    found = np.exp(least_squares(residuals, middle, bounds=(low, high)).x)
    return np.array([round(float(f"{price:.3g}"), 3) for price in found])


def shares(points: pd.DataFrame, latency: Floats) -> Floats:
    """Each point's error as a share of what it may be; as much for twice too slow as for twice too fast."""
    bars = points["order"].map(ERROR_BARS).to_numpy() / 100
    return np.log(np.maximum(latency, 1e-3) / points["measured_ns"].to_numpy()) / bars
