"""Tables have the types that are declared for them, as arrays and as frames."""

import numpy as np
import pandas as pd
import pytest

from kmsim.metrics.columns import BYTES, INT, REAL, TEXT, Tables, as_arrays, made_of, typed

COLUMNS = {"name": TEXT, "count": INT, "share": REAL, "pages": BYTES}
ROW = (["a"], [1], [2], [b""])


def test_a_table_of_no_rows_has_its_types() -> None:
    table = made_of(COLUMNS, ([], [], [], [])).frame()
    assert not table["name"].str.startswith("zone ").any()
    assert [table[name].dtype.kind for name in ("count", "share")] == ["i", "f"]
    assert table["pages"].dtype == object


def test_a_table_with_rows_has_the_types_of_one_without() -> None:
    table = made_of(COLUMNS, ROW)
    assert [table[name].dtype.kind for name in COLUMNS] == ["U", "i", "f", "O"]
    assert table.frame().dtypes.equals(made_of(COLUMNS, ([], [], [], [])).frame().dtypes)
    assert next(table.frame().itertuples(index=False)) == ("a", 1, 2.0, b"")


def test_other_columns_are_our_mistake() -> None:
    with pytest.raises(AssertionError):
        typed({"count": [1]}, COLUMNS)


def test_columns_of_other_lengths_are_our_mistake() -> None:
    with pytest.raises(AssertionError, match="of one length"):
        made_of(COLUMNS, ([], [1], [], []))


def test_rows_are_chosen_by_a_mask_and_by_their_numbers() -> None:
    table = made_of({"count": INT}, ([5, 6, 7],))
    assert table.where(table["count"] > 5)["count"].tolist() == [6, 7]
    assert table.where(np.array([2, 0]))["count"].tolist() == [7, 5]


def test_a_runs_tables_are_frames_and_arrays() -> None:
    tables = Tables({"a": made_of(COLUMNS, ROW)})
    assert tables["a"] is tables["a"]
    assert (list(tables), len(tables)) == (["a"], 1)
    frames = {name: pd.DataFrame(frame) for name, frame in tables.items()}
    for each in (tables, frames):
        assert {name: as_arrays(each, "a")[name].tolist() for name in COLUMNS} == dict(zip(COLUMNS, ROW, strict=True))
