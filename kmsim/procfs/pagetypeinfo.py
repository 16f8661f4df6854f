"""/proc/pagetypeinfo: free blocks by migratetype, and pageblocks by migratetype (kernel: pagetypeinfo_show).

The kernel stops counting a list at 100,000 and prints ">100000". It counts pageblocks of memory
sections that are present. A `Machine` does not say which are absent, so a zone's holes, rounded down to whole
sections, count as absent, and their pageblocks are taken off the movable ones.
Leaves out the mixed blocks of kernels with page_owner (skipped when read).
"""

import re
from typing import NamedTuple

import numpy as np

from kmsim.mm.getorder import ilog2
from kmsim.mm.mmzone import MIGRATE_MOVABLE, MIGRATE_TYPES, MIGRATETYPE_NAMES, Machine
from kmsim.mm.pageblock import free_list_head
from kmsim.mm.snapshot import walk
from kmsim.mm.zone_names import populated_zones
from kmsim.procfs.buddyinfo import ORDERS_MAX
from kmsim.procfs.text import Once, count, counts, lines_of, refusal, shown

COUNTED_MAX = 100000

_ORDERS_HEAD = "Free pages count per migrate type at order"
_BLOCKS_HEAD = "Number of blocks type"
_MIXED_HEAD = "Number of mixed blocks"
_ORDER = re.compile(r"Page block order: ([0-9]{1,2})")
_PAGES = re.compile(r"Pages per block:  ?([0-9]{1,10})")
_FREE = re.compile(r"Node +([0-9]{1,4}), zone +([A-Za-z0-9]{1,16}), type +([A-Za-z]{1,16})((?: +\S+)+) *")
_BLOCKS = re.compile(r"Node +([0-9]{1,4}), zone +([A-Za-z0-9]{1,16})((?: +\S+)+) *")


class FreeOfType(NamedTuple):
    """One zone's free blocks of one migratetype by order; `capped` where the kernel stopped counting."""

    node: int
    zone: str
    migratetype: str
    nr_free: tuple[int, ...]
    capped: tuple[bool, ...]


class Pageblocks(NamedTuple):
    """One zone's pageblocks by migratetype, in the order of `NodeTypes.migratetypes`."""

    node: int
    zone: str
    counts: tuple[int, ...]


class NodeTypes(NamedTuple):
    """What the file says of one node; of one that was cut, None and () for what is gone."""

    pageblock_order: int | None
    migratetypes: tuple[str, ...]
    free: tuple[FreeOfType, ...]
    pageblocks: tuple[Pageblocks, ...]


def pageblock_counts(m: Machine, z: int) -> list[int]:
    """A zone's pageblocks by migratetype (kernel: pagetypeinfo_showblockcount_print)."""
    # Every sample asks: field by field, as a record's attributes take a microsecond each.
    start, end, present = (int(m.zones[name][z]) for name in ("start_pfn", "end_pfn", "present_pages"))
    pageblock_order, page_shift = (int(m.params[name][0]) for name in ("pageblock_order", "page_shift"))
    first, nr_blocks = start >> pageblock_order, -(-(end - start) >> pageblock_order)
    found = np.bincount(m.pageblocks[first : first + nr_blocks], minlength=MIGRATE_TYPES)
    section_order = (29 if page_shift == 16 else 27) - page_shift
    absent = (end - start - present) >> section_order << section_order >> pageblock_order
    found[MIGRATE_MOVABLE] -= min(absent, int(found[MIGRATE_MOVABLE]))
    counted: list[int] = found.tolist()
    return counted


def rows(m: Machine) -> tuple[NodeTypes, ...]:
    """What the file says of this machine: of each node that has memory."""
    zones = populated_zones(m)
    return tuple(_node_rows(m, n, zones) for n in sorted({node for node, _ in zones}))


