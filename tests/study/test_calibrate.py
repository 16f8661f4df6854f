"""A price list fitted to points that the simulator itself has made, on a small machine with a few prices."""

from pathlib import Path

import numpy as np
import pytest

from kmsim.config.shipped import shipped_file
from kmsim.study.calibrate import WAYS, Asked, calibrate, model_at, price_list, simulated
from kmsim.study.fit import Points, Range, knowledge, least_squares_fit
from kmsim.study.measured import Point, Run
from kmsim.study.store import NotAResult

MACHINE = """\
extends: x86-laptop
memory: 64MiB
cpus: 2
"""
# Prices that the points below tell, other than those that the search starts from.
TRUTH = {"alloc_fast": 80.0, "free_fast": 30.0}
ERROR_PERCENT = 3.0


def asked(folder: Path) -> Asked:
    """A machine of two CPUs, and a shipped list."""
    (folder / "machine.yaml").write_text(MACHINE)
    return Asked(str(folder / "machine.yaml"), str(shipped_file("costs", "xeon-gold-5320")))


def points_of(folder: Path) -> list[Point]:
    """Points that the simulator has made of the true prices."""
    run = Run(
        shipped_file("workloads", "llfree-repeat"),
        ("workload.threads[0].cpus=[0]", "workload.threads[0].operations=400"),
    )
    kinds = [Point("repeat", 0, None, 1, kind, None, 1.0, ERROR_PERCENT, run) for kind in ("alloc", "free", "pair")]
    latency = simulated(asked(folder), kinds, TRUTH)
    return [point._replace(ns=float(ns)) for point, ns in zip(kinds, latency, strict=True)]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("calibrate")


def test_prices_that_made_the_points_are_found_again(folder: Path) -> None:
    points = points_of(folder)
    said: list[str] = []
    found = calibrate(asked(folder), points, [False, False, True], said.append)
    by_name = {price.name: price for price in found.prices}
    assert set(by_name) == set(TRUTH)
    for name, truth in TRUTH.items():
        price = by_name[name]
        assert price.ns == pytest.approx(truth, rel=0.02)
        assert price.low <= truth <= price.high
        assert not price.on_bound
    assert [one.is_held_out for one in found.points] == [False, False, True]
    assert max(abs(one.error_percent) for one in found.points) < 1
    assert np.isnan(found.points[2].without_curve_ns)
    assert said[0].startswith("2 points of 1 runs, simulated once for each of ")


def test_the_new_list_is_one_that_a_study_may_name(folder: Path) -> None:
    from kmsim.config import from_mapping

    points = points_of(folder)
    found = calibrate(asked(folder), points, [False] * 3, lambda _: None)
    (folder / "mine.yaml").write_text(price_list(found, "mine", 'a "quoted" file.csv'))
    costs = from_mapping(
        {
            "name": "named",
            "machine": str(folder / "machine.yaml"),
            "costs": str(folder / "mine.yaml"),
            "workload": {"threads": [{"name": "a"}]},
        }
    ).costs
    assert costs.name == "mine"
    assert costs.alloc_fast.value == pytest.approx(80_000, rel=0.02)
    assert costs.alloc_fast.source.startswith('fitted to a "quoted" file.csv: 95 % interval ')
    assert (costs.slab_new, costs.cache_lines) == (found.costs.slab_new, found.costs.cache_lines)


@pytest.mark.slow
def test_intervals_cover_the_prices_that_made_noisy_points(folder: Path) -> None:
    """100 fits to points with noise: what the simulator makes of the prices is taken once, near the truth."""
    bar = ERROR_PERCENT / 100
    points = [point for point in points_of(folder) for _ in range(3)]
    exact = np.array([point.ns for point in points])
    truth = np.array(list(TRUTH.values()))
    begun = model_at(asked(folder), points, Points(exact, np.full(len(exact), bar)), TRUTH)
    ranges = [Range(price * 1.3, price / 8, price * 8) for price in truth]
    random = np.random.default_rng(1)
    nr_covered = np.zeros(len(truth))
    for _ in range(100):
        noisy = exact * np.exp(bar * random.standard_normal(len(exact)))
        model = begun._replace(points=begun.points._replace(measured=noisy))
        found = least_squares_fit(model, ranges, WAYS)
        known = knowledge(model, found, WAYS.prior)
        nr_covered += [one.low <= price <= one.high for one, price in zip(known, truth, strict=True)]
        assert all(one.high / price <= 1.3 for one, price in zip(known, found, strict=True))
    assert (nr_covered >= 85).all()


def test_some_points_must_be_left_to_fit(folder: Path) -> None:
    with pytest.raises(NotAResult, match=r"^--hold-out: must leave some points"):
        calibrate(asked(folder), points_of(folder), [True] * 3, lambda _: None)
