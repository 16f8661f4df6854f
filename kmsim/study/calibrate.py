"""A price list for the reader's own machine: the prices that measured points can tell, fitted to them.

The search starts at a list that is there. Every price is moved once, and those that the points tell (`fit.knowledge`)
are fitted by least squares, in some rounds: simulate, take slopes, fit, and again from where that led. The others keep
their value and their source. Points that are held out are simulated only; what the fit says of a curve that it was not
given is predicted by its slopes. Leaves out the files of points (`study.measured`) and what is printed.

A price on a bound of its range, or below what hardware can do, is no price but a finding.

Prices and latencies are in ns.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

from kmsim.config.costs import CostsConfig, Price
from kmsim.config.machine import MachineConfig
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
from kmsim.study.left_out import Off, OfKind, lines_left_out
from kmsim.study.measured import Point
from kmsim.study.point_runs import PointRuns, priced
from kmsim.study.store import NotAResult
from kmsim.units import PS_PER_NS, format_time

ROUNDS_MAX = 4
STEADY = 0.01  # a round that moves no price by a larger share is the last
STEP = 0.1  # of a price: how far it is moved for its slope
SPAN = 8.0  # a price may end at this factor from where it starts, either way
ON_BOUND = 1.01
PERCENT = 100
WAYS = Ways(prior=1 / np.log(SPAN), trust=2.0, digits=4)  # before any point, a price is known within its range
WITHOUT = WAYS._replace(trust=SPAN**2)  # all of its range: where the search ended, it had seen the curve
CYCLE = 1 / 6.2  # ns: no CPU that is sold has a higher clock than 6.2 GHz (Core i9-14900KS, its data sheet)
FLOORS = {  # ns; of all others a cycle
    "zero_byte": CYCLE / 64,  # a line of 64 bytes a cycle
    "line_memory": 12.5,  # one column access of the fastest DDR4 (JESD79-4, DDR4-3200W: 20 cycles at 1.6 GHz)
}


class Fitted(NamedTuple):
    """One fitted price."""

    name: str
    start: float
    ns: float
    low: float  # the 95 % interval
    high: float
    partners: tuple[str, ...]  # with which it is known only in a sum
    bound: str  # the bound of its range on which it stands, in words; "": on none


class Compared(NamedTuple):
    """A point, what is simulated with the fitted prices, and what a fit without its curve predicts."""

    point: Point
    is_held_out: bool
    ns: float
    without_curve_ns: float  # NaN of those that are held out
    kind: OfKind | None  # of operation; None where it says nothing of one

    @property
    def error_percent(self) -> float:
        """How far the simulation is off."""
        return PERCENT * (self.ns / self.point.ns - 1)

    @property
    def left_out_percent(self) -> float:
        """How far the prediction is off."""
        return PERCENT * (self.without_curve_ns / self.point.ns - 1)

    @property
    def off(self) -> Off | None:
        """How far off it is without having been seen; None where it was not tried, or says nothing of a kind."""
        error = self.error_percent if self.is_held_out else self.left_out_percent
        return None if self.kind is None or np.isnan(error) else Off(self.kind, abs(error))


class Calibration(NamedTuple):
    """What came of it."""

    costs: CostsConfig  # the list that the search started from
    prices: list[Fitted]
    points: list[Compared]
    machine: MachineConfig

    @property
    def kept(self) -> dict[str, Price]:
        """The prices that the points do not tell, by name."""
        fitted = {price.name for price in self.prices}
        return {name: price for name, price in priced(self.costs).items() if name not in fitted}

    @property
    def findings(self) -> list[str]:
        """What no price of this model explains: prices on a bound, or below what hardware can do."""
        why = "something that the model does not have takes, or saves, that time"
        found = [f"{one.name}: {one.ns:g} ns is {one.bound}, no price: {why}" for one in self.prices if one.bound]
        return found + [
            f"{name}: {price.value / PS_PER_NS:g} ns, of {self.costs.name}, is below {_floor_words(name)}"
            for name, price in self.kept.items()
            if 0 < price.value < PS_PER_NS * floor_of(name)
        ]


def calibrate(
    runs: PointRuns, points: Sequence[Point], is_held_out: Sequence[bool], report: Callable[[str], None]
) -> Calibration:
    """Fit a machine's prices to points, but for those that are held out."""
    kept = ~np.array(is_held_out, np.bool_)
    if not kept.any():
        raise NotAResult("--hold-out: must leave some points to fit")
    runs.check(points)
    given = [point for point, is_kept in zip(points, kept, strict=True) if is_kept]
    start = {name: price.value / PS_PER_NS for name, price in priced(runs.costs).items() if price.value > 0}
    report(f"{len(given)} points of {len({point.run for point in given})} runs; {len(start)} prices, each moved once")
    every = model_at(runs, given, start)
    told = [known.is_told for known in knowledge(every, every.x, WAYS.prior, is_exact=True)]
    names = [name for name, is_told in zip(start, told, strict=True) if is_told]
    if not names:
        raise NotAResult("the points tell no price: must have smaller error bars, or more points")
    ranges = [range_of(name, start[name]) for name in names]
    first = every._replace(x=every.x[told], slope=every.slope[:, told])
    found, model = search(runs, given, dict(zip(names, ranges, strict=True)), first, report)
    prices = _fitted(names, ranges, found, knowledge(model, found, WAYS.prior))
    curves = [point.curve for point in given]
    without = np.full(len(points), np.nan)
    without[kept] = left_out(model, curves, lambda others: least_squares_fit(others, ranges, WITHOUT))
    latency = runs.latencies(points, {price.name: price.ns for price in prices})
    compared = [
        Compared(point, held, float(ns), float(other), runs.kind_of(point))
        for point, held, ns, other in zip(points, is_held_out, latency, without, strict=True)
    ]
    return Calibration(runs.costs, prices, compared, runs.simulated)


