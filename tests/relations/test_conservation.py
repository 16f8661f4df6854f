"""What must hold between the numbers of any run, and every response against its own slow computation."""

from __future__ import annotations

import math
from dataclasses import replace
from functools import cache
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
import pytest

import kmsim
from kmsim.config.responses import MEASURES, OF_CLASS, ResponseConfig
from kmsim.sim.core.records import NR_LEVELS
from kmsim.study.responses import responses_of
from kmsim.study.store import Result
from tests.relations.independent import recomputed, rows_of
from tests.relations.random_configs import FAMILIES, random_config
from tests.studies import mapping

FEW = [(family, seed) for family, nr in zip(FAMILIES, (3, 2), strict=True) for seed in range(nr)]
MANY = [(family, seed) for family, nr in zip(FAMILIES, (120, 60), strict=True) for seed in range(100, 100 + nr)]
CASES = [*FEW, *(pytest.param(*case, marks=pytest.mark.slow) for case in MANY)]
of_random_configs = pytest.mark.parametrize(("family", "seed"), CASES)


@cache
def run(family: str, seed: int) -> Result:
    """A random config's run."""
    return kmsim.run(random_config(family, seed))


class Counters(NamedTuple):
    """A run's `vmstat`, by name."""

    values: dict[str, int]

    def of(self, *names: str) -> int:
        """The sum of some counters; those that the run has not count nothing."""
        return sum(self.values.get(name, 0) for name in names)


def counters(result: Result) -> Counters:
    return Counters(dict(zip(result.vmstat["name"], result.vmstat["value"], strict=True)))


def whole_ps(times: pd.Series) -> pd.Series:
    return (times * 1000).round().astype("int64")


def nr_of(rows: pd.DataFrame, column: str = "count", **of: Any) -> int:
    for name, value in of.items():
        rows = rows[rows[name] == value]
    return int(rows[column].sum())


# ---- conservation


@of_random_configs
def test_the_parts_of_each_cpus_time_are_the_run(family: str, seed: int) -> None:
    cpus = run(family, seed).cpus
    parts = [whole_ps(cpus[name]) for name in cpus.columns if name not in ("cpu", "run_ns")]
    assert sum(parts).tolist() == whole_ps(cpus["run_ns"]).tolist()


@of_random_configs
def test_all_waiting_of_cpus_is_that_for_a_lock(family: str, seed: int) -> None:
    result = run(family, seed)
    locks = result.locks[result.locks["lock"] != "vmap_purge_lock"]  # whose waiters sleep
    waited = int(whole_ps(locks["wait_total_ns"]).sum())
    spent = int(whole_ps(result.cpus["lock_wait_ns"]).sum())
    # Counted as a whole, but spent little by little, and not while an interrupt is served.
    not_yet = int(whole_ps(result.cpus["unfinished_ns"]).sum())
    served = 0 if result.cpus["interrupt_ns"].sum() == 0 else int(whole_ps(result.cpus["run_ns"]).sum())
    # What is asked for last may be had only after the run's end: one lock at most for each level of a CPU.
    after_the_end = NR_LEVELS * len(result.cpus) * int(whole_ps(locks["wait_max_ns"]).max()) if not_yet else 0
    assert spent <= waited <= spent + not_yet + served + after_the_end


@of_random_configs
def test_pages_are_taken_given_back_or_held(family: str, seed: int) -> None:
    result = run(family, seed)
    memory = result.memory
    unused = (memory["free_pages"] + memory["pcp_pages"]).groupby(memory["time_ns"]).sum()
    of = counters(result)
    held = of.of(*(f"pgalloc_{zone}" for zone in ("dma", "dma32", "normal", "movable"))) - of.of("pgfree")
    if result.cpus["unfinished_ns"].sum() == 0:
        assert held == unused.iloc[0] - unused.iloc[-1]
    if family == "pages":
        done = result.operations
        sign = np.where(done["kind"] == "alloc", 1, -1)
        lives = int((sign * done["count"] * 2 ** done["order"]).sum())
        assert held == lives or result.cpus["unfinished_ns"].sum() > 0


