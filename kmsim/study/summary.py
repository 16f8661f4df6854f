"""A run's tables brought down to what fits on a screen: over all CPUs, and at the end of the run."""

from __future__ import annotations

import numpy as np
import pandas as pd

from kmsim.metrics.columns import CLASS_COLUMNS
from kmsim.metrics.histogram import ranked
from kmsim.study.store import Result
from kmsim.study.tables import COUNTED, QUANTILES, TIME_PARTS
from kmsim.units import PS_PER_NS

PAGES = "pages"  # the API whose requests are told apart by their order alone


def operations_summary(result: Result) -> pd.DataFrame:
    """One row per class of operations: counts over all CPUs, quantiles of the merged histograms."""
    keys = list(CLASS_COLUMNS)
    operations: pd.DataFrame = result.operations
    by_class = operations.groupby(keys, sort=True)
    summed = by_class[list(COUNTED)].sum().reset_index()
    longest = by_class["max_ns"].max().to_numpy()
    merged = result.histograms.groupby([*keys, "low_ns", "high_ns"], sort=True)["count"].sum().reset_index()
    first = np.flatnonzero(~merged.duplicated(keys))
    has_any = summed["count"].to_numpy() > 0
    assert len(first) == has_any.sum(), "a histogram for each class with a latency"
    middle = (merged["low_ns"] + merged["high_ns"] - 1 / PS_PER_NS).to_numpy() / 2
    table = summed.drop(columns="sum_ps")
    table["mean_ns"] = (summed["sum_ps"] / summed["count"]).where(has_any) / PS_PER_NS
    for name, thousandths in QUANTILES.items():
        of_class = np.full(len(table), np.nan)
        of_class[has_any] = middle[ranked(merged["count"].to_numpy(), first, thousandths)]
        table[name] = np.minimum(of_class, longest)
    table["max_ns"] = longest
    return table


def asks_for_pages_only(operations: pd.DataFrame) -> bool:
    """Does the order say all of what each row of such a table asks for?"""
    return bool((operations["api"] == PAGES).all())


def what_is_asked_for(operations: pd.DataFrame) -> list[str]:
    """What each row of a table of operations or histograms asks for: "order 3", "kmalloc-64", "vmalloc, order 4"."""
    classes = operations[["api", "order", "cache"]].itertuples(index=False)
    return [_what(str(api), int(order), str(cache)) for api, order, cache in classes]


def _what(api: str, order: int, cache: str) -> str:
    if api == PAGES:
        return f"order {order}"
    if api == "slab":
        return cache
    if api in ("bulk", "file_read"):
        return api
    name = "kmalloc" if api == "kmalloc_large" else api
    return f"{name}, {cache}" if cache else f"{name}, order {order}"


def time_summary(result: Result) -> pd.DataFrame:
    """One row per part of the CPUs' time: its share over all CPUs, and of the CPUs with the least and the most."""
    cpus: pd.DataFrame = result.cpus
    parts = cpus[list(TIME_PARTS)]
    of_each = 100 * parts.div(cpus["run_ns"].where(cpus["run_ns"] > 0), axis="index").fillna(0.0)
    return pd.DataFrame(
        {
            "part": [part.removesuffix("_ns") for part in TIME_PARTS],
            "percent": of_each.mean().to_numpy(),  # every CPU has run for the same time
            "percent_min": of_each.min().to_numpy(),
            "percent_max": of_each.max().to_numpy(),
        }
    )


def fragmentation_summary(result: Result) -> pd.DataFrame:
    """One row per order: each zone's free blocks and unusable index when the run ended."""
    samples = result.samples
    last = samples[samples["time_ns"] == samples["time_ns"].max()]
    table = pd.DataFrame({"order": sorted(last["order"].unique())})
    for zone, part in last.groupby("zone", sort=False):
        table[f"{zone}_free_blocks"] = part["nr_free"].to_numpy()
        table[f"{zone}_unusable_index"] = part["unusable_index"].to_numpy()
    return table
