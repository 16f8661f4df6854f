"""Op streams: what a task asks for, in which order, and what it holds."""

from hashlib import blake2b
from itertools import islice
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from kmsim.workload.op_stream import ALLOC, BLOCK, FIRST_BLOCK, FREE, NO_END, op_t
from kmsim.workload.plan import Plan, plan_of
from tests.op_blocks import Blocks
from tests.studies import study

POLICIES = ["random", "fifo", "lifo"]
PAGES = {"bytes": "12KiB", "contiguous": False}  # three single pages of 4 KiB


def plan(*threads: dict[str, Any], interrupts: Any = (), **machine: Any) -> Plan:
    """The plan of threads that are on CPU 0, make 12 operations and hold 4 blocks unless they say otherwise."""
    few = [{"cpus": [0]} | thread for thread in threads]
    for thread in few:
        if "phases" not in thread:
            thread.setdefault("operations", 12)
        if "lifetime" not in thread:
            thread.setdefault("live", 4)
    config = study(*few, interrupts=interrupts, **machine)
    return plan_of(config.workload, config.machine)


def ops_of(of: Plan, task: int = 0, seed: int = 1) -> NDArray[np.void]:
    return np.concatenate([np.empty(0, op_t), *(block.ops for block in Blocks(of, task, seed))])


def story(of: Plan, task: int = 0) -> str:
    """`+2` allocates into slot 2, `-2` frees what it holds, `+` allocates a timed block."""
    return " ".join(f"{'+-'[op.kind]}{op.slot if op.slot >= 0 else ''}" for op in ops_of(of, task))


def phases(*does: Any, **thread: Any) -> Plan:
    return plan({"phases": [{"do": do} if isinstance(do, str) else do for do in does]} | thread)


def held_after(ops: NDArray[np.void]) -> set[int]:
    """What is held in the end; fails if a slot is filled that is full, or emptied that is empty."""
    held: set[int] = set()
    for kind, slot in zip(ops["kind"].tolist(), ops["slot"].tolist(), strict=True):
        assert (slot in held) == (kind == FREE)
        held ^= {slot}
    return held


# ---- what is freed


def test_the_oldest_block_goes_first_with_fifo() -> None:
    assert story(plan({"free": "fifo"})) == "+0 +1 +2 +3 -0 +0 -1 +1 -2 +2 -3 +3"


def test_the_newest_block_goes_first_with_lifo() -> None:
    assert story(plan({"free": "lifo", "operations": 8})) == "+0 +1 +2 +3 -3 +3 -3 +3"


def test_a_thread_that_holds_nothing_frees_each_block_at_once() -> None:
    assert story(plan({"live": 0, "operations": 5})) == "+0 -0 +0 -0 +0"


def test_a_thread_that_never_fills_up_never_frees() -> None:
    assert story(plan({"live": 100, "operations": 3})) == "+0 +1 +2"


@given(
    st.integers(0, 50), st.integers(1, 3 * BLOCK), st.sampled_from(POLICIES), st.integers(0, 9), st.sampled_from([1, 3])
)
def test_a_slot_is_freed_only_when_full_and_filled_only_when_empty(
    live: int, operations: int, free: str, seed: int, nr_pages: int
) -> None:
    requests = [PAGES | {"bytes": f"{4 * nr_pages}KiB"}]
    of = plan({"live": live, "operations": operations, "free": free, "requests": requests})
    ops = ops_of(of, seed=seed)
    held = held_after(ops)
    assert len(ops) == operations
    assert held <= set(range(of.nr_slots))
    assert len(held) >= min(operations, max(live, 1) * nr_pages) - 2 * nr_pages


@pytest.mark.parametrize("free", POLICIES)
def test_a_full_thread_frees_and_allocates_in_turn_across_blocks(free: str) -> None:
    kinds = ops_of(plan({"live": 3, "operations": 2 * BLOCK + 5, "free": free}))["kind"]
    assert (kinds[:3] == ALLOC).all()
    assert (kinds[3::2] == FREE).all()
    assert (kinds[4::2] == ALLOC).all()


