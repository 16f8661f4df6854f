"""Windows of a run: what is counted in each, exactly, and that they make up the whole."""

import random
from functools import cache
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
import pytest

from kmsim.config import from_mapping
from kmsim.mm.wants import DONE, GO_ON
from kmsim.sim.core.counted import LOCK_COUNTS, LOCK_MAXIMA, SPENT, Counted, passed_of_stages
from kmsim.sim.core.records import BEGIN_WORK, BYTES, COUNT, MAX_PS, NR_KINDS, START, SUM_PS, UNPARK, WAITING, class_of
from kmsim.sim.run import windows as of_windows
from kmsim.sim.run.windows import Windows
from kmsim.sim.simulation import Simulation, new_simulation, run
from kmsim.workload.op_stream import ALLOC, FREE
from kmsim.workload.plan import IRQ, THREAD
from tests.sim.test_modes import check_same, random_study
from tests.sim.test_modes_of_allocators import random_study as random_study_of_allocators
from tests.studies import Mapping, mapping
from tests.study.cores import hand_made_core, observe

US = 10**6  # picoseconds
STUDIES = [random_study(1), random_study(4), random_study_of_allocators(2), random_study_of_allocators(5)]


class Seen(NamedTuple):
    """What is looked at of a run; its simulation may be gigabytes."""

    batches: list[Counted]
    whole: Counted
    remarks: list[str]
    activity: pd.DataFrame
    memory: pd.DataFrame


@cache
def _watched(number: int, warm_up_ps: int, batch_ps: int, *, stepwise: bool) -> Seen:
    simulation = finished(configured(number, warm_up_ps, batch_ps, stepwise=stepwise))
    windows, memory = (
        simulation.recorders.windows,
        simulation.recorders.samples.memory_table(simulation.machine).frame(),
    )
    remarks = list(windows.remarks())
    return Seen(windows.batches, measured(simulation), remarks, simulation.recorders.activity.table().frame(), memory)


def watched(number: int, warm_up_ps: int = 0, batch_ps: int = 0, *, stepwise: bool = False) -> Seen:
    """One of STUDIES, run once with these windows."""
    return _watched(number, warm_up_ps, batch_ps, stepwise=stepwise)


def configured(number: int, warm_up_ps: int = 0, batch_ps: int = 0, *, stepwise: bool = False) -> Mapping:
    """One of STUDIES with these windows."""
    config = STUDIES[number]["run"] | {"warm_up": f"{warm_up_ps}ps", "stepwise": stepwise}
    return STUDIES[number] | {"run": config | ({"batch": f"{batch_ps}ps"} if batch_ps else {})}


def finished(config: Mapping) -> Simulation:
    simulation = new_simulation(from_mapping(config))
    for _ in run(simulation):
        pass
    return simulation


def measured(simulation: Simulation) -> Counted:
    return simulation.recorders.windows.measured(simulation.core)


def check_same_counted(one: Counted, other: Counted) -> None:
    check_same("counted", one._replace(locks={}), other._replace(locks={}))
    for name in LOCK_COUNTS + LOCK_MAXIMA:
        assert np.array_equal(one.locks[name], other.locks[name]), name


def of_buckets(counted: Counted) -> dict[int, int]:
    return dict(zip(counted.filled.tolist(), counted.nr_in_bucket.tolist(), strict=True))


# ---- by hand


def counts(counted: Counted) -> list[list[int]]:
    """Of the allocations of request 0 on each CPU: count, sum and maximum."""
    return counted.totals[0][:, [COUNT, SUM_PS, MAX_PS]].tolist()


def test_what_comes_before_the_warm_up_is_in_nothing_and_each_window_has_its_own_maximum() -> None:
    core = hand_made_core(("GFP_KERNEL", 0))
    windows = Windows(warm_up_ps=10, batch_ps=5)
    observe(core, "alloc", 0, 0, [9_000, 9_000])
    core.locks["wait_max"][0] = core.locks["wait_total"][0] = 700
    windows.begin(core, 10)
    observe(core, "alloc", 0, 0, [300, 100])
    core.locks["wait_total"][0] += 30
    core.locks["wait_max"][0] = 30
    windows.cut(core, 15)
    windows.cut(core, 20)
    observe(core, "alloc", 0, 1, [200])
    core.locks["wait_total"][0] += 20
    core.locks["wait_max"][0] = 20
    windows.cut(core, 25)
    observe(core, "alloc", 0, 1, [50])
    windows.close(core, 27)
    nothing = [0, 0, 0]
    assert [(batch.start_ps, batch.end_ps) for batch in windows.batches] == [(10, 15), (15, 20), (20, 25)]
    assert [counts(batch) for batch in windows.batches] == [
        [[2, 400, 300], nothing],
        [nothing, nothing],
        [nothing, [1, 200, 200]],
    ]
    assert [sum(of_buckets(batch).values()) for batch in windows.batches] == [2, 0, 1]
    assert [batch.locks["wait_total"][0] for batch in windows.batches] == [30, 0, 20]
    assert [batch.locks["wait_max"][0] for batch in windows.batches] == [30, 0, 20]
    whole = windows.measured(core)
    assert counts(whole) == [[2, 400, 300], [2, 250, 200]]
    assert (whole.locks["wait_total"][0], whole.locks["wait_max"][0]) == (50, 30)
    assert list(windows.remarks()) == ["the last 0.002 ns make no batch of 0.005 ns: they are in none"]


