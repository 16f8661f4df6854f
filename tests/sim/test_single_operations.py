"""The table of single operations agrees with what a run counts of all, and is the same in both modes."""

import json
import os
import subprocess
import sys
from collections import Counter, defaultdict
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from kmsim.config import from_mapping
from kmsim.mm.indices import ContextIdx
from kmsim.sim.core.records import NO_BLOCK, NR_LEVELS, run_t
from kmsim.sim.core.single_records import MINSTD_MODULUS, new_singles, singles_kept
from kmsim.sim.core.singles import keep_single
from kmsim.study.runner import run_point
from kmsim.study.tables import tables_of
from kmsim.workload.request import PAGES
from kmsim.workload.seeds import stream
from tests.sim import test_modes_of_allocators
from tests.sim.single_operations import IN_BOTH, KEPT, WARM_UP_NS

ROOT = Path(__file__).parents[2]
CLASS = ("kind", "api", "gfp", "order", "cache", "cpu")

Rows = list[dict[str, Any]]


@pytest.fixture(scope="module")
def found() -> dict[str, dict[str, dict[str, Rows]]]:
    """The tables of some runs, by name and mode; they compile nothing."""
    plain = os.environ | {"NUMBA_DISABLE_JIT": "1"}
    command = [sys.executable, "-m", "tests.sim.single_operations"]
    done = subprocess.run(command, cwd=ROOT, env=plain, capture_output=True, text=True, check=True)
    tables: dict[str, dict[str, dict[str, Rows]]] = json.loads(done.stdout)
    return tables


def singles_of(found: Any, name: str) -> Rows:
    rows: Rows = found[name]["default"]["single_operations"]
    return rows


def summed(singles: Rows) -> dict[tuple[Any, ...], tuple[Any, ...]]:
    """What `operations` says of each class and CPU, from single operations."""
    of_class: dict[tuple[Any, ...], Rows] = defaultdict(list)
    for row in singles:
        of_class[tuple(row[key] for key in CLASS)].append(row)
    sums = {}
    for key, rows in of_class.items():
        done = [row for row in rows if not row["failed"]]
        times_ps = [round(row["latency_ns"] * 1000) for row in done]
        asked = sum(row["asked_bytes"] for row in done)
        sums[key] = (len(done), len(rows) - len(done), asked, sum(times_ps), max(times_ps, default=0))
    return sums


def counted(operations: Rows) -> dict[tuple[Any, ...], tuple[Any, ...]]:
    """The same from the table `operations`."""
    return {
        tuple(row[key] for key in CLASS): (
            *(row[name] for name in ("count", "failed", "asked_bytes", "sum_ps")),
            round(row["max_ns"] * 1000) if row["count"] else 0,
        )
        for row in operations
    }


@pytest.mark.parametrize("name", IN_BOTH)
def test_both_modes_keep_the_same(found: Any, name: str) -> None:
    assert found[name]["default"] == found[name]["stepwise"]


@pytest.mark.parametrize("name", ["all", "all after the warm-up"])
def test_all_single_operations_add_up_to_what_the_run_counts(found: Any, name: str) -> None:
    singles = singles_of(found, name)
    assert summed(singles) == counted(found[name]["default"]["operations"])
    assert [row["number"] for row in singles] == list(range(len(singles)))
    ends = [row["start_ns"] + row["latency_ns"] for row in singles]
    assert ends == sorted(ends)
    assert any(row["failed"] for row in singles)
    assert all((row["block"] == NO_BLOCK) == bool(row["failed"]) for row in singles)


def test_a_row_says_who_asked_for_what(found: Any) -> None:
    singles = singles_of(found, "all")
    assert {row["task"] for row in singles} == {"t0/cpu0", "t0/cpu1", "t1/cpu0", "t2/cpu1", "nic/cpu1", "user"}
    assert {(row["api"], row["cache"]) for row in singles if row["task"] == "user"} == {
        ("slab", "kmalloc-512"),
        ("pages", ""),
    }
    assert all(row["cpu"] == int(row["task"][-1]) for row in singles if row["task"] != "user")


