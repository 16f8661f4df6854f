"""The shipped price list still tells what was measured, and READMEs say what the files beside them hold."""

import re
from pathlib import Path

import pandas as pd
import pytest

import kmsim
from experiments.calibration import calibrate
from experiments.calibration.fit import FITTED, fitted_points
from experiments.calibration.p1 import COSTS, compared, measured, outside, shipped_prices, simulated
from experiments.figures import fill_numbers
from experiments.order0_scaling import order0_scaling
from kmsim.config import load
from kmsim.config.shipped import shipped_file

CORES = (1, 4, 13)
SAID = (("contend: ", "million pairs"), ("gets shorter: ", " ns. In the model"))  # what README has four numbers between


@pytest.mark.slow
@pytest.mark.parametrize("order", [0, 2, 4, 7, 9])
def test_the_shipped_prices_meet_what_was_measured(order: int) -> None:
    points = measured()
    points = points[(points["order"] == order) & (points["cores"].isin(CORES) | (order > 0))]
    table = compared(points, simulated(points))
    assert outside(table).empty, f"\n{table.to_string()}"


def test_fit_has_every_point_and_none_is_outside_of_its_bar() -> None:
    table = pd.read_csv(calibrate.FIT)
    pd.testing.assert_frame_equal(table[measured().columns], measured())
    assert outside(table).empty


def test_fitted_prices_are_shipped() -> None:
    fitted = pd.read_csv(calibrate.PRICES).set_index("price")["ns"].to_dict()
    shipped = shipped_prices()
    assert fitted == pytest.approx({name: shipped[name] for name in FITTED})
    assert shipped["line_memory"] >= shipped["line_memory_overlapped"] >= shipped["line_sequential"]
    assert shipped["line_other"] >= shipped["line_other_overlapped"]


@pytest.mark.parametrize(("name", "median"), [("curve", 15.0), ("order", 15.0), ("benchmark", 15.0), ("cores", 15.0)])
def test_points_are_predicted_from_others(name: str, median: float) -> None:
    error = calibrate.left_out_errors(pd.read_csv(calibrate.LEFT_OUT), name)
    assert error.median() < median
    assert error.quantile(0.9) < 35.0


def test_no_price_is_on_a_bound_and_a_lock_is_no_cheaper_where_it_is_waited_for() -> None:
    shipped = shipped_prices()
    for name, price in FITTED.items():
        assert price.low < shipped[name] < price.high, name
    assert shipped["lock_handover"] >= shipped["lock_uncontended"]


def test_points_that_no_price_was_fitted_to_are_counted_as_predicted() -> None:
    table, others = pd.read_csv(calibrate.FIT), pd.read_csv(calibrate.LEFT_OUT)
    key = ["curve", "order", "cores"]
    assert fitted_points(table)[key].to_numpy().tolist() == others[key].to_numpy().tolist()
    unseen = calibrate.never_fitted(table)
    assert len(unseen) + len(others) == len(table)
    error = unseen["error_percent"].abs()
    assert error.median() < 12.0
    assert error.quantile(0.9) < 35.0


def test_sources_name_as_many_points_as_were_fitted() -> None:
    nr_points = len(pd.read_csv(calibrate.LEFT_OUT))
    text = shipped_file("costs", COSTS).read_text(encoding="utf-8")
    assert text.count(f"fitted to {nr_points} points of LLFree's benchmarks") == 1 + len(FITTED)
    assert f"to {nr_points} of the {len(measured())} points" in text
    model = (calibrate.README.parents[2] / "docs" / "model.md").read_text(encoding="utf-8")
    assert f"fitted to {nr_points} of {len(measured())} published points" in model


