"""Two results compared: what differs, which runs are pairs, the differences, and what is worse by more than a bound."""

from dataclasses import fields, replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pandas as pd
import pytest
from scipy import stats

import kmsim
from kmsim.config.responses import MEASURES, ResponseConfig
from kmsim.session.compare import verdict
from kmsim.study.compare import Bounds, compare
from kmsim.study.differing import leaves
from kmsim.study.results import StudyResult, load_study
from kmsim.study.store import NotAResult
from tests.plots.studies import MadeUpStudy, made_up_study, order_axis, page_size_axis, workload_axis
from tests.studies import mapping
from tests.study.campaigns import RESPONSES, run, small_design


class WithConfig(MadeUpStudy):
    """A made-up study whose runs have a config."""

    def run(self, number: int) -> Any:
        """A run's result, as far as a comparison looks at it."""
        assert number in set(self.runs["run"])
        return SimpleNamespace(config_yaml="name: made-up\n")


def made_up(*axes: Any, **others: Any) -> StudyResult:
    study = made_up_study(*axes, **others)
    return WithConfig(**{field.name: getattr(study, field.name) for field in fields(study)})


def scaled(study: StudyResult, **factors: float) -> StudyResult:
    """The same study with some responses scaled, each run a little differently."""
    values = study.responses.copy()
    jitter = 1 + 0.02 * np.sin(np.arange(len(values)))
    for name, factor in factors.items():
        mine = values["response"] == name
        values.loc[mine, "value"] *= factor * jitter[mine.to_numpy()]
    return replace(study, responses=values)


def row_of(rows: pd.DataFrame, response: str, **labels: str) -> Any:
    found = rows[rows["response"] == response]
    for name, label in labels.items():
        found = found[found[name] == label]
    assert len(found) == 1
    return found.iloc[0]


def values_of(study: StudyResult, response: str, **labels: str) -> Any:
    runs = study.runs
    for name, label in labels.items():
        runs = runs[runs[name] == label]
    values = study.responses[(study.responses["response"] == response) & study.responses["run"].isin(runs["run"])]
    return values.sort_values("replication")["value"].to_numpy()


def test_paired_rows_are_students_t_of_the_pairs() -> None:
    a = made_up(page_size_axis(), replications=6)
    b = scaled(a, latency_mean=1.1)
    compared = compare(a, b)
    assert compared.paired
    assert compared.axes == ["page_size"]
    assert len(compared.rows) == 3 * len(a.responses_config)
    for size in a.axes[0].levels:
        row = row_of(compared.rows, "latency_mean", page_size=size)
        of_a, of_b = (values_of(study, "latency_mean", page_size=size) for study in (a, b))
        assert row["n"] == 6
        assert row["difference"] == pytest.approx((of_b - of_a).mean())
        interval = stats.ttest_1samp(of_b - of_a, 0).confidence_interval(0.95)
        assert (row["ci_low"], row["ci_high"]) == pytest.approx((interval.low, interval.high))
        assert row["boot_low"] < row["difference"] < row["boot_high"]
        assert row["worsening_low"] == pytest.approx(interval.low / of_a.mean())
    # Holm within each response: its smallest p is multiplied by the number of its rows.
    for _, rows in compared.rows.groupby("response"):
        assert rows["p_holm"].isna().all() or rows["p_holm"].min() == pytest.approx(min(rows["p"].min() * len(rows), 1))
    equal = compared.rows[compared.rows["response"] == "memory_held"]
    assert (equal["difference"] == 0).all()
    assert not equal["significant"].any()
    assert equal["p_holm"].isna().all()  # the same everywhere: not tested


def test_other_seeds_are_not_paired_but_compared_by_welch() -> None:
    a = made_up(page_size_axis(), replications=6)
    b = scaled(made_up(page_size_axis(), replications=6, seed=100), latency_mean=1.1)
    compared = compare(a, b)
    assert not compared.paired
    assert any("Welch" in note for note in compared.notes)
    row = row_of(compared.rows, "latency_mean", page_size="4KiB")
    of_a, of_b = (values_of(study, "latency_mean", page_size="4KiB") for study in (a, b))
    interval = stats.ttest_ind(of_b, of_a, equal_var=False).confidence_interval(0.95)
    assert (row["ci_low"], row["ci_high"]) == pytest.approx((interval.low, interval.high))


def test_points_are_matched_by_the_labels_of_the_axes_that_both_have() -> None:
    a = made_up(page_size_axis(), order_axis(8, 10), replications=2)
    b = made_up(order_axis(10, 11), page_size_axis(), workload_axis("net-rx"), replications=3)
    compared = compare(a, b)
    assert compared.axes == ["page_size", "max_page_order"]
    assert set(compared.rows["max_page_order"]) == {"10"}
    assert list(compared.both.axes[2].levels) == ["10"]
    assert (compared.rows["n"] == 2).all()
    assert any("3 points that only A has" in note for note in compared.notes)
    assert any("3 points that only B has" in note for note in compared.notes)


