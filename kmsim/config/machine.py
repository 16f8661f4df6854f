"""The machine: architecture, page size, orders, memory, CPUs and the kernel's switches.

Everything that can be derived is derived here, so that a resolved machine has no open key: the
largest order from the page size, the memory map from the memory, the boot's reservations from both.
Leaves out: the layout of NUMA nodes (``node_layout``), memory hot-plug, the initial state (``state``).
"""

from collections.abc import Iterator
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BeforeValidator, Field, WithJsonSchema

from kmsim.config.caches import CacheConfig, shipped_caches
from kmsim.config.memory_map import (
    GIB,
    KIB,
    MIB,
    PHYSMEM_BITS,
    Arch,
    BootShape,
    MemoryRange,
    NodeShare,
    Ranges,
    ReservedRange,
    ZoneEnds,
    default_memory_map,
    default_released,
    default_reserved,
    default_zone_ends,
    managed_bytes,
    overlap_bytes,
)
from kmsim.config.movable import Cma, Core
from kmsim.config.node_layout import (
    CPUS_MAX,
    FIRMWARE_HOLES_MAX,
    MEMORY_MIN,
    Distances,
    Nodes,
    default_distances,
    distances_findings,
    node_ranges,
    nodes_findings,
)
from kmsim.config.policies import PoliciesConfig
from kmsim.config.quantities import (
    Bool,
    Finding,
    Model,
    Name,
    SomeText,
    auto_or,
    count,
    count_or_auto,
    finding,
    refused,
    size,
    some_items,
    time,
)
from kmsim.config.releases import RELEASE
from kmsim.config.slab import SlabConfig, VmallocConfig
from kmsim.config.state import Fresh, State, state_findings
from kmsim.config.sysctl import KIB_MIN, SysctlConfig
from kmsim.mm.getorder import ilog2
from kmsim.mm.kernels import KERNELS, NEWEST, NEWEST_RELEASE
from kmsim.mm.mmzone import NR_NODES_MAX, PAGE_ALLOC_COSTLY_ORDER
from kmsim.mm.slab_geometry import MINALIGN, SlabBuild
from kmsim.mm.slab_kernels import slab_kernel_of
from kmsim.units import TIME_UNITS, format_size

PAGE_SIZES = (4 * KIB, 16 * KIB, 64 * KIB)
ZONES_KIB_MIN = 4 * KIB  # assumed: with less, no kernel starts its first process
RANGES_MAX = 256
CACHES_MAX = 256
SWAP_MAX = 16 * 1024 * GIB
BATCH_MAX = 1 << 16  # assumed: 256 MiB at once, in 4 KiB pages
HIGH_MAX = (1 << 31) - 1  # the kernel keeps it as int
_ORDER_NEEDS = ("arch", "page_size", "thp")
_MEMORY_NEEDS = ("arch", "page_size", "max_page_order", "cpus", "memory", "nodes", "memory_map", "reserved", "sysctl")


def _page_size(value: int) -> int:
    if value not in PAGE_SIZES:
        raise refused("one_of", choices=", ".join(map(format_size, PAGE_SIZES)))
    return value


def _release(value: object) -> str:
    if not isinstance(value, str) or not RELEASE.fullmatch(value):
        raise refused("release")
    return value


def _policies_of(value: object) -> str:
    if not isinstance(value, str) or value not in KERNELS:
        raise refused("one_of", choices=", ".join(KERNELS))
    return value


PageSize = Annotated[
    int,
    size(1),
    AfterValidator(_page_size),
    WithJsonSchema({"enum": [format_size(page) for page in PAGE_SIZES]}),
]
Reserved = Annotated[tuple[ReservedRange, ...], Field(max_length=RANGES_MAX)]
Release = Annotated[
    str,
    BeforeValidator(_release),
    WithJsonSchema({"anyOf": [{"type": "string"}, {"type": "number"}], "examples": ["6.12"]}),
]
PoliciesOf = Annotated[
    str,
    BeforeValidator(_policies_of),
    WithJsonSchema({"enum": [*KERNELS, *map(float, KERNELS)]}),
]


def _own_policies(value: PoliciesConfig | None) -> PoliciesConfig | None:
    """The files in place of policies; nothing where there is none, whether or not the config says so."""
    return value if value is not None and value.files else None


Policies = Annotated[PoliciesConfig | None, AfterValidator(_own_policies)]


