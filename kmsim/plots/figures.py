"""The figures of one run: what a result's tables show, for a paper's column.

Each figure answers one question, which is its title; axes carry units, a legend says how many
observations are behind it, and each can be written as PNG and as PDF. The look is that of `kmsim.plots.style`;
where lines may cover each other, they differ in width as well.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any, NamedTuple

import matplotlib as mpl
import numpy as np
import pandas as pd
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.colors import LogNorm
from matplotlib.figure import Figure
from matplotlib.patches import Patch
from matplotlib.ticker import FixedLocator, LogLocator, MultipleLocator, NullFormatter

from kmsim.plots.drawn import Drawn, write_drawn
from kmsim.plots.lettering import with_unit
from kmsim.plots.style import DASHES, PLAIN, legend_below, shade, styled
from kmsim.study.store import FIGURES, Result
from kmsim.study.summary import what_is_asked_for
from kmsim.units import time_unit

NAMES = FIGURES
COLUMN_INCHES = (4.6, 3.2)
TWO_COLUMNS_INCHES = (7.4, 3.1)
LEGEND_ROW_INCHES = 0.17
PANELS = {"alloc": "allocations", "free": "frees"}
LABEL_LENGTH_OF_TWO = 24  # of a legend's entries, so that two of them fit under a panel
FEW_CPUS = 32  # above, bars have no room between them
COLUMNS_MAX = 800
LINES_MAX = 14  # as many as there are orders; more cannot be told apart
OTHERS = "others"
# What `lock_waiting` shows, from the bottom up.
PARTS = {
    "waiting for locks": ["lock_wait_ns"],
    "holding locks": ["lock_hold_ns"],
    "fetching cache lines": ["cache_lines_ns"],
    "instructions": ["instructions_ns"],
    "switching and other": ["switch_ns", "interrupt_ns", "unfinished_ns"],
    "idle": ["idle_ns"],
}
PART_SHADES = (0.0, 0.75, 0.3, 1.0, 0.55)  # two that touch differ most; waiting is the darkest


def draw_all(
    result: Result, folder: Path, formats: Iterable[str] = ("png",), names: Iterable[str] | None = None
) -> list[Path]:
    """Draw the figures of a run (or those named) into `folder`, each with its data as CSV; the files written.

    A run draws PNG only: embedding fonts in three PDFs takes half a second of its four.
    """
    written: list[Path] = []
    for name in NAMES if names is None else names:
        written += write_drawn(_drawn(result, name), folder, name, formats)
    return written


def figure_of_run(result: Result, name: str) -> Any:
    """The figure of one of `NAMES`, as a matplotlib Figure."""
    return _drawn(result, name).figure


def _drawn(result: Result, name: str) -> Drawn:
    draw: dict[str, Callable[[Result], Drawn]] = dict(zip(NAMES, (latency, free_memory, lock_waiting), strict=True))
    with styled():
        drawn = draw[name](result)
        # Lay it out once, not once for each file.
        drawn.figure.get_layout_engine().execute(drawn.figure)
        drawn.figure.set_layout_engine("none")
    return drawn


def _subplots(columns: int, size: tuple[float, float], **shared: bool) -> tuple[Any, Any]:
    """A figure with a row of panels, unknown to pyplot, which would show it a second time in a notebook; its panels."""
    figure: Any = Figure(figsize=size, layout="constrained")
    FigureCanvasAgg(figure)
    return figure, figure.subplots(1, columns, **shared)


def latency(result: Result) -> Drawn:
    """The share of operations that take longer than a given time: a panel for each kind, a line for each order.

    Where not only pages are asked for, a line for each allocator's cache or order.
    """
    lines = _lines(result)
    histograms: pd.DataFrame = result.histograms.assign(line=lines.of(result.histograms))
    operations: pd.DataFrame = result.operations.assign(line=lines.of(result.operations))
    labels = {(kind, line): _label(operations, kind, line) for kind in PANELS for line in lines.names}
    ncols = 2 if max(map(len, labels.values()), default=0) <= LABEL_LENGTH_OF_TWO else 1
    width, height = TWO_COLUMNS_INCHES
    height += LEGEND_ROW_INCHES * -(-len(lines.names) // ncols)
    figure, panels = _subplots(2, (width, height), sharex=True, sharey=True)
    figure.suptitle("How long does an operation take?")
    least = min(8.0, 40 / max(histograms.groupby(["kind", "line"])["count"].sum(), default=1))
    curves = [pd.DataFrame(columns=["kind", "line", "latency_ns", "longer_percent"])]
    for axes, kind in zip(panels, PANELS, strict=True):
        for i, line in enumerate(lines.names):
            look = {"color": shade(i, len(lines.names)), "linestyle": DASHES[i % len(DASHES)]}
            # Each line is darker and thinner than the one below it: lines that coincide can be told apart.
            look["linewidth"] = 3.4 - 2 * i / max(len(lines.names) - 1, 1)
            part = histograms[(histograms["kind"] == kind) & (histograms["line"] == line)]
            if labels[kind, line]:
                times, longer = _longer(part, least)
                axes.step(times, longer, where="post", label=labels[kind, line], **look)
                curve = {"kind": kind, "line": line, "latency_ns": times, "longer_percent": longer}
                curves += [pd.DataFrame(curve)] if len(times) else []
        axes.set(xscale="log", yscale="log", xlabel="latency (ns)")
        axes.set_title(PANELS[kind], fontsize="medium")
        if axes.lines:
            legend_below(axes, ncols=ncols, handlelength=3)
        else:
            axes.plot([], [], label="none (n = 0)")
            axes.legend(fontsize="small", loc="center", handlelength=0)
    panels[0].set(ylabel="share that takes longer (%)", ylim=(least, 160))
    panels[0].yaxis.set_major_formatter(PLAIN)
    _time_axis(panels[0], histograms)
    for axes in panels:
        axes.minorticks_off()  # hundreds of ticks, half a second
    return Drawn(figure, pd.concat(curves[1:] or curves, ignore_index=True))


class _Lines(NamedTuple):
    """The lines of `latency`, in order; what has none of its own is in the last."""

    names: list[str]

    def of(self, table: pd.DataFrame) -> list[str]:
        """The line of each row."""
        own = set(self.names)
        return [what if what in own else OTHERS for what in what_is_asked_for(table)]


def _lines(result: Result) -> _Lines:
    """A line for each thing that is asked for, by allocator, size and name; of many things, for the most frequent."""
    sizes = dict(zip(result.slabs["cache"], result.slabs["object_size"], strict=True))
    operations = result.operations.assign(what=what_is_asked_for(result.operations))
    by = operations.assign(size=[sizes.get(cache, 0) for cache in operations["cache"]])
    names = by.sort_values(["api", "order", "size", "cache"])["what"].drop_duplicates().tolist()
    if len(names) <= LINES_MAX:
        return _Lines(names)
    most = set(operations.groupby("what")["count"].sum().nlargest(LINES_MAX - 1).index)
    return _Lines([*(name for name in names if name in most), OTHERS])


def _longer(part: pd.DataFrame, least: float) -> tuple[Any, Any]:
    """One line, from 100 % down to the bottom of the axis, where it ends at the longest time; none of nothing."""
    if part.empty:
        return [], []
    by_bucket = part.groupby("high_ns")["count"].sum().sort_index()
    longer = 100 * (1 - by_bucket.cumsum() / by_bucket.sum())
    return np.concatenate(([1e-3], by_bucket.index)), np.concatenate(([100.0], longer)).clip(min=least)


def _label(operations: pd.DataFrame, kind: str, line: str) -> str:
    """A line, how many operations are behind it, and how many failed and are not in it; empty where none."""
    rows = operations[(operations["kind"] == kind) & (operations["line"] == line)]
    failed = int(rows["failed"].sum())
    counted = f"n = {_count(int(rows['count'].sum()))}" + (f", {_count(failed)} failed" if failed else "")
    return f"{line} ({counted})" if len(rows) else ""


def _count(count: int) -> str:
    """A number in at most 7 characters: 13,520; 1.35 M; 13,500 M."""
    return f"{count:,}" if count < 1_000_000 else f"{float(f'{count / 1e6:.3g}'):,g} M"


def _time_axis(axes: Any, histograms: pd.DataFrame) -> None:
    """A logarithmic axis around all latencies with plain numbers, also where all are nearly the same."""
    if histograms.empty:
        return
    shortest = max(float(histograms["low_ns"].min()), 0.1)
    longest = max(float(histograms["high_ns"].max()), shortest)
    margin = max(1.3, (10 * shortest / longest) ** 0.5)  # at least a decade, so that there are a few numbers
    axes.set_xlim(shortest / margin, longest * margin)
    axes.xaxis.set_major_locator(LogLocator(subs=(1.0,) if longest > 100 * shortest else (1.0, 2.0, 5.0)))
    axes.xaxis.set_major_formatter(PLAIN)
    axes.xaxis.set_minor_formatter(NullFormatter())


def free_memory(result: Result) -> Drawn:
    """Free memory by the order of its blocks, over simulated time: a row for each order, its last value beside it."""
    samples: pd.DataFrame = result.samples
    taken = samples["time_ns"].drop_duplicates().to_numpy()
    # No more samples than there are columns of dots on paper: every so many, counted from the last.
    drawn = taken[::-1][:: -(-len(taken) // COLUMNS_MAX)]
    nr_samples = f"{len(drawn)} of {len(taken):,}" if len(drawn) < len(taken) else f"{len(taken)}"
    shown = samples[samples["time_ns"].isin(drawn)]
    wide = shown.pivot_table(index="order", columns="time_ns", values="free_pages", aggfunc="sum")
    mib = wide * result.page_size_bytes / (1 << 20)
    unit, scale = time_unit(mib.columns[-1])
    times = mib.columns.to_numpy() / scale
    figure, axes = _subplots(1, COLUMN_INCHES)
    most = max(float(mib.max().max()), result.page_size_bytes / (1 << 20))
    least = min(max(result.page_size_bytes / (1 << 20), most / 1e6), most / 10)
    edges = np.append(times, 1.02 * times[-1] + 1e-9)  # the last sample's column: narrow, as it is the end
    free = np.ma.masked_equal(mib.to_numpy(), 0)
    rows = np.arange(-0.5, len(mib))
    mesh = axes.pcolormesh(edges, rows, free, cmap="cividis_r", norm=LogNorm(least, most), rasterized=True)
    axes.set_facecolor("white")
    axes.grid(False)
    for order, last in enumerate(mib.iloc[:, -1]):
        axes.annotate(_short(last), (1.02, order), xycoords=("axes fraction", "data"), va="center", fontsize="small")
    axes.annotate("at the end", (1.02, 1.01), xycoords="axes fraction", va="bottom", fontsize="small")
    axes.set(xlabel=with_unit("simulated time", unit), ylabel="order of the blocks")
    axes.xaxis.set_major_formatter(PLAIN)
    figure.suptitle("In blocks of which order is memory free?")
    axes.yaxis.set_major_locator(FixedLocator(list(range(len(mib)))))
    figure.colorbar(mesh, ax=axes, label="free memory (MiB)", pad=0.16, format=PLAIN)
    none = Patch(facecolor="white", edgecolor="0.6", label=f"none free (n = {nr_samples} samples)")
    legend_below(axes, handles=[none])
    data = mib.rename_axis(columns="time_ns").stack().rename("free_mib").reset_index()
    return Drawn(figure, data.sort_values(["time_ns", "order"])[["time_ns", "order", "free_mib"]])


def lock_waiting(result: Result) -> Drawn:
    """How each CPU spent its time, from the bottom up: waiting for locks, then all else but idling."""
    cpus: pd.DataFrame = result.cpus
    run_ns = cpus["run_ns"].where(cpus["run_ns"] > 0)
    shares = {
        label: (100 * cpus[columns].sum(axis=1) / run_ns).fillna(0.0).to_numpy() for label, columns in PARTS.items()
    }
    idle = shares.pop("idle")
    width, height = COLUMN_INCHES
    figure, axes = _subplots(1, (width, height + 2 * LEGEND_ROW_INCHES))
    below = np.zeros(len(cpus))
    for i, (label, share) in enumerate(shares.items()):
        colour = mpl.colormaps["cividis"](PART_SHADES[i])
        _bars(axes, below, below + share, color=colour, label=f"{label} ({_percent(share.mean())})")
        below = below + share
    rest = Patch(facecolor="white", edgecolor="0.6", label=f"the rest: idle ({_percent(idle.mean())})")
    top = min(1.05 * below.max(), 100) if below.max() > 0 else 1
    axes.set(xlabel="CPU", ylabel="share of the CPU's time (%)", title="How long does each CPU wait for locks?")
    axes.set(xlim=(-0.6, len(cpus) - 0.4), ylim=(0, top))
    axes.xaxis.set_major_locator(MultipleLocator(1 << max((len(cpus) - 1).bit_length() - 3, 0)))
    axes.xaxis.grid(False)
    handles = [*axes.get_legend_handles_labels()[0], rest]
    legend_below(axes, ncols=2, handles=handles, title=f"mean over all CPUs (n = {len(cpus)})", title_fontsize="small")
    shown = {f"{label} (%)": share for label, share in (*shares.items(), ("idle", idle))}
    return Drawn(figure, pd.DataFrame({"CPU": cpus["cpu"], **shown}))


def _bars(axes: Any, bottom: Any, top: Any, **look: Any) -> None:
    """A bar for each CPU, drawn as one path: 256 CPUs times five parts are too many to draw one by one."""
    cpus = np.arange(len(top))
    half = 0.4 if len(cpus) <= FEW_CPUS else 0.5
    edges = np.column_stack((cpus - half, cpus + half)).ravel()
    nothing = np.zeros(len(cpus))
    outline = [np.column_stack((side, nothing)).ravel() for side in (bottom, top)]
    axes.fill_between(edges, *outline, step="post", linewidth=0, **look)


def _percent(share: float) -> str:
    """A mean share in few characters, 0 only where it is."""
    return f"{share:.0f} %" if share == 0 or share >= 10 else f"{share:.2g} %"


def _short(mib: float) -> str:
    """A size in few characters: 904 MiB, 1.2 MiB, 8 KiB, none."""
    if not mib:
        return "none"
    value, unit = (mib * 1024, "KiB") if mib < 1 else (mib, "MiB") if mib < 1024 else (mib / 1024, "GiB")
    return f"{value:.0f} {unit}" if value >= 10 or value == int(value) else f"{value:.1f} {unit}"
