"""A figure with exactly the data that it shows, and its way to files: PNG, PDF and CSV.

A file is written under a temporary name and renamed: it is whole or not there. It holds no date.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import pandas as pd

from kmsim.plots.style import STYLE, UNDATED, styled


class Drawn(NamedTuple):
    """A figure, and its data in the units in which it shows them."""

    figure: Any
    data: pd.DataFrame


def write_drawn(
    drawn: Drawn, folder: Path, name: str, formats: Iterable[str], look: dict[Any, Any] = STYLE
) -> list[Path]:
    """Write a figure in each format, in the look in which it was drawn, and its data as CSV; the files."""
    folder.mkdir(parents=True, exist_ok=True)
    files = {folder / f"{name}.{suffix}": partial(_save, drawn.figure, suffix) for suffix in formats}
    files[folder / f"{name}.csv"] = partial(drawn.data.to_csv, index=False, lineterminator="\n")
    with styled(look):
        for file, write in files.items():
            _write(file, write)
    return list(files)


def _save(figure: Any, suffix: str, file: Path) -> None:
    figure.savefig(file, format=suffix, metadata=UNDATED.get(suffix))


def _write(file: Path, write: Callable[[Path], None]) -> None:
    part = file.with_name(f".{file.name}.{os.getpid()}.partial")
    try:
        write(part)
        part.replace(file)
    finally:
        part.unlink(missing_ok=True)
