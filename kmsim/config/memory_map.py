"""Where a machine's memory lies and what its boot keeps of it: ranges in bytes, and their defaults.

Models the map as firmware hands it over (x86: a hole below 1 MiB and one from 2 GiB to 4 GiB; arm64: RAM
from 1 GiB on) and the boot's reservations: kernel image, struct pages, hash tables, per-CPU areas,
bounce buffers. Sizes come from the recorded kernels (Linux 6.12, minimal configuration), whose
``present - managed`` the defaults meet within 1 % (x86-64) and 2 % (arm64, 64 KiB pages).
Leaves out: memory hot-plug, crash kernels, CMA.
"""

from collections.abc import Iterator
from typing import Annotated, Any, Literal, NamedTuple, Self

from kmsim.config.quantities import Model, Name, size
from kmsim.config.releases import version_of
from kmsim.mm.mm_init import ZONE_ENDS, PfnRange, subtract
from kmsim.units import SIZE_UNITS

Arch = Literal["x86-64", "arm64"]
KIB, MIB, GIB = (SIZE_UNITS[unit] for unit in ("KiB", "MiB", "GiB"))

PHYSMEM_BITS = {"x86-64": 46, "arm64": 48}  # kernel: MAX_PHYSMEM_BITS
STRUCT_PAGE_BYTES = 64
LOW_ENDS = tuple(2 * GIB + step * 256 * MIB for step in range(8))  # where firmware's hole below 4 GiB may begin
SWIOTLB_BYTES = 64 * MIB  # kernel: IO_TLB_DEFAULT_SIZE
FIRMWARE_BYTES = 0x21000  # what the recorded machines' firmware keeps at the end of low memory


class MemoryRange(Model):
    """A range of RAM."""

    start: Annotated[int, size(0)]
    size: Annotated[int, size(1)]

    @classmethod
    def between(cls, start: int, end: int, **more: Any) -> Self:
        """The range from one byte up to another, both known to be right."""
        return cls.model_construct(start=start, size=end - start, **more)

    @property
    def end(self) -> int:
        """The first byte after the range."""
        return self.start + self.size


# ZONE_DMA of arm64: none up to 5.4; from 5.5 on (commit 1a8e1cef7603, "arm64: use both ZONE_DMA and ZONE_DMA32") of 30
# bits on every machine; from 5.11 on as large as firmware allows, 32 bits where it says nothing (commit 8424ecdde7df,
# "arm64: mm: Set ZONE_DMA size based on devicetree's dma-ranges"), and in 5.10's stable releases from 5.10.22 on.
ARM64_BOTH_ZONES = (5, 5, 0)
ARM64_DMA_BY_FIRMWARE = (5, 10, 22)


def _max_zone_phys(start: int, zone_bits: int) -> int:
    """The end of a zone of so many bits, from RAM's first address on (kernel: max_zone_phys, up to 5.10)."""
    return (start >> zone_bits << zone_bits) + (1 << zone_bits)


class ZoneEnds(Model):
    """The physical address at which each zone type ends; those above it begin there."""

    DMA: Annotated[int, size(0)]
    DMA32: Annotated[int, size(0)]
    Normal: Annotated[int, size(0)]


class ReservedRange(MemoryRange):
    """A range that the boot takes for itself."""

    name: Name


Ranges = tuple[MemoryRange, ...]


def default_zone_ends(arch: Arch, release: str, memory_map: Ranges) -> ZoneEnds:
    """Where the zone types of an architecture end, where firmware sets no limit (kernel: arch_zone_limits_init)."""
    dma, dma32, normal, _ = ZONE_ENDS[arch]
    version = version_of(release)
    if arch == "arm64" and version < ARM64_DMA_BY_FIRMWARE:
        start = memory_map[0].start if memory_map else 0
        dma = _max_zone_phys(start, 30) if version >= ARM64_BOTH_ZONES else 0
        dma32 = _max_zone_phys(start, 32)
    return ZoneEnds.model_construct(DMA=dma, DMA32=dma32, Normal=normal)


