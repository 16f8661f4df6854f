"""What a run measured, as tidy tables: one row per fact, units in the column names.

    operations  count, failures and latency quantiles per kind, allocator, GFP flags, order, cache and CPU
    histograms  the latency buckets behind them
    locks       contention as lock_stat counts it
    slabs       per slab cache: its slabs and objects, and what SLUB counts (kernel: CONFIG_SLUB_STATS)
    cpus        per CPU: where its time went
    samples     free blocks, unusable and fragmentation index per zone and order over time
    memory      free memory, per-CPU lists and pageblocks per zone over time
    activity    allocations, frees and their mean latency over time, and the bytes in use
    memory_map  the state of every page at a few instants, where the config asks for it (`kmsim.metrics.page_map`)
    reclaim     what requests went through when memory was short, where it can be reclaimed (`study.reclaim_table`)
    processes   the processes that the config names, and whom the OOM killer chose (`study.process_table`)
    single_operations  single allocations and frees with their times, where the config asks for it (`run.operations`)
    vmstat      event counters: the kernel's by its names, kmsim's own with `kmsim:` before theirs, and what the largest
                kmalloc is that would succeed now

What counts begins at the end of the warm-up; what is sampled or counted from what is there (samples, memory,
activity, memory_map, the objects and slabs of a cache, nr_free_pages) covers the whole run. BATCH_TABLES are
also made for each window of the run. Times are nanoseconds, of which the core counts the thousandths; a time up to
2.5 hours is exact. The sum of latencies is in whole picoseconds (`sum_ps`), and every mean is made of such sums,
once: what is equal comes out equal.

In `locks`, only drains take the lock of per-CPU lists ("pcp lists Normal"): requests try it. `csd_lock` is the wait
until all CPUs have flushed their TLBs. All waiting of `cpus` is in `locks`, too. There it goes on while the CPU
serves an interrupt, and that for vmap_purge_lock is slept.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from kmsim.config.state import Filled
from kmsim.metrics import samples
from kmsim.metrics.columns import CLASS_COLUMNS, INT, REAL, TEXT, Columns, Table, Tables, made_of, typed
from kmsim.metrics.gfp_names import gfp_names
from kmsim.metrics.histogram import NR_BUCKETS, bucket_bounds, ranked
from kmsim.metrics.page_map import MEMORY_MAP_COLUMNS
from kmsim.metrics.page_maps import PageMaps
from kmsim.mm.locks import names_of_locks
from kmsim.mm.mmzone import EXACT_SAVED, EXTFRAG, KSWAPD_WAKEUPS, NEEDS_SLOW_PATH, NOPAGE
from kmsim.mm.zone_names import name_on_node, zone_names
from kmsim.procfs import stat_items, vmstat
from kmsim.sim.core.counted import SPENT, Counted
from kmsim.sim.core.records import (
    BYTES,
    COUNT,
    FAILED,
    MAX_PS,
    NEEDED_SLOW_PATH,
    SUM_PS,
    TO_VMALLOC,
    Core,
    kind_and_request,
    locks_of,
)
from kmsim.sim.run.activity import ACTIVITY_COLUMNS
from kmsim.sim.run.windows import Reading
from kmsim.study.largest import largest_kmalloc_bytes
from kmsim.study.process_table import PROCESS_COLUMNS, PROCESSES, process_table
from kmsim.study.reclaim_table import RECLAIM, RECLAIM_COLUMNS, RECLAIM_COUNTERS, reclaim_events, reclaim_table
from kmsim.study.single_operations import SINGLE_OPERATIONS, SINGLE_OPERATIONS_COLUMNS, single_operations
from kmsim.study.slab_tables import SLABS_COLUMNS, VM_COUNTERS, cache_names, slabs_table, vm_events
from kmsim.units import PS_PER_NS
from kmsim.workload.plan import API_NAMES
from kmsim.workload.turns import KIND_NAMES

if TYPE_CHECKING:
    from kmsim.sim.simulation import Simulation

Ints = NDArray[np.int64]

QUANTILES = {"p50_ns": 500, "p90_ns": 900, "p99_ns": 990, "p999_ns": 999}  # in thousandths
KEYS: Columns = {**CLASS_COLUMNS, "cpu": INT}
COUNTED = ("count", "failed", "needs_slow_path", "to_vmalloc", "asked_bytes", "sum_ps")
LATENCIES = ("mean_ns", *QUANTILES, "max_ns")
LOCK_TIMES = ("wait_total", "wait_max", "hold_total", "hold_max")
TIME_PARTS = (*(f"{part}_ns" for part in SPENT), "unfinished_ns")
COLUMNS: dict[str, Columns] = {
    "operations": {**KEYS, **dict.fromkeys(COUNTED, INT), **dict.fromkeys(LATENCIES, REAL)},
    "histograms": {**KEYS, "low_ns": REAL, "high_ns": REAL, "count": INT},
    "slabs": SLABS_COLUMNS,
    "locks": {"lock": TEXT, "acquisitions": INT, "contended": INT, **{f"{time}_ns": REAL for time in LOCK_TIMES}},
    "cpus": {"cpu": INT, **dict.fromkeys((*TIME_PARTS, "run_ns"), REAL)},
    "samples": samples.FREE_BLOCKS_COLUMNS,
    "memory": samples.MEMORY_COLUMNS,
    "activity": ACTIVITY_COLUMNS,
    "memory_map": MEMORY_MAP_COLUMNS,
    "vmstat": {"name": TEXT, "value": INT},
    RECLAIM: RECLAIM_COLUMNS,
    PROCESSES: PROCESS_COLUMNS,
    SINGLE_OPERATIONS: SINGLE_OPERATIONS_COLUMNS,
}
ON_DEMAND = (RECLAIM, PROCESSES, SINGLE_OPERATIONS)  # that not every result has
BATCH_TABLES = ("operations", "histograms", "locks", "cpus")  # those that a window of a run has, too

# What /proc/vmstat counts of allocating and freeing, and tracepoints (as perf names them) and kmsim's own.
_VMSTAT_PREFIXES = ("nr_free_pages", "pgalloc_", "allocstall_", "pgfree")
LARGEST_KMALLOC = "kmsim:largest_kmalloc_bytes"
_OTHER_EVENTS = {
    "vmscan:mm_vmscan_wakeup_kswapd": KSWAPD_WAKEUPS,
    "kmem:mm_page_alloc_extfrag": EXTFRAG,
    "kmsim:failed_without_reclaim": NOPAGE,
    "kmsim:needs_slow_path": NEEDS_SLOW_PATH,
    "kmsim:exact_pages_saved": EXACT_SAVED,
}


def tables_of(simulation: Simulation) -> Tables:
    """Every table of one run, by name."""
    core, m, start = simulation.core, simulation.core.m, simulation.recorders.windows.start
    caches = cache_names(simulation)
    page_maps = simulation.recorders.page_maps or PageMaps(0, np.zeros(0, np.bool_))
    tables = _counted_tables(core, simulation.recorders.windows.measured(core), caches) | {
        "slabs": slabs_table(core.slub, caches, start),
        "samples": simulation.recorders.samples.free_blocks_table(m),
        "memory": simulation.recorders.samples.memory_table(m),
        "activity": simulation.recorders.activity.table(),
        "memory_map": page_maps.table(),
        "vmstat": _vmstat(core, simulation.study.machine.arch, start),
    }
    if core.reclaimed is not None:
        tables[RECLAIM] = reclaim_table(core, _names_of_classes(core, caches, len(core.totals)), start)
    state = simulation.study.machine.state
    if isinstance(state, Filled) and state.filled.processes:
        tables[PROCESSES] = process_table(m, [process.name for process in state.filled.all_processes])
    if core.singles is not None:
        classes = _by_class(_names_of_classes(core, caches, len(core.totals)))
        tables[SINGLE_OPERATIONS] = single_operations(core, simulation.plan.tasks, classes)
    return Tables({name: tables[name] for name in COLUMNS if name in tables})


def batches_of(simulation: Simulation) -> tuple[Tables, ...]:
    """The tables of each window of one run, in the order of time."""
    caches = cache_names(simulation)
    return tuple(
        Tables(_counted_tables(simulation.core, batch, caches)) for batch in simulation.recorders.windows.batches
    )


def _counted_tables(core: Core, counted: Counted, caches: list[str]) -> dict[str, Table]:
    """The tables of what was counted over a stretch of time: BATCH_TABLES."""
    cells = _cells(core, counted, caches)
    tables = {
        "operations": _operations(counted, cells),
        "histograms": _histograms(cells),
        "locks": _locks(core, counted, caches),
        "cpus": _cpus(counted),
    }
    return {name: typed(tables[name], COLUMNS[name]) for name in BATCH_TABLES}


class _Cells(NamedTuple):
    """A row of `operations` for each class and CPU with any operation, and the filled buckets of all rows."""

    classes: dict[str, NDArray[Any]]  # the key columns, by class
    operation_class: Ints  # by row, as `sim.core.records.class_of` numbers them
    cpu: Ints  # by row
    row: Ints  # by filled bucket, ascending
    bucket: Ints
    nr_in_bucket: Ints


def _cells(core: Core, counted: Counted, caches: list[str]) -> _Cells:
    """What was counted, sorted by class, CPU and latency."""
    nothing = np.zeros(0, np.int64)
    of_class = _names_of_classes(core, caches, len(counted.totals))
    columns = _by_class(of_class)
    classes = sorted(range(len(of_class)), key=lambda k: of_class[k])
    rows: list[tuple[Ints, Ints]] = [(nothing, nothing)]
    buckets: list[tuple[Ints, Ints, Ints]] = [(nothing, nothing, nothing)]
    nr_rows = 0
    nr_buckets = counted.totals.shape[1] * NR_BUCKETS  # of a class
    first: Ints = np.searchsorted(counted.filled, nr_buckets * np.arange(len(of_class) + 1))
    for k in classes:
        cpus = np.flatnonzero(counted.totals[k][:, (COUNT, FAILED)].any(axis=1))
        if not len(cpus):
            continue
        filled = slice(first[k], first[k + 1])
        within: Ints = counted.filled[filled] - k * nr_buckets
        row: Ints = nr_rows + np.searchsorted(cpus, within // NR_BUCKETS)
        rows.append((np.full(len(cpus), k), cpus))
        buckets.append((row, within % NR_BUCKETS, counted.nr_in_bucket[filled]))
        nr_rows += len(cpus)
    operation_class, cpu = map(np.concatenate, zip(*rows, strict=True))
    row, bucket, count = map(np.concatenate, zip(*buckets, strict=True))
    return _Cells(columns, operation_class, cpu, row, bucket, count)


def _names_of_classes(core: Core, caches: Sequence[str], nr_classes: int) -> list[tuple[str, str, str, int, str]]:
    return [_names_of_class(core, caches, *kind_and_request(k)) for k in range(nr_classes)]


def _by_class(of_class: list[tuple[str, str, str, int, str]]) -> dict[str, NDArray[Any]]:
    """The key columns, by class."""
    return {
        name: np.array([names[n] for names in of_class], np.int64 if kind == INT else np.str_)
        for n, (name, kind) in enumerate(CLASS_COLUMNS.items())
    }


def _names_of_class(core: Core, caches: Sequence[str], kind: int, number: int) -> tuple[str, str, str, int, str]:
    """What CLASS_COLUMNS say of a kind of operation of a request."""
    request = core.requests[number]
    cache = caches[int(request["cache"])] if request["cache"] >= 0 else ""
    return (
        KIND_NAMES[kind],
        API_NAMES[int(request["api"])],
        gfp_names(int(request["gfp"])),
        int(request["order"]),
        cache,
    )


def _keys(cells: _Cells, row: Ints) -> dict[str, NDArray[Any]]:
    """The key columns of these rows of `operations`."""
    k = cells.operation_class[row]
    return {**{name: column[k] for name, column in cells.classes.items()}, "cpu": cells.cpu[row]}


def _operations(counted: Counted, cells: _Cells) -> dict[str, Any]:
    nr_rows = len(cells.cpu)
    totals = counted.totals[cells.operation_class, cells.cpu]
    count = totals[:, COUNT]
    has_any = count > 0
    first = np.flatnonzero(np.diff(cells.row, prepend=-1))
    assert (cells.row[first] == np.flatnonzero(has_any)).all(), "a latency for each operation"
    assert (np.add.reduceat(cells.nr_in_bucket, first) == count[has_any]).all() if len(first) else True
    longest = totals[:, MAX_PS]
    low, high = bucket_bounds()
    quantiles = {}
    for name, thousandths in QUANTILES.items():
        bucket = cells.bucket[ranked(cells.nr_in_bucket, first, thousandths)]
        middle = (low[bucket] + high[bucket] - 1) / 2
        quantiles[name] = np.full(nr_rows, np.nan)
        # The middle of the last bucket may lie above all that is in it.
        quantiles[name][has_any] = np.minimum(middle, longest[has_any]) / PS_PER_NS
    return {
        **_keys(cells, np.arange(nr_rows)),
        "count": count,
        "failed": totals[:, FAILED],
        "needs_slow_path": totals[:, NEEDED_SLOW_PATH],
        "to_vmalloc": totals[:, TO_VMALLOC],
        "asked_bytes": totals[:, BYTES],
        "sum_ps": totals[:, SUM_PS],
        "mean_ns": np.where(has_any, totals[:, SUM_PS] / np.maximum(count, 1) / PS_PER_NS, np.nan),
        **quantiles,
        "max_ns": np.where(has_any, longest / PS_PER_NS, np.nan),
    }


def _histograms(cells: _Cells) -> dict[str, Any]:
    low, high = bucket_bounds()
    return {
        **_keys(cells, cells.row),
        "low_ns": low[cells.bucket] / PS_PER_NS,
        "high_ns": high[cells.bucket] / PS_PER_NS,
        "count": cells.nr_in_bucket,
    }


def _locks(core: Core, counted: Counted, caches: list[str]) -> dict[str, Any]:
    locks = counted.locks
    taken = np.flatnonzero(locks["acquisitions"])
    names = lock_names(core, caches)
    return {
        "lock": [names[n] for n in taken],
        "acquisitions": locks["acquisitions"][taken],
        "contended": locks["contended"][taken],
        **{f"{time}_ns": locks[time][taken] / PS_PER_NS for time in LOCK_TIMES},
    }


def lock_names(core: Core, caches: list[str]) -> list[str]:
    """The names of all locks, in the order of `core.locks`."""
    nr_caches = 0 if core.slub is None else len(core.slub.caches)
    of_caches = [*caches, *["of no cache"] * (nr_caches - len(caches))]
    lists = [name_on_node(core.m, name, n) for name in of_caches for n in range(len(core.m.nodes))]
    return names_of_locks(locks_of(core.m, core.slub, core.vm), zones=zone_names(core.m), lists=lists)


def _cpus(counted: Counted) -> dict[str, Any]:
    unfinished = counted.unfinished
    assert (unfinished >= 0).all(), "a CPU spent more time than there was"
    columns = ("cpu", *TIME_PARTS, "run_ns")
    length = np.full(len(unfinished), counted.end_ps - counted.start_ps)
    times = (part / PS_PER_NS for part in (*counted.spent, unfinished, length))
    return dict(zip(columns, (np.arange(len(unfinished)), *times), strict=True))


def counter_names(arch: str, *, uses_vmalloc: bool, reclaims: bool) -> set[str]:
    """The names of `vmstat` on a machine of this architecture."""
    listed = {name for name in stat_items.names(arch=arch, thp_built_in=True) if name.startswith(_VMSTAT_PREFIXES)}
    listed |= {*_OTHER_EVENTS, LARGEST_KMALLOC} | (VM_COUNTERS if uses_vmalloc else set())
    return listed | (RECLAIM_COUNTERS if reclaims else set())


def _vmstat(core: Core, arch: str, start: Reading | None) -> Table:
    m, vm = core.m, core.vm
    if start is not None:
        m = m._replace(events=m.events - start.events)
        if start.vm_events is not None:
            vm = vm._replace(events=vm.events - start.vm_events)
    counters = vmstat.rows(m, arch).counters
    listed = {name: value for name, value in counters.items() if name.startswith(_VMSTAT_PREFIXES)}
    listed |= {name: int(m.events[event]) for name, event in _OTHER_EVENTS.items()}
    listed |= vm_events(vm) | reclaim_events(core, start)
    listed[LARGEST_KMALLOC] = largest_kmalloc_bytes(m)
    return made_of(COLUMNS["vmstat"], (list(listed), list(listed.values())))
