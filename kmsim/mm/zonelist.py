"""Which zone a page is in, and through which zones a request goes (kernel: mmzone.h, build_all_zonelists).

A zonelist is a row of entries of `zonerefs`, ended by one with NO_ZONE. A node has two: one of its own populated zones
alone, the highest type first, for requests with __GFP_THISNODE, and one in which those of the other nodes follow, the
nearest node first. A request goes down that of the node that it prefers, and leaves out zones of a higher type than it
may use. One more list, at the beginning of `zonerefs`, has all populated zones, the highest address first; by it the
zone of a page is found.

Leaves out cpusets; policies are in `mm.mempolicy`. Invariant: the lists name exactly the zones with present pages; who
gives pages to a zone builds them anew.
"""

from collections.abc import Iterable, Iterator

import numpy as np
from numpy.typing import NDArray

from kmsim.jit import small
from kmsim.mm.gfp import ALLOC_NOFRAGMENT, GFP_THISNODE
from kmsim.mm.indices import ContextIdx, CpuIdx, Gfp, NodeIdx, Pfn, ZoneIdx, ZonerefIdx, ZoneType
from kmsim.mm.mmzone import NO_ZONE, ZONE_DMA32, ZONE_NORMAL, Machine, node_zone

ALL_ZONES = 0  # where the list of all zones begins
MAX_NUMNODES = 64  # of a kernel built with NODES_SHIFT 6, x86-64's default


@small
def numa_node_id(m: Machine, cpu: CpuIdx) -> NodeIdx:
    """The node that a CPU is on, with or without memory (kernel: numa_node_id)."""
    return int(m.cpus[cpu].node)


@small
def first_zoneref(m: Machine, n: NodeIdx, gfp: Gfp, highest_zoneidx: ZoneType) -> ZonerefIdx:
    """Where a request that prefers a node begins (kernel: node_zonelist, first_zones_zonelist)."""
    node = m.nodes[n]
    if gfp & GFP_THISNODE:
        return int(node.thisnode_zoneref[highest_zoneidx])
    return int(node.zoneref[highest_zoneidx])


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
    node_load = [0] * len(m.nodes)
    for n, node in enumerate(m.nodes):
        by_distance = list(fallback_order(m, n, node_load))
        place = write_zonelists(m, place, by_distance, node.zoneref)
        place = write_zonelists(m, place, [n], node.thisnode_zoneref)


def write_zonelists(m: Machine, first: ZonerefIdx, nodes: Iterable[NodeIdx], lists: NDArray[np.int64]) -> ZonerefIdx:
    """Write one zonelist, from `first` on: the zones of these nodes, in order. Returns where the next list may begin.

    `lists` gets the first entry for each highest zone type that a request may use.
    """
    after = _write(m, first, (z for n in nodes for z in _zones_downwards(m, n)))
    for zone_type in range(len(lists)):
        lists[zone_type] = _first(m, first, zone_type)
    return after


def fallback_order(m: Machine, n: NodeIdx, node_load: list[int]) -> Iterator[NodeIdx]:
    """The nodes with memory as a node's requests turn to them, the nearest first (kernel: build_zonelists).

    `node_load` says how often each node came first of those at its distance, for the nodes before this one; of two
    at one distance the less loaded comes first, or else the next by number.
    """
    distance = m.nodes[n].distance
    left = [other for other in range(len(m.nodes)) if has_memory(m, other)]
    before = n
    while left:
        nearest = n if n in left else min(left, key=lambda o: (distance[o] + (o < n)) * MAX_NUMNODES + node_load[o])
        if distance[nearest] != distance[before]:
            node_load[nearest] += 1
        left.remove(nearest)
        before = nearest
        yield nearest


def has_memory(m: Machine, n: NodeIdx) -> bool:
    """Has a node a populated zone? (kernel: node_state, N_MEMORY)"""
    return any(m.zones[z].present_pages for z in _zones_downwards(m, n))


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
