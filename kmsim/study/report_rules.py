"""Which rules a kernel release held a failed request against a zone's marks by, as far as a report tells.

    up to 4.3     the marks shrink with the order, and free blocks below it are taken off, order by order
    4.4 to 6.2    one block of a list that the request may use; what may not use it has the highatomic reserve taken off
    from 6.3      no __GFP_ATOMIC: what cannot reclaim is non-blocking
    from 6.12     only the free pages of the highatomic reserve are taken off, which no report prints

Sources: mm/page_alloc.c of 5.10, 6.1 and 6.12 (`gfp_to_alloc_flags`, `__zone_watermark_ok`, `zone_watermark_fast`);
for other releases, the patches that changed them. Leaves out real-time tasks, which 4.4 to 6.2 treat as atomic, victims
of an OOM kill, and what distributions have changed. A test holds 6.12's rules against `mm.watermark`.
"""

import re
from typing import NamedTuple

from kmsim.mm.gfp import GFP_FLAGS
from kmsim.procfs.mem_report import Blocks, MemReport, Request, ZoneReport

# The bits of kernels that print no names, by name. (kernel: include/linux/gfp.h of 3.10, and of 4.4)
_OF_310 = {
    "__GFP_DMA": 0x1, "__GFP_HIGHMEM": 0x2, "__GFP_DMA32": 0x4, "__GFP_MOVABLE": 0x8, "__GFP_DIRECT_RECLAIM": 0x10,
    "__GFP_HIGH": 0x20, "__GFP_IO": 0x40, "__GFP_FS": 0x80, "__GFP_NOWARN": 0x200, "__GFP_RETRY_MAYFAIL": 0x400,
    "__GFP_NOFAIL": 0x800, "__GFP_NORETRY": 0x1000, "__GFP_MEMALLOC": 0x2000, "__GFP_COMP": 0x4000,
    "__GFP_ZERO": 0x8000, "__GFP_NOMEMALLOC": 0x10000, "__GFP_THISNODE": 0x40000, "__GFP_RECLAIMABLE": 0x80000,
}  # fmt: skip
_OF_44 = _OF_310 | {
    "__GFP_RECLAIMABLE": 0x10, "__GFP_ATOMIC": 0x80000, "__GFP_DIRECT_RECLAIM": 0x400000,
    "__GFP_KSWAPD_RECLAIM": 0x2000000,
}  # fmt: skip
_KSWAPD_OF_44 = 0x2000000  # of nearly every request since 4.4, and of none before
NAMED_SINCE = (4, 6)  # from here on a report prints the names of the flags
# Names of earlier kernels, as what they mean today.
_ONCE = {"__GFP_WAIT": "__GFP_DIRECT_RECLAIM", "__GFP_REPEAT": "__GFP_RETRY_MAYFAIL"}
_TEMPORARY = ("__GFP_DIRECT_RECLAIM", "__GFP_KSWAPD_RECLAIM", "__GFP_IO", "__GFP_FS", "__GFP_RECLAIMABLE")

Release = tuple[int, int]


class Asking(NamedTuple):
    """What a request may do and use, by its GFP flags."""

    flags: frozenset[str]
    zone: str  # the highest that it may take from
    high: bool  # may take from the reserve below min (__GFP_HIGH)
    atomic: bool  # ... and from more of it, and from highatomic blocks
    movable: bool  # may take CMA blocks
    no_marks: bool  # frees memory itself, and no mark holds for it
    in_cpuset: bool  # stays on the nodes of its cpuset

    @property
    def may_reclaim(self) -> bool:
        """May the caller wait for reclaim and compaction?"""
        return "__GFP_DIRECT_RECLAIM" in self.flags


class Held(NamedTuple):
    """How a zone was held against its mark: it passes where what is usable is more than what is needed."""

    most_usable: int  # pages
    least_usable: int  # where the highatomic reserve is known only to lie between 0 and a number
    needed: int  # the mark with what the flags allow, and the lowmem reserve
    mark: int
    reserve: int
    highatomic: int  # the most that was taken off
    cma: int
    has_block: bool | None  # of the order, on a list that the request may use; None: the types are not printed
    below_at: int | None  # up to 4.3: the order at which the pages left were too few
    reserve_known: bool = True  # False: the report does not print it, and 0 was taken

    @property
    def passes(self) -> bool | None:
        """Does the zone serve the request? None: the report does not say enough."""
        if self.most_usable <= self.needed or self.below_at is not None or self.has_block is False:
            return False
        unsure = self.least_usable <= self.needed or self.has_block is None or not self.reserve_known
        return None if unsure else True

    @property
    def missing(self) -> int:
        """How many pages there are too few, at most; 0 or less: none."""
        return self.needed + 1 - self.least_usable


def release_of(report: MemReport) -> Release | None:
    """The major and the minor number of the kernel; None where the report does not say them."""
    found = re.match(r"(\d+)\.(\d+)", report.release)
    return None if found is None else (int(found[1]), int(found[2]))


def release_by(request: Request) -> Release | None:
    """By which release's bits a mode without names is to be read, where a report says no release; None: has names."""
    if request.names:
        return None
    return (4, 4) if request.mode & _KSWAPD_OF_44 else (3, 10)