@of_random_configs
def test_a_request_for_pages_fails_once_and_is_counted_once(family: str, seed: int) -> None:
    result = run(family, seed)
    done, of = result.operations, counters(result)
    needs = of.of("kmsim:needs_slow_path")
    failed = needs + of.of("kmsim:failed_without_reclaim")
    if family == "pages":  # the event comes first, and the operation that fails is over a little later
        nr_under_way = NR_LEVELS * len(result.cpus) if result.cpus["unfinished_ns"].sum() else 0
        assert 0 <= needs - nr_of(done, "needs_slow_path") <= nr_under_way
        assert 0 <= failed - nr_of(done, "failed") <= nr_under_way
    assert nr_of(done, "needs_slow_path") <= needs
    assert (done["needs_slow_path"] <= done["failed"]).all()
    assert nr_of(done, "failed", kind="free") == nr_of(done, "asked_bytes", kind="free") == 0


@of_random_configs
def test_what_is_counted_over_time_is_what_is_counted_in_all(family: str, seed: int) -> None:
    result = run(family, seed)
    for kind, rows in result.activity.groupby("kind"):
        for column in ("count", "failed", "sum_ps"):
            assert nr_of(rows, column) == nr_of(result.operations, column, kind=kind)
    sums = result.operations["count"] * (result.operations["mean_ns"].fillna(0) * 1000)
    assert np.allclose(sums, result.operations["sum_ps"], rtol=1e-14)


@of_random_configs
def test_objects_areas_and_kvmallocs_add_up(family: str, seed: int) -> None:
    result = run(family, seed)
    done, of = result.operations, counters(result)
    if family == "pages":
        assert of.of("kmsim:vmalloc") == len(result.slabs) == 0
        return
    kv = done[done["api"] == "kvmalloc"]
    ways = [of.of(f"kmsim:kvmalloc_{way}") for way in ("slab", "pages", "vmalloc")]
    is_quiet = result.cpus["unfinished_ns"].sum() == 0
    assert sum(ways) == nr_of(kv, kind="alloc") or not is_quiet
    assert ways[2] == nr_of(kv, "to_vmalloc") or not is_quiet
    areas = done[done["api"] == "vmalloc"]
    assert of.of("kmsim:vmalloc") == nr_of(areas, kind="alloc") + ways[2] or not is_quiet
    if ways[2] == 0 and is_quiet:
        assert of.of("kmsim:vfree") == nr_of(areas, kind="free")
    own = done[done["cache"] == "skbuff_head_cache"]
    if own.empty:
        return
    (slab,) = result.slabs[result.slabs["cache"] == "skbuff_head_cache"].to_dict("records")
    if is_quiet:
        assert slab["live_objects"] == nr_of(own, kind="alloc") - nr_of(own, kind="free")
        assert slab["alloc_fastpath"] + slab["alloc_slowpath"] == nr_of(own, kind="alloc") + nr_of(own, "failed")
        assert slab["free_fastpath"] + slab["free_slowpath"] == nr_of(own, kind="free")


def test_the_clean_up_of_a_failed_vmalloc_is_no_vfree() -> None:
    areas = {"cpus": [0], "operations": 200, "live": 200, "requests": [{"api": "vmalloc", "bytes": "900KiB"}]}
    exact = {"cpus": [1], "operations": 2, "requests": [{"api": "exact", "bytes": "20KiB"}]}
    result = kmsim.run(mapping(areas, exact))
    done, of = result.operations, counters(result)
    failed = nr_of(done, "failed", api="vmalloc")
    assert failed > 20
    assert of.of("kmsim:vmalloc") == nr_of(done, api="vmalloc", kind="alloc") == 200 - failed
    assert of.of("kmsim:vfree") == 0


