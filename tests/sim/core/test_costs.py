"""What was done, turned into time by the price list."""

from typing import Any

import numpy as np
import pytest

from kmsim.config.costs import CostsConfig
from kmsim.jit import entry
from kmsim.mm.work import work_t
from kmsim.sim.core.costs import PRICES, cache_lines_ps, instructions_ps, price_t, prices
from kmsim.sim.core.records import SUM_PS, Core
from kmsim.sim.simulation import new_simulation
from tests.sim.stories import ONE, cheap, finished
from tests.sim.stories import prices as listed
from tests.studies import lock_prices_only, study

# What each count of work costs, by the price list's name.
INSTRUCTIONS = {
    "splits": "buddy_split",
    "merges": "buddy_merge",
    "blocks_moved": "page_moved",
    "frames_scanned": "frame_scanned",
    "watermark_checks": "watermark_check",
    "pages_checked": "page_check",
    "tails_walked": "page_check",
    "bytes_zeroed": "zero_byte",
    "pages_freed": "free_fast",
}
LINES = {
    "lines_hot": "line_hot",
    "lines_other": "line_other_overlapped",
    "lines_sequential": "line_sequential",
    "lines_memory": "line_memory_overlapped",
    "lines_shared": "line_other",
}
BEYOND = {  # counted on machines of several nodes alone: see test_remote_prices
    "beyond_other": "line_other_remote_overlapped",
    "beyond_other_max": "line_other_remote",
    "beyond_memory": "line_memory_remote_overlapped",
    "beyond_memory_max": "line_memory_remote",
    "beyond_shared": "line_other_remote",
}
# A different price for each step, of which no sum of few is another.
PRICE = {name: 1 << n for n, name in enumerate(PRICES)}


@entry
def instructions(s: Core) -> int:
    """`instructions_ps` for Python callers."""
    return instructions_ps(s)


@entry
def cache_lines(s: Core) -> int:
    """`cache_lines_ps` for Python callers."""
    return cache_lines_ps(s)


@pytest.fixture(scope="module")
def booted() -> Core:
    core = new_simulation(study()).core
    for name, price in PRICE.items():
        core.prices[name] = price
    return core


@pytest.fixture
def core(booted: Core) -> Core:
    """A core that has done nothing."""
    booted.m.work[:] = 0
    return booted


def test_every_price_of_the_list_is_known_to_the_simulation() -> None:
    others = {"name", "source", "cache_lines", "left_out"}
    assert set(price_t.names or ()) == set(CostsConfig.model_fields) - others


def test_prices_are_those_of_the_config_in_whole_picoseconds() -> None:
    costs = study().costs
    (record,) = prices(costs)
    assert {name: int(record[name]) for name in PRICES} == {name: getattr(costs, name).value for name in PRICES}
    assert min(record.tolist()) > 0


def test_a_fraction_of_a_nanosecond_is_kept() -> None:
    costs = lock_prices_only() | {"buddy_split": {"value": "0.125ns", "source": "for a test"}}
    assert prices(study(costs=costs).costs)[0].buddy_split == 125


def test_every_kind_of_work_has_its_price() -> None:
    assert INSTRUCTIONS.keys() | LINES.keys() | BEYOND.keys() == set(work_t.names or ())
    assert len(INSTRUCTIONS) + len(LINES) + len(BEYOND) == len(work_t.names or ())


@pytest.mark.parametrize("work", INSTRUCTIONS)
def test_each_piece_of_work_is_counted_once_at_its_own_price(core: Core, work: str) -> None:
    core.m.work[work] = 3
    assert (instructions(core), cache_lines(core)) == (3 * PRICE[INSTRUCTIONS[work]], 0)


@pytest.mark.parametrize("lines", LINES)
def test_each_line_is_counted_once_at_its_own_price(core: Core, lines: str) -> None:
    paid = []
    for count in (1, 4):
        core.m.work[lines] = count
        paid.append(cache_lines(core))
    assert paid[1] - paid[0] == 3 * PRICE[LINES[lines]]
    assert instructions(core) == 0


