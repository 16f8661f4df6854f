"""A study in a terminal: every number with its interval, nothing wider than the screen."""

import math
from io import StringIO

import pytest
from rich.console import Console

from kmsim.plots.study_terminal import estimate, show_study
from tests.plots.studies import made_up_study


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
