"""The NUMA nodes of a machine: which are simulated, whose CPU is whose, and how far away they are from each other.

Nodes are called 0, 1 .. in their order. CPUs and distances are those of /sys/devices/system/node, of `numactl -H` or
of `lscpu`; what is not said is assumed and noted. A machine of one node has no `nodes`.
"""

from collections.abc import Sequence
from typing import Any

from kmsim.config.node_layout import DISTANCE_MAX, written_numbers
from kmsim.mm.mmzone import LOCAL_DISTANCE, NR_NODES_MAX
from kmsim.survey.texts import SurveyError
from kmsim.survey.told import Facts


def nodes_of(facts: Facts, wish: int | None, where: str) -> list[int]:
    """The nodes that are simulated: all that have memory or CPUs, or the one that is wished for."""
    with_memory = {node for node, _ in facts.zones} | set([] if facts.lists is None else facts.lists.nodes)
    if wish is not None:
        if wish not in with_memory:
            raise SurveyError(where, f"have node {wish}", f"nodes {_named(sorted(with_memory))}")
        if len(with_memory) > 1:
            facts.notes.append(f"of the nodes {_named(sorted(with_memory))} node {wish} is simulated, with all CPUs")
        return [wish]
    nodes = sorted(with_memory | {node for node, cpus in facts.node_cpus.items() if cpus})
    if len(nodes) > NR_NODES_MAX:
        return only_first(facts, nodes, f"more than {NR_NODES_MAX} are not simulated")
    if len(nodes) > 1 and nodes != list(range(len(nodes))):
        facts.notes.append(f"the nodes {_named(nodes)} are called 0 to {len(nodes) - 1}")
    return nodes


def only_first(facts: Facts, nodes: list[int], why: str) -> list[int]:
    """The first node alone, with the reason as a note."""
    facts.notes.append(f"of the nodes {_named(nodes)} node {nodes[0]} is simulated, with all CPUs: {why}; --node")
    return nodes[:1]


def cpus_of(facts: Facts, nodes: list[int], nr_cpus: int) -> list[tuple[int, ...]]:
    """The CPUs of each node; each of them is on one."""
    if not any(facts.node_cpus.get(node) for node in nodes):
        facts.notes.append("which CPUs each node has is not said: shared evenly, in their order (assumed)")
        ends = [nr_cpus * n // len(nodes) for n in range(len(nodes) + 1)]
        return [tuple(range(ends[n], ends[n + 1])) for n in range(len(nodes))]
    taken: set[int] = set()
    found = []
    for node in nodes:
        mine = [cpu for cpu in sorted(set(facts.node_cpus.get(node, ()))) if cpu < nr_cpus and cpu not in taken]
        taken.update(mine)
        found.append(tuple(mine))
    left = tuple(cpu for cpu in range(nr_cpus) if cpu not in taken)
    if left:
        facts.notes.append(f"CPUs {_named(left)} are on none of the nodes that are said: on the first (assumed)")
        found[0] = tuple(sorted((*found[0], *left)))
    return found


def distances_of(facts: Facts, nodes: list[int]) -> list[list[int]] | None:
    """The distances between the nodes; None, with a note, where they are not said or cannot be."""
    numbers = sorted(facts.distances)
    rows = [facts.distances.get(node, ()) for node in nodes]
    if not set(nodes) <= set(numbers) or any(len(row) != len(numbers) for row in rows):
        facts.notes.append("nodes at a distance of 20 from each other (assumed)")
        return None
    found = [[row[numbers.index(other)] for other in nodes] for row in rows]
    pairs = [(n, other) for n in range(len(nodes)) for other in range(n)]
    if all(found[n][n] == LOCAL_DISTANCE for n in range(len(nodes))) and all(
        found[a][b] == found[b][a] and LOCAL_DISTANCE < found[a][b] <= DISTANCE_MAX for a, b in pairs
    ):
        return found
    facts.notes.append(f"distances {found} are not simulated: 20 between any two nodes (assumed)")
    return None


def node_keys(cpus: Sequence[tuple[int, ...]], memory_maps: Sequence[list[dict[str, Any]]]) -> list[dict[str, Any]]:
    """The nodes of a machine's file."""
    found = []
    for of_node, ram in zip(cpus, memory_maps, strict=True):
        keys: dict[str, Any] = {"cpus": written_numbers(of_node)} if of_node else {}
        found.append(keys | {"memory_map": ram} if ram else keys)
    return found


def _named(numbers: Sequence[int]) -> str:
    return ", ".join(map(str, numbers))
