"""What an axis varies: labels, numbers and units of its levels, each of the seven ways, and paths in them."""

import math
from pathlib import Path
from typing import Any

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st
from ruamel.yaml import YAML

from kmsim.config import Design, Study, design_of, load_design, study_text
from kmsim.config.axes import BetweenConfig, LogConfig, RangeConfig, label_of
from kmsim.config.state import FILE_KEYS

THREADS = {"threads": [{"name": "a", "operations": 10}]}
ONE = {"machine": "x86-laptop", "workload": THREADS}


def of_axis(**axis: Any) -> Design:
    return design_of({**ONE, "sweep": {"axes": [axis]}})


def studies(of: Design) -> list[Study]:
    return [of.study_of(point) for point in of.points]


@pytest.mark.parametrize(
    ("axis", "levels", "values", "unit"),
    [
        ({"key": "machine.cpus", "values": [1, 4]}, ("1", "4"), (1, 4), ""),
        ({"key": "machine.memory", "values": ["1GiB", "1.5GiB"]}, ("1GiB", "1.5GiB"), (1 << 30, 3 << 29), "B"),
        ({"key": "run.sample_every", "values": ["1ms", "2500ns"]}, ("1ms", "2500ns"), (1e6, 2500), "ns"),
        ({"key": "machine.check_pages", "values": [True, False]}, ("true", "false"), None, ""),
        ({"key": "workload.threads[0].free", "values": ["fifo", "lifo"]}, ("fifo", "lifo"), None, ""),
        ({"name": "cpus", "variants": {"2": {"machine.cpus": 2}, "8": {"machine.cpus": 8}}}, ("2", "8"), (2, 8), ""),
        ({"name": "a", "variants": {"nan": None, "inf": {"machine.cpus": 4}}}, ("nan", "inf"), None, ""),
    ],
)
def test_levels_have_labels_and_where_all_are_numbers_their_values(
    axis: dict[str, Any], levels: tuple[str, ...], values: tuple[float, ...] | None, unit: str
) -> None:
    (found,) = of_axis(**axis).axes
    assert (found.levels, found.values, found.unit) == (levels, values, unit)
    assert found.name == axis.get("name", axis.get("key"))


def test_zipped_keys_move_together_and_are_the_point_s_covariates() -> None:
    of = of_axis(name="size", zip={"machine.cpus": [2, 2, 64], "machine.memory": ["4GiB", "8GiB", "64GiB"]})
    assert of.axes[0].levels == ("2, 4GiB", "2, 8GiB", "64, 64GiB")
    assert of.points[2].covariates == {"machine.cpus": "64", "machine.memory": "64GiB"}
    assert [(study.machine.cpus, study.machine.memory >> 30) for study in studies(of)] == [(2, 4), (2, 8), (64, 64)]


def test_variants_may_nest_be_dotted_take_away_and_build_on_other_studies() -> None:
    of = load_design(Path(__file__).parent / "valid" / "studies" / "variants.yaml")
    plain, dotted, nested, without, included = studies(of)
    assert (dotted.machine.cpus, dotted.workload.threads[0].operations) == (2, 200)
    assert dotted.machine.state == plain.machine.state
    assert (nested.machine.cpus, nested.workload.threads[0].name, nested.workload.threads[0].operations) == (1, "b", 10)
    assert (plain.machine.state.kind, without.machine.state.kind) == ("aged", "fresh")
    assert without.machine.cpus == 4
    assert (included.machine.cpus, included.workload.threads[0].name) == (8, "many")
    assert (of.name, included.seed, of.inquiry.replications.most) == ("variants", 1, 1)


