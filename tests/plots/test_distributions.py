"""Tails, fronts, differences and series: what is drawn against numbers made by hand."""

from dataclasses import dataclass, fields, replace
from typing import Any

import numpy as np
import pandas as pd
import pytest

from kmsim.config.inquiry import FigureConfig
from kmsim.config.product import Axis
from kmsim.plots.forest import forest
from kmsim.plots.line import line
from kmsim.plots.pareto import pareto
from kmsim.plots.style import PAPER, styled
from kmsim.plots.tail import ecdf, tail
from kmsim.plots.time_series import time_series
from tests.plots.studies import MadeUpStudy, comparison, made_up_study, order_axis, page_size_axis, workload_axis

KEYS = {"kind": "alloc", "api": "pages", "gfp": "GFP_KERNEL", "order": 0, "cache": ""}
ONE = Axis("only", ("level",), None, "")


def data_of(draw: Any, result: Any, **keys: Any) -> pd.DataFrame:
    with styled(PAPER):
        found: pd.DataFrame = draw(result, FigureConfig.model_validate({"kind": "tail", **keys})).data
    return found


@dataclass(frozen=True)
class Counted(MadeUpStudy):
    """Of each run, `10 * (run + 1)` allocations of 100 ns, and one of a microsecond."""

    def histograms(self, runs: Any = None) -> pd.DataFrame:
        wanted = self.runs["run"].tolist() if runs is None else list(runs)
        rows = [(run, 100, 101, 10 * (run + 1)) for run in wanted] + [(run, 1000, 1008, 1) for run in wanted]
        return pd.DataFrame(rows, columns=["run", "low_ns", "high_ns", "count"]).assign(**KEYS)


def counted(replications: int) -> Counted:
    return Counted(**vars(made_up_study(ONE, replications=replications, comparisons=[])))


def test_a_tail_is_the_share_of_all_operations_that_take_longer() -> None:
    data = data_of(tail, counted(3))
    assert (data["n"].iloc[0], data["runs"].iloc[0]) == (63, 3)
    assert data["time"].tolist()[1:] == [101, 1008]
    assert data["share"].tolist()[:2] == pytest.approx([100, 100 * 3 / 63])
    assert data["ci_low"].iloc[1] < data["share"].iloc[1] < data["ci_high"].iloc[1]


def test_an_ecdf_is_what_a_tail_leaves() -> None:
    longer, no_longer = data_of(tail, counted(3)), data_of(ecdf, counted(3))
    assert (longer["share"] + no_longer["share"]).iloc[1] == pytest.approx(100)
    assert no_longer["share"].iloc[-1] == 100
    assert (no_longer["ci_low"] <= no_longer["ci_high"]).all()


def test_of_many_runs_the_band_is_between_runs() -> None:
    data = data_of(tail, counted(10))
    shares = sorted(100 / (10 * (run + 1) + 1) for run in range(10))
    # Of ten, the second and the ninth: 97.9 % of such intervals hold the median.
    assert data["ci_low"].iloc[1] == pytest.approx(shares[1])
    assert data["ci_high"].iloc[1] == pytest.approx(shares[8])


def test_the_front_is_what_none_beats_in_both() -> None:
    result = made_up_study(replications=3)
    data = data_of(pareto, result, x="latency_p999", y="zone_lock_wait")
    points = data[["x", "y"]].to_numpy()
    beaten = [any((other <= point).all() and (other < point).any() for other in points) for point in points]
    assert data["front"].tolist() == [not b for b in beaten]
    assert 1 < data["front"].sum() < len(data)


def test_a_forest_is_relative_where_units_differ() -> None:
    result = made_up_study(workload_axis(), replications=5, comparisons=[comparison(workload_axis())])
    data = data_of(forest, result)
    assert data["shown_unit"].unique().tolist() == ["%"]
    expected = 100 * result.comparisons["difference"] / result.comparisons["baseline_mean"].abs()
    assert data["difference"].tolist() == pytest.approx(expected.tolist())
    one = data_of(forest, result, y="latency_mean")
    assert one["shown_unit"].tolist() == ["ns"]
    assert one["difference"].tolist() == pytest.approx(result.comparisons["difference"].tolist()[:1])


