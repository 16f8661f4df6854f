"""All pages of the machine at one or a few instants: what each page is, in the order of their addresses.

Each panel is one run of a point; a row of cells is a stretch of memory, read like text. Where a run kept only
counts of its pageblocks, a cell is a pageblock and shows what most of its pages are.
"""

from __future__ import annotations

from typing import Any

import matplotlib as mpl
import numpy as np
import pandas as pd
from matplotlib.colors import ListedColormap
from matplotlib.patches import Patch

from kmsim.metrics.page_map import PAGE_STATES, states_of
from kmsim.plots.drawn import Drawn
from kmsim.plots.lettering import brief, in_unit, shown_unit
from kmsim.plots.responses import said
from kmsim.plots.roles import Roles, roles_of
from kmsim.plots.sheet import finish, label_axes, new_sheet, say_nothing
from kmsim.plots.style import PLAIN

TIMES_MAX = 3
PANELS_MAX = 6
ROWS_LABELLED = 6
NO_PAGE = len(PAGE_STATES)  # behind the last page of the last row
SHADES: dict[str, Any] = {
    "free": "white",
    "pcp": mpl.colormaps["cividis"](1.0),
    "slab": mpl.colormaps["cividis"](0.6),
    "used": mpl.colormaps["cividis"](0.0),
    "reserved": "0.75",
}
MEANINGS = {"pcp": "on a CPU's list", "used": "allocated otherwise", "reserved": "reserved, or no memory"}


def memory_map(result: Any, config: Any) -> Drawn:
    """The map of one point at its first, middle and last instant; of each level of `config.panels`, at the last."""
    wanted = ("panels",) if config.panels else ()
    roles = roles_of(result, result.runs[result.runs["replication"] == 0], config, wanted)
    maps = _maps(result, roles)
    titles = [title for title, _ in maps] or [""]
    question = "What are the pages of memory?"
    sheet = new_sheet(
        config.title or question,
        said(config, "size"),
        titles,
        panel_inches=2.6 if len(titles) > 1 else 3.0,
        share=False,
    )
    if not maps:
        say_nothing(sheet, "no run keeps a memory map (run.memory_map)")
        finish(sheet, [*roles.notes, "n = 0 pages"])
        return Drawn(sheet.figure, pd.DataFrame())
    drawn = []
    for axes, (panel, table) in zip(sheet.panels, maps, strict=True):
        _draw(axes, *_cells(table))
        pages = ["".join(map(str, states_of(code))) for code in table["pages"]]
        drawn.append(table.drop(columns=["pages", "page_bytes"]).assign(pages=pages, panel=panel))
    whole = pd.concat(drawn, ignore_index=True)
    label_axes(sheet, "within a row (KiB)", "address (MiB)")
    nr_pages = [int(table[[f"nr_{state}" for state in PAGE_STATES]].to_numpy().sum()) for _, table in maps]
    legend = [
        Patch(facecolor=SHADES[state], edgecolor="0.5", linewidth=0.5, label=MEANINGS.get(state, state))
        for state in PAGE_STATES
    ]
    by_pages = all(len(table["pages"].iloc[0]) for _, table in maps)
    cell = "a cell is a page" if by_pages else "a cell is a pageblock, by what most of its pages are"
    finish(
        sheet, [f"n = {max(nr_pages):,} pages per map, 1 run each", cell, *roles.notes], legend, answer=_answer(maps)
    )
    return Drawn(sheet.figure, whole)


def _maps(result: Any, roles: Roles) -> list[tuple[str, pd.DataFrame]]:
    """Title and pageblocks of each map that is drawn."""
    maps: list[tuple[str, pd.DataFrame]] = []
    groups = roles.groups("panels")[:PANELS_MAX]
    for (panel,), part in groups:
        table = _of_run(result, int(part["run"].iloc[0]))
        times = np.unique(table["time_ns"].to_numpy()) if len(table) else np.zeros(0)
        chosen = times[-1:] if roles.of["panels"] else times[_spread(len(times))]
        for time in chosen:
            unit, one = shown_unit("ns", [time])
            at = f"at {in_unit(f'{time / one:,g}', unit)}"
            of = roles.panel_titles()[panel]
            rows = table[table["time_ns"] == time].sort_values("start_pfn", ignore_index=True)
            maps.append((f"{of}, {at}" if of else at, rows))
    return maps


def _answer(maps: list[tuple[str, pd.DataFrame]]) -> str:
    """How many of the pages are free in each map."""
    counts = [table[[f"nr_{state}" for state in PAGE_STATES]].sum() for _, table in maps]
    free = [f"{brief(100 * count['nr_free'] / count.sum())} %" for count in counts]
    told = [f"{share} ({title})" for share, (title, _) in zip(free, maps, strict=True)]
    first, last = ", ".join(told[:-1]), told[-1]
    return f"Of the pages, {f'{first} and {last}' if first else last} are free."


def _spread(count: int) -> Any:
    return np.unique(np.linspace(0, count - 1, min(TIMES_MAX, count)).round().astype(int))


def _of_run(result: Any, run: int) -> pd.DataFrame:
    """A run's memory map, with the page size; empty where it kept none, or failed. NotAResult where it is damaged."""
    failed = result.runs.loc[result.runs["run"] == run, "failed"].astype(bool)
    if failed.any():
        return pd.DataFrame(columns=["time_ns"])
    whole = result.run(run)
    table: pd.DataFrame | None = whole.tables.get("memory_map")
    if table is None:
        return pd.DataFrame(columns=["time_ns"])
    return table.assign(page_bytes=whole.page_size_bytes)


def _cells(table: pd.DataFrame) -> tuple[Any, Any, float]:
    """The states in rows of a power of two, the address of each row, and the bytes of a cell."""
    page_bytes = float(table["page_bytes"].iloc[0])
    codes = [states_of(pages) for pages in table["pages"]]
    starts = table["start_pfn"].to_numpy(float) * page_bytes
    if all(len(code) for code in codes):
        states, cell_bytes = np.concatenate(codes), page_bytes
        addresses = np.concatenate(
            [start + page_bytes * np.arange(len(c)) for start, c in zip(starts, codes, strict=True)]
        )
    else:
        counts = table[[f"nr_{state}" for state in PAGE_STATES]].to_numpy()
        states, cell_bytes, addresses = counts.argmax(axis=1), page_bytes * float(counts.sum(axis=1).max()), starts
    width = 1 << max(round(np.log2(max(len(states), 1)) / 2), 0)
    padded = np.full(-(-len(states) // width) * width, NO_PAGE)
    padded[: len(states)] = states
    return padded.reshape(-1, width), addresses[::width], cell_bytes


def _draw(axes: Any, cells: Any, addresses: Any, cell_bytes: float) -> None:
    """One map: rows from the lowest address at the top."""
    colours = ListedColormap([*(SHADES[state] for state in PAGE_STATES), "white"])
    nr_rows, width = cells.shape
    extent = (0, width * cell_bytes / 1024, nr_rows, 0)
    axes.imshow(cells, cmap=colours, vmin=-0.5, vmax=NO_PAGE + 0.5, aspect="auto", interpolation="none", extent=extent)
    axes.grid(False)
    axes.set_xticks([0, width * cell_bytes / 2048, width * cell_bytes / 1024])
    axes.xaxis.set_major_formatter(PLAIN)
    rows = np.unique(np.linspace(0, nr_rows - 1, min(nr_rows, ROWS_LABELLED)).round().astype(int))
    axes.set_yticks(rows, [f"{addresses[row] / 2**20:,.6g}" for row in rows])
