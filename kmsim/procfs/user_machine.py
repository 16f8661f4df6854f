"""A running machine's /proc/buddyinfo and /proc/pagetypeinfo as the initial state of a booted machine.

The result has the given number of free blocks by zone, order and, where pagetypeinfo is given,
migratetype, and its number of pageblocks by type; they lie where `placement` scatters them, and
all other memory is allocated. Watermarks, sizes and per-CPU lists stay those of the booted
machine, whose zones must be those of the file.

The two files are read one after the other on a live machine, so that they may disagree: buddyinfo decides, and the
difference is added to the type that has most blocks in pagetypeinfo, which is also the one whose count the kernel
may have capped. Where the two machines differ in their number of pageblocks, movable ones take
the difference; CMA and Isolate pageblocks become movable, and may have no free blocks. Without
pagetypeinfo all free blocks and all pageblocks are movable (assumed).
"""

from collections.abc import Iterable

import numpy as np

from kmsim.mm.mmzone import (
    MIGRATE_HIGHATOMIC,
    MIGRATE_MOVABLE,
    MIGRATE_TYPES,
    MIGRATETYPE_NAMES,
    PG_BUDDY,
    ZONE_NAMES,
    Machine,
)
from kmsim.mm.pageblock import free_list_head
from kmsim.mm.snapshot import Pfns, link
from kmsim.mm.zone_names import name_on_node, populated_zones, zone_names
from kmsim.procfs import buddyinfo, pagetypeinfo
from kmsim.procfs.pageblock_types import UNDECIDED, DoesNotFit, Wanted
from kmsim.procfs.placement import Area, place
from kmsim.procfs.text import line_and_why, pasted


class UserMachineError(ValueError):
    """The user's file cannot be this machine's state; `file` is "buddyinfo" or "pagetypeinfo"; `line`: where known."""

    def __init__(self, file: str, why: str, line: int | None = None) -> None:
        super().__init__(why if line is None else f"line {line}: {why}")
        self.file, self.why, self.line = file, why, line


def apply_buddyinfo(m: Machine, buddyinfo_text: str, pagetypeinfo_text: str | None, rng: np.random.Generator) -> None:
    """Give a booted machine the user's free blocks; UserMachineError (a ValueError) says why it cannot.

    Called on a machine as `mm.memblock.boot_machine` leaves it: all that it manages is free.
    """
    free = _read_buddyinfo(m, buddyinfo_text)
    types = None if pagetypeinfo_text is None else _read_pagetypeinfo(m, pagetypeinfo_text)
    m.zones["nr_free_pages"] = 0
    m.pcps["vm_stat_diff"] = 0
    for z, zone_free in free.items():
        wanted = _wanted(m, z, zone_free, None if types is None else types[int(m.zones[z].node)])
        try:
            _refill(m, z, wanted, rng)
        except DoesNotFit as reason:
            file = "buddyinfo" if types is None else "pagetypeinfo"
            raise UserMachineError(file, f"zone {zone_names(m)[z]}: {reason}") from None


def _read_buddyinfo(m: Machine, text: str) -> dict[int, list[int]]:
    """Free blocks by order of each zone, checked against the machine."""
    try:
        zones = buddyinfo.parse(pasted(text))
    except ValueError as error:
        line, why = line_and_why(error)
        raise UserMachineError("buddyinfo", why, line) from None
    _check_zones(m, "buddyinfo", ((row.node, row.zone) for row in zones))
    nr_orders = int(m.params[0].max_page_order) + 1
    if len(zones[0].nr_free) != nr_orders:
        why = f"{len(zones[0].nr_free)} orders, where a max_page_order of {nr_orders - 1} makes {nr_orders}"
        raise UserMachineError("buddyinfo", why, 1)
    populated = populated_zones(m)
    free = {populated[row.node, row.zone]: list(row.nr_free) for row in zones}
    for line, (z, nr_free) in enumerate(free.items(), 1):
        nr_pages = sum(blocks << order for order, blocks in enumerate(nr_free))
        managed = int(m.zones[z].managed_pages)
        if nr_pages > managed:
            why = (
                f"zone {zone_names(m)[z]}: {nr_pages} free pages, where the machine manages {managed}; "
                "machine.memory_map says where its RAM lies (/proc/iomem, System RAM)"
            )
            raise UserMachineError("buddyinfo", why, line)
    return free


