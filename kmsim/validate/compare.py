"""A simulated machine against a recorded state, item by item: lists, pageblocks, counts.

An item has a name that a person understands, such as `DMA32 free list 3U` or `Normal cpu 2 pcp
list 5`, and a value; lists are compared in order, head first. A recorded list that ends in -1 was
cut there, and only its recorded part is compared. Not compared: the pcp's own tuning (rows do that)
and the flags that kswapd sets, since other tasks run between a script's last row and the dump. Of kernels
built with NUMA boosts, ZONE_BELOW_HIGH and where allocations landed are compared too.
"""

from __future__ import annotations

from typing import Any

from kmsim.mm.mmzone import NR_PCP_LISTS, ZONE_BELOW_HIGH, Machine, pcp_index
from kmsim.mm.pageblock import free_list_head
from kmsim.mm.snapshot import walk
from kmsim.mm.zone_names import name_on_node, zone_names

TYPE_LETTERS = "UMRH"
Items = dict[str, Any]


def recorded_items(m: Machine, state: list[dict[str, Any]]) -> Items:
    """What a recorded state of such a machine says; lists only where they were recorded."""
    items: Items = {}
    for zone in state:
        name = name_on_node(m, zone["name"], zone.get("nid", 0))
        items[f"{name} nr_free"] = tuple(zone["nr_free"])
        items[f"{name} pageblocks"] = zone["blocks"]
        items[f"{name} highatomic"] = zone["highatomic"]
        if m.params[0].numa:
            items[f"{name} boost"] = zone["boost"]
            items[f"{name} below high"] = zone["zflags"] & ZONE_BELOW_HIGH
            items[f"{name} numa"] = tuple(zone["numa"])
        for key, pfns in zone.get("lists", {}).items():
            items[f"{name} free list {key}"] = tuple(pfns)
        for pcp in zone["pcp"]:
            items[f"{name} cpu {pcp['cpu']} pcp count"] = pcp["count"]
            for pindex, pfns in pcp.get("lists", {}).items():
                items[f"{name} cpu {pcp['cpu']} pcp list {pindex}"] = tuple(pfns)
    return items


def machine_items(m: Machine, *, lists: bool) -> Items:
    """What a machine says, in the same words; empty lists are left out."""
    items: Items = {}
    nr_cpus = int(m.params[0].nr_cpus)
    orders = int(m.params[0].max_page_order) + 1
    names = zone_names(m)
    for z, zone in enumerate(m.zones):
        if not zone.present_pages:
            continue
        name = names[z]
        items[f"{name} nr_free"] = tuple(int(count) for count in zone.nr_free[:orders])
        items[f"{name} pageblocks"] = pageblock_letters(m, z)
        items[f"{name} highatomic"] = int(zone.nr_reserved_highatomic)
        if m.params[0].numa:
            items[f"{name} boost"] = int(zone.watermark_boost)
            items[f"{name} below high"] = int(zone.zone_flags) & ZONE_BELOW_HIGH
            items[f"{name} numa"] = tuple(zone.vm_numa_event.tolist())
        for order in range(orders if lists else 0):
            for migratetype, letter in enumerate(TYPE_LETTERS):
                pfns = walk(m, free_list_head(m, z, order, migratetype))
                if pfns:
                    items[f"{name} free list {order}{letter}"] = tuple(pfns)
        for cpu in range(nr_cpus):
            pcp = m.pcps[pcp_index(m, z, cpu)]
            items[f"{name} cpu {cpu} pcp count"] = int(pcp["count"])
            for pindex in range(NR_PCP_LISTS if lists and pcp["count"] else 0):
                pfns = walk(m, int(pcp.lists) + pindex)
                if pfns:
                    items[f"{name} cpu {cpu} pcp list {pindex}"] = tuple(pfns)
    return items


def pageblock_letters(m: Machine, z: int) -> str:
    """The types of a zone's pageblocks, a letter each."""
    order = int(m.params[0].pageblock_order)
    first, last = int(m.zones[z].start_pfn) >> order, (int(m.zones[z].end_pfn) - 1) >> order
    return "".join(TYPE_LETTERS[migratetype] for migratetype in m.pageblocks[first : last + 1])


def differences(expected: Items, got: Items) -> tuple[int, list[str]]:
    """How many items were compared, and a line for each that differs."""
    lines = []
    names = list(expected) + [name for name in got if name not in expected]
    for name in names:
        wanted, found = expected.get(name, ()), got.get(name, ())
        if not same(wanted, found):
            lines.append(f"{name}: recorded {shortened(wanted, found)}, kmsim {shortened(found, wanted)}")
    return len(names), lines


def same(expected: Any, got: Any) -> bool:
    """Are two values of an item equal, as far as the recording goes?"""
    if isinstance(expected, tuple) and len(expected) > 1 and expected[-1] == -1:
        return bool(expected[:-1] == got[: len(expected) - 1])
    if isinstance(expected, str) and "-" in expected:
        return len(expected) == len(got) and all(e in ("-", g) for e, g in zip(expected, got, strict=True))
    return bool(expected == got)


def shortened(value: Any, other: Any) -> str:
    """A value for a person: a long list from where it differs."""
    if not isinstance(value, tuple | str) or len(value) <= 8:
        return str(value)
    pairs = zip(value, other, strict=False) if isinstance(other, type(value)) else ()
    at = next((i for i, (a, b) in enumerate(pairs) if a != b), 0)
    part = value[at : at + 6]
    return f"{part} (from position {at} of {len(value)})"
