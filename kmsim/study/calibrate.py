"""A price list for the reader's own machine: the prices that measured points can tell, fitted to them.

The search starts at a list that is there. Every price is moved once, and those that the points tell (`fit.knowledge`)
are fitted by least squares, in some rounds: simulate, take slopes, fit, and again from where that led. The others keep
their value and their source. Points that are held out are simulated only; what the fit says of a curve that it was not
given is predicted by its slopes. Leaves out the files of points (`study.measured`) and what is printed.

Prices and latencies are in ns.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from kmsim.config import load
from kmsim.config.costs import CostsConfig, Price
from kmsim.study.fit import (
    Floats,
    Known,
    Model,
    Points,
    Range,
    Ways,
    knowledge,
    least_squares_fit,
    left_out,
    slopes,
)
from kmsim.study.measured import KINDS, Point, Run
from kmsim.study.store import NotAResult
from kmsim.units import PS_PER_NS, format_time

ROUNDS_MAX = 4
STEADY = 0.01  # a round that moves no price by a larger share is the last
STEP = 0.1  # of a price: how far it is moved for its slope
SPAN = 8.0  # a price may end at this factor from where it starts, either way
ON_BOUND = 1.01
PERCENT = 100
SEED = 1
WAYS = Ways(prior=0.1, trust=2.0, digits=4)


class Asked(NamedTuple):
    """On which machine, and from which list the search starts."""

    machine: str
    costs: str


class Fitted(NamedTuple):
    """One fitted price."""

    name: str
    start: float
    ns: float
    low: float  # the 95 % interval
    high: float
    partners: tuple[str, ...]  # with which it is known only in a sum
    on_bound: bool  # the points ask for more than it may be moved: a finding, no price


class Compared(NamedTuple):
    """A point, what is simulated with the fitted prices, and what a fit without its curve predicts."""

    point: Point
    is_held_out: bool
    ns: float
    without_curve_ns: float  # NaN of those that are held out

    @property
    def error_percent(self) -> float:
        """How far the simulation is off."""
        return PERCENT * (self.ns / self.point.ns - 1)

    @property
    def left_out_percent(self) -> float:
        """How far the prediction is off."""
        return PERCENT * (self.without_curve_ns / self.point.ns - 1)


class Calibration(NamedTuple):
    """What came of it."""

    costs: CostsConfig  # the list that the search started from
    prices: list[Fitted]
    points: list[Compared]


def calibrate(
    asked: Asked, points: Sequence[Point], is_held_out: Sequence[bool], report: Callable[[str], None]
) -> Calibration:
    """Fit a machine's prices to points, but for those that are held out."""
    kept = ~np.array(is_held_out, np.bool_)
    if not kept.any():
        raise NotAResult("--hold-out: must leave some points to fit")
    costs = costs_of(asked, points[0].run)
    start = {name: price.value / PS_PER_NS for name, price in priced(costs).items() if price.value > 0}
    given = [point for point, is_kept in zip(points, kept, strict=True) if is_kept]
    bars = Points(np.array([point.ns for point in given]), np.array([point.error_percent for point in given]) / PERCENT)
    report(f"{len(given)} points of {len(set(_runs(given)))} runs, simulated once for each of {len(start)} prices")
    every = model_at(asked, given, bars, start)
    told = [known.is_told for known in knowledge(every, every.x, WAYS.prior, is_exact=True)]
    names = [name for name, is_told in zip(start, told, strict=True) if is_told]
    if not names:
        raise NotAResult("the points tell no price: must have smaller error bars, or more points")
    ranges = [Range(start[name], start[name] / SPAN, start[name] * SPAN) for name in names]
    model = every._replace(x=every.x[told], slope=every.slope[:, told])
    found = least_squares_fit(model, ranges, WAYS)
    for n in range(1, ROUNDS_MAX):
        moved = float(np.abs(found / model.x - 1).max())
        report(f"round {n}: {len(names)} prices are told; the largest change is {moved:.1%}")
        model = model_at(asked, given, bars, dict(zip(names, map(float, found), strict=True)))
        if moved <= STEADY:
            break
        found = least_squares_fit(model, ranges, WAYS)
    prices = _fitted(names, ranges, found, knowledge(model, found, WAYS.prior))
    curves = [point.curve for point in given]
    without = np.full(len(points), np.nan)
    without[kept] = left_out(model, curves, lambda others: least_squares_fit(others, ranges, WAYS))
    latency = simulated(asked, points, {price.name: price.ns for price in prices})
    compared = [
        Compared(point, held, float(ns), float(other))
        for point, held, ns, other in zip(points, is_held_out, latency, without, strict=True)
    ]
    return Calibration(costs, prices, compared)


