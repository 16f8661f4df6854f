"""A study in a terminal: every number with its interval, nothing wider than the screen."""

import math
from dataclasses import replace
from io import StringIO

import pytest
from rich.console import Console

from kmsim.plots.study_terminal import estimate, show_study
from kmsim.study.cautions import ONE_SEED, SERVED_ONLY
from tests.plots.studies import MadeUpStudy, made_up_study


def row(mean: float, width: float) -> dict[str, float]:
    return {"mean": mean, "ci_low": mean - width, "ci_high": mean + width}


@pytest.mark.parametrize(
    ("mean", "width", "text"),
    [
        (157.31, 3.52, "157.3 ±3.5"),
        (7586.2, 777.3, "7,586 ±777"),
        (0.8513, 0.0992, "0.851 ±0.099"),
        (149.0, 31.0, "149 ±31"),
        (0.0, 0.0, "0 ±0"),
        (4.0, math.nan, "4"),
        (math.nan, math.nan, "-"),
        (12.0, 53099.0, "12 ±53,099"),
    ],
)
def test_a_number_has_the_digits_that_its_interval_leaves(mean: float, width: float, text: str) -> None:
    assert estimate(row(mean, width)) == text


@pytest.mark.parametrize("width", [60, 80, 120, 200])
def test_every_estimate_is_there_at_any_width(width: int) -> None:
    study = made_up_study()
    out = StringIO()
    show_study(study, Console(file=out, width=width, highlight=False))
    lines = out.getvalue().splitlines()
    assert max(map(len, lines)) <= width
    shown = study.estimates[study.estimates["point"] == study.estimates["point"].iloc[0]]
    words = " ".join(out.getvalue().split())
    assert all(estimate(one) in words for one in shown.to_dict("records"))
    assert lines[0].startswith(f"{study.name}: {len(study.runs):,} runs of ")


def said_of(study: MadeUpStudy) -> str:
    out = StringIO()
    show_study(study, Console(file=out, width=200, highlight=False))
    return " ".join(out.getvalue().split())


def with_primary(study: MadeUpStudy, name: str) -> MadeUpStudy:
    responses = [one.model_copy(update={"primary": one.name == name}) for one in study.inquiry.responses]
    return replace(study, inquiry=study.inquiry.model_copy(update={"responses": tuple(responses)}))


def test_the_share_that_failed_stands_below_a_latency_and_beside_a_difference() -> None:
    study = made_up_study()
    assert SERVED_ONLY not in said_of(study)
    of_latency = study.responses["response"] == "latency_p999"
    failed = study.responses.assign(failed_share=study.responses["failed_share"].mask(of_latency, 12.5))
    said = said_of(replace(with_primary(study, "latency_p999"), responses=failed))
    assert "12 % failed" in said
    assert "12.5 -> 12.5" in said
    assert SERVED_ONLY in said


def test_what_is_primary_is_said_first_and_what_is_the_same_is_named() -> None:
    study = made_up_study()
    held = study.responses["value"].mask(study.responses["response"] == "memory_held", 3.0)
    said = said_of(replace(with_primary(study, "unusable_index"), responses=study.responses.assign(value=held)))
    assert "of unusable_index, which is primary: " in said
    assert "the same everywhere, and not tested: memory_held" in said


def test_a_comparison_of_arms_that_were_not_run_is_left_out_with_a_line() -> None:
    study = made_up_study()
    assert "left out" not in said_of(study)
    axis = study.comparisons_config[0].axis
    first = study.runs[study.runs[axis] == study.runs[axis].iloc[0]]
    some = replace(study, runs=first, responses=study.responses[study.responses["run"].isin(first["run"])])
    of_axis = [one.name for one in study.comparisons_config if one.axis == axis]
    assert f"left out, as no two levels of them were run: comparisons {', '.join(of_axis)}" in said_of(some)
    assert "left out" not in said_of(replace(study, inquiry=study.inquiry.model_copy(update={"comparisons": ()})))
    assert len(of_axis) > 0


def test_one_replication_is_no_result() -> None:
    study = made_up_study()
    assert ONE_SEED not in said_of(study)
    first = study.runs[study.runs["replication"] == 0]
    alone = study.responses[study.responses["run"].isin(first["run"])]
    assert ONE_SEED in said_of(replace(study, runs=first, responses=alone))


def test_names_are_broken_after_their_parts_at_80_columns() -> None:
    responses = {
        "free_in_2MiB": ("memory_free", 900.0, 0.1, 0.0, 0.02),
        "latency_mean": ("latency_mean", 180.0, 0.3, 0.1, 0.04),
    }
    study = made_up_study(responses=responses)
    out = StringIO()
    show_study(study, Console(file=out, width=80, highlight=False))
    lines = out.getvalue().splitlines()
    assert max(map(len, lines)) <= 80
    words = {word for line in lines for word in line.split()}
    assert {"2MiB", "mean", "order"} <= words
    assert not {"B", "n", "er", "2Mi"} & words
