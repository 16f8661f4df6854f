"""The saw-tooth: the share of the memory taken that nobody asked for, by the size of a request and the way to ask.

Leaves out kvmalloc, which takes what kmalloc takes where that serves, and what vmalloc takes elsewhere.
"""

from __future__ import annotations

import io

from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, LogLocator, NullLocator

from kmsim.config import ConfigError
from kmsim.config.asked import refused
from kmsim.plots.style import UNDATED, line_look, styled
from kmsim.study.waste import WasteRow
from kmsim.units import SIZE_UNITS

DRAWN = ("kmalloc", "alloc_pages", "alloc_pages_exact", "vmalloc")
INCHES = (7.1, 3.6)
FORMATS = tuple(f".{name}" for name in UNDATED)


def check_suffix(suffix: str) -> None:
    """ConfigError where no figure can be written into such a file."""
    if suffix not in FORMATS:
        raise ConfigError([refused("one_of", suffix, "waste", "--plot", choices=", ".join(FORMATS))])


def picture(rows: list[WasteRow], machine: str, suffix: str, *, is_logarithmic: bool) -> bytes:
    """The bytes of a PNG or PDF, by the file's suffix."""
    kind = suffix.removeprefix(".")
    with styled():
        figure = Figure(figsize=INCHES, layout="constrained")
        FigureCanvasAgg(figure)
        _draw(figure, rows, machine, is_logarithmic=is_logarithmic)
        file = io.BytesIO()
        figure.savefig(file, format=kind, metadata=UNDATED[kind])
    return file.getvalue()


def _draw(figure: Figure, rows: list[WasteRow], machine: str, *, is_logarithmic: bool) -> None:
    axes = figure.add_subplot()
    for n, api in enumerate(DRAWN):
        part = [row for row in rows if row.api == api]
        if any(not row.fails for row in part):
            wasted = [float("nan") if row.fails else row.waste_percent for row in part]
            look = line_look(n, len(DRAWN)) | {"marker": ""}
            axes.plot([row.size for row in part], wasted, label=api, **look)
    if is_logarithmic:
        axes.set_xscale("log", base=2)
        axes.xaxis.set_major_locator(LogLocator(base=2, numticks=13))
        axes.xaxis.set_minor_locator(NullLocator())
    axes.xaxis.set_major_formatter(FuncFormatter(lambda size, _: _size(size)))
    axes.set_xlabel("bytes asked for")
    axes.set_ylabel("wasted, % of the memory taken")
    axes.set_ylim(0, 100)
    axes.set_title(f"{title_of(rows)}\n({machine})")
    axes.legend(loc="upper right")


def title_of(rows: list[WasteRow]) -> str:
    """The answer: how much the worst size wastes, from the smallest block of pages on, and by which way to ask."""
    served = [row for row in rows if row.api in DRAWN and not row.fails]
    smallest_block = min((row.taken_bytes for row in served if row.api == "alloc_pages"), default=0)
    large = [row for row in served if row.size >= smallest_block] or served
    if not large:
        return "No request is served"
    worst = max(large, key=lambda row: row.waste_percent)
    from_size = _size(large[0].size)
    return f"From {from_size} on, up to {worst.waste_percent:.0f} % of the memory taken is wasted, most by {worst.api}"


def _size(size: float) -> str:
    """A size beside an axis: 96, 4 KiB, 1.5 MiB."""
    unit, scale = next(((unit, scale) for unit, scale in reversed(SIZE_UNITS.items()) if size >= scale), ("B", 1))
    return f"{size / scale:g} {unit}"
