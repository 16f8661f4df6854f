"""A state of typed free lists: how many free blocks of each migratetype and order each zone has.

Written by `kmsim machine` from what a real machine shows, or by hand. Where the blocks lie is not said
(``procfs.placement`` scatters them); all memory that is on no list is in use. Leaves out CMA and Isolate, whose
blocks no simulated request can take.
"""

from collections.abc import Iterator
from typing import Annotated, Literal

from pydantic import BeforeValidator, Field

from kmsim.config.quantities import Finding, Model, WithOptions, count, finding
from kmsim.config.sysctl import four
from kmsim.mm.mmzone import NR_NODES_MAX

BLOCKS_MAX = 1 << 32  # assumed: 16 TiB of single pages

Blocks = Annotated[int, count(0, BLOCKS_MAX)]
ByOrder = Annotated[tuple[Blocks, ...], Field(max_length=32)]


class FreeByType(Model):
    """Free blocks by order, from order 0 on; a type that is not given has none."""

    Unmovable: ByOrder = ()
    Movable: ByOrder = ()
    Reclaimable: ByOrder = ()
    HighAtomic: ByOrder = ()


class PageblocksByType(WithOptions):
    """Pageblocks of a type; not given: as many as its free blocks need. All others are movable."""

    Unmovable: Blocks | None = None
    Reclaimable: Blocks | None = None
    HighAtomic: Blocks | None = None


class Watermarks(Model):
    """A zone's marks in pages, without their boost."""

    min: Blocks
    low: Blocks
    high: Blocks


class ZoneLists(WithOptions):
    """One zone's state."""

    zone: Literal["DMA", "DMA32", "Normal", "Movable"]
    node: Annotated[int, count(0, NR_NODES_MAX - 1)] | None = None
    free: FreeByType
    pageblocks: PageblocksByType = PageblocksByType()
    boost: Blocks = 0
    watermarks: Watermarks | None = None
    lowmem_reserve: Annotated[tuple[Blocks, ...], BeforeValidator(four)] | None = None


def lists_findings(zones: tuple[ZoneLists, ...], nr_orders: int) -> Iterator[Finding]:
    """What is wrong between the lists and a machine with so many orders."""
    seen: set[tuple[int, str]] = set()
    for n, zone in enumerate(zones):
        name = (zone.node or 0, zone.zone)
        if name in seen:
            yield finding((n, "zone"), "zone_twice")
        seen.add(name)
        for migratetype in FreeByType.model_fields:
            blocks = getattr(zone.free, migratetype)
            if blocks and len(blocks) != nr_orders:
                yield finding((n, "free", migratetype), "orders_machine", count=nr_orders)
        marks = zone.watermarks
        if marks is not None and not marks.min <= marks.low <= marks.high:
            yield finding((n, "watermarks"), "marks_order")