def _node_rows(m: Machine, n: int, zones: dict[tuple[int, str], int]) -> NodeTypes:
    """What it says of one node."""
    free = []
    pageblocks = []
    for name, z in ((name, z) for (node, name), z in zones.items() if node == n):
        for type_name, lengths in zip(MIGRATETYPE_NAMES, _lengths(m, z), strict=True):
            capped = tuple(length >= COUNTED_MAX for length in lengths)
            counted = tuple(min(length, COUNTED_MAX) for length in lengths)
            free.append(FreeOfType(n, name, type_name, counted, capped))
        pageblocks.append(Pageblocks(n, name, tuple(pageblock_counts(m, z))))
    return NodeTypes(int(m.params[0].pageblock_order), MIGRATETYPE_NAMES, tuple(free), tuple(pageblocks))


def _lengths(m: Machine, z: int) -> list[list[int]]:
    """Free blocks of a zone, by migratetype and order."""
    heads = np.arange(free_list_head(m, z, 0, 0), free_list_head(m, z, int(m.params[0].max_page_order) + 1, 0))
    lengths = np.zeros(len(heads), np.int64)
    for n in np.flatnonzero(m.pages["next"][heads] != heads):
        lengths[n] = len(walk(m, int(heads[n])))
    by_type: list[list[int]] = lengths.reshape(-1, MIGRATE_TYPES).T.tolist()
    return by_type


def text(nodes: tuple[NodeTypes, ...]) -> str:
    """The file, as the kernel prints it: each node with its own heads."""
    return "".join(_node_text(node) for node in nodes)


def show(m: Machine) -> str:
    """This machine's /proc/pagetypeinfo (kernel: pagetypeinfo_show)."""
    return text(rows(m))


def parse(content: str, *, may_be_cut: bool = False) -> tuple[NodeTypes, ...]:
    """Read a /proc/pagetypeinfo; ValueError names the first line that does not belong there.

    `may_be_cut`: its first lines may be gone, and its end from somewhere in the free blocks on.
    """
    reader = _Reader(lines_of(content), may_be_cut=may_be_cut)
    nodes = []
    while not reader.at_end():
        nodes.append(reader.node())
    return tuple(nodes)


def _node_text(node: NodeTypes) -> str:
    nr_orders = len(node.free[0].nr_free)
    lines = (
        []
        if node.pageblock_order is None
        else [
            f"Page block order: {node.pageblock_order}",
            f"Pages per block:  {1 << node.pageblock_order}",
            "",
        ]
    )
    lines.append(f"{_ORDERS_HEAD:<43} {''.join(f'{order:6d} ' for order in range(nr_orders))}")
    for row in node.free:
        marks = (">" if capped else "" for capped in row.capped)
        numbers = "".join(f"{mark}{blocks:6d} " for mark, blocks in zip(marks, row.nr_free, strict=True))
        lines.append(f"Node {row.node:4d}, zone {row.zone:>8}, type {row.migratetype:>12} {numbers}")
    if not node.pageblocks:
        return "".join(f"{line}\n" for line in lines)
    names = "".join(f"{name:>12} " for name in node.migratetypes)
    lines += ["", f"{_BLOCKS_HEAD + ' ':<23}{names}"]
    for row_of_blocks in node.pageblocks:
        numbers = "".join(f"{blocks:12d} " for blocks in row_of_blocks.counts)
        lines.append(f"Node {row_of_blocks.node}, zone {row_of_blocks.zone:>8} {numbers}")
    return "".join(f"{line}\n" for line in lines)


