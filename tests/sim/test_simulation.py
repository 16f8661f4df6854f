"""Whole small stories: who does what when, at prices that a reader can add up.

At `lock_prices_only` an allocation runs for 61 ns before it asks for a lock, a free for 56; a free lock
costs 15 ns, one handed over 100. Blocks of order 4 always take the zone's lock.
"""

import os
import subprocess
import sys
from collections.abc import Callable, Generator, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import simpy

from kmsim.config import Study, dump
from kmsim.metrics.histogram import quantile
from kmsim.sim import simulation as sim
from kmsim.sim.clock import now_ps
from kmsim.workload.op_stream import KIND_NAMES
from tests.studies import lock_prices_only, study

Story = list[tuple[float, int, str]]
ORDER_4 = {"operations": 2, "live": 1, "requests": [{"order": 4}]}


def cheap(*threads: dict[str, Any], **others: Any) -> Study:
    return study(*threads, costs=lock_prices_only(), **others)


def finished(config: Study) -> sim.Simulation:
    simulation = sim.new_simulation(config)
    assert all(done <= sim.nr_operations(config) for done in sim.run(simulation))
    return simulation


@pytest.fixture
def story(monkeypatch: pytest.MonkeyPatch) -> Callable[[Study], Story]:
    """Runs a study; every operation's begin and end as (ns, CPU, what)."""
    log: Story = []
    operation = sim.operation

    def logged(simulation: sim.Simulation, cpu: int, kind: int, *others: int) -> Generator[simpy.Event, None, None]:
        log.append((now_ps(simulation.env) / 1000, cpu, KIND_NAMES[kind]))
        yield from operation(simulation, cpu, kind, *others)
        log.append((now_ps(simulation.env) / 1000, cpu, f"{KIND_NAMES[kind]} done"))

    def told(config: Study) -> Story:
        finished(config)
        return log

    monkeypatch.setattr(sim, "operation", logged)
    return told


def test_the_second_refill_brings_two_pages_so_the_third_page_needs_no_lock(story: Any) -> None:
    assert story(cheap({"cpus": [0], "operations": 3, "live": 3})) == [
        (0, 0, "alloc"),
        (76, 0, "alloc done"),
        (76, 0, "alloc"),
        (152, 0, "alloc done"),
        (152, 0, "alloc"),
        (213, 0, "alloc done"),
    ]


TWO_CPUS_IN_TURN = [
    (0, 0, "alloc"),
    (0, 1, "alloc"),
    (76, 0, "alloc done"),
    (76, 0, "free"),
    (176, 1, "alloc done"),  # asked at 61, waited until 76, was handed the lock
    (176, 1, "free"),
    (276, 0, "free done"),  # asked at 132, waited until 176
    (376, 1, "free done"),  # asked at 232, waited until 276
]


@pytest.mark.parametrize("cpus", [[0, 1], [1, 0]])
def test_two_cpus_that_ask_at_once_are_served_by_number_however_they_are_listed(story: Any, cpus: list[int]) -> None:
    assert story(cheap(ORDER_4 | {"cpus": cpus})) == TWO_CPUS_IN_TURN


def test_a_thread_thinks_before_each_operation(story: Any) -> None:
    assert story(cheap(ORDER_4 | {"cpus": [1], "think": "1us"})) == [
        (1000, 1, "alloc"),
        (1076, 1, "alloc done"),
        (2076, 1, "free"),
        (2147, 1, "free done"),
    ]


def test_threads_of_one_cpu_take_turns_operation_by_operation(story: Any) -> None:
    assert story(cheap(ORDER_4 | {"cpus": [0]}, ORDER_4 | {"cpus": [0]})) == [
        (0, 0, "alloc"),
        (76, 0, "alloc done"),
        (76, 0, "alloc"),
        (152, 0, "alloc done"),
        (152, 0, "free"),
        (223, 0, "free done"),
        (223, 0, "free"),
        (294, 0, "free done"),
    ]


def test_a_thread_runs_while_another_of_its_cpu_thinks(story: Any) -> None:
    thinker = ORDER_4 | {"cpus": [0], "operations": 1, "think": "100ns"}
    assert story(cheap(thinker, ORDER_4 | {"cpus": [0]})) == [
        (0, 0, "alloc"),
        (76, 0, "alloc done"),
        (76, 0, "free"),
        (147, 0, "free done"),
        (147, 0, "alloc"),  # wanted at 100
        (223, 0, "alloc done"),
    ]


def test_a_handle_whose_allocation_failed_is_not_freed(story: Any) -> None:
    all_of_zone_dma = {"order": 12, "gfp": "GFP_DMA"}  # 16 MiB; the zone's first MiB is never free
    told = story(cheap({"cpus": [0], "operations": 3, "live": 1, "requests": [all_of_zone_dma]}, max_page_order=12))
    assert [what for _, _, what in told] == ["alloc", "alloc done", "alloc", "alloc done"]


def test_waits_and_latencies_are_what_the_story_says() -> None:
    simulation = finished(cheap(ORDER_4 | {"cpus": [0, 1]}))
    (lock,) = (lock for lock in simulation.locks if lock.acquisitions)
    assert (lock.acquisitions, lock.contended) == (4, 3)
    assert (lock.wait_total, lock.wait_max) == (15_000 + 44_000 + 44_000, 44_000)
    assert (lock.hold_total, lock.hold_max) == (315_000, 100_000)
    assert simulation.lock_wait.tolist() == [44_000, 59_000]
    totals = {(kind, cpu): outcome.totals.tolist() for (kind, _, cpu), outcome in simulation.outcomes.items()}
    assert totals == {
        ("alloc", 0): [1, 76_000, 76_000],
        ("alloc", 1): [1, 176_000, 176_000],
        ("free", 0): [1, 200_000, 200_000],
        ("free", 1): [1, 200_000, 200_000],
    }
    assert quantile(simulation.outcomes["free", 4, 0].counts, 0.5) == pytest.approx(200_000, rel=0.004)