def model_at(asked: Asked, points: Sequence[Point], bars: Points, prices: dict[str, float]) -> Model:
    """What some prices make of the points, and how that changes with each."""
    x = np.array(list(prices.values()))

    def latencies(moved: Floats) -> Floats:
        return simulated(asked, points, dict(zip(prices, map(float, moved), strict=True)))

    latency = latencies(x)
    return Model(bars, x, latency, slopes(latencies, x, np.maximum(STEP * x, 1 / PS_PER_NS), latency))


def _fitted(names: Sequence[str], ranges: Sequence[Range], found: Floats, known: Sequence[Known]) -> list[Fitted]:
    prices = []
    for name, price, ns, how in zip(names, ranges, map(float, found), known, strict=True):
        on_bound = ns <= price.low * ON_BOUND or ns >= price.high / ON_BOUND
        partners = tuple(names[j] for j in how.partners)
        prices.append(Fitted(name, price.start, ns, how.low, how.high, partners, on_bound))
    return prices


# ---- what is simulated


def priced(costs: CostsConfig) -> dict[str, Price]:
    """The prices of a list by name."""
    fields = {name: getattr(costs, name) for name in CostsConfig.model_fields}
    return {name: field for name, field in fields.items() if isinstance(field, Price)}


def costs_of(asked: Asked, run: Run) -> CostsConfig:
    """The list that the search starts from."""
    return load(run.file, _sets(asked, run, {})).costs


def simulated(asked: Asked, points: Sequence[Point], prices: dict[str, float]) -> NDArray[np.float64]:
    """The points' latencies with other prices in place of the list's."""
    means = {run: _means(asked, run, prices) for run in _runs(points)}
    return np.array([sum(means[point.run].get(kind, np.nan) for kind in KINDS[point.operation]) for point in points])


def _runs(points: Sequence[Point]) -> list[Run]:
    return list(dict.fromkeys(point.run for point in points))


def _sets(asked: Asked, run: Run, prices: dict[str, float]) -> list[str]:
    sets = [f"machine={asked.machine}", f"costs={asked.costs}", "run.sample_every=1000s", *run.sets]
    return sets + [f"costs.{name}.value={max(round(PS_PER_NS * ns), 1)}ps" for name, ns in prices.items()]


def _means(asked: Asked, run: Run, prices: dict[str, float]) -> dict[str, float]:
    """The mean latency of each kind of operation of one run."""
    from kmsim.study.runner import run_point
    from kmsim.study.tables import tables_of

    simulation = run_point(load(run.file, _sets(asked, run, prices), seed=SEED))
    operations = tables_of(simulation)["operations"]
    simulation.free()
    if operations["failed"].any():
        raise NotAResult(f"{asked.machine}: must have memory for {run.file.stem}; allocations failed")
    means = {}
    for kind in np.unique(operations["kind"]).tolist():
        is_mine = operations["kind"] == kind
        means[kind] = float(operations["sum_ps"][is_mine].sum() / operations["count"][is_mine].sum() / PS_PER_NS)
    return means


# ---- the new list


def price_list(found: Calibration, name: str, source: str) -> str:
    """The list as a file that a study may name: each price with where it comes from."""
    fitted = {price.name: price for price in found.prices}
    lines = [f"# Fitted by kmsim calibrate to {source}; prices that it does not tell are those of {found.costs.name}."]
    lines += [f"name: {json.dumps(name)}", f"source: {json.dumps(f'fitted to {source}; others as {found.costs.name}')}"]
    for key, price in priced(found.costs).items():
        value, why = price.value, price.source
        if key in fitted:
            value, why = round(PS_PER_NS * fitted[key].ns), source_of(fitted[key], source)
        lines.append(f"{key}: {{value: {format_time(value)}, source: {json.dumps(why)}}}")
    cache = found.costs.cache_lines
    lines.append(f"cache_lines: {{value: {cache.value}, source: {json.dumps(cache.source)}}}")
    return "\n".join(lines) + "\n"


def source_of(price: Fitted, source: str) -> str:
    """Where a fitted price comes from, and how well it is known."""
    text = f"fitted to {source}: 95 % interval {price.low:.3g} to {price.high:.3g} ns"
    if price.partners:
        text += f"; only in a sum with {', '.join(price.partners)}"
    return text + ("; on the bound of its range" if price.on_bound else "")


def name_of(path: Path) -> str:
    """What the list in a file is called."""
    return path.stem or "calibrated"