def flags_of(request: Request, release: Release) -> frozenset[str]:
    """The single flags of a request, by the names of today."""
    if not request.names:
        bits = GFP_FLAGS if release >= (5, 0) else _OF_44 if release >= (4, 4) else _OF_310
        return frozenset(name for name, bit in bits.items() if name.startswith("__") and bit and request.mode & bit)
    found: set[str] = set()
    for word in request.names:
        name = _ONCE.get(word, word)
        if name == "GFP_TEMPORARY":
            found.update(_TEMPORARY)
        elif name in GFP_FLAGS:
            mask = GFP_FLAGS[name]
            found.update(one for one, bit in GFP_FLAGS.items() if one.startswith("__") and bit and mask & bit == bit)
        else:
            found.add(name)  # a name of another release
        if name == "GFP_ATOMIC":
            found.add("__GFP_ATOMIC")
    return frozenset(found)


def asking(flags: frozenset[str], release: Release) -> Asking:
    """What these flags allow in a release."""
    high = "__GFP_HIGH" in flags
    reserves = "__GFP_NOMEMALLOC" not in flags
    waits = "__GFP_DIRECT_RECLAIM" in flags
    atomic = reserves and ("__GFP_ATOMIC" in flags if (4, 4) <= release < (6, 3) else not waits)
    zone = "Normal"
    if "__GFP_DMA" in flags:
        zone = "DMA"
    elif "__GFP_DMA32" in flags:
        zone = "DMA32"
    elif {"__GFP_MOVABLE", "__GFP_HIGHMEM"} <= flags:
        zone = "Movable"
    no_cpuset = not waits and ("__GFP_ATOMIC" in flags if (4, 4) <= release < (6, 3) else high or release < (4, 4))
    no_marks = "__GFP_MEMALLOC" in flags and reserves
    return Asking(flags, zone, high, atomic, "__GFP_MOVABLE" in flags, no_marks, not no_cpuset)


def held(
    zone: ZoneReport, reserve: int | None, order: int, by: Asking, release: Release, *, boosted: bool = True
) -> Held:
    """A zone against its min mark, at which the last attempt is made (kernel: __zone_watermark_ok).

    `reserve`: its lowmem reserve for this request; None where the report does not print it.
    """
    mark = zone.min if boosted else zone.min - (zone.boost or 0)
    lowest = _lowest(mark, by, release)
    if order == 0 and zone.boost and release >= (5, 10) and (by.high if release >= (6, 3) else by.atomic):
        lowest = _lowest(zone.min - zone.boost, by, release)  # such a request is not stopped by the boost
    cma = 0 if by.movable else zone.free_cma
    left = zone.free - ((1 << order) - 1) - cma
    highatomic = 0 if release < (4, 4) or _may_use_reserve(by, release) else _reserved(zone)
    known = zone.reserved_highatomic == 0 or (zone.reserved_highatomic is not None and release < (6, 12))
    # 3.7 to 3.9 take CMA off before the orders, too; 3.10 to 4.3 do not.
    below_at = _below_at(zone, left + (cma if release >= (3, 10) else 0), lowest, order) if release < (4, 4) else None
    return Held(
        left - highatomic if known else left,
        left - highatomic,
        lowest + (reserve or 0),
        mark,
        reserve or 0,
        highatomic,
        cma,
        _has_page(zone, by, release) if order == 0 else True if release < (4, 4) else _has_block(zone, order, by),
        below_at,
        reserve is not None,
    )


def takes(block: Blocks, by: Asking) -> bool | None:
    """May the request take one of these blocks? None: their types are not printed."""
    if block.number == 0:
        return False
    if not block.types:
        return None
    usable = {"U", "M", "E"} | ({"C"} if by.movable else set()) | ({"H"} if by.atomic else set())
    return bool(usable & set(block.types))


def _lowest(mark: int, by: Asking, release: Release) -> int:
    """The mark with what the flags allow below it."""
    if by.high:
        mark -= mark // 2
    if by.atomic and (by.high or release < (6, 3)):
        mark -= mark // 4
    return mark


def _may_use_reserve(by: Asking, release: Release) -> bool:
    """Is the highatomic reserve among what the request may use?"""
    return by.atomic or (by.high and release >= (6, 3))


def _reserved(zone: ZoneReport) -> int:
    """The pages of the highatomic reserve, or the most that it can be: 1 % of the zone and a pageblock."""
    if zone.reserved_highatomic is not None:
        return zone.reserved_highatomic
    largest_block = 1 << max(len(zone.blocks) - 1, 0)
    return (zone.managed or zone.present or 0) // 100 + largest_block


def _below_at(zone: ZoneReport, left: int, mark: int, order: int) -> int | None:
    """Up to 4.3: the order whose blocks, taken off, leave too little; None where none does."""
    for below in range(order):
        left -= (zone.blocks[below].number if below < len(zone.blocks) else 0) << below
        mark >>= 1
        if left <= mark:
            return below
    return None


def _has_page(zone: ZoneReport, by: Asking, release: Release) -> bool | None:
    """Is there a single page for the request? No where all free blocks are surely of types that it may not take.

    CMA is left to the count of pages, of which it is taken off. Highatomic blocks give single pages only
    from 6.12 on, to who may not wait, and in updates of some releases before.
    """
    if release < (4, 4) or not any(block.number for block in zone.blocks):
        return True
    if any(takes(block, by._replace(atomic=False, movable=True)) is not False for block in zone.blocks):
        return True
    if not by.atomic or release < (6, 3) or not any(takes(block, by) for block in zone.blocks):
        return False
    return True if release >= (6, 12) else None


def _has_block(zone: ZoneReport, order: int, by: Asking) -> bool | None:
    """Is there a free block of at least this order that the request may take?"""
    answers = [takes(block, by) for block in zone.blocks[order:]]
    if not zone.blocks:
        return None
    return True if True in answers else None if None in answers else False
