"""Fragmentation: free memory by block size over simulated time, and the unusable free space index by block size.

Above, free memory is stacked by the size of the free block that it lies in, the smallest at the bottom. Below is the
kernel's index (kernel: unusable_free_index): of a block size, the share of free memory that lies in smaller blocks,
so that no request of this size can use it; 1 where nothing is free. Sizes that are many share a band, and the index
is that of each band's smallest size, of which a pageblock is one; the data have all sizes. Both are of all zones
together, without the pages on per-CPU lists, and the mean over a point's runs at each time.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
import pandas as pd
from matplotlib.patches import Patch
from numpy.typing import NDArray

from kmsim.plots.drawn import Drawn
from kmsim.plots.lettering import LEVEL_MAX, brief, counted, plain, shown_unit, with_unit, wrapped
from kmsim.plots.responses import said
from kmsim.plots.roles import Roles, roles_of, thinned
from kmsim.plots.sheet import COLUMNS_OF, Sheet, finish, label_axes, new_sheet, say_nothing, time_axes
from kmsim.plots.style import DASHES, entry, numbers, shade
from kmsim.units import format_size

TITLE = "In blocks of which size is memory free?"
RUNS_MAX = 30  # of a point
TIMES_MAX = 300
BANDS_MAX = 5  # of block sizes: more cannot be told apart in grey
Reals = NDArray[np.float64]


class _Point(NamedTuple):
    """The mean over the runs of one point."""

    times_ns: Reals
    block_bytes: list[int]
    free_bytes: Reals  # [time, block size]
    unusable: Reals  # [time, block size]
    pageblock_bytes: int
    nr_runs: int


def fragmentation(result: Any, config: Any) -> Drawn:
    """Free memory by block size over time and the index, of a point or of one for each level of `config.panels`."""
    notes = ["all zones together, without per-CPU lists"]
    roles = roles_of(result, result.counted_runs, config, ("panels",))
    size = said(config, "size")
    panels = roles.of["panels"]
    if panels is not None:
        fewer, rows = thinned(panels, COLUMNS_OF[size or "page"], roles.rows, roles.notes)
        roles = roles._replace(rows=rows, of=roles.of | {"panels": fewer})
    points = _points(result, roles)
    titles = [roles.panel_titles()[panel] for panel in points] or [""]
    sheet = new_sheet(
        config.title or TITLE,
        size or ("page" if len(titles) > 1 else "column"),
        [*titles, *("" for _ in points)],
        panel_inches=1.9,
        share="row",
        columns=len(titles),
    )
    if not points:
        say_nothing(sheet, "no run yields samples of its free memory")
        finish(sheet, [*roles.notes, "n = 0 runs"])
        return Drawn(sheet.figure, pd.DataFrame())
    sizes = sorted({size for point in points.values() for size in point.block_bytes})
    bands = _bands(sizes, {point.pageblock_bytes for point in points.values()})
    unit, one = shown_unit("bytes", [point.free_bytes.sum(axis=1).max() for point in points.values()])
    time_unit, time_one = shown_unit("ns", [point.times_ns[-1] for point in points.values()])
    drawn = []
    for column, (panel, point) in enumerate(points.items()):
        above, below = sheet.panels[column], sheet.panels[column + len(points)]
        times = point.times_ns / time_one
        _stack(above, times, point, bands, one)
        for band in bands[1:]:
            if band.first in point.block_bytes[1:]:
                below.plot(times, point.unusable[:, point.block_bytes.index(band.first)], **band.line)
        data = _table(point, times, point.free_bytes / one)
        drawn.append(roles.labelled(data, ("panels",), (panel,)))
    most = max(point.free_bytes.sum(axis=1).max() for point in points.values()) / one
    sheet.panels[0].set_ylim(0, 1.05 * most if most > 0 else 1)  # of all panels
    _axes(sheet, len(points), with_unit("simulated time", time_unit), with_unit("free memory", unit))
    runs = counted([point.nr_runs for point in points.values()], "runs")
    legend = [Patch(facecolor=band.line["color"], edgecolor="0.5", lw=0.4, label=band.label) for band in bands]
    legend += [entry(f"index of {format_size(band.first)}", **band.line) for band in bands[1:]]
    finish(sheet, ["mean", runs, *notes, *roles.notes], legend, "block size", answer=_answer(roles, points))
    return Drawn(sheet.figure, pd.concat(drawn, ignore_index=True).assign(unit=unit, time_unit=time_unit))


def _points(result: Any, roles: Roles) -> dict[int, _Point]:
    """What is drawn of each level that has runs with samples. NotAResult where a run's file is damaged."""
    found = {}
    for (panel,), part in roles.groups("panels"):
        of_runs = [result.run(int(run)) for run in part["run"].iloc[:RUNS_MAX]]
        tables = [(run.samples, run.page_size_bytes) for run in of_runs if len(run.samples)]
        if tables:
            pageblock = int(part["page_size_bytes"].iloc[0]) << int(part["pageblock_order"].iloc[0])
            found[panel] = _mean(tables, pageblock)
    return found