def test_a_stage_under_way_is_divided_where_it_is_cut() -> None:
    core = hand_made_core(nr_cpus=6)
    core.cpus["level"] = (THREAD, THREAD, IRQ, THREAD, THREAD, IRQ)
    core.cpus["busy"][:, THREAD] = 1
    core.runs["then"][:6] = (GO_ON, DONE, DONE, WAITING, UNPARK, GO_ON)
    for name, part in (("instructions", 10), ("cache_lines", 20), ("lock_wait", 40), ("lock_hold", 80)):
        core.runs[f"{name}_ps"][:4] = core.runs[f"{name}_ps"][5] = part
    for name in ("instructions", "cache_lines", "lock_hold"):
        core.runs[f"{name}_ps"][3] = 0  # CPU 3's spins, and has before it was interrupted
    core.runs["end_ps"][:6] = (1_100, 1_000, 0, 1 << 40, 1_005, 0)  # CPU 1's is over, but has not been counted
    core.runs["left_ps"][:6] = (7, 7, 145, 1 << 40, 7, 0)  # CPU 2's is interrupted; CPU 5's was counted before that
    core.runs["spun_from"][3] = 970
    passed = dict(zip(SPENT, passed_of_stages(core, 1_000).tolist(), strict=True))
    assert passed == {
        "lock_wait": [40, 40, 5, 70, 0, 0],
        "instructions": [10, 10, 0, 0, 0, 0],
        "cache_lines": [0, 20, 0, 0, 0, 0],
        "lock_hold": [0, 80, 0, 0, 0, 0],
        "switch": [0] * 6,
        "interrupt": [0] * 6,
        "idle": [0] * 6,
    }


# ---- of runs

CUTS = [(number, warm_up, batch) for number in range(len(STUDIES)) for warm_up, batch in ((0, 7 * US), (3 * US, 4321))]


