"""The figures of one run: what a result's tables show, for a paper's column.

Each figure answers one question, which is its title; axes carry units, a legend says how many
observations are behind it, and each is written as PNG and PDF. Colours are ordered from dark to light,
so they read the same to every eye and on a grey printer; where lines may cover each other,
they differ in dashes and width as well.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import matplotlib as mpl
import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import seaborn as sns
from matplotlib.colors import LogNorm
from matplotlib.lines import Line2D
from matplotlib.patches import Patch
from matplotlib.ticker import FixedLocator, FuncFormatter, LogLocator, MaxNLocator, NullFormatter, NullLocator

from kmsim.study.store import Result

COLUMN_INCHES = (4.6, 3.2)
TWO_COLUMNS_INCHES = (7.4, 3.6)
STYLE: dict[Any, Any] = {"font.size": 9, "pdf.fonttype": 42, "savefig.dpi": 200}
DASHES: tuple[Any, ...] = ("-", (0, (4, 1)), (0, (1, 1)), (0, (5, 1, 1, 1)), (0, (3, 1, 1, 1, 1, 1)))
FEW_CPUS = 32  # above, bars and their labels have no room


def draw_all(result: Result, folder: Path) -> list[Path]:
    """Draw every figure of a run into `folder`; the PNG files written."""
    mpl.use("Agg")
    folder.mkdir(parents=True, exist_ok=True)
    figures: dict[str, Callable[[Result], Any]] = {
        "latency": latency,
        "free_memory": free_memory,
        "lock_waiting": lock_waiting,
    }
    written = []
    for name, draw in figures.items():
        with sns.axes_style("whitegrid"), mpl.rc_context(STYLE):
            figure = draw(result)
            # No creation date: the same run gives the same bytes.
            figure.savefig(folder / f"{name}.pdf", metadata={"CreationDate": None})
            figure.savefig(folder / f"{name}.png", metadata={"Software": None})
            plt.close(figure)
        written.append(folder / f"{name}.png")
    return written


def latency(result: Result) -> Any:
    """The share of operations that take longer than a given time: a panel for each kind, a line for each order."""
    histograms: pd.DataFrame = result.histograms
    orders = sorted(result.operations["order"].unique())
    figure, panels = plt.subplots(1, 2, figsize=TWO_COLUMNS_INCHES, sharex=True, sharey=True, layout="constrained")
    figure.suptitle("How long does an operation take?")
    least = 0.4 / max(histograms.groupby(["kind", "order"])["count"].sum(), default=1)
    for axes, kind in zip(panels, ("alloc", "free"), strict=True):
        for i, order in enumerate(orders):
            look = {"color": _shade(i, len(orders)), "linestyle": DASHES[i % len(DASHES)]}
            # Each line is thinner than the one below it: lines that coincide can be told apart.
            look["linewidth"] = 3.2 - 2 * i / max(len(orders) - 1, 1)
            part = histograms[(histograms["kind"] == kind) & (histograms["order"] == order)]
            if not part.empty:
                _longer(axes, part, least, f"order {order} ({_of_n(result, kind, order)})", look)
        axes.set(xscale="log", yscale="log", xlabel="latency (ns)", title={"alloc": "allocations", "free": "frees"}[kind])
        if axes.lines:
            axes.legend(fontsize="small", loc="upper center", bbox_to_anchor=(0.5, -0.2), ncols=2, handlelength=3)
        else:
            axes.plot([], [], label="n = 0")
            axes.legend(fontsize="small", loc="center", handlelength=0)
    panels[0].set(ylabel="share that takes longer", ylim=(least, 1.6))
    _time_axis(panels[0], histograms)
    return figure


def _longer(axes: Any, part: pd.DataFrame, least: float, label: str, look: dict[str, Any]) -> None:
    """One line, from 1 down to the bottom of the axis, where it ends at the longest time."""
    by_bucket = part.groupby("high_ns")["count"].sum().sort_index()
    longer = 1 - by_bucket.cumsum() / by_bucket.sum()
    x = np.concatenate(([part["low_ns"].min() / 2], by_bucket.index))
    y = np.concatenate(([1.0], longer)).clip(min=least)
    y[-1] = least
    axes.step(x, y, where="post", label=label, **look)


def _of_n(result: Result, kind: str, order: int) -> str:
    """How many operations are behind a line, and how many failed and are not in it."""
    operations = result.operations
    rows = operations[(operations["kind"] == kind) & (operations["order"] == order)]
    failed = int(rows["failed"].sum())
    return f"n = {int(rows['count'].sum()):,}" + (f", {failed:,} failed" if failed else "")


def _time_axis(axes: Any, histograms: pd.DataFrame) -> None:
    """A logarithmic axis around all latencies with plain numbers, also where all are nearly the same."""
    if histograms.empty:
        return
    shortest = max(float(histograms["low_ns"].min()), 0.1)
    longest = max(float(histograms["high_ns"].max()), shortest)
    axes.set_xlim(shortest / 1.3, longest * 1.3)
    axes.xaxis.set_major_locator(LogLocator(subs=(1.0,) if longest > 100 * shortest else (1.0, 2.0, 5.0)))
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:,g}"))
    axes.xaxis.set_minor_formatter(NullFormatter())


def free_memory(result: Result) -> Any:
    """Free memory by the order of its blocks, over simulated time: a row for each order, its last value beside it."""
    samples: pd.DataFrame = result.samples
    wide = samples.pivot_table(index="order", columns="time_ns", values="free_pages", aggfunc="sum")
    mib = wide * result.page_size_bytes / (1 << 20)
    times = mib.columns.to_numpy() / 1e6
    figure, axes = plt.subplots(figsize=COLUMN_INCHES, layout="constrained")
    most = max(float(mib.max().max()), result.page_size_bytes / (1 << 20))
    least = min(max(result.page_size_bytes / (1 << 20), most / 1e6), most / 10)
    edges = np.append(times, times[-1] + max(times[-1] / len(times), 1e-9))
    shown = np.ma.masked_equal(mib.to_numpy(), 0)
    rows = np.arange(-0.5, len(mib))
    mesh = axes.pcolormesh(edges, rows, shown, cmap="cividis_r", norm=LogNorm(least, most), rasterized=True)
    axes.set_facecolor("white")
    axes.grid(False)
    for order, last in enumerate(mib.iloc[:, -1]):
        axes.annotate(_mib(last), (1.02, order), xycoords=("axes fraction", "data"), va="center", fontsize="small")
    axes.annotate("at the\nend", (1.02, 1.01), xycoords="axes fraction", va="bottom", fontsize="small")
    axes.set(xlabel="simulated time (ms)", ylabel="order of the blocks")
    axes.set_title("In blocks of which order is memory free?")
    axes.yaxis.set_major_locator(FixedLocator(list(range(len(mib)))))
    figure.colorbar(mesh, ax=axes, label="free memory (MiB)", pad=0.14, format=FuncFormatter(lambda v, _: f"{v:,g}"))
    none = Patch(facecolor="white", edgecolor="0.6", label=f"none free (n = {len(times):,} samples)")
    axes.legend(handles=[none], fontsize="small", loc="upper center", bbox_to_anchor=(0.5, -0.18))
    return figure


def lock_waiting(result: Result) -> Any:
    """The share of its time that each CPU waited for zone locks, and the mean over all."""
    cpus: pd.DataFrame = result.cpus
    share = (100 * cpus["lock_wait_ns"] / cpus["run_ns"].where(cpus["run_ns"] > 0)).fillna(0.0)
    figure, axes = plt.subplots(figsize=COLUMN_INCHES, layout="constrained")
    bars = {"color": _shade(0, 2), "width": 0.8 if len(cpus) <= FEW_CPUS else 1.0, "linewidth": 0}
    axes.bar(cpus["cpu"], share, label=f"each CPU (n = {len(cpus)})", **bars)
    axes.axhline(share.mean(), color="black", linestyle="--", linewidth=1, label=f"mean ({share.mean():.2g} %)")
    axes.set(xlabel="CPU", ylabel="time waiting for zone locks (%)", title="How long does each CPU wait?")
    axes.set(xlim=(-0.6, len(cpus) - 0.4), ylim=(0, 1.05 * share.max() if share.max() > 0 else 1))
    axes.xaxis.set_major_locator(MaxNLocator(nbins=8, integer=True, min_n_ticks=1))
    axes.xaxis.grid(False)
    axes.legend(fontsize="small", loc="upper center", bbox_to_anchor=(0.5, -0.18), ncols=2)
    return figure


def _shade(i: int, n: int) -> tuple[float, ...]:
    """The i-th of n colours that differ in brightness, none too light for white paper."""
    return tuple(mpl.colormaps["cividis"](0.85 * i / max(n - 1, 1)))


def _mib(value: float) -> str:
    """A size in MiB in at most five characters."""
    return f"{value:,.0f}" if value >= 10 else f"{value:.2g}"