def default_memory_map(arch: Arch, memory: int, page_size: int, low_end: int = 2 * GIB) -> Ranges:
    """RAM as the recorded machines' firmware lays it; a large x86-64 machine has it up to `low_end`, then a hole."""
    if arch == "arm64":
        return (MemoryRange.between(GIB, GIB + memory),)
    low = low_end if memory >= 0xB000_0000 else memory
    spans = [(page_size, 0x9F000), (MIB, low - FIRMWARE_BYTES), (4 * GIB, 4 * GIB + memory - low)]
    return tuple(MemoryRange.between(start, end) for start, end in spans if end > start)


class NodeShare(NamedTuple):
    """A node's part of the machine."""

    memory_map: Ranges
    cpus: int


class BootShape(NamedTuple):
    """What the size of the boot's reservations depends on; of one node, no `nodes` say as much."""

    arch: Arch
    page_size: int
    section_size: int
    cpus: int
    memory_map: Ranges
    nodes: tuple[NodeShare, ...] = ()


def struct_page_bytes(shape: BootShape) -> int:
    """The struct pages of a section of memory, one for each frame."""
    return shape.section_size // shape.page_size * STRUCT_PAGE_BYTES


def _sections(ranges: Ranges, section_size: int) -> set[int]:
    """The sections that hold memory, by number."""
    return {n for ram in ranges for n in range(ram.start // section_size, -(-ram.end // section_size))}


def hash_table_bytes(shape: BootShape) -> int:
    """The dentry and inode hash tables: 8 bytes for every 8 and every 16 KiB, powers of two."""
    total = sum(ram.size for ram in shape.memory_map)
    buckets = 1 << max((total // (8 * KIB) - 1).bit_length(), 10)
    return buckets * 8 + buckets // 2 * 8


def default_reserved(shape: BootShape) -> tuple[ReservedRange, ...]:
    """The boot's reservations: fixed ones low down, the others from the top of memory downwards."""
    if not shape.memory_map:
        return ()
    taken = [] if shape.arch == "arm64" else [("firmware", 0, MIB)]
    image = _image_start(shape)
    taken += [(name, image + start, end - start) for name, start, end in _IMAGE[shape.arch]]
    if shape.memory_map[-1].end > 4 * GIB:
        taken += _from_top(shape.memory_map, "swiotlb", SWIOTLB_BYTES, 4 * GIB, [*taken, *_released(shape)])
    limit = shape.memory_map[-1].end
    for name, size_bytes, ranges in _dynamic(shape):
        near = _from_top(ranges, name, size_bytes, limit, [*taken, *_released(shape)])
        taken += near
        left = size_bytes - sum(piece[2] for piece in near)  # what a node has no room for, or no memory at all
        taken += _from_top(shape.memory_map, name, left, limit, [*taken, *_released(shape)])
    taken.sort(key=lambda entry: entry[1])
    return tuple(ReservedRange.between(start, start + size, name=name) for name, start, size in taken)


def default_released(shape: BootShape, reserved: tuple[ReservedRange, ...]) -> tuple[ReservedRange, ...]:
    """What the boot reserves and gives back at its end: the parts of the image used only by it, but what is kept."""
    kept = tuple(sorted(PfnRange(entry.start, entry.end) for entry in reserved))  # in bytes
    parts = _released(shape) if shape.memory_map else []
    return tuple(
        ReservedRange.between(piece.start, piece.end, name=name)
        for name, start, size in parts
        for piece in subtract((PfnRange(start, start + size),), kept)
    )


def _released(shape: BootShape) -> list[tuple[str, int, int]]:
    image = _image_start(shape)
    return [(name, image + start, end - start) for name, start, end in _RELEASED[shape.arch]]


def _image_start(shape: BootShape) -> int:
    return 16 * MIB if shape.arch == "x86-64" else shape.memory_map[0].start + 2 * MIB


# The recorded kernels' images, from the start of the image; then what of them is freed after boot.
_IMAGE: dict[str, tuple[tuple[str, int, int], ...]] = {
    "x86-64": (
        ("kernel-text", 0, 0x6DE000),
        ("kernel-data", 0x800000, 0x8EB000),
        ("kernel-bss", 0x9D4000, 0xC00000),
    ),
    "arm64": (
        ("kernel-text", 0, 0x3C0000),
        ("kernel-data", 0x540000, 0x820000),
        ("device-tree", 0x900000, 0xA00000),
    ),
}
_RELEASED: dict[str, tuple[tuple[str, int, int], ...]] = {
    "x86-64": (("kernel-rodata-gap", 0x6DE000, 0x800000), ("kernel-init", 0x8EB000, 0x9D4000)),
    "arm64": (("kernel-init", 0x3C0000, 0x540000),),
}


def _dynamic(shape: BootShape) -> Iterator[tuple[str, int, Ranges]]:
    """Names and sizes of what the boot allocates, each rounded up to pages, and the memory that it is taken from.

    The struct pages of a node's sections and the per-CPU areas of its CPUs lie on it. With memory on several nodes,
    hash tables are made by vmalloc when the boot is over (kernel: fixup_hashdist).
    """
    per_cpu = max(256 * KIB, 13 * shape.page_size)  # assumed: fits the recorded kernels
    nodes = shape.nodes or (NodeShare(shape.memory_map, shape.cpus),)
    sizes: list[tuple[str, int, Ranges]] = []
    sections: set[int] = set()
    for node in nodes:
        first = _sections(node.memory_map, shape.section_size) - sections
        sections |= first
        sizes.append(("struct-pages", len(first) * struct_page_bytes(shape), node.memory_map))
    if sum(bool(node.memory_map) for node in nodes) == 1:
        sizes.append(("hash-tables", hash_table_bytes(shape), shape.memory_map))
    sizes += [("per-cpu", per_cpu * node.cpus, node.memory_map) for node in nodes]
    if shape.arch == "arm64":  # the linear map is made of pages (rodata=full): 8 bytes for each
        total_bytes = sum(ram.size for ram in shape.memory_map)
        sizes.append(("page-tables", total_bytes // shape.page_size * 8, shape.memory_map))
        sizes.append(("boot", 18 * shape.page_size, shape.memory_map))
    for name, size_bytes, ranges in sizes:
        yield name, -(-size_bytes // shape.page_size) * shape.page_size, ranges


def _from_top(
    ranges: Ranges, name: str, wanted: int, limit: int, taken: list[tuple[str, int, int]]
) -> list[tuple[str, int, int]]:
    """Free memory below ``limit``, highest first, as the boot's allocator finds it (kernel: memblock)."""
    found: list[tuple[str, int, int]] = []
    if not wanted:
        return found
    for ram in reversed(ranges):
        top = min(ram.end, limit)
        above = sorted((entry for entry in taken if entry[1] < top), key=lambda entry: -entry[1])
        for _, start, size_bytes in [*above, ("", 0, ram.start)]:
            low = max(start + size_bytes, ram.start)
            if low < top:
                piece = min(top - low, wanted)
                found.append((name, top - piece, piece))
                wanted -= piece
            if wanted == 0:
                return found
            top = min(top, start)
            if top <= ram.start:
                break
    return found


def overlap_bytes(one: MemoryRange, other: MemoryRange) -> int:
    """How many bytes two ranges share."""
    return max(0, min(one.end, other.end) - max(one.start, other.start))


def managed_bytes(memory_map: Ranges, reserved: tuple[ReservedRange, ...]) -> int:
    """What is left to the zones: RAM without what the boot reserves."""
    present = sum(ram.size for ram in memory_map)
    return present - sum(overlap_bytes(ram, taken) for ram in memory_map for taken in reserved)
