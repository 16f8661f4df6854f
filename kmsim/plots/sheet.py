"""A figure's paper: title above, panels, then a legend and notes below, none of which covers another.

The width is a paper's; the height follows from what is on it. The room of title, legend and notes is measured and
the panels are laid out in the rest, so that long names make a figure higher and are never cut off.
"""

from __future__ import annotations

from typing import Any, Literal, NamedTuple

import pandas as pd
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from kmsim.plots.lettering import plain, text_size, wrapped
from kmsim.plots.style import NOTE_POINTS, NUMBERS_MAX, PAGE_INCHES_MAX, TITLE_POINTS, WIDTH_INCHES, numbers

EDGE_INCHES = 0.05
GAP_INCHES = 0.06
PANEL_INCHES_MIN = 1.15  # of a panel without its labels
LINE_SPACING = 1.25
NARROW_INCHES = 2.0  # a panel with its labels that has room for few numbers below
TITLE_MAX = 240
LAYOUTS_MAX = 5
POSITION_DIGITS = 6  # of the paper's width and height: less than a thousandth of a dot
LEGEND = {
    "loc": "lower center",
    "title_fontsize": 7,
    "borderpad": 0.3,
    "columnspacing": 1.2,
    "handlelength": 3,
}
COLUMNS_OF = {"column": 2, "page": 3}  # of panels


class Sheet(NamedTuple):
    """A figure to draw into: its panels, row by row; `finish` puts the rest around them."""

    figure: Any
    panels: list[Any]
    title: str
    panel_inches: float  # the height of a row of panels, with their labels

    @property
    def width(self) -> float:
        """Inches."""
        return float(self.figure.get_figwidth())