@pytest.mark.parametrize("way", ["latin_hypercube", "sobol"])
def test_a_sample_stays_in_its_ranges_fills_them_and_follows_its_seed(way: str) -> None:
    over = {
        "machine.cpus": {"low": 1, "high": 64},
        "machine.sysctl.watermark_scale_factor": {"low": 10, "high": 1000, "log": True},
        "workload.threads[0].remote_frees": {"low": 0.0, "high": 0.5},
        "run.sample_every": {"low": "10us", "high": "1ms"},
    }
    of = of_axis(**{way: {"count": 16, "over": over}})
    found = studies(of)
    assert all(1 <= study.machine.cpus <= 64 for study in found)
    factors = [study.machine.sysctl.watermark_scale_factor for study in found]
    assert 10 <= min(factors) < 20
    assert 6 <= sum(factor <= 100 for factor in factors) <= 10, "equally dense in the logarithm"
    assert all(0 <= study.workload.threads[0].remote_frees <= 0.5 for study in found)
    quarters = sorted((study.run.sample_every - 10_000_000) * 16 // 990_000_000 for study in found)
    assert [min(quarter, 15) for quarter in quarters] == list(range(16)), "one in each sixteenth"
    assert of.points[3].labels == {"sample": "3"}
    assert of.points[3].covariates["machine.cpus"] == str(found[3].machine.cpus)
    assert studies(of_axis(**{way: {"count": 16, "over": over}})) == found
    assert studies(of_axis(**{way: {"count": 16, "over": over, "seed": 2}})) != found


def test_a_logarithmic_range_of_whole_numbers_has_none_twice() -> None:
    assert list(LogConfig.model_validate({"from": 1, "to": 8, "count": 12}).values()) == [1, 2, 3, 4, 5, 7, 8]
    assert list(LogConfig.model_validate({"from": 0.1, "to": 10.0, "count": 3}).values()) == [0.1, 1.0, 10.0]
    sizes = LogConfig.model_validate({"from": "4KiB", "to": "4MiB", "count": 11})
    assert list(sizes.values()) == [f"{4 << n}KiB" for n in range(8)] + ["1MiB", "2MiB", "4MiB"]


def test_steps_have_no_dust() -> None:
    steps = RangeConfig.model_validate({"from": 0.1, "to": 0.7, "step": 0.1})
    assert [label_of(step) for step in steps.values()] == ["0.1", "0.2", "0.3", "0.4", "0.5", "0.6", "0.7"]
    assert list(RangeConfig.model_validate({"from": "1us", "to": "2us", "step": "600ns"}).values()) == ["1us", "1600ns"]


NUMBERS = st.integers(-(10**12), 10**12) | st.floats(-1e12, 1e12)


@given(NUMBERS, NUMBERS, st.integers(1, 10**12) | st.floats(1e-3, 1e12))
def test_a_range_never_leaves_its_ends(first: float, to: float, step: float) -> None:
    config = RangeConfig.model_validate({"from": first, "to": to, "step": step})
    assume(not list(config.findings()))
    assume(config.count <= 1000)
    values: list[Any] = list(config.values())
    assert all(first <= value <= to for value in values)
    assert values == sorted(values)
    assert math.isclose(values[0], first, rel_tol=1e-11)
    assert to - values[-1] <= step * (1 + 1e-6) + 1e-11 * max(abs(first), abs(to))


POSITIVE = st.integers(1, 10**15) | st.floats(1e-12, 1e15)


@given(POSITIVE, POSITIVE, st.integers(2, 60))
def test_a_logarithmic_range_begins_and_ends_with_its_ends(first: float, to: float, count: int) -> None:
    config = LogConfig.model_validate({"from": first, "to": to, "count": count})
    assume(not list(config.findings()))
    values: list[Any] = list(config.values())
    assert (values[0], values[-1]) == (first, to)
    assert values == sorted(set(values))
    assert len(values) <= count
    if isinstance(first, int) and isinstance(to, int):
        assert all(isinstance(value, int) for value in values)


@given(NUMBERS, NUMBERS, st.booleans(), st.floats(0, 1))
def test_a_sample_s_number_is_between_its_ends(low: float, high: float, log: bool, share: float) -> None:
    config = BetweenConfig(low=low, high=high, log=log)
    assume(not list(config.findings()))
    value: Any = config.value(share)
    assert low <= value <= high


AXES_OF_PATHS = {
    "variants": "{name: state, variants: {base: null, variant: {extends: bases/variant.yaml}, "
    "own: {machine: {state: {recorded: bases/other}}}, machine: {machine: bases/small.yaml}}}",
    "values": "{name: recording, key: machine.state.recorded, values: [bases/other, bases/mine]}",
    "zip": "{zip: {machine.extends: [bases/small.yaml, x86-laptop], machine.cpus: [2, 4]}}",
}


@pytest.mark.parametrize("way", AXES_OF_PATHS)
def test_relative_paths_hold_wherever_the_study_is_written_to(way: str, tmp_path: Path) -> None:
    bases = tmp_path / "bases"
    bases.mkdir()
    for name in ("recorded", "mine", "other"):
        (bases / name).write_text(name)
    machine = "machine: {extends: x86-laptop, state: {recorded: recorded}}\n"
    (bases / "base.yaml").write_text(f"{machine}workload: {{threads: [{{name: a, operations: 9}}]}}\n")
    (bases / "variant.yaml").write_text("machine: {state: {recorded: null, buddyinfo: mine}}\n")
    (bases / "small.yaml").write_text("{extends: x86-laptop, memory: 8GiB}\n")
    (tmp_path / "study.yaml").write_text(f"extends: bases/base.yaml\nsweep: {{axes: [{AXES_OF_PATHS[way]}]}}\n")
    of = load_design(tmp_path / "study.yaml")
    assert studies(design_of(YAML(typ="safe", pure=True).load(study_text(of)))) == studies(of)
    states = [study.machine.state for study in studies(of)]
    files = [next((path.name for key, path in state if key in FILE_KEYS), "") for state in states]
    assert all(not path or path.parent == bases for state in states for key, path in state if key in FILE_KEYS)
    assert (
        files
        == {
            "variants": ["recorded", "mine", "other", ""],
            "values": ["other", "mine"],
            "zip": ["recorded", "recorded"],
        }[way]
    )
