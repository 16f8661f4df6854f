"""Any layout of nodes, and any policies: both modes are alike, and no page is lost."""

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kmsim.config import from_mapping
from kmsim.mm.mmzone import NUMA_FOREIGN, NUMA_HIT, NUMA_LOCAL, NUMA_MISS, NUMA_OTHER
from kmsim.sim.core.recount import recount
from kmsim.sim.simulation import Simulation, new_simulation, run

MIB_OF_NODE = (0, 32, 48, 96)
REQUESTS: list[dict[str, Any]] = [
    {"order": 0},
    {"order": 3, "gfp": "GFP_KERNEL | __GFP_THISNODE"},
    {"order": 0, "gfp": "GFP_HIGHUSER_MOVABLE"},
    {"cache": "kmalloc-1k"},
]


@st.composite
def machines(draw: st.DrawFn) -> dict[str, Any]:
    """1 to 16 nodes, with and without CPUs and memory, at any distances, with and without ZONE_MOVABLE."""
    nr_nodes = draw(st.integers(1, 16))
    node_of_cpu = draw(st.lists(st.integers(0, nr_nodes - 1), min_size=1, max_size=6))
    memory = draw(st.lists(st.sampled_from(MIB_OF_NODE), min_size=nr_nodes, max_size=nr_nodes))
    memory[draw(st.integers(0, nr_nodes - 1))] = 96
    nodes = [
        {"cpus": [cpu for cpu, of in enumerate(node_of_cpu) if of == n], "memory": f"{memory[n]}MiB"}
        for n in range(nr_nodes)
        if n in node_of_cpu or memory[n]
    ]
    nr_nodes = len(nodes)
    distances = [[10] * nr_nodes for _ in range(nr_nodes)]
    for n in range(nr_nodes):
        for other in range(n):
            distances[n][other] = distances[other][n] = draw(st.sampled_from([11, 20, 31]))
    kernelcore = draw(st.sampled_from([None, "40%"]))
    arch = draw(st.sampled_from(["x86-64", "arm64"]))
    return {"arch": arch, "nodes": nodes, "distances": distances, "kernelcore": kernelcore}


@st.composite
def policies(draw: st.DrawFn, machine: dict[str, Any]) -> dict[str, Any] | None:
    """A policy that the machine can have, or none."""
    with_memory = [n for n, node in enumerate(machine["nodes"]) if node["memory"] != "0MiB"]
    mode = draw(st.sampled_from([None, "local", "preferred", "bind", "interleave"]))
    if mode in (None, "local"):
        return mode and {"mode": mode}
    most = 1 if mode == "preferred" else len(with_memory)
    nodes = draw(st.lists(st.sampled_from(with_memory), min_size=1, max_size=most, unique=True))
    return {"mode": mode, "nodes": nodes}


@st.composite
def studies(draw: st.DrawFn) -> dict[str, Any]:
    """Two kinds of threads on all CPUs; what the second asks for is freed by the first."""
    machine = draw(machines())
    threads = [
        {"name": "holds", "operations": 60, "live": 20, "requests": REQUESTS, "memory_policy": draw(policies(machine))},
        {
            "name": "gives",
            "operations": 60,
            "lifetime": {"exponential": "3us"},
            "freed_by": "holds",
            "requests": REQUESTS,
            "memory_policy": draw(policies(machine)),
        },
    ]
    return {"seed": draw(st.integers(0, 100)), "machine": machine, "workload": {"threads": threads}}


def ended(study: dict[str, Any], *, stepwise: bool) -> Simulation:
    """The study's run, to its end, and all of it recounted."""
    simulation = new_simulation(from_mapping(study | {"run": {"stepwise": stepwise}}))
    for _ in run(simulation):
        pass
    recount(simulation.core)
    return simulation


