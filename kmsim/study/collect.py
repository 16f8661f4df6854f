"""The results of a study's runs as four tidy tables, written run by run, so that memory holds a few at a time.

    runs        run, point, replication, seed, file, stuck, failed, what the machine was, the level of each axis,
                and the value of each key of an axis that moves several
    responses   run, point, replication, batch (-1: the whole run), response, unit, value
    histograms  run, kind, api, gfp, order, cache, low_ns, high_ns, count: latencies, all CPUs together
    series      run, series (its unit last), zone, time_ns, value

Runs are numbered by point and replication. An axis that has the name of another column of `runs` takes its
place: its labels say the same. What is written depends on the runs' results alone.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from contextlib import ExitStack
from types import TracebackType
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from kmsim.config.design import Design
from kmsim.study.campaign import Wanted
from kmsim.study.responses import responses_of
from kmsim.study.store import SCHEMA_VERSION, Result, result_of
from kmsim.study.study_folder import DESIGN_FILE, StudyFolder
from kmsim.study.tables import CLASS

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
TABLES = {
    "responses": {**_KEYS, "batch": _INT, "response": _TEXT, "unit": _TEXT, "value": _REAL},
    "histograms": {
        "run": _INT,
        **{name: _INT if name == "order" else _TEXT for name in CLASS},
        "low_ns": _REAL,
        "high_ns": _REAL,
        "count": _INT,
    },
    "series": {"run": _INT, "series": _TEXT, "zone": _TEXT, "time_ns": _REAL, "value": _REAL},
}


def collect(design: Design, folder: StudyFolder, runs: Iterable[Wanted]) -> None:
    """Write the tables of these runs, then the design, which says that they are there, and the checksums of all."""
    folder.remove(DESIGN_FILE)
    labels = [*(axis.name for axis in design.axes), *design.points[0].covariates]
    with ExitStack() as stack:
        tables = {name: stack.enter_context(_Table(folder, name, columns)) for name, columns in TABLES.items()}
        columns = {**RUNS, **dict.fromkeys(labels, _TEXT)}
        of_runs = stack.enter_context(_Table(folder, "runs", columns))
        for number, wanted in enumerate(runs):
            found = folder.run(wanted.identity)
            result = None if found is None else result_of(found[1])
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
            of_runs.add(pd.DataFrame([row]))
            if result is None:
                continue
            values = response_rows(result, design.inquiry.responses)
            tables["responses"].add(values.assign(**{name: row[name] for name in _KEYS}))
            tables["histograms"].add(histogram_rows(result).assign(run=number))
            tables["series"].add(series_rows(result).assign(run=number))
    folder.write(DESIGN_FILE, json.dumps(_design_facts(design), indent=1) + "\n")
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
        "operations": 0 if result is None else int(result.operations["count"].sum()),
        "simulated_ns": np.nan if result is None else float(result.cpus["run_ns"].max()),
    }


def response_rows(result: Result, configs: Iterable[Any]) -> pd.DataFrame:
    """The responses of a run."""
    values = responses_of(result, configs)
    return pd.DataFrame(values, columns=["response", "unit", "batch", "value"])


def histogram_rows(result: Result) -> pd.DataFrame:
    """The latencies of a run, all CPUs together."""
    keys = [*CLASS, "low_ns", "high_ns"]
    return result.histograms.groupby(keys, as_index=False, sort=True, observed=True)["count"].sum()


def series_rows(result: Result) -> pd.DataFrame:
    """What a run measured over time."""
    return pd.concat([pd.DataFrame(part) for part in _series(result)], ignore_index=True)


def _series(result: Result) -> Iterator[dict[str, Any]]:
    memory, page = result.memory, result.page_size_bytes
    largest = memory["largest_free_order"].to_numpy()
    of_zones = {
        "free_bytes": memory["free_pages"] * page,
        "pcp_bytes": memory["pcp_pages"] * page,
        "largest_free_bytes": np.where(largest < 0, 0, page << np.maximum(largest, 0)),
        "free_huge_pages": memory["free_huge_frames"],
    }
    for name, values in of_zones.items():
        yield {"series": name, "zone": memory["zone"], "time_ns": memory["time_ns"], "value": values.astype(float)}
    activity = result.tables.get("activity")
    if activity is None:
        return
    for kind, rows in activity.groupby("kind", sort=True):
        for column in ("count", "failed", "mean_ns"):
            values = rows[column].astype(float)
            yield {"series": f"{kind}_{column}", "zone": "", "time_ns": rows["time_ns"], "value": values}
    live = activity.drop_duplicates("time_ns")
    yield {"series": "live_bytes", "zone": "", "time_ns": live["time_ns"], "value": live["live_bytes"].astype(float)}


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
        self._parts: list[pa.Table] = []
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

    def add(self, rows: pd.DataFrame) -> None:
        """Add rows, in the order in which they come."""
        self._parts.append(pa.Table.from_pandas(rows, schema=self._schema, preserve_index=False))
        self._nr_rows += len(rows)
        if self._nr_rows >= ROWS_AT_ONCE:
            self._write()

    def _write(self) -> None:
        if self._parts:
            self._writer.write_table(pa.concat_tables(self._parts).combine_chunks(), row_group_size=ROWS_AT_ONCE)
        self._parts, self._nr_rows = [], 0
