"""How a slab cache lays its objects out (kernel: calculate_sizes and calculate_order in mm/slub.c).

An *object* is what the caller asked for, a *slot* (`size`) the bytes it takes in a slab, a *slab* a block
of pages cut into slots. From an object's size, alignment and flags follow the slot, where the free
pointer lies, the slab's order, and how many slabs a CPU and a node keep.

Leaves out SLUB's debugging (red zones, poison, user tracking), KASAN, user-copy regions, and an order or
a number of objects given on the kernel's command line. Plain Python: a cache is created once.

Invariant: a slab of `order` holds `objects` >= 1 slots, one of `min_order` holds `min_objects` >= 1, and
every object is aligned, because `size` is a multiple of `align` and a slab starts on a page.
"""

from collections.abc import Iterable
from dataclasses import dataclass, fields

from kmsim.mm.getorder import get_order, ilog2
from kmsim.mm.params import Params
from kmsim.mm.slab_kernels import MINALIGN, NEWEST_SLAB, SlabKernel

# The kernel's bits without CONFIG_MEMCG, FAILSLAB, KASAN, KFENCE and DEBUG_OBJECTS. Where MEMCG is built
# in, SLAB_ACCOUNT stands before NO_USER_FLAGS and moves what follows; here it has a bit of its own, and
# the others stay what they are.
SLAB_FLAGS: dict[str, int] = {
    "SLAB_KMALLOC": 1 << 3,
    "SLAB_HWCACHE_ALIGN": 1 << 4,
    "SLAB_CACHE_DMA": 1 << 5,
    "SLAB_CACHE_DMA32": 1 << 6,
    "SLAB_PANIC": 1 << 8,
    "SLAB_TYPESAFE_BY_RCU": 1 << 9,
    "SLAB_NOLEAKTRACE": 1 << 11,
    "SLAB_NO_MERGE": 1 << 12,
    "SLAB_NO_USER_FLAGS": 1 << 13,
    "SLAB_RECLAIM_ACCOUNT": 1 << 14,
    "SLAB_ACCOUNT": 1 << 17,
    "SLAB_NO_SHEAVES": 1 << 18,
}
SLAB_KMALLOC = SLAB_FLAGS["SLAB_KMALLOC"]
SLAB_HWCACHE_ALIGN = SLAB_FLAGS["SLAB_HWCACHE_ALIGN"]
SLAB_CACHE_DMA = SLAB_FLAGS["SLAB_CACHE_DMA"]
SLAB_CACHE_DMA32 = SLAB_FLAGS["SLAB_CACHE_DMA32"]
SLAB_TYPESAFE_BY_RCU = SLAB_FLAGS["SLAB_TYPESAFE_BY_RCU"]
SLAB_NOLEAKTRACE = SLAB_FLAGS["SLAB_NOLEAKTRACE"]
SLAB_NO_MERGE = SLAB_FLAGS["SLAB_NO_MERGE"]
SLAB_RECLAIM_ACCOUNT = SLAB_FLAGS["SLAB_RECLAIM_ACCOUNT"]
SLAB_ACCOUNT = SLAB_FLAGS["SLAB_ACCOUNT"]
SLAB_NO_SHEAVES = SLAB_FLAGS["SLAB_NO_SHEAVES"]
CMPXCHG_DOUBLE = 1 << 16  # set by SLUB itself where the CPU can exchange two words at once

WORD = 8  # sizeof(void *) on 64-bit machines
SLUB_MAX_ORDER = 3  # PAGE_ALLOC_COSTLY_ORDER
MAX_OBJS_PER_PAGE = 32767
NO_SLAB_LIMIT = -1
NO_CPU_SLABS = -1  # in place of cpu_partial where CPUs have sheaves
SHEAF_HEADER = 32  # bytes of struct slab_sheaf before its objects
MIN_PARTIAL = 5
MAX_PARTIAL = 10


class SlabError(ValueError):
    """A cache that cannot be; the message says what must hold, to follow the word "must"."""


