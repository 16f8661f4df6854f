"""The figure of fragmentation: what it shows is what the kernel's index says of the same free blocks."""

from dataclasses import dataclass
from types import SimpleNamespace
from typing import Any

import numpy as np
import pandas as pd
import pytest

from kmsim.config.inquiry import FigureConfig
from kmsim.mm.vmstat import unusable_free_index
from kmsim.plots.fragmentation import fragmentation
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
