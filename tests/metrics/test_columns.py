"""Tables have the types that are declared for them."""

import pandas as pd
import pytest

from kmsim.metrics.columns import BYTES, INT, REAL, TEXT, made_of, typed

COLUMNS = {"name": TEXT, "count": INT, "share": REAL, "pages": BYTES}


def test_a_table_of_no_rows_has_its_types() -> None:
    table = made_of(COLUMNS, ([], [], [], []))
    assert not table["name"].str.startswith("zone ").any()
    assert [table[name].dtype.kind for name in ("count", "share")] == ["i", "f"]
    assert table["pages"].dtype == object


def test_a_table_with_rows_has_the_types_of_one_without() -> None:
    table = made_of(COLUMNS, (["a"], [1], [2], [b""]))
    assert table.dtypes.equals(made_of(COLUMNS, ([], [], [], [])).dtypes)
    assert next(table.itertuples(index=False)) == ("a", 1, 2.0, b"")


def test_other_columns_are_our_mistake() -> None:
    with pytest.raises(AssertionError):
        typed(pd.DataFrame({"count": [1]}), COLUMNS)
