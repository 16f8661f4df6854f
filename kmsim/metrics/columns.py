"""The columns of tables and their types: declared once, given to a table when it is made and when it is read.

A table of no rows has its types as well: text is text there, and can be asked what it begins with. Types are
named as pandas names them; text is what the installed pandas takes for it. Leaves out what values mean.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import pandas as pd

INT, REAL, TEXT, BYTES = "int64", "float64", "str", "object"

Columns = dict[str, str]


def made_of(columns: Mapping[str, str], values: Iterable[Any]) -> pd.DataFrame:
    """The table of these values, one array for each column, with the declared types."""
    import pandas as pd

    return typed(pd.DataFrame(dict(zip(columns, values, strict=True))), columns)


def typed(table: pd.DataFrame, columns: Mapping[str, str]) -> pd.DataFrame:
    """A table that has these columns, with the declared types."""
    assert list(table.columns) == list(columns), "a table has other columns than declared"
    return table.astype(dict(columns))