def new_sheet(
    title: str,
    size: str | None,
    titles: list[str],
    *,
    panel_inches: float,
    share: bool | Literal["row"] = True,
    columns: int | None = None,
) -> Sheet:
    """An empty sheet with a panel for each of `titles`, that share their axes ("row": heights within a row only).

    `size`: "column" or "page"; None: a column of one panel, a page of several. `columns` of panels; None: as many as
    there is room for.
    """
    size = size or ("page" if len(titles) > 1 else "column")
    columns = columns or min(len(titles), COLUMNS_OF[size])
    rows = -(-len(titles) // columns)
    figure = Figure(figsize=(WIDTH_INCHES[size], rows * panel_inches), layout="constrained")
    FigureCanvasAgg(figure)
    grid = figure.subplots(rows, columns, sharex=bool(share), sharey=share, squeeze=False).ravel()
    for axes, text in zip(grid, titles, strict=False):
        axes.set_title(plain(text, 80) if len(titles) == 1 else _panel_title(figure, text, columns))
    for k, axes in enumerate(grid[len(titles) :], len(titles)):
        axes.set_visible(False)
        grid[k - columns].tick_params(labelbottom=True)
    return Sheet(figure, list(grid[: len(titles)]), title, panel_inches)


def _panel_title(figure: Any, text: str, columns: int) -> str:
    return wrapped(figure, plain(text, 80), 8, figure.get_figwidth() / columns - 0.35, lines=2)


def label_axes(sheet: Sheet, x: str, y: str) -> None:
    """Name the axes of all panels: x below each that has numbers there, y beside those at the left."""
    figure = sheet.figure
    columns = sheet.panels[0].get_gridspec().ncols
    across = wrapped(figure, x, 8, sheet.width / columns - 0.4, lines=3)
    upwards = wrapped(figure, y, 8, sheet.panel_inches - 0.7, lines=2)
    for axes in sheet.panels:
        spec = axes.get_subplotspec()
        is_last = spec.is_last_row() or axes.xaxis.get_tick_params().get("labelbottom")
        axes.set(xlabel=across if is_last else "", ylabel=upwards if spec.is_first_col() else "")


def time_axes(sheet: Sheet) -> None:
    """The horizontal axes of all panels as simulated time: from edge to edge, few numbers where panels are narrow."""
    is_narrow = sheet.width / sheet.panels[0].get_gridspec().ncols < NARROW_INCHES
    for axes in sheet.panels:
        axes.margins(x=0.01)
        numbers(axes.xaxis, most=NUMBERS_MAX // 2 if is_narrow else NUMBERS_MAX)


def means_axis(sheet: Sheet, scale: str | None, data: pd.DataFrame) -> list[str]:
    """The vertical axis of means and intervals, from zero where that costs less than half of the room; notes."""
    ends = data[["mean", "ci_low", "ci_high"]]
    low, high = float(ends.min().min()), float(ends.max().max())
    is_log = scale == "log" and high > 0
    if is_log:
        sheet.panels[0].set_yscale("log", nonpositive="mask")
    elif 0 <= low <= high / 2:
        sheet.panels[0].set_ylim(0, 1.05 * high if high > 0 else 1)
    for axes in sheet.panels:
        numbers(axes.yaxis, "log" if is_log else "linear", decades=not 0 < high < 100 * low)
    return ["0 and less is below the picture"] if is_log and low <= 0 else []


def finish(
    sheet: Sheet,
    notes: list[str],
    handles: list[Any] = [],  # noqa: B006
    heading: str = "",
    *,
    answer: str = "",
) -> None:
    """Write title, legend (of labelled handles, under a heading), notes and the answer; lay everything out."""
    figure, inner = sheet.figure, sheet.width - 2 * EDGE_INCHES
    title = wrapped(figure, plain(sheet.title, TITLE_MAX), TITLE_POINTS, inner)
    said = "; ".join(filter(None, notes))
    note = wrapped(figure, f"{said}\n{answer}" if answer else said, NOTE_POINTS, inner, lines=8)
    above = _height(title, TITLE_POINTS) + 2 * EDGE_INCHES
    of_note = _height(note, NOTE_POINTS) + EDGE_INCHES
    legend = _legend(figure, handles, heading, inner) if handles else None
    of_legend = legend.get_window_extent().height / figure.dpi + GAP_INCHES if legend else 0.0
    below = of_note + of_legend + GAP_INCHES
    rows = sheet.panels[0].get_gridspec().nrows
    height = rows * sheet.panel_inches + above + below
    for _ in range(LAYOUTS_MAX):
        figure.set_figheight(height)
        engine = figure.get_layout_engine()
        engine.set(rect=(0, below / height, 1, 1 - (above + below) / height), w_pad=0.03, h_pad=0.03)
        engine.execute(figure)
        least = min(axes.get_window_extent().height for axes in sheet.panels) / figure.dpi
        is_high = least >= PANEL_INCHES_MIN or height >= PAGE_INCHES_MAX
        if not is_high:
            height = min(height + rows * (PANEL_INCHES_MIN - least + 0.02), PAGE_INCHES_MAX)
        if not _wrap_labels(sheet) and is_high:
            break
    engine.execute(figure)  # numbers beside an axis may have become others
    figure.set_layout_engine("none")
    for axes in figure.axes:  # the solver's last digits are not the same each time
        axes.set_position([round(share, POSITION_DIGITS) for share in axes.get_position().bounds])
    figure.text(0.5, 1 - EDGE_INCHES / height, title, size=TITLE_POINTS, ha="center", va="top", label="title")
    figure.text(0.5, EDGE_INCHES / height, note, size=NOTE_POINTS, ha="center", va="bottom", label="notes")
    if legend:
        legend.set_bbox_to_anchor((0.5, (of_note + GAP_INCHES / 2) / height), transform=figure.transFigure)


def _wrap_labels(sheet: Sheet) -> bool:
    """Break the names of horizontal axes that reach over the paper's edge; were there any?"""
    found = False
    for axes in sheet.panels:
        box = axes.xaxis.label.get_window_extent()
        if axes.get_xlabel() and (box.x0 < 0 or box.x1 > sheet.figure.bbox.width):
            middle = (box.x0 + box.x1) / 2 / sheet.figure.dpi
            inches = 2 * min(middle, sheet.width - middle) - 2 * EDGE_INCHES
            axes.set_xlabel(wrapped(sheet.figure, axes.get_xlabel().replace("\n", " "), 8, max(inches, 0.5)))
            found = True
    return found


def _height(text: str, points: float) -> float:
    """Inches of so many lines."""
    return (text.count("\n") + 1) * points / 72 * LINE_SPACING if text else 0.0


def _legend(figure: Any, handles: list[Any], heading: str, inches: float) -> Any:
    """A legend in as many columns as there is room for."""
    labels = [f" {label}" if label.startswith("_") else label for label in (h.get_label() for h in handles)]
    columns = len(handles)
    while True:
        legend = figure.legend(handles, labels, ncols=columns, title=heading or None, **LEGEND)
        balanced = -(-len(handles) // -(-len(handles) // columns))
        fits = legend.get_window_extent().width / figure.dpi <= inches
        if columns == 1 or (fits and balanced == columns):
            return legend
        legend.remove()
        columns = balanced if fits else columns - 1


def say_nothing(sheet: Sheet, why: str) -> None:
    """Write in the middle of the first panel why it is empty."""
    axes = sheet.panels[0]
    axes.set(xticks=[], yticks=[])
    text = wrapped(sheet.figure, plain(why, TITLE_MAX), 8, 0.6 * sheet.width, lines=6)
    axes.text(0.5, 0.5, text, transform=axes.transAxes, ha="center", va="center")


def legible(axes: Any, positions: list[float], labels: list[str], beside: float = 0.6) -> tuple[list[float], list[str]]:
    """Which labels of a horizontal axis have room beside each other: the first, then each that covers no other.

    `beside`: inches of the figure's width that other labels take.
    """
    figure = axes.figure
    inches = (figure.get_figwidth() - beside) / axes.get_gridspec().ncols - 0.1
    low, high = axes.get_xlim()
    transform = axes.get_xaxis_transform()
    left, right = (transform.transform((edge, 0))[0] for edge in (low, high))
    kept: list[int] = []
    end = float("-inf")
    for k, label in enumerate(labels):
        width = max(text_size(figure, line, 7)[0] for line in label.split("\n"))
        middle = (transform.transform((positions[k], 0))[0] - left) / (right - left) * inches
        if middle - width / 2 >= end + 0.06:
            kept.append(k)
            end = middle + width / 2
    return [positions[k] for k in kept], [labels[k] for k in kept]