def test_what_only_one_has_is_left_out_or_refused() -> None:
    a, b = made_up(page_size_axis(), replications=2), made_up(page_size_axis(), workload_axis(), replications=2)
    with pytest.raises(NotAResult, match="'workload', with 2 levels"):
        compare(a, b)
    with pytest.raises(NotAResult, match="a point in common"):
        compare(made_up(order_axis(8), replications=1), made_up(order_axis(9), replications=1))


def with_responses(study: StudyResult, *responses: ResponseConfig) -> StudyResult:
    inquiry = study.inquiry.model_copy(update={"responses": responses})
    kept = study.responses[study.responses["response"].isin([response.name for response in responses])]
    return replace(study, inquiry=inquiry, responses=kept)


def test_a_response_of_another_meaning_is_not_compared() -> None:
    a = made_up(page_size_axis(), replications=2)
    mean = ResponseConfig(measure="latency_mean")
    named = ResponseConfig(measure="latency_p99", name="latency_mean")
    waste = ResponseConfig(measure="memory_held")
    compared = compare(with_responses(a, mean, waste), with_responses(a, named, waste))
    assert set(compared.rows["response"]) == {"memory_held"}
    assert any("latency_mean" in note for note in compared.notes)
    with pytest.raises(NotAResult, match="a response in common"):
        compare(with_responses(a, mean), with_responses(a, named))


def test_worse_is_what_the_interval_puts_above_the_bound() -> None:
    a = made_up(page_size_axis(), replications=6)
    b = scaled(a, latency_mean=1.1, latency_p999=0.5)
    assert compare(a, b).worse.empty
    assert set(compare(a, b, Bounds(0.05)).worse["response"]) == {"latency_mean"}
    assert compare(a, b, Bounds(0.05)).rows["bound"].notna().all()
    assert compare(a, b, Bounds(0.2)).worse.empty
    assert compare(a, b, Bounds(0.05, {"latency_mean": 0.2})).worse.empty
    alone = compare(a, b, Bounds(None, {"latency_mean": 0.05}))
    assert set(alone.worse["response"]) == set(alone.rows.loc[alone.rows["bound"].notna(), "response"])
    row = row_of(alone.rows, "latency_mean", page_size="4KiB")
    at_the_interval, above = ({"latency_mean": row["worsening_low"] + by} for by in (-1e-9, 1e-9))
    assert row_of(compare(a, b, Bounds(None, at_the_interval)).rows, "latency_mean", page_size="4KiB")["worse"]
    assert not row_of(compare(a, b, Bounds(None, above)).rows, "latency_mean", page_size="4KiB")["worse"]
    with pytest.raises(NotAResult, match="--worse-by latency_p50"):
        compare(a, b, Bounds(None, {"latency_p50": 0.05}))


def with_error(study: StudyResult, percent: float) -> StudyResult:
    return replace(study, responses=study.responses.assign(model_error=percent))


@pytest.mark.parametrize(("percent", "is_worse"), [(30.0, False), (5.0, True), (np.nan, True)])
def test_what_is_within_the_models_error_is_not_called_worse(percent: float, is_worse: bool) -> None:
    """B takes 10 % more time: more than the bound, and called worse where the prices are known better than that."""
    a = made_up(page_size_axis(), replications=6)
    compared = compare(with_error(a, percent), with_error(scaled(a, latency_mean=1.1), percent), Bounds(0.05))
    found = compared.worse if is_worse else compared.excused
    assert found["response"].tolist() == ["latency_mean"] * 3
    assert len(compared.worse) + len(compared.excused) == 3
    *_, last = verdict(compared)
    assert (last == "3 more are not called worse: within the model's error") != is_worse


def test_less_is_worse_where_the_measure_says_so() -> None:
    a = made_up(page_size_axis(), replications=4, responses={"free": ("memory_free", 900.0, 0.1, 0.0, 0.02)})
    less, more = (compare(a, scaled(a, free=factor), Bounds(0.05)) for factor in (0.8, 1.2))
    assert (less.rows["worsening"] > 0.1).all()
    assert less.rows["worse"].all()
    assert (more.rows["worsening"] < -0.1).all()
    assert more.worse.empty
    for row in less.rows.to_dict("records"):
        assert row["worsening_low"] == pytest.approx(-row["ci_high"] / row["baseline_mean"])


def test_a_measure_without_a_direction_is_never_worse() -> None:
    a = made_up(page_size_axis(), replications=4, responses={"asked": ("asked", 900.0, 0.1, 0.0, 0.02)})
    compared = compare(a, scaled(a, asked=2.0), Bounds(0.0))
    assert compared.worse.empty
    assert compared.rows["bound"].isna().all()
    with pytest.raises(NotAResult, match="there is none"):
        compare(a, a, Bounds(None, {"asked": 0.1}))


def test_more_than_nothing_is_worse_than_any_bound() -> None:
    a = made_up(page_size_axis(), replications=4, responses={"failed": ("failed", 0.0, 0.0, 0.0, 0.0)})
    b = replace(a, responses=a.responses.assign(value=3.0))
    rows = compare(a, b, Bounds(1000.0)).rows
    assert np.isposinf(rows["worsening"]).all()
    assert rows["worse"].all()
    assert compare(a, a, Bounds(0.0)).worse.empty


