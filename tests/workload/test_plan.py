"""Plans: which tasks there are, where, with which slots, and who frees for whom."""

from typing import Any

import pytest

from kmsim.config import loads
from kmsim.config.shipped import configs_folder, shipped_names
from kmsim.mm.gfp import GFP_FLAGS
from kmsim.workload.op_stream import blocks
from kmsim.workload.plan import IRQ, SOFTIRQ, THREAD, Plan, Request, nr_operations, plan_of
from tests.studies import study

KERNEL = GFP_FLAGS["GFP_KERNEL"]
NIC = {"name": "nic", "kind": "softirq", "arrivals": {"poisson": "1us"}, "cpus": [1]}


def plan(*threads: dict[str, Any], interrupts: Any = (), **machine: Any) -> Plan:
    config = study(*threads, interrupts=interrupts, **machine)
    return plan_of(config.workload, config.machine)


def test_tasks_are_named_for_their_cpus_and_in_their_order() -> None:
    of = plan({"name": "a"}, {"name": "b", "cpus": [1], "per_cpu": 2}, interrupts=[NIC])
    assert [(task.name, task.cpu) for task in of.tasks] == [
        ("a/cpu0", 0),
        ("a/cpu1", 1),
        ("b/cpu1/0", 1),
        ("b/cpu1/1", 1),
        ("nic/cpu1", 1),
    ]


def test_slots_lie_one_after_another() -> None:
    three = {"bytes": "12KiB", "contiguous": False}
    of = plan({"live": 5}, {"lifetime": "1us"}, {"live": 2, "requests": [{}, three]}, {"live": 9, "operations": 3})
    assert [(task.first_slot, task.nr_slots) for task in of.tasks] == [
        (0, 5), (5, 5), (10, 0), (10, 0), (10, 6), (16, 6), (22, 3), (25, 3),
    ]  # fmt: skip
    assert of.nr_slots == 28


def test_levels_and_loops() -> None:
    irq = NIC | {"name": "timer", "kind": "irq"}
    of = plan({"cpus": [0], "arrivals": {"constant": "1us"}}, {"cpus": [0]}, interrupts=[NIC, irq])
    assert [(task.level, task.is_open) for task in of.tasks] == [
        (THREAD, True),
        (THREAD, False),
        (SOFTIRQ, True),
        (IRQ, True),
    ]


def test_the_run_waits_for_threads_that_have_operations() -> None:
    of = plan(
        {"cpus": [0]},
        {"cpus": [0], "operations": 0},
        {"cpus": [0], "phases": [{"do": "fill"}]},
        interrupts=[NIC | {"operations": 5}],
    )
    assert [task.is_finite for task in of.tasks] == [True, False, True, False]


def test_a_thread_starts_where_and_when_it_says() -> None:
    of = plan({"cpus": [0], "start": "3us", "pinned": False}, {"cpus": [0]})
    assert [(task.start_ps, task.pinned) for task in of.tasks] == [(3_000_000, False), (0, True)]


def test_the_ith_producer_hands_to_the_ith_consumer_modulo_their_number() -> None:
    producer = {"name": "p", "per_cpu": 2, "lifetime": "1us", "freed_by": "c", "operations": 100}
    of = plan(producer, {"name": "c", "cpus": [0, 1, 2], "operations": 0}, cpus=3)
    assert [task.freed_by for task in of.tasks] == [6, 7, 8, 6, 7, 8, 6, 7, 8]
    assert [task.nr_due_max for task in of.tasks] == [0] * 6 + [200] * 3


def test_timed_blocks_wait_for_their_own_task_unless_another_frees_them() -> None:
    of = plan(
        {"cpus": [0], "lifetime": "1us", "operations": 70}, {"cpus": [0], "lifetime": "immortal"}, {"cpus": [0]}
    )
    assert [(task.freed_by, task.nr_due_max) for task in of.tasks] == [(0, 70), (1, 0), (2, 0)]


