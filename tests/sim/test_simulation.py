"""Whole small runs: who does what when, what is counted, when they end, and that they repeat.

The prices are in `tests.sim.stories`.
"""

import os
import subprocess
import sys
from collections import defaultdict
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from kmsim.config import Study, dump, from_mapping
from kmsim.metrics.histogram import bucket_bounds
from kmsim.sim import simulation as sim
from kmsim.sim.core.records import COUNT, FAILED, IDLE, MAX_PS, NEEDED_SLOW_PATH, START, SUM_PS, Core, class_of
from kmsim.sim.run import drivers
from kmsim.sim.run.clock import now_ps
from kmsim.sim.run.engine import Engine
from kmsim.workload.op_stream import ALLOC, FREE, KIND_NAMES, block_size
from tests.sim.stories import PAIR, cheap, finished, told
from tests.sim.test_modes import random_study
from tests.studies import study

TIME_PARTS = ("instructions", "cache_lines", "lock_wait", "lock_hold", "switch", "interrupt", "idle")


def test_the_second_refill_brings_two_pages_so_the_third_page_needs_no_lock() -> None:
    assert told(cheap({"cpus": [0], "operations": 4, "live": 3})) == [
        (0, 0, "t0 alloc"),
        (76, 0, "t0 alloc done"),
        (76, 0, "t0 alloc"),
        (152, 0, "t0 alloc done"),
        (152, 0, "t0 alloc"),
        (213, 0, "t0 alloc done"),
        (213, 0, "t0 free"),
        (269, 0, "t0 free done"),
    ]


TWO_CPUS_IN_TURN = [
    (0, 0, "t0 alloc"),
    (0, 1, "t0 alloc"),
    (76, 0, "t0 alloc done"),
    (76, 0, "t0 free"),
    (176, 1, "t0 alloc done"),  # asked at 61, waited until 76, was handed the lock
    (176, 1, "t0 free"),
    (276, 0, "t0 free done"),  # asked at 132, waited until 176
    (376, 1, "t0 free done"),  # asked at 232, waited until 276
]


@pytest.mark.parametrize("cpus", [[0, 1], [1, 0]])
def test_two_cpus_that_ask_at_once_are_served_by_number_however_they_are_listed(cpus: list[int]) -> None:
    assert told(cheap(PAIR | {"cpus": cpus})) == TWO_CPUS_IN_TURN


def test_a_thread_thinks_before_each_operation() -> None:
    assert told(cheap(PAIR | {"cpus": [1], "think": "1us"})) == [
        (1000, 1, "t0 alloc"),
        (1076, 1, "t0 alloc done"),
        (2076, 1, "t0 free"),
        (2147, 1, "t0 free done"),
    ]


def test_a_thread_starts_when_it_is_told_to() -> None:
    assert told(cheap(PAIR | {"cpus": [1], "start": "3us", "think": "1us"})) == [
        (4000, 1, "t0 alloc"),
        (4076, 1, "t0 alloc done"),
        (5076, 1, "t0 free"),
        (5147, 1, "t0 free done"),
    ]


def test_a_handle_whose_allocation_failed_is_not_freed() -> None:
    all_of_zone_dma = {"order": 12, "gfp": "GFP_DMA"}  # 16 MiB; the zone's first MiB is never free
    log = told(cheap({"cpus": [0], "operations": 3, "live": 1, "requests": [all_of_zone_dma]}, max_page_order=12))
    assert [what for _, _, what in log] == ["t0 alloc", "t0 alloc done"] * 2


# ---- what is counted


def test_waits_and_latencies_are_what_the_story_says() -> None:
    core = finished(cheap(PAIR)).core
    (lock,) = (lock for lock in core.locks if lock.acquisitions)
    assert (lock.acquisitions, lock.contended) == (4, 3)
    assert (lock.wait_total, lock.wait_max) == (115_000 + 144_000 + 144_000, 144_000)  # the handover included
    assert (lock.hold_total, lock.hold_max) == (0, 0)
    assert core.cpus["lock_wait_ps"].tolist() == [144_000, 115_000 + 144_000]
    latencies = [(COUNT, [1, 1]), (SUM_PS, [76_000, 176_000]), (MAX_PS, [76_000, 176_000]), (FAILED, [0, 0])]
    for column, of_cpus in latencies:
        assert core.totals[ALLOC, :, column].tolist() == of_cpus
    assert core.totals[FREE, :, SUM_PS].tolist() == [200_000, 200_000]
    (bucket,) = np.flatnonzero(core.counts[FREE, 0])
    low, high = bucket_bounds()
    assert low[bucket] <= 200_000 < high[bucket]