def default_max_page_order(page_size: int) -> int:
    """MAX_PAGE_ORDER as the architectures set it: 10, 11 and 13 for 4, 16 and 64 KiB."""
    return {4 * KIB: 10, 16 * KIB: 11}.get(page_size, 13)


def pmd_order(page_size: int) -> int:
    """Order of a huge page: one page of 8-byte entries (kernel: HPAGE_PMD_ORDER)."""
    return ilog2(page_size) - 3


def largest_pageblock_order(page_size: int, max_page_order: int, *, huge: bool) -> int:
    """Order of the blocks that have one migratetype: at most a huge page's (kernel: pageblock_order)."""
    return min(pmd_order(page_size), max_page_order) if huge else max_page_order


def section_bits(arch: Arch, page_size: int) -> int:
    """Log2 of a memory section (kernel: SECTION_SIZE_BITS)."""
    return 29 if arch == "arm64" and page_size == 64 * KIB else 27


Batch = Annotated[
    int | Literal["auto"], BeforeValidator(count_or_auto(1, BATCH_MAX)), WithJsonSchema(auto_or(1, BATCH_MAX))
]
High = Annotated[
    int | Literal["auto"], BeforeValidator(count_or_auto(1, HIGH_MAX)), WithJsonSchema(auto_or(1, HIGH_MAX))
]


class ThpConfig(Model):
    """Transparent huge pages: whether the kernel can, and whether it does."""

    built_in: Bool = True
    enabled: Literal["always", "madvise", "never"] = Field(
        default_factory=lambda got: "madvise" if got["built_in"] else "never"
    )


class PcpConfig(Model):
    """The per-CPU lists: whether they grow and shrink with their use, as from Linux 6.7 on; sizes in pages."""

    auto_tune: Bool = NEWEST.auto_tune
    batch: Batch = "auto"
    high: High = "auto"
    batch_scale_max: Annotated[int, count(0, 6)] = NEWEST.batch_scale_max


