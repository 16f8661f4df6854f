"""What a request of some bytes really takes, by the way it is asked for: the internal fragmentation.

*Taken* is all memory that others lose to the request; *waste* is the share of it that nobody asked for, as the
response `internal_waste` counts it. Sizes of kmalloc and of a cache of one's own come from SLUB's geometry; what a slab
has left over behind its last object is shared by its objects. An area of vmalloc takes its pages, the array that lists
them, its vm_struct and vmap_area, and an entry of a page table for each page. Whether there is memory is asked of a
simulated machine in its first state. Leaves out struct page, which the boot has taken for every page, the guard page,
which is an address and no memory, and that a page table may be the first of its neighbourhood.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import lru_cache
from typing import NamedTuple

from kmsim.config import MachineConfig
from kmsim.config.machine_params import slab_build_of
from kmsim.mm.getorder import get_order
from kmsim.mm.gfp import GFP_KERNEL
from kmsim.mm.limits import INT_MAX
from kmsim.mm.mmzone import Machine
from kmsim.mm.slab_common import Caches
from kmsim.mm.slab_geometry import Geometry, SlabError, new_geometry
from kmsim.mm.snapshot import copy_machine
from kmsim.mm.vm_records import POINTER_BYTES, VM_STRUCT_BYTES, VMAP_AREA_BYTES
from kmsim.sim.core.ask import can_allocate
from kmsim.sim.run.boot import machine_of
from kmsim.study.limits import SEED, free_above_min
from kmsim.text import nr_of

OWN_CACHE = "own"
VMAP_AREA_CACHE = "vmap_area"
PTE_BYTES = 8  # of a page table's entry, on both architectures
APIS = ("kmalloc", "own cache", "alloc_pages", "alloc_pages_exact", "vmalloc", "kvmalloc")


class WasteRow(NamedTuple):
    """One size asked for in one way; `usable_bytes` and `taken_bytes` are 0 where the request fails."""

    size: int
    api: str
    usable_bytes: int  # that the caller may use: of kmalloc what ksize says
    taken_bytes: float
    waste_percent: float  # of what is taken
    source: str  # the cache, or the order of the block, or the number of pages

    @property
    def fails(self) -> bool:
        """Is there no memory for it?"""
        return self.taken_bytes == 0


def waste_of(config: MachineConfig, sizes: list[int]) -> list[WasteRow]:
    """Every size asked of the machine in every way."""
    asked = Asked(config)
    return [row for size in sizes for row in asked.rows_of(size)]


class Asked:
    """A machine in its first state, which is asked for memory in several ways and keeps none."""

    def __init__(self, config: MachineConfig) -> None:
        self._m: Machine = machine_of(config, SEED)
        self._caches = Caches(slab_build_of(config))
        self._page_size = config.page_size
        self._page_shift = config.page_shift
        self._huge_bytes = config.page_size << config.pmd_order
        self._free_pages = free_above_min(self._m, GFP_KERNEL)
        self._has_block = lru_cache(lambda order: can_allocate(copy_machine(self._m), order))

    def rows_of(self, size: int) -> Iterator[WasteRow]:
        """One size, asked for in every way."""
        order = get_order(size, self._page_shift)
        block = self._page_size << order
        nr_pages = -(-size // self._page_size)
        yield self.kmalloc(size)
        yield self._own_cache(size)
        has_block = self._has_block(order)
        yield _row(size, "alloc_pages", block if has_block else 0, source=f"order {order}")
        exact = nr_pages * self._page_size if has_block else 0
        yield _row(size, "alloc_pages_exact", exact, source=nr_of(nr_pages, "page"))
        yield self._vmalloc(size)
        yield self._kvmalloc(size)

    def kmalloc(self, size: int) -> WasteRow:
        """kmalloc: from one of its caches, or from the page allocator."""
        index = self._caches.kmalloc_index(size, 0)
        if index is None:
            order = self._caches.kmalloc_large_order(size)
            block = self._page_size << order if self._has_block(order) else 0
            return _row(size, "kmalloc", block, source=f"order {order}")
        cache = self._caches.geometries[index]
        return self._object(size, "kmalloc", cache, cache.name)

    def _own_cache(self, size: int) -> WasteRow:
        """A cache of one's own, not merged with any other."""
        try:
            cache = new_geometry(self._caches.build, OWN_CACHE, size)
        except SlabError:
            return _row(size, "own cache", 0, source="no slab is as large")
        return self._object(size, "own cache", cache, f"{nr_of(cache.objects, 'object')}, order {cache.order}")

    def _object(self, size: int, api: str, cache: Geometry, source: str) -> WasteRow:
        if not (self._has_block(cache.order) or self._has_block(cache.min_order)):
            return _row(size, api, 0, source=source)
        return _row(size, api, cache.size, slab_share(self._caches, cache), source=source)

    def _vmalloc(self, size: int, api: str = "vmalloc", *, may_be_huge: bool = False) -> WasteRow:
        """vmalloc; kvmalloc lets it take huge pages (kernel: VM_ALLOW_HUGE_VMAP)."""
        is_huge = may_be_huge and self._huge_bytes <= size
        unit = self._huge_bytes if is_huge else self._page_size
        usable = -(-size // unit) * unit
        nr_pages = usable // self._page_size
        taken = usable + self._vmalloc_structs(nr_pages) + usable // unit * PTE_BYTES
        there = taken <= self._free_pages * self._page_size
        return _row(size, api, usable if there else 0, taken, source=nr_of(nr_pages, "page"))

    def _vmalloc_structs(self, nr_pages: int) -> float:
        """Bytes of an area's records: vm_struct, vmap_area, and the array of its pages (kernel: mm/vmalloc.c).

        An array of more than a page is an area itself.
        """
        records = self._share_of(VM_STRUCT_BYTES)
        records += slab_share(self._caches, new_geometry(self._caches.build, VMAP_AREA_CACHE, VMAP_AREA_BYTES))
        array = nr_pages * POINTER_BYTES
        if array <= self._page_size:
            return records + self._share_of(array)
        array_pages = -(-array // self._page_size)
        below = self._vmalloc_structs(array_pages) + array_pages * PTE_BYTES
        return records + array_pages * self._page_size + below

    def _share_of(self, size: int) -> float:
        """What kmalloc takes for a record of at most a page."""
        index = self._caches.kmalloc_index(size, 0)
        assert index is not None, "a record is no large block"
        return slab_share(self._caches, self._caches.geometries[index])

    def _kvmalloc(self, size: int) -> WasteRow:
        """kvmalloc: as kmalloc while that gives memory, else as vmalloc, from more than a page on."""
        by_kmalloc = self.kmalloc(size)
        if not by_kmalloc.fails or size <= self._page_size:
            return by_kmalloc._replace(api="kvmalloc")
        if size > INT_MAX:
            return _row(size, "kvmalloc", 0, source="above INT_MAX")
        row = self._vmalloc(size, "kvmalloc", may_be_huge=True)
        return row._replace(source=f"vmalloc, {row.source}")


def slab_share(caches: Caches, cache: Geometry) -> float:
    """Bytes of a slab for each of its objects."""
    return (caches.build.page_size << cache.order) / cache.objects


def _row(size: int, api: str, usable: int, taken: float | None = None, *, source: str) -> WasteRow:
    taken = (usable if taken is None else taken) if usable else 0
    return WasteRow(size, api, usable, taken, 100 * (taken - size) / taken if taken else 0.0, source)
