"""The points of a design: checked part by part as each alone would be, and no two levels that are the same runs."""

import pickle
from math import prod
from pathlib import Path
from typing import Any

import pytest

from kmsim.config import ConfigError, Design, design, design_of, dump, parts, points
from kmsim.config.door import resolved
from kmsim.config.node import Problems
from kmsim.config.points import Dropped
from kmsim.config.same_runs import SeenParts, without_names
from tests.taken import kmsim_measured

ONE: dict[str, Any] = {
    "machine": {"extends": "x86-laptop", "memory": "256MiB"},
    "workload": {"threads": [{"name": "a", "operations": 10, "requests": [{"order": 0}]}]},
}


def of_axes(*axes: dict[str, Any], **sweep: Any) -> Design:
    return design_of({**ONE, "sweep": {"axes": list(axes), "drop": ["illegal"], **sweep}})


CPUS = {"name": "cpus", "key": "machine.cpus", "values": [1, 2, 4]}
MEMORY = {"key": "machine.memory", "values": ["64MiB", "128MiB", "1GiB"]}
ORDER = {"key": "machine.max_page_order", "values": [6, 9, 10]}
ASKED = {
    "name": "asked",
    "variants": {
        "vmalloc": {"workload": {"threads": [{"name": "a", "requests": [{"api": "vmalloc", "bytes": "100MiB"}]}]}},
        "order 10": {"workload": {"threads": [{"name": "a", "requests": [{"order": 10}]}]}},
        "on CPU 3": {"workload": {"threads": [{"name": "a", "cpus": [3]}]}},
    },
}
PRICE = {"name": "price", "variants": {"as given": None, "of cores": {"costs": "graviton3"}}}


@pytest.mark.parametrize(
    "axes", [(ASKED, CPUS, MEMORY, PRICE), (MEMORY, ORDER, ASKED), (CPUS, ORDER, ASKED, PRICE)], ids=str
)
def test_points_are_legal_and_dropped_as_each_alone_would_be(axes: tuple[dict[str, Any], ...]) -> None:
    of = of_axes(*axes)
    dropped = {point.number: point for point in of.dropped}
    assert dropped, "some are illegal"
    for number in range(len(of.points) + len(of.dropped)):
        problems = Problems()
        try:
            resolved(of.node_of(number, problems), of.base.includes, problems)
        except ConfigError as error:
            why = "; ".join(f"{problem.key}: must {problem.must}" for problem in error.problems)
            assert dropped[number].reason == why
        else:
            assert number not in dropped


def test_only_what_was_in_no_legal_point_is_resolved(monkeypatch: pytest.MonkeyPatch) -> None:
    learnt = []
    learn = SeenParts.learn
    monkeypatch.setattr(SeenParts, "learn", lambda seen, *rest: learnt.append(rest) or learn(seen, *rest))
    assert len(of_axes(MEMORY, LIVE, SAMPLED).points) == 1200
    assert len(learnt) == 1 + 19 + 19 + 2, "the first, and one for each part that is new"


LIVE = {"key": "workload.threads[0].live", "range": {"from": 1, "to": 20}}
SAMPLED = {"key": "run.sample_every", "range": {"from": "1ms", "to": "20ms", "step": "1ms"}}
TOO_LARGE = {"key": "machine.pageblock_order", "values": [11, 12]}
LARGEST = {"key": "workload.threads[0].requests[0].order", "range": {"from": 11, "to": 30}}


@pytest.mark.parametrize(
    ("axes", "nr_steps", "wrong"),
    [
        ((TOO_LARGE, LIVE, SAMPLED, PRICE), 2 + 19 + 19 + 1, [TOO_LARGE]),
        ((CPUS, LARGEST, SAMPLED), 3 * 20 + 19, [LARGEST]),
        ((TOO_LARGE, LARGEST, SAMPLED), 2 + 19 + 19, [TOO_LARGE, LARGEST]),
    ],
)
def test_what_can_never_be_legal_is_learnt_once(
    axes: tuple[dict[str, Any], ...], nr_steps: int, wrong: list[dict[str, Any]], monkeypatch: pytest.MonkeyPatch
) -> None:
    steps = []
    check = points.right_by_keys
    monkeypatch.setattr(points, "right_by_keys", lambda *rest: steps.append(rest) or check(*rest))
    with pytest.raises(ConfigError, match=rf"{prod(map(nr_levels, axes))} dropped, the first because") as none:
        of_axes(*axes)
    assert len(steps) == nr_steps
    assert all(axis["key"] in str(none.value) for axis in wrong)


def nr_levels(axis: dict[str, Any]) -> int:
    return 20 if "range" in axis else len(axis.get("values", axis.get("variants")))


EVERYWHERE = {
    "name": "everywhere",
    "variants": {"no": {"workload": {"threads": [{"name": "a", "operations": 10, "cpus": [0]}]}}, "yes": None},
}


