"""The tables of estimates and comparisons against a slow way to make them, row by row."""

import itertools
import math
import tracemalloc
from typing import NamedTuple

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from kmsim.config.inquiry import ComparisonConfig
from kmsim.config.product import Axis
from kmsim.study.estimates import (
    BOOTSTRAP_ROWS_MAX,
    BY_BATCHES,
    BY_REPLICATIONS,
    COMPARED,
    DIFFERENCE,
    NO_METHOD,
    OUTCOMES,
    comparisons,
    estimates,
)
from kmsim.study.paired import paired_difference
from kmsim.study.statistics import batch_mean_interval, mean_interval
from tests.patience import little_work

PAGES = Axis("page_size", ("4KiB", "16KiB", "64KiB"), (4096.0, 16384.0, 65536.0), "B")
ORDERS = Axis("max_page_order", ("10", "8"), (10.0, 8.0), "")
AXES = (PAGES, ORDERS)
UNITS = {"latency": "ns", "waste": "%"}


class Tables(NamedTuple):
    """What a study has collected."""

    runs: pd.DataFrame
    responses: pd.DataFrame


def collected(seed: int = 1, replications: int = 4, batches: int = 0, axes: tuple[Axis, ...] = AXES) -> Tables:
    """Runs of every combination, whose responses depend on the point, and more on the replication."""
    rng = np.random.default_rng(seed)
    common = 10 * rng.normal(size=(replications, len(UNITS)))
    runs, rows = [], []
    for point, labels in enumerate(itertools.product(*(axis.levels for axis in axes))):
        for replication in range(replications):
            run = len(runs)
            named = dict(zip((axis.name for axis in axes), labels, strict=True))
            runs.append({"run": run, "point": point, "replication": replication, "failed": False, "stuck": "", **named})
            for batch in range(-1, batches):
                for k, (response, unit) in enumerate(UNITS.items()):
                    value = 100 + 5 * point + common[replication, k] + rng.normal()
                    about = {"run": run, "point": point, "replication": replication, "batch": batch}
                    rows.append({**about, "response": response, "unit": unit, "value": value})
                    rows[-1]["failed_share"] = float(point) if response == "latency" else math.nan
                    rows[-1]["model_error"] = 10.0 if response == "latency" else 0.0
    return Tables(pd.DataFrame(runs), pd.DataFrame(rows))


def without(tables: Tables, **where: object) -> Tables:
    """The same, but for the runs of which all this is so."""
    gone = np.logical_and.reduce([tables.runs[name] == value for name, value in where.items()])
    runs = tables.runs[~gone]
    return Tables(runs, tables.responses[tables.responses["run"].isin(runs["run"])])


def values(tables: Tables, response: str, **labels: object) -> pd.Series:
    """What was observed at a point, by replication."""
    mine = np.logical_and.reduce([tables.runs[name] == label for name, label in labels.items()])
    of_runs = tables.responses["run"].isin(tables.runs.loc[mine & ~tables.runs["failed"], "run"])
    table = tables.responses[of_runs & (tables.responses["response"] == response) & (tables.responses["batch"] == -1)]
    return table.set_index("replication")["value"].dropna()


def only(table: pd.DataFrame, **where: object) -> pd.Series:
    """The one row of which all this is so."""
    found = table[np.logical_and.reduce([table[name] == value for name, value in where.items()])]
    assert len(found) == 1
    return found.iloc[0]


def compare(tables: Tables, *configs: dict[str, object], axes: tuple[Axis, ...] = AXES) -> pd.DataFrame:
    return comparisons(*tables, axes, [ComparisonConfig.model_validate(config) for config in configs])


# ---- estimates


def test_every_point_and_response_has_a_row_in_their_order() -> None:
    tables = collected()
    anyhow = tables.responses.sample(frac=1, random_state=1)
    shuffled = Tables(tables.runs, anyhow.sort_values("response", kind="stable"))
    found = estimates(*shuffled, AXES)
    assert tuple(found.columns) == ("point", "page_size", "max_page_order", "response", "unit", *OUTCOMES)
    rows = [(*labels, response) for labels in itertools.product(PAGES.levels, ORDERS.levels) for response in UNITS]
    assert list(found[["page_size", "max_page_order", "response"]].itertuples(index=False, name=None)) == rows
    assert found["unit"].tolist() == [UNITS[response] for response in found["response"]]
    pd.testing.assert_frame_equal(found, estimates(*tables, AXES))