def _check_zones(m: Machine, file: str, listed: Iterable[tuple[int, str]]) -> None:
    """Are these the machine's populated zones, on its nodes?"""
    zones = list(dict.fromkeys(listed))
    populated = populated_zones(m)
    nodes, own_nodes = (sorted({node for node, _ in named}) for named in (zones, populated))
    if nodes != own_nodes:
        own = "node 0 only" if own_nodes == [0] else f"memory on nodes {', '.join(map(str, own_nodes))}"
        raise UserMachineError(file, f"nodes {', '.join(map(str, nodes))}, where the machine has {own}")
    if sorted(zones) != sorted(populated):
        names, own_names = (
            ", ".join(name_on_node(m, name, node) for node, name in named) for named in (zones, populated)
        )
        raise UserMachineError(file, f"zones {names}, where the machine has {own_names}")


def _read_pagetypeinfo(m: Machine, text: str) -> dict[int, pagetypeinfo.NodeTypes]:
    """The file, by node, checked against the machine."""
    try:
        nodes = pagetypeinfo.parse(pasted(text))
    except ValueError as error:
        line, why = line_and_why(error)
        raise UserMachineError("pagetypeinfo", why, line) from None
    _check_zones(m, "pagetypeinfo", ((row.node, row.zone) for node in nodes for row in node.pageblocks))
    for node in nodes:
        _check_types(m, node)
    return {row.node: node for node in nodes for row in node.pageblocks}


def _check_types(m: Machine, node: pagetypeinfo.NodeTypes) -> None:
    """Are a node's pageblocks and orders those of the machine?"""
    pageblock_order = int(m.params[0].pageblock_order)
    if node.pageblock_order != pageblock_order:
        why = f"pageblocks of order {node.pageblock_order}, where the machine has order {pageblock_order}"
        raise UserMachineError("pagetypeinfo", why)
    nr_orders = int(m.params[0].max_page_order) + 1
    for row in node.free:
        if len(row.nr_free) != nr_orders:
            why = f"{len(row.nr_free)} orders, where a max_page_order of {nr_orders - 1} makes {nr_orders}"
            raise UserMachineError("pagetypeinfo", why)
        if row.migratetype not in MIGRATETYPE_NAMES and any(row.nr_free):
            zone = name_on_node(m, row.zone, row.node)
            raise UserMachineError(
                "pagetypeinfo", f"zone {zone}: free blocks of type {row.migratetype}, which kmsim does not model"
            )


def _wanted(m: Machine, z: int, nr_free: list[int], types: pagetypeinfo.NodeTypes | None) -> Wanted:
    """The free blocks that the zone is to have, by migratetype."""
    where = int(m.zones[z].node), ZONE_NAMES[m.zones[z].zone_type]
    by_type = [[0] * len(nr_free) for _ in range(MIGRATE_TYPES)]
    if types is None:
        by_type[MIGRATE_MOVABLE] = nr_free
        return Wanted(by_type, [0] * MIGRATE_TYPES)
    for row in types.free:
        if (row.node, row.zone) == where and row.migratetype in MIGRATETYPE_NAMES:
            by_type[MIGRATETYPE_NAMES.index(row.migratetype)] = list(row.nr_free)
    for order, blocks in enumerate(nr_free):
        _reconcile(by_type, order, blocks)
    pageblocks = [0] * MIGRATE_TYPES
    counts = next(row.counts for row in types.pageblocks if (row.node, row.zone) == where)
    for name, blocks in zip(types.migratetypes, counts, strict=True):
        if name in MIGRATETYPE_NAMES:
            pageblocks[MIGRATETYPE_NAMES.index(name)] = blocks
    there = sum(pagetypeinfo.pageblock_counts(m, z))
    if sum(pageblocks) - pageblocks[MIGRATE_MOVABLE] > there:
        why = f"zone {zone_names(m)[z]}: {sum(counts)} pageblocks, where the machine has {there}"
        raise UserMachineError("pagetypeinfo", why)
    return Wanted(by_type, pageblocks)


def _reconcile(by_type: list[list[int]], order: int, nr_free: int) -> None:
    """Make the types' free blocks of an order add up to what buddyinfo says."""
    missing = nr_free - sum(row[order] for row in by_type)
    while missing:
        most = max(range(MIGRATE_TYPES), key=lambda mt: (by_type[mt][order], mt == MIGRATE_MOVABLE))
        change = max(missing, -by_type[most][order])
        by_type[most][order] += change
        missing -= change


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
    zone.nr_reserved_highatomic = wanted.pageblocks[MIGRATE_HIGHATOMIC] << pageblock_order


def _regions(m: Machine, z: int) -> dict[int, Pfns]:
    """The zone's free blocks by order: what the boot left free, in the largest blocks."""
    start = int(m.zones[z].start_pfn)
    pfns = start + np.flatnonzero(m.pages["page_flags"][start : int(m.zones[z].end_pfn)] == PG_BUDDY)
    orders = m.pages["order"][pfns]
    return {int(order): pfns[orders == order] for order in np.unique(orders)}
