"""The sentence that a figure ends in says what the intervals and the model's error allow, and no more."""

from typing import Any

import numpy as np
import pandas as pd
import pytest

from kmsim.config.inquiry import FigureConfig
from kmsim.plots.extremes import lowest_and_highest
from kmsim.plots.heatmap import heatmap
from kmsim.plots.pareto import _answer, _beaten, _with_front
from kmsim.study.estimates import is_shown
from tests.plots.studies import comparison, made_up_study, order_axis, page_size_axis


def of_two(width: float, error: float = 0.0) -> str:
    """What is said of 100 and 120 ns with intervals that reach so far."""
    mean = np.array([120.0, 110.0, 100.0])
    rows = pd.DataFrame({"level": ["a", "b", "c"], "mean": mean, "ci_low": mean - width, "ci_high": mean + width})
    return lowest_and_highest(rows.assign(model_error=error), ["level"], "ns")


@pytest.mark.parametrize(
    ("width", "error", "said"),
    [
        (2.0, 0.0, "The lowest is 100 ns (c), the highest 120 ns (a)."),
        (2.0, 10.0, "The lowest is 100 ns (c), the highest 120 ns (a)."),
        (2.0, 17.0, "The lowest, 100 ns (c), and the highest, 120 ns (a), differ by no more than the model's error."),
        (2.0, np.nan, "The lowest is 100 ns (c), the highest 120 ns (a); the model's error is not known."),
        (10.5, 0.0, "The lowest, 100 ns (c), and the highest, 120 ns (a), are not told apart by their intervals."),
        (
            np.nan,
            0.0,
            "The lowest is 100 ns (c), the highest 120 ns (a), without an interval: other seeds may differ.",
        ),
    ],
    ids=["shown", "above the error", "within the error", "never measured", "overlap", "one seed"],
)
def test_an_order_is_said_where_it_is_shown(width: float, error: float, said: str) -> None:
    assert of_two(width, error) == said


def test_units_and_what_is_the_same() -> None:
    rows = pd.DataFrame({"mean": [3000.0, 3000.0], "ci_low": np.nan, "ci_high": np.nan})
    assert lowest_and_highest(rows, [], "us", 1e3) == "It is 3 µs everywhere."
    assert lowest_and_highest(rows[:1], [], "us", 1e3, of="At the end, ") == "At the end, it is 3 µs."
    assert lowest_and_highest(rows[:0], [], "us") == ""


def marks(width: float) -> pd.DataFrame:
    """Four marks: two of the front, one that is close behind it, one that is far behind."""
    x, y = np.array([1.0, 5.0, 5.1, 9.0]), np.array([5.0, 1.0, 1.1, 9.0])
    ends = {f"{way}_{end}": v + s * width for way, v in (("x", x), ("y", y)) for end, s in (("low", -1), ("high", 1))}
    return pd.DataFrame({"level": list("abcd"), "x": x, "y": y, **ends})


@pytest.mark.parametrize(
    ("width", "also"),
    [(0.01, "."), (0.3, "; 1 more is not told apart from these by the intervals."), (9.0, "; 2 more are not told ")],
)
def test_what_none_beats_is_said_by_means_and_by_intervals(width: float, also: str) -> None:
    data = _with_front(marks(width), (1, 1))
    said = _answer(data.assign(is_beaten=_beaten(data, (1, 1))), ["level"])
    assert said.startswith(f"By their means, 2 of 4 are beaten by none in both: a; b{also}")


@pytest.mark.parametrize("worse", [(1, 1), (1, -1), (-1, 1), (-1, -1)])
def test_a_mark_is_beaten_where_one_is_wholly_better_in_both(worse: tuple[int, int]) -> None:
    rng = np.random.default_rng(5)
    x, y = rng.normal(size=(2, 60))
    wide = rng.random((2, 60)) / 3
    ends = {"x_low": x - wide[0], "x_high": x + wide[0], "y_low": y - wide[1], "y_high": y + wide[1]}
    data = pd.DataFrame({"x": x, "y": y, **ends})

    def best(row: Any, way: str, sign: int) -> float:
        return float(row[f"{way}_low"] if sign > 0 else -row[f"{way}_high"])

    def worst(row: Any, way: str, sign: int) -> float:
        return float(row[f"{way}_high"] if sign > 0 else -row[f"{way}_low"])

    rows = data.to_dict("records")
    expected = [
        any(all(worst(q, way, s) < best(p, way, s) for way, s in zip("xy", worse, strict=True)) for q in rows)
        for p in rows
    ]
    assert _beaten(data, worse).tolist() == expected
    assert 0 < sum(expected) < len(expected)


def test_stars_are_on_the_cells_that_differ_from_the_baseline() -> None:
    axes = (page_size_axis(), order_axis(9, 10))
    study = made_up_study(*axes, replications=6, comparisons=[comparison(axes[0], ("latency_mean",))])
    figure = heatmap(study, FigureConfig(kind="heatmap", colour="latency_mean")).figure
    starred = {
        (round(text.get_position()[0]), round(text.get_position()[1]))
        for text in figure.axes[0].texts
        if text.get_text().endswith("*")
    }
    shown = study.comparisons[is_shown(study.comparisons)]
    sizes, orders = (list(axis.levels) for axis in axes)
    pairs = zip(shown["page_size"], shown["max_page_order"], strict=True)
    assert starred == {(sizes.index(size), orders.index(order)) for size, order in pairs}
    assert len(starred) > 1
    assert "*: differs from page size 4KiB" in " ".join(" ".join(text.get_text() for text in figure.texts).split())
