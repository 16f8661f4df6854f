"""Tables as what they are made of: named columns with declared types, each an array.

The columns of a table are declared once, and given to it when it is made and when it is read, so that a table of no
rows has its types as well. A `Table` holds numpy arrays, which cost next to nothing to make; whoever wants pandas asks
for its frame. `Tables` are those of a run by name, as frames or as arrays. Types are named as pandas names them; text
is what the installed pandas takes for it, and an array of Python's texts or numpy's. Leaves out what values mean.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    import pandas as pd

INT, REAL, TEXT, BYTES = "int64", "float64", "str", "object"

_DTYPES = {kind: np.dtype(kind) for kind in (INT, REAL, TEXT, BYTES)}

Columns = dict[str, str]
Array = NDArray[Any]

# What tells the classes of operations apart, in every table that has a row for each.
CLASS_COLUMNS: Columns = {"kind": TEXT, "api": TEXT, "gfp": TEXT, "order": INT, "cache": TEXT}


class Table:
    """A table: arrays of one length by the names of its columns."""

    def __init__(self, arrays: Mapping[str, Array]) -> None:
        self.arrays = dict(arrays)
        assert len({len(array) for array in self.arrays.values()}) == 1, "columns of one length"

    def __getitem__(self, name: str) -> Array:
        return self.arrays[name]

    def __len__(self) -> int:
        return len(next(iter(self.arrays.values())))

    def where(self, chosen: Array) -> Table:
        """The rows that are chosen, by a mask or by their numbers."""
        return Table({name: array[chosen] for name, array in self.arrays.items()})

    def frame(self) -> pd.DataFrame:
        """A new frame of pandas with these columns."""
        import pandas as pd

        return pd.DataFrame(self.arrays)


def made_of(columns: Mapping[str, str], values: Iterable[Any]) -> Table:
    """The table of these values, one array for each column, with the declared types."""
    return Table({name: _typed(array, kind) for (name, kind), array in zip(columns.items(), values, strict=True)})


def typed(table: Mapping[str, Any], columns: Mapping[str, str]) -> Table:
    """A mapping that has these columns, in this order, as a table with the declared types."""
    assert list(table) == list(columns), "a table has other columns than declared"
    return made_of(columns, table.values())


def table_of(frame: pd.DataFrame) -> Table:
    """A frame of pandas as arrays."""
    return Table({str(name): frame[name].to_numpy() for name in frame.columns})


def _typed(values: Any, kind: str) -> Array:
    return np.asarray(values, _DTYPES[kind])


class Tables(Mapping[str, "pd.DataFrame"]):
    """A run's tables by name: as frames of pandas, which are made when they are first asked for, or as arrays."""

    def __init__(self, tables: Mapping[str, Table]) -> None:
        self._tables = dict(tables)
        self._frames: dict[str, pd.DataFrame] = {}

    def __getitem__(self, name: str) -> pd.DataFrame:
        if name not in self._frames:
            self._frames[name] = self._tables[name].frame()
        return self._frames[name]

    def __contains__(self, name: object) -> bool:
        return name in self._tables

    def __iter__(self) -> Iterator[str]:
        return iter(self._tables)

    def __len__(self) -> int:
        return len(self._tables)

    def table(self, name: str) -> Table:
        """One of them as arrays."""
        return self._tables[name]


def as_arrays(tables: Mapping[str, pd.DataFrame], name: str) -> Table:
    """One of a run's tables as arrays, of frames that somebody else has put together, too."""
    return tables.table(name) if isinstance(tables, Tables) else table_of(tables[name])
