"""The two tables that a study's conclusions rest on: estimates at each point, and differences between points.

    estimates    one row a point and response: mean, standard deviation, confidence interval, and how it was made
    comparisons  one row a level, response and combination of the other axes' levels: level minus baseline

A point's observations are its replications; where only one run is left and it was cut into batches, they are
the batches, and the mean is the batches' mean (of a quantile: the mean of the batches' quantiles). Runs that
failed, those of a machine that could not go on (what it did before that is no sample of what was asked for), and
values that are not finite are left out, and `n` says how many observations are left. `lag_1_p` is the probability
that independent batches show so much correlation between neighbours: below 0.05, the batches are too short for the
interval.

`failed_share` is the mean share of allocations that failed, in percent, of what a response is about: a latency is of
those that were served, so latencies are comparable where as many failed.

`model_error` says how far off the model itself may be (`study.model_error`): in percent of the mean, the largest of the
point's runs; 0 of what is only counted, NaN of a time that was never measured. In a comparison it is the larger one of
both points, in the unit of the response, and a difference that is no larger is `within_model_error`.

In a comparison, pairs are of the same replication (or batch) and the same levels of the other axes; a point
whose baseline was dropped has no row. The rows of one response are tested together (Holm): responses are different
questions, and of several a study says which is the primary one. A response of which every difference is nothing is
not tested (`p_holm` is NaN). Of comparisons of more than `BOOTSTRAP_ROWS_MAX` rows, the bootstrap is left out (NaN).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from kmsim.study.paired import (
    Differences,
    Observations,
    bootstrap_intervals,
    holm_in_each,
    paired_differences,
    unpaired_differences,
)
from kmsim.study.statistics import (
    CONFIDENCE,
    Floats,
    Ints,
    differences,
    moments,
    relative_width,
    t_width,
    von_neumann,
)

if TYPE_CHECKING:
    from kmsim.config.inquiry import ComparisonConfig
    from kmsim.config.product import Axis

BOOTSTRAP_ROWS_MAX = 5_000  # about 5 s of 10 replications
BY_REPLICATIONS, BY_BATCHES, NO_METHOD = "t over replications", "batch means", ""
OUTCOMES = ("n", "mean", "sd", "ci_low", "ci_high", "half_width", "method", "lag_1_p", "failed_share", "model_error")
COMPARED = ("comparison", "response", "unit", "axis", "baseline", "level")
DIFFERENCE = (
    "n",
    "baseline_mean",
    "difference",
    "ci_low",
    "ci_high",
    "boot_low",
    "boot_high",
    "relative",
    "p",
    "p_holm",
    "significant",
    "variance_ratio",
    "baseline_failed_share",
    "failed_share",
    "model_error",
    "within_model_error",
)


class _Observed(NamedTuple):
    """What was observed, in the order of points and responses; a cell is a response at a point."""

    points: pd.DataFrame  # `point` and the axes' labels, ascending
    responses: pd.DataFrame  # `response` and `unit`, in the order in which they come
    cell: Ints  # by observation: point * nr_responses + response
    number: Ints  # the replication, or the batch
    value: Floats
    by_batches: NDArray[np.bool_]  # by cell
    failed_share: Floats  # by cell, in percent
    model_error: Floats  # by cell, in percent

    @property
    def nr_cells(self) -> int:
        return len(self.points) * len(self.responses)


def estimates(runs: pd.DataFrame, responses: pd.DataFrame, axes: Sequence[Axis]) -> pd.DataFrame:
    """Means and intervals; a row for each point of `runs` and each response of `responses`, in that order."""
    found = _observed(runs, responses, [axis.name for axis in axes])
    n, mean, sd = moments(found.cell, found.value, found.nr_cells)
    width = t_width(n, sd)
    in_batches = found.by_batches[found.cell]
    p = von_neumann(found.cell[in_batches], found.value[in_batches], found.nr_cells)[1]
    method = np.where(found.by_batches, BY_BATCHES, np.where(n > 1, BY_REPLICATIONS, NO_METHOD))
    which = np.divmod(np.arange(found.nr_cells), max(len(found.responses), 1))
    beside = (found.failed_share, found.model_error)
    outcomes = (n, mean, sd, mean - width, mean + width, relative_width(mean, width), method, p, *beside)
    return pd.DataFrame(
        {
            **_taken(found.points, which[0]),
            **_taken(found.responses, which[1]),
            **dict(zip(OUTCOMES, outcomes, strict=True)),
        }
    )


def comparisons(
    runs: pd.DataFrame, responses: pd.DataFrame, axes: Sequence[Axis], configs: Sequence[ComparisonConfig]
) -> pd.DataFrame:
    """Differences from a baseline, comparison by comparison, response by response, point by point.

    The axes' columns say the point that is compared with the one of the baseline.
    """
    names = [axis.name for axis in axes]
    columns = [*COMPARED, *names, *DIFFERENCE]
    if not configs:
        return pd.DataFrame(columns=columns)
    found = _observed(runs, responses, names)
    return pd.concat([_comparison(found, axes, config)[columns] for config in configs], ignore_index=True)


def same_everywhere(rows: pd.DataFrame) -> pd.Series[bool]:
    """Of each row of a comparison: was its response left out of the tests, as it does not differ anywhere?"""
    return rows["p"].notna() & rows["p_holm"].isna()


def is_shown(rows: pd.DataFrame) -> pd.Series[bool]:
    """Of each row of a comparison: does it differ, by Holm's correction, and by more than the model's error?"""
    return rows["significant"].astype(bool) & ~rows["within_model_error"].astype(bool)


def of_unknown_error(rows: pd.DataFrame) -> str:
    """Of rows that are shown: how many are of times that were never measured; empty where none is."""
    count = int(rows["model_error"].isna().sum())
    return f", {count:,} of them of unknown error" if count else ""


# ---- observations


def count_runs(runs: pd.DataFrame) -> pd.Series[bool]:
    """Which runs count: those that have a result, and whose machine did not get stuck."""
    return ~runs["failed"].astype(bool) & (runs["stuck"] == "")


def _observed(runs: pd.DataFrame, responses: pd.DataFrame, names: list[str]) -> _Observed:
    """The observations that count: of each point its replications, or the batches of its only run."""
    place = pd.Index(runs["run"]).get_indexer(pd.Index(responses["run"]))
    assert (place >= 0).all(), "a response of a run that is not in the table of runs"
    numbers, first, point_of_run = np.unique(runs["point"].to_numpy(), return_index=True, return_inverse=True)
    code, distinct = pd.factorize(responses["response"])
    first_of_response = np.full(len(distinct), len(code))
    np.minimum.at(first_of_response, code, np.arange(len(code)))
    nr_cells = len(numbers) * len(distinct)

    ran = count_runs(runs).to_numpy(bool)
    nr_ran = np.bincount(point_of_run[ran], minlength=len(numbers))
    value = responses["value"].to_numpy(np.float64)
    batch = responses["batch"].to_numpy(np.int64)
    is_batch = batch >= 0
    cell = point_of_run[place] * len(distinct) + code
    counted = ran[place]
    kept = counted & np.isfinite(value)
    nr_batches = np.bincount(cell[kept & is_batch], minlength=nr_cells)
    by_batches = (nr_batches > 1) & np.repeat(nr_ran == 1, len(distinct))
    of_method = is_batch == by_batches[cell]
    rows = np.flatnonzero(kept & of_method)
    number = np.where(is_batch, batch, runs["replication"].to_numpy(np.int64)[place])[rows]
    order = np.lexsort((number, cell[rows]))
    return _Observed(
        runs[["point", *names]].iloc[first],
        responses[["response", "unit"]].iloc[first_of_response],
        cell[rows][order],
        number[order],
        value[rows][order],
        by_batches,
        _failed_share(responses, counted & of_method, cell, nr_cells),
        _model_error(responses, counted & of_method, cell, nr_cells),
    )


def _failed_share(responses: pd.DataFrame, counted: NDArray[np.bool_], cell: Ints, nr_cells: int) -> Floats:
    """Of each cell the mean share that failed, those included of which nothing was served and the value is NaN."""
    share = responses["failed_share"].to_numpy(np.float64)
    known = np.flatnonzero(counted & np.isfinite(share))
    return moments(cell[known], share[known], nr_cells).mean


def _model_error(responses: pd.DataFrame, counted: NDArray[np.bool_], cell: Ints, nr_cells: int) -> Floats:
    """Of each cell the largest, or NaN where one of its observations is of a time that was never measured."""
    found = np.full(nr_cells, -np.inf)
    rows = np.flatnonzero(counted)
    with np.errstate(invalid="ignore"):  # NaN is passed on
        np.maximum.at(found, cell[rows], responses["model_error"].to_numpy(np.float64)[rows])
    return np.where(np.isneginf(found), np.nan, found)


def _taken(table: pd.DataFrame, rows: Ints) -> dict[str, Any]:
    return {name: table[name].array.take(rows) for name in table.columns}


# ---- comparisons


class _Plan(NamedTuple):
    """Which cells a comparison compares, row by row."""

    point: Ints  # of the level
    response: Ints
    cell: Ints
    baseline_cell: Ints


def _comparison(found: _Observed, axes: Sequence[Axis], config: ComparisonConfig) -> pd.DataFrame:
    """All rows of one comparison."""
    baseline = config.baseline
    if baseline is None:
        baseline = next(axis.levels[0] for axis in axes if axis.name == config.axis)
    plan = _plan(found, axes, config, baseline)
    nr_rows = len(plan.cell)
    if config.paired:
        group, a, b = _pairs(found, plan)
        samples = [Observations(group, differences(b, a))]
        compared = paired_differences(group, a, b, nr_rows)
    else:
        samples = [_gathered(found, cells) for cells in (plan.baseline_cell, plan.cell)]
        of_baseline, of_level = (moments(sample.group, sample.value, nr_rows) for sample in samples)
        compared = unpaired_differences(of_baseline, of_level)
    boot = (np.full(nr_rows, np.nan),) * 2
    if nr_rows <= BOOTSTRAP_ROWS_MAX:
        boot = bootstrap_intervals(config.name, samples, nr_rows)
    labels = _taken(found.points, plan.point)
    about = {"comparison": config.name, "axis": config.axis, "baseline": baseline, "level": labels[config.axis]}
    p_holm = holm_in_each(plan.response, np.where(_varies(plan, compared), compared.p, np.nan))
    cells = (plan.baseline_cell, plan.cell)
    beside = (
        *(found.failed_share[cell] for cell in cells),
        *_within_errors(compared, *(found.model_error[cell] for cell in cells)),
    )
    table = {**labels, **about, **_taken(found.responses, plan.response), **_outcome(compared, boot, p_holm, beside)}
    return pd.DataFrame(table, index=range(nr_rows))


def _varies(plan: _Plan, compared: Differences) -> NDArray[np.bool_]:
    """Of each row: is there a difference in any row of its response, or a chance of one?"""
    nothing = (compared.difference == 0) & (compared.low == 0) & (compared.high == 0)
    varying = plan.response[~nothing & np.isfinite(compared.p)]
    return np.isin(plan.response, varying)


def _outcome(
    of: Differences, boot: tuple[Floats, Floats], p_holm: Floats, beside: tuple[NDArray[Any], ...]
) -> dict[str, Any]:
    """The columns of `DIFFERENCE`."""
    nothing = np.full(len(of.n), np.nan)
    relative = np.divide(of.difference, of.baseline_mean, out=nothing, where=of.baseline_mean != 0)
    significant = p_holm < 1 - CONFIDENCE
    means = (of.n, of.baseline_mean, of.difference, of.low, of.high, *boot)
    columns = (*means, relative, of.p, p_holm, significant, of.variance_ratio, *beside)
    return dict(zip(DIFFERENCE, columns, strict=True))


def _within_errors(of: Differences, baseline: Floats, level: Floats) -> tuple[Floats, NDArray[np.bool_]]:
    """The larger of the errors of both values, given in percent of them; and is a difference no larger?"""
    larger = np.maximum(np.abs(of.baseline_mean) * baseline, np.abs(of.baseline_mean + of.difference) * level) / 100
    return larger, (np.abs(of.difference) <= larger) & (larger > 0)


def _plan(found: _Observed, axes: Sequence[Axis], config: ComparisonConfig, baseline: str) -> _Plan:
    """Each level but the baseline, at each combination of the other axes' levels at which both were run."""
    from kmsim.config.matching import matches

    points = found.points
    is_baseline = (points[config.axis] == baseline).to_numpy(bool)
    wanted = np.ones(len(points), bool)
    for axis in axes:
        if axis.name in config.where:
            asked_for = {axis.name: config.where[axis.name]}
            labels = [label for label in axis.levels if matches({axis.name: label}, asked_for)]
            admitted = points[axis.name].isin(labels).to_numpy(bool)
            # Of the axis that is compared, the baseline is there whatever else is asked for.
            wanted &= admitted | (is_baseline & (axis.name == config.axis))
    other = np.zeros(len(points), np.int64)
    for axis in axes:
        if axis.name != config.axis:
            code, distinct = pd.factorize(points[axis.name])
            other = np.unique(other * len(distinct) + code, return_inverse=True)[1]
    partner = np.full(len(points), -1)
    partner[other[wanted & is_baseline]] = np.flatnonzero(wanted & is_baseline)
    compared = np.flatnonzero(wanted & ~is_baseline & (partner[other] >= 0))
    asked = found.responses["response"].isin(config.responses).to_numpy(bool) | (not config.responses)
    response, point = (grid.ravel() for grid in np.meshgrid(np.flatnonzero(asked), compared, indexing="ij"))
    cells = [at * len(found.responses) + response for at in (point, partner[other[point]])]
    return _Plan(point, response, *cells)