@st.composite
def all_requests(draw: st.DrawFn) -> dict[str, Any]:
    """Threads that ask for pages of every kind, of nodes that are named too, others that map memory; interrupts."""
    machine = draw(machines())
    nid = st.integers(0, len(machine["nodes"]) - 1)
    cpus = sorted(cpu for node in machine["nodes"] for cpu in node["cpus"])
    pages: list[dict[str, Any]] = [
        {"order": 0, "node": draw(nid)},
        {"order": 2, "node": draw(nid)},
        {"api": "exact", "bytes": "9KiB"},
        {"api": "exact", "bytes": {"uniform": {"low": "1B", "high": "300KiB"}}, "node": draw(nid)},
        {"api": "bulk", "pages": draw(st.integers(1, 60))},
        {"api": "kmalloc", "bytes": {"uniform": {"low": "8B", "high": "20KiB"}}},
    ]
    areas = [
        {"api": "vmalloc", "bytes": {"uniform": {"low": "1B", "high": "400KiB"}}},
        {"api": "kvmalloc", "bytes": {"uniform": {"low": "1B", "high": "3MiB"}}},
    ]
    threads = [
        {"name": "pages", "operations": 60, "live": 15, "requests": pages, "memory_policy": draw(policies(machine))},
        {"name": "areas", "operations": 30, "live": 5, "requests": areas},
    ]
    irq = {
        "name": "irq",
        "kind": draw(st.sampled_from(["irq", "softirq"])),
        "cpus": [draw(st.sampled_from(cpus))],
        "arrivals": {"poisson": "5us"},
        "requests": [{"gfp": "GFP_ATOMIC", "node": draw(nid)}, {"gfp": "GFP_ATOMIC", "api": "exact", "bytes": "6KiB"}],
        "lifetime": "20us",
    }
    seed = draw(st.integers(0, 100))
    return {"seed": seed, "machine": machine, "workload": {"threads": threads, "interrupts": [irq]}}


@st.composite
def reclaiming(draw: st.DrawFn) -> dict[str, Any]:
    """Memory that is full from the start: files are read, and who asks for pages reclaims."""
    machine = draw(machines())
    filled = {"page_cache": "45%", "anonymous": "45%"}
    machine |= {"swap": draw(st.sampled_from(["0B", "64MiB"])), "state": {"filled": filled}}
    nid = st.integers(0, len(machine["nodes"]) - 1)
    requests = [{"order": 0}, {"order": 1, "node": draw(nid)}, {"order": 0, "gfp": "GFP_HIGHUSER_MOVABLE"}]
    threads = [
        {"name": "reader", "operations": 80, "requests": [{"api": "file_read", "file_size": "32MiB"}]},
        {
            "name": "churn",
            "operations": 80,
            "live": 40,
            "requests": requests,
            "memory_policy": draw(policies(machine)),
        },
    ]
    return {"seed": draw(st.integers(0, 100)), "machine": machine, "workload": {"threads": threads}}


@settings(max_examples=15)
@given(studies())
def test_both_modes_are_alike_on_any_layout(study: dict[str, Any]) -> None:
    assert alike(study).nr_done > 0


@pytest.mark.slow
@settings(max_examples=15)
@given(all_requests())
def test_both_modes_are_alike_whatever_is_asked_for(study: dict[str, Any]) -> None:
    simulation = alike(study)
    assert simulation.core.vm is not None


@pytest.mark.slow
@settings(max_examples=8)
@given(reclaiming())
def test_both_modes_are_alike_where_requests_reclaim(study: dict[str, Any]) -> None:
    simulation = alike(study)
    assert simulation.machine.lru is not None


def alike(study: dict[str, Any]) -> Simulation:
    """The study's run, which is the same in both modes, and counts where each request has landed."""
    fast, slow = (ended(study, stepwise=stepwise) for stepwise in (False, True))
    for name in ("pages", "zones", "pcps", "events", "mempolicies"):
        assert np.array_equal(getattr(fast.machine, name), getattr(slow.machine, name)), name
    for name in ("totals", "counts", "locks", "cpus"):
        assert np.array_equal(getattr(fast.core, name), getattr(slow.core, name)), name
    for of in ("slub", "vm"):
        same_arrays(of, getattr(fast.core, of), getattr(slow.core, of))
    same_arrays("lru", fast.machine.lru, slow.machine.lru)
    totals = fast.machine.zones["vm_numa_event"].sum(axis=0).tolist()
    assert totals[NUMA_HIT] + totals[NUMA_MISS] == totals[NUMA_LOCAL] + totals[NUMA_OTHER] > 0
    assert totals[NUMA_MISS] == totals[NUMA_FOREIGN]
    return fast


def same_arrays(of: str, fast: Any, slow: Any) -> None:
    """Are all arrays of two tuples of them the same?"""
    assert (fast is None) == (slow is None)
    for name in () if fast is None else fast._fields:
        here, there = getattr(fast, name), getattr(slow, name)
        if isinstance(here, np.ndarray):
            assert np.array_equal(here, there), f"{of}.{name}"
