"""The caches of a machine: the boot's own, kmalloc's families, and those that users create (kernel: mm/slab_common.c).

A cache has a number, in the order in which the caches were created: kmem_cache, kmem_cache_node, then
kmalloc's families one after the other (plain, reclaimable, DMA, and accounted where memory cgroups are
built in), then whatever is created by name. A new cache *merges* with the oldest one that can serve its
objects: the name becomes an alias, and both have the same number.

Leaves out the random copies of kmalloc's caches (CONFIG_RANDOM_KMALLOC_CACHES), allocation profiling, and
slab_mutex: caches are created before the machine runs. Plain Python: kmalloc's answers are tables by size.

Invariant: `refcounts[i]` is the number of names that lead to cache i, or -1 for the two caches that
SLUB itself is built on, which nobody may share.
"""

from dataclasses import dataclass, replace

from kmsim.mm.getorder import get_order, ilog2
from kmsim.mm.gfp import GFP_DMA, GFP_FLAGS, GFP_RECLAIMABLE
from kmsim.mm.indices import Gfp, Order
from kmsim.mm.slab_geometry import (
    SLAB_ACCOUNT,
    SLAB_CACHE_DMA,
    SLAB_CACHE_DMA32,
    SLAB_HWCACHE_ALIGN,
    SLAB_KMALLOC,
    SLAB_NO_MERGE,
    SLAB_NO_SHEAVES,
    SLAB_NOLEAKTRACE,
    SLAB_RECLAIM_ACCOUNT,
    SLAB_TYPESAFE_BY_RCU,
    WORD,
    Geometry,
    SlabBuild,
    SlabError,
    align_up,
    calculate_alignment,
    cpu_partial_slabs,
    kmalloc_info_index,
    kmalloc_info_size,
    kmalloc_min_size,
    new_geometry,
)

GFP_ACCOUNT = GFP_FLAGS["__GFP_ACCOUNT"]

KMEM_CACHE_NODE_SIZE = 64  # bytes of the structure in the reference configuration, as recorded kernels have it

SLAB_NEVER_MERGE = SLAB_TYPESAFE_BY_RCU | SLAB_NOLEAKTRACE | SLAB_NO_MERGE
SLAB_MERGE_SAME = SLAB_RECLAIM_ACCOUNT | SLAB_CACHE_DMA | SLAB_CACHE_DMA32 | SLAB_ACCOUNT
# What a caller of kmem_cache_create may not ask for: the mark of kmalloc's own caches.
_NOT_FOR_USERS = SLAB_KMALLOC

KMALLOC_NORMAL, KMALLOC_RECLAIM, KMALLOC_DMA, KMALLOC_CGROUP = range(4)
KMALLOC_PREFIXES = ("kmalloc-", "kmalloc-rcl-", "dma-kmalloc-", "kmalloc-cg-")
_FAMILY_FLAGS = (0, SLAB_RECLAIM_ACCOUNT, SLAB_CACHE_DMA, SLAB_ACCOUNT)

# The kernel's callers of kmem_buckets_create, with the flags of their caches.
BUCKETS = {"memdup_user": 0, "msg_msg": SLAB_ACCOUNT}


@dataclass(frozen=True, slots=True)
class Limits:
    """What kmalloc can give, in bytes; the names are the kernel's in lower case."""

    kmalloc_min_size: int
    kmalloc_shift_high: int
    kmalloc_max_cache_size: int
    kmalloc_max_size: int
    kmalloc_max_order: int


def kmalloc_limits(build: SlabBuild) -> Limits:
    """The kmalloc limits of a build (kernel: KMALLOC_* in include/linux/slab.h)."""
    shift_high = build.page_shift + 1
    return Limits(
        kmalloc_min_size=kmalloc_min_size(build),
        kmalloc_shift_high=shift_high,
        kmalloc_max_cache_size=1 << shift_high,
        kmalloc_max_size=build.page_size << build.max_page_order,
        kmalloc_max_order=build.max_page_order,
    )


def short_size(size: int) -> str:
    """A size as the names of kmalloc's caches spell it: 512, 4k, 2M."""
    if size < 1 << 10:
        return str(size)
    return f"{size >> 10}k" if size < 1 << 20 else f"{size >> 20}M"


def has_accounted(build: SlabBuild) -> bool:
    """Has kmalloc a family of caches for objects that are accounted to a memory cgroup?"""
    return build.memcg and build.kernel.accounted_kmalloc


def kmalloc_type(build: SlabBuild, gfp: Gfp) -> int:
    """The family that a request's flags choose: DMA before reclaimable before accounted (kernel: kmalloc_type)."""
    if gfp & GFP_DMA:
        return KMALLOC_DMA
    if gfp & GFP_RECLAIMABLE:
        return KMALLOC_RECLAIM
    return KMALLOC_CGROUP if has_accounted(build) and gfp & GFP_ACCOUNT else KMALLOC_NORMAL


