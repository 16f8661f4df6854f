"""A study's points: how they are numbered, what each is, which are dropped, with which seeds they are run."""

import re
from pathlib import Path
from typing import Any

import pytest
from ruamel.yaml import YAML

from kmsim.config import ConfigError, Design, design_of, load_design, starter, study_text
from tests.patience import little_work

STUDIES = Path(__file__).parent / "valid" / "studies"
FILES = sorted(path.name for path in STUDIES.glob("*.yaml"))
ONE: dict[str, Any] = {"machine": "x86-laptop", "workload": {"threads": [{"name": "a", "operations": 10}]}}
CPUS = {"name": "cpus", "key": "machine.cpus", "values": [1, 2, 4]}
LIVE = {"name": "live", "key": "workload.threads[0].live", "values": [10, 20]}


def design(*axes: dict[str, Any], sweep: dict[str, Any] | None = None, **more: Any) -> Design:
    return design_of({**ONE, **more, "sweep": {"axes": list(axes), **(sweep or {})}})


def meaning(of: Design) -> tuple[Any, ...]:
    """All that two designs of the same study agree in, whatever files they come from."""
    studies = [of.study_of(point, replication) for point in of.points for replication in (0, 1)]
    asked = of.inquiry.model_dump(exclude={"sweep"})  # paths in axes may be written in another way
    return asked, of.axes, of.points, of.dropped, studies


@pytest.mark.parametrize("name", FILES)
def test_a_study_has_the_axes_and_points_that_its_head_says(name: str) -> None:
    found, text = load_design(STUDIES / name), (STUDIES / name).read_text(encoding="utf-8")
    expected = dict(re.findall(r"^# (points|dropped): (\d+)$", text, re.MULTILINE))
    assert len(found.points) == int(expected["points"])
    assert len(found.dropped) == int(expected.get("dropped", 0))
    axes = [(axis, eval(levels)) for axis, levels in re.findall(r"^# axis: (.*) = (.*)$", text, re.MULTILINE)]
    assert [(axis.name, axis.levels) for axis in found.axes] == axes


@pytest.mark.parametrize("name", FILES)
def test_equal_files_give_equal_designs_and_a_design_written_and_read_back_is_the_same(name: str) -> None:
    first, second = load_design(STUDIES / name), load_design(STUDIES / name)
    assert meaning(first) == meaning(second)
    assert first.inquiry == second.inquiry
    written = YAML(typ="safe", pure=True).load(study_text(first))
    assert meaning(design_of(written)) == meaning(first)


def test_the_last_axis_is_the_fastest() -> None:
    points = design(CPUS, LIVE).points
    assert [point.number for point in points] == list(range(6))
    assert [tuple(point.labels.values()) for point in points] == [
        ("1", "10"), ("1", "20"), ("2", "10"), ("2", "20"), ("4", "10"), ("4", "20"),
    ]  # fmt: skip
    assert list(points[0].labels) == ["cpus", "live"]


def test_a_point_is_the_config_with_its_levels_laid_over() -> None:
    of = design(CPUS, LIVE)
    studies = [of.study_of(point) for point in of.points]
    assert [study.machine.cpus for study in studies] == [1, 1, 2, 2, 4, 4]
    assert [study.workload.threads[0].live for study in studies] == [10, 20] * 3
    assert {study.machine.memory for study in studies} == {16 << 30}


def test_dropped_points_keep_their_numbers() -> None:
    drop = [{"where": {"cpus": [2, 4], "live": 10}, "because": "too few"}]
    of = design(CPUS, LIVE, sweep={"drop": drop})
    assert [point.number for point in of.points] == [0, 1, 3, 5]
    assert [(gone.number, gone.labels["cpus"], gone.reason) for gone in of.dropped] == [
        (2, "2", "too few"),
        (4, "4", "too few"),
    ]
    assert of.study_of(of.points[2]).machine.cpus == 2


@pytest.mark.parametrize(
    ("bounds", "kept"),
    [
        ({"below": 2}, ["2", "4"]),
        ({"at_most": 2}, ["4"]),
        ({"above": 2}, ["1", "2"]),
        ({"at_least": 2}, ["1"]),
        ({"above": 1, "below": 4}, ["1", "4"]),
    ],
)
def test_points_are_dropped_by_bounds(bounds: dict[str, int], kept: list[str]) -> None:
    of = design(CPUS, sweep={"drop": [{"where": {"cpus": bounds}, "because": "so"}]})
    assert [point.labels["cpus"] for point in of.points] == kept


def test_bounds_of_sizes_are_compared_as_sizes() -> None:
    memory = {"name": "memory", "key": "machine.memory", "values": ["512MiB", "1GiB", "16GiB"]}
    of = design(memory, sweep={"drop": [{"where": {"memory": {"below": "1024MiB"}}, "because": "small"}]})
    assert [point.labels["memory"] for point in of.points] == ["1GiB", "16GiB"]


def test_only_some_levels_are_run_if_one_says_so() -> None:
    of = design(CPUS, LIVE, sweep={"only": {"cpus": {"above": 1}, "live": 20}})
    assert [point.number for point in of.points] == [3, 5]
    assert {gone.reason for gone in of.dropped} == {"not among sweep.only"}


