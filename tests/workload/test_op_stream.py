"""Op streams: what a thread asks for, in which order, and what it holds."""

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from kmsim.config.workload import ThreadConfig
from kmsim.mm.gfp import GFP_FLAGS
from kmsim.workload.op_stream import ALLOC, BLOCK, FREE, nr_handles, op_blocks
from kmsim.workload.seeds import stream


def thread(**keys: Any) -> ThreadConfig:
    return ThreadConfig.model_validate({"name": "t", "cpus": [0], "operations": 12, "live": 4} | keys)


def ops_of(config: ThreadConfig, seed: int = 1) -> NDArray[np.void]:
    return np.concatenate(list(op_blocks(config, stream(seed, "test"))))


def story(config: ThreadConfig) -> str:
    """`+2` allocates into handle 2, `-2` frees what it holds."""
    return " ".join(f"{'+-'[op.kind]}{op.handle}" for op in ops_of(config).view(np.recarray))


def test_the_oldest_block_goes_first_with_fifo() -> None:
    assert story(thread(free="fifo")) == "+0 +1 +2 +3 -0 +0 -1 +1 -2 +2 -3 +3"


def test_the_newest_block_goes_first_with_lifo() -> None:
    assert story(thread(free="lifo", operations=8)) == "+0 +1 +2 +3 -3 +3 -3 +3"


def test_a_thread_that_holds_nothing_frees_each_block_at_once() -> None:
    assert story(thread(live=0, operations=5)) == "+0 -0 +0 -0 +0"


def test_a_thread_that_never_fills_up_never_frees() -> None:
    assert story(thread(live=100, operations=3)) == "+0 +1 +2"


@settings(deadline=None, max_examples=60)
@given(st.integers(0, 50), st.integers(1, 3 * BLOCK), st.sampled_from(["random", "fifo", "lifo"]), st.integers(0, 9))
def test_a_handle_is_freed_only_when_held_and_filled_only_when_empty(
    live: int, operations: int, free: str, seed: int
) -> None:
    config = thread(live=live, operations=operations, free=free)
    ops = ops_of(config, seed)
    held: set[int] = set()
    for kind, handle in zip(ops["kind"].tolist(), ops["handle"].tolist(), strict=True):
        assert (handle in held) == (kind == FREE)
        held ^= {handle}
    assert len(ops) == operations
    assert held <= set(range(nr_handles(config)))
    assert len(held) >= min(operations, nr_handles(config)) - 1


@pytest.mark.parametrize("free", ["random", "fifo", "lifo"])
def test_a_full_thread_frees_and_allocates_in_turn_across_blocks(free: str) -> None:
    kinds = ops_of(thread(live=3, operations=2 * BLOCK + 5, free=free))["kind"]
    assert (kinds[:3] == ALLOC).all()
    assert (kinds[3::2] == FREE).all()
    assert (kinds[4::2] == ALLOC).all()


def test_a_random_thread_frees_every_handle_about_equally_often() -> None:
    ops = ops_of(thread(live=8, operations=20_000))
    counts = np.bincount(ops["handle"][ops["kind"] == FREE], minlength=8)
    assert counts.sum() == 9_996
    assert abs(counts - 1250).max() < 5 * 1250**0.5


def test_blocks_are_small_whatever_the_number_of_operations() -> None:
    lengths = [len(ops) for ops in op_blocks(thread(operations=2 * BLOCK + 1), stream(1, "test"))]
    assert lengths == [BLOCK, BLOCK, 1]


def test_a_stream_of_many_operations_is_made_piece_by_piece() -> None:
    first = next(op_blocks(thread(operations=10**12, live=2**28), stream(1, "test")))
    assert first["handle"].tolist() == list(range(BLOCK))


def test_a_constant_pause_is_always_the_same() -> None:
    assert set(ops_of(thread(think="2us"))["gap_ps"].tolist()) == {2_000_000}


def test_exponential_pauses_have_their_mean_and_their_spread() -> None:
    gaps = ops_of(thread(think={"exponential": "2us"}, operations=40_000))["gap_ps"]
    assert gaps.dtype == np.int64
    assert gaps.min() >= 0
    assert gaps.mean() == pytest.approx(2e6, rel=0.03)
    assert gaps.std() == pytest.approx(2e6, rel=0.03)
    assert np.median(gaps) == pytest.approx(2e6 * np.log(2), rel=0.03)


def test_requests_come_as_often_as_their_weights_say() -> None:
    requests = [
        {"order": 0, "weight": 6},
        {"order": 1, "weight": 3, "gfp": "GFP_HIGHUSER_MOVABLE"},
        {"order": 2, "weight": 1},
    ]
    ops = ops_of(thread(requests=requests, operations=40_000))
    shares = np.bincount(ops["order"], minlength=3) / len(ops)
    assert shares == pytest.approx([0.6, 0.3, 0.1], abs=0.01)
    assert set(ops["gfp"][ops["order"] == 1].tolist()) == {GFP_FLAGS["GFP_HIGHUSER_MOVABLE"]}
    assert set(ops["gfp"][ops["order"] != 1].tolist()) == {GFP_FLAGS["GFP_KERNEL"]}


def test_weights_need_not_sum_to_anything() -> None:
    light, heavy = (ops_of(thread(requests=[{"weight": w}, {"order": 1, "weight": w}])) for w in (1e-9, 1e9))
    assert (light == heavy).all()


def test_the_same_numbers_give_the_same_stream_and_others_another() -> None:
    config = thread(think={"exponential": "1us"}, operations=100)
    assert (ops_of(config, 1) == ops_of(config, 1)).all()
    assert (ops_of(config, 1) != ops_of(config, 2)).any()