def test_an_estimate_is_the_mean_over_replications() -> None:
    tables = collected(replications=5)
    tables.responses.loc[tables.responses["run"] == 7, "value"] = math.nan
    tables.runs.loc[tables.runs["run"] == 12, "failed"] = True
    for row in estimates(*tables, AXES).itertuples():
        expected = mean_interval(values(tables, row.response, point=row.point))
        assert (row.n, row.mean, row.sd, row.ci_low, row.ci_high, row.half_width) == pytest.approx(expected)
        assert (row.n, row.method) == (4 if row.point in (1, 2) else 5, BY_REPLICATIONS)
        assert math.isnan(row.lag_1_p)


def test_of_one_run_the_interval_is_that_of_its_batches() -> None:
    tables = collected(replications=1, batches=12)
    for row in estimates(*tables, AXES).itertuples():
        mine = tables.responses.query("point == @row.point and response == @row.response and batch >= 0")["value"]
        expected = batch_mean_interval(mine)
        found = (row.n, row.mean, row.sd, row.ci_low, row.ci_high, row.half_width)
        assert found == pytest.approx(expected.mean)
        assert (row.method, row.lag_1_p) == (BY_BATCHES, pytest.approx(expected.p))


def test_batches_are_looked_at_in_their_order() -> None:
    runs, rows = collected(replications=1, batches=12)
    anyhow = rows.sample(frac=1, random_state=2).sort_values("response", kind="stable")
    assert estimates(runs, anyhow, AXES).equals(estimates(runs, rows, AXES))


def test_of_many_runs_batches_are_not_looked_at() -> None:
    with_batches, without_batches = collected(replications=3, batches=4), collected(replications=3)
    runs, rows = with_batches
    whole = Tables(runs, rows[rows["batch"] == -1])
    pd.testing.assert_frame_equal(estimates(*with_batches, AXES), estimates(*whole, AXES))
    assert len(estimates(*without_batches, AXES)) == len(estimates(*with_batches, AXES))


def test_one_run_without_batches_has_a_mean_and_no_interval() -> None:
    row = estimates(*collected(replications=1), AXES).iloc[3]
    assert (row["n"], row["method"]) == (1, NO_METHOD)
    assert row["mean"] > 0
    assert row[["sd", "ci_low", "ci_high", "half_width"]].isna().all()


def test_a_point_of_which_all_runs_failed_keeps_its_rows() -> None:
    tables = collected()
    tables.runs.loc[tables.runs["point"] == 2, "failed"] = True
    found = estimates(*tables, AXES)
    rows = found[found["point"] == 2]
    assert rows["n"].tolist() == [0, 0]
    assert rows["mean"].isna().all()
    assert (found.loc[found["point"] != 2, "n"] == 4).all()


def test_a_failed_run_has_no_batches() -> None:
    tables = collected(replications=2, batches=6)
    tables.runs.loc[tables.runs["replication"] == 1, "failed"] = True
    found = estimates(*tables, AXES)
    assert set(found["method"]) == {BY_BATCHES}
    assert set(found["n"]) == {6}


def test_dropped_points_keep_their_numbers() -> None:
    found = estimates(*without(collected(), point=1), AXES)
    assert found["point"].unique().tolist() == [0, 2, 3, 4, 5]
    assert only(found, point=5, response="waste")["page_size"] == "64KiB"


def test_a_study_without_axes() -> None:
    found = estimates(*collected(axes=()), ())
    assert found["response"].tolist() == list(UNITS)
    assert found["n"].tolist() == [4, 4]


def test_a_response_of_an_unknown_run_is_our_mistake() -> None:
    tables = collected()
    with pytest.raises(AssertionError, match="not in the table of runs"):
        estimates(tables.runs[tables.runs["run"] > 0], tables.responses, AXES)


# ---- comparisons


def test_pairs_are_of_one_replication_and_of_the_same_other_levels() -> None:
    tables = collected(replications=6)
    tables.responses.loc[tables.responses["run"].isin([1, 14]), "value"] = math.nan
    found = compare(tables, {"axis": "page_size", "baseline": "16KiB", "name": "pages"})
    assert tuple(found.columns) == (*COMPARED, "page_size", "max_page_order", *DIFFERENCE)
    assert len(found) == 2 * 2 * 2
    for row in found.itertuples():
        assert (row.comparison, row.axis, row.baseline, row.level) == ("pages", "page_size", "16KiB", row.page_size)
        of = {label: values(tables, row.response, page_size=label, max_page_order=row.max_page_order)
              for label in ("16KiB", row.level)}  # fmt: skip
        pairs = pd.concat(of, axis=1).dropna()
        expected = paired_difference(pairs["16KiB"], pairs[row.level], "pages")
        got = (row.n, row.baseline_mean, row.difference, row.ci_low, row.ci_high, row.boot_low, row.boot_high, row.p)
        assert got == pytest.approx(expected[:-1])
        assert (row.variance_ratio, row.relative) == pytest.approx(
            (expected.variance_ratio, expected.difference / expected.baseline_mean)
        )
    assert (found["variance_ratio"] < 0.2).all()
    assert found.groupby("page_size")["n"].unique().map(set).to_dict() == {"4KiB": {4, 6}, "64KiB": {5, 6}}


