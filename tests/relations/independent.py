"""Every response computed again from a run's tables, the slow way: row by row, in whole numbers and fractions.

Nothing here is taken from `kmsim.study.responses` or `kmsim.config.responses`: what a measure is stands in
configs/README.md.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Iterator
from fractions import Fraction
from typing import Any

from kmsim.mm.gfp import parse_gfp

Row = dict[str, Any]
Tables = dict[str, list[Row]]

MIB = 1 << 20
QUANTILES = {"latency_p50": 500, "latency_p90": 900, "latency_p99": 990, "latency_p999": 999}
NAN = math.nan


def rows_of(tables: Any) -> Tables:
    """The tables as lists of rows."""
    return {name: _first_and_last(table.to_dict("records")) for name, table in tables.items() if name != "memory_map"}


def _first_and_last(rows: list[Row]) -> list[Row]:
    """Of what is sampled, the first sample and the last, which is all that is asked for."""
    times = [row["time_ns"] for row in rows if "time_ns" in row]
    ends = (min(times), max(times)) if times else ()
    return [row for row in rows if not times or row["time_ns"] in ends]


def ps(time_ns: float) -> int:
    """Whole picoseconds of a time in a table."""
    return round(time_ns * 1000)


def ratio(part: Any, whole: Any, scale: Any = 1) -> float:
    """Scale times a share, rounded once; NaN of nothing."""
    return float(Fraction(scale) * Fraction(int(part)) / Fraction(int(whole))) if whole else NAN


def recomputed(measure: str, tables: Tables, page_size: int, **filters: Any) -> float:
    """The value of a measure."""
    if measure in _OF_OPERATIONS:
        return _OF_OPERATIONS[measure](tables, filters)
    if measure in _OF_MEMORY:
        return _OF_MEMORY[measure](tables, page_size, filters)
    return _OF_THE_REST[measure](tables, filters)


def _about(rows: list[Row], filters: Row, kind: str | None) -> Iterator[Row]:
    wanted = {key: value for key, value in filters.items() if key in ("api", "order", "cache")}
    flags = parse_gfp(filters["gfp"]) if "gfp" in filters else 0
    for row in rows:
        if all(row[key] == value for key, value in wanted.items()) and kind in (None, row["kind"]):
            if not flags & ~parse_gfp(row["gfp"]):  # all of them are among the row's
                yield row


def _sum(tables: Tables, filters: Row, column: str, kind: str | None) -> int:
    return sum(row[column] for row in _about(tables["operations"], filters, filters.get("kind", kind)))


def _all_tried(tables: Tables, filters: Row) -> int:
    return _sum(tables, filters, "count", "alloc") + _sum(tables, filters, "failed", "alloc")


def _mean(tables: Tables, filters: Row) -> float:
    return ratio(_sum(tables, filters, "sum_ps", "alloc"), _sum(tables, filters, "count", "alloc"), Fraction(1, 1000))


def _longest(tables: Tables, filters: Row) -> float:
    rows = _about(tables["operations"], filters, filters.get("kind", "alloc"))
    return max((row["max_ns"] for row in rows if row["count"]), default=NAN)


def _quantile(thousandths: int) -> Callable[[Tables, Row], float]:
    def quantile(tables: Tables, filters: Row) -> float:
        buckets: Counter[tuple[float, float]] = Counter()
        for row in _about(tables["histograms"], filters, filters.get("kind", "alloc")):
            buckets[row["low_ns"], row["high_ns"]] += row["count"]
        total, seen = sum(buckets.values()), 0
        for (low, high), count in sorted(buckets.items()):
            seen += count
            if 1000 * seen >= thousandths * total:
                return min((ps(low) + ps(high) - 1) / 2000, _longest(tables, filters))
        return NAN

    return quantile


def _time_per_mib(tables: Tables, filters: Row) -> float:
    of_allocs = {key: value for key, value in filters.items() if key != "kind"}
    asked = _sum(tables, of_allocs, "asked_bytes", "alloc")
    return ratio(_sum(tables, filters, "sum_ps", None), asked, Fraction(MIB, 10**6))


def _share(column: str, **more: str) -> Callable[[Tables, Row], float]:
    def share(tables: Tables, filters: Row) -> float:
        about = filters | more
        return ratio(_sum(tables, about, column, "alloc"), _all_tried(tables, about), 100)

    return share


def _of_reclaim(tables: Tables, filters: Row, column: str) -> int:
    return sum(row[column] for row in _about(tables.get("reclaim", []), filters, "alloc"))


def _run_ps(tables: Tables) -> int:
    return max(ps(row["run_ns"]) for row in tables["cpus"])


_OF_OPERATIONS: dict[str, Callable[[Tables, Row], float]] = {
    "latency_mean": _mean,
    **{measure: _quantile(thousandths) for measure, thousandths in QUANTILES.items()},
    "latency_max": _longest,
    "time_per_mib": _time_per_mib,
    "operations": lambda tables, filters: float(_sum(tables, filters, "count", None)),
    "throughput": lambda tables, filters: ratio(_sum(tables, filters, "count", None), _run_ps(tables), 10**12),
    "failed": lambda tables, filters: float(_sum(tables, filters, "failed", "alloc")),
    "failed_share": _share("failed"),
    "slow_path_share": _share("needs_slow_path"),
    "reclaiming_share": lambda tables, filters: ratio(
        _of_reclaim(tables, filters, "requests"), _all_tried(tables, filters), 100
    ),
    "pages_scanned": lambda tables, filters: float(_of_reclaim(tables, filters, "pages_scanned")),
    "pages_reclaimed": lambda tables, filters: float(_of_reclaim(tables, filters, "pages_reclaimed")),
    "vmalloc_share": _share("to_vmalloc", api="kvmalloc"),
    "asked": lambda tables, filters: _sum(tables, filters, "asked_bytes", "alloc") / MIB,
}


# ---- locks and time


def _locks(tables: Tables, filters: Row) -> list[Row]:
    lock = filters.get("lock")
    return [row for row in tables["locks"] if (row["lock"] == lock if lock else row["lock"].startswith("zone "))]


def _lock_wait_share(tables: Tables, _: Row) -> float:
    cpus = tables["cpus"]
    return ratio(sum(ps(row["lock_wait_ns"]) for row in cpus), sum(ps(row["run_ns"]) for row in cpus), 100)


def _lock_wait_mean(tables: Tables, filters: Row) -> float:
    locks = _locks(tables, filters)
    waited = sum(ps(row["wait_total_ns"]) for row in locks)
    return ratio(waited, sum(row["acquisitions"] for row in locks), Fraction(1, 1000))


def _contended(tables: Tables, filters: Row) -> float:
    locks = _locks(tables, filters)
    return ratio(sum(row["contended"] for row in locks), sum(row["acquisitions"] for row in locks), 100)


def _counter(tables: Tables, filters: Row) -> float:
    return next((float(row["value"]) for row in tables["vmstat"] if row["name"] == filters["counter"]), NAN)


_OF_THE_REST: dict[str, Callable[[Tables, Row], float]] = {
    "lock_wait_share": _lock_wait_share,
    "lock_wait_mean": _lock_wait_mean,
    "lock_contended_share": _contended,
    "simulated_time": lambda tables, _: _run_ps(tables) / 10**9,
    "counter": _counter,
    "largest_kmalloc": lambda tables, _: _counter(tables, {"counter": "kmsim:largest_kmalloc_bytes"}) / MIB,
}


# ---- memory


def _at(rows: list[Row], pick: Callable[[list[float]], float], filters: Row) -> list[Row]:
    time = pick([row["time_ns"] for row in rows])
    return [row for row in rows if row["time_ns"] == time and filters.get("zone") in (None, row.get("zone"))]


def _held_pages(tables: Tables) -> int:
    first, last = (_at(tables["memory"], pick, {}) for pick in (min, max))
    return sum(row["free_pages"] + row["pcp_pages"] for row in first) - sum(
        row["free_pages"] + row["pcp_pages"] for row in last
    )


def _waste(tables: Tables, page_size: int, _: Row) -> float:
    if "reclaim" in tables:
        return NAN
    held = _held_pages(tables) * page_size
    live = _at(tables["activity"], max, {})[0]["live_bytes"]
    return ratio(max(held - live, 0), held, 100)


def _last(column: str) -> Callable[[Tables, int, Row], float]:
    def value(tables: Tables, page_size: int, filters: Row) -> float:
        rows = _at(tables["memory"], max, filters)
        return sum(row[column] for row in rows) * page_size / MIB if rows else NAN

    return value


def _blocks(tables: Tables, page_size: int, filters: Row) -> tuple[dict[int, int], int]:
    """Free blocks by order, and the order that is asked for."""
    order = filters.get("order")
    if order is None:
        order = next(n for n in range(60) if page_size << n >= filters["block"])
    found: Counter[int] = Counter()
    for row in _at(tables["samples"], max, filters):
        found[row["order"]] += row["nr_free"]
    return found, order


def _pages(blocks: dict[int, int], least: int = 0) -> int:
    return sum(nr << order for order, nr in blocks.items() if order >= least)


def _unusable(tables: Tables, page_size: int, filters: Row) -> float:
    blocks, order = _blocks(tables, page_size, filters)
    free = _pages(blocks)
    return NAN if not blocks else ratio(free - _pages(blocks, order), free) if free else 1.0


def _fragmentation(tables: Tables, page_size: int, filters: Row) -> float:
    blocks, order = _blocks(tables, page_size, filters)
    nr_blocks = sum(blocks.values())
    if not nr_blocks:
        return 0.0 if blocks else NAN
    if _pages(blocks, order):
        return -1.0
    return float(1 - (1 + Fraction(_pages(blocks), 1 << order)) / nr_blocks)


def _in_blocks(tables: Tables, page_size: int, filters: Row) -> float:
    blocks, order = _blocks(tables, page_size, filters)
    return _pages(blocks, order) * page_size / MIB if blocks else NAN


def _huge(tables: Tables, _: int, filters: Row) -> float:
    rows = _at(tables["memory"], max, filters)
    return float(sum(row["free_huge_frames"] for row in rows)) if rows else NAN


def _largest(tables: Tables, page_size: int, filters: Row) -> float:
    blocks, _ = _blocks(tables, page_size, filters | {"order": 0})
    orders = [order for order, nr in blocks.items() if nr]
    return (page_size << max(orders)) / MIB if orders else 0.0 if blocks else NAN


_OF_MEMORY: dict[str, Callable[[Tables, int, Row], float]] = {
    "internal_waste": _waste,
    "memory_held": lambda tables, page_size, _: _held_pages(tables) * page_size / MIB,
    "memory_free": _last("free_pages"),
    "memory_on_lists": _last("pcp_pages"),
    "unusable_index": _unusable,
    "fragmentation_index": _fragmentation,
    "free_in_blocks": _in_blocks,
    "free_huge_pages": _huge,
    "largest_free_block": _largest,
}