@pytest.mark.parametrize("sample_every", ["1ms", "100ns", "188ns", "376ns"])
def test_a_run_ends_with_its_last_operation_whatever_the_interval_of_samples(sample_every: str) -> None:
    simulation = finished(cheap(ORDER_4 | {"cpus": [0, 1]}, run={"sample_every": sample_every}))
    times = simulation.samples.table()["time_ns"]
    assert now_ps(simulation.env) == 376_000
    assert (times.min(), times.max()) == (0, 376)
    rows_of_a_sample = 2 * 11
    assert times.value_counts().unique().tolist() == [rows_of_a_sample]


def test_a_run_ends_with_the_slowest_of_many_threads() -> None:
    slow = {"name": "slow", "cpus": [1], "operations": 3, "think": "1ms"}
    simulation = finished(cheap({"cpus": [0], "operations": 5}, slow, {"cpus": [0, 1], "operations": 1}))
    assert simulation.nr_done == 5 + 3 + 2
    assert 3_000_000_000 < now_ps(simulation.env) < 3_001_000_000


def test_a_machine_driven_to_exhaustion_counts_who_would_have_reclaimed() -> None:
    greedy = {"operations": 2500, "live": 2500}
    reclaims = greedy | {"cpus": [0], "requests": [{"order": 3}]}
    may_not = greedy | {"cpus": [1], "requests": [{"order": 2, "gfp": "GFP_ATOMIC"}]}
    outcomes = finished(cheap(reclaims, may_not)).outcomes
    for key, share in ((("alloc", 3, 0), 1), (("alloc", 2, 1), 0)):
        found = outcomes[key]
        assert found.failed > 500
        assert found.needs_slow_path == share * found.failed
        assert found.failed + found.totals[0] == 2500


def test_everything_is_recounted_as_often_as_asked_and_at_the_end(monkeypatch: pytest.MonkeyPatch) -> None:
    done: list[int] = []
    for validate_every in (3, 0):
        simulation = sim.new_simulation(study({"cpus": [0], "operations": 10}, run={"validate_every": validate_every}))
        monkeypatch.setattr(sim, "recount", lambda _, simulation=simulation: done.append(simulation.nr_done))
        assert list(sim.run(simulation)) == []
    assert done == [3, 6, 9, 10, 10]


def test_a_corrupted_machine_is_found_by_the_recount() -> None:
    simulation = sim.new_simulation(study({"operations": 10}, run={"validate_every": 1}))
    simulation.machine.zones[1].nr_free_pages += 1
    with pytest.raises(AssertionError):
        list(sim.run(simulation))
    assert simulation.nr_done == 1


def streams_of(config: Study, monkeypatch: pytest.MonkeyPatch) -> dict[str, list[Any]]:
    """The operations of each thread, in the order in which CPUs asked for them."""
    found: dict[str, list[Any]] = {}
    op_blocks = sim.op_blocks

    def kept(thread: Any, rng: np.random.Generator) -> Iterator[Any]:
        for block in op_blocks(thread, rng):
            found.setdefault(thread.name, []).append(block.tolist())
            yield block

    with monkeypatch.context() as patched:
        patched.setattr(sim, "op_blocks", kept)
        finished(config)
    return found


def test_adding_a_thread_changes_no_other_threads_operations(monkeypatch: pytest.MonkeyPatch) -> None:
    churn = {"name": "churn", "operations": 200, "live": 20, "think": {"exponential": "100ns"}, "cpus": [0, 1]}
    alone = streams_of(study(churn), monkeypatch)
    together = streams_of(study({"name": "new", "cpus": [0]}, churn, {"name": "other"}), monkeypatch)
    assert together["churn"] == alone["churn"]
    assert together["new"] != together["other"]
    assert alone["churn"][0] != alone["churn"][1]  # the same thread on another CPU draws other numbers


def test_another_seed_is_another_run(monkeypatch: pytest.MonkeyPatch) -> None:
    churn = {"operations": 50, "think": {"exponential": "100ns"}, "cpus": [0]}
    assert streams_of(study(churn, seed=1), monkeypatch) != streams_of(study(churn, seed=2), monkeypatch)


def bytes_of_a_run(folder: Path, hash_seed: str) -> dict[str, bytes]:
    command = [sys.executable, "-m", "kmsim", "run", "study.yaml", "--out", "result", "--quiet"]
    subprocess.run(command, cwd=folder, env=os.environ | {"PYTHONHASHSEED": hash_seed}, check=True)
    files = sorted(path for path in (folder / "result").rglob("*") if path.is_file())
    return {str(path.relative_to(folder)): path.read_bytes() for path in files if path.name != "timing.json"}


def test_the_same_seed_gives_the_same_bytes_in_any_process(tmp_path: Path) -> None:
    threads = [
        {"operations": 300, "live": 50, "think": {"exponential": "1us"}, "requests": [{"order": 0}, {"order": 4}]},
        {"operations": 100, "cpus": [1], "requests": [{"order": 9, "gfp": "GFP_HIGHUSER_MOVABLE"}]},
    ]
    runs = []
    for hash_seed in ("1", "2"):
        folder = tmp_path / hash_seed
        folder.mkdir()
        (folder / "study.yaml").write_text(dump(study(*threads)))
        runs.append(bytes_of_a_run(folder, hash_seed))
    assert len(runs[0]) > 15
    assert runs[0] == runs[1]
