"""Typed free lists of a real machine as the initial state of a booted one.

The result has the given number of free blocks by zone, order and migratetype, and its number of pageblocks by type;
they lie where `placement` scatters them, and all other memory is allocated. Sizes and per-CPU lists stay those of
the booted machine, whose zones must be those of the lists. Where the two machines differ in their number of
pageblocks, movable ones take the difference.
"""

from collections.abc import Sequence

import numpy as np

from kmsim.mm.memblock import Boot, zone_bounds
from kmsim.mm.mm_init import PfnRange, overlap, subtract
from kmsim.mm.mmzone import (
    MIGRATE_HIGHATOMIC,
    MIGRATE_MOVABLE,
    MIGRATETYPE_NAMES,
    PG_BUDDY,
    ZONE_NAMES,
    Machine,
)
from kmsim.mm.pageblock import free_list_head
from kmsim.mm.snapshot import Pfns, link
from kmsim.mm.zone_names import name_on_node, populated_zones, zone_names
from kmsim.procfs import pagetypeinfo
from kmsim.procfs.pageblock_types import UNDECIDED, DoesNotFit, Wanted
from kmsim.procfs.placement import Area, place
from kmsim.procfs.typed_lists import ListsError, TypedLists, ZoneLists

WRITES = "`kmsim machine` writes a machine that fits"


def has_room(boot: Boot, lists: TypedLists) -> bool:
    """Has each listed zone at least as much RAM as it has free pages?"""
    spans = _spans(boot)
    return all(zone.nr_pages <= _room(boot.ram, spans, zone) for zone in lists.zones)


def room_for(boot: Boot, lists: TypedLists) -> tuple[Boot, list[str]]:
    """The boot with as many pages in its zones as the lists have free ones; what was changed for that.

    What a boot reserves depends on its kernel and its firmware: one of before 5.13 manages most of the first MiB
    (commit f1d4d47c5851, "x86/setup: always reserve the first 1M of RAM"). Where a zone has more free pages than the
    boot leaves it, nothing is reserved in that zone.
    """
    spans = _spans(boot)
    notes = []
    for zone in lists.zones:
        managed = _room(subtract(boot.ram, boot.reserved), spans, zone)
        if managed < zone.nr_pages <= _room(boot.ram, spans, zone):
            free = tuple(subtract(boot.reserved, (spans[zone.node, zone.zone],)))
            boot = boot._replace(reserved=free)
            notes.append(
                f"zone {zone.zone}: {zone.nr_pages:,} free pages, where a boot of the simulated kernel leaves "
                f"{managed:,}: nothing is reserved in it (assumed)"
            )
    return boot, notes


def _spans(boot: Boot) -> dict[tuple[int, str], PfnRange]:
    """What each zone spans, by node and name."""
    return {
        (node, name): span
        for node, bounds in enumerate(zone_bounds(boot))
        for name, span in zip(ZONE_NAMES, bounds, strict=True)
    }


def _room(ranges: Sequence[PfnRange], spans: dict[tuple[int, str], PfnRange], zone: ZoneLists) -> int:
    """How many page frames of `ranges` lie in a zone; none where there is no such zone."""
    span = spans.get((zone.node, zone.zone), PfnRange(0, 0))
    return overlap(ranges, span.start, span.end)


def apply_lists(m: Machine, lists: TypedLists, rng: np.random.Generator) -> None:
    """Give a booted machine these free blocks; ListsError (a ValueError) says why it cannot.

    Called on a machine as `mm.memblock.boot_machine` leaves it: all that it manages is free.
    """
    _check(m, lists)
    m.zones["nr_free_pages"] = 0
    m.pcps["vm_stat_diff"] = 0
    populated = populated_zones(m)
    for zone in lists.zones:
        z = populated[zone.node, zone.zone]
        try:
            _refill(m, z, _wanted(m, z, zone, lists), rng)
        except DoesNotFit as reason:
            raise ListsError(_typed_in(lists), f"zone {zone_names(m)[z]}: {reason}") from None


