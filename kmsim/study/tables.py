"""What a run measured, as tidy tables: one row per fact, units in the column names.

    operations  count, failures and latency quantiles per kind, order and CPU
    histograms  the latency buckets behind them
    locks       contention as lock_stat counts it
    cpus        per CPU: time spent waiting for zone locks
    samples     free blocks, unusable and fragmentation index per zone and order over time
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from kmsim.metrics import samples
from kmsim.metrics.histogram import bucket_bounds, quantile
from kmsim.sim.clock import now_ps
from kmsim.units import PS_PER_NS

if TYPE_CHECKING:
    from kmsim.sim.simulation import Simulation

Tables = dict[str, pd.DataFrame]
QUANTILES = {"p50_ns": 0.5, "p90_ns": 0.9, "p99_ns": 0.99, "p999_ns": 0.999}
OUTCOMES = ("count", "failed", "needs_slow_path", "mean_ns", *QUANTILES, "max_ns")
LOCK_TIMES = ("wait_total_ns", "wait_max_ns", "hold_total_ns", "hold_max_ns")
COLUMNS: dict[str, tuple[str, ...]] = {
    "operations": ("kind", "order", "cpu", *OUTCOMES),
    "histograms": ("kind", "order", "cpu", "low_ns", "high_ns", "count"),
    "locks": ("lock", "acquisitions", "contended", *LOCK_TIMES),
    "cpus": ("cpu", "lock_wait_ns", "run_ns"),
    "samples": samples.COLUMNS,
}


def tables_of(simulation: Simulation) -> Tables:
    """Every table of one run, by name."""
    return {
        "operations": _operations(simulation),
        "histograms": _histograms(simulation),
        "locks": _locks(simulation),
        "cpus": _cpus(simulation),
        "samples": simulation.samples.table(),
    }


def _operations(simulation: Simulation) -> pd.DataFrame:
    rows = []
    for (kind, order, cpu), outcome in sorted(simulation.outcomes.items()):
        count, total, maximum = (int(value) for value in outcome.totals)
        row = {
            "kind": kind,
            "order": order,
            "cpu": cpu,
            "count": count,
            "failed": outcome.failed,
            "needs_slow_path": outcome.needs_slow_path,
            "mean_ns": total / count / PS_PER_NS if count else float("nan"),
        }
        # The middle of the last bucket may lie above all that is in it.
        row |= {name: min(quantile(outcome.counts, q), maximum) / PS_PER_NS for name, q in QUANTILES.items()}
        rows.append(row | {"max_ns": maximum / PS_PER_NS})
    return pd.DataFrame(rows)


def _histograms(simulation: Simulation) -> pd.DataFrame:
    low, high = bucket_bounds()
    parts = []
    for (kind, order, cpu), outcome in sorted(simulation.outcomes.items()):
        filled = np.flatnonzero(outcome.counts)
        parts.append(
            pd.DataFrame(
                {
                    "kind": kind,
                    "order": order,
                    "cpu": cpu,
                    "low_ns": low[filled] / PS_PER_NS,
                    "high_ns": high[filled] / PS_PER_NS,
                    "count": outcome.counts[filled],
                }
            )
        )
    return pd.concat(parts, ignore_index=True)


def _locks(simulation: Simulation) -> pd.DataFrame:
    return pd.DataFrame(
        [
            {
                "lock": lock.name,
                "acquisitions": lock.acquisitions,
                "contended": lock.contended,
                "wait_total_ns": lock.wait_total / PS_PER_NS,
                "wait_max_ns": lock.wait_max / PS_PER_NS,
                "hold_total_ns": lock.hold_total / PS_PER_NS,
                "hold_max_ns": lock.hold_max / PS_PER_NS,
            }
            for lock in simulation.locks
            if lock.acquisitions
        ],
        columns=list(COLUMNS["locks"]),
    )


def _cpus(simulation: Simulation) -> pd.DataFrame:
    waits = simulation.lock_wait / PS_PER_NS
    return pd.DataFrame(
        {"cpu": np.arange(len(waits)), "lock_wait_ns": waits, "run_ns": now_ps(simulation.env) / PS_PER_NS}
    )
