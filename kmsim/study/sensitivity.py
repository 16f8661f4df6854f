"""How much depends on the prices: which conclusions change if one of them is elsewhere in its interval.

One at a time: at every point, with the same seeds, each price is put at the lower and at the upper end of its interval,
as the list has it (`low`, `high`: `kmsim calibrate` writes them); a price without one is divided and multiplied by a
factor. Its effect on a response is how far that moves the response's mean. A conclusion is what a row of the study's
comparisons says (higher, lower, no difference shown: Holm, within each version of the prices); it changes where
a version says something else, and holds where none does. A price of 0, or one whose interval has no width, stays as it
is; a price of other values at other points is not ours to vary. Prices that are known only in a sum with others are
moved alone, too, as far as their own intervals reach: that is more than the points allow.

All at once: first-order and total indices of Sobol' (Saltelli's design; Saltelli et al., 2010; the estimators are
scipy's), prices independent and log-uniform in their intervals, at the first point of the study, one replication
with one seed: what varies is the prices. Prices that move nothing there one at a time are left out, since each
adds as many runs.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
import pandas as pd

from kmsim.config import Design, Study
from kmsim.config.costs import CostsConfig, Price
from kmsim.config.design import with_axis
from kmsim.study.estimates import comparisons
from kmsim.study.results import StudyResult
from kmsim.study.store import NotAResult
from kmsim.units import TIME_UNITS, format_time

AXIS = "price"
AS_GIVEN = "as given"
NOTHING_SHOWN = "no difference shown"
EFFECT_MIN = 0.001  # of a response's mean: below, a price is left out of Sobol's indices
SAMPLE_SEED = 1
ENDS = ("low", "high")

EFFECTS_COLUMNS = (
    "price", "value_ns", "source", "version", "end", "at_ns", "response", "unit", "largest_change", "mean_change",
    "point", "nr_points",
)  # fmt: skip
INDICES_COLUMNS = ("response", "unit", "price", "samples", "first_order", "total")


class Conclusion(NamedTuple):
    """A row of the comparisons: what is said of it with prices as given, and the versions in which that changes."""

    comparison: str
    response: str
    level: str
    where: str  # the other axes' levels
    said: str  # "higher", "lower" or NOTHING_SHOWN
    changed: tuple[str, ...]  # what else is said, and with which versions


class Version(NamedTuple):
    """One price at one end of its interval."""

    price: str
    end: str  # of ENDS
    name: str
    value_ps: int


def varied_prices(study: Study) -> dict[str, Price]:
    """The prices of a study that are more than 0 and not known exactly, by name."""
    prices = {name: getattr(study.costs, name) for name in CostsConfig.model_fields}
    return {
        name: price
        for name, price in prices.items()
        if isinstance(price, Price) and price.value > 0 and (price.low is None or price.low != price.high)
    }


def interval_of(price: Price, factor: float) -> tuple[int, int]:
    """The ends of its interval, in whole picoseconds, and at least one."""
    ends = (price.value / factor, price.value * factor) if price.low is None else (price.low, price.high or 0)
    low, high = (max(round(ps), 1) for ps in ends)
    return low, high


def versions_of(prices: Mapping[str, Price], factor: float) -> list[Version]:
    """Each price at each end."""
    found = []
    for name, price in prices.items():
        for end, sign, ps in zip(ENDS, "/x", interval_of(price, factor), strict=True):
            by_factor = f"{name} {sign} {factor:g}"
            label = by_factor if price.low is None else f"{name} at {format_time(ps)}"
            found.append(Version(name, end, label, ps))
    return found


def one_at_a_time(design: Design, factor: float) -> Design:
    """The study with one more axis: prices as given, then each price at both ends of its interval.

    NotAResult where none can be varied, where they are not the same at all points, or where seeds are not.
    """
    _check(design)
    prices = varied_prices(design.study_of(design.points[0]))
    variants: dict[str, Any] = {AS_GIVEN: {}}
    for version in versions_of(prices, factor):
        variants[version.name] = _priced({version.price: version.value_ps})
    return with_axis(design, {"name": AXIS, "variants": variants})


def _check(design: Design) -> None:
    """NotAResult where prices cannot be varied, or where their effect could not be told from noise."""
    if design.inquiry.replications.random_numbers != "common":
        why = "else no price is alone in what changes: --set replications.random_numbers=common"
        raise NotAResult(f"{design.name}: must have common random numbers, {why}")
    first, *others = design.points
    prices = _values(design.study_of(first))
    for point in others:
        at_point = _values(design.study_of(point))
        name = next((n for n in {**prices, **at_point} if prices.get(n) != at_point.get(n)), None)
        if name is not None:
            found = f"{name} is not that of point {first.number} at point {point.number}"
            way = "narrow it to one price list, by sweep.only"
            raise NotAResult(f"{design.name}: must have the same prices at all points; {found}: {way}")
    if not prices:
        raise NotAResult(f"{design.name}: must have prices above 0 whose intervals have a width; it has none")


def _values(study: Study) -> dict[str, int]:
    return {name: price.value for name, price in varied_prices(study).items()}


def _priced(values: Mapping[str, float]) -> dict[str, str]:
    """The keys that set prices, in picoseconds."""
    return {f"costs.{name}.value": format_time(max(round(value), 1)) for name, value in values.items()}


# ---- one at a time


class _Changed(NamedTuple):
    """What one version of a price changes: a row for each place in the other axes, a column for each response."""

    price: Price
    version: Version
    relative: pd.DataFrame


def effects(study: StudyResult, design: Design, factor: float) -> pd.DataFrame:
    """For each version and response: the largest relative change of the mean, of which point, and the mean change.

    Points at which a response is 0 with prices as given have no relative change, and are left out.
    """
    units = dict(zip(study.estimates["response"], study.estimates["unit"], strict=True))
    rows: list[tuple[object, ...]] = []
    for price, version, relative in _changes(study, design, factor):
        for response in relative.columns:
            moved = relative[response].dropna()
            if moved.empty:
                continue
            most = int(np.argmax(moved.abs()))
            value, at = (ps / TIME_UNITS["ns"] for ps in (price.value, version.value_ps))
            moved_to = (version.name, version.end, at)
            about = (version.price, value, price.source, *moved_to, response, units[response])
            point = _where(_others(study), moved.index[most])
            rows.append((*about, float(moved.iloc[most]), float(moved.mean()), point, len(moved)))
    return pd.DataFrame(rows, columns=list(EFFECTS_COLUMNS))


def influential(study: StudyResult, design: Design, factor: float) -> list[str]:
    """The prices that move a response at the first point, in the order of the price list."""
    first = tuple(design.points[0].labels[name] for name in _others(study))
    found = [
        version.price
        for _, version, relative in _changes(study, design, factor)
        if (relative.loc[relative.index == first].abs() >= EFFECT_MIN).to_numpy().any()
    ]
    return list(dict.fromkeys(found))


def _others(study: StudyResult) -> list[str]:
    return [axis.name for axis in study.axes if axis.name != AXIS]


def _changes(study: StudyResult, design: Design, factor: float) -> Iterator[_Changed]:
    """Each version's change of every mean, as a share of that with prices as given; NaN where there is none."""
    means = study.estimates.set_index(["point", "response"])["mean"].unstack("response", sort=False)
    others = _others(study)
    places = study.runs.drop_duplicates("point").set_index("point")[[AXIS, *others]]
    base = _by_place(means, places[places[AXIS] == AS_GIVEN], others)
    prices = varied_prices(design.study_of(design.points[0]))
    for version in versions_of(prices, factor):
        relative = _by_place(means, places[places[AXIS] == version.name], others) / base - 1
        yield _Changed(prices[version.price], version, relative.replace([np.inf, -np.inf], np.nan))


