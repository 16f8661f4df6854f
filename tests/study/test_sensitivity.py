"""What hangs on the prices: versions of a study, effects, conclusions, and indices that theory knows."""

from dataclasses import replace
from math import log
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pandas as pd
import pytest

from kmsim.config import Design, design_of
from kmsim.config.costs import CostsConfig
from kmsim.config.product import Axis
from kmsim.study.results import load_study
from kmsim.study.sensitivity import (
    AS_GIVEN,
    AXIS,
    NOTHING_SHOWN,
    conclusions,
    effects,
    indices,
    influential,
    one_at_a_time,
    saltelli,
    varied_prices,
)
from kmsim.study.store import NotAResult
from tests.plots.studies import comparison, made_up_study
from tests.studies import lock_prices_only, mapping
from tests.study.campaigns import run, small_design

GUESSED = {
    "alloc_fast": "56ns",
    "interrupt": "1us",
}  # a price of every allocation, and one of nothing that happens here


def prices(**assumed: str) -> dict[str, Any]:
    """A price list in which only these prices are not known exactly, and those of locks and operations are not 0."""
    found = {name: {"value": value, "source": "Assumed: for a test"} for name, value in assumed.items()}
    known = {
        name: {**price, "low": price["value"], "high": price["value"]} if name in CostsConfig.model_fields else price
        for name, price in lock_prices_only().items()
    }
    return known | found


def guessed_design(*live: int, **others: Any) -> Design:
    return small_design(*(live or (8, 16)), **{"costs": prices(**GUESSED)} | others)


# ---- versions of a study


def test_a_price_without_an_interval_is_divided_and_multiplied_at_every_point() -> None:
    design = one_at_a_time(guessed_design(), 4.0)
    versions = [AS_GIVEN, "alloc_fast / 4", "alloc_fast x 4", "interrupt / 4", "interrupt x 4"]
    assert [point.labels for point in design.points] == [
        {"live": live, AXIS: version} for live in ("8", "16") for version in versions
    ]
    costs = [design.study_of(point).costs for point in design.points[:5]]
    assert [of.alloc_fast.value for of in costs] == [56_000, 14_000, 224_000, 56_000, 56_000]
    assert [of.interrupt.value for of in costs] == [10**6, 10**6, 10**6, 250_000, 4 * 10**6]
    assert {of.free_fast.value for of in costs} == {56_000}
    assert {design.seed_of(point, 1) for point in design.points} == {2}


def test_a_price_with_an_interval_is_moved_to_its_ends() -> None:
    fitted = {"alloc_fast": {"value": "56ns", "low": "50ns", "high": "70ns", "source": "fitted"}}
    design = guessed_design(8, costs=prices(**GUESSED) | fitted)
    versions = one_at_a_time(design, 4.0)
    labels = [AS_GIVEN, "alloc_fast at 50ns", "alloc_fast at 70ns", "interrupt / 4", "interrupt x 4"]
    assert [point.labels[AXIS] for point in versions.points] == labels
    values = [versions.study_of(point).costs.alloc_fast.value for point in versions.points]
    assert values == [56_000, 50_000, 70_000, 56_000, 56_000]
    sampled = saltelli(design, ["alloc_fast"], 4, 4.0)
    values = [sampled.study_of(point).costs.alloc_fast.value for point in sampled.points]
    assert 50_000 <= min(values) < max(values) <= 70_000


def test_prices_are_varied_that_cost_something_and_are_not_known_exactly() -> None:
    design = guessed_design(costs=prices(alloc_fast="56ns", tlb_flush="0ns"))
    assert list(varied_prices(design.study_of(design.points[0]))) == ["alloc_fast"]
    default = varied_prices(small_design().study_of(small_design().points[0]))
    assert {"interrupt", "tlb_flush", "watermark_check", "lock_hold", "alloc_fast", "lock_uncontended"} <= set(default)


def test_the_least_price_stays_a_price() -> None:
    design = one_at_a_time(guessed_design(costs=prices(line_hot="1ps")), 1000.0)
    assert design.study_of(design.points[1]).costs.line_hot.value == 1


