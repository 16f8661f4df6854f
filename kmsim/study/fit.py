"""Which prices fit measured latencies: one value for each price, for all points at once.

A run's latencies are linear in the prices as long as the same CPUs wait for the same locks. So: simulate, measure the
slope along each price (`slopes`), and find the prices that fit best by these slopes. Two meanings of best:
    least_squares_fit   the errors in their bars, squared, or raised to another power; a price stays near where the
                        search starts as far as no point says otherwise
    least_worst_fit     the worst error; below `enough`, what is nearest to the start
How well a price is known follows from the slopes where the search ended (`knowledge`): by itself, or only in a sum
with others, which all points see together. What a fit says of points that it was not given: `left_out`.

Prices and latencies are in ns. Leaves out what is simulated, which the caller hands in as latencies at some prices.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]

LATENCY_MIN = 1e-3  # ns: a logarithm is taken
SURE = 1.96  # standard errors to each side: 95 % of a normal distribution
TOLD = 1.3  # a price that is known within this factor, either way, is one that the points tell
IN_A_SUM = 0.5  # the share of what a dearer price adds that others take up: then it is known in a sum with them
NEARLY_ALL = 0.95  # of that: those that take up the rest are not named
NEARNESS = 0.02  # the weight of staying near the start, against the worst error


class Range(NamedTuple):
    """A price that is fitted: where the search starts, and what is plausible."""

    start: float
    low: float
    high: float


class Points(NamedTuple):
    """What was measured, and what each point may be off, as a share of it."""

    measured: Floats
    bars: Floats


class Model(NamedTuple):
    """What the prices make of some points: near where it was taken, their latencies are linear in the prices."""

    points: Points
    x: Floats  # the prices at which it was taken
    latency: Floats
    slope: Floats  # [point, price]

    def at(self, y: Floats) -> Floats:
        """The latencies with other prices."""
        return self.latency + self.slope @ (y - self.x)

    def of(self, is_kept: NDArray[np.bool_]) -> Model:
        """The same of some of the points."""
        points = Points(self.points.measured[is_kept], self.points.bars[is_kept])
        return Model(points, self.x, self.latency[is_kept], self.slope[is_kept])


class Ways(NamedTuple):
    """How the search goes."""

    power: float = 1.0  # of an error in its bar; least squares doubles it
    prior: float = 0.4  # the weight of staying near the start: what a price that is off by a factor of e costs
    trust: float = 2.0  # how far a price may move from where the slopes were taken, as a factor
    digits: int = 3  # of a price


class Known(NamedTuple):
    """How well the points tell one price."""

    low: float  # the 95 % interval
    high: float
    alone: float  # the factor within which it were known if all others were
    partners: tuple[int, ...]  # the prices with which it is known only in a sum; none where it is known by itself

    @property
    def is_told(self) -> bool:
        """Do the points tell it, be it in a sum?"""
        return self.alone <= TOLD


def slopes(latencies: Callable[[Floats], Floats], x: Floats, steps: Floats, at_x: Floats) -> Floats:
    """How the latency of each point changes with each price: [point, price].

    It takes one more simulation for each price. Prices that no point sees are found together: where several that are
    moved at once change nothing, none does.
    """
    slope = np.zeros((len(at_x), len(x)))
    pending = [np.arange(len(x))]
    while pending:
        some = pending.pop()
        moved = x.copy()
        moved[some] += steps[some]
        change = latencies(moved) - at_x
        if len(some) == 1:
            slope[:, some[0]] = change / (moved[some[0]] - x[some[0]])
        elif change.any():
            pending += np.array_split(some, 2)[::-1]
    return slope


def shares(points: Points, latency: Floats) -> Floats:
    """Each point's error as a share of what it may be; as much for twice too slow as for twice too fast."""
    return np.log(np.maximum(latency, LATENCY_MIN) / points.measured) / points.bars


