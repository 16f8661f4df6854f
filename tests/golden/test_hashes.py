"""A hash is of values and their types; what differs is said by table and column."""

from typing import Any

import numpy as np
import pandas as pd
import pytest

from tests.golden.hashes import column_of, table_facts, text_facts
from tests.golden.outcome import Facts, differences

TABLE = {"cpu": [0, 1], "name": ["a", "b"], "mean_ns": [1.5, np.nan]}


def facts(proc: str = "one\ntwo\n", **changes: Any) -> Facts:
    """The facts of a study of one table and one file, with changes to columns."""
    table = pd.DataFrame({**TABLE, **changes})
    return {"reached": ["a"], "end": {}, "tables": {"locks": table_facts(table)}, "proc": {"vmstat": text_facts(proc)}}


def hash_of(values: Any) -> str:
    return column_of(pd.Series(values)).hash


def test_equal_values_have_equal_hashes_however_they_are_kept() -> None:
    assert hash_of(np.array([1, 2], ">i8")) == hash_of(np.array([1, 2], "<i8"))
    assert hash_of(["a", "ä"]) == hash_of(pd.Series(["a", "ä"], dtype="object"))
    other_nan = np.array([0x7FF8_0000_0000_1234], np.uint64).view(np.float64)
    assert hash_of([np.nan]) == hash_of(other_nan)


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ([1, 2], [2, 1]),
        ([1, 2], [1.0, 2.0]),
        (np.array([1], np.int32), np.array([1], np.int64)),
        ([0.1], [0.1 + 2**-56]),
        ([0.0], [-0.0]),
        ([True], [1]),
        (["ab", "c"], ["a", "bc"]),
        (["a"], [b"a"]),
        ([np.nan], [0.0]),
    ],
)
def test_other_values_and_other_types_have_other_hashes(one: Any, other: Any) -> None:
    assert hash_of(one) != hash_of(other)


def test_what_is_no_value_of_a_table_is_refused() -> None:
    with pytest.raises(AssertionError, match="a column of texts or of bytes"):
        hash_of(pd.Series(["a", None], dtype="object"))


def test_equal_facts_do_not_differ() -> None:
    assert differences(facts(), facts()) == []


@pytest.mark.parametrize(
    ("found", "line"),
    [
        (facts(mean_ns=[1.5, 2.0]), "table locks: column mean_ns (other values)"),
        (facts(cpu=[0.0, 1.0]), "table locks: column cpu (int64 stored, float64 found)"),
        (facts(extra=[1, 2]), "table locks: columns: stored cpu, name, mean_ns; found cpu, name, mean_ns, extra"),
        (facts("one\n"), "/proc file vmstat: other text, 2 lines stored and 1 found"),
        ({**facts(), "tables": {}}, "table locks: gone"),
        ({**facts(), "end": {"stuck": "a livelock"}}, "end: stored {}, found {'stuck': 'a livelock'}"),
        ({**facts(), "reached": []}, "reached no more: a"),
    ],
)
def test_what_differs_is_named(found: Facts, line: str) -> None:
    assert differences(facts(), found) == [line]


def test_other_rows_are_counted() -> None:
    fewer = {**facts(), "tables": {"locks": table_facts(pd.DataFrame(TABLE).head(1))}}
    (line,) = differences(facts(), fewer)
    assert line.startswith("table locks, 2 rows stored and 1 found: column cpu (other values), name (other values)")
