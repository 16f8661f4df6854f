"""A table as an array of records: numpy reads it, it is read as it was written, and what is none is refused."""

import io
from collections.abc import Callable

import numpy as np
import pytest

from kmsim.metrics.columns import BYTES, INT, REAL, TEXT, made_of
from kmsim.study.npy_table import from_npy, to_npy

COLUMNS = {"name": TEXT, "order": INT, "count": INT, "share": REAL, "pages": BYTES}
VALUES = (["a", "", "Größe"], [0, 3, 10], [1 << 61, -5, 0], [0.1, float("nan"), -1e-300], [b"\0\1\0", b"", b"\0"])
TABLE = made_of(COLUMNS, VALUES)
WRITTEN = to_npy(TABLE, COLUMNS)


def test_a_table_is_read_as_it_was_written() -> None:
    read = from_npy(WRITTEN, COLUMNS)
    for name in COLUMNS:
        np.testing.assert_array_equal(read[name], TABLE[name])
        assert read[name].dtype == TABLE[name].dtype


def test_a_table_of_no_rows_is_read_as_it_was_written() -> None:
    none = made_of(COLUMNS, [()] * len(COLUMNS))
    assert len(from_npy(to_npy(none, COLUMNS), COLUMNS)) == 0


def test_numpy_reads_it() -> None:
    records = np.load(io.BytesIO(WRITTEN))
    assert records["name"].tolist() == VALUES[0]
    assert records["count"].tolist() == VALUES[2]


def with_field(name: str, values: object) -> Callable[[np.ndarray], np.ndarray]:
    def change(records: np.ndarray) -> np.ndarray:
        kinds = [(field, np.asarray(values).dtype if field == name else records.dtype[field]) for field in COLUMNS_OF]
        changed = np.zeros(len(records), kinds)
        for field in COLUMNS_OF:
            changed[field] = values if field == name else records[field]
        return changed

    return change


COLUMNS_OF = np.load(io.BytesIO(WRITTEN)).dtype.names
CHANGES: dict[str, tuple[Callable[[np.ndarray], np.ndarray], str]] = {
    "a field less": (lambda records: records[list(COLUMNS_OF[1:])].copy(), "must have the columns name, order, count"),
    "no fields": (lambda records: np.zeros(len(records)), "must be an array in numpy's format"),
    "two dimensions": (lambda records: records[:, np.newaxis], "must be an array in numpy's format"),
    "reals for numbers": (with_field("count", 1.5), "must have count as int64"),
    "numbers for text": (with_field("name", 1), "must have name as text"),
    "bytes for text": (with_field("name", b"a"), "must have name as text"),
    "big-endian numbers": (with_field("count", np.array([1] * 3, ">i8")), "must have count as int64"),
    "a huge number": (
        with_field("count", np.array([1 << 63] * 3, np.uint64).view(np.int64)),
        "must have count between",
    ),
    "a huge order": (with_field("order", [65] * 3), "must have order between -64 and 64"),
    "an infinite share": (with_field("share", [np.inf] * 3), "must have share of at most 1e\\+30"),
    "half a character": (with_field("name", np.array([0xD800] * 3, "<u4").view("<U1")), "must have name as text"),
    "no character": (with_field("name", np.array([0x110000] * 3, "<u4").view("<U1")), "must have name as text"),
}


@pytest.mark.parametrize("case", CHANGES)
def test_another_table_is_refused(case: str) -> None:
    change, message = CHANGES[case]
    buffer = io.BytesIO()
    np.save(buffer, change(np.load(io.BytesIO(WRITTEN))))
    with pytest.raises(ValueError, match=f"^{message}"):
        from_npy(buffer.getvalue(), COLUMNS)


@pytest.mark.parametrize("content", [b"", b"text", WRITTEN[:9], WRITTEN[:100], WRITTEN[:-1], WRITTEN + b"\0"])
def test_what_is_cut_or_too_long_is_refused(content: bytes) -> None:
    with pytest.raises(ValueError, match=r"^must "):
        from_npy(content, COLUMNS)


def headed(head: str) -> bytes:
    return b"\x93NUMPY\x01\x00" + len(head).to_bytes(2, "little") + head.encode()


HEADS = [
    "{'shape': (3,), 'fortran_order': False, 'descr': [('name', '(2,)<U5')]}",
    "{'shape': (3,), 'fortran_order': False, 'descr': [('count', '(2,)<i8')]}",
    "",
    "1",
    "{}",
    "{'shape': (3,)}",
    "[" * 60_000,
    "{'descr': [('name', 'O')], 'fortran_order': False, 'shape': (0,)}",
]


@pytest.mark.parametrize("head", HEADS, ids=range(len(HEADS)))
def test_a_head_that_says_no_table_is_refused(head: str) -> None:
    with pytest.raises(ValueError, match=r"^must be an array"):
        from_npy(headed(head), COLUMNS)
