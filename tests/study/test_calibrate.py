"""A price list fitted to points that the simulator itself has made, on a small machine with a few prices."""

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import pytest

from kmsim.config import from_mapping, loads
from kmsim.config.shipped import shipped_file
from kmsim.metrics.columns import Table
from kmsim.sim.core.costs import PRICES
from kmsim.study.calibrate import CYCLE, SPAN, Calibration, calibrate, price_list, range_of
from kmsim.study.fit import Floats
from kmsim.study.left_out import Off, OfKind, kind_of, lines_left_out
from kmsim.study.measured import Point, Run
from kmsim.study.point_runs import PointRuns
from kmsim.study.store import NotAResult
from kmsim.units import PS_PER_NS

MACHINE = """\
extends: x86-laptop
memory: 64MiB
cpus: 2
"""
# What the points are made of, other than what the search starts from; all other prices are 0.
START = {"alloc_fast": 62.0, "free_fast": 42.0, "page_moved": 20.0, "lock_hold": 24.0}
TRUTH = {"alloc_fast": 80.0, "free_fast": 30.0, "page_moved": 30.0, "lock_hold": 50.0}
ERROR_PERCENT = 3.0
REPEAT = Run(shipped_file("workloads", "llfree-repeat"), ("workload.threads[0].operations=400",))
REPEAT_4 = REPEAT._replace(sets=("workload.threads[0].cpus=[0, 1]", "workload.threads[0].requests[0].order=4"))
BULK = Run(shipped_file("workloads", "llfree-bulk"), ("workload.threads[0].cpus=[0]", "workload.threads[0].live=2000"))
BULK_2 = BULK._replace(sets=("workload.threads[0].cpus=[0, 1]", "workload.threads[0].live=2000"))


def prices_of_a_list(prices: dict[str, float]) -> str:
    """A list with these prices (ns), and all others 0."""
    others = "xeon-gold-5320"
    lines = [f"extends: {others}", "name: few"]
    lines += [f'{name}: {{value: {prices.get(name, 0):g}ns, source: "assumed"}}' for name in PRICES]
    return "\n".join(lines) + "\n"


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("calibrate")
    (folder / "machine.yaml").write_text(MACHINE)
    (folder / "few.yaml").write_text(prices_of_a_list(START))
    return folder


@pytest.fixture(scope="module")
def runs(folder: Path) -> PointRuns:
    return PointRuns(str(folder / "machine.yaml"), str(folder / "few.yaml"))


@pytest.fixture(scope="module")
def points(runs: PointRuns) -> list[Point]:
    """Points that the simulator has made of the true prices."""
    named = [
        ("repeat", 0, 1, "alloc", REPEAT),
        ("repeat", 0, 1, "free", REPEAT),
        ("repeat", 4, 2, "pair", REPEAT_4),
        ("get", 0, 1, "alloc", BULK),
        ("get", 0, 2, "alloc", BULK_2),
        ("put", 0, 2, "free", BULK_2),
    ]
    found = [
        Point(word, order, None, cpus, kind, None, "", 1.0, ERROR_PERCENT, run, f"points.csv:{n}")
        for n, (word, order, cpus, kind, run) in enumerate(named, 2)
    ]
    latency = runs.latencies(found, TRUTH)
    return [point._replace(ns=float(ns)) for point, ns in zip(found, latency, strict=True)]


@pytest.fixture(scope="module")
def found(runs: PointRuns, points: list[Point]) -> Calibration:
    """The fit to them, but for the last."""
    return calibrate(runs, points, [False] * 5 + [True], lambda _: None)


@pytest.mark.slow
def test_prices_that_made_the_points_are_found_again(found: Calibration) -> None:
    assert {price.name for price in found.prices} == set(TRUTH)
    for price in found.prices:
        assert price.ns == pytest.approx(TRUTH[price.name], rel=0.05), price.name
        assert price.low <= TRUTH[price.name] <= price.high
        assert not price.bound
    assert [one.is_held_out for one in found.points] == [False] * 5 + [True]
    assert max(abs(one.error_percent) for one in found.points) < 1
    assert np.isnan(found.points[5].without_curve_ns)
    # Without its curve nothing tells the price of a free, which stays where the search started.
    assert found.points[1].without_curve_ns == pytest.approx(START["free_fast"], rel=0.05)


