"""A response over two axes: a cell for each pair of levels, its colour and number the mean over runs.

Dropped points are hatched; points of which no run yields the response are hatched in the other direction. The
legend says which is which. Numbers stand in the cells where there is room, dark on light or light on dark; a star
beside one (or alone) says that it differs from the baseline of the first comparison of the response.
"""

from __future__ import annotations

from typing import Any

import matplotlib as mpl
import numpy as np
import pandas as pd
from matplotlib.colors import LogNorm, Normalize
from matplotlib.patches import Patch, PathPatch
from matplotlib.path import Path
from matplotlib.ticker import LogLocator, NullFormatter

from kmsim.plots.drawn import Drawn
from kmsim.plots.extremes import lowest_and_highest
from kmsim.plots.lettering import LEVEL_MAX, brief, plain, shown_unit, text_size, with_unit, wrapped
from kmsim.plots.responses import asked, behind, estimates_of, said, words_of
from kmsim.plots.roles import Roles, Shown, axis_titles, dropped_notes, dropped_of, in_words, roles_of
from kmsim.plots.sheet import Sheet, finish, label_axes, legible, new_sheet, say_nothing
from kmsim.plots.style import PLAIN
from kmsim.study.estimates import is_shown

DEFAULT_AXES = {"x": "page_size", "y": "max_page_order"}
LOG_FROM = 100.0  # between the largest and the least mean, from which on colours are logarithmic
POINTS = (7.5, 7, 6.5, 6, 5.5)  # of the numbers in the cells
ROWS_LABELLED_MAX = 16
ROW_INCHES = 0.19
HATCHES = {"dropped": "////", "none": "xxx"}
CORNERS = ((-0.5, -0.5), (0.5, -0.5), (0.5, 0.5), (-0.5, 0.5), (-0.5, -0.5))  # of a cell, and back
BESIDE_INCHES = 1.2  # taken by the labels of rows and the bar of colours
ROLES = ("x", "y", "panels")


def heatmap(result: Any, config: Any) -> Drawn:
    """The mean of the response that `config.colour` names (none: the first) over two axes."""
    response = asked(result, config.colour)
    roles = roles_of(result, estimates_of(result, response.name), _with_axes(result, config), ROLES)
    x, y = roles.of["x"], roles.of["y"]
    over = " and ".join(axis.title for axis in (x, y) if axis) or result.name
    titles = roles.panel_titles()
    inches = max(2.2, 0.7 + ROW_INCHES * min(len(roles.levels("y")), ROWS_LABELLED_MAX))
    title = config.title or f"{words_of(response)} by {over}"
    sheet = new_sheet(title, said(config, "size"), titles, panel_inches=inches)
    rows = roles.rows[roles.rows["mean"].notna()]
    if rows.empty:
        say_nothing(sheet, f"no run yields {response.name}")
        finish(sheet, [*roles.notes, "n = 0 runs"])
        return Drawn(sheet.figure, rows)
    unit, one = shown_unit(response.unit, rows["mean"])
    roles = roles._replace(rows=rows)
    colours = _colours(rows["mean"] / one)
    cells = _cells(roles, one)
    meshes = [_draw(axes, values, colours) for axes, values in zip(sheet.panels, cells, strict=True)]
    handles = _hatch(result, sheet, roles, cells)
    label_axes(sheet, plain(x.title) if x else "", plain(y.title) if y else "")
    _ticks(sheet, x, y)
    nr_rows = sheet.panels[0].get_gridspec().nrows
    label = wrapped(sheet.figure, with_unit(words_of(response), unit), 8, nr_rows * inches - 0.9, lines=3)
    bar = sheet.figure.colorbar(meshes[0], ax=sheet.panels, label=label, format=PLAIN, pad=0.02)
    if isinstance(colours, LogNorm):
        bar.ax.yaxis.set_major_locator(LogLocator(subs=(1.0,)))
    bar.ax.yaxis.set_minor_formatter(NullFormatter())
    data = _data(roles, one)
    notes = ["mean over runs", f"{behind(rows)} per cell", *roles.notes, *dropped_notes(result, roles)]
    axes = [axis.name for axis in (roles.of["panels"], x, y) if axis is not None]
    stars, from_what = _stars(result, response, roles)
    notes += [f"*: differs from {from_what}"] if from_what else []
    finish(sheet, notes, handles, answer=lowest_and_highest(rows, axes, unit, one))
    _number(sheet, cells, stars, colours)
    return Drawn(sheet.figure, data.assign(response=response.name, unit=unit))


def _with_axes(result: Any, config: Any) -> Any:
    """The config with page_size along x and max_page_order upwards, where it names none and there are such axes."""
    named = {role: getattr(config, role) for role in ROLES}
    by_last_word = {axis.name.rpartition(".")[2]: axis.name for axis in result.axes}
    for role, word in DEFAULT_AXES.items():
        if not named[role] and by_last_word.get(word) not in named.values():
            named[role] = by_last_word.get(word)
    return type("Named", (), {**named, "where": config.where})


def _cells(roles: Roles, one: float) -> list[Any]:
    """The means of each panel, an array of rows (y) and columns (x); NaN where there is none."""
    shape = (len(roles.levels("panels")), len(roles.levels("y")), len(roles.levels("x")))
    cells = np.full(shape, np.nan)
    places = tuple(roles.indices("panels", "y", "x"))
    assert len(set(zip(*places, strict=True))) == len(roles.rows), "one point in a cell"
    cells[places] = roles.rows["mean"].to_numpy(float) / one
    return list(cells)


