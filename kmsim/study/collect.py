"""The results of a study's runs as four tidy tables, written run by run, so that memory holds a few at a time.

    runs        run, point, replication, seed, file, stuck, failed, what the machine was, the level of each axis,
                and the value of each key of an axis that moves several
    responses   run, point, replication, batch (-1: the whole run), response, unit, value, failed_share,
                model_error
    histograms  run, kind, api, gfp, order, cache, low_ns, high_ns, count: latencies, all CPUs together
    series      run, series (its unit last), zone, time_ns, value

Runs are numbered by point and replication. An axis that has the name of another column of `runs` takes its
place: its labels say the same. What is written depends on the runs' results alone.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping
from contextlib import ExitStack
from itertools import chain
from types import TracebackType
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from kmsim.config.design import Design
from kmsim.metrics.columns import CLASS_COLUMNS, Table, as_arrays
from kmsim.study.archive import unpack
from kmsim.study.campaign import Outcome
from kmsim.study.responses import responses_of
from kmsim.study.store import SCHEMA_VERSION, Result, result_of
from kmsim.study.study_folder import DESIGN_FILE, StudyFolder

ROWS_AT_ONCE = 100_000

_TEXT, _INT, _REAL, _BOOL = pa.string(), pa.int64(), pa.float64(), pa.bool_()
_KEYS = {"run": _INT, "point": _INT, "replication": _INT}
RUNS = {
    **_KEYS,
    "seed": _INT,
    "file": _TEXT,
    "stuck": _TEXT,
    "failed": _BOOL,
    "page_size_bytes": _INT,
    "max_page_order": _INT,
    "pageblock_order": _INT,
    "largest_block_bytes": _INT,
    "operations": _INT,
    "simulated_ns": _REAL,
}
_BESIDE = {"failed_share": _REAL, "model_error": _REAL}  # in percent, beside each value
TABLES = {
    "responses": {**_KEYS, "batch": _INT, "response": _TEXT, "unit": _TEXT, "value": _REAL, **_BESIDE},
    "histograms": {
        "run": _INT,
        **{name: _INT if name == "order" else _TEXT for name in CLASS_COLUMNS},
        "low_ns": _REAL,
        "high_ns": _REAL,
        "count": _INT,
    },
    "series": {"run": _INT, "series": _TEXT, "zone": _TEXT, "time_ns": _REAL, "value": _REAL},
}


def collect(design: Design, folder: StudyFolder, outcome: Outcome) -> None:
    """Write the tables of its runs, then the design, which says that they are there, and the checksums of all."""
    folder.remove(DESIGN_FILE)
    labels = [*(axis.name for axis in design.axes), *design.points[0].covariates]
    with ExitStack() as stack:
        tables = {name: stack.enter_context(_Table(folder, name, columns)) for name, columns in TABLES.items()}
        columns = {**RUNS, **dict.fromkeys(labels, _TEXT)}
        of_runs = stack.enter_context(_Table(folder, "runs", columns))
        for number, wanted in enumerate(outcome.runs):
            path, archive = folder.run_path(wanted.identity), folder.run(wanted.identity)
            result = None if archive is None else result_of(unpack(archive, wanted.identity, str(path)))
            orders = wanted.max_page_order, wanted.pageblock_order
            row = run_row(wanted.page_size, orders, result) | {
                "run": number,
                "point": wanted.point.number,
                "replication": wanted.replication,
                "seed": wanted.seed,
                "file": "" if result is None else f"runs/{wanted.identity}.zip",
                **wanted.point.labels,
                **wanted.point.covariates,
            }
            of_runs.add({name: [value] for name, value in row.items()}, 1)
            if result is None:
                continue
            values = response_rows(result, design.inquiry.responses)
            tables["responses"].add(values.arrays | {name: row[name] for name in _KEYS}, len(values))
            for name, rows in (("histograms", histogram_rows(result)), ("series", series_rows(result))):
                tables[name].add(rows.arrays | {"run": number}, len(rows))
    folder.write(DESIGN_FILE, json.dumps(_design_facts(design) | {"files": outcome.files}, indent=1) + "\n")
    folder.seal()


def run_row(page_size: int, orders: tuple[int, int], result: Result | None) -> dict[str, Any]:
    """What `runs` says of a run (None: of one that failed), apart from its place in the study.

    `orders`: the machine's max_page_order and pageblock_order.
    """
    return {
        "stuck": "" if result is None else result.stuck,
        "failed": result is None,
        "page_size_bytes": page_size,
        "max_page_order": orders[0],
        "pageblock_order": orders[1],
        "largest_block_bytes": page_size << orders[0],
        "operations": 0 if result is None else int(as_arrays(result.tables, "operations")["count"].sum()),
        "simulated_ns": np.nan if result is None else float(as_arrays(result.tables, "cpus")["run_ns"].max()),
    }


def response_rows(result: Result, configs: Iterable[Any]) -> Table:
    """The responses of a run."""
    values = responses_of(result, configs)
    return Table(
        {
            "response": np.array([value.response for value in values], np.str_),
            "unit": np.array([value.unit for value in values], np.str_),
            "batch": np.array([value.batch for value in values], np.int64),
            "value": np.array([value.value for value in values], np.float64),
            "failed_share": np.array([value.failed_share for value in values], np.float64),
            "model_error": np.array([value.model_error for value in values], np.float64),
        }
    )


def histogram_rows(result: Result) -> Table:
    """The latencies of a run, all CPUs together, by class and latency."""
    histograms = as_arrays(result.tables, "histograms")
    keys = [histograms[name] for name in CLASS_COLUMNS]
    if not len(histograms):
        return histograms
    # A class comes once for each CPU and the many buckets there: what is sorted and compared are these stretches.
    begins = np.flatnonzero(np.concatenate([[True], np.logical_or.reduce([key[1:] != key[:-1] for key in keys])]))
    classes = list(zip(*(key[begins].tolist() for key in keys), strict=True))
    ranks = {of_class: rank for rank, of_class in enumerate(sorted(set(classes)))}
    lengths = np.diff(begins, append=len(histograms))
    rank = np.repeat(np.array([ranks[of_class] for of_class in classes]), lengths)
    by_bucket = np.lexsort((histograms["high_ns"], histograms["low_ns"], rank))
    of_bucket = (rank[by_bucket], histograms["low_ns"][by_bucket], histograms["high_ns"][by_bucket])
    differs = np.logical_or.reduce([values[1:] != values[:-1] for values in of_bucket])
    first = np.flatnonzero(np.concatenate([[True], differs]))
    counts = np.add.reduceat(histograms["count"][by_bucket], first)
    return Table(histograms.where(by_bucket[first]).arrays | {"count": counts})


def series_rows(result: Result) -> Table:
    """What a run measured over time."""
    parts = list(_series(result))
    lengths = [len(part["time_ns"]) for part in parts]
    zones = [np.broadcast_to(np.asarray(part["zone"], np.str_), n) for part, n in zip(parts, lengths, strict=True)]
    return Table(
        {
            "series": np.repeat(np.array([part["series"] for part in parts]), lengths),
            "zone": np.concatenate(zones),
            "time_ns": np.concatenate([part["time_ns"] for part in parts]),
            "value": np.concatenate([part["value"] for part in parts]).astype(np.float64),
        }
    )


def _series(result: Result) -> Iterator[dict[str, Any]]:
    memory, page = as_arrays(result.tables, "memory"), result.page_size_bytes
    largest = memory["largest_free_order"]
    of_zones = {
        "free_bytes": memory["free_pages"] * page,
        "pcp_bytes": memory["pcp_pages"] * page,
        "largest_free_bytes": np.where(largest < 0, 0, page << np.maximum(largest, 0)),
        "free_huge_pages": memory["free_huge_frames"],
    }
    for name, values in of_zones.items():
        yield {"series": name, "zone": memory["zone"], "time_ns": memory["time_ns"], "value": values.astype(float)}
    if "activity" not in result.tables:
        return
    activity = as_arrays(result.tables, "activity")
    for kind in sorted(set(activity["kind"].tolist())):
        rows = activity.where(activity["kind"] == kind)
        for column in ("count", "failed", "mean_ns"):
            yield {"series": f"{kind}_{column}", "zone": "", "time_ns": rows["time_ns"], "value": rows[column]}
    _, first = np.unique(activity["time_ns"], return_index=True)
    live = activity.where(np.sort(first))
    yield {"series": "live_bytes", "zone": "", "time_ns": live["time_ns"], "value": live["live_bytes"]}


def _design_facts(design: Design) -> dict[str, Any]:
    return {
        "schema_version": SCHEMA_VERSION,
        "name": design.name,
        "seed": design.seed,
        "axes": [axis._asdict() for axis in design.axes],
        "dropped": [point._asdict() for point in design.dropped],
    }


class _Table:
    """A table written to its file piece by piece; the file appears when the block ends without an error."""

    def __init__(self, folder: StudyFolder, name: str, columns: dict[str, pa.DataType]) -> None:
        self._schema = pa.schema(list(columns.items()))
        self._replacing = folder.replacing(f"{name}.parquet")
        self._parts: dict[str, list[Any]] = {name: [] for name in columns}
        self._nr_rows = 0

    def __enter__(self) -> _Table:
        self._writer = pq.ParquetWriter(self._replacing.__enter__(), self._schema, compression="zstd")
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            if error is None:
                self._write()
            self._writer.close()
        except OSError as failed:
            kind, error = OSError, failed
        self._replacing.__exit__(kind, error, trace)

    def add(self, columns: Mapping[str, Any], nr_rows: int) -> None:
        """Add rows, in the order in which they come; a column is an array, or one value for all of them."""
        for name, parts in self._parts.items():
            values = columns[name]
            parts.append(values if isinstance(values, np.ndarray | list) else np.full(nr_rows, values))
        self._nr_rows += nr_rows
        if self._nr_rows >= ROWS_AT_ONCE:
            self._write()

    def _write(self) -> None:
        if not self._nr_rows:
            return
        arrays = [_whole(self._parts[field.name], field.type) for field in self._schema]
        self._writer.write_table(pa.Table.from_arrays(arrays, schema=self._schema), row_group_size=ROWS_AT_ONCE)
        self._parts = {name: [] for name in self._parts}
        self._nr_rows = 0


def _whole(parts: list[Any], kind: pa.DataType) -> pa.Array:
    """A column of its pieces, arrays or lists; a number that there is not is a null."""
    values = list(chain.from_iterable(parts)) if isinstance(parts[0], list) else np.concatenate(parts)
    return pa.array(values, kind, from_pandas=True)
