"""A user's own processes that ask for the memory of a node, wherever their CPU is."""

from typing import Any

import pytest

from kmsim.config import Study, from_mapping
from kmsim.mm.memblock import recount
from kmsim.mm.mmzone import NUMA_HIT, NUMA_LOCAL, NUMA_OTHER
from kmsim.mm.zone_names import populated_zones
from kmsim.sim.simulation import Process, Simulation
from tests.sim.stories import finished

NODES = [{"cpus": "0-1", "memory": "512MiB"}, {"cpus": "2-3", "memory": "512MiB"}, {"cpus": [4]}]
BESIDE = {"name": "beside", "cpus": [1], "operations": 20, "start": "10ms", "memory_policy": {"mode": "local"}}


def machine(*, stepwise: bool = False) -> Study:
    """Two nodes with memory and one without, and a thread that comes late."""
    keys = {"arch": "x86-64", "nodes": NODES}
    return from_mapping({"machine": keys, "workload": {"threads": [BESIDE]}, "run": {"stepwise": stepwise}})


def node_of(cpu: Any, pfn: int) -> int:
    """The node that a page is of."""
    zones = cpu.held.machine.zones
    (node,) = zones["node"][(zones["start_pfn"] <= pfn) & (pfn < zones["end_pfn"])]
    return int(node)


@pytest.mark.parametrize("stepwise", [False, True])
def test_exact_pages_of_a_node_are_the_nodes(stepwise: bool) -> None:
    found: dict[tuple[int, int], int] = {}

    def process(simulation: Simulation) -> Process:
        for number in (0, 2):
            cpu = simulation.cpus[number]
            for nid in (0, 1, 2):
                alloc = yield from cpu.alloc_pages_exact_nid(nid, 5000)
                assert alloc is not None
                found[number, nid] = node_of(cpu, alloc.pfn)
                yield from cpu.free_pages_exact(alloc, 5000)
            alloc = yield from cpu.alloc_pages_exact(5000)
            assert alloc is not None
            assert node_of(cpu, alloc.pfn) == number // 2

    simulation = finished(machine(stepwise=stepwise), process)
    recount(simulation.machine)
    helper = found[0, 2]  # of the node that has no memory
    assert found == {(cpu, nid): helper if nid == 2 else nid for cpu in (0, 2) for nid in (0, 1, 2)}
    totals = simulation.machine.zones["vm_numa_event"].sum(axis=0)
    assert totals[NUMA_OTHER] == 3  # two of another node's CPU, and a request of CPU 2 that node 0 helped out
    assert totals[NUMA_HIT] == totals[NUMA_LOCAL] + totals[NUMA_OTHER]
    assert {n for n, _ in populated_zones(simulation.machine)} == {0, 1}


@pytest.mark.parametrize("stepwise", [False, True])
def test_pages_of_a_node_are_the_nodes_until_it_is_full(stepwise: bool) -> None:
    only = "GFP_KERNEL | __GFP_THISNODE"
    found: dict[str, list[int]] = {"any": [], "only": []}

    def process(simulation: Simulation) -> Process:
        cpu = simulation.cpus[0]
        assert (yield from cpu.alloc_pages_node(2, only)) is None  # it has no memory
        for order in (0, 4):
            alloc = yield from cpu.alloc_pages_node(1, only, order)
            assert alloc is not None
            found["only"].append(node_of(cpu, alloc.pfn))
        while (yield from cpu.alloc_pages_node(1, only, 10)) is not None:
            pass
        for nid in (1, 2):
            alloc = yield from cpu.alloc_pages_node(nid, "GFP_KERNEL", 10)
            assert alloc is not None
            found["any"].append(node_of(cpu, alloc.pfn))

    recount(finished(machine(stepwise=stepwise), process).machine)
    assert found == {"any": [0, 0], "only": [1, 1]}


@pytest.mark.parametrize("nid", [-1, 3, True, "0"])
def test_a_node_that_is_not_there_is_refused(nid: Any) -> None:
    def process(simulation: Simulation) -> Process:
        with pytest.raises(ValueError, match=f"a node is 0 to 2, not {nid!r}"):
            yield from simulation.cpus[0].alloc_pages_exact_nid(nid, 5000)
        with pytest.raises(ValueError, match=f"a node is 0 to 2, not {nid!r}"):
            yield from simulation.cpus[0].alloc_pages_node(nid, "GFP_KERNEL")

    finished(machine(), process)
