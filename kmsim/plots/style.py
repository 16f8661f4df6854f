"""The one look of all figures: sizes on paper, letters, and how to tell one line from the next.

Colours are ordered from light to dark, so they read the same to every eye and on a grey printer; lines differ
in dashes and markers as well. Fonts are embedded in PDFs as outlines that can be searched (type 42).
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import matplotlib as mpl
from matplotlib.lines import Line2D
from matplotlib.ticker import FuncFormatter, LogLocator, MaxNLocator, NullLocator
from matplotlib.transforms import ScaledTranslation

WIDTH_INCHES = {"column": 3.4, "page": 7.1}
PAGE_INCHES_MAX = 9.5  # the height that a page of paper has for a figure
# No creation date, no program's name: the same results give the same bytes.
UNDATED: dict[str, dict[str, Any]] = {"png": {"Software": None}, "pdf": {"CreationDate": None}}
FONT = "DejaVu Sans"  # matplotlib brings it along: figures are the same everywhere
# seaborn's "whitegrid" (sns.axes_style), written out: importing seaborn takes a second, and it draws nothing here.
WHITE_GRID: dict[Any, Any] = {
    "axes.axisbelow": True,
    "axes.edgecolor": "0.8",
    "axes.grid": True,
    "axes.labelcolor": "0.15",
    "grid.color": "0.8",
    "lines.solid_capstyle": "round",
    "patch.edgecolor": "white",
    "patch.force_edgecolor": True,
    "text.color": "0.15",
    "xtick.bottom": False,
    "xtick.color": "0.15",
    "ytick.color": "0.15",
    "ytick.left": False,
}
# Laid out at the dots in which it is written: letters are a little narrower in fewer of them.
STYLE: dict[Any, Any] = WHITE_GRID | {
    "font.family": FONT,
    "font.size": 9,
    "pdf.fonttype": 42,
    "figure.dpi": 200,
    "savefig.dpi": "figure",
}
PAPER: dict[Any, Any] = STYLE | {
    "figure.dpi": 300,
    "font.size": 8,
    "axes.labelsize": 8,
    "axes.titlesize": 8,
    "xtick.labelsize": 7,
    "ytick.labelsize": 7,
    "legend.fontsize": 7,
    "lines.markersize": 4,
    "lines.linewidth": 1.3,
    "hatch.linewidth": 0.6,
    "grid.linewidth": 0.5,
    "axes.linewidth": 0.7,
}
NOTE_POINTS = 6.5
TITLE_POINTS = 8.5
DASHES: tuple[Any, ...] = ("-", (0, (4, 1)), (0, (6, 1, 1, 1)), (0, (2, 1)), (0, (1, 1)))
MARKERS = ("o", "s", "^", "D", "v", "P", "X", "*")
NUMBERS_MAX = 6  # beside an axis
PLAIN = FuncFormatter(lambda value, _: f"{value:,g}")
LEGEND_DISTANCE_INCHES = 0.4  # an axis' numbers and its label


@contextmanager
def styled(look: dict[Any, Any] = STYLE) -> Iterator[None]:
    """The one look of all figures; `PAPER` for those that are drawn in a paper's sizes."""
    with mpl.rc_context(look):
        yield


def shade(i: int, n: int) -> Any:
    """The i-th of n colours that differ in brightness, none too light for white paper."""
    return tuple(mpl.colormaps["cividis"](0.8 - 0.8 * i / max(n - 1, 1)))


def line_look(i: int, n: int) -> dict[str, Any]:
    """The look of the i-th of n lines: each darker and thinner than the one below, so that both are seen."""
    share = i / max(n - 1, 1)
    return {
        "color": shade(i, n),
        "linestyle": DASHES[i % len(DASHES)],
        "marker": MARKERS[i % len(MARKERS)],
        "linewidth": 1.9 - 0.8 * share,
        "markersize": 5.0 - 1.6 * share,
    }


def numbers(axis: Any, scale: str = "linear", *, decades: bool = False, most: int = NUMBERS_MAX) -> None:
    """Plain numbers beside an axis: few and round, or powers of ten (`decades`: not 2 and 5 of each as well)."""
    if scale == "log":
        axis.set_major_locator(LogLocator(subs=(1.0,) if decades else (1.0, 2.0, 5.0), numticks=12))
    else:
        axis.set_major_locator(MaxNLocator(most, steps=[1, 2, 2.5, 5, 10]))
    axis.set_minor_locator(NullLocator())  # hundreds of ticks, half a second
    axis.set_major_formatter(PLAIN)


def entry(label: str, **look: Any) -> Any:
    """What a legend says of a line or of marks."""
    return Line2D([], [], label=label, **look)


def legend_below(axes: Any, **options: Any) -> None:
    """A legend under the axis' label, at a distance in inches: the layout then leaves exactly its room."""
    below = axes.transAxes + ScaledTranslation(0, -LEGEND_DISTANCE_INCHES, axes.figure.dpi_scale_trans)
    axes.legend(fontsize="small", loc="upper center", bbox_to_anchor=(0.5, 0), bbox_transform=below, **options)
