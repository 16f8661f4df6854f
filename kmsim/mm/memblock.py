"""The boot: zones over each node's RAM, and all that is not reserved given to the buddy allocator.

Follows memblock_free_all: free ranges in ascending order, each cut into the largest aligned blocks,
each put at the tail of its list (kernel: mm/memblock.c). The zonelists are built, and per-CPU lists sized, when
all CPUs are on their nodes. The watermarks are computed before the boot gives its last pages back (initrd, init
sections: `released`); sysctls are written when it is over. Leaves out what else the boot allocates and frees on the
way: `reserved` says what of it stays.
"""

from collections.abc import Sequence
from typing import NamedTuple

from kmsim.jit import entry
from kmsim.jit_policies import Policies
from kmsim.mm.buddy import split_large_buddy
from kmsim.mm.indices import NodeIdx, ZoneType
from kmsim.mm.mm_init import (
    ZONE_ENDS,
    BootNode,
    MovableShare,
    PfnRange,
    arch_zones,
    find_zone_movable_pfns_for_nodes,
    overlap,
    subtract,
    zone_spans,
)
from kmsim.mm.mmzone import NO_CACHES, Machine, new_machine, zones_of_node
from kmsim.mm.params import Params
from kmsim.mm.recount import validate
from kmsim.mm.zone_setup import (
    Sysctl,
    has_few_pageblocks,
    init_watermarks,
    managed_pages_changed,
    set_cacheinfo,
    write_sysctl,
)
from kmsim.mm.zonelist import build_all_zonelists, page_zone


class Boot(NamedTuple):
    """What a kernel finds and how it was built; ranges are sorted and do not overlap.

    Of `params` the boot finds `nr_frames` and `mobility_disabled` itself. `nodes` divide `ram` and the CPUs; without
    them, the first node has all. `distances` is from each node to each; without it, nodes are as far apart as those of
    which firmware says nothing. `zone_ends` are the addresses at which zone types end; without them,
    those of the architecture.
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
    nodes: tuple[BootNode, ...] = ()
    distances: tuple[tuple[int, ...], ...] = ()
    movable: MovableShare = MovableShare()


def nodes_of(boot: Boot) -> tuple[BootNode, ...]:
    """The nodes of a machine, each of `nr_nodes`."""
    if boot.nodes:
        assert len(boot.nodes) == boot.params.nr_nodes
        return boot.nodes
    whole = BootNode(boot.ram, tuple(range(boot.params.nr_cpus)))
    return (whole, *[BootNode((), ())] * (boot.params.nr_nodes - 1))


def zone_bounds(boot: Boot) -> list[list[PfnRange]]:
    """What the zones of each node span, by type (kernel: free_area_init)."""
    nodes = nodes_of(boot)
    zones = arch_zones(boot.zone_ends or ZONE_ENDS[boot.arch], boot.params.page_shift, boot.ram)
    largest = 1 << boot.params.max_page_order
    movable_pfns = find_zone_movable_pfns_for_nodes(zones, nodes, boot.movable, largest)
    return [zone_spans(zones, *of_node) for of_node in zip(nodes, movable_pfns, strict=True)]


def populated_types(boot: Boot) -> list[tuple[NodeIdx, ZoneType]]:
    """The nodes and types of the zones that have memory."""
    return [
        (n, zone_type)
        for n, (node, bounds) in enumerate(zip(nodes_of(boot), zone_bounds(boot), strict=True))
        for zone_type, span in enumerate(bounds)
        if overlap(node.ram, span.start, span.end)
    ]


def boot_machine(boot: Boot) -> Machine:
    """A machine as it is when the kernel has started: all free memory in the largest blocks, caches cold."""
    params = boot.params._replace(
        nr_frames=boot.ram[-1].end,
        mobility_disabled=has_few_pageblocks(
            sum(piece.end - piece.start for piece in boot.ram), boot.params.pageblock_order
        ),
    )
    m = new_machine(params._replace(cache_lines=NO_CACHES), policies=boot.policies)
    early = subtract(boot.ram, tuple(sorted(boot.reserved + boot.released)))
    outside = subtract(boot.released, boot.ram)
    late = subtract(boot.released, tuple(sorted((*boot.reserved, *outside))))
    _lay_out_nodes(m, boot, early)
    build_all_zonelists(m)
    for piece in early:
        free_range(m, piece.start, piece.end)
    min_free_kbytes = init_watermarks(m, thp_enabled=boot.thp_enabled)
    set_cacheinfo(m, boot.cache_slice_bytes)
    for zone in m.zones:
        zone.managed_pages += overlap(late, int(zone.start_pfn), int(zone.end_pfn))
    managed_pages_changed(m)
    for piece in late:
        free_range(m, piece.start, piece.end)
    write_sysctl(m, boot.sysctl, min_free_kbytes)
    m.work[0] = 0
    m.params[0].cache_lines = params.cache_lines
    return m


def _lay_out_nodes(m: Machine, boot: Boot, managed: Sequence[PfnRange]) -> None:
    """Give each node its zones and its CPUs, and say how far away the others are."""
    for n, (node, bounds) in enumerate(zip(nodes_of(boot), zone_bounds(boot), strict=True)):
        lay_out_node(m, n, bounds, node.ram, managed)
        m.cpus["node"][list(node.cpus)] = n
    if boot.distances:
        m.nodes["distance"][:, : len(m.nodes)] = boot.distances


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