class MachineConfig(Model):
    """One machine, resolved."""

    name: Name = "machine"
    notes: tuple[SomeText, ...] = ()
    kernel_release: Release = NEWEST_RELEASE
    policies_of: PoliciesOf = NEWEST_RELEASE
    policies: Policies = None
    recorded_release: SomeText = Field(default_factory=lambda got: got["kernel_release"])
    arch: Arch
    page_size: PageSize = 4 * KIB
    thp: ThpConfig = ThpConfig()
    hugetlb: Bool = True
    max_page_order: Annotated[int, count(0)] = Field(
        default_factory=lambda got: default_max_page_order(got["page_size"])
    )
    pageblock_order: Annotated[int, count(1)] = Field(
        default_factory=lambda got: largest_pageblock_order(
            got["page_size"], got["max_page_order"], huge=got["hugetlb"] or got["thp"].built_in
        )
    )
    cpus: Annotated[int, count(1, CPUS_MAX)]
    memory: Annotated[int, size(MEMORY_MIN, 1024 * GIB)]
    nodes: Annotated[Nodes, Field(max_length=NR_NODES_MAX), some_items] | None = None
    distances: Distances | None = Field(default_factory=lambda got: default_distances(got["nodes"]))
    kernelcore: Core | None = None
    movablecore: Core | None = None
    cma: Cma = 0
    memory_map: Annotated[Ranges, Field(max_length=RANGES_MAX), some_items] = Field(
        default_factory=lambda got: default_memory_map(got["arch"], got["memory"], got["page_size"])
    )
    zone_ends: ZoneEnds = Field(
        default_factory=lambda got: default_zone_ends(got["arch"], got["kernel_release"], got["memory_map"])
    )
    reserved: Reserved = Field(default_factory=lambda got: default_reserved(_shape(got)))
    released: Reserved = Field(default_factory=lambda got: default_released(_shape(got), got["reserved"]))
    swap: Annotated[int, size(0, SWAP_MAX)] = 0
    cache_slice: Annotated[int, size(0, GIB)] = 2 * MIB
    pcp: PcpConfig = PcpConfig()
    slab: SlabConfig = SlabConfig()
    caches: Annotated[tuple[CacheConfig, ...], Field(max_length=CACHES_MAX)] = ()
    vmalloc: VmallocConfig = VmallocConfig()
    check_pages: Bool = NEWEST.check_pages
    tails_written: Bool = NEWEST.tails_written
    init_on_alloc: Bool = False
    init_on_free: Bool = False
    timeslice: Annotated[int, time(TIME_UNITS["us"])] = 3 * TIME_UNITS["ms"]
    sysctl: SysctlConfig = SysctlConfig()
    state: State = Fresh()

    @property
    def page_shift(self) -> int:
        """Log2 of the page size (kernel: PAGE_SHIFT)."""
        return ilog2(self.page_size)

    @property
    def pmd_order(self) -> int:
        """Order of a huge page: one page of 8-byte entries (kernel: HPAGE_PMD_ORDER)."""
        return pmd_order(self.page_size)

    @property
    def section_size_bits(self) -> int:
        """Log2 of a memory section (kernel: SECTION_SIZE_BITS)."""
        return section_bits(self.arch, self.page_size)

    @property
    def managed_bytes(self) -> int:
        """Memory that the boot leaves to the zones."""
        return managed_bytes(self.memory_map, self.reserved)

    @property
    def has_orders(self) -> bool:
        """Is the largest order one that the machine can have?"""
        return not any(self._order_findings())

    @property
    def slab_build(self) -> SlabBuild:
        """What SLUB sees of this machine."""
        kernel = slab_kernel_of(self.policies_of)
        minalign = kernel.arm64_minalign if self.arch == "arm64" else MINALIGN
        return SlabBuild(
            self.page_shift,
            self.cpus,
            self.max_page_order,
            arch_kmalloc_minalign=minalign,
            kmalloc_minalign=minalign,
            memcg=self.slab.memcg,
            buckets=self.slab.buckets,
            kernel=kernel,
            partial_counts_objects=KERNELS[self.policies_of].partial_counts_objects,
            sheaves=self.slab.has_sheaves,
        )

    @property
    def known_caches(self) -> dict[str, CacheConfig]:
        """The shipped caches and its own, by name; one of its own stands in place of a shipped one."""
        own = {cache.name: cache for cache in self.caches if cache.arch in (None, self.arch)}
        return shipped_caches(self.arch) | own

    def findings(self) -> Iterator[Finding]:
        """What is wrong between the keys of this machine; what is wrong with a cache, the cache says."""
        if self.arch == "x86-64" and self.page_size != PAGE_SIZES[0]:
            yield finding(("page_size",), "page_size_arch", needs=("arch",))
            return  # every limit below follows from the page size
        orders = list(self._order_findings())
        yield from orders
        limit = largest_pageblock_order(self.page_size, self.max_page_order, huge=self.hugetlb or self.thp.built_in)
        if not orders and self.pageblock_order > limit:
            at = ("pageblock_order",)
            yield finding(at, "pageblock_order", needs=("max_page_order", "hugetlb", *_ORDER_NEEDS), limit=limit)
        if not self.thp.built_in and self.thp.enabled != "never":
            yield finding(("thp", "enabled"), "thp_built_in")
        yield from (found._replace(needs=("page_size",)) for found in self._zone_end_findings())
        ranges = list(self._node_findings()) or list(self._map_findings())
        if not ranges and not orders:
            ranges = list(self._size_findings())
        yield from (found._replace(needs=_MEMORY_NEEDS) for found in ranges)
        space = self.vmalloc.size
        if space != "auto" and space % self.page_size:
            page = format_size(self.page_size)
            yield finding(("vmalloc", "size"), "page_multiple", needs=("arch", "page_size"), page=page)
        yield from self._pcp_findings()
        for found in state_findings(self.state, self.max_page_order):
            yield found._replace(needs=("max_page_order", *_ORDER_NEEDS))

    def _pcp_findings(self) -> Iterator[Finding]:
        if self.pcp.auto_tune and not KERNELS[self.policies_of].high_order_lists:
            needs = ("kernel_release", "policies_of")
            yield finding(("pcp", "auto_tune"), "auto_tune", needs=needs, release=self.policies_of)
        batch, high = self.pcp.batch, self.pcp.high
        if high == "auto":
            return
        if self.sysctl.percpu_pagelist_high_fraction:
            key = "sysctl.percpu_pagelist_high_fraction"
            yield finding(("pcp", "high"), "left_out", needs=("sysctl",), key=key)
        elif batch != "auto" and high < 4 * batch:
            yield finding(("pcp", "high"), "at_least", limit=4 * batch)

    def _order_findings(self) -> Iterator[Finding]:
        order, limit = self.max_page_order, self.section_size_bits - self.page_shift
        if order < PAGE_ALLOC_COSTLY_ORDER:
            yield finding(("max_page_order",), "order_costly", needs=_ORDER_NEEDS)
        elif order > limit:
            section = format_size(1 << self.section_size_bits)
            at = ("max_page_order",)
            yield finding(at, "order_section", needs=_ORDER_NEEDS, limit=limit, section=section)
        elif self.thp.built_in and order < self.pmd_order:
            yield finding(("max_page_order",), "order_pmd", needs=_ORDER_NEEDS, limit=self.pmd_order)

    def _node_findings(self) -> Iterator[Finding]:
        if self.distances is not None:
            yield from distances_findings(self.distances, self.nodes)
        if self.nodes is not None:
            yield from nodes_findings(
                self.nodes,
                cpus=self.cpus,
                memory=self.memory,
                memory_map=self.memory_map,
                page_size=self.page_size,
            )

    def _map_findings(self) -> Iterator[Finding]:
        if self.memory % self.page_size:
            yield finding(("memory",), "page_multiple", page=format_size(self.page_size))
            return  # a map derived from it would be wrong in the same way
        wrong = list(self._range_findings("memory_map", self.memory_map))
        yield from wrong
        if wrong:
            return  # so would the reservations derived from it
        yield from self._range_findings("reserved", self.reserved)
        yield from self._range_findings("released", self.released)
        for n, given_back in enumerate(self.released):
            if any(overlap_bytes(given_back, kept) for kept in self.reserved):
                yield finding(("released", n), "released_kept")
        total = sum(ram.size for ram in self.memory_map)
        if not 0 <= self.memory - total <= FIRMWARE_HOLES_MAX:
            yield finding(("memory",), "map_agrees", total=format_size(total))

    def _range_findings(self, key: str, ranges: tuple[MemoryRange, ...]) -> Iterator[Finding]:
        page, end = self.page_size, 0
        limit = 1 << PHYSMEM_BITS[self.arch]
        for n, entry in enumerate(ranges):
            if entry.start % page:
                yield finding((key, n, "start"), "page_multiple", page=format_size(page))
            elif entry.start < end:
                yield finding((key, n, "start"), "range_order", end=format_size(end))
            if entry.size % page:
                yield finding((key, n, "size"), "page_multiple", page=format_size(page))
            elif entry.end > limit:
                found = f"{format_size(entry.end)} as the end"
                yield finding((key, n), "range_end", found=found, limit=format_size(limit), arch=self.arch)
            end = max(end, entry.end)

    def _zone_end_findings(self) -> Iterator[Finding]:
        end = 0
        for name in ("DMA", "DMA32", "Normal"):
            address = getattr(self.zone_ends, name)
            if address % self.page_size:
                yield finding(("zone_ends", name), "page_multiple", page=format_size(self.page_size))
            elif address < end:
                yield finding(("zone_ends", name), "zone_ends")
            end = address
        ram_end = max(entry.end for entry in self.memory_map)
        if end < ram_end:
            yield finding(("zone_ends", "Normal"), "zone_ends_ram", end=format_size(ram_end))

    def _size_findings(self) -> Iterator[Finding]:
        managed_kib = self.managed_bytes // KIB
        fixed = self.sysctl.min_free_kbytes
        if fixed != "auto" and fixed >= managed_kib > 0:
            yield finding(("sysctl", "min_free_kbytes"), "min_free", managed=managed_kib)
            return
        low = ZONES_KIB_MIN + (KIB_MIN if fixed == "auto" else fixed)
        if managed_kib <= low:
            found = f"{max(managed_kib, 0)}KiB left"
            yield finding(("memory",), "memory_small", found=found, need=f"{low}KiB")


def _shape(got: dict[str, Any]) -> BootShape:
    section = 1 << section_bits(got["arch"], got["page_size"])
    memory_map, nodes = got["memory_map"], got["nodes"]
    shares: tuple[NodeShare, ...] = ()
    if nodes is not None:
        ranges = node_ranges(nodes, memory_map) if memory_map else [()] * len(nodes)
        shares = tuple(NodeShare(of_node, len(node.cpus)) for of_node, node in zip(ranges, nodes, strict=True))
    return BootShape(got["arch"], got["page_size"], section, got["cpus"], memory_map, shares)
