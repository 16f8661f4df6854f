"""How far off a timed response may be: the error of the price list on measured points that its fit did not see.

A price list says by kind of operation (API, order, page size, one CPU or several) how far off it was on mean times
that were left out of its fit (`config.costs.LeftOut`). A response is about operations of several kinds, each with its
share of their time: its error is the mean of what nine of ten points of each kind were within, weighted by these
shares, so that errors of several kinds do not cancel. Where a kind that takes part of the time was never measured, or
where what was measured is no mean (published points are means), the error is not known: NaN. What is only counted is
free of prices: 0.

That is what nine of ten of the points left out were within, and points of a benchmark that is none of these are no
sample of them: tried on the shipped list, with the errors made from the other benchmarks, `COVERED_PERCENT` of a
benchmark's points are within it. Worst covered is a bulk get on one CPU (none of 8).

Two values differ by more than the model's error where their difference is larger than the larger of their errors.
Leaves out what prices do to counts through the order of events, and that an error may differ between allocations and
frees. Requests that zero their memory were never measured; nor is what a kernel does otherwise than the measured one:
new or freed memory zeroed by a boot option, the tail pages of freed blocks written.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd

from kmsim.config.costs import LeftOut
from kmsim.config.machine import MachineConfig
from kmsim.config.responses import MEASURES
from kmsim.metrics.columns import Table
from kmsim.metrics.gfp_names import gfp_of_names
from kmsim.mm.gfp import GFP_ZERO
from kmsim.study.statistics import Floats

COVERED_PERCENT = 83  # 96 of 116 points of experiments/calibration/left_out.csv; a test computes it again
OF_TIME_MIN = 0.01  # a kind with less than this share of the time is not asked about
NEVER_MEASURED, FREE_OF_PRICES = np.nan, 0.0

NOT_IN_FACTS = {"page_size", "source", "tails_written", "init_on_alloc", "init_on_free"}

Kind = Mapping[str, Any]


def model_error(measure: str, operations: Table, *, several_cpus: bool, left_out: Sequence[Kind]) -> float:
    """The error of a response over these operations, in percent of its value; NaN: never measured; 0: only counted."""
    of_time = MEASURES[measure].of_time
    if not of_time:
        return FREE_OF_PRICES
    if of_time == "other" or not left_out:
        return NEVER_MEASURED
    time = operations["sum_ps"].astype(np.float64)
    total = float(time.sum())
    if not total:
        return NEVER_MEASURED
    like = [kind for kind in left_out if kind["cpus"] == ("several" if several_cpus else "one")]
    errors = _errors_by_row(operations, like)
    known = ~np.isnan(errors)
    if time[~known].sum() > OF_TIME_MIN * total:
        return NEVER_MEASURED
    return float(np.average(errors[known], weights=time[known]))


def _errors_by_row(operations: Table, left_out: Sequence[Kind]) -> Floats:
    """Of the operations of each row, what nine of ten points were within that are like them."""
    errors = np.full(len(operations), NEVER_MEASURED)
    api, order = operations["api"], operations["order"]
    for kind in left_out:
        is_like = (api == kind["api"]) & (order >= kind["min_order"]) & (order <= kind["max_order"])
        if kind.get("operation", "both") != "both":
            is_like &= operations["kind"] == kind["operation"]
        errors[is_like] = kind["nine_of_ten"]
    zeroed = {name for name in set(operations["gfp"].tolist()) if gfp_of_names(str(name)) & GFP_ZERO}
    errors[(operations["kind"] == "alloc") & np.isin(operations["gfp"], sorted(zeroed))] = NEVER_MEASURED
    return errors


def errors_on(machine: MachineConfig, left_out: Iterable[LeftOut]) -> list[dict[str, Any]]:
    """What a price list says of its errors, as far as it holds on a machine: of which operations."""
    found = []
    for kind in left_out:
        is_alloc = kind.init_on_alloc == machine.init_on_alloc
        is_tailless = kind.max_order == 0 or kind.tails_written == machine.tails_written
        is_free = is_tailless and kind.init_on_free == machine.init_on_free
        if kind.page_size == machine.page_size and (is_alloc or is_free):
            operation = "both" if is_alloc and is_free else "alloc" if is_alloc else "free"
            found.append(kind.model_dump(exclude=NOT_IN_FACTS) | {"operation": operation})
    return found


def in_words(error: float, unit: str) -> str:
    """An error as a table shows it."""
    if np.isnan(error):
        return "never measured"
    return f"\N{PLUS-MINUS SIGN}{error:,.2g} {unit}".rstrip() if error else "free of prices"


def said_of_errors(estimates: pd.DataFrame) -> list[str]:
    """What is to be known of the responses of a study, each line of those of one sort; nothing where there are none."""
    measured, never, counted = [], [], []
    for response, rows in estimates.groupby("response", sort=False):
        errors = rows["model_error"].to_numpy(np.float64)
        known = errors[~np.isnan(errors)]
        if not len(known):
            never.append(str(response))
        elif not known.any():
            counted.append(str(response))
        else:
            measured.append(f"{response} {_range(known)}{_at(len(known), len(errors))}")
    lines = (
        (f"off by at most, at {COVERED_PERCENT} % of the points of a benchmark that was not seen before: ", measured),
        ("never measured, so how far off is not known: ", never),
        ("counted, and free of prices: ", counted),
    )
    return [f"{words}{', '.join(names)}" for words, names in lines if names]


def _range(errors: Floats) -> str:
    low, high = (f"{error:.2g}" for error in (errors.min(), errors.max()))
    return f"{high} %" if low == high else f"{low} to {high} %"


def _at(nr_known: int, nr_points: int) -> str:
    return "" if nr_known == nr_points else f" (at {nr_known} of {nr_points} points; never measured at the others)"
