"""Intervals for the quantiles of points that were run once: by order statistics of the run's own latencies.

They say how well the run's own operations determine a quantile, as if these were independent of each other; they
say nothing about how runs differ, for which there are replications. The column `method` says which kind it is.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import pandas as pd

from kmsim.config.responses import ResponseConfig
from kmsim.metrics.columns import table_of
from kmsim.study.estimates import NO_METHOD, count_runs
from kmsim.study.quantiles import histogram_quantiles
from kmsim.study.responses import QUANTILES_OF, merged_buckets, rows_about

BY_ORDER_STATISTICS = "order statistics"
POINTS_MAX = 1_000  # of more, no histogram is read


def with_order_statistics(
    estimates: pd.DataFrame,
    runs: pd.DataFrame,
    configs: Sequence[ResponseConfig],
    histograms: Callable[[Sequence[int]], pd.DataFrame],
) -> pd.DataFrame:
    """The estimates, where quantiles of a single run have an interval; `histograms` reads those of some runs."""
    quantiles = {config.name: config for config in configs if config.measure in QUANTILES_OF}
    once = (estimates["n"] == 1) & (estimates["method"] == NO_METHOD) & estimates["response"].isin(list(quantiles))
    points = estimates.loc[once, "point"].unique()
    if not 0 < len(points) <= POINTS_MAX:
        return estimates
    ran = runs[count_runs(runs) & runs["point"].isin(points)].set_index("run")["point"]
    found = histograms(ran.index.tolist())
    rows_of = found.groupby(found["run"].map(ran)).indices
    all_buckets = table_of(found)
    of_rows = zip(*(estimates.loc[once, name] for name in ("point", "response", "mean")), strict=True)
    intervals = []
    for point, response, mean in of_rows:
        config = quantiles[response]
        buckets = merged_buckets(rows_about(all_buckets.where(rows_of[point]), config))
        share = QUANTILES_OF[config.measure] / 1000
        of = histogram_quantiles(buckets["low_ns"], buckets["high_ns"], buckets["count"], share)
        low, high = min(float(of.low[0]), mean), max(float(of.high[0]), mean)
        intervals.append((low, high, (high - low) / 2 / mean))
    table = estimates.copy()
    table.loc[once, ["ci_low", "ci_high", "half_width"]] = intervals
    table.loc[once, "method"] = BY_ORDER_STATISTICS
    return table