def test_every_measure_has_a_direction_or_none() -> None:
    assert {measure.worse for measure in MEASURES.values()} == {"higher", "lower", ""}
    assert all(measure.worse == "higher" for name, measure in MEASURES.items() if name.startswith("latency_"))
    assert MEASURES["throughput"].worse == "lower"


def test_lists_without_mappings_are_one_value() -> None:
    config = {"a": {"b": [1, True, None], "c": [{"d": 2}, {}], "e": {}, "f": []}}
    expected = {"a.b": "[1, true, null]", "a.c[0].d": "2", "a.c[1]": "{}", "a.e": "{}", "a.f": "[]"}
    assert dict(leaves(config)) == expected


# ---- of runs that were simulated


def test_a_study_against_itself_differs_in_nothing(tmp_path: Path) -> None:
    run(small_design(8, 16), tmp_path / "a")
    study = load_study(tmp_path / "a")
    compared = compare(study, study, Bounds(0.0))
    assert compared.differing == ()
    assert compared.paired
    assert (compared.rows["difference"] == 0).all()
    assert compared.worse.empty


def test_the_keys_of_two_studies_that_differ_are_said(tmp_path: Path) -> None:
    run(small_design(8, 16), tmp_path / "a")
    run(small_design(8, 32, replications=3, run={"sample_every": "7us"}), tmp_path / "b")
    compared = compare(load_study(tmp_path / "a"), load_study(tmp_path / "b"))
    found = {one.key: (one.a, one.b) for one in compared.differing}
    assert found == {
        "run.sample_every": (found["run.sample_every"][0], "7us"),
        "sweep.axes[0].values": ("[8, 16]", "[8, 32]"),
        "replications": ("2", "3"),
    }
    assert set(compared.rows["live"]) == {"8"}
    assert set(compared.rows["response"]) == set(RESPONSES)
    assert (compared.rows["n"] == 2).all()


@pytest.mark.slow
def test_two_plain_runs_have_no_interval_and_are_judged_by_the_difference(tmp_path: Path) -> None:
    for name, live in (("a", 8), ("b", 32)):
        kmsim.run(mapping({"operations": 40, "live": live, "requests": [{"order": 0}, {"order": 4}]}), tmp_path / name)
    a, b = load_study(tmp_path / "a"), load_study(tmp_path / "b")
    compared = compare(a, b, Bounds(0.0))
    assert [one.key for one in compared.differing] == ["workload.threads[0].live"]
    assert compared.paired
    row = row_of(compared.rows, "latency_mean")
    means = [values_of(study, "latency_mean")[0] for study in (a, b)]
    assert (row["n"], row["baseline_mean"]) == (1, means[0])
    assert row["difference"] == pytest.approx(means[1] - means[0])
    assert np.isnan(row["ci_low"])
    assert means[1] > means[0]
    assert compared.excused["response"].tolist() == ["latency_mean"], "the prices are not known better than that"
    assert {response.name for response in a.responses_config} == set(compared.rows["response"])


def test_a_plain_run_answers_what_a_study_asks(tmp_path: Path) -> None:
    run(small_design(8), tmp_path / "study")
    kmsim.run(mapping({"operations": 40, "live": 8, "requests": [{"order": 0}, {"order": 4}]}), tmp_path / "plain")
    compared = compare(load_study(tmp_path / "plain"), load_study(tmp_path / "study"))
    assert list(compared.rows["response"]) == RESPONSES
    assert (compared.rows["n"] == 1).all()
    assert (compared.rows["difference"] == 0).all()


@pytest.mark.slow
def test_batches_of_single_runs_are_pairs(tmp_path: Path) -> None:
    for name, live in (("a", 8), ("b", 32)):
        batched = {"operations": 400, "live": live, "requests": [{"order": 0}, {"order": 4}]}
        kmsim.run(mapping(batched, run={"batch": "20us"}), tmp_path / name)
    a, b = load_study(tmp_path / "a"), load_study(tmp_path / "b")
    row = row_of(compare(a, b).rows, "latency_mean")
    nr_batches = [study.responses.query("response == 'latency_mean'")["batch"].max() + 1 for study in (a, b)]
    assert min(nr_batches) > 2
    assert row["n"] == min(nr_batches)
    assert row["ci_low"] < row["difference"] < row["ci_high"]


@pytest.mark.parametrize(
    ("seed", "said"), [(1, "95 % CI by t, n = 6 pairs per row"), (100, "95 % CI by Welch's t, n = 6")]
)
def test_the_figure_says_how_its_intervals_were_made(seed: int, said: str) -> None:
    a = made_up(page_size_axis(), replications=6)
    both = compare(a, scaled(made_up(page_size_axis(), replications=6, seed=seed), latency_mean=1.1)).both
    figure = kmsim.figure(both, "comparison")
    (note,) = [text.get_text() for text in figure.texts if text.get_label() == "notes"]
    assert said in " ".join(note.split())
    (title,) = [text.get_text() for text in figure.texts if text.get_label() == "title"]
    assert title == "What changes from A to B?"
