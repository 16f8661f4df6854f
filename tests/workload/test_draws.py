"""Drawn times have the means and the shapes that their names promise."""

from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from pydantic import TypeAdapter

from kmsim.config.distributions import Distribution
from kmsim.config.quantities import TIME_MAX
from kmsim.workload.draws import PICK, SIZES, Generators, times
from kmsim.workload.seeds import stream

NR_DRAWS = 100_000
ADAPTER: TypeAdapter[Any] = TypeAdapter(Distribution)


def drawn(written: Any, count: int = NR_DRAWS) -> NDArray[np.int64]:
    return times(stream(1, "test"), ADAPTER.validate_python(written), count)


@pytest.mark.parametrize(
    "written",
    [
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
    of_phase = Generators(of_task, phase)
    return [float(of_phase.of(purpose).random()) for purpose in range(SIZES + 2)]


def test_a_generator_has_the_same_numbers_whichever_others_are_made() -> None:
    alone, beside = (Generators(stream(1, "test"), 1) for _ in range(2))
    beside.of(PICK).random(5)
    beside.of(SIZES).random(5)
    assert alone.of(SIZES + 1).random() == beside.of(SIZES + 1).random()
