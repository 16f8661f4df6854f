"""How much depends on prices that nobody measured: which conclusions change if those marked "assumed" are wrong.

One at a time: each assumed price is divided and multiplied by a factor at every point, with the same seeds;
its effect on a response is how far that moves the response's mean. A conclusion is what a row of the study's
comparisons says (higher, lower, no difference shown: Holm, within each version of the prices); it changes where
a version says something else. A price of 0 stays 0; a price of other values at other points is not ours to vary.

All at once: first-order and total indices of Sobol' (Saltelli's design; Saltelli et al., 2010; the estimators are
scipy's), prices independent and log-uniform within the factor, at the first point of the study, one replication
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

AXIS = "assumed price"
AS_GIVEN = "as given"
ASSUMED = "assumed"
NOTHING_SHOWN = "no difference shown"
EFFECT_MIN = 0.001  # of a response's mean: below, a price is left out of Sobol's indices
SAMPLE_SEED = 1
VERSIONS = {"/": -1, "x": 1}  # the power of the factor

EFFECTS_COLUMNS = (
    "price", "value_ns", "source", "version", "response", "unit", "largest_change", "mean_change", "point",
    "nr_points",
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


def assumed_prices(study: Study) -> dict[str, Price]:
    """The prices of a study that are marked "assumed" and are more than 0, by name."""
    prices = {name: getattr(study.costs, name) for name in CostsConfig.model_fields}
    return {
        name: price
        for name, price in prices.items()
        if isinstance(price, Price) and price.source.lower().startswith(ASSUMED) and price.value > 0
    }


def one_at_a_time(design: Design, factor: float) -> Design:
    """The study with one more axis: prices as given, then each assumed price divided and multiplied by the factor.

    NotAResult where none is assumed, where they are not the same at all points, or where seeds are not.
    """
    _check(design)
    prices = assumed_prices(design.study_of(design.points[0]))
    variants: dict[str, Any] = {AS_GIVEN: {}}
    for name, price in prices.items():
        for sign, power in VERSIONS.items():
            variants[version_of(name, sign, factor)] = _priced({name: price.value * factor**power})
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
            raise NotAResult(f"{design.name}: must have the same assumed prices at all points; {found}: {way}")
    if not prices:
        raise NotAResult(f"{design.name}: must have prices whose source says `assumed`; it has none above 0")


def _values(study: Study) -> dict[str, int]:
    return {name: price.value for name, price in assumed_prices(study).items()}


def version_of(price: str, sign: str, factor: float) -> str:
    """What a version of the prices is called."""
    return f"{price} {sign} {factor:g}"


def _priced(values: Mapping[str, float]) -> dict[str, str]:
    """The keys that set prices, in picoseconds."""
    return {f"costs.{name}.value": format_time(max(round(value), 1)) for name, value in values.items()}


# ---- one at a time


class _Changed(NamedTuple):
    """What one version of a price changes: a row for each place in the other axes, a column for each response."""

    name: str
    price: Price
    version: str
    relative: pd.DataFrame


def effects(study: StudyResult, design: Design, factor: float) -> pd.DataFrame:
    """For each version and response: the largest relative change of the mean, of which point, and the mean change.

    Points at which a response is 0 with prices as given have no relative change, and are left out.
    """
    units = dict(zip(study.estimates["response"], study.estimates["unit"], strict=True))
    rows: list[tuple[object, ...]] = []
    for name, price, version, relative in _changes(study, design, factor):
        for response in relative.columns:
            moved = relative[response].dropna()
            if moved.empty:
                continue
            most = int(np.argmax(moved.abs()))
            about = (name, price.value / TIME_UNITS["ns"], price.source, version, response, units[response])
            point = _where(_others(study), moved.index[most])
            rows.append((*about, float(moved.iloc[most]), float(moved.mean()), point, len(moved)))
    return pd.DataFrame(rows, columns=list(EFFECTS_COLUMNS))


def influential(study: StudyResult, design: Design, factor: float) -> list[str]:
    """The prices that move a response at the first point, in the order of the price list."""
    first = tuple(design.points[0].labels[name] for name in _others(study))
    found = [
        name
        for name, _, _, relative in _changes(study, design, factor)
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
    for name, price in assumed_prices(design.study_of(design.points[0])).items():
        for sign in VERSIONS:
            version = version_of(name, sign, factor)
            relative = _by_place(means, places[places[AXIS] == version], others) / base - 1
            yield _Changed(name, price, version, relative.replace([np.inf, -np.inf], np.nan))


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
    given = assumed_prices(design.study_of(design.points[0]))
    variants = {}
    for label, shares in _saltelli_rows(len(prices), samples):
        values = {
            name: given[name].value * factor ** (2 * share - 1) for name, share in zip(prices, shares, strict=True)
        }
        variants[label] = _priced(values)
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