def test_points_that_are_left_out_or_dropped_stay_so() -> None:
    sweep = {
        "axes": [
            {"key": "workload.threads[0].live", "name": "live", "values": [8, 16, 32]},
            {"key": "machine.cpus", "name": "cpus", "values": [1, 2]},
        ],
        "only": {"live": [16, 32]},
        "drop": [{"where": {"live": [16], "cpus": [1]}, "because": "for a test"}],
    }
    design = guessed_design(sweep=sweep)
    varied = one_at_a_time(design, 2.0)
    assert len(varied.points) == 5 * len(design.points) == 15
    sampled = saltelli(design, ["alloc_fast"], 2, 2.0)
    assert {(point.labels["live"], point.labels["cpus"]) for point in sampled.points} == {("16", "2")}
    assert len(sampled.points) == 6


def test_a_config_without_a_sweep_is_varied_as_well() -> None:
    plain = design_of(mapping(costs=prices(**GUESSED)))
    assert len(one_at_a_time(plain, 2.0).points) == 5
    assert len(saltelli(plain, ["alloc_fast", "interrupt"], 4, 2.0).points) == 16


LISTS = {"name": "list", "variants": {"a": {"costs": prices(alloc_fast="56ns")}, "b": {"costs": "xeon-gold-5320"}}}
SWEPT = {"key": "costs.alloc_fast.value", "values": ["56ns", "60ns"]}
REFUSED: dict[str, tuple[dict[str, Any], str]] = {
    "nothing to vary": ({"costs": prices()}, "must have prices above 0 whose intervals have a width; it has none"),
    "price lists are varied": ({"sweep": {"axes": [LISTS]}}, "alloc_fast is not that of point 0 at point 1"),
    "a price is varied": ({"sweep": {"axes": [SWEPT]}}, "alloc_fast is not that of point 0 at point 1"),
    "other seeds at each point": (
        {"replications": {"number": 2, "random_numbers": "independent"}},
        "must have common random numbers, .*: --set replications.random_numbers=common",
    ),
}


@pytest.mark.parametrize("case", REFUSED)
def test_what_cannot_be_varied_is_said(case: str) -> None:
    keys, message = REFUSED[case]
    with pytest.raises(NotAResult, match=f"small: .*{message}"):
        one_at_a_time(guessed_design(**keys), 2.0)


def test_one_price_list_of_several_is_varied() -> None:
    design = guessed_design(sweep={"axes": [LISTS], "only": {"list": ["a"]}})
    versions = one_at_a_time(design, 2.0)
    assert [point.labels[AXIS] for point in versions.points] == [AS_GIVEN, "alloc_fast / 2", "alloc_fast x 2"]
    assert versions.study_of(versions.points[2]).costs.alloc_fast.value == 112_000


# ---- effects and conclusions


def test_effects_are_those_of_the_same_study_with_another_price(tmp_path: Path) -> None:
    design = guessed_design(comparisons=[{"axis": "live"}])
    run(one_at_a_time(design, 2.0), tmp_path / "versions")
    run(design, tmp_path / "given")
    run(guessed_design(costs=prices(alloc_fast="112ns", interrupt="1us")), tmp_path / "dear")
    given, dear = (
        load_study(tmp_path / name).estimates.set_index(["live", "response"])["mean"] for name in ("given", "dear")
    )
    change = (dear / given - 1).xs("latency_mean", level="response")
    study = load_study(tmp_path / "versions")
    table = effects(study, design, 2.0).set_index(["version", "response"])
    row = table.loc[("alloc_fast x 2", "latency_mean")]
    assert row["largest_change"] == pytest.approx(change.max(), rel=1e-12)
    assert row["largest_change"] > 0.1
    assert row["mean_change"] == pytest.approx(change.mean(), rel=1e-12)
    assert row["point"] == f"live {change.idxmax()}"
    assert (row["price"], row["value_ns"], row["unit"], row["nr_points"]) == ("alloc_fast", 56, "ns", 2)
    assert table.loc[("alloc_fast / 2", "latency_mean"), "largest_change"] != row["largest_change"]
    assert (table[table["price"] == "interrupt"][["largest_change", "mean_change"]] == 0).all(axis=None)
    assert "failed_share" not in table.index.get_level_values("response"), "0 of anything has no relative change"
    assert influential(study, design, 2.0) == ["alloc_fast"]
    assert {found.said for found in conclusions(study)} <= {"higher", "lower", NOTHING_SHOWN}


