"""Where free blocks could lie: from counts by order and migratetype to blocks, scattered at random.

What is known of a running machine is how many free blocks it has, not where they are. A *region*
is aligned memory that the boot left free and whose buddy cannot be free, so that it may be one
free block. If it is not, at least one of its pages stays allocated; then one of its halves may be
free, and the other is again one that is not. Going down from the largest order, the number of
blocks that can be free follows at each order exactly from the orders above.

Which pageblocks have which type is decided first, by numbers alone (`pageblock_types`).

Invariant of a layout: no two free buddies, no block outside the regions, a block smaller than a
pageblock lies in a pageblock of its type. Leaves out: free buddies that the kernel keeps apart
because one of them is in a HighAtomic pageblock.
"""

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from kmsim.mm.mmzone import MIGRATE_TYPES
from kmsim.mm.snapshot import Pfns
from kmsim.procfs.pageblock_types import DoesNotFit, Supply, Wanted, decide

NO_PFNS: Pfns = np.zeros(0, np.int64)


class Area(NamedTuple):
    """A zone's regions by order, and room for the types of its pageblocks, `first_pageblock` on.

    A pageblock that is not `pageblock_types.UNDECIDED` keeps its type; after `place` all have one.
    """

    regions: dict[int, Pfns]
    pageblock_order: int
    first_pageblock: int
    pageblocks: NDArray[np.uint8]

    def pageblock(self, pfns: Pfns) -> Pfns:
        """Which of `pageblocks` holds each page frame."""
        return (pfns >> self.pageblock_order) - self.first_pageblock

    def types(self, pfns: Pfns) -> NDArray[np.uint8]:
        """The migratetypes of the pageblocks that hold the page frames."""
        return self.pageblocks[self.pageblock(pfns)]


def place(area: Area, wanted: Wanted, rng: np.random.Generator) -> dict[tuple[int, int], Pfns]:
    """Blocks by (order, migratetype), and `area.pageblocks` decided; DoesNotFit if no layout is found."""
    lists, not_free = _place_large(area, wanted, rng)
    _decide(area, wanted, not_free, rng)
    small = {order: pfns for order, pfns in area.regions.items() if order < area.pageblock_order}
    for migratetype in range(MIGRATE_TYPES):
        mine = {order: pfns[area.types(pfns) == migratetype] for order, pfns in small.items()}
        demand = wanted.nr_free[migratetype][: area.pageblock_order]
        placed, _ = _descend(mine, not_free[area.types(not_free) == migratetype], demand, 0, rng)
        lists |= {(order, migratetype): pfns for order, pfns in placed.items()}
    return {key: pfns for key, pfns in lists.items() if len(pfns)}


def _place_large(area: Area, wanted: Wanted, rng: np.random.Generator) -> tuple[dict[tuple[int, int], Pfns], Pfns]:
    """Place the blocks of at least a pageblock; also return the whole pageblocks that none of them covers."""
    totals = [sum(of_order) for of_order in zip(*wanted.nr_free, strict=True)]
    placed, not_free = _descend(area.regions, NO_PFNS, totals, area.pageblock_order, rng)
    lists = {}
    for order, pfns in placed.items():
        per_type = [wanted.nr_free[migratetype][order] for migratetype in range(MIGRATE_TYPES)]
        for migratetype, mine in enumerate(np.split(pfns, np.cumsum(per_type)[:-1])):
            lists[order, migratetype] = mine
            for part in range(1 << (order - area.pageblock_order)):
                area.pageblocks[area.pageblock(mine) + part] = migratetype
    return lists, not_free


def _decide(area: Area, wanted: Wanted, not_free: Pfns, rng: np.random.Generator) -> None:
    """Give every pageblock a type that lets the small blocks find room."""
    partial: dict[int, list[int]] = {}
    for order, pfns in area.regions.items():
        if order < area.pageblock_order:
            for block in area.pageblock(pfns).tolist():
                partial.setdefault(block, [0] * area.pageblock_order)[order] += 1
    small = Wanted([nr_free[: area.pageblock_order] for nr_free in wanted.nr_free], wanted.pageblocks)
    decide(area.pageblocks, Supply(area.pageblock(not_free), partial), small, rng)


def _descend(
    regions: dict[int, Pfns], not_free: Pfns, demand: list[int], lowest: int, rng: np.random.Generator
) -> tuple[dict[int, Pfns], Pfns]:
    """Place `demand[order]` blocks of every order from the last down to `lowest`.

    `not_free` are regions of the order above, each with a page that stays allocated. Returns the
    blocks, and the regions of order `lowest` that are not free. With as many regions as blocks are
    still to come there is always room, so more than that are not followed down to order 0.
    """
    placed = {}
    for order in range(len(demand) - 1, lowest - 1, -1):
        if lowest == 0:
            not_free = _some(not_free, sum(demand[: order + 1]), rng)
        upper = rng.integers(0, 2, len(not_free)) << order
        could_be = rng.permutation(np.concatenate((regions.get(order, NO_PFNS), not_free + upper)))
        nr_free = demand[order]
        most = len(could_be)
        if nr_free > most:
            raise DoesNotFit(f"{nr_free} free blocks of order {order}, where at most {most} can be free")
        placed[order] = could_be[:nr_free]
        not_free = np.concatenate((could_be[nr_free:], not_free + ((1 << order) - upper)))
    return placed, not_free


def _some(pfns: Pfns, nr_wanted: int, rng: np.random.Generator) -> Pfns:
    """At most this many of them, chosen at random."""
    return pfns if len(pfns) <= nr_wanted else rng.permutation(pfns)[:nr_wanted]
