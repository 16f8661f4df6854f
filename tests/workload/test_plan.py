"""Plans: which tasks there are, where, with which slots, and who frees for whom."""

from typing import Any

import pytest

from kmsim.config import ConfigError, loads
from kmsim.config.shipped import configs_folder, shipped_names
from kmsim.mm.gfp import GFP_FLAGS
from kmsim.workload.plan import (
    API_NAMES,
    BULK,
    EXACT,
    IRQ,
    LARGE,
    SOFTIRQ,
    THREAD,
    VMALLOC,
    Plan,
    Request,
    nr_operations,
    plan_of,
)
from tests.op_blocks import Blocks
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
    producer = {"name": "p", "per_cpu": 2, "lifetime": "1us", "freed_by": "c", "operations": 200}
    of = plan(producer, {"name": "c", "cpus": [0, 1, 2], "operations": 0}, cpus=3)
    assert [task.freed_by for task in of.tasks] == [6, 7, 8, 6, 7, 8, 6, 7, 8]
    assert [task.nr_due_max for task in of.tasks] == [0] * 6 + [200] * 3


def test_timed_blocks_wait_for_their_own_task_unless_another_frees_them() -> None:
    of = plan({"cpus": [0], "lifetime": "1us", "operations": 140}, {"cpus": [0], "lifetime": "immortal"}, {"cpus": [0]})
    assert [(task.freed_by, task.nr_due_max) for task in of.tasks] == [(0, 70), (1, 0), (2, 0)]


@pytest.mark.parametrize("without_end", [{}, {"operations": 10**9}])
def test_no_more_blocks_can_wait_than_there_are_frames(without_end: dict[str, Any]) -> None:
    of = plan({"cpus": [0]}, interrupts=[NIC | {"lifetime": "1us"} | without_end])
    assert 0.9 * 16384 < of.tasks[1].nr_due_max <= 16384


def test_phases_count_only_what_is_timed() -> None:
    churn = {"do": "churn", "operations": 50}
    of = plan({"cpus": [0], "phases": [{"do": "fill"}, churn, churn | {"lifetime": "1us"}]})
    assert of.tasks[0].nr_due_max == 25


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


# ---- requests by size, and caches


def names_of(of: Plan) -> list[str]:
    """Of each request its API, with the name of its cache, or its order."""
    assert of.caches is not None
    caches = of.caches.geometries
    return [
        f"{API_NAMES[request.api]} {caches[request.cache].name if request.cache >= 0 else request.order}"
        for request in of.requests
    ]


def test_a_request_for_sizes_is_one_for_each_cache_and_order_that_it_can_reach() -> None:
    of = plan({"requests": [{"api": "kmalloc", "bytes": {"uniform": {"low": "90B", "high": "20KiB"}}}]})
    assert names_of(of) == [
        "slab kmalloc-96", "slab kmalloc-192", "slab kmalloc-128", "slab kmalloc-256", "slab kmalloc-512",
        "slab kmalloc-1k", "slab kmalloc-2k", "slab kmalloc-4k", "slab kmalloc-8k",
        "kmalloc_large 2", "kmalloc_large 3",
    ]  # fmt: skip


def test_a_large_request_keeps_to_the_largest_block_and_a_virtual_one_to_a_gib() -> None:
    sizes = {"pareto": {"least": "1MiB", "shape": 1.1}}
    of = plan({"requests": [{"api": api, "bytes": sizes} for api in ("kmalloc", "exact", "vmalloc", "kvmalloc")]})
    for api, orders in (("kmalloc_large", (8, 10)), ("exact", (8, 10)), ("vmalloc", (8, 18)), ("kvmalloc", (8, 18))):
        found = [request.order for request in of.requests if API_NAMES[request.api] == api]
        assert found == list(range(orders[0], orders[1] + 1)), api


def test_kvmalloc_knows_its_cache_and_its_order() -> None:
    of = plan({"requests": [{"api": "kvmalloc", "bytes": {"table": [{"size": "5KiB"}, {"size": "9KiB"}]}}]})
    assert names_of(of) == ["kvmalloc kmalloc-8k", "kvmalloc 2"]
    assert [request.order for request in of.requests] == [1, 2]


@pytest.mark.parametrize(
    ("gfp", "cache"),
    [
        ("GFP_KERNEL | __GFP_RECLAIMABLE", "kmalloc-rcl-64"),
        ("GFP_KERNEL | GFP_DMA", "dma-kmalloc-64"),
        ("GFP_KERNEL_ACCOUNT", "kmalloc-cg-64"),
    ],
)
def test_flags_choose_the_family(gfp: str, cache: str) -> None:
    of = plan({"requests": [{"api": "kmalloc", "bytes": "60B", "gfp": gfp}]}, slab={"memcg": True})
    assert names_of(of) == [f"slab {cache}"]


def test_pages_and_large_blocks_need_no_caches() -> None:
    sized = [{"api": "kmalloc", "bytes": "1MiB"}, {"api": "exact", "bytes": "20KiB"}]
    of = plan({"requests": [*sized, {"api": "bulk", "pages": 9}, {}]})
    assert of.requests == (
        Request(KERNEL), Request(KERNEL, 0, BULK), Request(KERNEL, 3, EXACT), Request(KERNEL, 8, LARGE),
    )  # fmt: skip
    assert (of.caches, of.constructor_ps, of.uses_vmalloc) == (None, (), False)


