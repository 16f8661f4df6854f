"""Drawn times have the means and the shapes that their names promise."""

from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from pydantic import TypeAdapter

from kmsim.config.distributions import Distribution
from kmsim.config.quantities import TIME_MAX
from kmsim.workload.draws import generators, swaps, times
from kmsim.workload.seeds import stream
from kmsim.workload.sizes import between, bounds

NR_DRAWS = 100_000
ADAPTER: TypeAdapter[Any] = TypeAdapter(Distribution)


def drawn(written: Any, count: int = NR_DRAWS) -> NDArray[np.int64]:
    return times(stream(1, "test"), ADAPTER.validate_python(written), count)


@pytest.mark.parametrize(
    "written",
    [
        "2us",
        {"exponential": "2us"},
        {"uniform": {"low": "1us", "high": "4us"}},
        {"lognormal": {"median": "1us", "sigma": 1}},
        {"pareto": {"least": "1us", "shape": 3}},
    ],
    ids=str,
)
def test_the_mean_is_the_promised_one(written: Any) -> None:
    found = drawn(written)
    mean_ps = ADAPTER.validate_python(written).mean_ps
    assert found.dtype == np.int64
    assert abs(found.mean() - mean_ps) <= 4 * found.std() / NR_DRAWS**0.5


def share_above(found: NDArray[np.int64], limit: float) -> float:
    return float((found > limit).mean())


def test_an_exponential_time_is_longer_than_its_mean_in_a_share_of_1_in_e() -> None:
    assert share_above(drawn({"exponential": "2us"}), 2e6) == pytest.approx(np.exp(-1), abs=0.006)
    assert share_above(drawn({"exponential": "2us"}), 6e6) == pytest.approx(np.exp(-3), abs=0.003)


def test_a_uniform_time_is_between_its_bounds_and_each_quarter_is_as_likely() -> None:
    found = drawn({"uniform": {"low": "1us", "high": "5us"}})
    assert found.min() >= 1_000_000
    assert found.max() <= 5_000_000
    assert np.bincount((found - 1_000_000) // 1_000_001) / NR_DRAWS == pytest.approx([0.25] * 4, abs=0.006)


def test_a_uniform_time_without_width_is_constant() -> None:
    assert set(drawn({"uniform": {"low": "3ns", "high": "3ns"}}).tolist()) == {3000}


def test_a_lognormal_time_has_its_median_and_its_sigma() -> None:
    found = np.log(drawn({"lognormal": {"median": "10us", "sigma": 1.5}}))
    assert np.exp(np.median(found)) == pytest.approx(1e7, rel=0.03)
    assert found.std() == pytest.approx(1.5, rel=0.01)


def test_a_pareto_time_has_its_least_and_its_tail() -> None:
    found = drawn({"pareto": {"least": "1us", "shape": 1.5}})
    assert found.min() >= 1_000_000
    for factor in (2, 10, 100):
        assert share_above(found, factor * 1e6) == pytest.approx(factor**-1.5, rel=0.25, abs=1e-3)


@pytest.mark.parametrize(
    "written",
    [{"pareto": {"least": "86400s", "shape": 1.01}}, {"lognormal": {"median": "80000s", "sigma": 5}}],
    ids=["pareto", "lognormal"],
)
def test_no_time_is_longer_than_a_day(written: Any) -> None:
    assert drawn(written).max() == TIME_MAX


def test_each_phase_and_each_purpose_has_numbers_of_its_own() -> None:
    of_task = stream(1, "test")
    found = [numbers(of_task, phase) for phase in range(3)]
    assert len({number for of_phase in found for number in of_phase}) == 21
    assert found[1] == numbers(of_task, 1)


def numbers(of_task: np.random.Generator, phase: int) -> list[float]:
    of_phase = generators(of_task, phase, nr_sizes=2)
    return [float(rng.random()) for rng in (*of_phase[:-1], *of_phase.sizes)]


def test_the_size_of_a_phase_with_more_requests_moves_no_other_number() -> None:
    few, many = (generators(stream(1, "test"), 1, nr_sizes) for nr_sizes in (1, 3))
    assert [rng.random() for rng in few[:-1]] == [rng.random() for rng in many[:-1]]
    assert few.sizes[0].random() == many.sizes[0].random()


def test_a_share_of_frees_is_remote_and_each_other_as_likely() -> None:
    others = np.array([-64, 64, 128], np.int64)
    found = swaps(stream(1, "test"), 0.3, others, NR_DRAWS)
    shares = [float((found == other).mean()) for other in (0, *others)]
    assert shares == pytest.approx([0.7, 0.1, 0.1, 0.1], abs=0.004)


@pytest.mark.parametrize(("share", "others"), [(0.0, [64]), (1.0, [])], ids=["no share", "no others"])
def test_without_a_share_or_without_others_nothing_is_remote(share: float, others: list[int]) -> None:
    assert not swaps(stream(1, "test"), share, np.array(others, np.int64), 100).any()


def test_with_a_share_of_1_every_free_is_remote() -> None:
    assert swaps(stream(1, "test"), 1.0, np.array([64, -64], np.int64), NR_DRAWS).all()


def test_weights_are_kept_by_few_and_by_many() -> None:
    for nr_weights in (1, 2, 30, 102):
        weights = [float(n + 1) for n in range(nr_weights)]
        found = np.bincount(between(stream(1, "test"), bounds(weights), NR_DRAWS), minlength=nr_weights)
        assert found / NR_DRAWS == pytest.approx(np.array(weights) / sum(weights), abs=0.006)
