"""Runs of machines with several nodes: threads get memory near their CPU, in both modes alike."""

from typing import Any

import numpy as np
import pytest

from kmsim.config import from_mapping
from kmsim.mm.memblock import recount
from kmsim.mm.mmzone import NUMA_HIT, NUMA_LOCAL
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
