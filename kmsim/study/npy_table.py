"""A table as one array of records in numpy's own format: `numpy.load` reads it, and so does anything that knows .npy.

A field is a column: whole numbers and reals of 8 bytes, text of as many characters as the longest has. Bytes, whose
length varies, take two fields, the second their length. What is read may have been written by anybody: it has the
declared columns in their order, as many rows as there are bytes for, and values that a result can have.
"""

from __future__ import annotations

import io
from ast import literal_eval
from collections.abc import Iterator, Mapping
from functools import lru_cache

import numpy as np

from kmsim.metrics.columns import BYTES, INT, REAL, TEXT, Array, Table, made_of
from kmsim.study.parquet_file import INT_MAX, ORDERS, REAL_MAX

_MAGIC = b"\x93NUMPY\x01\x00"
_HEADS_KEPT = 256
_LENGTH = " length"  # follows the name of a column of bytes
_KINDS = {INT: "<i8", REAL: "<f8"}
_CODE_MAX, _SURROGATES = 0x10FFFF, (0xD800, 0xDFFF)


def to_npy(table: Table, columns: Mapping[str, str]) -> bytes:
    """The table as a file."""
    fields: dict[str, Array] = {}
    for name, kind in columns.items():
        values = table[name]
        if kind == BYTES:
            fields[name + _LENGTH] = np.array([len(value) for value in values], np.int64)
            padded = np.array(values.tolist(), np.bytes_)
            values = padded.view(f"V{padded.itemsize}")
        fields[name] = np.asarray(values, np.str_) if kind == TEXT else values
    head, dtype = _begin(len(table), tuple((name, values.dtype.str) for name, values in fields.items()))
    records = np.empty(len(table), dtype)
    for name, values in fields.items():
        records[name] = values
    return head + records.tobytes()


@lru_cache(_HEADS_KEPT)
def _begin(nr_rows: int, described: tuple[tuple[str, str], ...]) -> tuple[bytes, np.dtype[np.void]]:
    """How the file of so many records begins, and their type."""
    file = io.BytesIO()
    facts = {"shape": (nr_rows,), "fortran_order": False, "descr": list(described)}
    np.lib.format.write_array_header_1_0(file, facts)
    return file.getvalue(), np.dtype(list(described))


def from_npy(content: bytes, columns: Mapping[str, str]) -> Table:
    """The table of a file; ValueError unless it has these columns and values that a result can have."""
    size = int.from_bytes(content[len(_MAGIC) : len(_MAGIC) + 2], "little")
    begin = len(_MAGIC) + 2 + size
    if not content.startswith(_MAGIC) or len(content) < begin:
        raise ValueError("must be an array in numpy's format")
    nr_rows, dtype = _head(content[len(_MAGIC) + 2 : begin])
    if list(dtype.names or ()) != [name for name, _ in _fields(columns)]:
        raise ValueError(f"must have the columns {', '.join(columns)}")
    if nr_rows * dtype.itemsize != len(content) - begin:
        raise ValueError(f"must have the bytes of {nr_rows} rows")
    records = np.frombuffer(content, dtype, offset=begin)
    return made_of(columns, (_column(records, name, kind) for name, kind in columns.items()))


def _fields(columns: Mapping[str, str]) -> Iterator[tuple[str, str]]:
    for name, kind in columns.items():
        if kind == BYTES:
            yield name + _LENGTH, INT
        yield name, kind


@lru_cache(_HEADS_KEPT)
def _head(head: bytes) -> tuple[int, np.dtype[np.void]]:
    """The number of rows and the type of the records that the head of a file says; ValueError where it says none."""
    try:
        facts = literal_eval(head.decode("latin-1"))
        (nr_rows,), is_fortran, described = facts["shape"], facts["fortran_order"], facts["descr"]
        dtype = np.dtype([(str(name), str(kind)) for name, kind in described])
    except (SyntaxError, TypeError, LookupError, RecursionError, MemoryError, ValueError) as error:
        raise ValueError("must be an array in numpy's format") from error
    if (
        is_fortran
        or type(nr_rows) is not int
        or nr_rows < 0
        or dtype.hasobject
        or not dtype.itemsize
        or _is_nested(dtype)
    ):
        raise ValueError("must be an array of records in numpy's format")
    return nr_rows, dtype


def _is_nested(dtype: np.dtype[np.void]) -> bool:
    """Is a field an array of its own?"""
    return any(dtype[name].shape for name in dtype.names or ())


def _column(records: Array, name: str, kind: str) -> Array:
    """A column's values; ValueError of those that no result has."""
    values = np.ascontiguousarray(records[name])
    if kind == BYTES:
        lengths = _column(records, name + _LENGTH, INT)
        found = np.empty(len(values), object)
        found[:] = [value.tobytes()[:length] for value, length in zip(values, lengths.tolist(), strict=True)]
        return found
    if kind == TEXT:
        _check_text(name, values)
    elif values.dtype.str != _KINDS[kind]:
        raise ValueError(f"must have {name} as {kind}")
    elif kind == INT:
        most = ORDERS.get(name, INT_MAX)
        if len(values) and not (-most <= values.min() and values.max() <= most):
            raise ValueError(f"must have {name} between {-most:,} and {most:,}")
    elif np.isinf(values).any() or np.abs(values[np.isfinite(values)]).max(initial=0) > REAL_MAX:
        raise ValueError(f"must have {name} of at most {REAL_MAX:g}, found more")
    return values


def _check_text(name: str, values: Array) -> None:
    if not values.dtype.str.startswith("<U"):
        raise ValueError(f"must have {name} as text")
    codes = values.view(np.uint32)
    low, high = _SURROGATES
    if codes.max(initial=0) > _CODE_MAX or ((codes >= low) & (codes <= high)).any():
        raise ValueError(f"must have {name} as text")
