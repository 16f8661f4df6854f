"""Which zones each node has, from where its memory lies (kernel: mm/mm_init.c, arch/*/mm/init.c).

x86-64 has DMA (16 MiB), DMA32 (4 GiB) and Normal; arm64 has DMA up to 4 GiB and then Normal, or, on boards with devices
that reach less, DMA up to there and DMA32 up to 4 GiB. A node has a zone of each type that reaches into its memory,
from its first page frame to its last at most. With kernelcore= or movablecore= the upper part of each node is
ZONE_MOVABLE: as much kernel memory as asked for is spread evenly over the nodes with memory.

Leaves out `kernelcore=mirror` and `movable_node`. Invariant: the memory of a node lies behind that of the nodes before
it, so that no zone lies between parts of another.
"""

from collections.abc import Sequence
from typing import NamedTuple

from kmsim.mm.mmzone import MAX_NR_ZONES, ZONE_MOVABLE

# The physical address at which a zone type ends, by architecture; MAX_NR_ZONES entries.
ZONE_ENDS = {
    "x86-64": (16 << 20, 4 << 30, 1 << 52, 1 << 52),
    "arm64": (4 << 30, 4 << 30, 1 << 52, 1 << 52),
}
NO_MOVABLE = 0  # of a node without ZONE_MOVABLE


class PfnRange(NamedTuple):
    """Page frames `start` to `end`, the latter not included."""

    start: int
    end: int


class BootNode(NamedTuple):
    """A node as firmware describes it: its RAM, sorted, and its CPUs; it may have none of either."""

    ram: tuple[PfnRange, ...]
    cpus: tuple[int, ...]


class MovableShare(NamedTuple):
    """What the kernel's command line says of ZONE_MOVABLE, in pages; 0 where it says nothing."""

    kernelcore: int = 0
    movablecore: int = 0


def subtract(ranges: tuple[PfnRange, ...], holes: tuple[PfnRange, ...]) -> list[PfnRange]:
    """The parts of `ranges` that no hole covers."""
    left = []
    for piece in ranges:
        start = piece.start
        for hole in holes:
            if hole.end > start and hole.start < piece.end:
                if hole.start > start:
                    left.append(PfnRange(start, hole.start))
                start = max(start, hole.end)
        if start < piece.end:
            left.append(PfnRange(start, piece.end))
    return left


def overlap(ranges: Sequence[PfnRange], start: int, end: int) -> int:
    """How many page frames of `ranges` lie between `start` and `end`."""
    return sum(max(0, min(piece.end, end) - max(piece.start, start)) for piece in ranges)


def arch_zones(zone_ends: Sequence[int], page_shift: int, ram: Sequence[PfnRange]) -> list[PfnRange]:
    """What each zone type may span on this machine, from its first page frame to its last (kernel: free_area_init).

    `zone_ends` are the physical addresses at which they end (kernel: zone_dma_limit is that of DMA).
    """
    low, last = ram[0].start, ram[-1].end
    zones = []
    for end_address in zone_ends:
        high = max(min(end_address >> page_shift, last), low)
        zones.append(PfnRange(low, high))
        low = high
    return zones


def zone_spans(zones: Sequence[PfnRange], node: BootNode, movable_pfn: int) -> list[PfnRange]:
    """What a node's zones span, by type (kernel: zone_spanned_pages_in_node, adjust_zone_range_for_zone_movable)."""
    if not node.ram:
        return [PfnRange(0, 0)] * MAX_NR_ZONES
    first, last = node.ram[0].start, node.ram[-1].end
    limit = movable_pfn or last
    spans = []
    for zone in zones:
        start, end = (min(max(pfn, zone.start), zone.end) for pfn in (first, last))
        spans.append(PfnRange(min(start, limit), min(end, limit)))
    spans[ZONE_MOVABLE] = PfnRange(limit, last)
    return spans


def find_usable_zone_for_movable(zones: Sequence[PfnRange]) -> PfnRange:
    """The highest zone type that is there, from which ZONE_MOVABLE is taken (kernel: the same)."""
    return next(zone for zone in reversed(zones[:ZONE_MOVABLE]) if zone.end > zone.start)


def find_zone_movable_pfns_for_nodes(
    zones: Sequence[PfnRange], nodes: Sequence[BootNode], share: MovableShare, max_order_nr_pages: int
) -> list[int]:
    """Where ZONE_MOVABLE begins on each node, or NO_MOVABLE (kernel: the same)."""
    starts = [NO_MOVABLE] * len(nodes)
    required = required_kernelcore(nodes, share, max_order_nr_pages)
    usable_nodes = sum(1 for node in nodes if node.ram)
    while required and usable_nodes:
        required = _spread_kernelcore(nodes, starts, required, usable_nodes, find_usable_zone_for_movable(zones).start)
        usable_nodes -= 1
        if required <= usable_nodes:
            break
    for n, node in enumerate(nodes):
        starts[n] = -(-starts[n] // max_order_nr_pages) * max_order_nr_pages
        if not node.ram or starts[n] >= node.ram[-1].end:
            starts[n] = NO_MOVABLE
    return starts


def required_kernelcore(nodes: Sequence[BootNode], share: MovableShare, max_order_nr_pages: int) -> int:
    """Pages that the kernel can use; 0 if that is all, and so there is no ZONE_MOVABLE."""
    total_pages = sum(piece.end - piece.start for node in nodes for piece in node.ram)
    required = share.kernelcore
    if share.movablecore:
        movable = min(-(-share.movablecore // max_order_nr_pages) * max_order_nr_pages, total_pages)
        required = max(required, total_pages - movable)
    return required if required < total_pages else 0


def _spread_kernelcore(
    nodes: Sequence[BootNode], starts: list[int], required: int, usable_nodes: int, usable_start: int
) -> int:
    """Move ZONE_MOVABLE's begin on each node up by an even share of the pages required; how many are left over."""
    share = required // usable_nodes
    for n, node in enumerate(nodes):
        if required < share:
            share = required // usable_nodes
        remaining = share
        for piece in node.ram:
            start = max(piece.start, starts[n])
            if start >= piece.end:
                continue
            # Below the zone type that ZONE_MOVABLE is taken from, all is the kernel's.
            below = max(min(piece.end, usable_start) - start, 0)
            remaining -= min(below, remaining)
            required -= min(below, required)
            taken = min(piece.end - start - below, remaining)
            starts[n] = start + below + taken
            required -= min(taken, required)
            remaining -= taken
            if piece.end > usable_start and not remaining:
                break
    return required


assert all(len(ends) == MAX_NR_ZONES for ends in ZONE_ENDS.values())
