"""What each axis does in a figure, and where its levels stand."""

from typing import Any

import pytest

from kmsim.config.inquiry import FigureConfig
from kmsim.config.product import Axis
from kmsim.plots.roles import along, dropped_of, roles_of
from tests.plots.studies import made_up_study, workload_axis

STUDY = made_up_study(replications=2)


def roles(wanted: tuple[str, ...] = ("x", "hue", "panels"), result: Any = STUDY, **keys: Any) -> Any:
    config = FigureConfig.model_validate({"kind": "line", **keys})
    return roles_of(result, result.runs, config, wanted)


def named(found: Any) -> dict[str, str | None]:
    return {role: axis.name if axis else None for role, axis in found.of.items()}


def test_free_axes_take_free_roles() -> None:
    whole = {"x": "max_page_order", "y": None, "hue": "workload", "panels": "page_size"}
    assert named(roles()) == whole
    assert named(roles(x="workload")) == {"x": "workload", "y": None, "hue": "page_size", "panels": "max_page_order"}
    assert named(roles(hue="page_size")) == whole | {"hue": "page_size", "panels": "workload"}


def test_an_axis_without_a_role_is_held_and_said() -> None:
    found = roles(("x", "hue"), hue="page_size")
    assert set(found.rows["workload"]) == {"net-rx"}
    assert found.notes == ["workload: net-rx (one of 2 levels)"]
    assert found.rows.groupby(["page_size", "max_page_order"])["point"].nunique().eq(1).all()


def test_an_axis_is_held_at_a_level_that_has_points() -> None:
    large = STUDY.runs[(STUDY.runs["page_size"] != "4KiB") | (STUDY.runs["max_page_order"] == "9")]
    config = FigureConfig.model_validate({"kind": "memory_map"})
    found = roles_of(STUDY, large, config, ())
    assert found.notes[:2] == ["page size: 4KiB (one of 3 levels)", "largest block (order): 9 (one of 6 levels)"]
    assert len(found.rows) == 2


@pytest.mark.parametrize(
    ("where", "levels"),
    [
        ({"max_page_order": 6}, ("6",)),
        ({"max_page_order": [6, 13]}, ("6", "13")),
        ({"max_page_order": {"above": 8, "at_most": 10}}, ("9", "10")),
        ({"page_size": "16KiB", "max_page_order": "8"}, ("8",)),
    ],
)
def test_where_keeps_levels(where: dict[str, Any], levels: tuple[str, ...]) -> None:
    assert set(roles(where=where).rows["max_page_order"]) == set(levels)


def test_a_held_axis_is_not_replaced_by_another() -> None:
    found = roles(hue="page_size", where={"page_size": "4KiB", "workload": "net-rx"})
    assert named(found) == {"x": "max_page_order", "y": None, "hue": None, "panels": None}
    assert found.notes == ["page size: 4KiB", "workload: net-rx"]


def test_many_levels_are_thinned_evenly_and_said() -> None:
    many = made_up_study(workload_axis(*(f"w{k}" for k in range(29))), workload_axis_b(), replications=1)
    found = roles(("hue",), result=many, hue="workload")
    assert found.of["hue"].levels == tuple(f"w{k}" for k in range(0, 29, 4))
    assert "8 of 29 levels of workload drawn" in found.notes


def workload_axis_b() -> Axis:
    return Axis("b", ("1", "2"), (1.0, 2.0), "")


def test_dotted_keys_are_named_by_their_last_words() -> None:
    keys = ["machine.page_size", "machine.a, machine.b", "one.count", "two.count", "a b.c"]
    many = made_up_study(*(Axis(key, ("1", "2"), (1.0, 2.0), "") for key in keys), replications=1)
    titles = [axis.title for axis in roles_of(many, many.runs, config(), (), rest_held=False).rest]
    assert titles == ["page size", "a, b", "one.count", "two.count", "a b.c"]


def config() -> FigureConfig:
    return FigureConfig(kind="line")


def test_dropped_points_are_found_where_they_would_be() -> None:
    found = roles()
    dropped = dropped_of(STUDY, found, "panels", "hue", "x")
    assert [key for key, _ in dropped] == [(2, 0, 5), (2, 1, 5)]
    held = roles(where={"workload": "net-rx"})
    assert [key for key, _ in dropped_of(STUDY, held, "panels", "hue", "x")] == [(0, 2, 5)]


def test_sizes_stand_in_powers_and_names_in_a_row() -> None:
    page_size = roles(x="page_size").of["x"]
    assert along(page_size, None, "").log
    assert along(page_size, None, "").ticks == ["4KiB", "16KiB", "64KiB"]
    assert not along(page_size, "linear", "").log
    order = roles(x="max_page_order").of["x"]
    assert along(order, None, "")[:4] == (
        "largest block (order)",
        [6.0, 8.0, 9.0, 10.0, 11.0, 13.0],
        list(order.levels),
        False,
    )
    workload = along(roles(x="workload").of["x"], "log", "")
    assert (workload.positions, workload.joined) == ([0.0, 1.0], False)


def test_many_numbers_are_in_one_unit() -> None:
    levels = tuple(f"{k}KiB" for k in range(1, 101))
    axis = Axis("bytes", levels, tuple(1024.0 * k for k in range(1, 101)), "B")
    found = along(roles(result=made_up_study(axis, replications=1)).of["x"], None, "")
    assert (found.label, found.positions[-1], found.ticks) == ("bytes (KiB)", 100.0, None)