def test_a_line_is_the_estimates() -> None:
    result = made_up_study(order_axis(), replications=4)
    data = data_of(line, result, y="zone_lock_wait")
    estimates = result.estimates[result.estimates["response"] == "zone_lock_wait"]
    for name in ("n", "mean", "ci_low", "ci_high"):
        assert data[name].tolist() == estimates[name].tolist()
    assert data["x"].tolist() == [6, 8, 9, 10, 11, 13]


@dataclass(frozen=True)
class Sampled(MadeUpStudy):
    """Two runs: one sampled each second up to 4 s, one every two up to 2 s."""

    def series(self, runs: Any = None) -> pd.DataFrame:
        del runs
        seconds = {0: [0, 1, 2, 3, 4], 1: [0, 2]}
        rows = [(run, "live_bytes", "", 1e9 * t, float(t + run)) for run, of in seconds.items() for t in of]
        return pd.DataFrame(rows, columns=["run", "series", "zone", "time_ns", "value"])


def test_a_series_is_the_mean_of_the_runs_that_still_go() -> None:
    result = Sampled(**vars(made_up_study(ONE, replications=2, comparisons=[])))
    data = data_of(time_series, result)
    assert data["time"].tolist() == [0, 1000, 2000, 3000, 4000]
    assert data["n"].tolist() == [2, 2, 2, 1, 1]
    assert data["mean"].tolist() == [0.5, 1.0, 2.5, 3.0, 4.0]
    assert np.isnan(data["ci_low"]).tolist() == [False, False, False, True, True]


def test_of_free_memory_more_is_better() -> None:
    axis = workload_axis("a", "b", "c")
    asked = {name: (name, 1.0, 0.0, 0.0, 0.0) for name in ("latency_mean", "memory_free")}
    result = made_up_study(axis, replications=1, comparisons=[], responses=asked)
    by_response = {"latency_mean": [1.0, 2.0, 3.0], "memory_free": [5.0, 9.0, 7.0]}
    rows = zip(result.responses["response"], result.responses["point"], strict=True)
    values = [by_response[response][point] for response, point in rows]
    told = replace(result, responses=result.responses.assign(value=values))
    data = data_of(pareto, told, x="latency_mean", y="memory_free").sort_values("x")
    assert data["front"].tolist() == [True, True, False]


def test_a_tie_in_one_is_beaten_by_less_in_the_other() -> None:
    axis = workload_axis("a", "b", "c")
    result = made_up_study(axis, replications=1, comparisons=[])
    by_response = {"latency_mean": [1.0, 2.0, 3.0], "latency_p999": [2.0, 2.0, 1.0]}
    rows = zip(result.responses["response"], result.responses["point"], strict=True)
    values = [by_response.get(response, [0.0] * 3)[point] for response, point in rows]
    tied = replace(result, responses=result.responses.assign(value=values))
    data = data_of(pareto, tied, x="latency_mean", y="latency_p999")
    assert data["front"].tolist() == [True, False, True]


@pytest.mark.parametrize("kind", ["tail", "ecdf"])
def test_microseconds_are_written_as_such(kind: str) -> None:
    study = made_up_study(page_size_axis(), order_axis(9), replications=2)

    class Slow(MadeUpStudy):
        def histograms(self, runs: Any = None) -> pd.DataFrame:
            table = study.histograms(runs)
            return table.assign(low_ns=100 * table["low_ns"], high_ns=100 * table["high_ns"])

    slow = Slow(**{field.name: getattr(study, field.name) for field in fields(study)})
    figure = {"tail": tail, "ecdf": ecdf}[kind](slow, FigureConfig(kind=kind)).figure
    assert {axes.get_xlabel() for axes in figure.axes} - {""} == {"latency (µs)"}
    assert " us" not in " ".join(text.get_text() for text in figure.texts)


def test_a_series_is_said_in_words() -> None:
    study = made_up_study(page_size_axis(), order_axis(9), replications=2)
    for name, words in (("free_bytes", "free memory"), ("alloc_mean_ns", "mean latency of allocations")):
        figure = time_series(study, FigureConfig(kind="series", series=name)).figure
        assert f"How does {words} change over time?" in [" ".join(text.get_text().split()) for text in figure.texts]
        assert " ".join(figure.axes[0].get_ylabel().split()).startswith(f"{words} (")
