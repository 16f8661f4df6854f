"""What compiled accesses say of their memory is true: what is written in one way is read in all others."""

import numpy as np
from numpy.typing import NDArray

from kmsim.jit import Record, core, entry

record_t = np.dtype((Record, [("first", np.int64), ("second", np.int64), ("several", np.int64, (2,))]))


@core
def written_then_copied(records: NDArray[np.void]) -> None:
    """A field, then the whole record, then the field of the copy."""
    records[0].first = 7
    records[1] = records[0]
    records[1].second = records[1].first + 1
    records[2] = records[1]


@core
def written_by_column(records: NDArray[np.void]) -> int:
    """A field by itself, and as an element of all records' field."""
    records[0].first = 1
    column = records["first"]
    column[0] += 10
    records[0].first += 100
    return int(column[0])


@core
def element_of_a_field(records: NDArray[np.void], numbers: NDArray[np.int64]) -> int:
    """An array in a record, and a plain one."""
    several = records[0].several
    several[1] = 5
    numbers[0] = 6
    records[0].first = 8
    return int(several[1]) + int(records[0].several[1])


@entry
def all_of_them(records: NDArray[np.void], numbers: NDArray[np.int64]) -> tuple[int, int]:
    """The three, for Python callers."""
    element = element_of_a_field(records, numbers)
    column = written_by_column(records)
    written_then_copied(records)
    return element, column


def test_what_was_written_in_one_way_is_read_in_all_others() -> None:
    records, numbers = np.zeros(3, record_t), np.zeros(1, np.int64)
    assert all_of_them(records, numbers) == (10, 111)
    assert records["first"].tolist() == [7, 7, 7]
    assert records["second"].tolist() == [0, 8, 8]
    assert numbers[0] == 6