LEVELS = {AXIS: (AS_GIVEN, "alloc_fast / 2", "alloc_fast x 2", "interrupt / 2", "interrupt x 2"), "live": ("8", "16")}


def versions_of(value: Any, replications: int = 4, **others: Any) -> Any:
    """A study of every version, its response a function of version, level of `live` and replication."""
    live = Axis("live", LEVELS["live"], (8.0, 16.0), "")
    asked = {"comparisons": [comparison(live)], "responses": {"r": ("ns", 1.0, 0.0, 0.0, 0.0)}} | others
    made = made_up_study(live, Axis(AXIS, LEVELS[AXIS], None, ""), replications=replications, **asked)
    rows = made.responses.merge(made.runs[["run", AXIS, "live"]], on="run")
    values = [value(*key) for key in zip(rows[AXIS], rows["live"], rows["replication"], strict=True)]
    return replace(made, responses=made.responses.assign(value=np.array(values, float)))


def test_a_conclusion_changes_where_a_version_says_something_else() -> None:
    more = {AS_GIVEN: 5, "alloc_fast / 2": -5, "alloc_fast x 2": 5, "interrupt / 2": 0, "interrupt x 2": 7}

    def value(version: str, live: str, replication: int) -> float:
        return 100 + (live == "16") * (more[version] + (0.1 if replication % 2 else -0.1))

    (found,) = conclusions(versions_of(value))
    assert (found.comparison, found.response, found.level, found.where) == ("live_from_8", "r", "16", "")
    assert found.said == "higher"
    assert found.changed == ("lower with alloc_fast / 2", f"{NOTHING_SHOWN} with interrupt / 2")


def test_a_conclusion_may_be_won() -> None:
    (found,) = conclusions(versions_of(lambda version, live, n: 100 - (live == "16" and "x" in version) * (9 + n % 2)))
    assert (found.said, found.changed) == (NOTHING_SHOWN, ("lower with alloc_fast x 2, interrupt x 2",))


def test_conclusions_stay_where_every_version_says_the_same() -> None:
    (found,) = conclusions(versions_of(lambda version, live, n: 100 + (live == "16") * (9 + n % 2) + len(version)))
    assert (found.said, found.changed) == ("higher", ())


def test_without_comparisons_there_are_no_conclusions() -> None:
    assert conclusions(versions_of(lambda *_: 1.0, comparisons=[])) == []


def test_of_one_replication_nothing_is_shown() -> None:
    (found,) = conclusions(versions_of(lambda _, live, __: float(live), replications=1))
    assert (found.said, found.changed) == (NOTHING_SHOWN, ())


def test_the_largest_change_is_that_of_the_point_that_moves_most() -> None:
    def value(version: str, live: str, _: int) -> float:
        return {"alloc_fast / 2": {"8": 110.0, "16": 70.0}}.get(version, {}).get(live, 100.0)

    table = effects(versions_of(value), guessed_design(), 2.0).set_index("version")
    row = table.loc["alloc_fast / 2"]
    assert (row["largest_change"], row["mean_change"]) == (pytest.approx(-0.3), pytest.approx(-0.1))
    assert row["point"] == "live 16"
    assert (table["largest_change"].drop("alloc_fast / 2") == 0).all()


def test_only_prices_that_move_the_first_point_are_sampled() -> None:
    def value(version: str, live: str, _: int) -> float:
        return 100.0 + (version.startswith("interrupt") and live == "16") + (version == "alloc_fast x 2")

    assert influential(versions_of(value), guessed_design(), 2.0) == ["alloc_fast"]


def test_a_response_that_is_nothing_moves_nothing() -> None:
    table = effects(versions_of(lambda version, *_: float(version != AS_GIVEN)), guessed_design(), 2.0)
    assert table.empty
    assert influential(versions_of(lambda *_: np.nan), guessed_design(), 2.0) == []


# ---- Sobol' indices


SAMPLES, NAMES = 128, ["alloc_fast", "interrupt"]


