"""The responses of a run: each measure computed from the run's tables, and nothing else.

A measure has one function here, of the same name as in `kmsim.config.responses.MEASURES`. What a run does not
yield (a latency of what it never asked for, a share of nothing, a zone that it has not) is NaN. Sums are made of
whole numbers, and divided once. A failed allocation has no latency: it counts in `failed`, and in the shares'
whole. Of a window of a run only what is measured in
windows has a value: latencies, counts, locks and time, not what memory is like at the end.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from kmsim.config import ResponseConfig
from kmsim.config.responses import MEASURES
from kmsim.metrics.columns import Array, Table, as_arrays
from kmsim.metrics.gfp_names import gfp_of_names
from kmsim.metrics.histogram import ranked
from kmsim.mm.getorder import get_order, ilog2
from kmsim.mm.gfp import parse_gfp
from kmsim.study.model_error import model_error
from kmsim.study.reclaim_table import RECLAIM
from kmsim.study.store import Result
from kmsim.study.tables import LARGEST_KMALLOC
from kmsim.units import PS_PER_NS

MIB = 1 << 20
PS_PER_US, PS_PER_MS, PS_PER_S = 10**6, 10**9, 10**12
WHOLE_RUN = -1  # the number of no window
QUANTILES_OF = {"latency_p50": 500, "latency_p90": 900, "latency_p99": 990, "latency_p999": 999}  # in thousandths
NAN = math.nan

Ints = NDArray[np.int64]


class Value(NamedTuple):
    """One response of one run, or of one of its windows."""

    response: str
    unit: str
    batch: int
    value: float
    failed_share: float  # of the allocations whose latency or rate it is, in percent; NaN where it is about none
    model_error: float  # of the value, in percent; 0 of what is only counted, NaN of what was never measured


class Measured(NamedTuple):
    """The tables that a response is computed from."""

    tables: Mapping[str, pd.DataFrame]
    page_size: int
    left_out: Sequence[Mapping[str, Any]]  # the price list's errors (`study.model_error`)

    def __call__(self, name: str) -> Table:
        """One of them as arrays."""
        return as_arrays(self.tables, name)


def responses_of(result: Result, configs: Iterable[ResponseConfig]) -> list[Value]:
    """Every response of the run, then, window by window, those that are measured in windows."""
    wanted = list(configs)
    run = Measured(result.tables, result.page_size_bytes, result.left_out)
    values = [_value(run, config, WHOLE_RUN) for config in wanted]
    for number, tables in enumerate(result.batches):
        window = Measured(tables, result.page_size_bytes, result.left_out)
        of_window = [config for config in wanted if config.measure in _OF_WINDOWS]
        values += [_value(window, config, number) for config in of_window]
    return values


def _value(run: Measured, config: ResponseConfig, batch: int) -> Value:
    value = float(_OF_RUNS[config.measure](run, config))
    failed_share = NAN
    if MEASURES[config.measure].of_served and config.of_kind != "free":
        failed_share = _failed_share(run, config.model_copy(update={"kind": "alloc"}))
    return Value(config.name, config.unit, batch, value, failed_share, _model_error(run, config))


def _model_error(run: Measured, config: ResponseConfig) -> float:
    several = len(np.unique(run("operations")["cpu"])) > 1
    return model_error(config.measure, _operations(run, config), several_cpus=several, left_out=run.left_out)


def quantile_ns(buckets: Table, thousandths: int) -> float:
    """The middle of the bucket in which a quantile lies, of all these histograms together; NaN of none."""
    if not len(buckets):
        return NAN
    merged = merged_buckets(buckets)
    at = int(ranked(merged["count"], np.zeros(1, np.int64), thousandths)[0])
    low, high = (round(float(merged[bound][at]) * PS_PER_NS) for bound in ("low_ns", "high_ns"))
    return (low + high - 1) / 2 / PS_PER_NS


def merged_buckets(buckets: Table) -> Table:
    """One histogram of several: each bucket once, in ascending order."""
    low, first, bucket = np.unique(buckets["low_ns"], return_index=True, return_inverse=True)
    count = np.zeros(len(low), np.int64)
    np.add.at(count, bucket, buckets["count"])
    return Table({"low_ns": low, "high_ns": buckets["high_ns"][first], "count": count})


# ---- of operations


def rows_about(table: Table, config: ResponseConfig, *, of_kind: bool = True) -> Table:
    """The rows of the operations that a response is about, or of those of any kind."""
    wanted = {
        "kind": config.of_kind if of_kind else None,
        "api": config.of_api,
        "order": config.order,
        "cache": config.cache,
    }
    masks = [table[column] == value for column, value in wanted.items() if value is not None]
    if config.gfp is not None:
        flags = parse_gfp(config.gfp)
        masks.append(np.array([flags & gfp_of_names(str(names)) == flags for names in table["gfp"]], bool))
    return table.where(np.logical_and.reduce(masks)) if masks else table


def _operations(run: Measured, config: ResponseConfig) -> Table:
    return rows_about(run("operations"), config)


def _longest(operations: Table) -> float:
    latencies = operations["max_ns"]
    known = latencies[~np.isnan(latencies)]
    return float(known.max()) if len(known) else NAN


def _quantile(thousandths: int) -> Callable[[Measured, ResponseConfig], float]:
    def quantile(run: Measured, config: ResponseConfig) -> float:
        longest = _longest(_operations(run, config))
        # The middle of the last bucket may lie above all that is in it.
        return float(np.minimum(quantile_ns(rows_about(run("histograms"), config), thousandths), longest))

    return quantile


def _latency_mean(run: Measured, config: ResponseConfig) -> float:
    operations = _operations(run, config)
    return _ratio(operations["sum_ps"].sum(), operations["count"].sum(), over=PS_PER_NS)


def _time_per_mib(run: Measured, config: ResponseConfig) -> float:
    """Frees are divided by the bytes that were allocated, too, so that both kinds add up to the whole."""
    operations = rows_about(run("operations"), config, of_kind=False)
    of_kind = operations if config.of_kind is None else operations.where(operations["kind"] == config.of_kind)
    return _ratio(of_kind["sum_ps"].sum(), operations["asked_bytes"].sum(), times=MIB, over=PS_PER_US)


def _throughput(run: Measured, config: ResponseConfig) -> float:
    return _ratio(_operations(run, config)["count"].sum(), _simulated_ps(run), times=PS_PER_S)


def _sum_of(column: str) -> Callable[[Measured, ResponseConfig], float]:
    return lambda run, config: float(_operations(run, config)[column].sum())


def _share_of(column: str) -> Callable[[Measured, ResponseConfig], float]:
    def share(run: Measured, config: ResponseConfig) -> float:
        operations = _operations(run, config)
        # A failed operation is not among the count, which has a latency.
        return _ratio(operations[column].sum(), (operations["count"] + operations["failed"]).sum(), times=100)

    return share


_failed_share = _share_of("failed")


# ---- of time and locks


def _whole_ps(times_ns: Array) -> Ints:
    """The picoseconds that a table gives as nanoseconds; exact up to 2.5 hours."""
    whole: Ints = np.rint(times_ns * PS_PER_NS).astype(np.int64)
    return whole


def _simulated_ps(run: Measured) -> int:
    return int(_whole_ps(run("cpus")["run_ns"]).max())


def _lock_wait_share(run: Measured, _: ResponseConfig) -> float:
    cpus = run("cpus")
    return _ratio(_whole_ps(cpus["lock_wait_ns"]).sum(), _whole_ps(cpus["run_ns"]).sum(), times=100)


def _locks(run: Measured, config: ResponseConfig) -> Table:
    """The lock that a response is about, or those of all zones."""
    locks = run("locks")
    if config.lock is not None:
        return locks.where(locks["lock"] == config.lock)
    return locks.where(np.array([name.startswith("zone ") for name in locks["lock"].tolist()], np.bool_))


def _lock_wait_mean(run: Measured, config: ResponseConfig) -> float:
    locks = _locks(run, config)
    return _ratio(_whole_ps(locks["wait_total_ns"]).sum(), locks["acquisitions"].sum(), over=PS_PER_NS)


def _lock_contended_share(run: Measured, config: ResponseConfig) -> float:
    locks = _locks(run, config)
    return _ratio(locks["contended"].sum(), locks["acquisitions"].sum(), times=100)


# ---- of memory at the end


def _at_end(table: Table) -> Table:
    times = table["time_ns"]
    return table.where(times == times.max()) if len(table) else table


def _of_zone(table: Table, config: ResponseConfig) -> Table:
    return table if config.zone is None else table.where(table["zone"] == config.zone)


def _pages_held(run: Measured) -> int:
    """Pages that were taken between the start and the end of the run, and not given back."""
    memory = run("memory")
    unused, times = memory["free_pages"] + memory["pcp_pages"], memory["time_ns"]
    return int(unused[times == times.min()].sum() - unused[times == times.max()].sum())


def _memory_held(run: Measured, _: ResponseConfig) -> float:
    return _pages_held(run) * run.page_size / MIB


def _internal_waste(run: Measured, _: ResponseConfig) -> float:
    """NaN where memory can be reclaimed: the page cache holds pages, and those of processes may be gone."""
    if RECLAIM in run.tables:
        return NAN
    live_bytes = int(_at_end(run("activity"))["live_bytes"].max())
    held = _pages_held(run) * run.page_size
    # Frees that are under way when the run ends have given their pages back and still count as live.
    return _ratio(max(held - live_bytes, 0), held, times=100)


def _memory_at_end(run: Measured, config: ResponseConfig) -> Table:
    """The rows of the zones that a response is about; none where the machine has not that zone."""
    return _of_zone(_at_end(run("memory")), config)


def _memory(column: str) -> Callable[[Measured, ResponseConfig], float]:
    def mib(run: Measured, config: ResponseConfig) -> float:
        zones = _memory_at_end(run, config)
        return int(zones[column].sum()) * run.page_size / MIB if len(zones) else NAN

    return mib


def _free_blocks(run: Measured, config: ResponseConfig) -> tuple[Ints, int]:
    """Free blocks by order when the run ended, of one zone or of all together, and the order that is asked about."""
    last = _of_zone(_at_end(run("samples")), config)
    blocks = np.zeros(int(last["order"].max(initial=-1)) + 1, np.int64)
    np.add.at(blocks, last["order"], last["nr_free"])
    order = config.order
    if config.block is not None:
        order = get_order(config.block, ilog2(run.page_size))
    return blocks, order or 0


def _pages(blocks: Ints, order: int = 0) -> int:
    """Pages in the blocks of at least this order."""
    return int((blocks << np.arange(len(blocks)))[order:].sum())


def _free_in_blocks(run: Measured, config: ResponseConfig) -> float:
    blocks, order = _free_blocks(run, config)
    return _pages(blocks, order) * run.page_size / MIB if len(blocks) else NAN


def _unusable_index(run: Measured, config: ResponseConfig) -> float:
    blocks, order = _free_blocks(run, config)
    if not len(blocks):
        return NAN
    free_pages = _pages(blocks)
    return _ratio(free_pages - _pages(blocks, order), free_pages) if free_pages else 1.0


def _fragmentation_index(run: Measured, config: ResponseConfig) -> float:
    """As `mm.vmstat.fragmentation_index`: -1 where a block is free, else towards 1 the less memory is missing."""
    blocks, order = _free_blocks(run, config)
    if not len(blocks):
        return NAN
    if not blocks.sum():
        return 0.0
    if blocks[order:].any():
        return -1.0
    return 1 - (1 + _pages(blocks) / (1 << order)) / float(blocks.sum())


def _free_huge_pages(run: Measured, config: ResponseConfig) -> float:
    zones = _memory_at_end(run, config)
    return float(zones["free_huge_frames"].sum()) if len(zones) else NAN


def _largest_free_block(run: Measured, config: ResponseConfig) -> float:
    zones = _memory_at_end(run, config)
    if not len(zones):
        return NAN
    order = int(zones["largest_free_order"].max())
    return (run.page_size << order) / MIB if order >= 0 else 0.0


def _counter(name: str | None, scale: float = 1.0) -> Callable[[Measured, ResponseConfig], float]:
    def counter(run: Measured, config: ResponseConfig) -> float:
        vmstat = run("vmstat")
        found = vmstat["value"][vmstat["name"] == (name or config.counter)]
        return float(found[0]) / scale if len(found) else NAN

    return counter


def _ratio(part: int, whole: int, times: int = 1, over: int = 1) -> float:
    """part / whole * times / over, of whole numbers and rounded once; NaN of nothing."""
    return int(part) * times / (int(whole) * over) if whole else NAN


_OF_WINDOWS: dict[str, Callable[[Measured, ResponseConfig], float]] = {
    "latency_mean": _latency_mean,
    **{measure: _quantile(thousandths) for measure, thousandths in QUANTILES_OF.items()},
    "latency_max": lambda run, config: _longest(_operations(run, config)),
    "time_per_mib": _time_per_mib,
    "operations": _sum_of("count"),
    "throughput": _throughput,
    "failed": _sum_of("failed"),
    "failed_share": _failed_share,
    "slow_path_share": _share_of("needs_slow_path"),
    "vmalloc_share": _share_of("to_vmalloc"),
    "asked": lambda run, config: float(_operations(run, config)["asked_bytes"].sum()) / MIB,
    "lock_wait_share": _lock_wait_share,
    "lock_wait_mean": _lock_wait_mean,
    "lock_contended_share": _lock_contended_share,
    "simulated_time": lambda run, _: _simulated_ps(run) / PS_PER_MS,
}


def _reclaiming_share(run: Measured, config: ResponseConfig) -> float:
    """Of all allocations, failed ones too, those that reclaimed."""
    operations = _operations(run, config)
    asked = operations["count"].sum() + operations["failed"].sum()
    return _ratio(_reclaim_total(run, config, "requests"), asked, 100)


def _of_reclaim(column: str) -> Callable[[Measured, ResponseConfig], float]:
    return lambda run, config: float(_reclaim_total(run, config, column))


def _reclaim_total(run: Measured, config: ResponseConfig, column: str) -> int:
    """The sum of a column of `reclaim`; 0 of a machine that cannot reclaim."""
    return int(rows_about(run(RECLAIM), config)[column].sum()) if RECLAIM in run.tables else 0


_AT_END: dict[str, Callable[[Measured, ResponseConfig], float]] = {
    "reclaiming_share": _reclaiming_share,
    "pages_scanned": _of_reclaim("pages_scanned"),
    "pages_reclaimed": _of_reclaim("pages_reclaimed"),
    "internal_waste": _internal_waste,
    "memory_held": _memory_held,
    "memory_free": _memory("free_pages"),
    "memory_on_lists": _memory("pcp_pages"),
    "unusable_index": _unusable_index,
    "fragmentation_index": _fragmentation_index,
    "free_in_blocks": _free_in_blocks,
    "free_huge_pages": _free_huge_pages,
    "largest_free_block": _largest_free_block,
    "largest_kmalloc": _counter(LARGEST_KMALLOC, MIB),
    "counter": _counter(None),
}
_OF_RUNS = _OF_WINDOWS | _AT_END
assert set(_OF_RUNS) == set(MEASURES)