def can_merge(build: SlabBuild, cache: Geometry) -> bool:
    """May other caches' objects live in this one? (kernel: slab_unmergeable)"""
    if cache.flags & SLAB_KMALLOC and not build.kernel.kmalloc_merges:
        return False
    return not cache.flags & SLAB_NEVER_MERGE and not cache.has_ctor


def is_mergeable(build: SlabBuild, cache: Geometry, object_size: int, align: int, flags: int) -> bool:
    """Would objects of this size, alignment and flags fit into the slots of `cache`? (kernel: find_mergeable)"""
    size = align_up(object_size, WORD)
    size = align_up(size, calculate_alignment(build, flags, align, size))
    # The kernel asks for slots less than a word larger, and aligned; slots are whole words, so they are equal.
    return cache.size == size and flags & SLAB_MERGE_SAME == cache.flags & SLAB_MERGE_SAME


class Caches:
    """The caches of a machine, by number and by name."""

    def __init__(self, build: SlabBuild) -> None:
        """Boot: SLUB's own caches and kmalloc's (kernel: kmem_cache_init, create_kmalloc_caches)."""
        self.build = build
        self.limits = kmalloc_limits(build)
        self.geometries: list[Geometry] = []
        self.refcounts: list[int] = []
        self._numbers: dict[str, int] = {}
        self._requests: dict[str, tuple[object, ...]] = {}
        for name, size in (("kmem_cache", build.kernel.kmem_cache_size), ("kmem_cache_node", KMEM_CACHE_NODE_SIZE)):
            flags = SLAB_HWCACHE_ALIGN | (SLAB_NO_SHEAVES if build.sheaves else 0)
            self._create_boot_cache(name, size, flags, refcount=-1)
        types = range(KMALLOC_CGROUP + 1 if has_accounted(build) else KMALLOC_CGROUP)
        self._kmalloc = [self._create_family(type_) for type_ in types]
        if build.buckets:
            self._create_buckets()

    @property
    def names(self) -> list[str]:
        """Every name that leads to a cache, aliases too, in the order in which they were given."""
        return list(self._numbers)

    def index_of(self, name: str) -> int:
        """The number of the cache that has this name, or serves it; KeyError where nobody created it."""
        return self._numbers[name]

    def aliases(self, index: int) -> list[str]:
        """The names that lead to a cache, its own first."""
        return [name for name, number in self._numbers.items() if number == index]

    def create(
        self,
        name: str,
        object_size: int,
        *,
        align: int = 0,
        flags: int = 0,
        has_ctor: bool = False,
        freeptr_offset: int | None = None,
        sheaf_capacity: int = 0,
    ) -> int:
        """The number of a new cache, or of the one that it merges with (kernel: __kmem_cache_create_args).

        SlabError where there can be none, and where the name belongs to a cache of another geometry.
        """
        if flags & _NOT_FOR_USERS:
            raise SlabError("not have SLAB_KMALLOC, the mark of kmalloc's own caches")
        request = (object_size, align, flags, has_ctor, freeptr_offset, sheaf_capacity)
        if name in self._numbers:
            if self._requests.get(name) != request:
                raise SlabError(f"have another name or the same geometry as the cache {name!r} that is there")
            return self._numbers[name]
        layout = new_geometry(
            self.build,
            name,
            object_size,
            align=align,
            flags=flags,
            has_ctor=has_ctor,
            freeptr_offset=freeptr_offset,
            sheaf_capacity=sheaf_capacity,
        )
        index = self._find_mergeable(layout, align)
        if index is None:
            index = self._add(layout, refcount=1)
        else:
            self._merge(index, name, object_size)
        self._requests[name] = request
        return index

    def set_cpu_partial(self, name: str, nr_objects: int) -> None:
        """How many free objects a CPU's partial slabs shall have; of a merged cache, for all of its names.

        Written to /sys/kernel/slab/NAME/cpu_partial (kernel: slub_set_cpu_partial).
        """
        index = self.index_of(name)
        cache = self.geometries[index]
        self.geometries[index] = replace(
            cache, cpu_partial=nr_objects, cpu_partial_slabs=cpu_partial_slabs(self.build, nr_objects, cache.objects)
        )

    def destroy(self, name: str) -> bool:
        """Give a name up; has the cache lost its last user, and is to be shut down? (kernel: kmem_cache_destroy)"""
        if self._requests.pop(name, None) is None:
            raise SlabError(f"be a cache that was created and not destroyed yet; {name!r} is none")
        index = self._numbers.pop(name)
        self.refcounts[index] -= 1
        return self.refcounts[index] == 0

    def kmalloc_index(self, size: int, gfp: Gfp) -> int | None:
        """The number of the cache that serves kmalloc(size, gfp), size >= 1; None: the page allocator does."""
        if size < 1:
            raise SlabError(f"be at least 1 byte, not {size}: kmalloc(0) allocates nothing")
        if size > self.limits.kmalloc_max_cache_size:
            return None
        return self._kmalloc[kmalloc_type(self.build, gfp)][kmalloc_info_index(self.build, size)]

    def kmalloc_size_roundup(self, size: int) -> int:
        """The bytes that kmalloc(size) really gives; `size` itself for 0 and beyond the limit."""
        if not 0 < size <= self.limits.kmalloc_max_size:
            return size
        index = self.kmalloc_index(size, 0)
        if index is None:
            return self.build.page_size << self.kmalloc_large_order(size)
        return self.geometries[index].object_size

    def kmalloc_large_order(self, size: int) -> Order:
        """The order of the block that serves a kmalloc beyond the caches (kernel: ___kmalloc_large_node)."""
        return get_order(size, self.build.page_shift)

    def _create_family(self, type_: int) -> list[int]:
        """One family; its caches' numbers by entry of kmalloc's table (kernel: new_kmalloc_cache)."""
        build, least, high = self.build, self.limits.kmalloc_min_size, self.limits.kmalloc_shift_high
        numbers = [-1] * (high + 1)
        entries = [*([1] if least <= 32 else []), *([2] if least <= 64 else [])]
        flags = _FAMILY_FLAGS[type_]
        if has_accounted(build) and type_ == KMALLOC_NORMAL:
            flags |= SLAB_NO_MERGE
        entries += range(ilog2(least), high + 1)
        odd_first = build.kernel.dma_odd_sizes_first if type_ == KMALLOC_DMA else build.kernel.odd_sizes_first
        for entry in entries if odd_first else sorted(entries, key=kmalloc_info_size):
            size = kmalloc_info_size(entry)
            served_by = entry
            if build.kmalloc_minalign > build.arch_kmalloc_minalign:
                size = align_up(size, build.kmalloc_minalign)
                served_by = kmalloc_info_index(build, size)
            if numbers[served_by] < 0:
                name = KMALLOC_PREFIXES[type_] + short_size(kmalloc_info_size(served_by))
                numbers[served_by] = self._create_boot_cache(name, size, flags | SLAB_KMALLOC, refcount=1)
            numbers[entry] = numbers[served_by]
        return numbers

    def _create_boot_cache(self, name: str, size: int, flags: int, *, refcount: int) -> int:
        """A cache that is not merged with others on creation (kernel: create_boot_cache)."""
        align = self.build.arch_kmalloc_minalign
        if flags & SLAB_KMALLOC:
            # An object is aligned to the largest power of two that divides it, or only where it is one.
            if self.build.kernel.naturally_aligned or not size & (size - 1):
                align = max(align, size & -size)
        return self._add(new_geometry(self.build, name, size, align=align, flags=flags), refcount)

    def _create_buckets(self) -> None:
        """Caches of their own for sizes that user space chooses (kernel: kmem_buckets_create)."""
        entries = sorted(set(self._kmalloc[KMALLOC_NORMAL]) - {-1})
        self.create("kmalloc_buckets", WORD * (self.limits.kmalloc_shift_high + 1), flags=SLAB_NO_MERGE)
        for prefix, flags in BUCKETS.items():
            for index in entries:
                size = self.geometries[index].object_size
                self.create(f"{prefix}-{short_size(size)}", size, flags=flags | SLAB_NO_MERGE)

    def _add(self, layout: Geometry, refcount: int) -> int:
        self._numbers[layout.name] = len(self.geometries)
        self.geometries.append(layout)
        self.refcounts.append(refcount)
        return len(self.geometries) - 1

    def _find_mergeable(self, layout: Geometry, align: int) -> int | None:
        """The oldest cache that the new one can merge with."""
        if not self.build.merge or not can_merge(self.build, layout):
            return None
        for index, cache in enumerate(self.geometries):
            if self.refcounts[index] <= 0 or not can_merge(self.build, cache):
                continue
            if is_mergeable(self.build, cache, layout.object_size, align, layout.flags):
                return index
        return None

    def _merge(self, index: int, name: str, object_size: int) -> None:
        """Let a name use a cache that is there, which now zeroes the larger object (kernel: __kmem_cache_alias)."""
        cache = self.geometries[index]
        self.geometries[index] = replace(
            cache,
            object_size=max(cache.object_size, object_size),
            inuse=max(cache.inuse, align_up(object_size, WORD)),
        )
        self._numbers[name] = index
        self.refcounts[index] += 1