class _Reader:
    """Reads node after node; `at` is the index of the next line."""

    def __init__(self, lines: list[str], *, may_be_cut: bool) -> None:
        self.lines = lines
        self.may_be_cut = may_be_cut
        self.at = 0

    def at_end(self) -> bool:
        while self.at < len(self.lines) and not self.lines[self.at].strip():
            self.at += 1
        return self.at == len(self.lines)

    def node(self) -> NodeTypes:
        """The lines of one node, heads and all."""
        order = self.pageblock_order()
        nr_orders = self.orders()
        free = self.free_rows(nr_orders)
        if self.may_be_cut and free and self.at_end():
            return NodeTypes(order, tuple(dict.fromkeys(row.migratetype for row in free)), free, ())
        names = self.head(_BLOCKS_HEAD).split()
        if not names:
            raise refusal(self.at, "no migrate types")
        pageblocks = self.block_rows(len(names))
        self.skip_mixed(len(names))
        zones, types = {row.zone for row in pageblocks}, set(names)
        for row in free:
            if row.zone not in zones or row.migratetype not in types:
                raise refusal(self.at, f"no count of blocks for zone {row.zone}, type {row.migratetype}")
        if len({row[:3] for row in free}) != len(zones) * len(names):
            raise refusal(self.at, "not one line for each zone and type")
        return NodeTypes(order, tuple(names), free, pageblocks)

    def pageblock_order(self) -> int | None:
        """The order that the first two lines say; None where they are gone."""
        if self.may_be_cut and self.lines[self.at].startswith((_ORDERS_HEAD, "Node")):
            return None
        order = None
        if not self.may_be_cut or _ORDER.fullmatch(self.lines[self.at]):
            order = int(self.wanted(_ORDER, "Page block order: N")[1])
        pages = int(self.wanted(_PAGES, "Pages per block: N")[1])
        order = ilog2(pages) if order is None else order
        if order >= ORDERS_MAX or pages != 1 << order:
            raise refusal(self.at, f"{pages} pages in a pageblock of order {order}")
        return order

    def wanted(self, pattern: re.Pattern[str], form: str) -> re.Match[str]:
        """The next line that is not empty, which must have this form."""
        if self.at_end():
            raise refusal(len(self.lines) + 1, f"cut off before {form!r}")
        match = pattern.fullmatch(self.lines[self.at])
        self.at += 1
        if match is None:
            raise refusal(self.at, f"not {form!r}: {shown(self.lines[self.at - 1])}")
        return match

    def head(self, words: str) -> str:
        """What stands behind the words of the next head."""
        return self.wanted(re.compile(re.escape(words) + "(.*)"), words)[1]

    def orders(self) -> int:
        """The number of orders, from the head that counts them."""
        row = _FREE.fullmatch(self.lines[self.at]) if self.may_be_cut and self.at < len(self.lines) else None
        if row is not None:
            return min(len(row[4].split()), ORDERS_MAX)
        words = self.head(_ORDERS_HEAD).split()
        if words != [str(order) for order in range(len(words))] or not 0 < len(words) <= ORDERS_MAX:
            raise refusal(self.at, "not the orders from 0 on")
        return len(words)

    def free_rows(self, nr_orders: int) -> tuple[FreeOfType, ...]:
        """The lines of free blocks."""
        rows: list[FreeOfType] = []
        once = Once()
        while not self.at_end() and not self.lines[self.at].startswith(_BLOCKS_HEAD):
            match = self.wanted(_FREE, "Node N, zone NAME, type NAME COUNTS")
            words = match[4].split()
            if len(words) != nr_orders:
                raise refusal(self.at, f"{len(words)} orders where the head has {nr_orders}")
            capped = tuple(word.startswith(">") for word in words)
            blocks = tuple(count(word.removeprefix(">"), self.at) for word in words)
            row = FreeOfType(int(match[1]), match[2], match[3], blocks, capped)
            once.note(row[:3], self.at, f"zone {row.zone}, type {row.migratetype}")
            rows.append(row)
        return tuple(rows)

    def block_rows(self, nr_types: int) -> tuple[Pageblocks, ...]:
        """The lines of pageblocks."""
        rows: list[Pageblocks] = []
        once = Once()
        while not self.at_end() and self.lines[self.at].startswith("Node"):
            match = self.wanted(_BLOCKS, "Node N, zone NAME COUNTS")
            row = Pageblocks(int(match[1]), match[2], counts(match[3], self.at))
            if len(row.counts) != nr_types:
                raise refusal(self.at, f"{len(row.counts)} counts for {nr_types} types")
            once.note(row[:2], self.at, f"zone {row.zone}")
            rows.append(row)
        if not rows:
            raise refusal(len(self.lines) + 1, "cut off before the counts of blocks")
        return tuple(rows)

    def skip_mixed(self, nr_types: int) -> None:
        """Pass the mixed blocks of a kernel with page_owner."""
        if not self.at_end() and self.lines[self.at].startswith(_MIXED_HEAD):
            self.at += 1
            self.block_rows(nr_types)
