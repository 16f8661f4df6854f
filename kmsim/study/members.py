"""A result's members, read by name: from the folder of a plain run, or from a run's archive in memory.

Both have the same texts; a table is Parquet in a folder and an array of records in an archive.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Protocol

from kmsim.input_file import read_input
from kmsim.metrics.columns import Table, made_of, typed
from kmsim.study import checksums
from kmsim.study.checksums import CHECKSUMS_FILE
from kmsim.study.npy_table import from_npy
from kmsim.study.parquet_file import kinds_of, read_table
from kmsim.study.tables import COLUMNS

MEMBER_BYTES_MAX = 1 << 30
NO_ROWS = {name: made_of(columns, [()] * len(columns)) for name, columns in COLUMNS.items()}


class Reader(Protocol):
    """Reads a result's members by name, wherever they are."""

    def __call__(self, name: str) -> bytes: ...

    suffix: str  # of a table's member

    def __contains__(self, name: str) -> bool: ...

    def table(self, member: str, name: str) -> Table:
        """The table that is in this member."""
        ...

    def verify(self) -> Iterator[str]:
        """Every member's name, each before it is verified; none where that is done."""
        ...


class InFolder:
    """The members of a result's folder, each verified when it is read."""

    suffix = "parquet"

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._sums: Mapping[str, str] | None = None

    def __contains__(self, name: str) -> bool:
        return (self._folder / name).is_file()

    def __call__(self, name: str) -> bytes:
        content = read_input(self._folder / name, MEMBER_BYTES_MAX)
        if self._sums is not None:
            checksums.check(name, content, self._sums)
        return content

    def table(self, member: str, name: str) -> Table:
        frame = read_table(self(member), kinds_of(COLUMNS[name]))
        return typed({column: frame[column].to_numpy() for column in frame}, COLUMNS[name])

    def verify(self) -> Iterator[str]:
        """Every member's name, each before it is verified: those that are not read, too."""
        yield CHECKSUMS_FILE
        self._sums = checksums.sums_in(self._folder)
        yield from checksums.verify(self._folder, self._sums)


class InArchive:
    """The members of a result's archive, verified when they were unpacked."""

    suffix = "npy"

    def __init__(self, members: Mapping[str, bytes]) -> None:
        self._members = members

    def __contains__(self, name: str) -> bool:
        return name in self._members

    def __call__(self, name: str) -> bytes:
        if name not in self._members:
            raise ValueError("must be there")
        return self._members[name]

    def table(self, member: str, name: str) -> Table:
        content = self._members.get(member)
        return NO_ROWS[name] if content is None else from_npy(content, COLUMNS[name])

    def verify(self) -> Iterator[str]:
        yield from ()