@pytest.mark.parametrize(
    "axes", [(CPUS, EVERYWHERE, PRICE), (MEMORY, ASKED, PRICE), (ORDER, CPUS, EVERYWHERE)], ids=str
)
def test_the_config_of_a_point_is_put_together_as_it_would_be_resolved(
    axes: tuple[dict[str, Any], ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    of = of_axes(*axes)
    for point in of.points:
        problems = Problems()
        alone = resolved(of.node_of(point.number, problems), of.base.includes, problems)
        with monkeypatch.context() as patched:
            patched.setattr(design, "resolved", None)
            together = of.study_of(point)
        assert together == alone
        assert dump(together) == dump(alone)


def test_studies_that_are_sent_one_after_another_share_what_they_have_in_common() -> None:
    of = of_axes({"key": "workload.threads[0].live", "values": [1, 2]})
    first, second = (pickle.loads(pickle.dumps(of.study_of(point))) for point in of.points)
    assert [first, second] == [of.study_of(point) for point in of.points]
    assert first.workload != second.workload
    assert first.machine is second.machine
    assert first.costs is second.costs


def test_where_there_is_no_room_to_keep_parts_points_are_resolved_again(monkeypatch: pytest.MonkeyPatch) -> None:
    kept = of_axes(CPUS, MEMORY)
    first = kept.study_of(kept.points[0])
    of_two = (first.machine, first.machine, first.costs, first.workload, first.run)  # points that differ in machines
    room = sum(len(parts.pack(part)) for part in of_two)
    monkeypatch.setattr(parts, "KEPT_BYTES_MAX", room)
    few = of_axes(CPUS, MEMORY)
    none = [few.seen.study(few.indices(point.number)) is None for point in few.points]
    assert any(none)
    assert not all(none)
    assert [few.study_of(point) for point in few.points] == [kept.study_of(point) for point in kept.points]


def test_levels_that_are_the_same_at_some_points_only_are_two() -> None:
    largest = {"name": "pageblock", "variants": {"moves": None, "held": {"machine.pageblock_order": 6}}}
    order = {"key": "machine.max_page_order", "values": [6, 10]}
    free = {"name": "thp", "variants": {"off": {"machine.thp.built_in": False}}}
    assert len(of_axes(order, largest, free).points) == 4
    narrowed = of_axes(order, largest, free, only={"machine.max_page_order": 6})
    assert len(narrowed.points) == 2
    because = {"where": {"machine.max_page_order": 10}, "because": "too large"}
    with pytest.raises(ConfigError, match="change more than names: at every point it is the same run as 'moves'"):
        of_axes(order, largest, free, drop=["illegal", because])


def test_what_only_names_is_no_difference_and_all_else_is() -> None:
    config = {
        "threads": [{"name": "x", "live": 3}, {"name": "y", "freed_by": "x"}],
        "interrupts": [{"name": "i", "kind": "irq"}],
    }
    renamed = {
        "threads": [{"name": "y", "live": 3}, {"name": "x", "freed_by": "y"}],
        "interrupts": [{"name": "j", "kind": "irq"}],
    }
    assert without_names(config, "workload") == without_names(renamed, "workload")
    renamed["threads"][0]["live"] = 4
    assert without_names(config, "workload") != without_names(renamed, "workload")
    machine = {"name": "a", "notes": ["b"], "kernel_release": "6.0", "caches": [{"name": "c", "source": "d"}]}
    assert without_names(machine, "machine") == {"caches": [{"name": "c"}]}


def test_cpus_have_no_order_where_nobody_frees_for_others() -> None:
    alone = [{"threads": [{"name": "x", "cpus": cpus}]} for cpus in ([0, 1], [1, 0])]
    assert without_names(alone[0], "workload") == without_names(alone[1], "workload")
    freed = [
        {"threads": [{"name": "x", "cpus": cpus, "freed_by": "y"}, {"name": "y", "cpus": [0, 1]}]}
        for cpus in ([0, 1], [1, 0])
    ]
    assert without_names(freed[0], "workload") != without_names(freed[1], "workload")


def test_a_file_is_told_by_what_is_in_it(tmp_path: Path) -> None:
    names = [str(tmp_path / name) for name in ("a", "b", "c", "missing", "gone")]
    for name, text in zip(names, ("same", "same", "other"), strict=False):
        Path(name).write_text(text)
    a, b, c, missing, gone = ({"state": without_names({"buddyinfo": name}, "state")} for name in names)
    assert a == b
    assert len({str(one) for one in (a, c, missing, gone)}) == 4
    policies = [{"highatomic": {"file": name, "sha256": "5" * 64}} for name in names[:2]]
    assert without_names(policies[0], "policies") == without_names(policies[1], "policies")


STUDY = """\
machine: x86-laptop
workload: {threads: [{name: a, operations: 10}]}
sweep:
  axes:
    - {key: machine.cpus, range: {from: 1, to: 100}}
    - {key: 'workload.threads[0].live', range: {from: 1, to: 100}}
    - {key: run.sample_every, range: {from: 1ms, to: 100ms, step: 1ms}}
"""


@pytest.mark.slow
def test_a_million_points_are_checked_in_bounded_memory(tmp_path: Path) -> None:
    (tmp_path / "study.yaml").write_text(STUDY)
    done = kmsim_measured(tmp_path, "check", "study.yaml")
    assert done.code == 0, done.err
    assert "fine, 1,000,000 points, 1,000,000 runs; 0 dropped" in done.out
    assert done.peak_bytes < 1 << 30


def test_a_dropped_point_says_the_labels_of_its_levels() -> None:
    (dropped,) = of_axes({**ORDER, "values": [8, 10]}).dropped
    assert dropped == Dropped(0, {"machine.max_page_order": "8"}, dropped.reason)
