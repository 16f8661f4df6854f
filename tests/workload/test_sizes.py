"""Requests by size: how many bytes each operation asks for, of whom; and blocks that are freed on other CPUs."""

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from kmsim.mm.gfp import GFP_FLAGS
from kmsim.workload.op_stream import ALLOC, FREE, op_t
from kmsim.workload.plan import EXACT, KVMALLOC, LARGE, SLAB, VMALLOC, Plan, Request
from kmsim.workload.sizes import bounds, found, menu_of
from tests.workload.test_op_stream import PAGES, ops_of, phases, plan

KERNEL = GFP_FLAGS["GFP_KERNEL"]

# ---- how many bytes


def asked_for(of: Plan) -> list[int]:
    ops = ops_of(of)
    assert set(ops["asked"][ops["kind"] == FREE].tolist()) <= {0}
    return ops["asked"][ops["kind"] == ALLOC].tolist()  # type: ignore[no-any-return]


@pytest.mark.parametrize(
    ("request_", "nr_bytes"),
    [
        ({"order": 2}, 16384),
        ({"bytes": "5000B"}, 5000),
        (PAGES, 4096),
        ({"api": "kmalloc", "bytes": "100B"}, 100),
        ({"api": "kmalloc", "bytes": "3MiB"}, 3 << 20),
        ({"api": "exact", "bytes": "5000B"}, 5000),
        ({"api": "vmalloc", "bytes": {"constant": "1B"}}, 1),
        ({"api": "kvmalloc", "bytes": "70KiB"}, 70 << 10),
        ({"api": "bulk", "pages": 512}, 512 * 4096),
        ({"cache": "dentry"}, 192),
        ({"cache": "kmalloc-96"}, 96),
    ],
    ids=str,
)
def test_a_request_for_a_fixed_size_asks_for_it_every_time(request_: dict[str, Any], nr_bytes: int) -> None:
    assert set(asked_for(plan({"requests": [request_]}))) == {nr_bytes}


def test_sizes_come_as_often_as_the_table_says_and_each_goes_to_its_cache() -> None:
    table = [{"size": "24B", "weight": 1}, {"size": "32B", "weight": 2}, {"size": "96B", "weight": 4}]
    requests = [{"api": "kmalloc", "bytes": {"table": [*table, {"size": "1MiB", "weight": 1}]}}]
    of = plan({"requests": requests, "operations": 40_000})
    ops = ops_of(of)
    made = ops[ops["kind"] == ALLOC]
    sizes, counts = np.unique(made["asked"], return_counts=True)
    assert sizes.tolist() == [24, 32, 96, 1 << 20]
    assert counts / len(made) == pytest.approx([1 / 8, 1 / 4, 1 / 2, 1 / 8], abs=0.01)
    assert of.caches is not None
    for size, wanted in ((24, "kmalloc-32"), (32, "kmalloc-32"), (96, "kmalloc-96")):
        (request,) = set(made["request"][made["asked"] == size].tolist())
        assert of.requests[request] == Request(KERNEL, api=SLAB, cache=of.caches.index_of(wanted))
    (request,) = set(made["request"][made["asked"] == 1 << 20].tolist())
    assert of.requests[request] == Request(KERNEL, 8, LARGE)


SIZES = [
    {"exponential": "300B"},
    {"uniform": {"low": "1B", "high": "20KiB"}},
    {"lognormal": {"median": "3KiB", "sigma": 3}},
    {"pareto": {"least": "100B", "shape": 1.1}},
]


@pytest.mark.parametrize("api", ["kmalloc", "exact", "vmalloc", "kvmalloc"])
@pytest.mark.parametrize("sizes", SIZES, ids=str)
def test_a_drawn_size_makes_the_request_that_serves_it(api: str, sizes: dict[str, Any]) -> None:
    others = [{"order": 1}, {"api": "kmalloc", "bytes": "8B"}]
    of = plan({"requests": [others[0], {"api": api, "bytes": sizes, "weight": 9}, others[1]], "operations": 30_000})
    ops = ops_of(of)
    ops = ops[ops["kind"] == ALLOC]
    assert of.caches is not None
    assert ops["asked"].min() >= 1
    for size, number in zip(ops["asked"].tolist(), ops["request"].tolist(), strict=True):
        request, order = of.requests[number], max(0, (size - 1).bit_length() - 12)
        cache = of.caches.kmalloc_index(size, KERNEL)
        if request in (Request(KERNEL, 1), Request(KERNEL, api=SLAB, cache=of.caches.index_of("kmalloc-8"))):
            assert size in (8192, *range(1, 9))
        elif api == "kmalloc" and cache is not None:
            assert request == Request(KERNEL, api=SLAB, cache=cache)
        elif api == "kvmalloc":
            assert request == Request(KERNEL, order, KVMALLOC, -1 if cache is None else cache)
        else:
            assert request == Request(KERNEL, order, {"kmalloc": LARGE, "exact": EXACT, "vmalloc": VMALLOC}[api])


def test_no_drawn_size_is_more_than_its_allocator_has() -> None:
    huge = {"pareto": {"least": "4MiB", "shape": 1.01}}
    most = {api: max(asked_for(plan({"requests": [{"api": api, "bytes": huge}], "operations": 20_000}))) for api in
            ("kmalloc", "exact", "kvmalloc")}  # fmt: skip
    assert most == {"kmalloc": 4 << 20, "exact": 4 << 20, "kvmalloc": 1 << 30}


