"""Runs on machines that reclaim: their tables add up, both modes agree, and random ones stay consistent."""

from collections import Counter
from functools import cache
from typing import Any

import pandas as pd
import pytest

import kmsim
from kmsim.study.store import Result
from tests.sim.reclaim_studies import FAMILIES, random_study
from tests.sim.test_modes import PANIC, check_both_modes
from tests.studies import Mapping, mapping

NR_STUDIES = {"pages": 450, "all": 50}
NR_IN_BOTH_MODES = 15  # of each family; the others run in one of them, by turns
WANTED = {  # what must come about in one of 40 studies, or more often
    "pages": (
        "pgsteal_anon",
        "pgsteal_file",
        "pswpout",
        "pgactivate",
        "pgdeactivate",
        "workingset_refault_file",
        "kmsim:needs_slow_path",
        "api file_read",
        "api pages",
        "order 0",
        "order 10",
    ),
    "all": ("pgsteal_file", "api file_read"),
}
ZONES = ("dma", "dma32", "normal", "movable")


def study(**run: Any) -> Mapping:
    """Readers of a file that is larger than memory, and threads that ask for blocks, in memory that is full."""
    reader = {"operations": 1500, "requests": [{"api": "file_read", "file_size": "256MiB"}]}
    blocks = {
        "operations": 400,
        "live": 150,
        "requests": [{"order": 0, "weight": 8}, {"order": 1}, {"gfp": "GFP_DMA32", "order": 3}],
    }
    in_use = {"filled": {"page_cache": 0.6, "anonymous": 0.3}}
    return mapping(reader, blocks, run=run, swap="4MiB", state=in_use)


@cache
def whole_run() -> Result:
    """The study's run."""
    return kmsim.run(study())


def counters(result: Result) -> Counter[str]:
    """The run's `vmstat`, by name."""
    return Counter(dict(zip(result.vmstat["name"], result.vmstat["value"].tolist(), strict=True)))


def check_sums(result: Result) -> None:
    """What all classes went through is what the kernel's counters say."""
    rows, of = result.reclaim, counters(result)
    assert rows["passes"].sum() == sum(of[f"allocstall_{zone}"] for zone in ZONES)
    assert rows["pages_scanned"].sum() == of["pgscan_direct"] == of["pgscan_anon"] + of["pgscan_file"]
    assert rows["pages_reclaimed"].sum() == of["pgsteal_direct"] == of["pgsteal_anon"] + of["pgsteal_file"]
    assert (rows["requests"] > 0).all()
    assert (rows["pages_reclaimed"] <= rows["pages_scanned"]).all()


def test_what_each_class_reclaimed_adds_up_to_the_kernels_counters() -> None:
    result = whole_run()
    check_sums(result)
    rows = result.reclaim
    assert {*rows["api"]} == {"file_read", "pages"}
    assert rows["passes"].sum() >= rows["requests"].sum() > 50
    assert counters(result)["pgsteal_anon"] > 0
    assert counters(result)["pgsteal_file"] > 0
    assert {*rows["kind"]} == {"alloc"}


def test_requests_that_reclaim_are_some_of_those_that_were_counted() -> None:
    result = whole_run()
    done = result.operations.groupby(["api", "gfp", "order"])[["count", "failed"]].sum().sum(axis=1)
    for row in result.reclaim.to_dict("records"):
        assert row["requests"] <= done[row["api"], row["gfp"], row["order"]]


def test_the_lru_lock_is_a_lock_of_the_table() -> None:
    locks = whole_run().locks.set_index("lock")
    lock = locks.loc["lru_lock 0"]
    scans = counters(whole_run())["pgscan_direct"] / 32
    assert lock["acquisitions"] > 2 * scans  # folios are taken off, and what is kept goes back
    assert 0 < lock["hold_max_ns"] < lock["hold_total_ns"]


def test_what_comes_before_the_end_of_the_warm_up_is_not_counted() -> None:
    whole = whole_run()
    end = whole.cpus["run_ns"].max()
    later = kmsim.run(study(warm_up=f"{int(end // 2)}ns"))
    assert 0 < later.reclaim["pages_scanned"].sum() < whole.reclaim["pages_scanned"].sum()
    assert 0 < counters(later)["pgscan_direct"] < counters(whole)["pgscan_direct"]
    under_way = len(whole.cpus) * 100 * 32  # a request is counted when it is over, a page at once
    for column, counter in (("pages_scanned", "pgscan_direct"), ("pages_reclaimed", "pgsteal_direct")):
        assert abs(int(later.reclaim[column].sum()) - counters(later)[counter]) <= under_way


@pytest.mark.slow  # with a user's process, which is compiled anew; the golden `reclaim` compares the modes at once
def test_both_modes_give_the_same_bits() -> None:
    simulation = check_both_modes(study(validate_every=1000, sample_every="1ms"))
    assert simulation.core.reclaimed.sum() > 0


def test_a_machine_that_cannot_reclaim_has_no_rows() -> None:
    result = kmsim.run(mapping({"operations": 10}))
    assert len(result.reclaim) == 0
    assert not any(name.startswith("pgscan") for name in counters(result))


# ---- random machines and workloads


def outcome(family: str, seed: int) -> tuple[Counter[str], pd.DataFrame]:
    """Run a random study, recounted again and again; what was counted, and its table."""
    if seed < NR_IN_BOTH_MODES:
        check_both_modes(random_study(family, seed), may_panic=True)
    result = kmsim.run(random_study(family, seed, stepwise=seed % 2 == 1))
    assert result.stuck == "" or result.stuck.startswith(PANIC)
    return counters(result), result.reclaim


@pytest.mark.slow
@pytest.mark.parametrize("family", FAMILIES)
def test_random_machines_that_are_short_of_memory_stay_consistent(family: str) -> None:
    reached = Counter[str]()
    for seed in range(NR_STUDIES[family]):
        found, rows = outcome(family, seed)
        reached.update(name for name, value in found.items() if value)
        reached.update({f"api {api}" for api in rows["api"]} | {f"order {order}" for order in rows["order"]})
    seldom = [name for name in WANTED[family] if reached[name] < NR_STUDIES[family] // 40]
    assert seldom == [], reached
