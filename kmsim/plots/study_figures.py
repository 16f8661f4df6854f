"""The figures of a study: each entry of its `figures` drawn, and written as PNG, as PDF and as the data it shows.

What an entry leaves out is chosen by its kind:

    line           y: the first response; x: the axis of numbers with the most levels; hue, panels: the axes left
    heatmap        colour: the first response; x: page_size, y: max_page_order where there are such axes
    ecdf, tail     of: allocations; hue, panels: the axes left, of fewest levels first
    pareto         x, y: the first two responses; hue: the first axis; labels tell the others
    series         series: the first there is; zones are an axis; hue, panels: the axes left
    fragmentation  panels: the axis of fewest levels, of which as many are shown as stand beside each other
    memory_map     the first point, at its first, middle and last instant
    forest         comparison: the first; y: one response only (all, relative to the baseline, if not given)

    size           `figures: {width: ...}`, or "column" of one panel, "page" of several
    x_scale        line: "log" of sizes and times that reach over a factor of eight; ecdf, tail: "log"
    y_scale        tail: "log"; otherwise "linear"
    title          a question that names response and axis

Axes without a role are held at their first level that has points, which the figure says; so does it of levels left
out for room.
A study that names no figures gets those of `default_figures`; one that names none of fragmentation gets that as well.
Files are written under a temporary name and renamed, and hold no date: the same results give the same bytes.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from itertools import chain, count
from pathlib import Path
from typing import Any

from kmsim.config.inquiry import FigureConfig
from kmsim.plots.drawn import Drawn, write_drawn
from kmsim.plots.forest import forest
from kmsim.plots.fragmentation import fragmentation
from kmsim.plots.heatmap import heatmap
from kmsim.plots.line import line
from kmsim.plots.memory_map import memory_map
from kmsim.plots.pareto import pareto
from kmsim.plots.style import PAPER, styled
from kmsim.plots.tail import ecdf, tail
from kmsim.plots.time_series import time_series

FRAGMENTATION = "fragmentation"
DRAW: dict[str, Callable[[Any, Any], Drawn]] = {
    "line": line,
    "heatmap": heatmap,
    "ecdf": ecdf,
    "tail": tail,
    "pareto": pareto,
    "series": time_series,
    FRAGMENTATION: fragmentation,
    "memory_map": memory_map,
    "forest": forest,
}
DEFAULT_RESPONSES_MAX = 3  # that a study without `figures` gets a figure of each


def draw_study(
    result: Any, folder: Path, formats: Iterable[str] = ("png", "pdf"), names: Iterable[str] | None = None
) -> list[Path]:
    """Draw the figures of a study (or those named) into `folder`; the files written, each figure's data as CSV too.

    One that shows no run's values, as of arms that were not run, is left out unless it is named.
    """
    wanted = None if names is None else set(names)
    written: list[Path] = []
    for config in figures_of(result):
        if wanted is not None and config.name not in wanted:
            continue
        with styled(PAPER):
            drawn = DRAW[config.kind](result, config)
        if wanted is None and drawn.data.empty:
            continue
        written += write_drawn(drawn, folder, config.name, formats, PAPER)
    return written


def names_left_out(result: Any, written: Iterable[Path]) -> list[str]:
    """The figures that `draw_study` has not written."""
    there = {path.stem for path in written}
    return [config.name for config in figures_of(result) if config.name not in there]


def figure_of(result: Any, config: FigureConfig) -> Any:
    """One figure, as a matplotlib Figure."""
    with styled(PAPER):
        return DRAW[config.kind](result, config).figure


def figures_of(result: Any) -> tuple[FigureConfig, ...]:
    """The figures that a study asks for, or the default ones; and that of fragmentation where its runs are kept."""
    figures = tuple(result.figures_config) or default_figures(result)
    if result.path is None or any(config.kind == FRAGMENTATION for config in figures):
        return figures
    taken = {config.name for config in figures}
    names = chain([FRAGMENTATION], (f"{FRAGMENTATION}_{n}" for n in count(2)))
    return (*figures, _figure(result, kind=FRAGMENTATION, name=next(name for name in names if name not in taken)))


def default_figures(result: Any) -> tuple[FigureConfig, ...]:
    """Of each of the first responses a heatmap over page size and largest order, or a line; tails; comparisons."""
    varied = {axis.name.rpartition(".")[2] for axis in result.axes if len(axis.levels) > 1}
    is_map = {"page_size", "max_page_order"} <= varied
    kind, key = ("heatmap", "colour") if is_map else ("line", "y")
    found: list[dict[str, str]] = []
    for response in result.responses_config[:DEFAULT_RESPONSES_MAX]:
        found.append({"kind": kind, "name": f"{kind}_{response.name}"[:64], key: response.name})
    found.append({"kind": "tail", "name": "tail_alloc"})
    for n, comparison in enumerate(result.comparisons_config, 1):
        found.append({"kind": "forest", "name": f"forest_{n}", "comparison": comparison.name})
    return tuple(_figure(result, **config) for config in found)


def _figure(result: Any, **keys: str) -> FigureConfig:
    """A figure that no config names, as wide as the study's others."""
    width = result.inquiry.figures_width
    return FigureConfig.model_validate(keys | ({"size": width} if width else {}))