def least_squares_fit(model: Model, ranges: Sequence[Range], ways: Ways = Ways()) -> Floats:  # noqa: B008
    """The prices at which the model fits its points best, in whole picoseconds."""
    from scipy.optimize import least_squares  # half a second

    low = np.log(np.maximum([price.low for price in ranges], model.x / ways.trust))
    high = np.log(np.minimum([price.high for price in ranges], model.x * ways.trust))
    start = np.log([price.start for price in ranges])

    def residuals(log_price: Floats) -> Floats:
        share = shares(model.points, model.at(np.exp(log_price)))
        return np.concatenate((np.sign(share) * np.abs(share) ** ways.power, ways.prior * (log_price - start)))

    middle = np.clip(np.log(model.x), low + 1e-9, high - 1e-9)
    found = np.exp(least_squares(residuals, middle, bounds=(low, high)).x)
    return np.array([round(float(f"{price:.{ways.digits}g}"), 3) for price in found])


def least_worst_fit(model: Model, ranges: Sequence[Range], enough: float) -> Floats:
    """The prices within their ranges at which the worst point is off least, as a share of what was measured.

    Unknowns of the linear program: the prices, the worst error, and how far each price is from its start, as a share
    of that.
    """
    from scipy.optimize import linprog

    start = np.array([price.start for price in ranges])
    measured = model.points.measured
    share = model.slope / measured[:, None]
    wanted = 1 - (model.latency - model.slope @ model.x) / measured
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
    return np.array([float(f"{price:.3g}") for price in result.x[:nr_prices]])


def left_out(model: Model, groups: Sequence[object], fit: Callable[[Model], Floats]) -> Floats:
    """Each point's latency as the fit to all others has it, of its group none: by the model, not simulated anew."""
    number = np.unique([str(group) for group in groups], return_inverse=True)[1]
    predicted = np.empty(len(number))
    for group in range(number.max() + 1):
        is_left_out = number == group
        if is_left_out.all():
            predicted[:] = np.nan
        else:
            predicted[is_left_out] = model.at(fit(model.of(~is_left_out)))[is_left_out]
    return predicted


def knowledge(model: Model, y: Floats, prior: float, *, is_exact: bool = False) -> list[Known]:
    """How well the points tell each price, from the slopes at `y`.

    A bar is taken for a standard error. Where points are off by more than that, intervals are wider by as much, unless
    the model is taken to be exact: before a fit, points are off for another reason.
    """
    latency = np.maximum(model.at(y), LATENCY_MIN)
    share = shares(model.points, latency)
    by_price = model.slope * y / latency[:, None] / model.points.bars[:, None]  # of a share, for a factor of e
    information = by_price.T @ by_price + prior**2 * np.eye(len(y))
    covariance = np.linalg.inv(information)
    nr_free = max(len(share) - len(y), 1)
    spread = 1.0 if is_exact else max(1.0, float(np.sqrt((share**2).sum() / nr_free)))
    error = SURE * spread * np.sqrt(np.diag(covariance))
    alone = SURE * spread / np.sqrt(np.diag(information))
    found = []
    for i, price in enumerate(y):
        is_known = error[i] <= np.log(TOLD)
        partners = () if is_known else _partners(i, by_price, covariance)
        low, high = price * np.exp(-error[i]), price * np.exp(error[i])
        found.append(Known(float(low), float(high), float(np.exp(alone[i])), partners))
    return found


def _partners(i: int, by_price: NDArray[np.floating[Any]], covariance: NDArray[np.floating[Any]]) -> tuple[int, ...]:
    """The fewest prices that take up nearly all of what a price adds to the points when it is dearer, however many."""
    added = by_price[:, i]
    if not added.any():
        return ()
    follows = covariance[:, i] / covariance[i, i]  # by how much the others change, of a change of this one
    taken = np.maximum(-follows * (added @ by_price) / (added @ added), 0)
    taken[i] = 0
    if taken.sum() < IN_A_SUM:
        return ()
    most = np.argsort(-taken, kind="stable")
    nr_named = int(np.searchsorted(np.cumsum(taken[most]), NEARLY_ALL * taken.sum())) + 1
    return tuple(sorted(most[:nr_named].tolist()))
