"""Choose a migratetype for each pageblock, so that the given free blocks have room in them.

Works with numbers alone: a *whole* pageblock was left free by the boot, has a page that stays
allocated, and is as good as any other; a *partial* one is in part reserved, and what the boot left
free of it are regions (see `placement`) by order. Going down the orders, a type that lacks a block
takes one more pageblock, in one of a few orders of preference; the first that ends well is used.
This finds the types on machines with some memory in use, and may give up on one that is packed to
its last pages. What no type needs is dealt out at random, up to the number that each type shall have.
"""

from dataclasses import dataclass
from itertools import product
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from kmsim.mm.mmzone import (
    MIGRATE_HIGHATOMIC,
    MIGRATE_MOVABLE,
    MIGRATE_RECLAIMABLE,
    MIGRATE_TYPES,
    MIGRATE_UNMOVABLE,
    MIGRATETYPE_NAMES,
)
from kmsim.mm.snapshot import Pfns

UNDECIDED = 255
WHOLE_PAGEBLOCKS = -1

# Where a type that lacks room takes its next pageblock from: a partial one whose largest region is just
# of the order, a whole one, or any partial one that can hold such a block.
FITTING, WHOLE, PARTIAL = range(3)
_PREFERENCES = ((FITTING, WHOLE, PARTIAL), (FITTING, PARTIAL, WHOLE), (WHOLE, FITTING, PARTIAL))
# Who takes first at each order.
_TURNS = (
    (MIGRATE_HIGHATOMIC, MIGRATE_RECLAIMABLE, MIGRATE_UNMOVABLE, MIGRATE_MOVABLE),
    (MIGRATE_MOVABLE, MIGRATE_UNMOVABLE, MIGRATE_RECLAIMABLE, MIGRATE_HIGHATOMIC),
)


class DoesNotFit(ValueError):
    """No layout with these counts was found; one line."""


class Wanted(NamedTuple):
    """Free blocks by migratetype and order; pageblocks by migratetype, None: as many as the free blocks need.

    Of movable ones there are all that are left.
    """

    nr_free: list[list[int]]
    pageblocks: list[int | None]


class Supply(NamedTuple):
    """Whole pageblocks, and by partial pageblock its regions by order."""

    whole: Pfns
    partial: dict[int, list[int]]


@dataclass
class _Share:
    """What a type has been given: pageblocks, and what they hold at the order now looked at."""

    nr_whole: int
    partial: list[int]
    not_free: int = 0  # regions of the order above that are not free


def decide(pageblocks: NDArray[np.uint8], supply: Supply, wanted: Wanted, rng: np.random.Generator) -> None:
    """Give every undecided pageblock a type; DoesNotFit where none of the preferences gives each its room."""
    reasons: list[DoesNotFit] = []
    for turn, preference in product(_TURNS, _PREFERENCES):
        try:
            shares = _shares(pageblocks, supply, wanted, turn, preference)
            break
        except DoesNotFit as reason:
            reasons.append(reason)
    else:
        raise reasons[0]
    whole = rng.permutation(supply.whole[pageblocks[supply.whole] == UNDECIDED])
    for migratetype, share in enumerate(shares):
        pageblocks[whole[: share.nr_whole]] = migratetype
        whole = whole[share.nr_whole :]
        pageblocks[np.array(share.partial, np.int64)] = migratetype
    others = rng.permutation(np.flatnonzero(pageblocks == UNDECIDED))
    for migratetype in (mt for mt in range(MIGRATE_TYPES) if mt != MIGRATE_MOVABLE):
        lacking = (wanted.pageblocks[migratetype] or 0) - int(np.count_nonzero(pageblocks == migratetype))
        lacking = max(lacking, 0)
        pageblocks[others[:lacking]] = migratetype
        others = others[lacking:]
    pageblocks[others] = MIGRATE_MOVABLE


def _shares(
    pageblocks: NDArray[np.uint8],
    supply: Supply,
    wanted: Wanted,
    turn: tuple[int, ...],
    preference: tuple[int, ...],
) -> list[_Share]:
    """The pageblocks that each type cannot do without."""
    types = {block: int(pageblocks[block]) for block in supply.partial}
    shares = [_Share(0, [block for block in types if types[block] == mt]) for mt in range(MIGRATE_TYPES)]
    unclaimed = {block: regions for block, regions in supply.partial.items() if types[block] == UNDECIDED}
    nr_unclaimed = len(supply.whole)
    nr_orders = len(wanted.nr_free[0])
    for order in range(nr_orders - 1, -1, -1):
        for migratetype in turn:
            share = shares[migratetype]
            nr_free = wanted.nr_free[migratetype][order]
            could_be = share.not_free + sum(supply.partial[block][order] for block in share.partial)
            while could_be < nr_free:
                source = _source(unclaimed, order, preference, has_whole=nr_unclaimed > 0)
                if source is None:
                    what = f"{nr_free} free blocks of order {order}, type {MIGRATETYPE_NAMES[migratetype]}"
                    raise DoesNotFit(f"{what}, where at most {could_be} can be free")
                if source == WHOLE_PAGEBLOCKS:
                    holds = 1 << (nr_orders - 1 - order)
                    taken = min(nr_unclaimed, -((could_be - nr_free) // holds))
                    nr_unclaimed -= taken
                    share.nr_whole += taken
                    not_free, fitting = taken * holds, 0
                else:
                    share.partial.append(source)
                    not_free, fitting = _could_be(unclaimed.pop(source), order)
                share.not_free += not_free
                could_be += not_free + fitting
            share.not_free += could_be - nr_free
    _check_numbers(pageblocks, wanted, shares)
    return shares


def _source(unclaimed: dict[int, list[int]], order: int, preference: tuple[int, ...], *, has_whole: bool) -> int | None:
    """A partial pageblock, `WHOLE_PAGEBLOCKS`, or None where no pageblock can hold a block of the order."""
    suitable = {block: regions for block, regions in unclaimed.items() if sum(_could_be(regions, order))}
    for kind in preference:
        if kind == WHOLE:
            if has_whole:
                return WHOLE_PAGEBLOCKS
            continue
        found = [block for block in suitable if kind == PARTIAL or not any(suitable[block][order + 1 :])]
        if found:
            return min(found, key=lambda block: sum(n << k for k, n in enumerate(suitable[block])))
    return None


def _could_be(regions: list[int], order: int) -> tuple[int, int]:
    """Blocks of the order that could be free if none else is: in larger regions, and whole regions."""
    not_free = 0
    for larger in regions[:order:-1]:
        not_free = 2 * not_free + larger
    return not_free, regions[order]


def _check_numbers(pageblocks: NDArray[np.uint8], wanted: Wanted, shares: list[_Share]) -> None:
    """Does each type keep to its number of pageblocks?"""
    left = int(np.count_nonzero(pageblocks == UNDECIDED))
    for migratetype, share in enumerate(shares):
        claimed = share.nr_whole + sum(1 for block in share.partial if pageblocks[block] == UNDECIDED)
        has = int(np.count_nonzero(pageblocks == migratetype)) + claimed
        said = None if migratetype == MIGRATE_MOVABLE else wanted.pageblocks[migratetype]
        if said is not None and has > said:
            what = f"{said} pageblocks of type {MIGRATETYPE_NAMES[migratetype]}"
            raise DoesNotFit(f"{what}, where its free blocks need {has}")
        left -= claimed
        if said is not None:
            left -= said - has
    if left < 0:
        raise DoesNotFit(f"{-left} pageblocks more than there are")
