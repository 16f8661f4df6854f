"""What a run does not depend on, and what it scales with.

Names are labels (but a thread's name chooses its random numbers), times are the same in any unit, threads that have
CPUs of their own may be listed in any order, and where every time of a config is twice as long, so is every time
of its results: no price is hidden in the code.
"""

from __future__ import annotations

from copy import deepcopy
from typing import Any

import pandas as pd
import pytest

import kmsim
from kmsim.config import from_mapping
from kmsim.sim.core.costs import PRICES
from kmsim.study.store import Result
from tests.relations.random_configs import FAMILIES, deterministic_config, random_config, rewritten, scaled

FEW = [(family, seed) for family, nr in zip(FAMILIES, (3, 1), strict=True) for seed in range(nr)]
MANY = [(family, seed) for family, nr in zip(FAMILIES, (60, 20), strict=True) for seed in range(100, 100 + nr)]
of_random_configs = pytest.mark.parametrize(
    ("family", "seed"), [*FEW, *(pytest.param(*case, marks=pytest.mark.slow) for case in MANY)]
)
LOCK_TIMES = ["wait_total_ns", "wait_max_ns", "hold_total_ns", "hold_max_ns"]


def differing(one: Result, other: Result) -> list[str]:
    """The tables, of the run and of its windows, that are not equal to the last bit."""
    pairs = zip((one.tables, *one.batches), (other.tables, *other.batches), strict=True)
    return [name for a, b in pairs for name, table in a.items() if not table.equals(b[name])]


@of_random_configs
def test_the_study_s_name_and_the_units_of_times_change_nothing(family: str, seed: int) -> None:
    config = random_config(family, seed)
    renamed = rewritten(config) | {"name": "another"}
    assert renamed["workload"] != config["workload"] or not config["workload"].get("drains")
    assert differing(kmsim.run(config), kmsim.run(renamed)) == []


@of_random_configs
def test_deterministic_threads_on_cpus_of_their_own_may_have_any_name_and_order(family: str, seed: int) -> None:
    config = deterministic_config(family, seed)
    other = deepcopy(config)
    for thread in other["workload"]["threads"]:
        thread["name"] = f"z{10 - thread['cpus'][0]}"
    other["workload"]["threads"].reverse()
    assert differing(kmsim.run(config), kmsim.run(other | {"seed": 99})) == []


def with_prices(config: dict[str, Any], factor: int) -> dict[str, Any]:
    """The config in which every price, every time slice and every time is so many times as long."""
    study = from_mapping(config)
    prices = {
        name: {"value": f"{factor * getattr(study.costs, name).value}ps", "source": "for a test"} for name in PRICES
    }
    timeslice = {"timeslice": f"{factor * study.machine.timeslice}ps"}
    run = {"sample_every": f"{factor * study.run.sample_every}ps"}
    longer = scaled(config, factor) | {"costs": {"extends": "xeon-gold-5320"} | prices, "run": run}
    return longer | {"machine": config["machine"] | timeslice}


@of_random_configs
def test_twice_the_prices_and_pauses_are_twice_the_times(family: str, seed: int) -> None:
    config = deterministic_config(family, seed)
    once, twice = kmsim.run(with_prices(config, 1)), kmsim.run(with_prices(config, 2))
    assert (twice.operations["sum_ps"] == 2 * once.operations["sum_ps"]).all()
    assert (twice.operations["max_ns"].dropna() == 2 * once.operations["max_ns"].dropna()).all()
    assert (twice.cpus.drop(columns="cpu") == 2 * once.cpus.drop(columns="cpu")).all(axis=None)
    assert (twice.locks[LOCK_TIMES] == 2 * once.locks[LOCK_TIMES]).all(axis=None)
    counts = ["count", "failed", "needs_slow_path", "to_vmalloc", "asked_bytes"]
    pd.testing.assert_frame_equal(twice.operations[counts], once.operations[counts])
    pd.testing.assert_frame_equal(twice.vmstat, once.vmstat)
    pd.testing.assert_frame_equal(twice.slabs, once.slabs)