def _by_place(means: pd.DataFrame, places: pd.DataFrame, others: Sequence[str]) -> pd.DataFrame:
    """The means at these points, by the levels of the other axes."""
    found = means.reindex(places.index)  # where all runs failed there is no mean
    keys = [tuple(str(label) for label in row) for row in places[list(others)].itertuples(index=False)]
    return found.set_axis(pd.Index(keys, tupleize_cols=False), axis="index")


def _where(others: Sequence[str], labels: Any) -> str:
    return ", ".join(f"{name} {label}" for name, label in zip(others, labels, strict=True))


def conclusions(study: StudyResult) -> list[Conclusion]:
    """Every row of the comparisons, and the versions of the prices that change its conclusion."""
    axes = [axis for axis in study.axes if axis.name != AXIS]
    versions = next(axis.levels for axis in study.axes if axis.name == AXIS)
    said = {version: dict(_said(study, version, axes)) for version in versions}
    found = []
    for key, with_given in said[AS_GIVEN].items():
        others: dict[str, list[str]] = {}
        for version, of in said.items():
            if of.get(key, with_given) != with_given:
                others.setdefault(of[key], []).append(version)
        changed = tuple(f"{other} with {', '.join(versions)}" for other, versions in others.items())
        found.append(Conclusion(*key, with_given, changed))
    return found


