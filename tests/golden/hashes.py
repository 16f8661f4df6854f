"""Hashes of what a study comes to: of values and their types, not of the bytes of files.

A column is hashed as its type and its values: whole numbers and floats as little-endian bytes (every NaN as the
same one), texts and bytes each with its length before it. So neither the version of pandas nor how Parquet packs
a table is part of a hash. A table is hashed as its columns' names and hashes, a text by its UTF-8.
"""

from __future__ import annotations

import hashlib
from typing import Any, NamedTuple

import numpy as np
import pandas as pd

DIGITS = 16  # of a hash, in hexadecimal
DIGITS_OF_COLUMN = 8  # these only say which column it was


class Column(NamedTuple):
    """A column's type and the bytes of its values."""

    type: str
    content: bytes

    @property
    def hash(self) -> str:
        """The hash of both."""
        return _hash(self.type.encode() + b"\0" + self.content)


def column_of(values: pd.Series[Any]) -> Column:
    """The column as its type and bytes; AssertionError where a value is of no type that a table may have."""
    kind = getattr(values.dtype, "kind", "O")
    if kind in "iufb":
        array = values.to_numpy()
        if kind == "f":
            array = np.where(np.isnan(array), np.array(np.nan, array.dtype), array)
        return Column(array.dtype.name, array.astype(array.dtype.newbyteorder("<")).tobytes())
    return _of_objects(values.tolist())


def _of_objects(values: list[Any]) -> Column:
    """A column of texts, or of bytes."""
    kinds = {type(value) for value in values}
    assert kinds <= {str} or kinds <= {bytes}, f"a column of texts or of bytes, found {kinds}"
    parts = [value if isinstance(value, bytes) else value.encode() for value in values]
    name = "bytes" if bytes in kinds else "text"
    return Column(name, b"".join(len(part).to_bytes(8, "little") + part for part in parts))


def table_facts(table: pd.DataFrame) -> dict[str, Any]:
    """A table's hash and number of rows, and the type and a short hash of each of its columns."""
    columns = {str(name): column_of(table[name]) for name in table.columns}
    names = "\0".join(f"{name} {column.hash}" for name, column in columns.items())
    return {
        "hash": _hash(names.encode()),
        "rows": len(table),
        "columns": {name: f"{column.type} {column.hash[:DIGITS_OF_COLUMN]}" for name, column in columns.items()},
    }


def text_facts(text: str) -> dict[str, Any]:
    """A text's hash and number of lines."""
    return {"hash": _hash(text.encode()), "lines": text.count("\n")}


def _hash(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()[:DIGITS]