def test_a_random_thread_frees_every_slot_about_equally_often() -> None:
    ops = ops_of(plan({"live": 8, "operations": 20_000}))
    counts = np.bincount(ops["slot"][ops["kind"] == FREE], minlength=8)
    assert counts.sum() == 9_996
    assert abs(counts - 1249.5).max() < 5 * 1249.5**0.5


def test_a_free_has_no_request_and_no_lifetime() -> None:
    ops = ops_of(plan({"free": "fifo", "requests": [{}, {"order": 1}]}))
    freed = ops[ops["kind"] == FREE]
    assert set(freed["request"].tolist()) == {-1}
    assert set(ops["lifetime_ps"].tolist()) == {-1}


# ---- what is asked for


def test_requests_come_as_often_as_their_weights_say() -> None:
    requests = [{"order": 0, "weight": 6}, {"order": 1, "weight": 3, "gfp": "GFP_NOWAIT"}, {"order": 2, "weight": 1}]
    of = plan({"requests": requests, "operations": 40_000})
    ops = ops_of(of)
    made = [of.requests[n].order for n in ops["request"][ops["kind"] == ALLOC].tolist()]
    assert np.bincount(made) / len(made) == pytest.approx([0.6, 0.3, 0.1], abs=0.01)


def test_weights_need_not_sum_to_anything() -> None:
    light, heavy = (ops_of(plan({"requests": [{"weight": w}, {"order": 1, "weight": w}]})) for w in (1e-9, 1e9))
    assert (light == heavy).all()


def test_single_pages_of_one_request_come_together_and_go_together() -> None:
    of = plan({"live": 2, "free": "fifo", "operations": 13, "think": "5ns", "requests": [PAGES]})
    assert story(of) == "+0 +1 +2 +3 +4 +5 -0 -1 -2 +0 +1 +2 -3"
    assert ops_of(of)["gap_ps"].tolist() == [5000, 0, 0] * 4 + [5000]
    assert ops_of(of)["begins"].tolist() == [1, 0, 0] * 4 + [1]


# ---- how fast


def test_a_constant_pause_is_before_every_operation() -> None:
    assert set(ops_of(plan({"think": "2us"}))["gap_ps"].tolist()) == {2_000_000}


def test_an_arrival_frees_what_makes_room_for_it() -> None:
    ops = ops_of(plan({"live": 2, "operations": 6, "arrivals": {"constant": "7ns"}}))
    assert ops["kind"].tolist() == [ALLOC, ALLOC, FREE, ALLOC, FREE, ALLOC]
    assert ops["gap_ps"].tolist() == [7000, 7000, 7000, 0, 7000, 0]
    assert ops["begins"].tolist() == [1, 1, 1, 0, 1, 0]


def test_a_burst_comes_at_once() -> None:
    ops = ops_of(plan({"lifetime": "immortal", "arrivals": {"bursts": {"every": "1us", "size": 3}}}))
    assert (ops["gap_ps"] > 0).tolist() == [True, False, False] * 4
    assert ops["begins"].tolist() == [1] * 12


