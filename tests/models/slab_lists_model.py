"""Slabs and the lists that they are on, written slowly from Linux 6.12's mm/slub.c: all lists are Python lists.

A free list names object indices, first out first. A request is a generator that runs to each place where it may
have to wait: it yields ("lock", cache) before it takes the cache's list_lock and ("unlocked",) where it goes on
after that, ("alloc", order, gfp) for pages, and is sent their pfn or -1, and ("free", pfn, order). Whoever
drives it decides what else runs meanwhile. Objects are (slab, index).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Generator, Iterator
from dataclasses import dataclass, field
from typing import Any

from kmsim.mm.gfp import parse_gfp
from kmsim.mm.slab_geometry import SLAB_CACHE_DMA, SLAB_CACHE_DMA32, SLAB_RECLAIM_ACCOUNT, Geometry

PROMOTE_MAX = 32

Object = tuple["Slab", int]
Step = tuple[Any, ...]
Steps = Generator[Step, int, Any]


@dataclass(eq=False)
class Slab:
    """A slab; `freelist` lists the indices of its free objects, first out first."""

    cache: Cache
    pfn: int
    order: int
    objects: int
    pfmemalloc: bool
    freelist: list[int] = field(default_factory=list)
    inuse: int = 0
    frozen: bool = False
    on_node: bool = False


@dataclass
class CpuSlab:
    """What a CPU has of a cache; `partial` has the slab that was put there last first."""

    slab: Slab | None = None
    freelist: list[int] = field(default_factory=list)
    partial: list[Slab] = field(default_factory=list)


class Cache:
    """A kmem_cache and its node."""

    def __init__(self, number: int, geometry: Geometry, nr_cpus: int, seed: int | None) -> None:
        self.number = number
        self.geometry = geometry
        self.cpus = [CpuSlab() for _ in range(nr_cpus)]
        self.partial: list[Slab] = []
        self.slabs: list[Slab] = []
        self.stats: Counter[str] = Counter()
        self.sequence: list[int] = []
        if seed is not None and geometry.objects > 1:
            self.state = (seed * 2654435761 + 1) % 2**32 or 1
            self.sequence = list(range(geometry.objects))
            for i in reversed(range(1, geometry.objects)):
                other = self.below(i + 1)
                self.sequence[i], self.sequence[other] = self.sequence[other], self.sequence[i]

    def below(self, limit: int) -> int:
        """A random number below a limit (xorshift32, its high bits)."""
        x = self.state
        x ^= x << 13 & 0xFFFFFFFF
        x ^= x >> 17
        x ^= x << 5 & 0xFFFFFFFF
        self.state = x
        return x * limit // 2**32

    def allocflags(self) -> int:
        """What all of its slabs are asked for with (kernel: calculate_sizes)."""
        flags = parse_gfp("__GFP_COMP")
        for bit, gfp in ((SLAB_CACHE_DMA, "GFP_DMA"), (SLAB_CACHE_DMA32, "GFP_DMA32")):
            flags |= parse_gfp(gfp) if self.geometry.flags & bit else 0
        return flags | (parse_gfp("__GFP_RECLAIMABLE") if self.geometry.flags & SLAB_RECLAIM_ACCOUNT else 0)

    def order_of_objects(self, objects: int) -> list[int]:
        """In which order a new slab's objects are handed out (kernel: shuffle_freelist)."""
        if not self.sequence or objects < 2:
            return list(range(objects))
        start = self.below(len(self.sequence))
        turned = self.sequence[start:] + self.sequence[:start]
        return [index for index in turned if index < objects]