def test_sizes_move_no_other_number() -> None:
    fixed, drawn = (
        ops_of(plan({"requests": [{"api": "kmalloc", "bytes": sizes}, {}], "think": {"exponential": "1us"}, "live": 9,
                     "operations": 1000}))
        for sizes in ("100B", {"exponential": "100B"})
    )  # fmt: skip
    for name in ("gap_ps", "slot", "kind", "begins"):
        assert (fixed[name] == drawn[name]).all()
    page = fixed["asked"] == 4096
    assert (page == (drawn["asked"] == 4096)).all()
    assert page.any()


# ---- what a number stands for

NO_ROWS = (np.zeros(0, np.int64),) * 5


@given(st.lists(st.floats(1e-9, 1e9), min_size=1, max_size=120), st.integers(0, 99))
def test_a_number_stands_for_the_request_in_whose_share_it_lies(weights: list[float], seed: int) -> None:
    among = bounds(weights)
    menu = menu_of(NO_ROWS, [(np.array([0.5]), 1.0), (among, 1.0), (among[:1], 1.0)])
    near = [np.nextafter(among, 0), among, np.nextafter(among, 2), [0.0, np.nextafter(1, 0)]]
    for number in np.concatenate([*near, np.random.default_rng(seed).random(50)]):
        if number < 1:
            assert found(menu, 1, float(number)) == np.searchsorted(among, number, side="right")


@given(st.sets(st.integers(2, 1 << 30), min_size=1, max_size=40))
def test_a_size_stands_for_the_first_class_that_is_large_enough(most: set[int]) -> None:
    ends = sorted(most)
    menu = menu_of(NO_ROWS, [(np.array(ends[:-1], np.float64) + 1, ends[-1] + 1.0)])
    for size in {1, *ends, *(end - 1 for end in ends), *(end + 1 for end in ends[:-1])}:
        assert found(menu, 0, float(size)) == np.searchsorted(ends, size)


def test_weights_are_kept_by_few_and_by_many() -> None:
    for nr_weights in (1, 2, 30, 102):
        weights = [float(n + 1) for n in range(nr_weights)]
        menu = menu_of(NO_ROWS, [(bounds(weights), 1.0)])
        numbers = np.random.default_rng(1).random(20_000).tolist()
        shares = np.bincount([found(menu, 0, number) for number in numbers], minlength=nr_weights) / len(numbers)
        assert shares == pytest.approx(np.array(weights) / sum(weights), abs=0.015)


# ---- frees on other CPUs


def remote(share: float, **thread: Any) -> Plan:
    return plan({"cpus": [0, 1, 2], "remote_frees": share, "live": 8, "operations": 30_000} | thread, cpus=3)


def test_a_share_of_frees_exchanges_blocks_with_the_same_slot_of_a_thread_on_another_cpu() -> None:
    ops = ops_of(remote(0.3), task=1)
    freed = ops[ops["kind"] == FREE]
    away = np.where(freed["swap"] >= 0, freed["swap"] - freed["slot"], 0)
    shares = [float((away == slots).mean()) for slots in (-8, 0, 8)]
    assert shares == pytest.approx([0.15, 0.7, 0.15], abs=0.015)
    assert set(ops["swap"][ops["kind"] == ALLOC].tolist()) == {-1}


def test_remote_frees_change_nothing_but_whose_block_is_freed() -> None:
    own, others = ops_of(remote(0.0), task=1), ops_of(remote(1.0), task=1)
    assert set(own["swap"].tolist()) == {-1}
    assert (others["swap"][others["kind"] == FREE] >= 0).all()
    for name in op_t.names or ():
        assert name == "swap" or (own[name] == others[name]).all(), name


def test_nobody_exchanges_blocks_with_a_thread_on_its_own_cpu() -> None:
    of = plan({"cpus": [0, 1], "per_cpu": 2, "remote_frees": 1.0, "live": 8, "operations": 999})
    ops = ops_of(of, task=1)
    assert {swap // 8 for swap in ops["swap"].tolist() if swap >= 0} == {2, 3}


def test_each_page_of_a_request_is_exchanged_with_its_like() -> None:
    of = plan({"cpus": [0, 1], "remote_frees": 1.0, "live": 2, "operations": 100, "requests": [PAGES]})
    freed = [op for op in ops_of(of) if op.kind == FREE]
    assert [int(op.swap - op.slot) for op in freed] == [6] * len(freed)


def test_what_all_threads_free_together_is_not_exchanged() -> None:
    share = {"do": "empty", "whose": "all", "barrier": True}
    of = phases("fill", share, {"do": "fill", "barrier": True}, cpus=[0, 1], live=25, remote_frees=1.0)
    assert set(ops_of(of)["swap"].tolist()) == {-1}


def test_every_block_is_freed_once_and_a_share_of_them_by_another_cpu() -> None:
    of = remote(0.3)
    streams = [ops_of(of, task).tolist() for task in range(3)]
    kind, slot, swap = (op_t.names.index(name) for name in ("kind", "slot", "swap"))  # type: ignore[union-attr]
    slots: dict[int, tuple[int, int]] = {}  # the block, and the CPU that allocated it
    freed: list[bool] = []
    for n, ops in enumerate(zip(*streams, strict=True)):
        for cpu, op in enumerate(ops):
            if op[kind] == ALLOC:
                assert op[slot] not in slots
                slots[op[slot]] = (3 * n + cpu, cpu)
                continue
            if op[swap] in slots:
                slots[op[slot]], slots[op[swap]] = slots[op[swap]], slots[op[slot]]
            freed.append(slots.pop(op[slot])[1] != cpu)
    assert 0.25 < sum(freed) / len(freed) < 0.5
