"""Tables have the types that are declared for them; what is read with others is refused by name."""

import pandas as pd
import pytest

from kmsim.metrics.columns import BYTES, INT, REAL, TEXT, check_columns, made_of, typed

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


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"count": [1.0]}, "count: must be of type int64, found float64"),
        ({"share": [1]}, "share: must be of type float64, found int64"),
        ({"name": [1]}, "name: must be of type str, found int64"),
        ({"more": [1]}, "must have the columns name, count, share, pages, found name, count, share, pages, more"),
    ],
)
def test_a_table_of_other_columns_or_types_is_refused(change: dict[str, list[float]], message: str) -> None:
    table = made_of(COLUMNS, (["a"], [1], [2], [b""]))
    check_columns(table, COLUMNS)
    with pytest.raises(ValueError, match=f"^{message}$"):
        check_columns(table.assign(**change), COLUMNS)
