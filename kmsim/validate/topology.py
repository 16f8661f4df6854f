"""Section `topology`: both zonelists of each node, from the distances between nodes and the zones that have memory.

A row is one zonelist, its zones in order. A kernel built without NUMA has a list of CPUs there, and nothing to compare.
"""

from __future__ import annotations

from typing import Any

from kmsim.mm.mmzone import NO_ZONE, ZONE_MOVABLE, ZONE_NAMES, Machine
from kmsim.mm.zonelist import build_all_zonelists
from kmsim.procfs import zoneinfo
from kmsim.procfs.recorded import Recording, field
from kmsim.procfs.topology import is_numa
from kmsim.validate.report import Section, skipped
from kmsim.validate.zones import zones_machine

LISTS = {"fallback": "zoneref", "thisnode": "thisnode_zoneref"}  # by the recorded name


def topology_section(recording: Recording, name: str) -> Section:
    """Every list of every node."""
    if not is_numa(recording):
        return skipped(name, "a list of CPUs")
    m = zones_machine(recording, zoneinfo.parse(recording.files["fresh.zoneinfo"]))
    build_all_zonelists(m)
    section = Section(name)
    for n, node in enumerate(recording.lab[name]["nodes"]):
        for recorded_name, own_name in LISTS.items():
            wanted = field(node, f"node {n}", recorded_name, list)
            got = zonelist(m, int(m.nodes[n][own_name][ZONE_MOVABLE]))
            section.rows += 1
            section.equal += got == wanted
            if got != wanted:
                section.why = section.why or f"node {n}, {recorded_name}: recorded {wanted}, kmsim {got}"
    return section


def zonelist(m: Machine, zoneref: int) -> list[list[Any]]:
    """The node and the name of each zone from an entry on."""
    zones = []
    while m.zonerefs[zoneref].zone != NO_ZONE:
        zone = m.zones[m.zonerefs[zoneref].zone]
        zones.append([int(zone.node), ZONE_NAMES[zone.zone_type]])
        zoneref += 1
    return zones