def _colours(means: pd.Series) -> Normalize:
    """From the least to the largest mean; logarithmic where they differ much."""
    least, most = float(means.min()), float(means.max())
    if least > 0 and most / least >= LOG_FROM:
        return LogNorm(least, most)
    return Normalize(least, most if most > least else least + max(abs(least), 1.0))


def _draw(axes: Any, values: Any, colours: Normalize) -> Any:
    """The cells of one panel."""
    nr_rows, nr_columns = values.shape
    edges = np.arange(nr_columns + 1) - 0.5, np.arange(nr_rows + 1) - 0.5
    axes.grid(False)
    masked = np.ma.masked_invalid(values)
    return axes.pcolormesh(*edges, masked, cmap="cividis_r", norm=colours, rasterized=values.size > 2500)


def _hatch(result: Any, sheet: Sheet, roles: Roles, cells: list[Any]) -> list[Any]:
    """Hatch what has no number; what the legend says of it."""
    dropped = {key for key, _ in dropped_of(result, roles, "panels", "y", "x")}
    handles = {}
    for panel, values in enumerate(cells):
        empty: dict[str, list[Any]] = {}
        for y, x in np.argwhere(~np.isfinite(values)).tolist():
            corners = [(x + right, y + up) for right, up in CORNERS]
            empty.setdefault("dropped" if (panel, y, x) in dropped else "none", []).append(corners)
        for why, squares in empty.items():
            look: dict[str, Any] = {"facecolor": "white", "edgecolor": "0.55", "hatch": HATCHES[why], "linewidth": 0}
            squares_path = Path.make_compound_path_from_polys(np.array(squares))
            sheet.panels[panel].add_patch(PathPatch(squares_path, **look))
            handles[why] = Patch(**look, label="not run" if why == "dropped" else "no run yields it")
    return [handles[why] for why in HATCHES if why in handles]


def _ticks(sheet: Sheet, x: Shown | None, y: Shown | None) -> None:
    """Labels of rows and columns: as many as have room."""
    columns, rows = ([""], [""]) if x is None else (x.labels, [""])
    rows = rows if y is None else y.labels
    every = -(-len(rows) // ROWS_LABELLED_MAX)
    for axes in sheet.panels:
        places, labels = legible(axes, [float(k) for k in range(len(columns))], columns, BESIDE_INCHES)
        if len(labels) < len(columns) <= ROWS_LABELLED_MAX:
            axes.set_xticks(range(len(columns)), columns, rotation=90)
        else:
            axes.set_xticks(places, labels)
        axes.set_yticks(range(0, len(rows), every), rows[::every])


def _stars(result: Any, response: Any, roles: Roles) -> tuple[Any, str]:
    """Which cells (panel, y, x) differ from a baseline as far as is shown, and from which; "" where none does."""
    stars = np.zeros([len(roles.levels(role)) for role in ("panels", "y", "x")], bool)
    compared: pd.DataFrame = result.comparisons
    compared = compared[compared["response"] == response.name]
    compared = compared[compared["comparison"] == compared["comparison"].iloc[0]] if len(compared) else compared
    axes = [axis.name for axis in result.axes]
    differing = compared.loc[is_shown(compared), axes]
    there = roles.rows[axes].merge(differing, on=axes, how="left", indicator=True)["_merge"].eq("both").to_numpy()
    stars[tuple(index[there] for index in roles.indices("panels", "y", "x"))] = True
    if not there.any():
        return stars, ""
    axis, baseline = str(compared["axis"].iloc[0]), str(compared["baseline"].iloc[0])
    return stars, f"{in_words(axis_titles(result.axes)[axis])} {plain(baseline, LEVEL_MAX)}"


def _number(sheet: Sheet, cells: list[Any], stars: Any, colours: Normalize) -> None:
    """Write numbers and stars into the cells in the largest letters for which all have room, or the stars alone."""
    texts = [np.array([[brief(value) for value in row] for row in values.tolist()], object) for values in cells]
    texts = [text + np.where(marked, "*", "") for text, marked in zip(texts, stars, strict=True)]
    widest = max((text for panel in texts for text in panel.ravel()), key=len)
    rows, columns = cells[0].shape
    box = sheet.panels[0].get_window_extent()
    width, height = box.width / sheet.figure.dpi / columns, box.height / sheet.figure.dpi / rows
    for points in POINTS:
        wide, high = text_size(sheet.figure, widest, points)
        if wide + 0.03 <= width and high <= height:
            break
    else:
        texts = [np.where(marked, "*", "") for marked in stars]
    for axes, values, text in zip(sheet.panels, cells, texts, strict=True):
        for y, x in np.argwhere(np.isfinite(values)).tolist():
            red, green, blue, _ = mpl.colormaps["cividis_r"](colours(values[y, x]))
            dark = 0.299 * red + 0.587 * green + 0.114 * blue > 0.5
            axes.text(x, y, text[y, x], size=points, ha="center", va="center", color="k" if dark else "w")


def _data(roles: Roles, one: float) -> pd.DataFrame:
    """What is drawn: labels, the mean that the colour shows, and the interval that goes with it."""
    names = [axis.name for axis in (roles.of["panels"], roles.of["y"], roles.of["x"]) if axis is not None]
    data = roles.rows[[*names, "n", "mean", "ci_low", "ci_high"]].copy()
    data[["mean", "ci_low", "ci_high"]] /= one
    return data.reset_index(drop=True)
