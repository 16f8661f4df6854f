"""Section `topology` of recordings: the nodes of the recorded machine.

A list of online nodes, numbered from 0 on, each with its CPUs and its distance to every node. A kernel built without
NUMA has no such list, and one node. Leaves out nodes that are possible and not online.
"""

from dataclasses import dataclass
from typing import Any

from kmsim.mm.mmzone import LOCAL_DISTANCE, NR_NODES_MAX
from kmsim.procfs.recorded import Recording, RecordingError, field, integer, integers

DISTANCE_MAX = 255  # firmware's tables have a byte for it


@dataclass(frozen=True)
class Topology:
    """The node of each CPU, the distance from each node to each, and whether the kernel was built with NUMA."""

    node_of_cpu: list[int]
    distances: list[list[int]]
    numa: bool


def is_numa(recording: Recording) -> bool:
    """Was the kernel built with NUMA? A list of CPUs alone may be recorded without."""
    topology = recording.lab.get("topology")
    return isinstance(topology, dict) and "nodes" in topology


def topology_of(recording: Recording) -> Topology:
    """The nodes of a recording; RecordingError says what is wrong with them."""
    if not is_numa(recording):
        return Topology([0] * recording.nr_cpus, [[LOCAL_DISTANCE]], numa=False)
    nodes: list[Any] = field(recording.lab["topology"], "topology", "nodes", list)
    if not 1 <= len(nodes) <= NR_NODES_MAX:
        raise RecordingError(f"topology: {len(nodes)} nodes, not 1 to {NR_NODES_MAX}")
    node_of_cpu: dict[int, int] = {}
    distances = []
    for n, node in enumerate(nodes):
        where = f"topology, node {n}"
        cpus = field(node, where, "cpus", list)
        if integer(node, where, "nid") != n:
            raise RecordingError("topology: nodes are not numbered from 0 on")
        for cpu in cpus:
            if type(cpu) is not int or cpu in node_of_cpu:
                raise RecordingError(f"{where}: CPU {cpu!r} is none, or on another node too")
            node_of_cpu[cpu] = n
        distances.append(integers(node, where, "distance", len(nodes), low=LOCAL_DISTANCE))
        if max(distances[n]) > DISTANCE_MAX:
            raise RecordingError(f"{where}: a distance above {DISTANCE_MAX}")
    if sorted(node_of_cpu) != list(range(recording.nr_cpus)):
        raise RecordingError(f"topology: CPUs {sorted(node_of_cpu)} where there are {recording.nr_cpus}")
    return Topology([node_of_cpu[cpu] for cpu in range(recording.nr_cpus)], distances, numa=True)
