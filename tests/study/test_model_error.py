"""The model's error beside every time: by kind of operation, from points that no price was fitted to."""

import math
from io import StringIO
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from rich.console import Console

import kmsim
from experiments.calibration import calibrate
from kmsim.config import loads
from kmsim.metrics.columns import Table
from kmsim.plots.study_terminal import show_study
from kmsim.study.model_error import COVERED_PERCENT, errors_on, in_words, model_error, said_of_errors
from kmsim.study.results import StudyResult

KINDS = [
    {"api": "pages", "min_order": 0, "max_order": 0, "cpus": "one", "nine_of_ten": 8.0},
    {"api": "pages", "min_order": 1, "max_order": 8, "cpus": "one", "nine_of_ten": 20.0},
    {"api": "pages", "min_order": 0, "max_order": 0, "cpus": "several", "nine_of_ten": 30.0},
]


def operations(*rows: tuple[str, str, str, int, int]) -> Table:
    """Rows of kind, api, gfp, order and the sum of their times in ps."""
    kind, api, gfp, order, sum_ps = zip(*rows, strict=True)
    texts = {name: np.array(values, np.str_) for name, values in (("kind", kind), ("api", api), ("gfp", gfp))}
    return Table(texts | {"order": np.array(order), "sum_ps": np.array(sum_ps), "cpu": np.zeros(len(rows), int)})


def error(measure: str, *rows: tuple[str, str, str, int, int], several_cpus: bool = False) -> float:
    return model_error(measure, operations(*rows), several_cpus=several_cpus, left_out=KINDS)


def test_an_error_is_that_of_its_kinds_by_their_share_of_the_time() -> None:
    small, large = ("alloc", "pages", "GFP_KERNEL", 0, 300), ("alloc", "pages", "GFP_KERNEL", 4, 100)
    assert error("latency_mean", small) == 8
    assert error("latency_mean", large) == 20
    assert error("latency_mean", small, large) == 11
    assert error("throughput", small, several_cpus=True) == 30


@pytest.mark.parametrize(
    ("measure", "row", "several_cpus"),
    [
        ("latency_mean", ("alloc", "pages", "GFP_KERNEL", 9, 100), False),
        ("latency_mean", ("alloc", "pages", "GFP_KERNEL", 4, 100), True),
        ("latency_mean", ("alloc", "slab", "GFP_KERNEL", 0, 100), False),
        ("latency_mean", ("alloc", "pages", "GFP_KERNEL|__GFP_ZERO", 0, 100), False),
        ("latency_mean", ("alloc", "pages", "GFP_KERNEL", 0, 0), False),
        ("latency_p99", ("alloc", "pages", "GFP_KERNEL", 0, 100), False),
        ("lock_wait_share", ("alloc", "pages", "GFP_KERNEL", 0, 100), False),
    ],
    ids=["order", "several CPUs", "api", "zeroed", "no time", "no mean", "locks"],
)
def test_what_was_never_measured_has_none(measure: str, row: Any, several_cpus: bool) -> None:
    assert math.isnan(error(measure, row, several_cpus=several_cpus))


def test_a_free_of_zeroed_memory_is_like_any() -> None:
    assert error("latency_mean", ("free", "pages", "GFP_KERNEL|__GFP_ZERO", 0, 100)) == 8


@pytest.mark.parametrize(
    ("machine", "order", "alloc", "free"),
    [
        ("{extends: x86-laptop, tails_written: false}", 4, 20.4, 20.4),
        ("x86-laptop", 4, 20.4, math.nan),
        ("x86-laptop", 0, 22.1, 22.1),
        ("{extends: x86-laptop, init_on_alloc: true}", 0, math.nan, 22.1),
        ("{extends: x86-laptop, init_on_free: true}", 0, 22.1, math.nan),
    ],
    ids=["as measured", "tails written", "no tails", "init_on_alloc", "init_on_free"],
)
def test_what_the_measured_kernel_did_otherwise_has_no_error(
    machine: str, order: int, alloc: float, free: float
) -> None:
    study = loads(f"machine: {machine}\ncosts: xeon-gold-5320\nworkload: {{threads: [{{name: a}}]}}\n")
    kinds = errors_on(study.machine, study.costs.left_out)
    for kind, expected in (("alloc", alloc), ("free", free)):
        rows = operations((kind, "pages", "GFP_KERNEL", order, 100))
        found = model_error("latency_mean", rows, several_cpus=True, left_out=kinds)
        assert found == pytest.approx(expected, nan_ok=True), kind


def test_a_kind_that_takes_next_to_no_time_is_not_asked_about() -> None:
    small, other = ("alloc", "pages", "GFP_KERNEL", 0, 10_000), ("alloc", "slab", "GFP_KERNEL", 0, 100)
    assert error("latency_mean", small, other) == 8
    assert math.isnan(error("latency_mean", small, (*other[:4], 102)))


@pytest.mark.parametrize("measure", ["failed_share", "internal_waste", "unusable_index", "operations"])
def test_what_is_only_counted_is_free_of_prices(measure: str) -> None:
    assert error(measure, ("alloc", "slab", "GFP_KERNEL", 0, 100)) == 0


def test_errors_in_words() -> None:
    assert [in_words(one, "ns") for one in (12.345, 0.0, math.nan)] == ["±12 ns", "free of prices", "never measured"]


