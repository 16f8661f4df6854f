"""How many free blocks of each migratetype and order a machine has, from whatever says it.

buddyinfo counts blocks by order and says no types; pagetypeinfo says both, and stops counting at 100,000; a report in
the kernel's log counts by order and names the types that have some. What a source does not say is assumed, and each
assumption is a note. The two files of /proc are read one after the other on a live machine, so they may disagree:
buddyinfo decides. What it has more goes to the type whose count the kernel capped, else to the one that has most blocks
of those that are simulated; what it has less is taken from the type that has most.

Leaves out CMA and Isolate, which no request that is simulated may take from: their blocks count as in use, with a note.
A block of the Reserve of kernels before 4.4, which any request may fall back to, is taken as movable.
"""

import re
from collections.abc import Callable, Iterable, Sequence
from typing import NamedTuple, TypeVar

from kmsim.mm.mmzone import MIGRATETYPE_NAMES
from kmsim.procfs import buddyinfo, mem_report, pagetypeinfo
from kmsim.procfs.pasted import pasted
from kmsim.procfs.text import line_and_why

MOVABLE = "Movable"
HIGHATOMIC = "HighAtomic"
_ZONE = re.compile(r"Node +([0-9]+), zone +(\S+)")
NOT_SAID = "the types of free blocks are not said: all are taken as Movable (assumed)"

Lines = dict[tuple[int, str], int]
ByType = dict[str, tuple[int, ...]]
Read = TypeVar("Read")


class ListsError(ValueError):
    """A text says no free lists; `file` is the state's key that names it; `line`: where known."""

    def __init__(self, file: str, why: str, line: int | None = None) -> None:
        super().__init__(why if line is None else f"line {line}: {why}")
        self.file, self.why, self.line = file, why, line


class ZoneLists(NamedTuple):
    """One zone: free blocks by migratetype and order, and as many pageblocks of each type as are known."""

    node: int
    zone: str
    nr_free: ByType
    pageblocks: dict[str, int]
    line: int | None = None  # on which it stands, where known
    nr_pageblocks: int | None = None  # of all types

    @property
    def nr_pages(self) -> int:
        """Free pages."""
        return sum(blocks << order for of_type in self.nr_free.values() for order, blocks in enumerate(of_type))


class TypedLists(NamedTuple):
    """All populated zones; `file`: the state's key whose text says how many blocks are free."""

    zones: tuple[ZoneLists, ...]
    nr_orders: int
    pageblock_order: int | None
    file: str
    notes: tuple[str, ...]

    @property
    def nodes(self) -> list[int]:
        """The nodes that have memory."""
        return sorted({zone.node for zone in self.zones})


def read_lists(free_text: str | None, types_text: str | None) -> TypedLists:
    """The free lists from a copy of buddyinfo (or a report), of pagetypeinfo, or of both; ListsError says why not."""
    assert free_text is not None or types_text is not None, "there is a text"
    types = None if types_text is None else _read("pagetypeinfo", _types, pasted(types_text, "pagetypeinfo"))
    if free_text is None:
        assert types is not None
        return of_pagetypeinfo(types, None, {})
    if mem_report.IS_REPORT.search(free_text):
        return of_report(_read("buddyinfo", mem_report.parse, free_text)[0])
    zones = _read("buddyinfo", buddyinfo.parse, pasted(free_text, "buddyinfo"))
    lines = _lines(free_text)
    if types is not None:
        return of_pagetypeinfo(types, zones, lines)
    return of_buddyinfo(zones, lines)


def of_buddyinfo(
    zones: tuple[buddyinfo.FreeBlocks, ...], lines: dict[tuple[int, str], int] | None = None
) -> TypedLists:
    """Free lists by order alone."""
    found = tuple(ZoneLists(z.node, z.zone, {MOVABLE: z.nr_free}, {}, (lines or {}).get(z[:2])) for z in zones)
    return TypedLists(found, len(zones[0].nr_free), None, "buddyinfo", (NOT_SAID,))