def test_a_wait_that_lasts_until_the_end_is_in_its_row() -> None:
    config = mapping({"operations": 30, "live": 300, "cpus": [1]})
    config["workload"]["drains"] = [{"cpu": 0, "every": "700ns"}]
    result = kmsim.run(config)
    lists = result.locks.set_index("lock").loc["pcp lists DMA32"]
    assert lists["contended"] == lists["acquisitions"] > 1
    assert whole_ps(result.locks["wait_total_ns"]).sum() == whole_ps(result.cpus["lock_wait_ns"]).sum()


def test_a_drain_s_wait_for_a_list_has_a_row_of_its_own() -> None:
    busy = {"operations": 2000, "think": {"exponential": "300ns"}, "live": 300, "requests": [{}, {"order": 2}]}
    config = mapping(busy | {"cpus": [1]}, {"cpus": [0], "operations": 1, "think": "900us"})
    config["workload"]["drains"] = [{"cpu": 0, "every": "700ns"}]
    result = kmsim.run(config)
    rows = result.locks.set_index("lock")
    drains = rows.loc["pcp lists DMA32"]
    assert drains["acquisitions"] > drains["contended"] > 0
    assert 0 < drains["wait_max_ns"] < drains["wait_total_ns"]
    assert rows["wait_total_ns"].sum() == pytest.approx(result.cpus["lock_wait_ns"].sum(), rel=1e-12)


# ---- responses


def asked(result: Result) -> list[ResponseConfig]:
    """Every measure with every kind that it takes, of all and of each class, zone, lock and counter of the run."""
    done = result.operations.drop_duplicates(list(OF_CLASS[1:]))
    classes: list[dict[str, Any]] = [{}, *({"api": api} for api in done["api"].unique())]
    classes += [{"gfp": row["gfp"], "order": row["order"]} for row in done.head(1).to_dict("records")]
    zones: list[dict[str, Any]] = [{}, {"zone": "DMA32"}, {"zone": "Movable"}]
    blocks = [zone | block for zone in zones for block in ({"order": 3}, {"block": "2MiB"})]
    locks = [{}, *({"lock": lock} for lock in [*result.locks["lock"].tail(2), "no such lock"])]
    named = [{"counter": name} for name in [*result.vmstat["name"].tail(2), "no such counter"]]
    by_filters = {("zone", "order", "block"): blocks, ("zone",): zones, ("lock",): locks, ("counter",): named, (): [{}]}
    found = []
    for measure, of in MEASURES.items():
        kinds = [{}, *({"kind": kind} for kind in of.kinds)]
        ways = by_filters.get(of.filters, classes)
        ways = [way for way in ways if of.api is None or way.get("api") in (None, of.api)]
        found += [ResponseConfig.model_validate({"measure": measure, **way, **kind}) for way in ways for kind in kinds]
    return found


@of_random_configs
def test_every_response_is_what_the_tables_say(family: str, seed: int) -> None:
    result = run(family, seed)
    result = replace(result, batches=result.batches[:1])  # a window is as another, and each takes as long as the run
    configs = [config.model_copy(update={"name": str(n)}) for n, config in enumerate(asked(result))]
    of_run, page_size = rows_of(result.tables), result.page_size_bytes
    windows = [rows_of(tables) for tables in result.batches]
    for value in responses_of(result, configs):
        config = configs[int(value.response)]
        keys = (*OF_CLASS, "lock", "zone", "block", "counter")
        filters = {key: getattr(config, key) for key in keys if getattr(config, key) is not None}
        tables = of_run if value.batch < 0 else windows[value.batch]
        expected = recomputed(config.measure, tables, page_size, **filters)
        same = math.isclose(value.value, expected, rel_tol=1e-15) or (math.isnan(value.value) and math.isnan(expected))
        assert same, (config.measure, filters, value, expected)