def two_machines(tmp_path: Path, dearer_ns: float) -> StudyResult:
    """One CPU that takes single pages; on the second machine a request has this many ns more of instructions."""
    text = f"""
machine: {{arch: x86-64, memory: 64MiB, cpus: 1}}
workload: {{threads: [{{name: a, cpus: [0], live: 8, operations: 400, requests: [{{order: 0}}]}}]}}
sweep: {{axes: [{{name: machine, variants: {{first: , second: {{costs.alloc_fast.value: {62.2 + dearer_ns}ns}}}}}}]}}
replications: 3
responses: [latency_mean, latency_p99, failed_share]
comparisons: [{{axis: machine}}]
"""
    (tmp_path / "study.yaml").write_text(text)
    found = kmsim.run(tmp_path / "study.yaml", out=tmp_path / "out")
    assert isinstance(found, StudyResult)
    return found


@pytest.mark.parametrize(("dearer_ns", "is_called_different"), [(2.0, False), (60.0, True)])
def test_what_differs_by_less_than_the_error_is_not_called_different(
    tmp_path: Path, dearer_ns: float, is_called_different: bool
) -> None:
    study = two_machines(tmp_path, dearer_ns)
    row = study.comparisons.set_index("response").loc["latency_mean"]
    assert row["significant"]
    assert row["within_model_error"] != is_called_different
    assert row["difference"] == pytest.approx(dearer_ns, rel=0.2)
    out = StringIO()
    show_study(study, Console(file=out, width=80))
    shown = int(is_called_different) + 1  # that of latency_p99, whose error nobody knows
    text = " ".join(out.getvalue().split())
    assert f"{shown} of 2 differences are shown, 1 of them of unknown error (Holm" in text
    assert ("1 more are within the model's error" in out.getvalue()) != is_called_different
    assert "never measured, so how far off is not known: latency_p99" in out.getvalue()
    assert "counted, and free of prices: failed_share" in out.getvalue()


def test_points_of_which_some_were_never_measured() -> None:
    rows = pd.DataFrame({"response": ["a", "a", "b"], "model_error": [8.0, math.nan, 30.0]})
    (line,) = said_of_errors(rows)
    assert line.endswith("a 8 % (at 1 of 2 points; never measured at the others), b 30 %")


def test_the_shipped_errors_are_those_of_the_points_left_out() -> None:
    costs = loads("machine: x86-laptop\nworkload: {threads: [{name: a}]}\n").costs
    expected = calibrate.kinds_left_out(pd.read_csv(calibrate.LEFT_OUT))
    assert len(costs.left_out) == len(expected) > 0
    for kind, of_points in zip(costs.left_out, expected, strict=True):
        assert (kind.api, kind.min_order, kind.max_order, kind.cpus) == tuple(
            of_points[key] for key in ("api", "min_order", "max_order", "cpus")
        )
        assert [kind.points, kind.median, kind.nine_of_ten] == [
            float(of_points[key]) for key in ("points", "median", "nine_of_ten")
        ]


def coverage() -> pd.DataFrame:
    """Of each point and way of leaving it out: is it within the error that is made from the other benchmarks?"""
    points = pd.read_csv(calibrate.LEFT_OUT)
    tried = []
    for curve in points["curve"].unique():
        for kind in calibrate.kinds_left_out(points[points["curve"] != curve]):
            alike = points[
                (points["curve"] == curve)
                & points["order"].between(kind["min_order"], kind["max_order"])
                & ((points["cores"] == 1) == (kind["cpus"] == "one"))
            ]
            for name in calibrate.WITHOUT:
                is_within = calibrate.left_out_errors(alike, name) <= float(kind["nine_of_ten"])
                about = {"curve": curve, "min_order": kind["min_order"], "cpus": kind["cpus"]}
                tried.append(pd.DataFrame({"is_within": is_within, **about}))
    assert sum(map(len, tried)) == 4 * len(points)
    return pd.concat(tried, ignore_index=True)


def test_as_many_points_of_a_new_benchmark_are_within_the_error_as_is_said() -> None:
    """The coverage of the model's error, in all and by kind: a benchmark is no sample of the others."""
    tried = coverage()
    found = tried["is_within"]
    assert round(100 * found.mean()) == COVERED_PERCENT
    text = " ".join((Path(kmsim.__file__).parents[1] / "docs" / "studies.md").read_text(encoding="utf-8").split())
    assert f"Of a benchmark of which it knows nothing, {COVERED_PERCENT} % are ({found.sum()} of {len(found)}):" in text
    by_kind = (100 * found.groupby([tried["min_order"], tried["cpus"]]).mean()).round()
    assert set(by_kind.index) == {(0, "one"), (0, "several"), (1, "several"), (9, "one")}
    assert by_kind[0, "one"] == by_kind[9, "one"]
    kinds = f"of order 0 on several CPUs {by_kind[0, 'several']:.0f} %, of orders 1 to 8 {by_kind[1, 'several']:.0f} %"
    assert f"{kinds}, of order 0 or 9 on one CPU {by_kind[0, 'one']:.0f} %" in text
    bulk_get = found[(tried["curve"] == "bulk get") & (tried["cpus"] == "one")]
    assert (bulk_get.sum(), len(bulk_get)) == (0, 8)
    (said,) = said_of_errors(pd.DataFrame({"response": ["a"], "model_error": [8.0]}))
    assert (
        said == f"off by at most, at {COVERED_PERCENT} % of the points of a benchmark that was not seen before: a 8 %"
    )