def _mean(tables: list[tuple[pd.DataFrame, int]], pageblock_bytes: int) -> _Point:
    """The mean over runs at no more times than can be seen; each run counts with its last sample before."""
    wide = [_wide(samples, page_size) for samples, page_size in tables]
    times = np.unique(np.concatenate([free.index.to_numpy(float) for free in wide]))
    if len(times) > TIMES_MAX:
        times = times[np.unique(np.linspace(0, len(times) - 1, TIMES_MAX).round().astype(int))]
    at = [np.maximum(np.searchsorted(free.index.to_numpy(float), times, side="right") - 1, 0) for free in wide]
    free_bytes = np.array([free.to_numpy(float)[rows] for free, rows in zip(wide, at, strict=True)])
    usable = free_bytes[..., ::-1].cumsum(axis=-1)[..., ::-1]
    whole = usable[..., :1]
    index = np.where(whole > 0, 1 - usable / np.maximum(whole, 1), 1.0)
    sizes = [int(size) for size in wide[0].columns]
    return _Point(times, sizes, free_bytes.mean(axis=0), index.mean(axis=0), pageblock_bytes, len(wide))


def _wide(samples: pd.DataFrame, page_size: int) -> pd.DataFrame:
    """Free bytes of all zones: a row for each time, a column for each block size."""
    table = samples.pivot_table(index="time_ns", columns="order", values="free_pages", aggfunc="sum") * page_size
    return table.rename(columns=lambda order: page_size << int(order))


class _Band(NamedTuple):
    """Block sizes that share a shade."""

    first: int
    last: int
    line: dict[str, Any]  # the look of the index of the first: the share of free memory in the bands below

    @property
    def label(self) -> str:
        """The sizes, smallest and largest."""
        return " to ".join(format_size(size) for size in dict.fromkeys((self.first, self.last)))


def _bands(sizes: list[int], pageblocks: set[int]) -> list[_Band]:
    """No more bands than can be told apart in grey; a pageblock begins one."""
    count = min(len(sizes), BANDS_MAX)
    starts = sorted({len(sizes) * k // count for k in range(count)})
    for size in sorted(pageblocks.intersection(sizes[1:])):
        at = sizes.index(size)
        nearest = min(range(1, count), key=lambda k: abs(starts[k] - at))
        starts[nearest] = at
    starts = sorted(set(starts))
    ends = [*(start - 1 for start in starts[1:]), len(sizes) - 1]
    looks = [{"color": shade(k, len(starts)), "ls": DASHES[k % len(DASHES)], "lw": 1.3} for k in range(len(starts))]
    return [_Band(sizes[start], sizes[end], look) for start, end, look in zip(starts, ends, looks, strict=True)]


def _stack(axes: Any, times: Reals, point: _Point, bands: list[_Band], one: float) -> None:
    """Free memory, the smallest blocks at the bottom."""
    below = np.zeros(len(times))
    for band in bands:
        is_of_band = [band.first <= size <= band.last for size in point.block_bytes]
        above = below + point.free_bytes[:, is_of_band].sum(axis=1) / one
        axes.fill_between(times, below, above, color=band.line["color"], lw=0)
        axes.plot(times, above, color="w", lw=0.5)
        below = above


def _table(point: _Point, times: Reals, free: Reals) -> pd.DataFrame:
    """A row for each time and block size, in the units that are shown."""
    nr_times, nr_sizes = free.shape
    return pd.DataFrame(
        {
            "time": np.repeat(times, nr_sizes),
            "block_bytes": np.tile(point.block_bytes, nr_times),
            "n": point.nr_runs,
            "free": free.ravel(),
            "unusable_index": point.unusable.ravel(),
        }
    )


def _axes(sheet: Sheet, nr_columns: int, x: str, y: str) -> None:
    label_axes(sheet, x, y)
    index = sheet.panels[nr_columns]
    index.set_ylabel(wrapped(sheet.figure, "unusable free space index", 8, sheet.panel_inches - 0.7, lines=2))
    index.set_ylim(-0.03, 1.03)
    time_axes(sheet)
    for axes in sheet.panels:
        numbers(axes.yaxis)


def _answer(roles: Roles, points: dict[int, _Point]) -> str:
    """How much of what is free at the end no pageblock can use."""
    axis = roles.of["panels"]
    sizes = {point.pageblock_bytes for point in points.values()}
    size = f" ({format_size(sizes.pop())})" if len(sizes) == 1 else ""
    shares = []
    for panel, point in points.items():
        index = point.unusable[-1, point.block_bytes.index(point.pageblock_bytes)]
        level = f" ({plain(axis.levels[panel], LEVEL_MAX)})" if axis is not None else ""
        shares.append(f"{brief(100 * index)} %{level}")
    return f"Of free memory at the end, blocks smaller than a pageblock{size} hold {', '.join(shares)}."