@pytest.mark.slow
@pytest.mark.parametrize(("number", "warm_up", "batch"), CUTS)
def test_both_modes_cut_the_same_windows_bit_for_bit(number: int, warm_up: int, batch: int) -> None:
    batch = max(batch, US // 10)
    default, stepwise = (watched(number, warm_up, batch, stepwise=mode) for mode in (False, True))
    assert len(default.batches) == len(stepwise.batches) > 2
    for one, other in zip(default.batches, stepwise.batches, strict=True):
        check_same_counted(one, other)
    check_same_counted(default.whole, stepwise.whole)
    assert default.remarks == stepwise.remarks != []


@pytest.mark.parametrize("number", range(len(STUDIES)))
def test_the_windows_and_the_rest_are_the_whole(number: int) -> None:
    warm_up, batch = 2 * US, 6 * US
    seen = watched(number, warm_up, batch)
    batches, whole = seen.batches, seen.whole
    last = watched(number, warm_up + len(batches) * batch).whole  # the rest, as another run's whole
    parts = [*batches, last]
    found: dict[int, int] = {}
    for part in parts:
        for bucket, count in of_buckets(part).items():
            found[bucket] = found.get(bucket, 0) + count
    assert found == of_buckets(whole)
    assert sum(found.values()) > 100
    sums = sum(part.totals for part in parts)
    highest = np.max([part.totals[..., MAX_PS] for part in parts], axis=0)
    added = [column for column in range(whole.totals.shape[2]) if column != MAX_PS]
    assert np.array_equal(sums[..., added], whole.totals[..., added])
    assert np.array_equal(highest, whole.totals[..., MAX_PS])
    for name in LOCK_COUNTS:
        assert np.array_equal(sum(part.locks[name] for part in parts), whole.locks[name]), name
    for name in LOCK_MAXIMA:
        assert np.array_equal(np.max([part.locks[name] for part in parts], axis=0), whole.locks[name]), name
    assert np.array_equal(sum(part.spent for part in parts), whole.spent)
    assert [part.start_ps for part in parts] == [warm_up + n * batch for n in range(len(parts))]


@pytest.mark.parametrize("number", range(len(STUDIES)))
def test_windows_do_not_depend_on_where_the_warm_up_ends_before_them(number: int) -> None:
    early, late = watched(number, 2 * US, 6 * US), watched(number, 8 * US, 6 * US)
    assert len(late.batches) > 2
    for one, other in zip(early.batches[1:], late.batches, strict=True):
        check_same_counted(one, other)


@pytest.mark.slow
@pytest.mark.parametrize("number", range(len(STUDIES)))
def test_every_cpus_time_in_a_window_is_in_one_of_its_parts(number: int) -> None:
    for batch in watched(number, 3 * US, US // 10).batches:
        assert (batch.spent >= 0).all()
        assert (batch.unfinished == 0).all()


@pytest.mark.slow
@pytest.mark.parametrize("number", range(len(STUDIES)))
def test_cutting_a_run_changes_nothing_of_it(number: int) -> None:
    plain, late = watched(number), watched(number, 5 * US, 7 * US)
    check_same_counted(plain.whole, watched(number, 0, 6 * US).whole)
    assert plain.activity.equals(late.activity)
    assert plain.memory.equals(late.memory)


def test_cutting_a_run_leaves_its_core_as_it_would_be() -> None:
    plain, cut = finished(configured(0)), finished(configured(0, 0, 6 * US))
    assert len(cut.recorders.windows.batches) > 2
    check_same("core", plain.core, cut.core)


def test_a_run_that_ends_before_its_warm_up_has_measured_nothing_and_says_so() -> None:
    config = mapping({"operations": 40}, run={"warm_up": "1s", "batch": "1ms"})
    simulation = finished(config)
    nothing = measured(simulation)
    assert not nothing.totals.any()
    assert not len(nothing.filled)
    assert not nothing.spent.any()
    assert nothing.start_ps == nothing.end_ps
    (remark,) = simulation.recorders.windows.remarks()
    assert remark.endswith("before its warm-up of 1,000,000,000.0 ns did: nothing was measured")


def test_no_more_batches_are_kept_than_anybody_needs(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(of_windows, "BATCHES_MAX", 3)
    simulation = finished(STUDIES[0] | {"run": {"batch": "1us"}})
    assert len(simulation.recorders.windows.batches) == 3
    (remark,) = simulation.recorders.windows.remarks()
    assert remark.startswith("the first 3 batches are kept; ")


def of_blocks(simulation: Simulation, asked: dict[int, int]) -> int:
    """The bytes of all blocks that somebody remembers or is freeing, by what their requests ask for; block by block."""
    core = simulation.core
    held = [slot for slot in core.slots if slot["block"] >= 0]
    for task in core.tasks:
        first = int(task["first_due"])
        held += [core.timed[first + entry["slot"]] for entry in core.due[first : first + int(task["nr_due"])]]
    is_under_way = (core.cpus["busy"].T.ravel() == 1) & ~np.isin(core.runs["then"], (START, BEGIN_WORK, UNPARK))
    under_way = [*core.runs[is_under_way], *core.parked.runs[core.tasks["parked"] == 1]]
    held += [run for run in under_way if run["kind"] == FREE]
    return sum(asked[int(entry["request"])] for entry in held)


FIXED: list[tuple[Mapping, int]] = [
    ({"order": 0}, 4096),
    ({"order": 3}, 8 * 4096),
    ({"api": "kmalloc", "bytes": "100B"}, 100),
    ({"cache": "skbuff_head_cache"}, 0),
    ({"api": "exact", "bytes": "20KiB"}, 20480),
    ({"api": "vmalloc", "bytes": "30000B"}, 30000),
    ({"api": "kvmalloc", "bytes": "9000B"}, 9000),
]


@pytest.mark.parametrize("seed", range(4))
def test_live_bytes_are_those_of_the_blocks_that_are_held(seed: int) -> None:
    rng = random.Random(seed)
    asks = [ask | {"weight": rng.randint(1, 5)} for ask, _ in FIXED]
    kept: Any = {"lifetime": {"exponential": "30us"}} if seed % 2 else {"live": 40}
    simulation = finished(mapping({"operations": 800, "requests": asks} | kept, run={"warm_up": "5us"}, seed=seed))
    totals = simulation.core.totals.sum(axis=1)
    allocs = [totals[class_of(n, ALLOC)] for n in range(len(totals) // NR_KINDS)]
    asked = {n: int(of_class[BYTES]) // max(int(of_class[COUNT]), 1) for n, of_class in enumerate(allocs)}
    sizes = {nr_bytes for _, nr_bytes in FIXED if nr_bytes}
    assert sizes <= set(asked.values())
    live = simulation.recorders.activity.table().frame()["live_bytes"].iloc[-1]
    assert live == of_blocks(simulation, asked) > 0


def test_activity_is_that_since_the_sample_before() -> None:
    simulation = finished(STUDIES[1])
    table = simulation.recorders.activity.table().frame()
    assert table["time_ns"].iloc[0] == 0
    assert (table["kind"].to_numpy().reshape(-1, 2) == ["alloc", "free"]).all()
    totals = simulation.core.totals.sum(axis=1)
    for k, kind in enumerate(("alloc", "free")):
        rows = table[table["kind"] == kind]
        assert rows["count"].sum() == totals[k::2, COUNT].sum() > 0
        spent = (rows["mean_ns"].fillna(0) * rows["count"]).sum()
        assert spent == pytest.approx(totals[k::2, SUM_PS].sum() / 1000)
        assert rows["mean_ns"].isna().equals(rows["count"] == 0)