def test_no_request_arrives_while_it_is_off() -> None:
    on_off = {"on": "10us", "off": "90us", "every": "1us"}
    ops = ops_of(plan({"lifetime": "immortal", "operations": 20_000, "arrivals": {"on_off": on_off}}))
    arrived = np.cumsum(ops["gap_ps"])
    assert (arrived % 100_000_000 < 10_000_000).all()
    assert arrived[-1] == pytest.approx(20_000 * 10_000_000, rel=0.05)
    assert np.unique(arrived // 100_000_000).size > 1900


def test_an_interrupt_begins_with_the_first_of_its_batch() -> None:
    nic = {"name": "nic", "kind": "irq", "cpus": [1], "arrivals": {"constant": "1us"}, "batch": 3, "lifetime": "1us"}
    (block,) = islice(Blocks(plan({}, interrupts=[nic]), 1, 1), 1)
    assert block.ops["begins"].tolist()[:7] == [1, 0, 0, 1, 0, 0, 1]
    assert block.ops["gap_ps"].tolist()[:4] == [1_000_000, 0, 0, 1_000_000]


# ---- how long


@pytest.mark.parametrize(
    ("lifetime", "nr_allocs", "expected"), [("immediate", 6, 0), ("immortal", 12, -1), ("3us", 6, 3_000_000)]
)
def test_a_block_with_a_lifetime_has_no_slot_and_is_never_freed_here(
    lifetime: str, nr_allocs: int, expected: int
) -> None:
    of = plan({"lifetime": lifetime})
    assert story(of) == " ".join("+" * nr_allocs)  # its frees are the other half of the 12 operations
    assert set(ops_of(of)["lifetime_ps"].tolist()) == {expected}


# ---- phases


@pytest.mark.parametrize(("free", "emptied"), [("fifo", "-0 -1 -2 -3"), ("lifo", "-3 -2 -1 -0")], ids=["fifo", "lifo"])
def test_what_is_filled_is_emptied_in_order(free: str, emptied: str) -> None:
    assert story(phases("fill", {"do": "empty", "free": free}, "fill")) == f"+0 +1 +2 +3 {emptied} +0 +1 +2 +3"


def test_a_random_empty_takes_everything_once() -> None:
    ops = ops_of(phases("fill", "empty", live=1000))
    assert sorted(ops["slot"][1000:].tolist()) == list(range(1000))
    assert ops["slot"][1000:].tolist() != list(range(1000))


def test_ages_outlast_random_frees() -> None:
    of = phases({"do": "churn", "operations": 1001}, {"do": "empty", "free": "fifo"}, live=50)
    ops = ops_of(of)
    got = {slot: n for n, slot in enumerate(ops["slot"][:1001].tolist())}
    emptied = [got[slot] for slot in ops["slot"][1001:].tolist()]
    assert len(emptied) == 49
    assert emptied == sorted(emptied)


@given(
    st.lists(st.sampled_from(["fill", "empty", "churn"]), min_size=1, max_size=5),
    st.integers(1, 20),
    st.sampled_from(POLICIES),
    st.integers(1, 60),
)
def test_phases_go_on_with_what_is_held(does: list[str], live: int, free: str, operations: int) -> None:
    steps = [{"do": do, "operations": operations} if do == "churn" else {"do": do} for do in does]
    of = phases(*steps, live=live, free=free)
    held = held_after(ops_of(of))
    if does[-1] != "churn":
        assert len(held) == (live if does[-1] == "fill" else 0)


def test_a_phase_overrides_what_its_thread_says() -> None:
    churn = {"do": "churn", "operations": 6, "think": "1ns", "requests": [{"order": 2}], "lifetime": "5ns"}
    of = phases("fill", churn, "empty", live=2, free="lifo", think="9ns")
    ops = ops_of(of)
    assert story(of) == "+0 +1 + + + -1 -0"
    assert ops["gap_ps"].tolist() == [9000] * 2 + [1000] * 3 + [9000] * 2
    assert [of.requests[n].order for n in ops["request"][:5].tolist()] == [0, 0, 2, 2, 2]
    assert ops["lifetime_ps"].tolist() == [-1] * 2 + [5000] * 3 + [-1] * 2


def test_barriers_are_named_for_kind_and_phase_and_stand_before_the_first_block() -> None:
    of = phases("fill", {"do": "churn", "operations": BLOCK + 1, "barrier": True}, {"do": "empty", "barrier": True})
    names = [block.barrier for block in Blocks(of, 0, 1)]
    assert names == ["", "t0/phase/1", "", "t0/phase/2"]


def test_a_phase_with_nothing_to_do_still_has_its_barrier() -> None:
    of = phases("fill", {"do": "fill", "barrier": True}, "empty")
    assert [(len(block.ops), block.barrier) for block in Blocks(of, 0, 1)] == [(4, ""), (0, "t0/phase/1"), (4, "")]


def test_tasks_empty_equal_shares_of_what_all_of_them_hold() -> None:
    share = {"do": "empty", "whose": "all", "barrier": True}
    of = phases("fill", share, {"do": "fill", "barrier": True}, cpus=[0, 1], per_cpu=2, live=25)
    emptied = [list(Blocks(of, task, 1))[1].ops["slot"].tolist() for task in range(4)]
    assert [len(slots) for slots in emptied] == [25] * 4
    assert sorted(slot for slots in emptied for slot in slots) == list(range(100))
    assert all(len({slot // 25 for slot in slots}) == 4 for slots in emptied)
    refilled = [list(Blocks(of, task, 1))[2].ops["slot"].tolist() for task in range(4)]
    assert [sorted(slots) for slots in refilled] == [list(range(k * 25, k * 25 + 25)) for k in range(4)]


# ---- until


def cut_after(of: Plan, nr_blocks: int, nr_kept: int, seed: int = 1) -> tuple[list[Any], Blocks]:
    """The operations that are made when the first phase is cut short in its last block."""
    ops_stream = Blocks(of, 0, seed)
    made = [next(ops_stream).ops for _ in range(nr_blocks)]
    ops_stream.cut(nr_kept)
    return [*made[:-1], made[-1][:nr_kept]], ops_stream


def test_a_phase_until_a_time_has_no_end_but_that() -> None:
    of = phases({"do": "churn", "until": "1ms"}, "empty")
    assert [block.until_ps for block in islice(Blocks(of, 0, 1), 3)] == [10**9] * 3
    assert next(Blocks(plan({}), 0, 1)).until_ps == NO_END


@given(
    st.integers(1, 40),
    st.sampled_from(POLICIES),
    st.integers(1, 2),
    st.integers(0, FIRST_BLOCK),
    st.sampled_from(["fifo", "lifo"]),
)
def test_what_was_dropped_was_never_held_and_ages_are_right(
    live: int, free: str, nr_blocks: int, nr_kept: int, emptied: str
) -> None:
    of = phases({"do": "churn", "until": "1ms"}, {"do": "empty", "free": emptied}, live=live, free=free)
    made, rest = cut_after(of, nr_blocks, nr_kept)
    done = np.concatenate(made)
    held = held_after(done)
    got = {op.slot: n for n, op in enumerate(done) if op.kind == ALLOC}
    by_age = sorted(held, key=lambda slot: got[slot], reverse=emptied == "lifo")
    assert [int(op.slot) for block in rest for op in block.ops] == by_age


@given(st.integers(0, 60))
def test_a_request_cut_in_two_is_freed_as_a_whole(nr_kept: int) -> None:
    of = phases({"do": "churn", "until": "1ms"}, "empty", live=3, free="fifo", requests=[PAGES])
    made, rest = cut_after(of, 1, nr_kept)
    held = {op.slot: op.kind == ALLOC for op in made[0]}
    freed = [int(op.slot) for block in rest for op in block.ops]
    assert len(freed) == len(set(freed))
    assert {slot for slot, is_held in held.items() if is_held} <= set(freed)


def test_a_request_half_freed_by_the_end_of_a_phase_is_freed_anew() -> None:
    of = phases({"do": "churn", "operations": 4}, "empty", live=1, requests=[PAGES])
    assert story(of) == "+0 +1 +2 -0 -0 -1 -2"


# ---- random numbers


def test_numbers_are_those_of_all_versions() -> None:
    churn = {"do": "churn", "operations": 3000, "think": {"lognormal": {"median": "1us", "sigma": 1}}}
    churn |= {"requests": [PAGES, {"order": 1, "weight": 2}]}
    filled = {"phases": [{"do": "fill"}, churn, {"do": "empty", "free": "lifo"}], "live": 70}
    timed = {"lifetime": {"pareto": {"least": "1us", "shape": 2}}, "operations": 1000}
    config = study(filled | {"think": {"exponential": "1us"}}, timed)
    of = plan_of(config.workload, config.machine)
    digest = blake2b(digest_size=8)
    for task in range(len(of.tasks)):
        for block in Blocks(of, task, 7):
            for name in ("gap_ps", "lifetime_ps", "slot", "request", "kind", "begins"):
                digest.update(block.ops[name].astype(np.int64).tobytes())
    assert digest.hexdigest() == "f8740d0423585229"


def test_the_same_seed_gives_the_same_stream_and_another_another() -> None:
    of = plan({"think": {"exponential": "1us"}, "operations": 100})
    assert (ops_of(of, seed=1) == ops_of(of, seed=1)).all()
    assert (ops_of(of, seed=1) != ops_of(of, seed=2)).any()


def test_another_thread_moves_no_number() -> None:
    thread = {"name": "a", "think": {"exponential": "1us"}, "operations": 1000}
    alone, beside = plan(thread), plan({"name": "b", "per_cpu": 3}, thread)
    mine, same = ops_of(alone, 0), ops_of(beside, 3)
    assert (mine["slot"] + beside.tasks[3].first_slot == same["slot"]).all()
    assert (mine["gap_ps"] == same["gap_ps"]).all()


def test_threads_of_one_kind_do_different_things() -> None:
    of = plan({"per_cpu": 2, "think": {"exponential": "1us"}})
    assert (ops_of(of, 0)["gap_ps"] != ops_of(of, 1)["gap_ps"]).all()


@pytest.mark.parametrize("nr_ops_max", [1, 7, 1000])
def test_the_size_of_blocks_changes_nothing(nr_ops_max: int) -> None:
    sizes = [{"exponential": "300B"}, {"uniform": {"low": "1B", "high": "20KiB"}}, {"table": [{"size": "8B"}]}]
    sized = [{"api": "kmalloc", "bytes": of_request, "weight": 0.5} for of_request in sizes]
    churn = {"do": "churn", "operations": 3000, "requests": [PAGES, {"order": 1}, *sized]}
    all_of_them = {"do": "empty", "whose": "all", "barrier": True}
    of = phases("fill", churn, all_of_them, think={"exponential": "1us"}, live=70, cpus=[0, 1], remote_frees=0.5)
    assert (np.concatenate([block.ops for block in Blocks(of, 0, 1, nr_ops_max)]) == ops_of(of)).all()


def test_a_longer_run_begins_like_a_shorter_one() -> None:
    short, long = (ops_of(plan({"operations": n, "requests": [{}, {"order": 1}]})) for n in (50, 70))
    assert (long[:50] == short).all()


# ---- blocks


def test_blocks_are_small_whatever_the_number_of_operations() -> None:
    lengths = [len(block.ops) for block in Blocks(plan({"operations": 2 * BLOCK + 1}), 0, 1)]
    assert lengths == [BLOCK, BLOCK, 1]


def test_the_blocks_of_many_tasks_are_smaller() -> None:
    of = plan({"per_cpu": 64, "cpus": "all", "live": 1, "operations": BLOCK}, cpus=64)
    assert len(next(Blocks(of, 4095, 1)).ops) == 1024


def test_a_stream_of_many_operations_is_made_piece_by_piece() -> None:
    first = next(Blocks(plan({"operations": 10**12, "live": 2**28}), 0, 1)).ops
    assert first["slot"].tolist() == list(range(BLOCK))


def test_a_thread_without_operations_has_no_block() -> None:
    assert list(Blocks(plan({"operations": 0}, {}), 0, 1)) == []


def test_interrupts_never_end_unless_they_say_so() -> None:
    nic = {"name": "nic", "kind": "softirq", "arrivals": {"poisson": "1us"}, "lifetime": "1us"}
    endless = plan({}, interrupts=[nic])
    lengths = [len(block.ops) for block in islice(Blocks(endless, 1, 1), 6)]
    assert lengths == [1024, 2048, 4096, 8192, BLOCK, BLOCK]  # it may end before most are used
    assert len(ops_of(plan({}, interrupts=[nic | {"operations": 10}]), 1)) == 5


def test_a_record_is_32_bytes() -> None:
    assert op_t.itemsize == 32
