"""What holds between the rows of a run's tables, and what their readers rely on.

A file with right checksums and columns may still have had its rows cut or changed. `check_rows` refuses what a
reader would stumble over: samples that are not of the same zones at every instant, latencies that do not match the
number of operations, names and CPUs that come twice. It leaves out the values themselves.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd

from kmsim.metrics.columns import Array, Table, as_arrays
from kmsim.study.tables import KEYS


class WrongRows(ValueError):
    """The rows of a table do not fit together; `table` is its name."""

    def __init__(self, table: str, must: str) -> None:
        super().__init__(f"must {must}")
        self.table = table


def check_rows(tables: Mapping[str, pd.DataFrame]) -> None:
    """WrongRows names the first table of a whole run whose rows do not fit together."""
    samples, memory = as_arrays(tables, "samples"), as_arrays(tables, "memory")
    zones = _once(memory, "zone")
    _check("memory", _is_grid(memory, ("time_ns", "zone")), "have one row for each zone at every instant")
    is_grid = _is_grid(samples, ("time_ns", "zone", "order")) and _counts_up(samples["order"])
    _check(
        "samples", is_grid and _once(samples, "zone") == zones, "have one row for each zone and order at every instant"
    )
    _check("samples", _once(samples, "time_ns") == _once(memory, "time_ns"), "have the instants of the table memory")
    is_of_operations = _counts_the_same(as_arrays(tables, "operations"), as_arrays(tables, "histograms"))
    _check("histograms", is_of_operations, "count the operations that the table operations counts")
    _check("cpus", _counts_up(as_arrays(tables, "cpus")["cpu"]), "have one row for each CPU")
    for name, key in (("vmstat", "name"), ("locks", "lock"), ("slabs", "cache")):
        table = as_arrays(tables, name)
        _check(name, len(_once(table, key)) == len(table), f"have each {key} once")


def _check(table: str, holds: bool, must: str) -> None:
    if not holds:
        raise WrongRows(table, must)


def _once(table: Table, column: str) -> list[object]:
    """The values of a column in the order in which they first come."""
    return list(dict.fromkeys(table[column].tolist()))


def _counts_up(numbers: Array) -> bool:
    """Are they the numbers from 0 on, each at least once and none beside them?"""
    found = np.unique(numbers)
    return len(found) > 0 and bool((found == np.arange(len(found))).all())


def _counts_the_same(operations: Table, histograms: Table) -> bool:
    """Are the buckets of each class and CPU together, in the order of the operations, and as many as those?"""
    has_any = operations["count"] > 0
    counted = operations["count"][has_any]
    differs = [histograms[key][1:] != histograms[key][:-1] for key in KEYS]
    first = np.flatnonzero(np.concatenate([[len(histograms) > 0], np.logical_or.reduce(differs)]))
    if len(first) != len(counted):
        return False
    in_buckets = np.add.reduceat(histograms["count"], first) if len(first) else counted
    is_same = [bool((operations[key][has_any] == histograms[key][first]).all()) for key in KEYS]
    return all(is_same) and bool((in_buckets == counted).all())


def _is_grid(table: Table, names: Sequence[str]) -> bool:
    """Does a table of at least one row have each combination of these columns once, the first of them slowest?"""
    levels = [_once(table, name) for name in names]
    shape = [len(of_column) for of_column in levels]
    if not len(table) or np.prod(shape) != len(table):
        return False
    grid = np.meshgrid(*(np.array(of_column) for of_column in levels), indexing="ij", copy=False)
    return all(bool((table[name].reshape(shape) == wanted).all()) for name, wanted in zip(names, grid, strict=True))