class Sums(PointRuns):
    """In place of simulations: a point's latency is the sum of the prices that its workload names."""

    def check(self, points: Sequence[Point]) -> None:
        """Nothing runs."""

    def latencies(self, points: Sequence[Point], prices: Mapping[str, float]) -> Floats:
        """The sums."""
        return np.array([sum(prices.get(name, 0.0) for name in point.workload.split()) for point in points])


def summed(*points: tuple[str, float]) -> list[Point]:
    """Points of sums: which, and what was measured."""
    return [Point(name, 0, None, 1, "pair", None, "", ns, 3.0, REPEAT, "points.csv:2") for name, ns in points]


def test_what_a_fit_predicts_of_a_curve_does_not_depend_on_it(folder: Path) -> None:
    """The truth is seven times the start, so that the search ends far from where it starts."""
    runs = Sums(str(folder / "machine.yaml"), str(folder / "few.yaml"))
    points = summed(("alloc_fast", 80.0), ("alloc_fast lock_hold", 104.0), ("free_fast", 7 * START["free_fast"]))
    found = calibrate(runs, points, [False] * 3, lambda _: None)
    assert found.points[2].ns == pytest.approx(points[2].ns, rel=0.01)
    assert found.points[2].without_curve_ns == pytest.approx(START["free_fast"], rel=0.01)


def test_what_the_fit_does_is_said(runs: PointRuns, points: list[Point]) -> None:
    said: list[str] = []
    calibrate(runs, points[:2], [False] * 2, said.append)
    assert said[0] == "2 points of 1 runs; 4 prices, each moved once"
    assert said[1].startswith("round 1: 2 prices are told; the largest change is ")


def test_the_new_list_is_one_that_a_study_may_name(folder: Path, found: Calibration) -> None:
    (folder / "mine.yaml").write_text(price_list(found, "mine", 'a "quoted" file.csv'))
    costs = from_mapping(
        {
            "name": "named",
            "machine": str(folder / "machine.yaml"),
            "costs": str(folder / "mine.yaml"),
            "workload": {"threads": [{"name": "a", "operations": 10}]},
        }
    ).costs
    assert costs.name == "mine"
    price = next(price for price in found.prices if price.name == "alloc_fast")
    ends = price.low, price.ns, price.high
    assert (costs.alloc_fast.low, costs.alloc_fast.value, costs.alloc_fast.high) == tuple(
        round(PS_PER_NS * ns) for ns in ends
    )
    assert costs.alloc_fast.source.startswith('fitted to a "quoted" file.csv: 95 % interval ')
    assert (costs.slab_new, costs.cache_lines) == (found.costs.slab_new, found.costs.cache_lines)
    assert not set(found.kept) & set(TRUTH)
    # One CPU was asked for allocations only.
    kinds = [(one.api, one.min_order, one.max_order, one.page_size, one.cpus, one.points) for one in costs.left_out]
    assert kinds == [("pages", 0, 0, 4096, "several", 4), ("pages", 4, 4, 4096, "several", 1)]


def test_a_list_says_how_far_off_it_is_on_points_that_its_fit_did_not_see() -> None:
    one = OfKind("pages", 2, False, frozenset(("alloc",)))
    errors = [Off(one, 10.0), Off(one._replace(operations=frozenset(("free",))), 20.0)]
    several = OfKind("pages", 2, True, frozenset(("alloc",)))
    machine = loads("machine: x86-laptop\nworkload: {threads: [{name: a}]}\n").machine
    assert lines_left_out([Off(several, 10.0)], machine, "p.csv") == []
    assert lines_left_out([*errors, Off(several, 10.0)], machine, "p.csv") == [
        "left_out:",
        "  - {api: pages, min_order: 2, max_order: 2, page_size: 4KiB, cpus: one, tails_written: true, points: 2, "
        'median: 15.0, nine_of_ten: 19.0, source: "p.csv"}',
    ]