def of_pagetypeinfo(
    nodes: tuple[pagetypeinfo.NodeTypes, ...],
    totals: tuple[buddyinfo.FreeBlocks, ...] | None,
    lines: Lines,
) -> TypedLists:
    """Free lists by type; `totals` from buddyinfo decide how many blocks there are."""
    zones, notes = [], []
    of_zone = None if totals is None else {row[:2]: row.nr_free for row in totals}
    rows = [(node, row) for node in nodes for row in _pageblocks_of(node)]
    if not all(node.pageblocks for node in nodes):
        notes.append("the pagetypeinfo is cut off: what stood behind its last row is not known")
    if of_zone is not None and list(of_zone) != [(row.node, row.zone) for _, row in rows]:
        raise ListsError(
            "pagetypeinfo", f"zones {_named((row[:2] for _, row in rows))}, in buddyinfo {_named(of_zone)}"
        )
    for node, row in rows:
        mine = [free for free in node.free if (free.node, free.zone) == row[:2]]
        by_type = {free.migratetype: list(free.nr_free) for free in mine}
        if of_zone is not None:
            if len(mine[0].nr_free) != len(of_zone[row[:2]]):
                why = f"{len(mine[0].nr_free)} orders, where buddyinfo has {len(of_zone[row[:2]])}"
                raise ListsError("pagetypeinfo", why)
            _reconcile(by_type, of_zone[row[:2]])
        elif any(any(free.capped) for free in mine):
            notes.append(f"zone {row.zone}: the kernel stopped counting at {pagetypeinfo.COUNTED_MAX:,}: a lower bound")
        taken, said = _modelled(row.zone, {name: tuple(blocks) for name, blocks in by_type.items()})
        known, nr_pageblocks = {}, None
        if row.counts:
            counts = dict(zip(node.migratetypes, row.counts, strict=True))
            known = {name: counts.get(name, 0) for name in MIGRATETYPE_NAMES if name != MOVABLE}
            nr_pageblocks = sum(row.counts)
        zones.append(ZoneLists(row.node, row.zone, taken, known, lines.get(row[:2]), nr_pageblocks))
        notes += said
    file = "pagetypeinfo" if totals is None else "buddyinfo"
    return TypedLists(tuple(zones), len(nodes[0].free[0].nr_free), nodes[0].pageblock_order, file, tuple(notes))


def _pageblocks_of(node: pagetypeinfo.NodeTypes) -> tuple[pagetypeinfo.Pageblocks, ...]:
    """A row for each zone; without counts where the file was cut off before them."""
    if node.pageblocks:
        return node.pageblocks
    zones = dict.fromkeys((row.node, row.zone) for row in node.free)
    return tuple(pagetypeinfo.Pageblocks(*zone, ()) for zone in zones)


def of_report(report: mem_report.MemReport) -> TypedLists:
    """Free lists by the letters of a report, of which it does not say how many blocks each type has."""
    zones, notes = [], ["how many free blocks each type has is not said by a report: evenly shared (assumed)"]
    listed = [zone for zone in report.zones if zone.blocks]
    if not listed:
        raise ListsError("buddyinfo", "a report without lists of free blocks", report.request.line)
    orders = len(listed[0].blocks)
    for zone in listed:
        if len(zone.blocks) != orders:
            raise ListsError("buddyinfo", f"{len(zone.blocks)} orders where others have {orders}", zone.line)
        by_type = _shared(zone, max(orders - 1, 0))
        taken, said = _modelled(zone.name, by_type)
        if any(block.at_least for block in zone.blocks):
            notes.append(f"zone {zone.name}: the kernel stopped counting: a lower bound")
        if any(block.number and not block.types for block in zone.blocks):
            notes.append(f"zone {zone.name}: {NOT_SAID}")
        zones.append(ZoneLists(zone.node, zone.name, taken, {}, zone.line))
        notes += said
    return TypedLists(tuple(zones), orders, None, "buddyinfo", tuple(dict.fromkeys(notes)))


def of_nodes(lists: TypedLists, nodes: Sequence[int]) -> TypedLists:
    """The zones of these nodes, some of which have memory."""
    return lists._replace(zones=tuple(zone for zone in lists.zones if zone.node in nodes))