def test_a_machine_driven_to_exhaustion_counts_who_would_have_reclaimed() -> None:
    greedy = {"operations": 2500, "live": 2500}
    reclaims = greedy | {"cpus": [0], "requests": [{"order": 3}]}
    may_not = greedy | {"cpus": [1], "requests": [{"order": 2, "gfp": "GFP_ATOMIC"}]}
    core = finished(cheap(reclaims, may_not)).core
    for order, cpu in ((3, 0), (2, 1)):
        (request,) = np.flatnonzero(core.requests["order"] == order)
        found = core.totals[class_of(int(request), ALLOC), cpu]
        assert found[FAILED] > 500
        assert found[NEEDED_SLOW_PATH] == (found[FAILED] if order == 3 else 0)
        assert found[FAILED] + found[COUNT] == 2500


@pytest.mark.parametrize("seed", range(12))
def test_the_parts_of_each_cpus_time_add_up_to_the_run(seed: int) -> None:
    simulation = finished(from_mapping(random_study(seed)))
    core, now = simulation.core, now_ps(simulation.env)
    nr_cpus = len(core.cpus)
    for c, cpu in enumerate(core.cpus):
        spent = sum(int(cpu[f"{part}_ps"]) for part in TIME_PARTS)
        spent += now - int(cpu.idle_since) if cpu.level == IDLE else 0
        for level in np.flatnonzero(cpu.busy):  # the run ends in the middle of something
            under_way = core.runs[level * nr_cpus + c]
            left = int(under_way.end_ps) - now if level == cpu.level else int(under_way.left_ps)
            stage = sum(int(under_way[f"{part}_ps"]) for part in TIME_PARTS[:4])
            spent += -left if under_way.then == START else stage - left  # the way there is counted beforehand
        assert spent == now


# ---- when a run ends


@pytest.mark.parametrize("sample_every", ["1ms", "100ns", "188ns", "376ns"])
def test_a_run_ends_with_its_last_operation_whatever_the_interval_of_samples(sample_every: str) -> None:
    simulation = finished(cheap(PAIR, run={"sample_every": sample_every}))
    times = simulation.recorders.samples.free_blocks_table(simulation.machine).frame()["time_ns"]
    assert now_ps(simulation.env) == 376_000
    assert (times.min(), times.max()) == (0, 376)
    assert times.value_counts().nunique() == 1  # no moment is sampled twice


def test_a_run_ends_with_the_slowest_of_many_threads() -> None:
    slow = {"name": "slow", "cpus": [1], "operations": 3, "think": "1ms"}
    simulation = finished(cheap({"cpus": [0], "operations": 5}, slow, {"cpus": [0, 1], "operations": 1}))
    assert simulation.nr_done == 5 + 3 + 2
    assert 3_000_000_000 < now_ps(simulation.env) < 3_001_000_000


# ---- recounts


def test_everything_is_recounted_as_often_as_asked_and_at_the_end(monkeypatch: pytest.MonkeyPatch) -> None:
    done: list[int] = []
    for validate_every in (3, 0):
        simulation = sim.new_simulation(study({"cpus": [0], "operations": 10}, run={"validate_every": validate_every}))
        for module in (sim, drivers):
            monkeypatch.setattr(module, "recount", lambda _, simulation=simulation: done.append(simulation.nr_done))
        list(sim.run(simulation))
    assert done == [3, 6, 9, 10, 10]


def damage_pages(core: Core) -> None:
    core.m.zones[1].nr_free_pages += 1


def damage_slabs(core: Core) -> None:
    assert core.slub is not None
    core.slub.cache_nodes[0].nr_slabs += 1


def damage_addresses(core: Core) -> None:
    assert core.vm is not None
    core.vm.params[0].vmap_lazy_nr += 1


EVERY_ALLOCATOR = [{"api": "bulk", "pages": 2}, {"api": "kmalloc", "bytes": "8B"}, {"api": "vmalloc", "bytes": "9KiB"}]


@pytest.mark.parametrize("damage", [damage_pages, damage_slabs, damage_addresses])
def test_a_corrupted_machine_is_found_by_the_recount(damage: Callable[[Core], None]) -> None:
    config = study({"cpus": [0], "operations": 10, "requests": EVERY_ALLOCATOR}, run={"validate_every": 1})
    list(sim.run(sim.new_simulation(config)))
    simulation = sim.new_simulation(config)
    damage(simulation.core)
    with pytest.raises(AssertionError):
        list(sim.run(simulation))
    assert simulation.nr_done == 1


