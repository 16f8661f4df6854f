"""Which zone a page is in, and through which zones a request goes (kernel: mmzone.h, build_all_zonelists).

A zonelist is a row of entries of `zonerefs`, ended by one with NO_ZONE. A node has one: its own populated zones,
the highest type first, then those of the node with the next number, and so on, round. A request goes down that of its
CPU's node, and leaves out zones of a higher type than it may use. One more list, at the beginning of `zonerefs`, has
all populated zones, the highest address first; by it the zone of a page is found.

Leaves out distances between nodes, policies (mempolicy), cpusets and __GFP_THISNODE. Invariant: the lists name exactly
the zones with present pages; who gives pages to a zone builds them anew.
"""

from collections.abc import Iterable

import numpy as np

from kmsim.jit import small
from kmsim.mm.gfp import ALLOC_NOFRAGMENT
from kmsim.mm.indices import ContextIdx, CpuIdx, Pfn, ZoneIdx, ZonerefIdx, ZoneType
from kmsim.mm.mmzone import NO_ZONE, ZONE_DMA32, ZONE_NORMAL, Machine, node_zone

ALL_ZONES = 0  # where the list of all zones begins


@small
def first_zoneref(m: Machine, cpu: CpuIdx, highest_zoneidx: ZoneType) -> ZonerefIdx:
    """Where a request of a CPU begins (kernel: first_zones_zonelist)."""
    return int(m.nodes[m.cpus[cpu].node].zoneref[highest_zoneidx])


@small
def next_zoneref(m: Machine, zoneref: ZonerefIdx, highest_zoneidx: ZoneType) -> ZonerefIdx:
    """The first entry behind this one that the request may use, or the end (kernel: next_zones_zonelist)."""
    zoneref += 1
    while m.zonerefs[zoneref].zone_type > highest_zoneidx:
        zoneref += 1
    return zoneref


@small
def is_remote(m: Machine, zone: ZoneIdx, preferred_zoneref: ZonerefIdx) -> bool:
    """Is the zone on another node than the preferred one? With one node, none is."""
    return bool(len(m.nodes) > 1 and m.zones[zone].node != m.zones[m.zonerefs[preferred_zoneref].zone].node)


@small
def alloc_flags_nofragment(m: Machine, zoneref: ZonerefIdx) -> int:
    """Keep types apart where there is a lower zone that could help out (kernel: alloc_flags_nofragment)."""
    if m.zonerefs[zoneref].zone_type != ZONE_NORMAL:
        return 0
    if len(m.nodes) > 1:
        lower = node_zone(m, m.zones[m.zonerefs[zoneref].zone].node, ZONE_DMA32)
        if m.zones[lower].present_pages == 0:
            return 0
    return ALLOC_NOFRAGMENT


@small
def leaves_node(m: Machine, ac: ContextIdx, zone: ZoneIdx) -> bool:
    """Would the request go to another node to keep types apart? It may not: it mixes types on its own node instead."""
    context = m.contexts[ac]
    return is_remote(m, zone, context.preferred_zoneref) and context.alloc_flags & ALLOC_NOFRAGMENT != 0


@small
def page_zone(m: Machine, pfn: Pfn) -> ZoneIdx:
    """The zone of a page frame; frames below the first zone's start count as its own (kernel: page_zone)."""
    zoneref = ALL_ZONES
    zone = m.zonerefs[zoneref].zone
    while pfn < m.zones[zone].start_pfn:
        zoneref += 1
        below = m.zonerefs[zoneref].zone
        if below == NO_ZONE:
            break
        zone = below
    return int(zone)


def build_all_zonelists(m: Machine) -> None:
    """Write all lists, for the zones that have pages now (kernel: build_all_zonelists)."""
    m.zonerefs["zone"] = m.zonerefs["zone_type"] = NO_ZONE
    by_address = np.argsort(-m.zones["start_pfn"], kind="stable").tolist()
    place = _write(m, ALL_ZONES, by_address)
    nr_nodes = len(m.nodes)
    for n, node in enumerate(m.nodes):
        first = place
        place = _write(m, first, (z for i in range(nr_nodes) for z in _zones_downwards(m, (n + i) % nr_nodes)))
        for zone_type in range(int(node.nr_zones)):
            node.zoneref[zone_type] = _first(m, first, zone_type)


def _zones_downwards(m: Machine, n: int) -> Iterable[ZoneIdx]:
    """A node's zones, the highest type first (kernel: build_zonerefs_node)."""
    return reversed(range(node_zone(m, n, 0), node_zone(m, n, int(m.nodes[n].nr_zones))))


def _write(m: Machine, place: ZonerefIdx, zones: Iterable[ZoneIdx]) -> ZonerefIdx:
    """Write the populated ones of these zones as a list; where the next one begins."""
    for z in zones:
        if m.zones[z].present_pages:
            m.zonerefs[place] = (z, m.zones[z].zone_type)
            place += 1
    return place + 1


def _first(m: Machine, zoneref: ZonerefIdx, highest_zoneidx: ZoneType) -> ZonerefIdx:
    """The first entry at or behind this one that a request may use, or the end."""
    while m.zonerefs[zoneref].zone_type > highest_zoneidx:
        zoneref += 1
    return zoneref
