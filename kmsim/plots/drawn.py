"""A figure with exactly the data that it shows, and how both are written: PNG, PDF and CSV.

A file is written under a temporary name and renamed: it is whole or not there. It holds no date. Only regular files
are replaced, links not followed: OutputError, an OSError, says what is in the way.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import pandas as pd
from matplotlib.backends.backend_agg import FigureCanvasAgg

from kmsim.output import write_each
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
    files: dict[Path, Callable[[Path], None]] = {
        folder / f"{name}.{suffix}": partial(_save, drawn.figure, suffix) for suffix in formats
    }
    files[folder / f"{name}.csv"] = partial(csv_into, drawn.data)
    with styled(look):
        write_each(files)
    return list(files)


def csv_into(table: pd.DataFrame, file: Path) -> None:
    """Write a table as CSV."""
    table.to_csv(file, index=False, lineterminator="\n")


def _save(figure: Any, suffix: str, file: Path) -> None:
    """Write a figure that is laid out. A PNG by its canvas: `savefig` draws all once before, to lay it out again."""
    if suffix == "png":
        canvas: Any = FigureCanvasAgg(figure)
        canvas.print_png(file, metadata=UNDATED["png"])
    else:
        figure.savefig(file, format=suffix, metadata=UNDATED.get(suffix))
