"""Any layout of nodes, and any policies: both modes are alike, and no page is lost."""

from typing import Any

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from kmsim.config import from_mapping
from kmsim.mm.memblock import recount
from kmsim.mm.mmzone import NUMA_FOREIGN, NUMA_HIT, NUMA_LOCAL, NUMA_MISS, NUMA_OTHER
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
    """The study's run, to its end, and all of memory recounted."""
    simulation = new_simulation(from_mapping(study | {"run": {"stepwise": stepwise}}))
    for _ in run(simulation):
        pass
    recount(simulation.machine)
    return simulation


@settings(max_examples=15)
@given(studies())
def test_both_modes_are_alike_on_any_layout(study: dict[str, Any]) -> None:
    fast, slow = (ended(study, stepwise=stepwise) for stepwise in (False, True))
    for name in ("pages", "zones", "pcps", "events", "mempolicies"):
        assert np.array_equal(getattr(fast.machine, name), getattr(slow.machine, name)), name
    for name in ("totals", "counts", "locks", "cpus"):
        assert np.array_equal(getattr(fast.core, name), getattr(slow.core, name)), name
    totals = fast.machine.zones["vm_numa_event"].sum(axis=0).tolist()
    assert totals[NUMA_HIT] + totals[NUMA_MISS] == totals[NUMA_LOCAL] + totals[NUMA_OTHER] > 0
    assert totals[NUMA_MISS] == totals[NUMA_FOREIGN]
