"""Tables of results read as untrusted input: columns and types are those that were written, memory is bounded.

A few bytes of Parquet can decode to any number of values. So the decoded size is bounded before a file is read, by
the sizes in its metadata; texts are read as dictionaries, so that their length is known before they are expanded. A
file may decode to `EXPANSION_MAX` times its own size, since a large study is large.
Leaves out: metadata that understate a page, which only decoding it shows.
"""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from numpy.typing import NDArray

from kmsim.metrics.columns import BYTES, INT, REAL, TEXT, Columns

Kind = Literal["text", "bytes", "int", "real", "bool"]

DECODED_MAX = 1 << 28  # bytes
EXPANSION_MAX = 16
INT_MAX, REAL_MAX = 1 << 62, 1e30
ORDERS = dict.fromkeys(("order", "largest_free_order", "max_page_order", "pageblock_order"), 64)
_VALUE_BYTES = 8
_EMPTY: dict[Kind, pa.DataType] = {  # types of columns without values
    "text": pa.large_string(),
    "bytes": pa.binary(),
    "int": pa.int64(),
    "real": pa.float64(),
    "bool": pa.bool_(),
}


def kinds_of(columns: Columns) -> dict[str, Kind]:
    """What each column of a table holds, by its declared type."""
    kinds: dict[str, Kind] = {INT: "int", REAL: "real", TEXT: "text", BYTES: "bytes"}
    return {name: kinds[declared] for name, declared in columns.items()}


def read_table(
    source: bytes | Path, kinds: Mapping[str, Kind], runs: Sequence[int] | None = None, *, others: int = 0
) -> pd.DataFrame:
    """The table with exactly these columns, and at most `others` columns of text after them.

    `runs`: only the rows of these, by the column `run`. Raises ValueError (pyarrow's errors among them), OSError.
    """
    nr_bytes = len(source) if isinstance(source, bytes) else source.stat().st_size
    limit = max(DECODED_MAX, EXPANSION_MAX * nr_bytes)
    with pq.ParquetFile(io.BytesIO(source) if isinstance(source, bytes) else source) as file:
        wanted = _kinds_of_all(file.schema_arrow, kinds, others)
    texts = [name for name, kind in wanted.items() if kind in ("text", "bytes")]
    with pq.ParquetFile(
        io.BytesIO(source) if isinstance(source, bytes) else source, read_dictionary=texts, pre_buffer=False
    ) as file:
        groups = _groups(file.metadata, None if runs is None else set(runs))
        _check_size(file.metadata, groups, len(wanted), limit)
        table = file.read_row_groups(groups, use_threads=False).replace_schema_metadata(None)
    if runs is not None:
        table = table.filter(pc.is_in(table["run"], value_set=pa.array(sorted(set(runs)), pa.int64())))
    columns = {name: _column(name, table[name], kind, limit) for name, kind in wanted.items()}
    frame: pd.DataFrame = pa.table(columns).to_pandas()
    return frame


def _kinds_of_all(schema: pa.Schema, kinds: Mapping[str, Kind], others: int) -> dict[str, Kind]:
    """The kind of each column of a file; ValueError where they are not those that are wanted."""
    names, wanted = list(schema.names), list(kinds)
    more = names[len(wanted) :]
    if names[: len(wanted)] != wanted or len(more) > others or len(set(names)) < len(names):
        found = ", ".join(map(str, names[:100]))
        raise ValueError(f"must have the columns {', '.join(wanted)}, found {found[:1000]}")
    found_kinds: dict[str, Kind] = {**kinds, **dict.fromkeys(more, "text")}
    for name, kind in found_kinds.items():
        if not _is_of(schema.field(name).type, kind):
            raise ValueError(f"must have {name[:60]} as {kind}, found {str(schema.field(name).type)[:60]}")
    return found_kinds


def _is_of(found: pa.DataType, kind: Kind) -> bool:
    types = pa.types
    if types.is_null(found):
        return True  # of a table without rows; a value that is missing is found in the column
    if types.is_dictionary(found):
        found = found.value_type
    is_of = {
        "text": types.is_string(found) or types.is_large_string(found),
        "bytes": types.is_binary(found) or types.is_large_binary(found),
        "int": types.is_int64(found),
        "real": types.is_float64(found),
        "bool": types.is_boolean(found),
    }
    return bool(is_of[kind])


def _groups(metadata: Any, runs: set[int] | None) -> list[int]:
    """The row groups that may hold rows of these runs."""
    groups = list(range(metadata.num_row_groups))
    if runs is None:
        return groups
    place = [metadata.schema.column(i).name for i in range(metadata.num_columns)].index("run")

    def may_have(group: int) -> bool:
        found = metadata.row_group(group).column(place).statistics
        if found is None or not found.has_min_max:
            return True
        return any(found.min <= run <= found.max for run in runs)

    return [group for group in groups if may_have(group)]


def _check_size(metadata: Any, groups: Sequence[int], nr_columns: int, limit: int) -> None:
    """ValueError where these row groups decode to more than the limit, or say different things of their rows."""
    nr_rows = nr_bytes = 0
    for group in groups:
        facts = metadata.row_group(group)
        nr_rows += facts.num_rows
        for place in range(metadata.num_columns):
            column = facts.column(place)
            if column.num_values != facts.num_rows:
                raise ValueError("must have as many values as rows in each column")
            nr_bytes += column.total_uncompressed_size
        if max(nr_rows * nr_columns * _VALUE_BYTES, nr_bytes) > limit:
            raise ValueError(f"must be a table of at most {limit >> 20} MiB; it decodes to more")


def _column(name: str, column: pa.ChunkedArray, kind: Kind, limit: int) -> pa.ChunkedArray:
    """The column's values, spelt out; ValueError of a value that no result has."""
    if kind != "real" and column.null_count:  # a real number that there is not is NaN, or a null
        raise ValueError(f"must have a value in each row of {name[:60]}")
    if pa.types.is_null(column.type):
        return column.cast(_EMPTY[kind])
    if kind == "int" and len(column):
        low, high = pc.min_max(column).as_py().values()
        most = ORDERS.get(name, INT_MAX)
        if not (-most <= low and high <= most):
            raise ValueError(f"must have {name[:60]} between {-most:,} and {most:,}, found {low:,} to {high:,}")
    if kind == "real":
        _check_real(name, column.to_numpy())
    if pa.types.is_dictionary(column.type):
        _check_spelt_out(name, column, limit)
        return column.cast(pa.large_string() if kind == "text" else pa.binary())
    return column


def _check_real(name: str, values: NDArray[np.float64]) -> None:
    """A response may be infinite, where nothing is divided by; a time or an index is not."""
    most = np.abs(values[np.isfinite(values)]).max(initial=0)
    if most > REAL_MAX or (name != "value" and np.isinf(values).any()):
        raise ValueError(f"must have {name[:60]} of at most {REAL_MAX:g}, found more")


def _check_spelt_out(name: str, column: pa.ChunkedArray, limit: int) -> None:
    nr_bytes = 0
    for chunk in column.chunks:
        lengths = pc.binary_length(chunk.dictionary).cast(pa.int64())
        nr_bytes += pc.sum(lengths.take(chunk.indices)).as_py() or 0
    if nr_bytes > limit:
        raise ValueError(f"must have at most {limit >> 20} MiB of text in {name[:60]}, found {nr_bytes >> 20:,} MiB")