# ---- runs repeat


def streams_of(config: Study, monkeypatch: pytest.MonkeyPatch) -> dict[str, list[Any]]:
    """The operations that each task handed to the core; requests by what they ask for."""
    found: dict[str, list[Any]] = defaultdict(list)
    simulation = sim.new_simulation(config)
    hand = simulation.engine.hand

    def kept(k: int, nr_ops: int, *others: int) -> Any:
        ops = simulation.engine.room(k)[:nr_ops]
        asked = [simulation.plan.requests[request] for request in ops["request"]]
        kinds = [KIND_NAMES[kind] for kind in ops["kind"]]
        slots = (ops["slot"] - simulation.plan.tasks[k].first_slot).tolist()
        found[simulation.plan.tasks[k].name] += zip(ops["gap_ps"].tolist(), kinds, slots, asked, strict=True)
        return hand(k, nr_ops, *others)

    monkeypatch.setattr(simulation.engine, "hand", kept)
    list(sim.run(simulation))
    return dict(found)


def test_adding_a_thread_changes_no_other_threads_operations(monkeypatch: pytest.MonkeyPatch) -> None:
    churn = {"name": "churn", "operations": 200, "live": 20, "think": {"exponential": "100ns"}, "cpus": [0, 1]}
    alone = streams_of(study(churn), monkeypatch)
    together = streams_of(study({"name": "new", "cpus": [0]}, churn, {"name": "other", "cpus": [0]}), monkeypatch)
    assert {name: together[name] for name in alone} == alone
    assert together["new/cpu0"] != together["other/cpu0"]
    assert alone["churn/cpu0"] != alone["churn/cpu1"]  # the same thread on another CPU draws other numbers


def test_another_seed_is_another_run(monkeypatch: pytest.MonkeyPatch) -> None:
    churn = {"operations": 50, "think": {"exponential": "100ns"}, "cpus": [0]}
    assert streams_of(study(churn, seed=1), monkeypatch) != streams_of(study(churn, seed=2), monkeypatch)


@pytest.mark.parametrize("nr_ops_max", [1, 7])
def test_the_size_of_the_blocks_that_are_handed_over_changes_nothing(
    monkeypatch: pytest.MonkeyPatch, nr_ops_max: int
) -> None:
    config = from_mapping(random_study(3))
    whole, room = finished(config), Engine.room
    with monkeypatch.context() as patched:
        patched.setattr(Engine, "room", lambda engine, k: room(engine, k)[:nr_ops_max])
        in_pieces = finished(config)
    assert now_ps(whole.env) == now_ps(in_pieces.env)
    assert np.array_equal(whole.core.totals, in_pieces.core.totals)
    assert np.array_equal(whole.machine.pages, in_pieces.machine.pages)
    assert block_size(whole.plan) > nr_ops_max


def bytes_of_a_run(folder: Path, hash_seed: str) -> dict[str, bytes]:
    command = [sys.executable, "-m", "kmsim", "run", "study.yaml", "--out", "result", "--quiet"]
    subprocess.run(command, cwd=folder, env=os.environ | {"PYTHONHASHSEED": hash_seed}, check=True)
    files = sorted(path for path in (folder / "result").rglob("*") if path.is_file())
    return {str(path.relative_to(folder)): path.read_bytes() for path in files if path.name != "timing.json"}


@pytest.mark.slow
def test_the_same_seed_gives_the_same_bytes_in_any_process(tmp_path: Path) -> None:
    threads = [
        {"operations": 300, "live": 50, "think": {"exponential": "1us"}, "requests": [{"order": 0}, {"order": 4}]},
        {"operations": 100, "cpus": [1], "requests": [{"order": 9, "gfp": "GFP_HIGHUSER_MOVABLE"}]},
        {"operations": 100, "pinned": False, "lifetime": {"exponential": "5us"}, "think": {"exponential": "1us"}},
    ]
    runs = []
    for hash_seed in ("1", "2"):
        folder = tmp_path / hash_seed
        folder.mkdir()
        (folder / "study.yaml").write_text(dump(study(*threads)))
        runs.append(bytes_of_a_run(folder, hash_seed))
    assert len(runs[0]) > 15
    assert runs[0] == runs[1]


def test_a_user_s_process_is_refused_where_runs_do_not_model_its_slabs() -> None:
    of_7_3 = study({"operations": 1}, kernel_release="7.3")
    with pytest.raises(ValueError, match=r"machine\.slab\.slub must be cpu_slabs"):
        sim.new_simulation(of_7_3, [lambda _: iter(())])