def _said(study: StudyResult, version: str, axes: Sequence[Any]) -> Iterator[tuple[tuple[str, str, str, str], str]]:
    """What the comparisons say with one version of the prices, row by row."""
    runs = study.runs[study.runs[AXIS] == version]
    responses = study.responses[study.responses["run"].isin(runs["run"])]
    table = comparisons(runs, responses, axes, study.comparisons_config)
    for row in table.to_dict("records"):
        others = [axis.name for axis in axes if axis.name != row["axis"]]
        where = _where(others, [row[name] for name in others])
        sign = "higher" if row["difference"] > 0 else "lower"
        key = str(row["comparison"]), str(row["response"]), str(row["level"]), where
        yield key, sign if row["significant"] else NOTHING_SHOWN


# ---- all at once


def saltelli(design: Design, prices: Sequence[str], samples: int, factor: float) -> Design:
    """The study's first point with an axis of all versions of the prices that the indices are estimated from."""
    given = varied_prices(design.study_of(design.points[0]))
    ends = [interval_of(given[name], factor) for name in prices]
    variants = {}
    for label, shares in _saltelli_rows(len(prices), samples):
        values = [low * (high / low) ** share for (low, high), share in zip(ends, shares, strict=True)]
        variants[label] = _priced(dict(zip(prices, values, strict=True)))
    first = {axis.name: [design.points[0].labels[axis.name]] for axis in design.axes}
    alone = design.narrowed(first, replications=1)
    return with_axis(alone, {"name": AXIS, "variants": variants})


def _saltelli_rows(nr_prices: int, samples: int) -> Iterator[tuple[str, Any]]:
    """Each sample of A, of B, and of A with one column of B: its label and where it lies between 0 and 1."""
    from scipy.stats import qmc  # 0.9 s

    both = qmc.Sobol(2 * nr_prices, seed=SAMPLE_SEED).random(samples)
    a, b = both[:, :nr_prices], both[:, nr_prices:]
    for n in range(samples):
        yield f"A {n}", a[n]
        yield f"B {n}", b[n]
        for i in range(nr_prices):
            mixed = a[n].copy()
            mixed[i] = b[n, i]
            yield f"AB {i} {n}", mixed


def indices(study: StudyResult, prices: Sequence[str], samples: int) -> pd.DataFrame:
    """First-order and total index of each price for each response; NaN where it is constant or a run is missing."""
    from scipy.stats import sobol_indices

    whole = study.responses[study.responses["batch"] < 0]
    value = whole.merge(study.runs[["run", AXIS]], on="run").pivot(index=AXIS, columns="response", values="value")
    value = value.reindex(study.runs[AXIS])  # a run that failed has no values
    units = dict(zip(study.responses["response"], study.responses["unit"], strict=True))
    rows: list[tuple[object, ...]] = []
    for response, unit in units.items():
        mine = value[response]
        # Twice the same response: of a single number, scipy makes a scalar and fails.
        f_a, f_b = (np.array([[mine[f"{name} {n}"] for n in range(samples)]] * 2) for name in "AB")
        f_ab = np.array([[[mine[f"AB {i} {n}"] for n in range(samples)]] * 2 for i in range(len(prices))])
        first, total = np.full((2, len(prices)), np.nan)
        if np.isfinite(f_ab).all() and np.ptp(np.concatenate((f_a, f_b), axis=1)) > 0:
            found = sobol_indices(func={"f_A": f_a, "f_B": f_b, "f_AB": f_ab}, n=samples)
            first, total = (of.reshape(2, len(prices))[0] for of in (found.first_order, found.total_order))
        for i, name in enumerate(prices):
            rows.append((response, unit, name, samples, float(first[i]), float(total[i])))
    return pd.DataFrame(rows, columns=list(INDICES_COLUMNS))
