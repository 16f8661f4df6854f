"""A run's tables brought down to what fits on a screen: over all CPUs, and at the end of the run."""

from __future__ import annotations

import numpy as np
import pandas as pd

from kmsim.study.store import Result


def operations_summary(result: Result) -> pd.DataFrame:
    """One row per kind and order: counts over all CPUs, and latency quantiles of the merged histograms, in ns."""
    rows = []
    for (kind, order), part in result.operations.groupby(["kind", "order"], sort=True):
        count = int(part["count"].sum())
        merged = result.histograms.query("kind == @kind and order == @order")
        buckets = merged.groupby(["low_ns", "high_ns"], sort=True)["count"].sum().reset_index()
        row = {
            "kind": kind,
            "order": order,
            "count": count,
            "failed": int(part["failed"].sum()),
            "needs_slow_path": int(part["needs_slow_path"].sum()),
            "mean_ns": float((part["mean_ns"] * part["count"]).sum() / count) if count else float("nan"),
        }
        longest = float(part["max_ns"].max())
        row |= {f"p{100 * q:g}_ns": min(_bucket_quantile(buckets, q), longest) for q in (0.5, 0.99)}
        rows.append(row | {"max_ns": longest})
    return pd.DataFrame(rows)


def _bucket_quantile(buckets: pd.DataFrame, q: float) -> float:
    if buckets.empty:
        return float("nan")
    cumulative = np.cumsum(buckets["count"].to_numpy())
    row = buckets.iloc[int(np.searchsorted(cumulative, np.ceil(q * cumulative[-1])))]
    return float(row["low_ns"] + row["high_ns"]) / 2


def fragmentation_summary(result: Result) -> pd.DataFrame:
    """One row per order: each zone's free blocks and unusable index when the run ended."""
    samples = result.samples
    last = samples[samples["time_ns"] == samples["time_ns"].max()]
    table = pd.DataFrame({"order": sorted(last["order"].unique())})
    for zone, part in last.groupby("zone", sort=False):
        table[f"{zone}_free_blocks"] = part["nr_free"].to_numpy()
        table[f"{zone}_unusable_index"] = part["unusable_index"].to_numpy()
    return table