def _check(m: Machine, lists: TypedLists) -> None:
    """Has the machine these nodes, zones and orders, and enough memory?"""
    populated = populated_zones(m)
    listed = [(zone.node, zone.zone) for zone in lists.zones]
    nodes, own_nodes = (sorted({node for node, _ in named}) for named in (listed, populated))
    if nodes != own_nodes:
        own = "node 0 only" if own_nodes == [0] else f"memory on nodes {', '.join(map(str, own_nodes))}"
        raise ListsError(lists.file, f"nodes {', '.join(map(str, nodes))}, where the machine has {own}")
    if sorted(listed) != sorted(populated):
        names, own_names = (
            ", ".join(name_on_node(m, name, node) for node, name in named) for named in (listed, populated)
        )
        raise ListsError(lists.file, f"zones {names}, where the machine has {own_names}; {WRITES}")
    nr_orders = int(m.params[0].max_page_order) + 1
    if lists.nr_orders != nr_orders:
        why = f"{lists.nr_orders} orders, where a max_page_order of {nr_orders - 1} makes {nr_orders}"
        raise ListsError(lists.file, why, next(iter(lists.zones)).line)
    for zone in lists.zones:
        z = populated[zone.node, zone.zone]
        managed = int(m.zones[z].managed_pages)
        if zone.nr_pages > managed:
            why = (
                f"zone {zone_names(m)[z]}: {zone.nr_pages} free pages, where the machine manages {managed}; "
                f"machine.memory_map says where its RAM lies (/proc/iomem, System RAM), and {WRITES}"
            )
            raise ListsError(lists.file, why, zone.line)
    pageblock_order = int(m.params[0].pageblock_order)
    if lists.pageblock_order is not None and lists.pageblock_order != pageblock_order:
        why = f"pageblocks of order {lists.pageblock_order}, where the machine has order {pageblock_order}"
        hint = "hugetlb: false and thp: {built_in: false}" if lists.pageblock_order > pageblock_order else ""
        key = hint or f"pageblock_order: {lists.pageblock_order}"
        raise ListsError("pagetypeinfo", f"{why}; with {key} it has those, and {WRITES}")


def wanted_of(zone: ZoneLists, nr_orders: int) -> Wanted:
    """The free blocks and the pageblocks that a zone is to have, by migratetype."""
    by_type = [list(zone.nr_free.get(name) or (0,) * nr_orders) for name in MIGRATETYPE_NAMES]
    return Wanted(by_type, [zone.pageblocks.get(name) for name in MIGRATETYPE_NAMES])


def _wanted(m: Machine, z: int, zone: ZoneLists, lists: TypedLists) -> Wanted:
    """The same, checked against the machine's pageblocks."""
    wanted = wanted_of(zone, lists.nr_orders)
    there = sum(pagetypeinfo.pageblock_counts(m, z))
    known = sum(blocks or 0 for name, blocks in enumerate(wanted.pageblocks) if name != MIGRATE_MOVABLE)
    if known > there:
        why = f"zone {zone_names(m)[z]}: {known} pageblocks that are not movable, where the machine has {there}"
        raise ListsError(_typed_in(lists), why)
    return wanted


def _typed_in(lists: TypedLists) -> str:
    """The state's key whose text says the types."""
    return lists.file if lists.pageblock_order is None else "pagetypeinfo"


def _refill(m: Machine, z: int, wanted: Wanted, rng: np.random.Generator) -> None:
    """Take the boot's free blocks off the zone's lists, and put the wanted ones on."""
    zone = m.zones[z]
    pageblock_order = int(m.params[0].pageblock_order)
    first = int(zone.start_pfn) >> pageblock_order
    end = ((int(zone.end_pfn) - 1) >> pageblock_order) + 1
    area = Area(_regions(m, z), pageblock_order, first, np.full(end - first, UNDECIDED, np.uint8))
    below = m.zones["start_pfn"] < zone.start_pfn
    if first << pageblock_order < m.zones["end_pfn"][below].max(initial=0):
        area.pageblocks[0] = m.pageblocks[first]  # decided by the zone below, which has a part of it
    counted = -(-int(zone.end_pfn - zone.start_pfn) >> pageblock_order)
    area.pageblocks[counted:] = MIGRATE_MOVABLE  # the kernel's count misses a last part of one
    lists = place(area, wanted, rng)
    m.pageblocks[first:end] = area.pageblocks
    heads = slice(free_list_head(m, z, 0, 0), free_list_head(m, z, len(zone.nr_free), 0))
    for pfns in area.regions.values():
        m.pages[pfns] = 0
    m.pages["next"][heads] = m.pages["prev"][heads] = np.arange(heads.start, heads.stop)
    zone.nr_free[:] = 0
    for (order, migratetype), pfns in lists.items():
        link(m, free_list_head(m, z, order, migratetype), pfns, order, PG_BUDDY)
        zone.nr_free[order] += len(pfns)
        zone.nr_free_pages += len(pfns) << order
    reserved = wanted.nr_free[MIGRATE_HIGHATOMIC]
    zone.nr_free_highatomic = sum(blocks << order for order, blocks in enumerate(reserved))
    zone.nr_reserved_highatomic = int(np.count_nonzero(area.pageblocks == MIGRATE_HIGHATOMIC)) << pageblock_order


def _regions(m: Machine, z: int) -> dict[int, Pfns]:
    """The zone's free blocks by order: what the boot left free, in the largest blocks."""
    start = int(m.zones[z].start_pfn)
    pfns = start + np.flatnonzero(m.pages["page_flags"][start : int(m.zones[z].end_pfn)] == PG_BUDDY)
    orders = m.pages["order"][pfns]
    return {int(order): pfns[orders == order] for order in np.unique(orders)}
