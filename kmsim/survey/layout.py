"""Where a machine's zones and its RAM lie, and what of it is reserved: as the texts say, or assumed and noted.

RAM is that of /proc/iomem where it agrees with what the zones say that is present; else each zone is one piece, with a
hole where there must be one. How much of a zone is reserved follows from present and managed pages. Where it lies is
not said anywhere: it takes the place of what no free block needs, so that the free lists fit.

The memory of a node lies behind that of the nodes before it. All numbers are page frames.
"""

from collections.abc import Iterator, Sequence
from itertools import pairwise, product
from typing import NamedTuple

import numpy as np

from kmsim.config.memory_map import (
    GIB,
    LOW_ENDS,
    MIB,
    Arch,
    BootShape,
    MemoryRange,
    default_memory_map,
    default_reserved,
)
from kmsim.mm.getorder import ilog2
from kmsim.mm.mm_init import ZONE_ENDS, PfnRange, overlap, subtract
from kmsim.mm.mmzone import ZONE_MOVABLE, ZONE_NAMES
from kmsim.mm.snapshot import Pfns
from kmsim.procfs.pageblock_types import UNDECIDED, DoesNotFit, Wanted
from kmsim.procfs.placement import Area, place
from kmsim.procfs.typed_lists import ZoneLists
from kmsim.procfs.user_machine import wanted_of
from kmsim.survey.told import Facts, ZoneFacts

MOVABLE = ZONE_NAMES[ZONE_MOVABLE]
NORMAL = ZONE_NAMES.index("Normal")
LOW_HOLE = PfnRange(0x9F, 0x100)  # of 4 KiB: firmware's, on x86 below 1 MiB
DMA_END = 0x1000  # of 4 KiB: 16 MiB
MEMORY_GIB = (1, 2, 4, 8, 16, 32, 64, 128, 256, 512, 1024)  # as machines have it
NODES_BEGIN = 128 * MIB  # assumed where no start_pfn is said: on a section of memory
SEEDS = 4  # ways to scatter the free blocks that are tried
UNKNOWN_LAYOUT = "where RAM lies, and how much of it the boot reserves (assumed)"
PIECES_MAX = 200  # reserved pieces of all zones; a config has at most 256


class Shape(NamedTuple):
    """A zone as it lies."""

    node: int
    name: str
    ram: tuple[PfnRange, ...]
    managed: int

    @property
    def present(self) -> int:
        """Pages of RAM."""
        return sum(piece.end - piece.start for piece in self.ram)


class Machine(NamedTuple):
    """What kind of machine it is, as far as its memory depends on it."""

    arch: Arch
    page_shift: int
    max_page_order: int
    pageblock_order: int
    cpus: int


