"""What was done, turned into time by the price list."""

import numpy as np
import pytest

from kmsim.config.costs import CostsConfig
from kmsim.mm.mmzone import work_t
from kmsim.sim.costs import Prices, prices
from tests.studies import lock_prices_only, study

# What each count of work costs, by the price list's name.
PRICE_OF = {
    "splits": "buddy_split",
    "merges": "buddy_merge",
    "pages_moved": "page_moved",
    "frames_scanned": "block_scanned",
}


def shipped() -> Prices:
    return prices(study().costs)


def work(**counts: int) -> np.void:
    record = np.zeros(1, work_t)[0]
    for name, count in counts.items():
        record[name] = count
    return record


def test_every_price_of_the_list_is_known_to_the_simulation() -> None:
    assert set(Prices._fields) == set(CostsConfig.model_fields) - {"name", "source"}


def test_prices_are_whole_picoseconds() -> None:
    assert all(type(value) is int for value in shipped())
    assert shipped().alloc_fast == 56_000


def test_a_fraction_of_a_nanosecond_is_kept() -> None:
    costs = lock_prices_only() | {"buddy_split": {"value": "0.125ns", "source": "for a test"}}
    assert prices(study(costs=costs).costs).buddy_split == 125


def test_every_kind_of_work_has_its_price() -> None:
    assert set(PRICE_OF) == set(work_t.names or ())


@pytest.mark.parametrize("name", PRICE_OF)
def test_a_hold_counts_each_piece_of_work_at_its_own_price(name: str) -> None:
    price = getattr(shipped(), PRICE_OF[name])
    assert price > 0
    assert shipped().hold(work(**{name: 3})) == 3 * price


def test_a_hold_is_the_sum_over_all_work_as_a_python_int() -> None:
    hold = shipped().hold(work(splits=2, merges=1, pages_moved=31, frames_scanned=512))
    assert hold == 2 * 8_000 + 10_000 + 31 * 38_000 + 512 * 5_000
    assert type(hold) is int


def test_a_section_that_did_nothing_costs_nothing() -> None:
    assert shipped().hold(work()) == 0
