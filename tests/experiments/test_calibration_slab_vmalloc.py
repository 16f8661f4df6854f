"""The price lists of pages, slabs and vmalloc still tell what was published; README says what the files hold."""

import re

import pandas as pd
import pytest

from experiments.calibration_slab_vmalloc import calibrate
from experiments.calibration_slab_vmalloc.fit import FITTED, best, by_name, left_out, model_of
from experiments.calibration_slab_vmalloc.published import (
    CLOCK_GHZ,
    KEY,
    compared,
    measured,
    outside,
    shipped_prices,
    simulated,
)
from experiments.figures import fill_numbers
from kmsim.config.shipped import shipped_file

NR_ROWS = {"P2": 17, "P3": 43, "P4": 7}


def written() -> pd.DataFrame:
    """What the calibration found."""
    return pd.read_csv(calibrate.FIT)


@pytest.mark.slow
@pytest.mark.parametrize("costs", CLOCK_GHZ)
def test_the_shipped_prices_meet_what_was_published(costs: str) -> None:
    points = measured()
    points = points[points["costs"] == costs].reset_index(drop=True)
    table = compared(points, simulated(points))
    assert outside(table).empty, f"\n{table.to_string()}"
    known = written()
    known = known[known["costs"] == costs]["simulated_ns"]
    assert table["simulated_ns"].tolist() == pytest.approx(known.tolist(), rel=1e-4)


def test_written_numbers_follow_from_the_shipped_lists() -> None:
    """Of pages; those of objects take minutes, and are a slow test, above."""
    table = written()
    rows = table[(table["benchmark"] == "page") & (table["costs"] == "e5-1650-v4")]
    assert simulated(rows) == pytest.approx(rows["simulated_ns"].to_numpy(), abs=0.001)


def test_every_published_row_is_there_and_none_is_outside_of_its_bar() -> None:
    table = written()
    assert table.groupby("table").size().to_dict() == NR_ROWS
    rows = measured()
    assert table[["table", *KEY]].to_numpy().tolist() == rows[["table", *KEY]].to_numpy().tolist()
    assert table["measured_ns"].to_numpy() == pytest.approx(rows["measured_ns"].to_numpy(), abs=0.001)
    assert outside(table).empty


def test_fitted_prices_are_shipped_and_are_plausible() -> None:
    prices = pd.read_csv(calibrate.PRICES).set_index(["costs", "price"])["ns"]
    assert set(prices.index) == {(costs, name) for costs, names in FITTED.items() for name in names}
    for (costs, name), price in prices.items():
        assert shipped_prices(costs)[name] == pytest.approx(price, abs=0.001), (costs, name)
        assert FITTED[costs][name].low <= price <= FITTED[costs][name].high


def source_in(costs: str, name: str) -> str:
    """What a shipped list says of a price."""
    (source,) = re.findall(rf'^{name}: .*source: "(.*)"}}$', shipped_file("costs", costs).read_text(), re.MULTILINE)
    return str(source)


def test_only_what_the_rows_tell_is_called_fitted() -> None:
    """A price on a bound, or where the search starts, is none; README says each."""
    text = " ".join(calibrate.README.read_text(encoding="utf-8").split())
    no_prices = text[text.index("**No prices.**") : text.index("| price list | fitted price |")]
    prices = pd.read_csv(calibrate.PRICES)
    nr_fitted = 0
    for costs, name, price in prices.itertuples(index=False):
        allowed = FITTED[costs][name]
        is_told = price != allowed.start and allowed.low < price < allowed.high
        assert source_in(costs, name).startswith("fitted to all rows of ") == is_told, (costs, name)
        assert source_in(costs, name) == calibrate.source_of(costs, name, price)
        assert (f"`{name}` of `{costs}`" in no_prices) != is_told, (costs, name)
        nr_fitted += is_told
    assert nr_fitted == 15
    for costs in CLOCK_GHZ:  # and no other price of these lists says so
        names = re.findall(r"^(\w+): \{value: .*fitted to", shipped_file("costs", costs).read_text(), re.MULTILINE)
        assert set(names) <= set(FITTED[costs])


def test_a_machine_without_measurements_has_the_others_prices_by_the_clock() -> None:
    of_the_other = shipped_prices(calibrate.SCALED_TO)
    for (_, name), price in calibrate.scaled_prices().items():
        assert of_the_other[name] == pytest.approx(price, abs=0.001), name


@pytest.mark.parametrize("costs", CLOCK_GHZ)
def test_a_price_as_on_another_machine_is_that_machines_price(costs: str) -> None:
    """One of an earlier fit of that machine says so, and is not what it has now."""
    text = shipped_file("costs", costs).read_text(encoding="utf-8")
    prices, others = shipped_prices(costs), shipped_prices(calibrate.SCALED_TO)
    same = re.findall(
        rf'^(\w+): .*"assumed: (?:as on|that of) {calibrate.SCALED_TO}\b(?! by the clock)', text, re.MULTILINE
    )
    assert len(same) >= 5
    assert {name: prices[name] for name in same} == {name: others[name] for name in same}
    earlier = re.findall(rf'^(\w+): .*"assumed: of an earlier fit of {calibrate.SCALED_TO},', text, re.MULTILINE)
    assert len(earlier) >= 3
    assert not [name for name in earlier if prices[name] == others[name]]


@pytest.mark.parametrize("costs", CLOCK_GHZ)
def test_what_is_taken_by_the_clock_follows_the_list_that_it_is_of(costs: str) -> None:
    prices = shipped_prices(costs)
    expected = calibrate.by_the_clock(costs)
    assert len(expected) > 5
    for name, price in expected.items():
        assert prices[name] == pytest.approx(price, abs=0.001), name


def test_readme_says_what_the_tables_hold() -> None:
    text = calibrate.README.read_text(encoding="utf-8")
    table, prices, others = written(), pd.read_csv(calibrate.PRICES), pd.read_csv(calibrate.LEFT_OUT)
    assert fill_numbers(text, calibrate.numbers(table, prices, others)) == text
    assert fill_numbers(text, calibrate.numbers(table.assign(simulated_ns=1.0), prices, others)) != text


def test_each_row_is_predicted_from_the_others() -> None:
    others = pd.read_csv(calibrate.LEFT_OUT)
    assert others[["table", *KEY]].to_numpy().tolist() == measured()[["table", *KEY]].to_numpy().tolist()
    error = calibrate.left_out_errors(others)
    assert error.median() <= 15.0
    assert error.quantile(0.9) <= 35.0


@pytest.mark.slow
def test_what_is_predicted_follows_from_the_fit() -> None:
    """Of one list, whose rows take least: no row sees itself, and the fit to all rows is what is shipped."""
    costs = "page-bench-2017"
    points = measured()[measured()["costs"] == costs]
    model = model_of(points, costs, lambda _: None)
    others = pd.read_csv(calibrate.LEFT_OUT)
    expected = others[others["costs"] == costs]["without_ns"].to_numpy()
    assert left_out(model, costs) == pytest.approx(expected, rel=0.01)
    prices = shipped_prices(costs)
    assert by_name(best(model, costs), costs) == pytest.approx(
        {name: prices[name] for name in FITTED[costs]}, abs=0.001
    )