@dataclass(frozen=True, slots=True)
class SlabBuild:
    """The machine and the kernel's build, as far as SLUB sees them; sizes in bytes.

    A field that is one of `Params`, too, has its value from there (`slab_build`). `nr_cpus` are the CPUs that a slab's
    objects follow. The defaults are those of x86-64 and of arm64 with cache lines of 64 bytes: arm64 always has
    a bounce buffer for DMA into small kmalloc objects, which therefore need not be aligned for DMA.
    """

    page_shift: int
    nr_cpus: int
    max_page_order: int
    cache_line_size: int = 64
    arch_kmalloc_minalign: int = MINALIGN
    kmalloc_minalign: int = MINALIGN
    slab_minalign: int = 8
    cmpxchg_double: bool = True
    cpu_partial: bool = True
    merge: bool = True
    memcg: bool = False
    buckets: bool = False
    kernel: SlabKernel = NEWEST_SLAB
    partial_counts_objects: bool = False
    sheaves: bool = False

    @property
    def page_size(self) -> int:
        """Bytes of a page."""
        return 1 << self.page_shift

    @property
    def largest_slab(self) -> int:
        """Bytes of the largest block that the page allocator has (kernel: KMALLOC_MAX_SIZE)."""
        return self.page_size << self.max_page_order


OF_PARAMS = tuple(field.name for field in fields(SlabBuild) if field.name in Params._fields)


def slab_build(params: Params, kernel: SlabKernel, kmalloc_minalign: int) -> SlabBuild:
    """SLUB's view of a machine with these parameters; kmalloc aligns to as many bytes."""
    shared = {name: getattr(params, name) for name in OF_PARAMS}
    return SlabBuild(**shared, kernel=kernel, arch_kmalloc_minalign=kmalloc_minalign, kmalloc_minalign=kmalloc_minalign)


@dataclass(frozen=True, slots=True)
class Geometry:
    """A cache as it was created; sizes and offsets in bytes, orders of pages, flags as in `SLAB_FLAGS`."""

    name: str
    object_size: int
    size: int
    align: int
    inuse: int
    offset: int
    flags: int
    order: int
    objects: int
    min_order: int
    min_objects: int
    cpu_partial: int
    cpu_partial_slabs: int
    min_partial: int
    has_ctor: bool
    sheaf_capacity: int = 0  # objects of a sheaf; 0: the cache has none

    @property
    def wiped_bytes(self) -> int:
        """What of a freed object init_on_free zeroes: all, and the rest of its slot (kernel: slab_free_hook).

        Nothing where contents outlive a free: behind a constructor, or of SLAB_TYPESAFE_BY_RCU.
        """
        if self.has_ctor or self.flags & SLAB_TYPESAFE_BY_RCU:
            return 0
        return self.object_size + self.size - self.inuse

    @property
    def slab_pages(self) -> int:
        """Pages of a slab of the usual order."""
        return 1 << self.order


def slab_flags(names: Iterable[str]) -> int:
    """The mask of flags by their kernel names, with or without SLAB_ in front; KeyError names an unknown one."""
    mask = 0
    for name in names:
        mask |= SLAB_FLAGS[name if name in SLAB_FLAGS else f"SLAB_{name}"]
    return mask


def align_up(number: int, align: int) -> int:
    """The next multiple of `align`, a power of two (kernel: ALIGN)."""
    return (number + align - 1) & ~(align - 1)


def kmalloc_min_size(build: SlabBuild) -> int:
    """Bytes of kmalloc's smallest cache (kernel: KMALLOC_MIN_SIZE)."""
    return max(build.arch_kmalloc_minalign, 8)


def kmalloc_info_index(build: SlabBuild, size: int) -> int:
    """The entry of kmalloc's table that serves `size` bytes: 1 is 96, 2 is 192, n is 2^n (kernel: __kmalloc_index)."""
    least = kmalloc_min_size(build)
    if size <= least:
        return ilog2(least)
    if least <= 32 and 64 < size <= 96:
        return 1
    if least <= 64 and 128 < size <= 192:
        return 2
    return (size - 1).bit_length()