def test_rows_come_by_response_and_then_by_point() -> None:
    found = compare(collected(), {"axis": "max_page_order"})
    assert found["baseline"].unique().tolist() == ["10"]
    assert found["response"].tolist() == ["latency"] * 3 + ["waste"] * 3
    assert found["page_size"].tolist() == [*PAGES.levels, *PAGES.levels]
    assert found["level"].unique().tolist() == ["8"]


def test_all_rows_of_one_response_of_a_comparison_are_tested_together() -> None:
    configs = ({"axis": "page_size"}, {"axis": "max_page_order", "responses": ["waste"]})
    found = compare(collected(), *configs)
    for _, rows in found.groupby(["comparison", "response"]):
        # As statsmodels and R do it: p.adjust(method = "holm").
        p = rows["p"].sort_values()
        expected = np.minimum(np.maximum.accumulate(p * np.arange(len(p), 0, -1)), 1)
        assert rows.loc[p.index, "p_holm"].to_numpy() == pytest.approx(expected.to_numpy())
        assert rows["significant"].tolist() == (rows["p_holm"] < 0.05).tolist()
    assert found["significant"].any()
    assert found.groupby("comparison").size().to_dict() == {"page_size": 8, "max_page_order": 3}


@pytest.mark.parametrize(
    ("where", "rows"),
    [
        ({"max_page_order": "8"}, {("16KiB", "8"), ("64KiB", "8")}),
        ({"max_page_order": ["8", "10"], "page_size": "64KiB"}, {("64KiB", "8"), ("64KiB", "10")}),
        ({"page_size": {"below": "64KiB"}}, {("16KiB", "8"), ("16KiB", "10")}),
        ({"max_page_order": {"at_least": 9}}, {("16KiB", "10"), ("64KiB", "10")}),
        ({"max_page_order": {"above": 10}}, set()),
    ],
)
def test_a_comparison_of_some_points(where: dict[str, object], rows: set[tuple[str, str]]) -> None:
    found = compare(collected(), {"axis": "page_size", "where": where})
    assert set(zip(found["page_size"], found["max_page_order"], strict=True)) == rows
    assert len(found) == 2 * len(rows)


def test_the_share_that_failed_stands_beside_what_is_of_those_that_did_not() -> None:
    tables = collected()
    of_points = estimates(tables.runs, tables.responses, AXES)
    latency = of_points[of_points["response"] == "latency"]
    assert latency["failed_share"].tolist() == latency["point"].tolist()
    assert of_points.loc[of_points["response"] == "waste", "failed_share"].isna().all()
    found = compare(tables, {"axis": "max_page_order", "responses": ["latency"]})
    assert (found["failed_share"] - found["baseline_failed_share"]).tolist() == [1.0] * 3


def test_a_point_at_which_nothing_was_served_has_failed_altogether() -> None:
    tables = collected()
    of_first = (tables.responses["point"] == 0) & (tables.responses["response"] == "latency")
    none = tables.responses.assign(
        value=tables.responses["value"].mask(of_first),
        failed_share=tables.responses["failed_share"].mask(of_first, 100),
    )
    row = only(estimates(tables.runs, none, AXES), point=0, response="latency")
    assert (row["n"], row["failed_share"]) == (0, 100)


def test_a_point_without_its_baseline_has_no_row() -> None:
    found = compare(without(collected(), page_size="4KiB", max_page_order="8"), {"axis": "page_size"})
    assert set(found["max_page_order"]) == {"10"}
    assert len(found) == 4


def test_a_baseline_all_of_whose_runs_failed_has_rows_that_say_so() -> None:
    tables = collected()
    tables.runs.loc[tables.runs["page_size"] == "4KiB", "failed"] = True
    found = compare(tables, {"axis": "page_size"})
    assert found["n"].tolist() == [0] * 8
    assert found[["difference", "ci_low", "boot_low", "p", "p_holm", "variance_ratio"]].isna().all(axis=None)
    assert not found["significant"].any()


@pytest.mark.parametrize("replications", [1, 2])
def test_single_runs_are_paired_batch_by_batch(replications: int) -> None:
    tables = collected(replications=replications, batches=8)
    found = compare(tables, {"axis": "max_page_order"})
    assert set(found["n"]) == {8 if replications == 1 else 2}
    if replications == 1:
        row = only(found, page_size="16KiB", response="waste")
        mine = tables.responses.query("response == 'waste' and batch >= 0").pivot(
            index="batch", columns="point", values="value"
        )
        assert row["difference"] == pytest.approx((mine[3] - mine[2]).mean())


