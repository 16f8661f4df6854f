"""The figure of fragmentation: what it shows is what the kernel's index says of the same free blocks."""

from dataclasses import dataclass
from types import SimpleNamespace
from typing import Any

import numpy as np
import pandas as pd
import pytest

from kmsim.config.inquiry import FigureConfig
from kmsim.mm.vmstat import unusable_free_index
from kmsim.plots.fragmentation import BANDS_MAX, _bands, fragmentation
from tests.plots.studies import MadeUpStudy, made_up_study, order_axis

ORDERS = 4
PAGE = 4096


@dataclass(frozen=True)
class Given(MadeUpStudy):
    """A study whose runs have these samples."""

    samples: tuple[pd.DataFrame, ...] = ()

    def run(self, number: int) -> Any:
        return SimpleNamespace(samples=self.samples[number], page_size_bytes=PAGE)


def samples(times: list[float], nr_free: list[list[int]]) -> pd.DataFrame:
    """A sample of one zone at each time, from its free blocks by order."""
    rows = [
        {"time_ns": time, "zone": "DMA32", "order": order, "free_pages": count << order}
        for time, counts in zip(times, nr_free, strict=True)
        for order, count in enumerate(counts)
    ]
    return pd.DataFrame(rows, columns=["time_ns", "zone", "order", "free_pages"])


def given(*tables: pd.DataFrame) -> Given:
    """A study of one point (largest order 3, as its pageblock) with a run for each table."""
    study = made_up_study(order_axis(ORDERS - 1), replications=len(tables), comparisons=[])
    return Given(**{**study.__dict__, "samples": tables})


def shown(study: Given) -> tuple[pd.DataFrame, str]:
    """Its data, and what it says below."""
    drawn = fragmentation(study, FigureConfig(kind="fragmentation"))
    return drawn.data, " ".join(text.get_text() for text in drawn.figure.texts).replace("\n", " ")


def test_the_index_is_the_kernels() -> None:
    rng = np.random.default_rng(1)
    counts = [rng.integers(0, 50, ORDERS).tolist() for _ in range(20)] + [[0] * ORDERS, [3, 0, 0, 0], [0, 0, 0, 7]]
    data, said = shown(given(samples([float(t) for t in range(len(counts))], counts)))
    assert data["block_bytes"].tolist() == [PAGE << order for order in range(ORDERS)] * len(counts)
    index = data["unusable_index"].to_numpy().reshape(-1, ORDERS)
    expected = [[unusable_free_index(row, order) for order in range(ORDERS)] for row in counts]
    assert (1000 * index + 1e-9).astype(int).tolist() == expected
    assert "blocks smaller than a pageblock (32KiB) hold 0 %." in said


def test_runs_are_averaged_at_every_time_of_any() -> None:
    one = samples([0.0, 10.0], [[0, 0, 0, 2], [4, 0, 0, 0]])
    other = samples([0.0, 5.0], [[0, 0, 0, 2], [8, 0, 0, 1]])
    data, said = shown(given(one, other))
    assert data["n"].unique().tolist() == [2]
    per_time = data.groupby("time")
    assert per_time["free"].sum().tolist() == [64, 64, 40]
    largest = data[data["block_bytes"] == PAGE << 3]
    assert largest["unusable_index"].tolist() == [0.0, 0.25, 0.75]
    assert "n = 2 runs" in said
    assert "hold 75 %." in said


def test_a_run_without_samples_is_left_out() -> None:
    data, said = shown(given(samples([], []), samples([0.0], [[1, 1, 1, 1]])))
    assert data["n"].unique().tolist() == [1]
    assert "n = 1 run;" in said
    nothing, said = shown(given(samples([], [])))
    assert nothing.empty
    assert "n = 0 runs" in said


@pytest.mark.parametrize(("size", "panels"), [("column", 2), ("page", 3)])
def test_as_many_levels_as_stand_beside_each_other(size: str, panels: int) -> None:
    study = made_up_study(order_axis(), replications=1, comparisons=[])
    drawn = fragmentation(study, FigureConfig(kind="fragmentation", size=size))
    assert drawn.data["max_page_order"].nunique() == panels
    assert len(drawn.figure.axes) == 2 * panels
    assert f"{panels} of 6 levels of largest block (order) drawn" in " ".join(
        text.get_text() for text in drawn.figure.texts
    ).replace("\n", " ")


def test_bands_can_be_told_apart_in_grey_and_a_pageblock_begins_one() -> None:
    sizes = [PAGE << order for order in range(13)]
    bands = _bands(sizes, {2 << 20})
    assert len(bands) == BANDS_MAX
    assert [size for band in bands for size in sizes if band.first <= size <= band.last] == sizes
    assert 2 << 20 in [band.first for band in bands]
    assert (bands[0].label, bands[-1].first) == ("4KiB to 8KiB", 4 << 20 if bands[-2].first == 2 << 20 else 2 << 20)
    grey = [float(np.dot(band.line["color"][:3], (0.299, 0.587, 0.114))) for band in bands]
    assert min(-np.diff(grey)) > 0.08
    assert len({str(band.line["ls"]) for band in bands}) == BANDS_MAX
    assert [band.label for band in _bands(sizes[:2], {PAGE << 1})] == ["4KiB", "8KiB"]


def test_a_line_is_the_share_in_the_bands_below() -> None:
    study = made_up_study(order_axis(12), replications=1, comparisons=[])
    counts = [[7] * 13, [3, *[1] * 12]]
    figure = fragmentation(
        Given(**{**study.__dict__, "samples": (samples([0.0, 1e6], counts),)}), FigureConfig(kind="fragmentation")
    ).figure
    below = [line.get_ydata()[-1] for line in figure.axes[1].lines]
    bands = _bands([PAGE << order for order in range(13)], {PAGE << 9})
    orders = [(band.first // PAGE).bit_length() - 1 for band in bands[1:]]
    assert below == pytest.approx([unusable_free_index(counts[1], order) / 1000 for order in orders], abs=0.001)


def test_all_panels_have_room_for_the_fullest() -> None:
    study = made_up_study(order_axis(ORDERS - 2, ORDERS - 1), replications=1, comparisons=[])
    tables = tuple(samples([0.0, 1e6], [[0, 0, 0, full]] * 2) for full in (7, 900))
    figure = fragmentation(Given(**{**study.__dict__, "samples": tables}), FigureConfig(kind="fragmentation")).figure
    least = 900 * (PAGE << 3) / (1 << 20)
    assert all(axes.get_ylim()[1] >= least for axes in figure.axes[:2])