def shapes_of(facts: Facts, nodes: Sequence[int], machine: Machine, memory: int | None) -> list[Shape]:
    """The populated zones of the nodes, each node's by address; `memory`: bytes of all, where the user says so."""
    shapes: list[Shape] = []
    share = memory if memory is None or len(nodes) == 1 else memory // len(nodes) // MIB * MIB
    between = NODES_BEGIN >> machine.page_shift
    for node in nodes:
        at = -(-shapes[-1].ram[-1].end // between) * between if shapes else 0
        zones = [zone for zone in facts.zones.values() if zone.node == node and zone.present]
        if zones:
            shapes += _said(facts, sorted(zones, key=lambda zone: ZONE_NAMES.index(zone.name)), machine, at)
        elif any(zone.node == node for zone in (facts.lists.zones if facts.lists is not None else ())):
            shapes += _assumed(facts, node, at, machine, share)
    return shapes


def lies_in_order(shapes: Sequence[Shape]) -> bool:
    """Does the memory of each node lie behind that of the nodes before it?"""
    return all(a.ram[-1].end <= b.ram[0].start for a, b in pairwise(shapes) if a.node != b.node)


def zone_ends(shapes: list[Shape], machine: Machine) -> list[int] | None:
    """Addresses at which the zone types end, in bytes; None: where the architecture has them."""
    of_name = {name: [shape for shape in shapes if shape.name == name] for name in ZONE_NAMES}
    usual = [end >> machine.page_shift for end in ZONE_ENDS[machine.arch]]
    ends, differs, low = [], False, 0
    for n, name in enumerate(ZONE_NAMES[:3]):
        mine = of_name[name]
        above = [s.ram[0].start for s in shapes if ZONE_NAMES.index(s.name) > n]
        if not mine:
            fits = not any(low <= piece.start < usual[n] for s in shapes for piece in s.ram if s.name != name)
            end = max(usual[n], low) if fits else low
        else:
            last = max(shape.ram[-1].end for shape in mine)
            fits = last <= usual[n] and all(usual[n] <= start for start in above)
            end = usual[n] if fits else min(above, default=last)
        differs |= not fits
        ends.append(end)
        low = end
    return [end << machine.page_shift for end in ends] if differs else None


def without_movable(shapes: list[Shape]) -> list[Shape]:
    """The zones as they lay before ZONE_MOVABLE was taken from the highest of them."""
    others = [shape.name for shape in shapes if shape.name != MOVABLE]
    highest = max(others, key=ZONE_NAMES.index, default=MOVABLE)
    return [shape._replace(name=highest) if shape.name == MOVABLE else shape for shape in shapes]


def reserve(shape: Shape, zone: ZoneLists | None, machine: Machine) -> list[PfnRange]:
    """What of a zone is reserved, so that its free lists fit; ValueError where they cannot.

    The kernel had all of it at once, so there is a way; the ways that are tried find one on machines with some memory
    in use.
    """
    if zone is None or shape.present <= shape.managed:
        return _largest_gaps(shape, [])
    wanted = wanted_of(zone, machine.max_page_order + 1)
    totals = [sum(of_order) for of_order in zip(*wanted.nr_free, strict=True)]
    reasons = []
    for taken in _ways(shape, wanted, totals, machine):
        pieces = _largest_gaps(shape, taken)
        try:
            _placed(subtract(shape.ram, tuple(pieces)), wanted, machine, 0)
            return pieces
        except DoesNotFit as reason:
            reasons.append(reason)
    raise ValueError(f"zone {shape.name}: {reasons[0]}")


def _ways(shape: Shape, wanted: Wanted, totals: list[int], machine: Machine) -> Iterator[list[PfnRange]]:
    """Where the free blocks of a zone may lie: packed together, then as they would be scattered over all of it."""
    yield _packed(shape, totals, machine.max_page_order)
    for seed in range(SEEDS):
        try:
            lists = _placed(shape.ram, wanted, machine, seed)
        except DoesNotFit:
            continue
        blocks = [(pfn, order) for (order, _), pfns in lists.items() for pfn in pfns.tolist()]
        yield joined(sorted(PfnRange(pfn, pfn + (1 << order)) for pfn, order in blocks))


def _placed(ram: Sequence[PfnRange], wanted: Wanted, machine: Machine, seed: int) -> dict[tuple[int, int], Pfns]:
    """The free blocks scattered over some RAM; DoesNotFit where they cannot be."""
    first = ram[0].start >> machine.pageblock_order
    end = ((ram[-1].end - 1) >> machine.pageblock_order) + 1
    pageblocks = np.full(end - first, UNDECIDED, np.uint8)
    area = Area(regions_of(ram, machine.max_page_order), machine.pageblock_order, first, pageblocks)
    return place(area, wanted, np.random.default_rng(seed))


def _largest_gaps(shape: Shape, taken: list[PfnRange]) -> list[PfnRange]:
    """As many pages as are reserved, in as few pieces as there can be, where nothing is taken."""
    left = shape.present - shape.managed
    pieces = []
    for gap in sorted(subtract(shape.ram, tuple(taken)), key=lambda gap: gap.start - gap.end):
        if left <= 0:
            break
        size = min(left, gap.end - gap.start)
        pieces.append(PfnRange(gap.start, gap.start + size))
        left -= size
    return sorted(pieces)


def regions_of(ram: Sequence[PfnRange], max_page_order: int) -> dict[int, Pfns]:
    """The largest aligned blocks of some RAM, by order, as a boot frees them (kernel: __free_pages_memory)."""
    found: dict[int, list[Pfns]] = {order: [] for order in range(max_page_order + 1)}
    largest = 1 << max_page_order
    for start, end in ram:
        at = start
        while at < end:
            if not at & (largest - 1) and at + largest <= end:
                whole = (end - at) >> max_page_order
                found[max_page_order].append(at + (np.arange(whole, dtype=np.int64) << max_page_order))
                at += whole << max_page_order
                continue
            order = min(ilog2(at & -at) if at else max_page_order, ilog2(end - at))
            found[order].append(np.array([at], np.int64))
            at += 1 << order
    return {order: np.concatenate(parts) for order, parts in found.items() if parts}


def _packed(shape: Shape, nr_free: Sequence[int], max_page_order: int) -> list[PfnRange]:
    """The free blocks, as high in the zone as they can lie: which leaves room in one piece below them.

    No two of them are buddies, as free buddies would be one block (see `procfs.placement`).
    """
    regions = regions_of(shape.ram, max_page_order)
    none = np.zeros(0, np.int64)
    not_free, blocks = none, []
    for order in range(max_page_order, -1, -1):
        wanted = nr_free[order] if order < len(nr_free) else 0
        could_be = np.sort(np.concatenate((regions.get(order, none), not_free + (1 << order))))
        if wanted > len(could_be):
            most = f"where at most {len(could_be):,} can be free"
            raise ValueError(f"zone {shape.name}: {wanted:,} free blocks of order {order}, {most}")
        cut = len(could_be) - wanted
        blocks += [PfnRange(pfn, pfn + (1 << order)) for pfn in could_be[cut:].tolist()]
        to_come = sum(nr_free[:order])
        not_free = np.sort(np.concatenate((could_be[:cut], not_free)))
        not_free = not_free[max(len(not_free) - to_come, 0) :]
    return joined(sorted(blocks))


def joined(ranges: list[PfnRange]) -> list[PfnRange]:
    """Sorted ranges, those that touch made one."""
    whole: list[PfnRange] = []
    for piece in ranges:
        if whole and whole[-1].end == piece.start:
            whole[-1] = PfnRange(whole[-1].start, piece.end)
        else:
            whole.append(piece)
    return whole


def _said(facts: Facts, zones: list[ZoneFacts], machine: Machine, at: int) -> list[Shape]:
    """A node's zones of which present pages are known; the memory of the nodes before it ends `at`."""
    shapes = []
    page = 1 << machine.page_shift
    of_iomem = tuple(
        PfnRange(-(-start // page), end // page) for start, end in facts.ram if -(-start // page) < end // page
    )
    for n, zone in enumerate(zones):
        assert zone.present is not None
        start = zone.start_pfn if zone.start_pfn is not None else _start_of(zone, at, machine, facts)
        spanned = zone.spanned or zone.present
        span = PfnRange(start, start + spanned)
        inside = tuple(
            PfnRange(max(piece.start, span.start), min(piece.end, span.end))
            for piece in of_iomem
            if piece.end > span.start and piece.start < span.end
        )
        if zone.spanned and inside and overlap(inside, span.start, span.end) == zone.present:
            ram = inside
        else:
            if zone.spanned != zone.present:
                facts.notes.append(f"zone {zone.name}: where its RAM lies within the zone (assumed)")
            ram = _pieces(zone, span, machine, first=n == 0, last=n == len(zones) - 1)
        managed = zone.managed if zone.managed is not None else zone.present
        if zone.managed is None:
            facts.notes.append(f"zone {zone.name}: all its pages are managed (assumed)")
        shapes.append(Shape(zone.node, zone.name, ram, managed))
        at = ram[-1].end
    return shapes


def _start_of(zone: ZoneFacts, at: int, machine: Machine, facts: Facts) -> int:
    """Where a zone begins of which only the size is known."""
    lows = [0, *(end >> machine.page_shift for end in ZONE_ENDS[machine.arch])]
    assert zone.present is not None
    zone_type = min(ZONE_NAMES.index(zone.name), NORMAL)  # what is movable lies behind what is not, wherever that ends
    start = max(at, lows[zone_type])
    if machine.arch == "x86-64" and zone.name == "DMA":
        start = 1
    elif machine.arch == "arm64" and at == 0 and (GIB >> machine.page_shift) + zone.present <= lows[1]:
        start = max(start, GIB >> machine.page_shift)
    facts.notes.append(f"zone {zone.name} begins at page frame {start:#x} (assumed)")
    return start


def _pieces(zone: ZoneFacts, span: PfnRange, machine: Machine, *, first: bool, last: bool) -> tuple[PfnRange, ...]:
    """RAM of a zone with a hole: its first and its last frame are RAM where they begin and end the node's memory."""
    assert zone.present is not None
    hole = span.end - span.start - zone.present
    if machine.arch == "x86-64" and zone.name == "DMA" and span.start < LOW_HOLE.start and machine.page_shift == 12:
        rest = zone.present - (DMA_END - LOW_HOLE.end)  # what a kernel has of the first MiB, which firmware shares
        if 0 < rest <= LOW_HOLE.end - span.start:
            return (PfnRange(span.start, span.start + rest), PfnRange(LOW_HOLE.end, DMA_END))
        low = PfnRange(span.start, LOW_HOLE.start)
        size = zone.present - (low.end - low.start)
        if 0 < size < DMA_END - LOW_HOLE.end:
            return (low, PfnRange(DMA_END - size, DMA_END))
    if hole <= 0:
        return (PfnRange(span.start, span.start + zone.present),)
    if not last:
        return (PfnRange(span.start, span.end - hole),)
    if not first:
        return (PfnRange(span.start + hole, span.end),)
    end = min(zone.present - 1, 1 << machine.max_page_order)
    return (PfnRange(span.start, span.start + zone.present - end), PfnRange(span.end - end, span.end))


def _assumed(facts: Facts, node: int, at: int, machine: Machine, memory: int | None) -> list[Shape]:
    """Zones of which only free lists are known: as large as their pageblocks say, or those of a usual machine."""
    assert facts.lists is not None
    listed = [zone for zone in facts.lists.zones if zone.node == node]
    if memory is None and all(zone.nr_pageblocks for zone in listed):
        return _counted(facts, listed, machine, at)
    free = {zone.zone: zone.nr_pages for zone in listed}
    usual = [gib * GIB for gib in MEMORY_GIB]
    sizes = usual if memory is None else [memory]
    if memory is None and facts.mem_total_kb is not None and facts.lists.nodes == [node]:
        sizes = [next((size for size in usual if size >= facts.mem_total_kb << 10), usual[-1])]
        facts.notes.append(f"{sizes[0] // GIB} GiB of RAM, as MemTotal is {facts.mem_total_kb:,} kB (assumed)")
    for size, low_end in product(sizes, LOW_ENDS):
        shapes = _usual(machine, _usual_ram(machine, size, low_end, list(free), at), node, free)
        if shapes is not None:
            if len(sizes) > 1:
                facts.notes.append(f"{size // GIB} GiB of RAM, the least that has so much free (assumed); --memory")
            facts.notes.append(UNKNOWN_LAYOUT)
            return shapes
    raise ValueError(f"free blocks of zones {', '.join(free)}, which {max(sizes) // MIB:,} MiB do not hold")


def _counted(facts: Facts, listed: list[ZoneLists], machine: Machine, at: int) -> list[Shape]:
    """Zones of so many pageblocks, of which a boot reserves what it does on a usual machine."""
    facts.notes.append("each zone has as much RAM as its pageblocks (assumed)")
    facts.notes.append(UNKNOWN_LAYOUT)
    zones = []
    for zone in listed:
        assert zone.nr_pageblocks is not None
        pages = zone.nr_pageblocks << machine.pageblock_order
        at_zero = machine.arch == "x86-64" and zone.zone == "DMA"  # frame 0 is no RAM of the kernel's
        zones.append(ZoneFacts(zone.node, zone.zone, present=pages - at_zero, managed=pages - at_zero))
    shapes = _said(facts, sorted(zones, key=lambda zone: ZONE_NAMES.index(zone.name)), machine, at)
    kept = _kept([piece for shape in shapes for piece in shape.ram], machine)
    free = {zone.zone: zone.nr_pages for zone in listed}
    return [shape._replace(managed=max(_managed(shape.ram, kept), free[shape.name])) for shape in shapes]


def _kept(ram: Sequence[PfnRange], machine: Machine) -> tuple[PfnRange, ...]:
    """What a boot reserves of some RAM."""
    shift = machine.page_shift
    section = 1 << (29 if shift == 16 else 27)
    ranges = tuple(MemoryRange.between(piece.start << shift, piece.end << shift) for piece in ram)
    kept = default_reserved(BootShape(machine.arch, 1 << shift, section, machine.cpus, ranges))
    return tuple(PfnRange(entry.start >> shift, entry.end >> shift) for entry in kept)


def _managed(ram: Sequence[PfnRange], reserved: tuple[PfnRange, ...]) -> int:
    return sum(piece.end - piece.start for piece in subtract(tuple(ram), reserved))


def _usual(machine: Machine, whole: list[PfnRange], node: int, free: dict[str, int]) -> list[Shape] | None:
    """The zones of a usual machine with these zones populated, if their free pages fit."""
    shift = machine.page_shift
    reserved = _kept(whole, machine)
    shapes = []
    low = 0
    for name, address in zip(ZONE_NAMES, ZONE_ENDS[machine.arch], strict=True):
        end = address >> shift
        ram = tuple(PfnRange(max(p.start, low), min(p.end, end)) for p in whole if p.end > low and p.start < end)
        low = end
        if not ram:
            if free.get(name):
                return None
            continue
        present = sum(piece.end - piece.start for piece in ram)
        managed = _managed(ram, reserved)
        if name not in free or free[name] > present:
            return None
        shapes.append(Shape(node, name, ram, max(managed, free[name])))
    return shapes


def _usual_ram(machine: Machine, memory: int, low_end: int, names: list[str], at: int) -> list[PfnRange]:
    """RAM of a usual machine, moved so that it fills just the zones that there are."""
    shift = machine.page_shift
    ends = dict(zip(ZONE_NAMES, ZONE_ENDS[machine.arch], strict=True))
    begins = dict(zip(ZONE_NAMES, (0, *ZONE_ENDS[machine.arch]), strict=False))
    at <<= shift
    if "DMA" not in names or at:  # a node other than the first, or a kernel with fewer zones
        start = max(begins[names[0]], at)
        return [PfnRange(start >> shift, (start + memory) >> shift)]
    if machine.arch == "arm64":
        start = GIB if "Normal" not in names or memory > ends["DMA"] - GIB else ends["DMA"] - memory // 2
        return [PfnRange(start >> shift, (start + memory) >> shift)]
    ram = default_memory_map("x86-64", memory, 1 << shift, low_end)
    return [PfnRange(piece.start >> shift, piece.end >> shift) for piece in ram]
