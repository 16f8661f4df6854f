"""P2, P3 and P4: what was measured of single pages, slab objects and vmalloc on four machines, and the same simulated.

Each benchmark runs alone on the first CPU. What is compared is the time of an allocation and its free, for one
page or object, or for one area of n pages; `kmalloc` and `kfree` are the two halves of a test that takes 10,000
objects and then frees them in the same order. Shared by the calibration, which changes prices, and by the tests
of it, which take the shipped ones.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import lru_cache
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pandas as pd

import kmsim
from experiments.calibration_slab_vmalloc.object_bulk import object_bulk_ps
from kmsim.config import from_mapping
from kmsim.sim.core.costs import PRICES
from kmsim.units import PS_PER_NS

HERE = Path(__file__).parent
TABLES = ("p2", "p3", "p4")
KEY = ["costs", "benchmark", "n"]
ERROR_BAR = 20.0  # percent
OBJECT_BYTES = 256
NR_OBJECTS = 10_000
PURGES = 4.5
LAZY_MAX_PAGES = 7 * (32 << 20) // 4096  # of 64 CPUs: what is freed lazily until a purge
SEED = 1
_FIXED_LISTS = {"pcp": {"auto_tune": False}, "thp": {"enabled": "never"}}

# The machines, as far as the benchmarks depend on them; all memory, and slab_test's CPUs, are assumed.
MACHINES: dict[str, dict[str, Any]] = {
    "e5-1650-v4": {"arch": "x86-64", "memory": "8GiB", "cpus": 12, **_FIXED_LISTS},
    "page-bench-2017": {
        "arch": "x86-64",
        "memory": "8GiB",
        "cpus": 8,
        "sysctl": {"percpu_pagelist_high_fraction": 1000},
        **_FIXED_LISTS,
    },
    "slab-test-3.19": {"arch": "x86-64", "memory": "4GiB", "cpus": 4, **_FIXED_LISTS},
    "graviton3": {"arch": "arm64", "memory": "16GiB", "cpus": 64},
}
CLOCK_GHZ = {"e5-1650-v4": 3.6, "page-bench-2017": 3.99, "slab-test-3.19": 3.0, "graviton3": 2.6}


class Row(NamedTuple):
    """One measured value: by which machine's list, of which benchmark, and its number of pages, objects or bytes."""

    costs: str
    benchmark: str
    n: int


def measured() -> pd.DataFrame:
    """All rows: table, costs, benchmark, n, measured_ns; cycles are turned into ns by the list's clock."""
    tables = [pd.read_csv(HERE / f"{name}.csv", comment="#").assign(table=name.upper()) for name in TABLES]
    rows = pd.concat(tables, ignore_index=True)
    clock = rows["costs"].map(CLOCK_GHZ)
    rows["measured_ns"] = rows["ns"].fillna(rows["cycles"] / clock)
    return rows[["table", *KEY, "measured_ns"]]


def rows_of(points: pd.DataFrame) -> list[Row]:
    """The rows of a table."""
    return [Row(*key) for key in points[KEY].itertuples(index=False, name=None)]


def thread(row: Row) -> dict[str, Any]:
    """The one thread that runs a benchmark; see `simulated_ns` for what is read from it."""
    n = int(row.n)
    requests: dict[str, dict[str, Any]] = {
        "page": {"order": 0},
        "page bulk": {"api": "bulk", "pages": n},
        "object": {"api": "kmalloc", "bytes": f"{OBJECT_BYTES}B"},
        "pair": {"api": "kmalloc", "bytes": f"{n}B"},
        "kmalloc": {"api": "kmalloc", "bytes": f"{n}B"},
        "vmalloc": {"api": "vmalloc", "bytes": f"{4 * n}KiB"},
        "vmalloc huge": {"api": "vmalloc", "bytes": f"{4 * n}KiB", "huge": True},
    }
    requests["kfree"] = requests["kmalloc"]
    requests["object bulk"] = requests["object"]
    keys: dict[str, Any] = {"name": "bench", "cpus": [0], "requests": [requests[row.benchmark]]}
    if row.benchmark in ("kmalloc", "kfree"):
        phases = [{"do": "fill"}, {"do": "empty", "free": "fifo"}]
        return {**keys, "live": NR_OBJECTS, "free": "fifo", "phases": phases}
    return {**keys, "live": 1, "operations": nr_operations(row)}


