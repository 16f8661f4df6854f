"""The boot: zones over the machine's RAM, and all that is not reserved given to the buddy allocator.

Follows memblock_free_all: free ranges in ascending order, each cut into the largest aligned blocks,
each put at the tail of its list (kernel: mm/memblock.c, mm/mm_init.c, arch/*/mm/init.c). x86-64
has DMA (16 MiB), DMA32 (4 GiB) and Normal; arm64 has DMA up to 4 GiB and then Normal. The watermarks
are computed before the boot gives its last pages back (initrd, init sections: `released`); sysctls are
written when it is over. Leaves out
what else the boot allocates and frees on the way: `reserved` says what of it stays.
"""

from collections.abc import Sequence
from typing import NamedTuple

from kmsim.jit import entry
from kmsim.jit_policies import Policies
from kmsim.mm.buddy import split_large_buddy
from kmsim.mm.indices import NodeIdx
from kmsim.mm.lru import refresh_node_stat_thresholds
from kmsim.mm.mmzone import MAX_NR_ZONES, NO_CACHES, Machine, new_machine, zones_of_node
from kmsim.mm.params import Params
from kmsim.mm.recount import validate
from kmsim.mm.rmap import machine_with_holders
from kmsim.mm.zone_setup import Sysctl, has_few_pageblocks, init_watermarks, set_cacheinfo, write_sysctl
from kmsim.mm.zonelist import build_all_zonelists, page_zone

BOOT_NODE = 0  # the only one so far

# The physical address at which a zone type ends, by architecture; MAX_NR_ZONES entries.
ZONE_ENDS = {
    "x86-64": (16 << 20, 4 << 30, 1 << 52, 1 << 52),
    "arm64": (4 << 30, 4 << 30, 1 << 52, 1 << 52),
}


class PfnRange(NamedTuple):
    """Page frames `start` to `end`, the latter not included."""

    start: int
    end: int


class Boot(NamedTuple):
    """What a kernel finds and how it was built; ranges are sorted and do not overlap.

    Of `params` the boot finds `nr_frames` and `mobility_disabled` itself.
    """

    arch: str
    params: Params
    thp_enabled: bool
    ram: tuple[PfnRange, ...]
    reserved: tuple[PfnRange, ...]
    released: tuple[PfnRange, ...] = ()
    sysctl: Sysctl = Sysctl()
    cache_slice_bytes: int = 2 << 20
    zone_ends: tuple[int, ...] = ()  # physical addresses, by zone type; none: the architecture's
    policies: Policies | None = None
    reclaims: bool = False  # with LRU lists


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


def zone_bounds(boot: Boot) -> list[PfnRange]:
    """What each zone type spans on this machine (kernel: zone_spanned_pages_in_node)."""
    first, last = boot.ram[0].start, boot.ram[-1].end
    bounds = []
    low = 0
    for end_address in boot.zone_ends or ZONE_ENDS[boot.arch]:
        high = end_address >> boot.params.page_shift
        bounds.append(PfnRange(min(max(first, low), high), min(max(last, low), high)))
        low = high
    return bounds


def boot_machine(boot: Boot) -> Machine:
    """A machine as it is when the kernel has started: all free memory in the largest blocks, caches cold."""
    bounds = zone_bounds(boot)
    present_pages = [overlap(boot.ram, span.start, span.end) for span in bounds]
    params = boot.params._replace(
        nr_frames=boot.ram[-1].end,
        mobility_disabled=has_few_pageblocks(sum(present_pages), boot.params.pageblock_order),
    )
    m = new_machine(params._replace(cache_lines=NO_CACHES), policies=boot.policies, reclaims=boot.reclaims)
    early = subtract(boot.ram, tuple(sorted(boot.reserved + boot.released)))
    outside = subtract(boot.released, boot.ram)
    late = subtract(boot.released, tuple(sorted((*boot.reserved, *outside))))
    lay_out_node(m, BOOT_NODE, bounds, boot.ram, early)
    build_all_zonelists(m)
    for piece in early:
        free_range(m, piece.start, piece.end)
    min_free_kbytes = init_watermarks(m, thp_enabled=boot.thp_enabled)
    set_cacheinfo(m, boot.cache_slice_bytes)
    for zone, span in zip(zones_of_node(m, BOOT_NODE), bounds, strict=True):
        zone.managed_pages += overlap(late, span.start, span.end)
    for piece in late:
        free_range(m, piece.start, piece.end)
    write_sysctl(m, boot.sysctl, min_free_kbytes)
    m.work[0] = 0
    m.params[0].cache_lines = params.cache_lines
    if boot.reclaims:
        refresh_node_stat_thresholds(m)
        return machine_with_holders(m)
    return m


def lay_out_node(
    m: Machine, n: NodeIdx, bounds: Sequence[PfnRange], ram: Sequence[PfnRange], managed: Sequence[PfnRange]
) -> None:
    """Say what a node's zones span, by type, and what of that is memory (kernel: free_area_init_node)."""
    for zone, span in zip(zones_of_node(m, n), bounds, strict=True):
        present = overlap(ram, span.start, span.end)
        if present:
            zone.start_pfn = span.start
            zone.end_pfn = span.end
            zone.present_pages = present
            zone.managed_pages = overlap(managed, span.start, span.end)


@entry
def free_range(m: Machine, start: int, end: int) -> None:
    """Give a range of page frames to the zones in the largest aligned blocks (kernel: __free_pages_memory)."""
    max_page_order = m.params[0].max_page_order
    while start < end:
        zone = page_zone(m, start)
        zone_end = min(end, m.zones[zone].end_pfn)  # only frame 0, which firmware keeps, could head a block over two
        order = max_page_order
        while start & ((1 << order) - 1) or start + (1 << order) > zone_end:
            order -= 1
        m.contexts[0].zone = zone
        split_large_buddy(m, 0, start, order, True)
        start += 1 << order


@entry
def recount(m: Machine) -> None:
    """`mm.recount.validate` for Python callers."""
    validate(m)


assert all(len(ends) == MAX_NR_ZONES for ends in ZONE_ENDS.values())