class SlabLists:
    """All caches of a machine, and what moves slabs about."""

    def __init__(
        self, geometries: list[Geometry], nr_cpus: int, seeds: list[int] | None = None,
        *, init_on_alloc: bool = False, init_on_free: bool = False,
    ) -> None:  # fmt: skip
        self.caches = [
            Cache(number, geometry, nr_cpus, seeds[number] if seeds else None)
            for number, geometry in enumerate(geometries)
        ]
        self.reserves_used = False  # the driver says so: the pages just handed in came from the reserves
        self.init_on_alloc = init_on_alloc
        self.init_on_free = init_on_free
        self.bytes_zeroed = 0
        self.objects_constructed = 0
        self.reached: Counter[str] = Counter()

    def flush(self, cache: Cache, c: CpuSlab) -> Steps:
        """Take a CPU's slab away and deactivate it."""
        slab, freelist = c.slab, c.freelist
        assert slab is not None
        c.slab, c.freelist = None, []
        yield from self.deactivate(cache, slab, freelist)

    def deactivate(self, cache: Cache, slab: Slab, freelist: list[int]) -> Steps:
        """Kernel: deactivate_slab."""
        assert slab.frozen
        to_tail = bool(slab.freelist)
        cache.stats["deactivate_remote_frees"] += to_tail
        slab.freelist = freelist + slab.freelist
        slab.inuse -= len(freelist)
        slab.frozen = False
        if slab.inuse == 0 and len(cache.partial) >= cache.geometry.min_partial:
            cache.stats["deactivate_empty"] += 1
            cache.stats["free_slab"] += 1
            yield from self.discard(slab)
        elif slab.freelist:
            yield ("lock", cache.number)
            self.add_partial(cache, slab, to_tail=to_tail)
            yield ("unlocked",)
            cache.stats["deactivate_to_tail" if to_tail else "deactivate_to_head"] += 1
        else:
            cache.stats["deactivate_full"] += 1

    def add_partial(self, cache: Cache, slab: Slab, *, to_tail: bool) -> None:
        """Kernel: add_partial."""
        assert not slab.on_node
        slab.on_node = True
        cache.partial.insert(len(cache.partial) if to_tail else 0, slab)

    def remove_partial(self, cache: Cache, slab: Slab) -> None:
        """Kernel: remove_partial."""
        cache.partial.remove(slab)
        slab.on_node = False

    def discard(self, slab: Slab) -> Steps:
        """Kernel: discard_slab."""
        assert slab.inuse == 0
        assert not slab.frozen
        slab.cache.slabs.remove(slab)
        yield ("free", slab.pfn, slab.order)

    def flush_all(self, cache: Cache) -> Steps:
        """Give back every CPU's slabs (kernel: flush_all)."""
        for c in cache.cpus:
            if c.slab is not None:
                cache.stats["cpuslab_flush"] += 1
                yield from self.flush(cache, c)
            partial, c.partial = c.partial, []
            if partial:
                yield from self.put_partials(cache, partial)

    def shrink(self, number: int) -> Steps:
        """Kernel: __kmem_cache_shrink."""
        cache = self.caches[number]
        yield from self.flush_all(cache)
        yield ("lock", number)
        discards: list[Slab] = []
        promote: list[list[Slab]] = [[] for _ in range(PROMOTE_MAX)]
        for slab in list(cache.partial):
            nr_free = slab.objects - slab.inuse
            if nr_free == slab.objects:
                self.remove_partial(cache, slab)
                discards.insert(0, slab)
            elif nr_free <= PROMOTE_MAX:
                cache.partial.remove(slab)
                promote[nr_free - 1].insert(0, slab)
        self.reached["promoted"] += len([bucket for bucket in promote if bucket]) > 1
        for bucket in reversed(promote):
            cache.partial[:0] = bucket
        yield ("unlocked",)
        for slab in discards:
            yield from self.discard(slab)

    def destroy(self, number: int) -> Steps:
        """Give back what can be; how many objects live (kernel: __kmem_cache_shutdown)."""
        cache = self.caches[number]
        yield from self.flush_all(cache)
        yield ("lock", number)
        live = sum(slab.inuse if slab.on_node else slab.objects for slab in cache.slabs)
        discards: list[Slab] = []
        for slab in list(cache.partial):
            if slab.inuse == 0:
                self.remove_partial(cache, slab)
                discards.insert(0, slab)
        yield ("unlocked",)
        for slab in discards:
            yield from self.discard(slab)
        return live

    def all_slabs(self) -> Iterator[Slab]:
        """Every slab that has pages."""
        for cache in self.caches:
            yield from cache.slabs