def test_a_free_is_of_the_block_that_was_allocated_before(found: Any) -> None:
    held: Counter[tuple[str, int]] = Counter()
    for row in singles_of(found, "all"):
        if not row["failed"]:
            held[row["api"], row["block"]] += 1 if row["kind"] == "alloc" else -1
        assert held[row["api"], row["block"]] in (0, 1)
    assert sum(held.values()) > 0


def test_the_last_ones_are_the_tail_of_all(found: Any) -> None:
    whole = singles_of(found, "all")
    assert singles_of(found, "last") == whole[-KEPT:]


def test_sampled_ones_are_some_of_all(found: Any) -> None:
    whole, sampled = singles_of(found, "all"), singles_of(found, "sampled")
    numbers = [row["number"] for row in sampled]
    assert sampled == [whole[number] for number in numbers]
    assert len(set(numbers)) == KEPT
    assert numbers != list(range(KEPT))
    assert numbers[0] < len(whole) - KEPT


def test_nothing_is_kept_of_the_warm_up(found: Any) -> None:
    singles = singles_of(found, "all after the warm-up")
    assert len(singles) > 0
    assert all(row["start_ns"] + row["latency_ns"] >= WARM_UP_NS for row in singles)
    assert singles_of(found, "ended in the warm-up") == []


def test_keeping_them_changes_nothing_else_and_is_on_demand(found: Any) -> None:
    assert "single_operations" not in found["none"]["default"]
    for name in ("all", "last", "sampled"):
        assert found[name]["default"]["operations"] == found["none"]["default"]["operations"]


def core_that_keeps(nr_rows: int, seed: int) -> Any:
    """As much of a core as `keep_single` sees."""
    singles = new_singles(nr_rows, is_sampled=True, seed=seed)
    runs, requests = np.zeros(NR_LEVELS, run_t), [SimpleNamespace(api=PAGES)]
    return SimpleNamespace(singles=singles, runs=runs, requests=requests, state=[SimpleNamespace(now=0)])


def test_each_operation_is_sampled_with_the_same_chance() -> None:
    """Of 40 operations 8 are kept, by 300 generators: each is kept 60 times, give or take 4.5 standard deviations."""
    kept: Counter[int] = Counter()
    first: ContextIdx = 0
    seeds = stream(1, "seeds of generators").integers(1, MINSTD_MODULUS, size=300).tolist()
    for seed in seeds:
        core = core_that_keeps(8, seed)
        for _ in range(40):
            keep_single(core, 0, first, 1)
        kept.update(singles_kept(core.singles)["number"].tolist())
    assert sum(kept.values()) == 300 * 8
    assert all(abs(kept[number] - 60) < 4.5 * (300 * 0.2 * 0.8) ** 0.5 for number in range(40)), kept


@pytest.mark.slow
@pytest.mark.parametrize("kept", ["last", "sampled"])
def test_compiled_runs_of_all_allocators_keep_the_same_in_both_modes(kept: str) -> None:
    whole = test_modes_of_allocators.random_study(0)
    frames = {}
    for stepwise in (False, True):
        for most in (50, 100_000):
            run = whole["run"] | {"operations": most, "operations_kept": kept, "stepwise": stepwise}
            tables = tables_of(run_point(from_mapping(whole | {"run": run})))
            frames[stepwise, most] = tables["single_operations"]
            if most > 50:
                singles, operations = (tables[name].to_dict("records") for name in ("single_operations", "operations"))
                assert summed(singles) == counted(operations)
    for most in (50, 100_000):
        assert frames[False, most].equals(frames[True, most])
    some = frames[False, 50]["number"]
    assert frames[False, 50].equals(frames[False, 100_000].iloc[some].reset_index(drop=True))
    assert len(some) == 50