def search(
    runs: PointRuns, points: Sequence[Point], ranges: Mapping[str, Range], first: Model, report: Callable[[str], None]
) -> tuple[Floats, Model]:
    """The prices that fit best, and the model where the search ended: it begins at the one that was taken first."""
    model, allowed = first, list(ranges.values())
    found = least_squares_fit(model, allowed, WAYS)
    for n in range(1, ROUNDS_MAX):
        moved = float(np.abs(found / model.x - 1).max())
        report(f"round {n}: {len(ranges)} prices are told; the largest change is {moved:.1%}")
        model = model_at(runs, points, dict(zip(ranges, map(float, found), strict=True)))
        found = least_squares_fit(model, allowed, WAYS)
        if moved <= STEADY:
            break
    return found, model


def model_at(runs: PointRuns, points: Sequence[Point], prices: Mapping[str, float]) -> Model:
    """What some prices make of the points, and how that changes with each."""
    x = np.array(list(prices.values()))
    bars = Points(
        np.array([point.ns for point in points]), np.array([point.error_percent for point in points]) / PERCENT
    )

    def latencies(moved: Floats) -> Floats:
        return runs.latencies(points, dict(zip(prices, map(float, moved), strict=True)))

    latency = latencies(x)
    return Model(bars, x, latency, slopes(latencies, x, np.maximum(STEP * x, 1 / PS_PER_NS), latency))


# ---- what a price may be


def floor_of(name: str) -> float:
    """The least that hardware can take for it."""
    return FLOORS.get(name, CYCLE)


def _floor_words(name: str) -> str:
    return f"{floor_of(name):.2g} ns, the least that hardware can take for it"


def range_of(name: str, start: float) -> Range:
    """How far a price may be moved from where the search starts."""
    low = max(start / SPAN, floor_of(name))
    return Range(max(start, low), low, max(SPAN * start, SPAN * low))


def _bound(name: str, price: Range, ns: float) -> str:
    if ns >= price.high / ON_BOUND:
        return f"on the upper bound of its range, {price.high:g} ns"
    if ns > price.low * ON_BOUND:
        return ""
    return (
        f"at {_floor_words(name)}"
        if price.low == floor_of(name)
        else f"on the lower bound of its range, {price.low:g} ns"
    )


def _fitted(names: Sequence[str], ranges: Sequence[Range], found: Floats, known: Sequence[Known]) -> list[Fitted]:
    prices = []
    for name, price, ns, how in zip(names, ranges, map(float, found), known, strict=True):
        partners = tuple(names[j] for j in how.partners)
        ends = max(how.low, price.low), min(how.high, price.high)
        prices.append(Fitted(name, price.start, ns, *ends, partners, _bound(name, price, ns)))
    return prices


# ---- the new list


def price_list(found: Calibration, name: str, source: str) -> str:
    """The list as a file that a study may name: each price with its source and interval, and how far off it is."""
    fitted = {price.name: price for price in found.prices}
    lines = [f"# Fitted by kmsim calibrate to {source}; prices that it does not tell are those of {found.costs.name}."]
    lines += [f"name: {json.dumps(name)}", f"source: {json.dumps(f'fitted to {source}; others as {found.costs.name}')}"]
    for key, price in priced(found.costs).items():
        facts = {"value": price.value, "low": price.low, "high": price.high}
        why = price.source
        if key in fitted:
            found_ns = {"value": fitted[key].ns, "low": fitted[key].low, "high": fitted[key].high}
            facts = {name: round(PS_PER_NS * ns) for name, ns in found_ns.items()}
            why = source_of(fitted[key], source)
        times = ", ".join(f"{name}: {format_time(ps)}" for name, ps in facts.items() if ps is not None)
        lines.append(f"{key}: {{{times}, source: {json.dumps(why)}}}")
    cache = found.costs.cache_lines
    lines.append(f"cache_lines: {{value: {cache.value}, source: {json.dumps(cache.source)}}}")
    unseen = [one.off for one in found.points if one.off is not None]
    lines += lines_left_out(unseen, found.machine, f"{source}: held out, or as the fit without its curve has it")
    return "\n".join(lines) + "\n"


def source_of(price: Fitted, source: str) -> str:
    """Where a fitted price comes from, and how well it is known."""
    text = f"fitted to {source}: 95 % interval {price.low:.3g} to {price.high:.3g} ns"
    if price.partners:
        text += f"; only in a sum with {', '.join(price.partners)}"
    return text + (f"; {price.bound}" if price.bound else "")


def name_of(path: Path) -> str:
    """What the list in a file is called."""
    return path.stem or "calibrated"
