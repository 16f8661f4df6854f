"""The headline study: its README says what its results say, and its results are what the study gives."""

import math

import pytest

import kmsim
from experiments.figures import fill_numbers
from kmsim.config import load_design
from kmsim.study.responses import responses_of
from tests.experiments.test_experiments import script

study = script("page_size_and_max_order")
ORDERS = {"4KiB": range(6, 16), "16KiB": range(6, 14), "64KiB": range(6, 14)}  # what a memory section has room for
POINTS = {
    (page, str(order), block, memory, workload)
    for page, orders in ORDERS.items()
    for order in orders
    for block in (("moves",) if order == 6 else ("moves", "held"))
    for memory in ("fresh", "aged")
    for workload in study.WORKLOADS
}


@pytest.mark.slow
def test_readme_says_what_results_say() -> None:
    readme = study.README.read_text(encoding="utf-8")
    results = study.read()
    assert fill_numbers(readme, study.numbers(results)) == readme
    other = results.estimates.assign(mean=2 * results.estimates["mean"])
    assert fill_numbers(readme, study.numbers(results._replace(estimates=other))) != readme
    other = results.comparisons.assign(p_holm=1.0)
    assert fill_numbers(readme, study.numbers(results._replace(comparisons=other))) != readme


def test_every_legal_point_is_there_ten_times() -> None:
    design = load_design(study.STUDY)
    assert {tuple(point.labels.values()) for point in design.points} == POINTS
    estimates = study.read().estimates
    assert set(estimates[study.AXES].itertuples(index=False, name=None)) == POINTS
    assert (estimates["n"] == 10).all()
    assert len(estimates) == len(POINTS) * len(design.inquiry.responses)


def test_pageblocks_move_with_the_largest_block_or_are_held() -> None:
    design = load_design(study.STUDY)
    for point in design.points[::7]:
        machine = design.study_of(point).machine
        moved = min(machine.page_shift - 3, machine.max_page_order)
        assert machine.pageblock_order == (6 if point.labels["pageblock"] == "held" else moved)


def test_points_are_asked_for_the_same_bytes() -> None:
    estimates = study.read().estimates.set_index([*study.AXES, "response"])["mean"].unstack("response")
    served = estimates[estimates["failed_share"] == 0]["asked"]
    for workload in study.WORKLOADS:
        of = served.xs(workload, level="workload")
        assert len(of) > 50
        assert of.max() / of.min() < 1.001  # packets that arrive before the last thread ends


@pytest.mark.slow
@pytest.mark.parametrize(
    "labels", [("4KiB", "9", "held", "aged", "server"), ("64KiB", "13", "moves", "aged", "kmalloc")], ids=str
)
def test_a_point_comes_out_as_in_results(labels: tuple[str, ...]) -> None:
    design = load_design(study.STUDY)
    (point,) = (point for point in design.points if tuple(point.labels.values()) == labels)
    runs = [kmsim.run(design.study_of(point, replication)) for replication in range(10)]
    values = [{value.response: value.value for value in responses_of(run, design.inquiry.responses)} for run in runs]
    expected = study.read().estimates.set_index([*study.AXES, "response"])["mean"].loc[labels]
    for response, mean in expected.items():
        found = [of[str(response)] for of in values]
        assert math.fsum(found) / len(found) == pytest.approx(mean, rel=1e-4, abs=1e-9)