@pytest.mark.parametrize("api", ["vmalloc", "kvmalloc"])
def test_vmalloc_brings_the_cache_of_its_areas(api: str) -> None:
    of = plan({"requests": [{"api": api, "bytes": "1MiB"}]})
    assert of.uses_vmalloc
    assert of.caches is not None
    assert of.caches.geometries[of.caches.index_of("vmap_area")].object_size == 72


def test_a_request_names_the_bucket_that_it_means() -> None:
    requests = [{"cache": "msg_msg-64"}, {"cache": "memdup_user-1k"}, {"api": "kmalloc", "bytes": "64B"}]
    of = plan({"requests": requests}, slab={"buckets": True})
    assert sorted(names_of(of)) == ["slab kmalloc-64", "slab memdup_user-1k", "slab msg_msg-64"]
    with pytest.raises(ConfigError, match=r"requests\[0\].cache: must be one of .*, found 'msg_msg-64'"):
        plan({"requests": requests})


def test_a_cache_of_ones_own_stands_in_place_of_a_shipped_one() -> None:
    of = plan({"requests": [{"cache": "dentry"}]}, caches=[{"name": "dentry", "object_size": "2000B"}])
    assert of.caches is not None
    assert of.caches.geometries[of.caches.index_of("dentry")].object_size == 2000


def test_only_the_caches_that_are_used_are_created_in_a_fixed_order() -> None:
    mine = [{"name": "b", "object_size": "3000B"}, {"name": "a", "object_size": "5000B", "constructor": "7ns"}]
    requests = [{"cache": "a"}, {"cache": "b"}, {"cache": "filp"}, {"cache": "radix_tree_node"}]
    of = plan({"requests": requests}, caches=mine)
    assert of.caches is not None
    names = [cache.name for cache in of.caches.geometries]
    assert names[names.index("dma-kmalloc-8k") + 1 :] == ["filp", "radix_tree_node", "b", "a"]
    assert of.constructor_ps[-4:] == (0, 60_000, 0, 7_000)
    assert len(of.constructor_ps) == len(names)


def test_a_cache_has_the_cpu_partial_of_its_config() -> None:
    mine = [{"name": "a", "object_size": "5000B", "cpu_partial": 0}, {"name": "b", "object_size": "3000B"}]
    of = plan({"requests": [{"cache": "a"}, {"cache": "b"}]}, caches=mine)
    assert of.caches is not None
    assert [cache.cpu_partial for cache in of.caches.geometries[-2:]] == [0, 24]


def test_a_cache_that_merges_asks_for_its_own_objects_bytes() -> None:
    mine = [{"name": "mine", "object_size": "58B"}]
    of = plan({"requests": [{"cache": "mine"}]}, caches=mine)
    assert names_of(of) == ["slab kmalloc-64"]
    (classes,) = of.classes.values()
    assert classes.nr_bytes == 58


def test_zeroed_memory_and_huge_mappings_are_requests_of_their_own() -> None:
    plain = {"api": "vmalloc", "bytes": "2MiB"}
    of = plan({"requests": [plain, plain | {"zero": True}, plain | {"huge": True}]})
    zero = GFP_FLAGS["__GFP_ZERO"]
    assert of.requests == (
        Request(KERNEL, 9, VMALLOC), Request(KERNEL, 9, VMALLOC, huge=1), Request(KERNEL | zero, 9, VMALLOC),
    )  # fmt: skip


def test_more_small_objects_can_wait_than_there_are_frames() -> None:
    small = [{"api": "kmalloc", "bytes": "8B", "gfp": "GFP_ATOMIC"}]
    of = plan({"cpus": [0]}, interrupts=[NIC | {"lifetime": "1us", "requests": small}])
    assert (63 << 20) // 8 <= of.tasks[1].nr_due_max <= (64 << 20) // 8


@pytest.mark.parametrize(
    "thread",
    [
        {"operations": 77, "live": 5},
        {"lifetime": "immortal", "operations": 9},
        {"live": 7, "phases": [{"do": "fill"}, {"do": "churn", "operations": 5}, {"do": "empty"}]},
        {"live": 7, "phases": [{"do": "churn", "operations": 20}, {"do": "fill"}, {"do": "empty"}, {"do": "empty"}]},
        {"live": 7, "phases": [{"do": "churn", "operations": 3, "lifetime": "immortal"}, {"do": "fill"}]},
        {"live": 3, "phases": [{"do": "fill"}], "requests": [{"bytes": "8KiB", "contiguous": False}]},
        {"live": 6, "phases": [{"do": "fill"}, {"do": "empty", "whose": "all", "barrier": True}]},
    ],
)
def test_as_many_operations_are_announced_as_there_are(thread: dict[str, Any]) -> None:
    of = plan(thread, {"operations": 0, "live": 1})
    assert nr_operations(of) == sum(len(block.ops) for task in range(4) for block in Blocks(of, task, 1))


def test_of_timed_blocks_the_frees_are_announced_as_well() -> None:
    timed = {"do": "churn", "operations": 6, "lifetime": "1us"}
    phased = {"cpus": [0], "live": 2, "phases": [timed, {"do": "fill"}]}
    of = plan(phased, {"cpus": [0], "operations": 9, "lifetime": "1us"})
    assert [sum(len(block.ops) for block in Blocks(of, task, 1)) for task in (0, 1)] == [3 + 2, 5]
    assert nr_operations(of) == (6 + 2) + 9


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
        assert only_frees == (next(Blocks(of, k, 1), None) is None)
    assert (configs_folder() / "workloads" / f"{name}.yaml").read_text(encoding="utf-8").startswith("# ")