def nr_operations(row: Row) -> int:
    """Enough that the first refill does not count; of vmalloc, some purges' periods (kernel: lazy_max_pages)."""
    if not row.benchmark.startswith("vmalloc"):
        return 20_000 // (8 if row.n >= 64 else 1)
    return 2 * int(PURGES * LAZY_MAX_PAGES / (int(row.n) + 1))


def study(row: Row, base: str, prices: Mapping[str, float]) -> Any:
    """The study of a benchmark, with the prices of the list `base` but for those given, in ns."""
    config = {
        "name": "bench",
        "machine": MACHINES[row.costs],
        "costs": base,
        "workload": {"threads": [thread(row)]},
        "run": {"sample_every": "1000s"},
    }
    sets = [f"costs.{name}.value={round(PS_PER_NS * price)}ps" for name, price in prices.items()]
    return from_mapping(config, sets, seed=SEED)


@lru_cache(maxsize=64)  # of a test, one row is the allocations and another the frees
def run_of(row: Row, base: str, prices: tuple[tuple[str, float], ...]) -> tuple[float, float, float]:
    """A benchmark's mean allocation, mean free, and the time in which its CPU was busy for each pair, in ns."""
    result = kmsim.run(study(row, base, dict(prices)))
    operations = result.operations.set_index("kind")
    assert not operations["failed"].any()
    mean = operations["mean_ns"]
    cpu = result.cpus.set_index("cpu").loc[0]
    busy = float(cpu["run_ns"] - cpu["idle_ns"]) / operations.loc["free", "count"]
    return float(mean["alloc"]), float(mean["free"]), float(busy)


def simulated_ns(row: Row, base: str, prices: Mapping[str, float]) -> float:
    """What a row comes to in simulation, in ns, by the list `base` but for the prices given."""
    if row.benchmark == "object bulk":
        return object_bulk_ps(study(row, base, prices), int(row.n)) / PS_PER_NS
    is_half = row.benchmark in ("kmalloc", "kfree")
    alloc, free, busy = run_of(row._replace(benchmark="kmalloc") if is_half else row, base, tuple(prices.items()))
    if is_half:
        return alloc if row.benchmark == "kmalloc" else free
    if row.benchmark.startswith("vmalloc"):
        return busy  # what the CPU's kworker purges in between counts
    return (alloc + free) / (row.n if row.benchmark == "page bulk" else 1)


def simulated(points: pd.DataFrame, prices: Mapping[str, Mapping[str, float]] | None = None) -> np.ndarray:
    """What the rows come to, in ns, by the shipped lists but for the prices given for each."""
    prices = prices or {}
    return np.array([simulated_ns(row, row.costs, prices.get(row.costs, {})) for row in rows_of(points)])


def compared(points: pd.DataFrame, latency: np.ndarray) -> pd.DataFrame:
    """Measured and simulated side by side."""
    error = 100 * (latency / points["measured_ns"] - 1)
    return points.assign(
        measured_ns=points["measured_ns"].round(3), simulated_ns=latency.round(3), error_percent=error.round(1)
    )


def outside(table: pd.DataFrame) -> pd.DataFrame:
    """The rows whose error is larger than it may be."""
    return table[table["error_percent"].abs() > ERROR_BAR]


def shipped_prices(costs: str) -> dict[str, float]:
    """The prices of a shipped list, in ns."""
    config = {"name": "prices", "machine": "x86-laptop", "costs": costs, "workload": {"threads": [{"name": "none"}]}}
    found = from_mapping(config).costs
    return {name: getattr(found, name).value / PS_PER_NS for name in PRICES}
