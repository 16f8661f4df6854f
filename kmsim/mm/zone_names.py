"""What zones are called in messages, files and results.

Each node has a zone of each type, so a name is that of its type, and says which node's it is where there are several.
Leaves out names of nodes themselves. Invariant: names of one machine differ. Takes no lock.
"""

from kmsim.mm.indices import NodeIdx, ZoneIdx
from kmsim.mm.mmzone import ZONE_NAMES, Machine


def zone_names(m: Machine) -> list[str]:
    """The names of all zones in messages and results, in the order of `zones`."""
    return [name_on_node(m, ZONE_NAMES[zone.zone_type], zone.node) for zone in m.zones]


def name_on_node(m: Machine, name: str, n: NodeIdx) -> str:
    """The name of something that each node has, and which node's it is where there are several."""
    return name_of_several(name, n, len(m.nodes))


def name_of_several(name: str, n: NodeIdx, nr_nodes: int) -> str:
    """`name_on_node` of a machine of so many nodes."""
    return f"{name} of node {n}" if nr_nodes > 1 else name


def populated_zones(m: Machine) -> dict[tuple[int, str], ZoneIdx]:
    """The zones that have pages, by node and by the name of their type."""
    named = {(int(zone.node), ZONE_NAMES[zone.zone_type]): z for z, zone in enumerate(m.zones)}
    return {name: z for name, z in named.items() if m.zones[z].present_pages}