def test_a_batch_is_not_paired_with_a_replication() -> None:
    tables = collected(replications=2, batches=8)
    tables.runs.loc[(tables.runs["max_page_order"] == "8") & (tables.runs["replication"] == 1), "failed"] = True
    assert set(compare(tables, {"axis": "max_page_order"})["n"]) == {0}


def test_unpaired_runs_are_compared_by_welch() -> None:
    tables = collected(replications=7)
    tables.responses.loc[tables.responses["run"].isin([1, 2, 30]), "value"] = math.nan
    found = compare(tables, {"axis": "page_size", "paired": False})
    assert len(found) == 8
    for row in found.itertuples():
        a, b = (
            values(tables, row.response, page_size=label, max_page_order=row.max_page_order)
            for label in ("4KiB", row.level)
        )
        expected = stats.ttest_ind(b, a, equal_var=False)
        interval = expected.confidence_interval(0.95)
        assert (row.n, row.difference) == (min(len(a), len(b)), pytest.approx(b.mean() - a.mean()))
        assert (row.ci_low, row.ci_high, row.p) == pytest.approx((interval.low, interval.high, expected.pvalue))
        assert row.ci_low < row.boot_low < row.difference < row.boot_high < row.ci_high
        assert math.isnan(row.variance_ratio)


def test_no_comparison_is_a_table_without_rows() -> None:
    found = compare(collected())
    assert tuple(found.columns) == (*COMPARED, "page_size", "max_page_order", *DIFFERENCE)
    assert found.empty


def test_the_bootstrap_is_left_out_where_it_would_take_too_long() -> None:
    size = BOOTSTRAP_ROWS_MAX // 2 + 1
    axes = (Axis("n", tuple(str(n) for n in range(size + 1)), None, ""),)
    tables = collected(replications=2, axes=axes)
    few = compare(tables, {"axis": "n", "responses": ["waste"]}, axes=axes)
    many = compare(tables, {"axis": "n"}, axes=axes)
    assert (len(few), len(many)) == (size, 2 * size)
    assert few["boot_low"].notna().all()
    assert many[["boot_low", "boot_high"]].isna().all(axis=None)
    assert many["ci_low"].notna().all()
    pd.testing.assert_series_equal(few["difference"], many["difference"][size:].reset_index(drop=True))


def test_a_comparison_is_the_same_whatever_else_is_compared() -> None:
    tables = collected(replications=9)
    alone = compare(tables, {"axis": "page_size", "responses": ["waste"]})
    together = compare(tables, {"axis": "max_page_order"}, {"axis": "page_size"})
    names = ["difference", "ci_low", "boot_low", "boot_high"]
    mine = together.query("comparison == 'page_size' and response == 'waste'")[names]
    assert alone[names].equals(mine.reset_index(drop=True))


@pytest.mark.slow
def test_a_hundred_thousand_points_are_little_work() -> None:
    nr_points, nr_responses = 100_000, 20
    axes = (Axis("a", tuple(map(str, range(1000))), None, ""), Axis("b", tuple(map(str, range(100))), None, ""))
    point = np.arange(nr_points)
    labels = {"a": (point // 100).astype(str), "b": (point % 100).astype(str)}
    runs = pd.DataFrame({"run": point, "point": point, "replication": 0, "failed": False, "stuck": "", **labels})
    run = np.repeat(point, nr_responses)
    names = np.tile([f"response_{k}" for k in range(nr_responses)], nr_points)
    about = {"run": run, "point": run, "replication": 0, "batch": -1, "response": names, "unit": "ns"}
    responses = pd.DataFrame({**about, "value": np.arange(len(run), dtype=np.float64)})
    tracemalloc.start()
    with little_work():
        responses["failed_share"] = responses["model_error"] = math.nan
    found = estimates(runs, responses, axes)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert found["mean"].tolist() == responses["value"].tolist()
    assert peak < 1 << 30


@pytest.mark.parametrize("paired", [True, False])
def test_arms_that_are_equal_but_for_rounding_do_not_differ(paired: bool) -> None:
    found = collected(replications=3)
    values = found.responses.copy()
    values["value"] = np.where(values["point"] % 2, 0.1 + 0.2, 0.3)
    assert values["value"].nunique() == 2
    about = {"axis": "max_page_order", "baseline": "10", "paired": paired, "name": "c"}
    table = comparisons(found.runs, values, AXES, [ComparisonConfig.model_validate(about)])
    assert len(table) == 6
    assert (table[["difference", "ci_low", "ci_high", "boot_low", "boot_high"]] == 0).all(axis=None)
    assert (table["p"] == 1).all()
    assert not table["significant"].any()