def test_an_illegal_point_is_dropped_with_the_door_s_reason() -> None:
    page_size = {"key": "machine.page_size", "values": ["4KiB", "16KiB"]}
    (gone,) = design(page_size, sweep={"drop": ["illegal"]}).dropped
    assert gone == (1, {"machine.page_size": "16KiB"}, "machine.page_size: must be 4KiB on x86-64")
    with pytest.raises(ConfigError, match="must have legal points only"):
        design(page_size)


def test_a_value_that_is_wrong_alone_is_no_illegal_point() -> None:
    with pytest.raises(ConfigError, match=r"machine\.cpus: must be at most 256, found 257"):
        design({"key": "machine.cpus", "values": [1, 257]}, sweep={"drop": ["illegal"]})


def test_legal_pairs_of_page_size_and_largest_order_move_the_pageblock() -> None:
    of = load_design(STUDIES / "page_size.yaml")
    pairs: dict[str, list[tuple[int, int]]] = {}
    for point in of.points:
        machine = of.study_of(point).machine
        pairs.setdefault(point.labels["page size"], []).append((machine.max_page_order, machine.pageblock_order))
    largest = {"4KiB": 15, "16KiB": 13, "64KiB": 13}  # a block fits into 128 MiB, with 64 KiB pages into 512 MiB
    huge = {"4KiB": 9, "16KiB": 11, "64KiB": 13}
    assert pairs == {
        page: [(order, min(order, huge[page])) for order in range(6, largest[page] + 1)] for page in largest
    }


def test_common_random_numbers_give_every_point_the_same_seeds() -> None:
    of = design(CPUS, replications=3, seed=7)
    assert [[of.seed_of(point, r) for r in range(3)] for point in of.points] == [[7, 8, 9]] * 3
    assert of.study_of(of.points[1], 2).seed == 9
    assert of.nr_runs == 9


def test_independent_random_numbers_give_every_run_a_seed_of_its_own() -> None:
    of = design(CPUS, replications={"number": 50, "random_numbers": "independent"})
    seeds = [of.seed_of(point, r) for point in of.points for r in range(50)]
    assert len(set(seeds)) == 150
    assert all(0 <= seed < 1 << 62 for seed in seeds)
    again = design(CPUS, replications={"number": 50, "random_numbers": "independent"})
    assert seeds == [again.seed_of(point, r) for point in again.points for r in range(50)]


def test_only_the_first_replication_keeps_a_map_of_memory() -> None:
    of = design(CPUS, replications=2, run={"memory_map": 5})
    assert [of.study_of(of.points[0], r).run.memory_map for r in (0, 1)] == [5, 0]


def test_replications_until_run_as_many_as_may_be_needed() -> None:
    until = {"response": "latency_mean", "half_width": 0.05, "at_least": 3, "at_most": 20}
    of = design(CPUS, replications={"until": until})
    assert (of.inquiry.replications.first, of.inquiry.replications.most, of.nr_runs) == (3, 20, 60)


def test_a_study_without_sweep_is_one_point() -> None:
    of = design_of(ONE)
    assert of.is_single
    assert (of.axes, of.dropped, [point[:2] for point in of.points]) == ((), (), [(0, {})])
    assert not design_of({**ONE, "replications": 2}).is_single


def test_what_the_starter_has_behind_its_marks_is_a_study() -> None:
    head, mark, many = starter().partition("# sweep:\n")
    config = YAML(typ="safe", pure=True).load(head + (mark + many).replace("\n# ", "\n").removeprefix("# "))
    of = design_of(config)
    assert [axis.name for axis in of.axes] == ["CPUs", "scale", "list"]
    assert (len(of.points), of.nr_runs, of.axes[1].levels) == (18, 90, ("10", "100", "1000"))


def test_overrides_change_a_sweep(tmp_path: Path) -> None:
    path = tmp_path / "study.yaml"
    path.write_text(study_text(design(CPUS, LIVE)), encoding="utf-8")
    of = load_design(path, ["sweep.axes[0].values=[8, 16]", "replications=2", "sweep.only.live=10"], seed=5)
    assert [point.labels for point in of.points] == [{"cpus": "8", "live": "10"}, {"cpus": "16", "live": "10"}]
    assert (of.nr_runs, of.seed, of.name) == (4, 5, "study")


@pytest.mark.slow
def test_a_design_of_ten_thousand_points_is_little_work() -> None:
    axes = [
        {"key": "machine.cpus", "range": {"from": 1, "to": 100}},
        {"key": "workload.threads[0].live", "range": {"from": 1, "to": 100}},
    ]
    with little_work():
        nr_points = len(design(*axes).points)
    assert nr_points == 10_000


def test_responses_are_the_default_ones_unless_given() -> None:
    assert [response.name for response in design_of(ONE).inquiry.responses][:2] == ["latency_mean", "latency_p99"]
    given = {"measure": "latency_mean", "name": "mine", "order": 3}
    (response,) = design_of({**ONE, "responses": [given]}).inquiry.responses
    assert (response.name, response.unit, response.of_kind, response.order) == ("mine", "ns", "alloc", 3)
