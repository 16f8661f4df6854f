"""How much hangs on prices that nobody measured: which conclusions change if those marked "assumed" are wrong.

One at a time: each assumed price is divided and multiplied by a factor at every point, with the same seeds;
its effect on a response is how far that moves the response's mean. A conclusion is a row of the study's
comparisons that is significant (Holm, within each version of the prices); it changes where it loses that, or
where the difference turns its sign; a row may also become significant.

All at once: first-order and total indices of Sobol' (Saltelli's design; Saltelli et al., 2010; the estimators are
scipy's), prices independent and log-uniform within the factor, at the first point of the study, one replication
with one seed: what varies is the prices. Prices without any effect one at a time are left out, since each adds
as many runs.
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
from kmsim.units import format_time

AXIS = "assumed price"
AS_GIVEN = "as given"
ASSUMED = "assumed"
EFFECT_MIN = 0.001  # of a response's mean: below, a price is left out of Sobol's indices
SAMPLE_SEED = 1
VERSIONS = {"/": -1, "x": 1}  # the power of the factor

EFFECTS_COLUMNS = ("price", "value", "source", "version", "response", "unit", "largest_change", "mean_change", "point")
INDICES_COLUMNS = ("response", "unit", "price", "first_order", "total")


class Conclusion(NamedTuple):
    """A row of the comparisons: what is said of it with prices as given, and the versions in which that changes."""

    comparison: str
    response: str
    level: str
    where: str  # the other axes' levels
    said: str  # "higher", "lower" or "no difference shown"
    changed: tuple[str, ...]  # version of a price: what is said then


def assumed_prices(study: Study) -> dict[str, Price]:
    """The prices of a study that are marked "assumed", by name."""
    prices = {name: getattr(study.costs, name) for name in CostsConfig.model_fields}
    return {
        name: price
        for name, price in prices.items()
        if isinstance(price, Price) and price.source.lower().startswith(ASSUMED) and price.value > 0
    }


def one_at_a_time(design: Design, factor: float) -> Design:
    """The study with an axis more: prices as given, and each assumed one divided and multiplied by the factor.

    Prices are scaled from those of the study's first point. NotAResult where none is assumed.
    """
    prices = assumed_prices(design.study_of(design.points[0]))
    if not prices:
        raise NotAResult(f"{design.name}: must have prices whose source says `assumed`; it has none")
    variants: dict[str, Any] = {AS_GIVEN: {}}
    for name, price in prices.items():
        for sign, power in VERSIONS.items():
            variants[version_of(name, sign, factor)] = _priced({name: price.value * factor**power})
    return with_axis(design, {"name": AXIS, "variants": variants})


def version_of(price: str, sign: str, factor: float) -> str:
    """What a version of the prices is called."""
    return f"{price} {sign} {factor:g}"


def _priced(values: Mapping[str, float]) -> dict[str, str]:
    """The keys that set prices, in picoseconds."""
    return {f"costs.{name}.value": format_time(max(round(value), 1)) for name, value in values.items()}


# ---- one at a time


def effects(study: StudyResult, design: Design, factor: float) -> pd.DataFrame:
    """For each version and response: the largest relative change of the mean, of which point, and the mean change."""
    means = study.estimates.set_index(["point", "response"])["mean"].unstack("response")
    places = study.runs.drop_duplicates("point").set_index("point")[[axis.name for axis in study.axes]]
    others = [axis.name for axis in study.axes if axis.name != AXIS]
    given = places[places[AXIS] == AS_GIVEN]
    base = _by_place(means, given, others)
    units = dict(zip(study.estimates["response"], study.estimates["unit"], strict=True))
    prices = assumed_prices(design.study_of(design.points[0]))
    rows: list[tuple[object, ...]] = []
    for name, price in prices.items():
        for sign in VERSIONS:
            version = version_of(name, sign, factor)
            change = _by_place(means, places[places[AXIS] == version], others) / base - 1
            for response in change.columns:
                moved = change[response].replace([np.inf, -np.inf], np.nan).dropna()
                if moved.empty:
                    continue
                most = moved.abs().idxmax()
                about = (name, format_time(price.value), price.source, version, response, units[response])
                rows.append((*about, float(moved[most]), float(moved.mean()), _where(others, most)))
    return pd.DataFrame(rows, columns=list(EFFECTS_COLUMNS))


def _by_place(means: pd.DataFrame, places: pd.DataFrame, others: Sequence[str]) -> pd.DataFrame:
    """The means at these points, by the levels of the other axes."""
    found = means.loc[places.index]
    keys = [tuple(str(label) for label in row) for row in places[list(others)].itertuples(index=False)]
    return found.set_axis(pd.Index(keys, tupleize_cols=False), axis="index")


def _where(others: Sequence[str], labels: Any) -> str:
    return ", ".join(f"{name} {label}" for name, label in zip(others, labels, strict=True))


def conclusions(study: StudyResult) -> list[Conclusion]:
    """Every row of the comparisons, and in which versions of the prices something else is said of it."""
    axes = [axis for axis in study.axes if axis.name != AXIS]
    versions = next(axis.levels for axis in study.axes if axis.name == AXIS)
    said = {version: dict(_said(study, version, axes)) for version in versions}
    found = []
    for key, with_given in said[AS_GIVEN].items():
        changed = tuple(
            f"{version}: {of[key]}" for version, of in said.items() if key in of and of[key] != with_given
        )
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
        yield key, sign if row["significant"] else "no difference shown"


# ---- all at once


def influential(table: pd.DataFrame) -> list[str]:
    """The prices with an effect on any response, in the order of the table."""
    some = table[table["largest_change"].abs() >= EFFECT_MIN]
    return list(dict.fromkeys(some["price"]))


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
    alone = with_axis(design, {"name": AXIS, "variants": variants})
    return alone.narrowed(first, replications=1)


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
    """First-order and total index of each price for each response; NaN of a response that does not vary."""
    from scipy.stats import sobol_indices

    by_run = study.responses.merge(study.runs[["run", AXIS]], on="run")
    value = by_run.pivot(index=AXIS, columns="response", values="value")
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
            rows.append((response, unit, name, float(first[i]), float(total[i])))
    return pd.DataFrame(rows, columns=list(INDICES_COLUMNS))
