"""The figures of one run: what a result's tables show, for a paper's column.

Each figure answers one question, which is its title; axes carry units, colours are seaborn's
colour-blind palette with line styles beside them, and each figure is written as PNG and PDF.
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

from kmsim.study.store import Result

COLUMN_INCHES = (4.6, 3.2)
STYLE: dict[Any, Any] = {"font.size": 9, "pdf.fonttype": 42, "savefig.dpi": 200}


def draw_all(result: Result, folder: Path) -> list[Path]:
    """Draw every figure of a run into `folder`; the PNG files written."""
    mpl.use("Agg")
    folder.mkdir(parents=True, exist_ok=True)
    figures: dict[str, Callable[[Result, Any], None]] = {
        "latency": latency,
        "free_memory": free_memory,
        "lock_waiting": lock_waiting,
    }
    written = []
    for name, draw in figures.items():
        with sns.axes_style("whitegrid"), mpl.rc_context(STYLE), sns.color_palette("colorblind"):
            figure, axes = plt.subplots(figsize=COLUMN_INCHES)
            figure.subplots_adjust(left=0.15, right=0.97, bottom=0.15, top=0.91)
            draw(result, axes)
            # No creation date: the same run gives the same bytes.
            figure.savefig(folder / f"{name}.pdf", metadata={"CreationDate": None})
            figure.savefig(folder / f"{name}.png", metadata={"Software": None})
            plt.close(figure)
        written.append(folder / f"{name}.png")
    return written


def latency(result: Result, axes: Any) -> None:
    """The share of operations that take longer than a given time, for each kind and order."""
    histograms: pd.DataFrame = result.histograms
    styles = ("-", "--", "-.", ":")
    for i, ((kind, order), part) in enumerate(histograms.groupby(["kind", "order"], sort=True)):
        by_bucket = part.groupby("high_ns")["count"].sum().sort_index()
        total = by_bucket.sum()
        longer = 1 - by_bucket.cumsum() / total
        x = np.concatenate(([0.97 * part["low_ns"].min()], by_bucket.index))
        y = np.concatenate(([1.0], longer))
        label = f"{kind}, order {order} (n = {total:,})"
        axes.step(x, np.where(y > 0, y, np.nan), where="post", linestyle=styles[i % len(styles)], label=label)
    axes.set(
        xscale="log",
        yscale="log",
        xlabel="latency (ns)",
        ylabel="share of operations that take longer",
        title="How long does an operation take?",
    )
    axes.legend(fontsize="small")


def free_memory(result: Result, axes: Any) -> None:
    """Free memory by the order of its blocks, over simulated time."""
    samples: pd.DataFrame = result.samples
    page_kib = result.page_size_bytes / 1024
    wide = samples.pivot_table(index="time_ns", columns="order", values="free_pages", aggfunc="sum")
    shown = wide * page_kib / 1024
    colours = sns.color_palette("cividis", n_colors=shown.shape[1])
    axes.stackplot(
        shown.index / 1e6, shown.to_numpy().T, labels=[f"order {order}" for order in shown], colors=colours
    )
    axes.set(
        xlabel="simulated time (ms)",
        ylabel="free memory (MiB)",
        title="In blocks of which order is memory free?",
        xlim=(0, shown.index.max() / 1e6),
    )
    handles, labels = axes.get_legend_handles_labels()
    axes.legend(handles[::-1], labels[::-1], fontsize="x-small", loc="center left", bbox_to_anchor=(1.0, 0.5))
    axes.figure.subplots_adjust(right=0.8)


def lock_waiting(result: Result, axes: Any) -> None:
    """The share of its time that each CPU waited for zone locks."""
    cpus: pd.DataFrame = result.cpus
    share = 100 * cpus["lock_wait_ns"] / cpus["run_ns"]
    sns.barplot(x=cpus["cpu"], y=share, ax=axes, color=sns.color_palette("colorblind")[0], errorbar=None)
    axes.set(xlabel="CPU", ylabel="time waiting for zone locks (%)", title="How long does each CPU wait?")