def operations(*rows: tuple[str, str, str, int, int]) -> Table:
    """Rows of kind, API, flags, order and CPU."""
    kind, api, gfp, order, cpu = zip(*rows, strict=True)
    texts = {name: np.array(values, np.str_) for name, values in (("kind", kind), ("api", api), ("gfp", gfp))}
    return Table(texts | {"order": np.array(order), "cpu": np.array(cpu), "count": np.ones(len(rows), int)})


def test_points_of_no_one_kind_say_nothing_of_the_lists_error() -> None:
    alloc, free = ("alloc", "pages", "GFP_KERNEL", 2, 0), ("free", "pages", "GFP_KERNEL", 2, 1)
    assert kind_of(operations(alloc, free), "pair") == OfKind("pages", 2, True, frozenset(("alloc", "free")))
    zeroed = (*alloc[:2], "GFP_KERNEL|__GFP_ZERO", *alloc[3:])
    assert kind_of(operations(zeroed, free), "alloc") is None
    assert kind_of(operations(zeroed, free), "free") is not None
    assert kind_of(operations(alloc, (*alloc[:3], 3, 0)), "alloc") is None
    assert kind_of(operations(("alloc", "slab", "GFP_KERNEL", 0, 0)), "alloc") is None


def test_a_fit_that_starts_where_it_ended_stays_there(folder: Path, points: list[Point], found: Calibration) -> None:
    (folder / "again.yaml").write_text(price_list(found, "again", "points.csv"))
    runs = PointRuns(str(folder / "machine.yaml"), str(folder / "again.yaml"))
    again = calibrate(runs, points, [False] * 5 + [True], lambda _: None)
    for first, second in zip(found.prices, again.prices, strict=True):
        assert second.ns == pytest.approx(first.ns, rel=0.02), first.name


@pytest.mark.slow
def test_intervals_cover_the_prices_that_made_noisy_points(runs: PointRuns, points: list[Point]) -> None:
    """100 fits, each to points with other noise: the whole of calibrate, simulated anew where the search leads."""
    random = np.random.default_rng(1)
    nr_covered = dict.fromkeys(TRUTH, 0)
    measured = [point for point in points for _ in range(4)]
    for _ in range(100):
        noise = np.exp(ERROR_PERCENT / 100 * random.standard_normal(len(measured)))
        noisy = [point._replace(ns=point.ns * factor) for point, factor in zip(measured, noise, strict=True)]
        for price in calibrate(runs, noisy, [False] * len(noisy), lambda _: None).prices:
            nr_covered[price.name] += price.low <= TRUTH[price.name] <= price.high
            assert price.high / price.ns <= 1.3, price.name
            assert price.ns / price.low <= 1.3, price.name
    assert min(nr_covered.values()) >= 85, nr_covered


def test_a_price_on_a_bound_or_below_what_hardware_can_do_is_a_finding(runs: PointRuns, points: list[Point]) -> None:
    slow = [point._replace(ns=point.ns * 100) for point in points[:2]]
    (finding,) = [line for line in calibrate(runs, slow, [False] * 2, lambda _: None).findings if "free_fast" in line]
    assert finding.startswith(f"free_fast: {SPAN * START['free_fast']:g} ns is on the upper bound of its range")
    assert range_of("page_check", 0.06).low == range_of("page_check", 0.06).start == CYCLE


def test_a_price_of_the_list_below_what_hardware_can_do_is_a_finding(found: Calibration) -> None:
    price = found.costs.page_check.model_copy(update={"value": 58})
    low = found._replace(costs=found.costs.model_copy(update={"page_check": price}))
    assert low.findings == [
        "page_check: 0.058 ns, of few, is below 0.16 ns, the least that hardware can take for it",
    ]


def test_some_points_must_be_left_to_fit(runs: PointRuns, points: list[Point]) -> None:
    with pytest.raises(NotAResult, match=r"^--hold-out: must leave some points"):
        calibrate(runs, points, [True] * 6, lambda _: None)


def test_points_that_tell_nothing_are_refused(runs: PointRuns, points: list[Point]) -> None:
    vague = [point._replace(error_percent=400.0) for point in points[:1]]
    with pytest.raises(NotAResult, match=r"^the points tell no price"):
        calibrate(runs, vague, [False], lambda _: None)
