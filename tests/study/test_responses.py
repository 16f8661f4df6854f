"""Responses of hand-made runs: what a reader can add up. All of them against random runs: `tests.relations`."""

from __future__ import annotations

import math
from typing import Any

import pytest

from kmsim.config.responses import MEASURES, ResponseConfig
from kmsim.metrics.samples import Samples
from kmsim.mm.mmzone import ZONE_DMA32
from kmsim.sim.core.records import Core
from kmsim.study.responses import responses_of
from kmsim.study.store import Result
from tests.study.cores import hand_made_core, observe, result_of_core


def value_of(result: Result, measure: str, **filters: Any) -> float:
    (found,) = responses_of(result, [ResponseConfig.model_validate({"measure": measure, **filters})])
    return found.value


def two_kinds() -> Core:
    """Two allocations of a page in 300 ps and in 500 ps, one that failed, and a free in 400 ps."""
    core = hand_made_core(("GFP_KERNEL", 0))
    observe(core, "alloc", 0, 0, [300, 500], failed=1, slow=1)
    observe(core, "free", 0, 1, [400])
    return core


def test_the_time_for_each_mib_is_that_of_allocations_and_of_frees_together() -> None:
    result = result_of_core(two_kinds())
    us_per_mib = 128 / 1e6  # of a picosecond for two pages
    assert value_of(result, "time_per_mib") == pytest.approx(1200 * us_per_mib, rel=1e-15)
    assert value_of(result, "time_per_mib", kind="alloc") == pytest.approx(800 * us_per_mib, rel=1e-15)
    assert value_of(result, "time_per_mib", kind="free") == pytest.approx(400 * us_per_mib, rel=1e-15)


@pytest.mark.parametrize(
    ("gfp", "count"),
    [
        ("GFP_KERNEL", 3),
        ("__GFP_ZERO", 1),
        ("GFP_KERNEL | __GFP_ZERO", 1),
        ("__GFP_DIRECT_RECLAIM", 3),
        ("GFP_ATOMIC", 0),
    ],
)
def test_a_response_is_about_operations_whose_flags_contain_its_own(gfp: str, count: int) -> None:
    core = hand_made_core(("GFP_KERNEL", 0), ("GFP_KERNEL | __GFP_ZERO", 0), ("GFP_NOWAIT", 0))
    observe(core, "alloc", 0, 0, [300, 500])
    observe(core, "alloc", 1, 0, [300])
    observe(core, "alloc", 2, 0, [300])
    assert value_of(result_of_core(core), "operations", gfp=gfp) == count


def failed_beside(result: Result, measure: str, **filters: Any) -> float:
    (found,) = responses_of(result, [ResponseConfig.model_validate({"measure": measure, **filters})])
    return found.failed_share


def test_beside_what_is_of_those_that_were_served_stands_the_share_that_was_not() -> None:
    result = result_of_core(two_kinds())
    for measure in ("latency_mean", "latency_p99", "latency_max", "time_per_mib", "throughput"):
        assert failed_beside(result, measure) == 100 / 3
    assert math.isnan(failed_beside(result, "latency_mean", kind="free"))
    assert math.isnan(failed_beside(result, "failed_share"))
    assert math.isnan(failed_beside(result, "memory_held"))


def test_shares_are_of_all_that_was_tried_and_rates_of_what_was_done() -> None:
    result = result_of_core(two_kinds())
    assert value_of(result, "failed_share") == value_of(result, "slow_path_share") == 100 / 3
    assert value_of(result, "operations") == 3
    assert value_of(result, "operations", kind="alloc") == 2
    assert value_of(result, "throughput") == 3e6  # in a microsecond
    assert value_of(result, "asked") == 8192 / (1 << 20)


def test_the_mean_is_the_sum_over_the_count_divided_once() -> None:
    # As mean * count, the sum of three CPUs' latencies is off by its last bit.
    rows = [[333, 333, 334], [100, 101], [77, 77, 77, 78, 78, 78, 79]]
    cores = [hand_made_core(("GFP_KERNEL", 0), nr_cpus=3) for _ in range(2)]
    for cpu, latencies in enumerate(rows):
        observe(cores[0], "alloc", 0, cpu, latencies)
    observe(cores[1], "alloc", 0, 0, [latency for latencies in rows for latency in latencies])
    one, other = (value_of(result_of_core(core), "latency_mean") for core in cores)
    assert one == other == sum(map(sum, rows)) / 12 / 1000


@pytest.mark.parametrize("measure", ["lock_wait_mean", "lock_contended_share"])
def test_of_a_lock_that_nobody_took_there_is_nothing_to_say(measure: str) -> None:
    core = hand_made_core()
    assert math.isnan(value_of(result_of_core(core), measure))
    assert math.isnan(value_of(result_of_core(core), measure, lock="zone Normal"))
    core.locks["acquisitions"][ZONE_DMA32] = 4
    core.locks["contended"][ZONE_DMA32] = 1
    core.locks["wait_total"][ZONE_DMA32] = 6_000
    assert value_of(result_of_core(core), measure) == {"lock_wait_mean": 1.5, "lock_contended_share": 25}[measure]


OF_ZONES = [name for name, measure in MEASURES.items() if "zone" in measure.filters]


@pytest.mark.parametrize("measure", OF_ZONES)
def test_of_a_zone_that_is_not_there_there_is_nothing_to_say(measure: str) -> None:
    order = {"order": 1} if "order" in MEASURES[measure].filters else {}
    result = result_of_core(hand_made_core())
    assert math.isnan(value_of(result, measure, zone="Movable", **order))
    assert not math.isnan(value_of(result, measure, zone="DMA32", **order))


def test_every_measure_has_a_value_or_none_where_nothing_happened() -> None:
    result = result_of_core(hand_made_core(("GFP_KERNEL", 0)))
    for name, measure in MEASURES.items():
        more = {"order": 1} if "order" in measure.filters else {"counter": "pgfree"} if name == "counter" else {}
        assert isinstance(value_of(result, name, **more), float)


def test_a_run_that_took_no_sample_is_none_that_can_be_asked_for_memory() -> None:
    result = result_of_core(hand_made_core(), samples=Samples())
    assert math.isnan(value_of(result, "memory_free"))
    assert math.isnan(value_of(result, "largest_free_block"))