def _pairs(found: _Observed, plan: _Plan) -> tuple[Ints, Floats, Floats]:
    """The row, the baseline's value and the level's value of each pair of observations."""
    row_of_cell = np.full(found.nr_cells, -1)
    row_of_cell[plan.cell] = np.arange(len(plan.cell))
    row = row_of_cell[found.cell]
    level = np.flatnonzero(row >= 0)
    row = row[level]
    nr_numbers = int(found.number.max(initial=0)) + 1
    keys = found.cell * nr_numbers + found.number  # ascending, as the observations are
    partner = plan.baseline_cell[row]
    wanted = partner * nr_numbers + found.number[level]
    at = np.minimum(np.searchsorted(keys, wanted), max(len(keys) - 1, 0))
    # A batch and a replication of one number have nothing in common.
    alike = found.by_batches[partner] == found.by_batches[found.cell[level]]
    paired = alike & (keys[at] == wanted) if len(keys) else np.zeros(0, bool)
    return row[paired], found.value[at[paired]], found.value[level[paired]]


def _gathered(found: _Observed, cells: Ints) -> Observations:
    """The observations of these cells, of which one may come several times; the group is the place in `cells`."""
    first = np.searchsorted(found.cell, cells)
    n = np.searchsorted(found.cell, cells, side="right") - first
    group = np.repeat(np.arange(len(cells)), n)
    rank = np.arange(len(group)) - np.repeat(np.cumsum(n) - n, n)
    return Observations(group, found.value[np.repeat(first, n) + rank])
