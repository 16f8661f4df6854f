"""What holds between the rows of a run's tables, and what their readers rely on.

A file with right checksums and columns may still have had its rows cut or changed. `check_rows` refuses what a
reader would stumble over: samples that are not of the same zones at every instant, latencies that do not match the
number of operations, names and CPUs that come twice. It leaves out the values themselves.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd

from kmsim.study.tables import KEYS, Tables


class WrongRows(ValueError):
    """The rows of a table do not fit together; `file` is the table's."""

    def __init__(self, table: str, must: str) -> None:
        super().__init__(f"must {must}")
        self.file = f"{table}.parquet"


def check_rows(tables: Tables) -> None:
    """WrongRows names the first table of a whole run whose rows do not fit together."""
    samples, memory = tables["samples"], tables["memory"]
    zones = _once(memory, "zone")
    _check("memory", _is_grid(memory, ("time_ns", "zone")), "have one row for each zone at every instant")
    is_grid = _is_grid(samples, ("time_ns", "zone", "order")) and _counts_up(samples["order"])
    _check(
        "samples", is_grid and _once(samples, "zone") == zones, "have one row for each zone and order at every instant"
    )
    _check("samples", _once(samples, "time_ns") == _once(memory, "time_ns"), "have the instants of memory.parquet")
    is_of_operations = _counts_the_same(tables["operations"], tables["histograms"])
    _check("histograms", is_of_operations, "count the operations that operations.parquet counts")
    _check("cpus", _counts_up(tables["cpus"]["cpu"]), "have one row for each CPU")
    for table, name in (("vmstat", "name"), ("locks", "lock"), ("slabs", "cache")):
        _check(table, tables[table][name].is_unique, f"have each {name} once")


def _check(table: str, holds: bool, must: str) -> None:
    if not holds:
        raise WrongRows(table, must)


def _once(table: pd.DataFrame, column: str) -> list[object]:
    return list(table[column].unique())


def _counts_up(numbers: pd.Series) -> bool:
    """Are they the numbers from 0 on, each at least once and none beside them?"""
    found = np.unique(numbers.to_numpy())
    return len(found) > 0 and bool((found == np.arange(len(found))).all())


def _counts_the_same(operations: pd.DataFrame, histograms: pd.DataFrame) -> bool:
    """Are the buckets of each class and CPU together, in the order of the operations, and as many as those?"""
    has_any = operations["count"].to_numpy() > 0
    counted = operations["count"].to_numpy()[has_any]
    of_rows = {key: histograms[key].to_numpy() for key in KEYS}
    differs = [values[1:] != values[:-1] for values in of_rows.values()]
    first = np.flatnonzero(np.concatenate([[len(histograms) > 0], np.logical_or.reduce(differs)]))
    if len(first) != len(counted):
        return False
    in_buckets = np.add.reduceat(histograms["count"].to_numpy(), first) if len(first) else counted
    is_same = [bool((operations[key].to_numpy()[has_any] == values[first]).all()) for key, values in of_rows.items()]
    return all(is_same) and bool((in_buckets == counted).all())


def _is_grid(table: pd.DataFrame, names: Sequence[str]) -> bool:
    """Does a table of at least one row have each combination of these columns once, the first of them slowest?"""
    codes = [pd.factorize(table[name])[0] for name in names]
    shape = [code.max(initial=-1) + 1 for code in codes]
    if table.empty or np.prod(shape) != len(table):
        return False
    return bool((np.stack(codes) == np.indices(shape).reshape(len(names), -1)).all())
