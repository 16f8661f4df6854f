"""Which prices fit P1: one value for each, for all points at once, by `kmsim.study.fit`.

Slopes are taken from small runs, with a cache as much smaller; where they begin, from runs of P1's own size. The search
starts at what is known of such hardware, and stays near that where no point says otherwise.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import pandas as pd

from experiments.calibration.p1 import ERROR_BARS, Scale, simulated
from kmsim.study import fit as fitting
from kmsim.study.fit import Floats, Model, Points, Range, Ways, least_squares_fit, slopes

SMALL = Scale(one_in=10)
CORES = (1, 2, 3, 8)  # from 4 on the curves are straight lines through the origin
SLOPE_STEP = 0.1  # of a price
WAYS = Ways(power=1.5, prior=0.4, trust=2.0)
CYCLE = 0.294  # ns at 3.4 GHz, the highest clock of this CPU: nothing that is done once for a page takes less

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


class Fit(NamedTuple):
    """Where the search began: the points, and what prices make of them."""

    table: pd.DataFrame
    model: Model


def fitted_points(points: pd.DataFrame) -> pd.DataFrame:
    """The points that the fit looks at; `repeat` is the same for all cores."""
    is_taken = points["cores"].isin(CORES) & ((points["curve"] != "repeat") | (points["cores"] == 1))
    return points[is_taken | (points["order"] > 0)]


def fit(points: pd.DataFrame) -> tuple[Fit, Floats]:
    """The model where the search starts, and the prices, in ns, at which it fits all points best."""
    table = fitted_points(points)
    begun = Fit(table, model_at(table, np.array([FITTED[name].start for name in NAMES])))
    return begun, improved(begun.model)


def model_at(table: pd.DataFrame, x: Floats) -> Model:
    """The model at some prices: slopes from small runs, and where they begin from runs of P1's size."""
    small = latencies(table, x)
    latency = simulated(table, prices_of(x))
    slope = slopes(lambda moved: latencies(table, moved), x, SLOPE_STEP * x, small)
    bars = table["order"].map(ERROR_BARS).to_numpy() / 100
    return Model(Points(table["measured_ns"].to_numpy(), bars), x, latency, slope * (latency / small)[:, None])


def improved(model: Model) -> Floats:
    """The prices at which the model fits its points best, of three digits and whole picoseconds."""
    return least_squares_fit(model, list(FITTED.values()), WAYS)


def left_out(begun: Fit) -> pd.DataFrame:
    """Each point as the fit to all others has it, without its curve, its order, its benchmark or its number of cores.

    By the model, not simulated anew: curve, order, cores, measured_ns, and for each of WITHOUT what was predicted.
    """
    table = begun.table.copy()
    for name, columns in WITHOUT.items():
        groups = list(begun.table[list(columns)].itertuples(index=False, name=None))
        table[f"without_{name}_ns"] = fitting.left_out(begun.model, groups, improved).round(1)
    return table


def prices_of(x: Floats) -> dict[str, float]:
    """The prices by name."""
    return dict(zip(NAMES, (float(price) for price in x), strict=True))


def latencies(table: pd.DataFrame, x: Floats) -> Floats:
    """What small runs take."""
    return simulated(table, prices_of(x), SMALL)