def kmalloc_info_size(index: int) -> int:
    """Bytes of an entry of kmalloc's table (kernel: kmalloc_info)."""
    return {1: 96, 2: 192}.get(index, 1 << index)


def calculate_sheaf_capacity(build: SlabBuild, size: int, flags: int, wanted: int) -> int:
    """The objects of a sheaf, 0 where a cache has none; its creator may have `wanted` more.

    As many as make the sheaf itself fill an object of kmalloc's (kernel: calculate_sheaf_capacity).
    """
    if not build.sheaves or flags & (SLAB_NO_SHEAVES | SLAB_NOLEAKTRACE):
        return 0
    capacity = next((nr for least, nr in ((build.page_size, 4), (1024, 12), (256, 26)) if size >= least), 60)
    room = kmalloc_info_size(kmalloc_info_index(build, SHEAF_HEADER + capacity * WORD))
    return max((align_up(room, build.kmalloc_minalign) - SHEAF_HEADER) // WORD, wanted)


def calculate_alignment(build: SlabBuild, flags: int, align: int, size: int) -> int:
    """The alignment of objects of `size` bytes (kernel: calculate_alignment)."""
    if flags & SLAB_HWCACHE_ALIGN:
        line = build.cache_line_size
        while size <= line // 2:
            line //= 2
        align = max(align, line)
    return align_up(max(align, build.slab_minalign), WORD)


def calculate_order(build: SlabBuild, size: int) -> int:
    """The order of the slabs for slots of `size` bytes (kernel: calculate_order)."""
    largest_objects = max((build.page_size << SLUB_MAX_ORDER) // size, 1)
    wanted_objects = min(4 * (build.nr_cpus.bit_length() + 1), largest_objects)
    if build.kernel.fewer_objects:
        return order_of_fewer(build, size, wanted_objects)
    lowest = get_order(wanted_objects * size, build.page_shift)
    # A slab counts its objects in 15 bits; pages of up to 64 KiB never hold as many.
    assert (build.page_size << lowest) // size <= MAX_OBJS_PER_PAGE
    # At most a sixteenth of the slab may be left over; where no order can do that, an eighth, and so on.
    for fraction in (16, 8, 4, 2):
        order = slab_order(build, size, lowest, fraction)
        if order <= SLUB_MAX_ORDER:
            return order
    return get_order(size, build.page_shift)


def order_of_fewer(build: SlabBuild, size: int, wanted_objects: int) -> int:
    """The order up to Linux 6.6: down to two objects, none of which leave more than a quarter over, else one."""
    for nr_objects in range(wanted_objects, 1, -1):
        lowest = get_order(nr_objects * size, build.page_shift)
        for fraction in (16, 8, 4):
            order = slab_order(build, size, lowest, fraction)
            if order <= SLUB_MAX_ORDER:
                return order
    return get_order(size, build.page_shift)


def slab_order(build: SlabBuild, size: int, lowest: int, fraction: int) -> int:
    """The smallest order, from `lowest` on, that wastes at most 1/`fraction` of the slab (kernel: calc_slab_order).

    Above SLUB_MAX_ORDER where there is none.
    """
    for order in range(lowest, SLUB_MAX_ORDER + 1):
        slab_size = build.page_size << order
        if slab_size % size <= slab_size // fraction:
            return order
    return SLUB_MAX_ORDER + 1


def cpu_partial_objects(build: SlabBuild, size: int) -> int:
    """How many free objects a CPU's partial slabs should have (kernel: set_cpu_partial)."""
    if build.sheaves:
        return NO_CPU_SLABS
    if not build.cpu_partial:
        return 0
    large, middle, small, smallest = (2, 6, 13, 30) if build.partial_counts_objects else (6, 24, 52, 120)
    if size >= build.page_size:
        return large
    if size >= 1024:
        return middle
    return small if size >= 256 else smallest


def cpu_partial_slabs(build: SlabBuild, nr_objects: int, objects: int) -> int:
    """The slabs, each half free, that have so many free objects (kernel: slub_set_cpu_partial).

    NO_SLAB_LIMIT where the kernel counts the objects themselves.
    """
    if build.partial_counts_objects or build.sheaves:
        return NO_SLAB_LIMIT
    return -(-nr_objects * 2 // objects)


def free_pointer(object_size: int, flags: int, has_ctor: bool, freeptr_offset: int | None) -> int:
    """Where a free object keeps the pointer to the next: in its middle, or behind what must survive a free."""
    if flags & SLAB_TYPESAFE_BY_RCU and freeptr_offset is not None:
        return freeptr_offset
    if flags & SLAB_TYPESAFE_BY_RCU or has_ctor:
        return align_up(object_size, WORD)
    return object_size // 2 & ~(WORD - 1)


def new_geometry(
    build: SlabBuild,
    name: str,
    object_size: int,
    *,
    align: int = 0,
    flags: int = 0,
    has_ctor: bool = False,
    freeptr_offset: int | None = None,
    sheaf_capacity: int = 0,
) -> Geometry:
    """The layout of a cache; SlabError where there can be none (kernel: do_kmem_cache_create).

    `sheaf_capacity` is how many objects a sheaf shall hold at least; a cache of which that is asked joins no other.
    """
    check_request(build, object_size, align, flags, freeptr_offset)
    if build.sheaves and sheaf_capacity:
        flags |= SLAB_NO_MERGE
    align = calculate_alignment(build, flags, align, object_size)
    inuse = align_up(object_size, WORD)
    offset = free_pointer(object_size, flags, has_ctor, freeptr_offset)
    size = align_up(inuse + WORD if offset >= inuse else inuse, align)
    if size > build.largest_slab:
        raise SlabError(f"fit into the largest slab of {build.largest_slab} bytes; with its alignment it takes {size}")
    order = calculate_order(build, size)
    objects = (build.page_size << order) // size
    min_order = get_order(size, build.page_shift)
    cpu_partial = cpu_partial_objects(build, size)
    return Geometry(
        name=name,
        object_size=object_size,
        size=size,
        align=align,
        inuse=inuse,
        offset=offset,
        flags=created_flags(build, flags),
        order=order,
        objects=objects,
        min_order=min_order,
        min_objects=(build.page_size << min_order) // size,
        cpu_partial=cpu_partial,
        cpu_partial_slabs=cpu_partial_slabs(build, cpu_partial, objects),
        min_partial=min(max(MIN_PARTIAL, ilog2(size) // 2), MAX_PARTIAL),
        has_ctor=has_ctor,
        sheaf_capacity=calculate_sheaf_capacity(build, size, flags, sheaf_capacity),
    )


def created_flags(build: SlabBuild, flags: int) -> int:
    """The flags that a cache has when it was asked for with `flags`."""
    if not build.memcg:
        flags &= ~SLAB_ACCOUNT
    return flags | CMPXCHG_DOUBLE if build.cmpxchg_double else flags


def check_request(build: SlabBuild, object_size: int, align: int, flags: int, freeptr_offset: int | None) -> None:
    """SlabError for a request that kmem_cache_create refuses, or that has no meaning."""
    if object_size < 1:
        raise SlabError(f"have objects of at least 1 byte, not {object_size}")
    if object_size > build.largest_slab:
        raise SlabError(f"fit into the largest slab of {build.largest_slab} bytes")
    if align < 0 or align & (align - 1):
        raise SlabError(f"have an alignment that is a power of two, not {align}")
    unknown = flags & ~sum(SLAB_FLAGS.values())
    if unknown:
        raise SlabError(f"have flags that are modelled, not {unknown:#x}")
    if freeptr_offset is None:
        return
    if not flags & SLAB_TYPESAFE_BY_RCU:
        raise SlabError("have SLAB_TYPESAFE_BY_RCU where the free pointer's offset is given")
    if not 0 <= freeptr_offset < object_size or freeptr_offset % WORD:
        raise SlabError(f"have its free pointer at a multiple of {WORD} inside the object, not at {freeptr_offset}")