def of_node(lists: TypedLists, node: int | None) -> TypedLists:
    """One node's zones; with None the first, with a note where there are several. ListsError where it has none."""
    nodes = lists.nodes
    if node is not None and node not in nodes:
        raise ListsError(lists.file, f"nodes {', '.join(map(str, nodes))}; machine.state.node is {node}")
    chosen = nodes[0] if node is None else node
    mine = tuple(zone for zone in lists.zones if zone.node == chosen)
    notes = lists.notes
    if node is None and len(nodes) > 1:
        notes += (f"of the nodes {', '.join(map(str, nodes))} node {chosen} is taken; machine.state.node says another",)
    return lists._replace(zones=mine, notes=notes)


def _shared(zone: mem_report.ZoneReport, last: int) -> ByType:
    """Each order's blocks dealt out to the types that have some; highatomic blocks within the reserve."""
    names = [mem_report.LETTERS[letter] for letter in mem_report.LETTERS]
    by_type = {name: [0] * (last + 1) for name in names}
    room = zone.reserved_highatomic
    for order, block in reversed(list(enumerate(zone.blocks))):
        types = [mem_report.LETTERS[letter] for letter in block.types] or [MOVABLE]
        left = block.number
        if HIGHATOMIC in types and len(types) > 1:  # the reserve is small: one block each, where there is room
            types.remove(HIGHATOMIC)
            if (room is None or room >= 1 << order) and left > len(types):
                by_type[HIGHATOMIC][order] = 1
                left -= 1
                room = None if room is None else room - (1 << order)
        share, rest = divmod(left, len(types))
        for n, name in enumerate(types):
            by_type[name][order] = share + (n < rest)
    return {name: tuple(blocks) for name, blocks in by_type.items() if any(blocks)}


def _modelled(zone: str, by_type: ByType) -> tuple[ByType, list[str]]:
    """The types that kmsim has, and what is said of the others."""
    taken = {name: blocks for name, blocks in by_type.items() if name in MIGRATETYPE_NAMES}
    notes = []
    for name, blocks in by_type.items():
        pages = sum(number << order for order, number in enumerate(blocks))
        if name in taken or not pages:
            continue
        if name == "Reserve":
            own = taken.get(MOVABLE, (0,) * len(blocks))
            taken[MOVABLE] = tuple(a + b for a, b in zip(own, blocks, strict=True))
            notes.append(f"zone {zone}: {pages:,} free pages of the type Reserve are taken as Movable (assumed)")
        else:
            notes.append(f"zone {zone}: {pages:,} free pages of the type {name} are not simulated: taken as in use")
    return taken, notes


def _reconcile(by_type: dict[str, list[int]], totals: tuple[int, ...]) -> None:
    """Make the types' free blocks of each order add up to what buddyinfo says."""
    for order, nr_free in enumerate(totals):
        missing = nr_free - sum(row[order] for row in by_type.values())
        while missing:
            most = _most_blocks(by_type, order, more=missing > 0)
            change = max(missing, -by_type[most][order])
            by_type[most][order] += change
            missing -= change


def _most_blocks(by_type: dict[str, list[int]], order: int, *, more: bool) -> str:
    """The type that the difference of an order belongs to."""

    def rank(name: str) -> tuple[bool, bool, int, bool]:
        blocks = by_type[name][order]
        return (
            more and blocks >= pagetypeinfo.COUNTED_MAX,
            more and name in MIGRATETYPE_NAMES,
            blocks,
            name == MOVABLE,
        )

    return max(by_type, key=rank)


def _read(file: str, parse: Callable[[str], Read], text: str) -> Read:
    """What a reader makes of a text; ListsError instead of its ValueError."""
    try:
        return parse(text)
    except ValueError as error:
        line, why = line_and_why(error)
        raise ListsError(file, why, line) from None


def _types(text: str) -> tuple[pagetypeinfo.NodeTypes, ...]:
    return pagetypeinfo.parse(text, may_be_cut=True)


def _lines(text: str) -> Lines:
    """On which line of a buddyinfo each zone stands."""
    found = ((_ZONE.match(line), number) for number, line in enumerate(pasted(text, "buddyinfo").split("\n"), 1))
    return {(int(match[1]), match[2]): number for match, number in found if match}


def _named(zones: Iterable[tuple[int, str]]) -> str:
    return ", ".join(name for _, name in zones)
