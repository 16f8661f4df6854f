"""The responses of a run: each measure computed from the run's tables, and nothing else.

A measure has one function here, of the same name as in `kmsim.config.responses.MEASURES`. What a run does not
yield (a latency of what it never asked for) is NaN. Of a window of a run only what is measured in
windows has a value: latencies, counts, locks and time, not what memory is like at the end.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator
from typing import NamedTuple

import numpy as np
import pandas as pd

from kmsim.config import Design, Point, ResponseConfig
from kmsim.config.node import Problems
from kmsim.config.quantities import finding
from kmsim.config.responses import MEASURES, OF_CLASS
from kmsim.config.validation import add_finding
from kmsim.metrics.gfp_names import gfp_names
from kmsim.metrics.histogram import ranked
from kmsim.mm.gfp import parse_gfp
from kmsim.study.store import Result
from kmsim.study.tables import Tables
from kmsim.workload.plan import API_NAMES, plan_of

MIB = 1 << 20
NS_PER_MS, NS_PER_S = 1e6, 1e9
WHOLE_RUN = -1  # the number of no window
QUANTILES_OF = {"latency_p50": 500, "latency_p90": 900, "latency_p99": 990, "latency_p999": 999}  # in thousandths
NAN = math.nan


class Value(NamedTuple):
    """One response of one run, or of one of its windows."""

    response: str
    unit: str
    batch: int
    value: float


class Measured(NamedTuple):
    """The tables that a response is computed from."""

    tables: Tables
    page_size: int

    @property
    def last(self) -> pd.DataFrame:
        """Free blocks when the run ended."""
        return _at_end(self.tables["samples"])


def responses_of(result: Result, configs: Iterable[ResponseConfig]) -> list[Value]:
    """Every response of a run, then of each of its windows those that windows have."""
    wanted = list(configs)
    run = Measured(result.tables, result.page_size_bytes)
    values = [Value(config.name, config.unit, WHOLE_RUN, _value(run, config)) for config in wanted]
    for number, tables in enumerate(result.batches):
        window = Measured(tables, result.page_size_bytes)
        of_window = [config for config in wanted if config.measure in _OF_WINDOWS]
        values += [Value(config.name, config.unit, number, _value(window, config)) for config in of_window]
    return values


def _value(run: Measured, config: ResponseConfig) -> float:
    return float(_OF_RUNS[config.measure](run, config))


def quantile_ns(buckets: pd.DataFrame, thousandths: int) -> float:
    """The middle of the bucket in which a quantile lies, of all these histograms together; NaN of none."""
    if buckets.empty:
        return NAN
    merged = buckets.groupby(["low_ns", "high_ns"], as_index=False)["count"].sum().sort_values("low_ns")
    at = merged.iloc[int(ranked(merged["count"].to_numpy(), np.zeros(1, np.int64), thousandths)[0])]
    return float((at["low_ns"] + at["high_ns"]) / 2)


# ---- of operations


def rows_about(table: pd.DataFrame, config: ResponseConfig) -> pd.DataFrame:
    """The rows of the operations that a response is about."""
    wanted = {
        "kind": config.of_kind,
        "api": config.api,
        "gfp": None if config.gfp is None else gfp_names(parse_gfp(config.gfp)),
        "order": config.order,
        "cache": config.cache,
    }
    for column, value in wanted.items():
        if value is not None:
            table = table[table[column] == value]
    return table


def _operations(run: Measured, config: ResponseConfig) -> pd.DataFrame:
    return rows_about(run.tables["operations"], config)


def _quantile(thousandths: int) -> Callable[[Measured, ResponseConfig], float]:
    def quantile(run: Measured, config: ResponseConfig) -> float:
        longest = _operations(run, config)["max_ns"].max()
        # The middle of the last bucket may lie above all that is in it.
        return float(np.minimum(quantile_ns(rows_about(run.tables["histograms"], config), thousandths), longest))

    return quantile


def _total_ns(operations: pd.DataFrame) -> float:
    return float((operations["mean_ns"] * operations["count"]).sum())


def _latency_mean(run: Measured, config: ResponseConfig) -> float:
    operations = _operations(run, config)
    return _ratio(_total_ns(operations), operations["count"].sum())


def _time_per_mib(run: Measured, config: ResponseConfig) -> float:
    operations = _operations(run, config)
    return _ratio(_total_ns(operations) / 1000, operations["asked_bytes"].sum() / MIB)


def _throughput(run: Measured, config: ResponseConfig) -> float:
    return _ratio(_operations(run, config)["count"].sum(), _simulated_ns(run) / NS_PER_S)


def _sum_of(column: str) -> Callable[[Measured, ResponseConfig], float]:
    return lambda run, config: float(_operations(run, config)[column].sum())


def _share_of(column: str) -> Callable[[Measured, ResponseConfig], float]:
    def share(run: Measured, config: ResponseConfig) -> float:
        operations = _operations(run, config)
        # A failed operation is not among the count, which has a latency.
        return 100 * _ratio(operations[column].sum(), (operations["count"] + operations["failed"]).sum())

    return share


# ---- of time and locks


def _simulated_ns(run: Measured) -> float:
    return float(run.tables["cpus"]["run_ns"].max())


def _lock_wait_share(run: Measured, _: ResponseConfig) -> float:
    cpus = run.tables["cpus"]
    return 100 * _ratio(cpus["lock_wait_ns"].sum(), cpus["run_ns"].sum())


def _of_locks(column: str, scale: float) -> Callable[[Measured, ResponseConfig], float]:
    def per_acquisition(run: Measured, config: ResponseConfig) -> float:
        locks = run.tables["locks"]
        of_all_zones = locks["lock"].str.startswith("zone ")
        locks = locks[of_all_zones if config.lock is None else locks["lock"] == config.lock]
        return scale * _ratio(locks[column].sum(), locks["acquisitions"].sum())

    return per_acquisition


# ---- of memory at the end


def _at_end(table: pd.DataFrame) -> pd.DataFrame:
    return table[table["time_ns"] == table["time_ns"].max()]


def _of_zone(table: pd.DataFrame, config: ResponseConfig) -> pd.DataFrame:
    return table if config.zone is None else table[table["zone"] == config.zone]


def _pages_held(run: Measured) -> int:
    """Pages that were taken between the start and the end of the run, and not given back."""
    memory = run.tables["memory"]
    unused = (memory["free_pages"] + memory["pcp_pages"]).groupby(memory["time_ns"]).sum()
    return int(unused.iloc[0] - unused.iloc[-1])


def _memory_held(run: Measured, _: ResponseConfig) -> float:
    return _pages_held(run) * run.page_size / MIB


def _internal_waste(run: Measured, _: ResponseConfig) -> float:
    live_bytes = _at_end(run.tables["activity"])["live_bytes"].max()
    held = _pages_held(run) * run.page_size
    # Frees that are under way when the run ends have given their pages back and still count as live.
    return 100 * _ratio(max(held - live_bytes, 0), held)


def _memory(column: str) -> Callable[[Measured, ResponseConfig], float]:
    def mib(run: Measured, config: ResponseConfig) -> float:
        return float(_of_zone(_at_end(run.tables["memory"]), config)[column].sum() * run.page_size / MIB)

    return mib


def _free_blocks(run: Measured, config: ResponseConfig) -> tuple[pd.Series, int]:
    """Free blocks by order, of one zone or of all together, and the order that the response is about."""
    blocks = _of_zone(run.last, config).groupby("order")["nr_free"].sum().sort_index()
    order = config.order
    if config.block is not None:
        order = max(-(-config.block // run.page_size) - 1, 0).bit_length()
    return blocks, order or 0


def _pages(blocks: pd.Series) -> int:
    return int((blocks.to_numpy() << blocks.index.to_numpy()).sum())


def _free_in_blocks(run: Measured, config: ResponseConfig) -> float:
    blocks, order = _free_blocks(run, config)
    return _pages(blocks[blocks.index >= order]) * run.page_size / MIB


def _unusable_index(run: Measured, config: ResponseConfig) -> float:
    blocks, order = _free_blocks(run, config)
    return 1 - _pages(blocks[blocks.index >= order]) / _pages(blocks) if _pages(blocks) else 1.0


def _fragmentation_index(run: Measured, config: ResponseConfig) -> float:
    """As `mm.vmstat.fragmentation_index`: -1 where a block is free, else towards 1 the less memory is missing."""
    blocks, order = _free_blocks(run, config)
    if not blocks.sum():
        return 0.0
    if blocks[blocks.index >= order].any():
        return -1.0
    return 1 - (1 + _pages(blocks) / (1 << order)) / float(blocks.sum())


def _free_huge_pages(run: Measured, config: ResponseConfig) -> float:
    return float(_of_zone(_at_end(run.tables["memory"]), config)["free_huge_frames"].sum())


def _largest_free_block(run: Measured, config: ResponseConfig) -> float:
    order = int(_of_zone(_at_end(run.tables["memory"]), config)["largest_free_order"].max())
    return (run.page_size << order) / MIB if order >= 0 else 0.0


def _counter(name: str | None, scale: float = 1.0) -> Callable[[Measured, ResponseConfig], float]:
    def counter(run: Measured, config: ResponseConfig) -> float:
        vmstat = run.tables["vmstat"]
        found = vmstat.loc[vmstat["name"] == (name or config.counter), "value"]
        return float(found.iloc[0]) / scale if len(found) else NAN

    return counter


def _ratio(part: float, whole: float) -> float:
    return float(part) / float(whole) if whole else NAN


_OF_WINDOWS: dict[str, Callable[[Measured, ResponseConfig], float]] = {
    "latency_mean": _latency_mean,
    **{measure: _quantile(thousandths) for measure, thousandths in QUANTILES_OF.items()},
    "latency_max": lambda run, config: float(_operations(run, config)["max_ns"].max()),
    "time_per_mib": _time_per_mib,
    "operations": _sum_of("count"),
    "throughput": _throughput,
    "failed": _sum_of("failed"),
    "failed_share": _share_of("failed"),
    "slow_path_share": _share_of("needs_slow_path"),
    "vmalloc_share": _share_of("to_vmalloc"),
    "asked": lambda run, config: float(_operations(run, config)["asked_bytes"].sum()) / MIB,
    "lock_wait_share": _lock_wait_share,
    "lock_wait_mean": _of_locks("wait_total_ns", 1),
    "lock_contended_share": _of_locks("contended", 100),
    "simulated_time": lambda run, _: _simulated_ns(run) / NS_PER_MS,
}
_AT_END: dict[str, Callable[[Measured, ResponseConfig], float]] = {
    "internal_waste": _internal_waste,
    "memory_held": _memory_held,
    "memory_free": _memory("free_pages"),
    "memory_on_lists": _memory("pcp_pages"),
    "unusable_index": _unusable_index,
    "fragmentation_index": _fragmentation_index,
    "free_in_blocks": _free_in_blocks,
    "free_huge_pages": _free_huge_pages,
    "largest_free_block": _largest_free_block,
    "largest_kmalloc": _counter("kmsim:largest_kmalloc_bytes", MIB),
    "counter": _counter(None),
}
_OF_RUNS = _OF_WINDOWS | _AT_END
assert set(_OF_RUNS) == set(MEASURES)


# ---- whether a study can yield what it asks for


_ASKING = {"machine", "workload"}  # the parts of a config from which it follows what is asked for


def check_yielded(design: Design) -> None:
    """Raise ConfigError where a response is about operations for which no point of the study asks."""
    filtered = {
        n: config
        for n, config in enumerate(design.inquiry.responses)
        if MEASURES[config.measure].filters == OF_CLASS
        and any(getattr(config, word) is not None for word in OF_CLASS[1:])
    }
    seen: set[tuple[str, ...]] = set()
    asking = [axis for axis, parts in zip(design.axes, design.parts_moved, strict=True) if parts & _ASKING]
    for point in design.points:
        if not filtered:
            return
        told_by = tuple(point.labels[axis.name] for axis in asking)
        if told_by in seen:
            continue
        seen.add(told_by)
        asked = _asked(design, point)
        filtered = {n: config for n, config in filtered.items() if rows_about(asked, config).empty}
    if filtered:
        problems = Problems()
        for n, config in filtered.items():
            add_finding(finding(("responses", n), "response_yielded", found=config.name), design.base.asked, problems)
        problems.stop()


def _asked(design: Design, point: Point) -> pd.DataFrame:
    """What the operations of a point can be: the key columns of `operations`."""
    study = design.study_of(point)
    plan = plan_of(study.workload, study.machine)
    names = [] if plan.caches is None else [geometry.name for geometry in plan.caches.geometries]
    rows: Iterator[tuple[str, str, str, int, str]] = (
        (kind, API_NAMES[of.api], gfp_names(of.gfp), of.order, names[of.cache] if of.cache >= 0 else "")
        for of in plan.requests
        for kind in ("alloc", "free")
    )
    return pd.DataFrame(rows, columns=list(OF_CLASS))