@pytest.fixture(scope="module")
def sampled() -> pd.DataFrame:
    """Each version of the prices: its label, and where in its range each price lies, 0 to 1."""
    design = saltelli(guessed_design(), NAMES, SAMPLES, 4.0)
    assert design.inquiry.replications.most == 1
    assert {point.labels["live"] for point in design.points} == {"8"}
    rows = []
    for point in design.points:
        costs = design.study_of(point).costs
        found = zip((costs.alloc_fast.value, costs.interrupt.value), (56_000, 10**6), strict=True)
        rows.append((point.labels[AXIS], *(0.5 + log(value / given) / log(16) for value, given in found)))
    return pd.DataFrame(rows, columns=["label", *NAMES]).set_index("label")


def test_rows_are_saltellis(sampled: pd.DataFrame) -> None:
    assert len(sampled) == SAMPLES * (2 + len(NAMES))
    assert sampled.to_numpy().min() >= -1e-4
    assert sampled.to_numpy().max() <= 1 + 1e-4
    for n in range(SAMPLES):
        a, b = sampled.loc[f"A {n}"], sampled.loc[f"B {n}"]
        assert list(sampled.loc[f"AB 0 {n}"]) == [b.iloc[0], a.iloc[1]]
        assert list(sampled.loc[f"AB 1 {n}"]) == [a.iloc[0], b.iloc[1]]
    a = sampled.loc[[f"A {n}" for n in range(SAMPLES)]]
    assert (a.mean() - 0.5).abs().max() < 0.02
    assert abs(a.corr().iloc[0, 1]) < 0.1


def of_function(sampled: pd.DataFrame, value: Any, left_out: int = 0) -> pd.DataFrame:
    """The indices of a response that is this function of the places of both prices, and of one that is constant."""
    runs = pd.DataFrame({"run": np.arange(len(sampled)), AXIS: sampled.index})
    whole = runs[["run"]].assign(response="r", unit="ns", batch=-1, value=value(*sampled.to_numpy().T))
    batches = whole.assign(batch=0, value=1e9)
    flat = whole.assign(response="flat", value=3.0)
    responses = pd.concat([whole.iloc[left_out:], batches, flat])
    study: Any = SimpleNamespace(runs=runs, responses=responses)
    return indices(study, NAMES, SAMPLES).set_index(["response", "price"])


def test_indices_of_an_additive_function_are_its_shares_of_variance(sampled: pd.DataFrame) -> None:
    found = of_function(sampled, lambda x, y: 10 + 3 * x + y)
    for name, share in zip(NAMES, (0.9, 0.1), strict=True):
        assert found.loc[("r", name), "first_order"] == pytest.approx(share, abs=0.03)
        assert found.loc[("r", name), "total"] == pytest.approx(share, abs=0.03)
        assert found.loc[("flat", name), ["first_order", "total"]].isna().all()
    assert set(found["samples"]) == {SAMPLES}


def test_indices_of_an_interaction_are_in_the_total(sampled: pd.DataFrame) -> None:
    found = of_function(sampled, lambda x, y: (x - 0.5) * (y - 0.5)).loc["r"]
    assert found["first_order"].abs().max() < 0.15
    assert (found["total"] - 1).abs().max() < 0.15


def test_indices_of_one_price() -> None:
    design = saltelli(guessed_design(), ["alloc_fast"], 8, 2.0)
    values = [design.study_of(point).costs.alloc_fast.value for point in design.points]
    runs = pd.DataFrame({"run": np.arange(24), AXIS: [point.labels[AXIS] for point in design.points]})
    responses = runs[["run"]].assign(response="r", unit="ns", batch=-1, value=np.array(values, float))
    study: Any = SimpleNamespace(runs=runs, responses=responses)
    (row,) = indices(study, ["alloc_fast"], 8).to_dict("records")
    assert row["first_order"] == pytest.approx(1, abs=0.2)
    assert row["total"] == pytest.approx(1, abs=0.2)


def test_a_failed_run_leaves_no_index_of_its_response(sampled: pd.DataFrame) -> None:
    found = of_function(sampled, lambda x, y: x + y, left_out=1)
    assert found["total"].isna().all()
