"""Runs of machines with several nodes: threads get memory near their CPU, in both modes alike."""

from typing import Any

import numpy as np
import pytest

from kmsim.config import from_mapping
from kmsim.mm.memblock import recount
from kmsim.mm.mmzone import NUMA_HIT, NUMA_INTERLEAVE_HIT, NUMA_LOCAL, NUMA_OTHER
from kmsim.mm.zone_names import populated_zones
from kmsim.sim.simulation import Simulation, new_simulation, run

THREADS = [
    {"name": "here", "cpus": [0, 1], "operations": 150, "requests": [{"order": 0}, {"cache": "kmalloc-1k"}]},
    {
        "name": "there",
        "cpus": [2, 3],
        "operations": 150,
        "lifetime": {"exponential": "20us"},
        "freed_by": "here",
        "requests": [{"order": 0}, {"api": "kmalloc", "bytes": "300B"}],
    },
]


def ended(nodes: list[dict[str, str]], *, stepwise: bool = False) -> Simulation:
    """A run of threads on all CPUs, those of CPUs 2 and 3 freed by CPUs 0 and 1."""
    keys: dict[str, Any] = {"arch": "x86-64", "nodes": nodes}
    study = from_mapping({"machine": keys, "workload": {"threads": THREADS}, "run": {"stepwise": stepwise}})
    simulation = new_simulation(study)
    for _ in run(simulation):
        pass
    recount(simulation.machine)
    return simulation


def counted(simulation: Simulation) -> dict[tuple[int, str], list[int]]:
    """What was counted at each zone of where requests landed."""
    m = simulation.machine
    return {name: m.zones[z].vm_numa_event.tolist() for name, z in populated_zones(m).items()}


def test_threads_get_memory_near_their_cpu() -> None:
    simulation = ended([{"cpus": "0-1", "memory": "64MiB"}, {"cpus": "2-3", "memory": "64MiB"}])
    for (_, name), events in counted(simulation).items():
        assert events[NUMA_HIT] == events[NUMA_LOCAL] == sum(events) // 2
        assert (events[NUMA_HIT] > 0) == (name == "DMA32")
    slub = simulation.core.slub
    assert slub is not None
    assert (slub.cache_nodes["nr_slabs"].reshape(-1, 2).sum(axis=0) > 0).all(), "slabs of either node"


@pytest.mark.parametrize("of_the_second", [{"cpus": "2-3", "memory": "64MiB"}, {"cpus": "2-3"}, {"memory": "64MiB"}])
def test_both_modes_are_alike(of_the_second: dict[str, str]) -> None:
    cpus = "0-1" if "cpus" in of_the_second else "0-3"
    nodes = [{"cpus": cpus, "memory": "64MiB"}, of_the_second]
    fast, slow = (ended(nodes, stepwise=stepwise) for stepwise in (False, True))
    assert counted(fast) == counted(slow)
    assert np.array_equal(fast.machine.pages, slow.machine.pages)
    assert np.array_equal(fast.machine.pcps, slow.machine.pcps)


def of_policy(policy: dict[str, Any] | None, gfp: str = "GFP_KERNEL") -> dict[tuple[int, str], list[int]]:
    """What was counted where one thread of a CPU of node 0 had 40 pages."""
    nodes = [{"cpus": "0-1", "memory": "64MiB"}, {"cpus": "2-3", "memory": "64MiB"}]
    thread = {"name": "a", "cpus": [0], "operations": 40, "lifetime": "immortal", "requests": [{"gfp": gfp}]}
    study = from_mapping(
        {
            "machine": {"arch": "x86-64", "nodes": nodes},
            "workload": {"threads": [thread | {"memory_policy": policy}]},
        }
    )
    simulation = new_simulation(study)
    for _ in run(simulation):
        pass
    recount(simulation.machine)
    return counted(simulation)


def test_a_threads_policy_says_where_its_memory_is() -> None:
    here, there = (0, "DMA32"), (1, "DMA32")
    found = {
        name: of_policy({"mode": name, **policy})
        for name, policy in {
            "local": {},
            "preferred": {"nodes": [1]},
            "bind": {"nodes": [1]},
            "interleave": {"nodes": "0-1"},
        }.items()
    }
    assert of_policy(None)[here][NUMA_HIT] == found["local"][here][NUMA_LOCAL] == 40
    for mode in ("preferred", "bind"):
        assert found[mode][there][NUMA_HIT] == found[mode][there][NUMA_OTHER] == 40
    for zone in (here, there):
        assert found["interleave"][zone][NUMA_HIT] == found["interleave"][zone][NUMA_INTERLEAVE_HIT] == 20
    assert of_policy({"mode": "bind", "nodes": [1]}, "GFP_KERNEL | __GFP_THISNODE")[here][NUMA_HIT] == 40


@pytest.mark.parametrize("stepwise", [False, True])
@pytest.mark.parametrize("request_", [{"order": 0}, {"order": 2}, {"api": "exact", "bytes": "4KiB"}], ids=str)
def test_a_request_that_names_a_node_is_asked_of_it_whatever_the_policy(
    request_: dict[str, Any], stepwise: bool
) -> None:
    nodes = [{"cpus": "0-1", "memory": "64MiB"}, {"cpus": "2-3", "memory": "64MiB"}]
    thread = {
        "name": "a",
        "cpus": [0],
        "operations": 40,
        "lifetime": "immortal",
        "memory_policy": {"mode": "interleave", "nodes": "0-1"},
        "requests": [request_ | {"node": 1}],
    }
    keys = {"arch": "x86-64", "nodes": nodes}
    workload = {"threads": [thread]}
    simulation = new_simulation(from_mapping({"machine": keys, "workload": workload, "run": {"stepwise": stepwise}}))
    for _ in run(simulation):
        pass
    recount(simulation.machine)
    events = counted(simulation)
    assert events[1, "DMA32"][NUMA_HIT] == events[1, "DMA32"][NUMA_OTHER] == 40
    assert events[1, "DMA32"][NUMA_INTERLEAVE_HIT] == 0
    assert not any(events[0, "DMA32"])


def test_interrupts_and_other_threads_have_none_of_it() -> None:
    nodes = [{"cpus": [0], "memory": "64MiB"}, {"cpus": [1], "memory": "64MiB"}]
    study = from_mapping(
        {
            "machine": {"arch": "x86-64", "nodes": nodes},
            "workload": {
                "threads": [
                    {"name": "bound", "cpus": [0], "operations": 30, "memory_policy": {"mode": "bind", "nodes": [1]}},
                    {"name": "free", "cpus": [0], "operations": 30},
                ],
                "interrupts": [{"name": "irq", "kind": "irq", "cpus": [0], "arrivals": {"constant": "2us"}}],
            },
        }
    )
    simulation = new_simulation(study)
    for _ in run(simulation):
        pass
    core = simulation.core
    taken = sum(int(of_class.sum()) for of_class in core.totals[:, :, 0])
    assert taken > 60
    found = counted(simulation)
    there = sum(found[zone][NUMA_HIT] for zone in found if zone[0] == 1)
    assert 0 < there <= 30
    assert sum(found[zone][NUMA_HIT] for zone in found if zone[0] == 0) > 15
