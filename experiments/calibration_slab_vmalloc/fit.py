"""Which prices fit P2, P3 and P4: for each machine's list, one value for each price and all rows at once.

A benchmark runs alone, so that its time is the sum of what it does, each times its price. So: simulate each row
once, and once more for each price, a little dearer; from these slopes a linear program (`kmsim.study.fit`) finds the
prices whose worst row is off least. Where no row is off by more than `ENOUGH`, prices stay near where the search
starts: many differ little in what the rows see of them. A last simulation with the rounded prices is what is reported.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pandas as pd

from experiments.calibration_slab_vmalloc.published import Row, rows_of, simulated_ns
from kmsim.study import fit as fitting
from kmsim.study.fit import Floats, Model, Points, Range, least_worst_fit, slopes

# The error, as a share of what was measured, below which nearness to the start decides.
ENOUGH = {"e5-1650-v4": 0.1, "page-bench-2017": 0.1, "slab-test-3.19": 0.16, "graviton3": 0.1}
STEP_NS = 1.0

# Starts: what xeon-gold-5320 has of pages, by the clock, and what was assumed of slabs and vmalloc.
FITTED: dict[str, dict[str, Range]] = {
    "e5-1650-v4": {
        "alloc_fast": Range(33, 12, 60),
        "free_fast": Range(31, 12, 50),
        "bulk_page": Range(5, 1, 20),
        "slab_alloc_fast": Range(8.3, 4, 16),
        "slab_free_fast": Range(8.3, 4, 16),
        "bulk_object": Range(4, 1, 12),
    },
    "page-bench-2017": {
        "alloc_fast": Range(30, 11, 55),
        "free_fast": Range(28, 11, 45),
        "bulk_page": Range(4.5, 1, 18),
        "page_moved": Range(6.5, 2, 20),
        "buddy_merge": Range(17, 3, 30),
        "slab_alloc_fast": Range(5.3, 3, 14),
        "slab_free_fast": Range(5.3, 3, 14),
    },
    "slab-test-3.19": {
        "alloc_fast": Range(60, 30, 130),
        "free_fast": Range(45, 20, 90),
        "page_moved": Range(5, 1.5, 17),
        "buddy_merge": Range(22, 6, 60),
        "lock_hold": Range(30, 8, 60),
        "lock_uncontended": Range(25, 9, 40),
        "slab_alloc_fast": Range(13, 8, 18),
        "slab_free_fast": Range(7, 3, 12),
        "slab_alloc_slow": Range(15, 5, 60),
        "slab_free_slow": Range(9, 3, 18),
        "slab_cmpxchg": Range(7.3, 5, 12),
        "slab_new": Range(60, 20, 200),
        "slab_discard": Range(50, 15, 200),
        "object_set_up": Range(0.7, 0.3, 2),
        "line_hot": Range(0.2, 0.02, 1),
        "line_sequential": Range(3, 1, 5),
        "line_memory": Range(150, 60, 220),
    },
    "graviton3": {
        "vmalloc": Range(210, 80, 420),
        "vfree": Range(130, 50, 260),
        "vmap_step": Range(2.5, 1, 9),
        "pte_set": Range(8, 1, 14),
        "pte_cleared": Range(6, 1, 11),
        "bulk_page": Range(17, 2, 34),
        "free_fast": Range(44, 20, 66),
        "page_moved": Range(7, 2, 20),
        "buddy_merge": Range(12, 4, 40),
        "lock_hold": Range(20, 5, 70),
        "lock_uncontended": Range(30, 15, 50),
    },
}


def model_at(rows: list[Row], base: str, starts: dict[str, float]) -> tuple[Floats, Floats]:
    """What each row takes, in ns, with the prices where they start, and how it grows with each."""
    names, x = list(starts), np.array(list(starts.values()))

    def latencies(prices: Floats) -> Floats:
        by_name = dict(zip(names, map(float, prices), strict=True))
        return np.array([simulated_ns(row, base, by_name) for row in rows])

    at_start = latencies(x)
    return at_start, slopes(latencies, x, np.full(len(x), STEP_NS), at_start)


def model_of(points: pd.DataFrame, base: str, report: Callable[[str], None]) -> Model:
    """What the rows of one list take where the search starts, and how that changes with each price."""
    ranges = FITTED[base]
    starts = {name: price.start for name, price in ranges.items()}
    found = []
    for row in rows_of(points):  # one after the other: a row's runs share what was simulated for it
        report(f"{row.costs}: {row.benchmark} {row.n}")
        found.append(model_at([row], base, starts))
    latency, slope = (np.concatenate(parts) for parts in zip(*found, strict=True))
    measured = points["measured_ns"].to_numpy()
    at = Points(measured, np.full(len(measured), ENOUGH[base]))
    return Model(at, np.array(list(starts.values())), latency, slope)


def best(model: Model, base: str) -> Floats:
    """The prices of one list, in ns, that fit all its rows best."""
    return least_worst_fit(model, list(FITTED[base].values()), ENOUGH[base])


def left_out(model: Model, base: str) -> Floats:
    """What each row takes, in ns, as the fit to all others of its list has it: by the model, not simulated anew."""
    return fitting.left_out(model, range(len(model.latency)), lambda others: best(others, base))


def by_name(prices: Floats, base: str) -> dict[str, float]:
    """The prices of one list by name."""
    return dict(zip(FITTED[base], map(float, prices), strict=True))
