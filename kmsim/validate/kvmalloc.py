"""Sections `kv.*`: from which size on kvmalloc leaves the slab, and what vmalloc then gives.

A row: size, ok, is it vmalloc's, the order of its mappings, its pages, and whether kmalloc with __GFP_NORETRY has the
size. What decides is which free blocks there were: counted in the state of that moment, `fresh.state` or `frag.do`,
whose lists were not all recorded, and which had moved by a few hundred pages when kvmalloc was measured. So a row is
scored where the counts leave no doubt, and is at the edge, and skipped, elsewhere:
    kmalloc has a block     two or more of its order could be cut, watermarks and reserves left alone
    kmalloc has none        the largest free block is more than one order too small
    huge mappings           half as many blocks again as are needed, or none at all: what earlier rows freed waits,
                            page by page, in per-CPU lists
Sizes up to KMALLOC_MAX_CACHE_SIZE are not scored: a slab that exists may serve them. `by_order` is not, either.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from kmsim.mm.mmzone import WMARK_HIGH, ZONE_NORMAL
from kmsim.procfs.recorded import Recording
from kmsim.validate.report import Section, skipped

MOMENTS = {"kv.fresh": "fresh.state", "kv.frag": "frag.do", "kv.frag60": "frag60.do"}
INT_MAX = (1 << 31) - 1
COLUMNS = 6
NOT_TRIED = "skipped"
NO_ORDER = -1


@dataclass(frozen=True)
class FreeBlocks:
    """The free blocks of a moment, by zone: what kmalloc can have for certain, and what there is at most."""

    zones: list[dict[str, Any]]

    def surely(self, order: int) -> int:
        """So many blocks of an order can be had, whichever blocks the reserves are."""
        return sum(max(_usable(zone, order), 0) for zone in self.zones)

    def at_most(self, order: int) -> int:
        """No more blocks of an order than this are free."""
        return sum(_blocks(zone, order) for zone in self.zones)


def _blocks(zone: dict[str, Any], order: int) -> int:
    """Blocks of an order that a zone's free blocks make."""
    return sum(count << (larger - order) for larger, count in enumerate(zone["nr_free"]) if larger >= order)


def _usable(zone: dict[str, Any], order: int) -> int:
    """Blocks that a GFP_KERNEL request may take without the highatomic reserve and above the high watermark."""
    kept = int(zone["wm"][WMARK_HIGH]) + int(zone["boost"]) + int(zone["lowmem_reserve"][ZONE_NORMAL])
    by_pages = (int(zone["free"]) - int(zone["highatomic"]) - kept) >> order
    by_blocks = ((_blocks(zone, order) << order) - int(zone["highatomic"])) >> order
    return min(by_pages, by_blocks)


@dataclass(frozen=True)
class Build:
    """The recorded kernel, as far as kvmalloc sees it."""

    page_shift: int
    pmd_order: int
    max_page_order: int

    def order_of(self, size: int) -> int:
        """The order of the block that holds a size (kernel: get_order)."""
        return ((size - 1) >> self.page_shift).bit_length()

    def kmalloc_has(self, blocks: FreeBlocks, size: int) -> bool | None:
        """Does kmalloc have the size? None: at the edge."""
        order = self.order_of(size)
        if order > self.max_page_order:
            return False
        if blocks.surely(order) >= 2:
            return True
        return False if blocks.at_most(order - 1) == 0 else None

    def mapping_order(self, blocks: FreeBlocks, size: int) -> int | None:
        """The order of vmalloc's mappings. None: at the edge."""
        if size < 1 << (self.page_shift + self.pmd_order) or self.pmd_order > self.max_page_order:
            return 0
        nr_wanted = -(-size >> (self.page_shift + self.pmd_order))
        if 2 * blocks.surely(self.pmd_order) >= 3 * nr_wanted:
            return self.pmd_order
        return 0 if blocks.at_most(self.pmd_order) == 0 else None

    def answer(self, blocks: FreeBlocks, size: int) -> list[int] | None:
        """The row that kvmalloc gives, from `ok` on; None: at the edge."""
        has = self.kmalloc_has(blocks, size)
        if has is None:
            return None
        if has:
            return [1, 0, NO_ORDER, 0, 1]
        order = self.mapping_order(blocks, size)
        if size > INT_MAX:
            return [0, 0, NO_ORDER, 0, 0]
        if order is None or blocks.surely(0) << self.page_shift < size + size // 2:
            return None
        unit = 1 << (self.page_shift + order)
        return [1, 1, order, -(-size // unit) << order, 0]


def kv_sections(recording: Recording, name: str) -> list[Section]:
    """Every row of one section."""
    moment = recording.lab.get(MOMENTS.get(name, ""))
    if moment is None:
        return [skipped(name, "the free blocks of that moment were not recorded")]
    blocks = FreeBlocks(moment["state"])
    consts = recording.consts
    build = Build(int(consts["PAGE_SHIFT"]), recording.pmd_order, int(consts["max_order_inclusive"]))
    section = Section(name)
    edges: list[int] = []
    for row in recording.lab[name]["rows"]:
        size = int(row[0])
        if size <= int(consts["KMALLOC_MAX_CACHE_SIZE"]) or row[1] == NOT_TRIED:
            section.skipped += 1
            continue
        wanted = [int(value) for value in row[1:COLUMNS]]
        got = build.answer(blocks, size)
        if got is None:
            section.skipped += 1
            edges.append(size)
            continue
        section.rows += 1
        section.equal += got == wanted
        if got != wanted:
            section.why = f"size {size}: recorded {wanted}, kmsim {got}"
    if edges and not section.why:
        section.why = f"{len(edges)} sizes at the edge of what was free, from {edges[0]} on, are not scored"
    return [section]
