"""Free lists that no layout has, as blocks lie on lists of a type that their pageblock is not of: some change theirs.

Before Linux 6.10 a page of a per-CPU list goes back to the list of the type that its pageblock had when it was taken,
so a pageblock may hold free blocks of two types. On the machine that is simulated it never does. Then the small blocks
of one type are taken as those of another, as few pages as that can be; how many blocks each order has is kept.
"""

from collections.abc import Iterator

from kmsim.mm.mm_init import PfnRange
from kmsim.mm.mmzone import MIGRATETYPE_NAMES
from kmsim.procfs.typed_lists import HIGHATOMIC, ZoneLists
from kmsim.survey.layout import Machine, Shape, reserve


def reserve_or_change(shape: Shape, zone: ZoneLists, machine: Machine) -> tuple[list[PfnRange], ZoneLists, str]:
    """What of a zone is reserved, its free lists, and what was changed of them; ValueError where nothing helps."""
    try:
        return reserve(shape, zone, machine), zone, ""
    except ValueError as reason:
        for changed, what in _changes(zone, machine.pageblock_order):
            try:
                pieces = reserve(shape, changed, machine)
            except ValueError:
                continue
            return (
                pieces,
                changed,
                f"zone {zone.zone}: {what}, as pageblocks of one type each do not hold them (assumed)",
            )
        raise reason


def _changes(zone: ZoneLists, pageblock_order: int) -> Iterator[tuple[ZoneLists, str]]:
    """Other lists, and what is said of them: those of which the fewest pages are of another type come first."""
    unknown = "how many pageblocks each type has is as its free blocks need"
    yield zone._replace(pageblocks={}), unknown
    for pages, donor, taker in _moves(zone, pageblock_order):
        changed = _moved(zone, donor, taker, pageblock_order)
        what = f"{pages:,} free pages of the type {donor} in blocks below a pageblock are taken as {taker}"
        yield changed, what
        yield changed._replace(pageblocks={}), f"{what}, and {unknown}"


def _moves(zone: ZoneLists, pageblock_order: int) -> list[tuple[int, str, str]]:
    """Pages, and between which types they move: the fewest first, to the highatomic reserve last."""
    small = {name: _pages(zone.nr_free.get(name, ())[:pageblock_order]) for name in MIGRATETYPE_NAMES}
    moves = [(small[donor], donor, taker) for donor in small for taker in small if donor != taker and small[donor]]
    return sorted(moves, key=lambda move: (move[0], move[2] == HIGHATOMIC, -small[move[2]]))


def _pages(blocks: tuple[int, ...]) -> int:
    return sum(number << order for order, number in enumerate(blocks))


def _moved(zone: ZoneLists, donor: str, taker: str, pageblock_order: int) -> ZoneLists:
    given = zone.nr_free[donor]
    own = zone.nr_free.get(taker) or (0,) * len(given)
    more = tuple(n + moved for n, moved in zip(own, given[:pageblock_order], strict=False)) + own[pageblock_order:]
    left = (0,) * min(pageblock_order, len(given)) + given[pageblock_order:]
    return zone._replace(nr_free=dict(zone.nr_free) | {donor: left, taker: more})
