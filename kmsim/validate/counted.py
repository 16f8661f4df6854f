"""A machine in a recorded state of which only the counts of free blocks are known, by zone and order.

The blocks lie where `procfs.placement` scatters them, the same for the same counts; all other memory is allocated.
Each zone's pageblocks are all of the type that most of the recorded ones had, since which type's blocks were free
was not recorded: nothing is reserved for high-order atomic requests. Per-CPU lists are empty, with the recorded limits.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from kmsim.mm.getorder import ilog2
from kmsim.mm.mmzone import MIGRATE_HIGHATOMIC, MIGRATE_TYPES, Machine
from kmsim.mm.snapshot import Pfns
from kmsim.procfs.pageblock_types import UNDECIDED, Wanted
from kmsim.procfs.placement import Area, place
from kmsim.procfs.recorded import Recording, RecordingError
from kmsim.procfs.recorded_state import MIGRATETYPE_LETTERS, RawState, build_machine, has_lists, is_cut, states_of

SEED = 0


def machine_in(recording: Recording, raw: RawState) -> Machine:
    """The machine in this state: with the recorded lists where they are there whole, else with their counts."""
    if has_lists(raw) and not is_cut(raw):
        return build_machine(recording, raw)
    bare = [zone | _WITHOUT_LISTS | {"pcp": [pcp | _EMPTY_PCP for pcp in zone["pcp"]]} for zone in raw]
    states_of(recording, bare)  # the check of sizes
    rng = np.random.default_rng(SEED)
    return build_machine(recording, [zone | _placed(recording, zone, rng) for zone in bare])


_WITHOUT_LISTS: dict[str, Any] = {"lists": {}, "highatomic": 0}
_EMPTY_PCP: dict[str, Any] = {"count": 0, "lists": {}}


def _placed(recording: Recording, zone: dict[str, Any], rng: np.random.Generator) -> dict[str, Any]:
    """A zone's pageblocks and free lists, as a recording has them."""
    pageblock_order, largest = (int(recording.consts[name]) for name in ("pageblock_order", "max_order_inclusive"))
    nr_free = zone["nr_free"]
    if len(nr_free) != largest + 1 or not all(type(count) is int and count >= 0 for count in nr_free):
        raise RecordingError(f"zone {zone['name']!r}: nr_free is not {largest + 1} counts")
    letters = [letter for mt, letter in enumerate(MIGRATETYPE_LETTERS) if mt != MIGRATE_HIGHATOMIC]
    letter = max(letters, key=zone["blocks"].count)
    migratetype = MIGRATETYPE_LETTERS.index(letter)
    nr_pageblocks = len(zone["blocks"])
    wanted = Wanted([[0] * len(nr_free) for _ in range(MIGRATE_TYPES)], [0] * MIGRATE_TYPES)
    wanted.nr_free[migratetype] = nr_free
    wanted.pageblocks[migratetype] = nr_pageblocks
    start = int(zone["start_pfn"])
    regions = _regions(start, start + int(zone["spanned"]), largest)
    undecided = np.full(nr_pageblocks, UNDECIDED, np.uint8)
    lists = place(Area(regions, pageblock_order, start >> pageblock_order, undecided), wanted, rng)
    return {
        "blocks": letter * nr_pageblocks,
        "lists": {f"{order}{letter}": pfns.tolist() for (order, _), pfns in lists.items()},
    }


def _regions(start: int, end: int, largest: int) -> dict[int, Pfns]:
    """The frames from `start` up to `end` in the largest aligned blocks, by order."""
    pfns: dict[int, list[int]] = {}
    while start < end:
        aligned = ilog2(start & -start) if start else largest
        order = min(aligned, ilog2(end - start), largest)
        pfns.setdefault(order, []).append(start)
        start += 1 << order
    return {order: np.array(of_order, np.int64) for order, of_order in pfns.items()}