def test_all_work_together_costs_the_sum(core: Core) -> None:
    for n, work in enumerate(work_t.names or ()):
        core.m.work[work] = n
    counts = {work: n for n, work in enumerate(work_t.names or ())}
    assert instructions(core) == sum(counts[work] * PRICE[name] for work, name in INSTRUCTIONS.items())
    exposed = PRICE["line_memory"] - PRICE["line_memory_overlapped"]
    assert cache_lines(core) == sum(counts[work] * PRICE[name] for work, name in LINES.items()) + exposed


@pytest.mark.parametrize(
    ("lines", "exposed"),
    [
        ({"lines_memory": 1}, "line_memory"),
        ({"lines_memory": 4, "lines_other": 2}, "line_memory"),  # the longest comes first
        ({"lines_other": 3, "lines_hot": 5}, "line_other"),
    ],
)
def test_one_miss_of_a_stage_is_exposed_and_the_others_overlap_with_it(
    core: Core, lines: dict[str, int], exposed: str
) -> None:
    for name, count in lines.items():
        core.m.work[name] = count
    first = PRICE[exposed] - PRICE[f"{exposed}_overlapped"]
    assert cache_lines(core) == sum(count * PRICE[LINES[name]] for name, count in lines.items()) + first


def test_without_a_miss_nothing_is_exposed(core: Core) -> None:
    core.m.work["lines_hot"] = core.m.work["lines_sequential"] = 7
    assert cache_lines(core) == 7 * (PRICE["line_hot"] + PRICE["line_sequential"])


def test_nothing_done_costs_nothing(core: Core) -> None:
    assert (instructions(core), cache_lines(core)) == (0, 0)


@pytest.mark.parametrize("order", [0, 4])
@pytest.mark.parametrize("price", ["line_memory", "line_memory_overlapped"])
def test_a_miss_is_exposed_in_each_stage_that_has_some(order: int, price: str) -> None:
    thread: dict[str, Any] = ONE | {"cpus": [0], "requests": [{"order": order}]}
    core = finished(cheap(thread, costs=listed(**{price: "100ns"}))).core
    paid = int(core.cpus[0].cache_lines_ps + core.cpus[0].lock_hold_ps)
    assert paid > 0
    assert np.isclose(paid % 100_000, 0)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("request_", "nr_pages"),
    [
        ({"order": 2}, 4),
        ({"api": "exact", "bytes": "20KiB"}, 8),  # the whole block, of which the tail is given back
        ({"api": "bulk", "pages": 5}, 5),
    ],
)
def test_zeroing_costs_time_in_every_request_for_pages(request_: dict[str, Any], nr_pages: int) -> None:
    def latency(gfp: str) -> int:
        thread: dict[str, Any] = ONE | {"cpus": [0], "requests": [request_ | {"gfp": gfp}]}
        return int(finished(cheap(thread, costs=listed(zero_byte="1ns"))).core.totals[0, 0, SUM_PS])

    assert latency("GFP_KERNEL | __GFP_ZERO") - latency("GFP_KERNEL") == nr_pages * 4096 * 1000


@pytest.mark.parametrize("request_", [{"order": 2}, {"order": 5}, {"api": "kmalloc", "bytes": "16KiB"}])
def test_zeroing_costs_time_in_a_free_where_the_boot_option_says_so(request_: dict[str, Any]) -> None:
    def latency(*, init_on_free: bool) -> int:
        thread: dict[str, Any] = ONE | {"cpus": [0], "live": 1, "operations": 2, "requests": [request_]}
        core = finished(cheap(thread, costs=listed(zero_byte="1ns"), init_on_free=init_on_free)).core
        return int(core.totals[1, 0, SUM_PS])

    nr_bytes = 4096 << request_["order"] if "order" in request_ else 16 << 10
    assert latency(init_on_free=True) - latency(init_on_free=False) == nr_bytes * 1000
