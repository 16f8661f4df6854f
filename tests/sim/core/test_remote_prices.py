"""What comes from another node costs more, by how far that is; locks too."""

from typing import Any

import pytest

from kmsim.config import from_mapping
from kmsim.jit import entry
from kmsim.sim.core.costs import PRICES, cache_lines_ps, handover_ps, no_light_work, taking_ps
from kmsim.sim.core.records import NOBODY, Core
from kmsim.sim.simulation import new_simulation
from tests.studies import study

NODES = [{"cpus": "0-1", "memory": "64MiB"}, {"cpus": "2-3", "memory": "64MiB"}]
NEAR, FAR = 0, 2
# A different price for each step, of which no sum of few is another.
PRICE = {name: 1 << n for n, name in enumerate(PRICES)}


@entry
def cache_lines(s: Core) -> int:
    """`cache_lines_ps`, for Python."""
    return cache_lines_ps(s)


@entry
def no_work(s: Core) -> None:
    """`no_light_work`, for Python."""
    no_light_work(s)


@entry
def handover(s: Core, holder: int, c: int) -> int:
    """`handover_ps`, for Python."""
    return handover_ps(s, holder, c)


@entry
def taking(s: Core, n: int, c: int) -> int:
    """`taking_ps`, for Python."""
    return taking_ps(s, n, c)


def core_of(*, distance: int = 20, nodes: list[dict[str, str]] | None = None) -> Core:
    """A core of two nodes of two CPUs each, so far apart, that has done nothing."""
    keys: dict[str, Any] = {"arch": "x86-64", "nodes": nodes or NODES}
    if nodes is None:
        keys["distances"] = [[10, distance], [distance, 10]]
    core = new_simulation(from_mapping({"machine": keys, "workload": {"threads": [{"name": "a"}]}})).core
    for name, price in PRICE.items():
        core.prices[name] = price
    core.m.work[:] = 0
    return core


@pytest.fixture(scope="module")
def core() -> Core:
    return core_of()


def paid(core: Core, **counts: int) -> int:
    """What the lines of a stage cost."""
    core.m.work[:] = 0
    for name, count in counts.items():
        core.m.work[name] = count
    return cache_lines(core)


def test_far_lines_overlap_and_the_furthest_is_exposed(core: Core) -> None:
    near = paid(core, lines_other=3)
    added = paid(core, lines_other=3, beyond_other=20, beyond_other_max=10) - near
    first = 10 * (PRICE["line_other_remote"] - PRICE["line_other_remote_overlapped"])
    assert added == 20 * PRICE["line_other_remote_overlapped"] + first


def test_where_memory_is_waited_for_its_furthest_line_is_exposed_and_no_other(core: Core) -> None:
    near = paid(core, lines_memory=2, lines_other=1)
    far = {"beyond_memory": 10, "beyond_memory_max": 10, "beyond_other": 10, "beyond_other_max": 10}
    added = paid(core, lines_memory=2, lines_other=1, **far) - near
    overlapped = 10 * (PRICE["line_memory_remote_overlapped"] + PRICE["line_other_remote_overlapped"])
    assert added == overlapped + 10 * (PRICE["line_memory_remote"] - PRICE["line_memory_remote_overlapped"])


def test_lines_that_others_have_read_are_all_waited_for(core: Core) -> None:
    assert paid(core, lines_shared=2, beyond_shared=20) - paid(core, lines_shared=2) == 20 * PRICE["line_other_remote"]


def test_a_stage_begins_with_nothing_counted(core: Core) -> None:
    for name in core.m.work.dtype.names or ():
        core.m.work[name] = 1
    no_work(core)
    assert not any(int(core.m.work[0][name]) for name in core.m.work.dtype.names or () if "beyond" in name)


@pytest.mark.parametrize("distance", [11, 20, 31])
def test_a_lock_that_was_held_on_another_node_costs_by_the_distance(distance: int) -> None:
    core = core_of(distance=distance)
    beyond = (distance - 10) * PRICE["line_other_remote"]
    assert handover(core, NEAR, FAR) - handover(core, NEAR, NEAR + 1) == beyond
    core.locks[0].holder = NEAR
    assert taking(core, 0, FAR) - taking(core, 0, NEAR + 1) == beyond
    assert taking(core, 0, NEAR) == PRICE["lock_uncontended"]


def test_a_lock_that_nobody_held_is_not_far(core: Core) -> None:
    core.locks[0].holder = NOBODY
    assert taking(core, 0, FAR) == PRICE["lock_uncontended"] + PRICE["line_other"]


def test_on_one_node_all_costs_as_without_these_prices() -> None:
    core = core_of(nodes=[{"cpus": "0-3", "memory": "128MiB"}])
    plain = new_simulation(study()).core
    for name, price in PRICE.items():
        plain.prices[name] = price
    for one in (core, plain):
        assert handover(one, 0, 1) == PRICE["lock_handover"] + PRICE["line_other"]
        assert paid(one, lines_other=2, beyond_other=10) == paid(one, lines_other=2)