def test_the_script_says_how_long_it_took(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    """Not how long that is, which depends on the machine; README and the script's head give one figure for a fit."""
    for name in ("draw", "save_figure", "write_numbers"):
        monkeypatch.setattr(calibrate, name, lambda *_: None)
    calibrate.main(["--draw"])
    assert re.fullmatch(r"took \d+\.\d minutes of one core", capsys.readouterr().out.splitlines()[-1])
    for text in (calibrate.README.read_text(encoding="utf-8"), str(calibrate.__doc__)):
        assert re.findall(r"about (\w+) minutes of one core", text) == ["ten"]


def contended(cores: int) -> tuple[float, float]:
    """`repeat` of order 4: how long a section of the zone's lock takes, and until the next begins, in ns."""
    thread = "workload.threads[0]"
    sets = [f"{thread}.cpus={list(range(cores))}", f"{thread}.operations=1000", f"{thread}.requests[0].order=4"]
    machine = ["machine=xeon-gold-5320", "costs=xeon-gold-5320"]
    result = kmsim.run(load(shipped_file("workloads", "llfree-repeat"), [*machine, *sets]))
    lock = result.locks.sort_values("acquisitions").iloc[-1]
    cpu = result.cpus.set_index("cpu").loc[0]
    assert lock["contended"] >= 0.99 * lock["acquisitions"]
    return lock["hold_total_ns"] / lock["acquisitions"], cpu["run_ns"] / lock["acquisitions"]


@pytest.mark.slow
def test_a_section_that_more_cores_wait_for_is_shorter_as_readme_says() -> None:
    text = calibrate.README.read_text(encoding="utf-8")
    listed = [re.findall(r"[\d.]+", text.split(words)[0].rsplit(before, 1)[1]) for before, words in SAID]
    assert [len(numbers) for numbers in listed] == [4, 4]
    for cores, rate, section_ns in zip((2, 4, 8, 16), *listed, strict=True):
        hold_ns, apart_ns = contended(cores)
        assert hold_ns == pytest.approx(float(section_ns), rel=0.02), cores
        assert 1000 / (2 * apart_ns) == pytest.approx(float(rate), rel=0.02), cores
        assert apart_ns - hold_ns == pytest.approx(160, rel=0.03), cores


def of_a_batch(pages: int) -> dict[str, float]:
    """How long the zone's lock is busy for each refill or drain of so many pages, in ns: by `bulk` on 8 cores."""
    thread = "workload.threads[0]"
    sets = [f"machine.pcp.batch={pages}", f"{thread}.cpus={list(range(8))}", f"{thread}.live=40000"]
    # Linux 6.0 sets no limit to how often drains double; six times is never reached here.
    machine = ["machine=xeon-gold-5320", "costs=xeon-gold-5320", "machine.pcp.batch_scale_max=6"]
    result = kmsim.run(load(shipped_file("workloads", "llfree-bulk"), [*machine, *sets]))
    means = result.operations.groupby("kind")["mean_ns"].mean()  # all CPUs do as many
    return {word: means[kind] * pages / 8 for word, kind in (("get", "alloc"), ("put", "free"))}


@pytest.mark.slow
def test_what_a_hold_and_a_page_in_it_take_is_what_readme_says() -> None:
    """A finding: what published batches imply is neither."""
    text = " ".join(calibrate.README.read_text(encoding="utf-8").split())
    large, small = of_a_batch(63), of_a_batch(31)
    for word in ("get", "put"):
        (said,) = re.findall(rf"([\d.]+) us and ([\d.]+) ns for `{word}`", text)
        page_ns = (large[word] - small[word]) / 32
        hold_us = (small[word] - 31 * page_ns) / 1000
        assert (f"{hold_us:.2f}", f"{page_ns:.1f}") == said, word
        assert hold_us < 0.5
        assert page_ns > 27


def readme_is_filled(readme: Path, text: str) -> bool:
    """Does README hold these numbers, and no others between its marks?"""
    written = readme.read_text(encoding="utf-8")
    return fill_numbers(written, text) == written


def test_readmes_say_what_the_results_hold() -> None:
    fit = calibrate.numbers(*(pd.read_csv(file) for file in (calibrate.FIT, calibrate.PRICES, calibrate.LEFT_OUT)))
    assert readme_is_filled(calibrate.README, fit)
    assert readme_is_filled(order0_scaling.README, order0_scaling.numbers(pd.read_csv(order0_scaling.RESULTS)))


def test_a_readme_with_another_number_is_not_filled(tmp_path: Path) -> None:
    readme = tmp_path / "README.md"
    readme.write_text("a\n<!-- numbers -->\n12 ns\n<!-- end of numbers -->\n")
    assert readme_is_filled(readme, "12 ns\n")
    assert not readme_is_filled(readme, "13 ns\n")