@pytest.mark.parametrize("without_end", [{}, {"operations": 10**9}])
def test_no_more_blocks_can_wait_than_there_are_frames(without_end: dict[str, Any]) -> None:
    of = plan({"cpus": [0]}, interrupts=[NIC | {"lifetime": "1us"} | without_end])
    assert 0.9 * 16384 < of.tasks[1].nr_due_max <= 16384


def test_phases_count_only_what_is_timed() -> None:
    churn = {"do": "churn", "operations": 50}
    of = plan({"cpus": [0], "phases": [{"do": "fill"}, churn, churn | {"lifetime": "1us"}]})
    assert of.tasks[0].nr_due_max == 50


def test_requests_are_the_different_ones_sorted() -> None:
    phase = {"do": "churn", "operations": 1, "requests": [{"order": 2}]}
    of = plan({"requests": [{"order": 1}, {}, {"weight": 3}]}, {"phases": [phase]}, interrupts=[NIC | {"live": 1}])
    atomic = Request(GFP_FLAGS["GFP_ATOMIC"], 0)
    assert of.requests == (atomic, Request(KERNEL, 0), Request(KERNEL, 1), Request(KERNEL, 2))
    assert atomic.gfp < KERNEL


@pytest.mark.parametrize(
    ("page_size", "order", "nr_pages"), [("4KiB", 4, 10), ("16KiB", 2, 3), ("64KiB", 0, 1)], ids=["4K", "16K", "64K"]
)
def test_a_size_is_one_block_or_as_many_pages_as_it_needs(page_size: str, order: int, nr_pages: int) -> None:
    machine = {"extends": "arm64-server", "page_size": page_size, "memory": "1GiB", "cpus": 2}
    one = plan({"live": 1, "requests": [{"bytes": "40KiB"}]}, **machine)
    pages = plan({"live": 1, "requests": [{"bytes": "40KiB", "contiguous": False}]}, **machine)
    assert (one.requests, one.tasks[0].nr_slots) == ((Request(KERNEL, order),), 1)
    assert (pages.requests, pages.tasks[0].nr_slots) == ((Request(KERNEL, 0),), nr_pages)


@pytest.mark.parametrize(
    "thread",
    [
        {"operations": 77, "live": 5},
        {"lifetime": "1us", "operations": 9},
        {"live": 7, "phases": [{"do": "fill"}, {"do": "churn", "operations": 5}, {"do": "empty"}]},
        {"live": 7, "phases": [{"do": "churn", "operations": 20}, {"do": "fill"}, {"do": "empty"}, {"do": "empty"}]},
        {"live": 7, "phases": [{"do": "churn", "operations": 3, "lifetime": "1us"}, {"do": "fill"}]},
        {"live": 3, "phases": [{"do": "fill"}], "requests": [{"bytes": "8KiB", "contiguous": False}]},
        {"live": 6, "phases": [{"do": "fill"}, {"do": "empty", "whose": "all", "barrier": True}]},
    ],
)
def test_as_many_operations_are_announced_as_there_are(thread: dict[str, Any]) -> None:
    of = plan(thread, {"operations": 0, "live": 1})
    assert nr_operations(of) == sum(len(block.ops) for task in range(4) for block in blocks(of, task, 1))


def test_what_never_ends_and_what_ends_at_a_time_counts_nothing() -> None:
    of = plan({"phases": [{"do": "churn", "until": "1ms"}], "cpus": [0]}, interrupts=[NIC])
    assert nr_operations(of) == 0


@pytest.mark.parametrize("name", shipped_names("workloads"))
def test_every_shipped_workload_has_a_plan_and_a_stream(name: str) -> None:
    config = loads(f"extends: {name}\nmachine: xeon-gold-5320\n")
    of = plan_of(config.workload, config.machine)
    assert len({task.name for task in of.tasks}) == len(of.tasks) >= 8
    assert nr_operations(of) > 0
    for k, task in enumerate(of.tasks):
        only_frees = task.level == THREAD and not task.is_finite
        assert only_frees == (next(blocks(of, k, 1), None) is None)
    assert (configs_folder() / "workloads" / f"{name}.yaml").read_text(encoding="utf-8").startswith("# ")
