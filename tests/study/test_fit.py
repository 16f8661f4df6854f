"""Prices fitted to latencies that are linear in them: what is found, how well it is known, and what is predicted."""

import numpy as np
import pytest

from kmsim.study.fit import (
    Floats,
    Model,
    Points,
    Range,
    Ways,
    knowledge,
    least_squares_fit,
    least_worst_fit,
    left_out,
    slopes,
)

TRUTH = np.array([60.0, 20.0, 5.0])
STEPS = np.array([[1, 0, 0], [1, 1, 0], [1, 2, 4], [0, 1, 9], [2, 1, 20], [1, 3, 50]], float)
START = np.array([40.0, 30.0, 8.0])
RANGES = [Range(price, price / 5, price * 5) for price in START]
NO_PRIOR = Ways(prior=0.0, digits=9)


def model(measured: Floats, bar: float = 0.05, steps: Floats = STEPS) -> Model:
    """What such prices make of points that take so many steps of each."""
    points = Points(measured, np.full(len(measured), bar))
    return Model(points, START, steps @ START, steps)


def test_exact_points_give_the_prices_back() -> None:
    assert least_squares_fit(model(STEPS @ TRUTH), RANGES, NO_PRIOR) == pytest.approx(TRUTH, rel=1e-4)


def test_what_no_point_sees_stays_where_the_search_starts() -> None:
    steps = STEPS * [1, 1, 0]
    found = least_squares_fit(model(steps @ TRUTH, steps=steps), RANGES)
    assert found == pytest.approx([60, 20, 8], rel=0.01)


def test_a_price_stays_within_its_range_and_near_where_slopes_were_taken() -> None:
    narrow = [Range(40, 35, 45), *RANGES[1:]]
    assert least_squares_fit(model(STEPS @ TRUTH), narrow, NO_PRIOR)[0] == pytest.approx(45)
    assert least_squares_fit(model(STEPS @ (10 * TRUTH)), RANGES, Ways(prior=0.0))[0] == pytest.approx(80)


def test_slopes_are_those_of_the_latencies() -> None:
    found = slopes(lambda x: STEPS @ x, START, 0.1 * START, STEPS @ START)
    assert found == pytest.approx(STEPS, abs=1e-9)


def test_intervals_cover_the_truth_as_often_as_they_say() -> None:
    random = np.random.default_rng(1)
    nr_covered = np.zeros(3)
    steps = np.repeat(STEPS, 3, axis=0)
    for _ in range(200):
        measured = steps @ TRUTH * np.exp(0.03 * random.standard_normal(len(steps)))
        of = model(measured, 0.03, steps)
        found = least_squares_fit(of, RANGES, NO_PRIOR)
        known = knowledge(of, found, 0.0)
        nr_covered += [one.low <= price <= one.high for one, price in zip(known, TRUTH, strict=True)]
    assert (nr_covered >= 180).all()
    assert (nr_covered <= 200).all()


def test_intervals_are_wider_where_points_are_off_by_more_than_their_bars() -> None:
    off = STEPS @ TRUTH * [1.2, 0.8, 1.2, 0.8, 1.2, 0.8]
    known, exact = (knowledge(model(off), TRUTH, 0.0, is_exact=is_exact) for is_exact in (False, True))
    assert known[0].high / known[0].low > 2 * exact[0].high / exact[0].low


def test_prices_that_always_come_together_are_known_only_in_a_sum() -> None:
    steps = np.array([[1, 1, 0], [2, 2.01, 0], [1, 1, 3], [0, 0, 5]])
    known = knowledge(model(steps @ TRUTH, 0.02, steps), TRUTH, 0.1)
    assert (known[0].partners, known[1].partners, known[2].partners) == ((1,), (0,), ())
    assert all(one.is_told for one in known)


@pytest.mark.parametrize("nr_together", [2, 3, 4, 10])
def test_a_sum_of_any_number_of_prices_is_said(nr_together: int) -> None:
    """All but the last always come together; that is seen by itself."""
    steps = np.array([[1.0] * nr_together + [0.0], [2.0] * nr_together + [1.0], [0.0] * nr_together + [1.0]])
    prices = np.full(nr_together + 1, 20.0)
    of = Model(Points(steps @ prices, np.full(3, 0.01)), prices, steps @ prices, steps)
    known = knowledge(of, prices, 0.1)
    together = set(range(nr_together))
    assert [set(one.partners) for one in known] == [together - {i} for i in range(nr_together)] + [set()]


def test_a_price_in_two_sums_is_named_by_both() -> None:
    steps = np.array([[1.0, 1, 0], [0, 1, 1]])
    prices = np.full(3, 20.0)
    known = knowledge(Model(Points(steps @ prices, np.full(2, 0.01)), prices, steps @ prices, steps), prices, 0.1)
    assert [one.partners for one in known] == [(1,), (0, 2), (1,)]


def test_a_price_that_no_point_sees_is_not_told() -> None:
    steps = STEPS * [1, 1, 0]
    known = knowledge(model(steps @ TRUTH, steps=steps), START, 0.1, is_exact=True)
    assert [one.is_told for one in known] == [True, True, False]


def test_what_is_left_out_is_predicted_from_the_others() -> None:
    of = model(STEPS @ TRUTH)
    groups = ["a", "a", "b", "b", "c", "c"]
    predicted = left_out(of, groups, lambda others: least_squares_fit(others, RANGES, NO_PRIOR))
    assert predicted == pytest.approx(STEPS @ TRUTH, rel=0.01)
    assert np.isnan(left_out(of, ["a"] * 6, lambda _: START)).all()


def test_the_linear_program_finds_prices_that_meet_every_row() -> None:
    share = np.array([[1.0, 0.0], [0.0, 1.0], [1.0, 1.0]])
    measured = np.array([3.0, 5.0, 8.0])
    wide, narrow = Range(1, 0, 10), Range(1, 0, 2)
    of = Model(Points(measured, np.ones(3)), np.ones(2), share @ np.ones(2), share)
    assert least_worst_fit(of, [wide, wide], 0.0) == pytest.approx([3, 5], rel=0.02)
    assert least_worst_fit(of, [narrow, wide], 0.0)[0] == 2
