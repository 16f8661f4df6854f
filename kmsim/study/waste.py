"""What a request of some bytes really takes, by the way it is asked for: the internal fragmentation.

Sizes of kmalloc and of a cache of one's own come from SLUB's geometry; whether there is memory for them
is asked of a simulated machine in its first state. What a slab has left over behind its last object is
shared by its objects. Leaves out page tables, struct page, and the guard page of vmalloc, which is an
address and no memory.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

from kmsim.config import ConfigError, MachineConfig, Problem
from kmsim.config.asked import refused
from kmsim.mm.getorder import get_order
from kmsim.mm.mmzone import Machine
from kmsim.mm.slab_common import Caches
from kmsim.mm.slab_geometry import Geometry, SlabError, new_geometry
from kmsim.sim.core.ask import can_allocate, can_kmalloc
from kmsim.sim.run.boot import machine_of
from kmsim.study.limits import SEED
from kmsim.units import SIZE_UNITS, format_size, parse_size

SIZE_MAX = SIZE_UNITS["TiB"]
OWN_CACHE = "own"


class WasteRow(NamedTuple):
    """One size asked for in one way; `taken_bytes` is 0 where the request fails, `waste_percent` of the request."""

    size: int
    api: str
    taken_bytes: float
    waste_percent: float
    source: str  # the cache, or the order of the block, or the number of pages

    @property
    def fails(self) -> bool:
        """Is there no memory for it?"""
        return self.taken_bytes == 0


def sizes_of(words: list[str]) -> list[int]:
    """Bytes of sizes as a user writes them: ``200100``, ``4KiB``; ConfigError names all that are none."""
    problems = [problem for problem in map(_size_problem, words) if problem is not None]
    if problems:
        raise ConfigError(problems)
    return [_parsed(word) for word in words]


def _parsed(word: str) -> int:
    return int(word) if word.isdecimal() and word.isascii() else parse_size(word)


def _size_problem(word: str) -> Problem | None:
    try:
        size = _parsed(word[:40])
    except ValueError as error:
        return _refused("size_whole" if "whole" in str(error) else "size", word)
    if size < 1:
        return _refused("at_least", word, limit="1B")
    if size > SIZE_MAX:
        return _refused("at_most", word, limit=format_size(SIZE_MAX))
    return None


def _refused(rule: str, word: str, **context: str) -> Problem:
    return refused(rule, word, "waste", "SIZE", **context)


def waste_of(config: MachineConfig, sizes: list[int]) -> list[WasteRow]:
    """Every size asked of the machine in every way."""
    m, caches = machine_of(config, SEED), Caches(config.slab_build)
    return [row for size in sizes for row in rows_of(m, caches, size)]


def rows_of(m: Machine, caches: Caches, size: int) -> Iterator[WasteRow]:
    """One size, asked for in every way."""
    build = caches.build
    order = get_order(size, build.page_shift)
    block = build.page_size << order
    nr_pages = -(-size // build.page_size)
    has_block = can_allocate(m, order)
    yield kmalloc_row(m, caches, size)
    yield own_cache_row(m, caches, size)
    yield _row(size, "alloc_pages", block if has_block else 0, f"order {order}")
    yield _row(size, "alloc_pages_exact", nr_pages * build.page_size if has_block else 0, _pages(nr_pages))
    # The kernel refuses more pages than there are, and else finds out while it takes them one by one.
    there = nr_pages <= int(m.zones["nr_free_pages"].sum())
    yield _row(size, "vmalloc", nr_pages * build.page_size if there else 0, _pages(nr_pages))


def kmalloc_row(m: Machine, caches: Caches, size: int) -> WasteRow:
    """kmalloc: from one of its caches, or from the page allocator."""
    fits = can_kmalloc(m, caches, size)
    index = caches.kmalloc_index(size, 0)
    if index is None:
        order = caches.kmalloc_large_order(size)
        return _row(size, "kmalloc", caches.kmalloc_size_roundup(size) if fits else 0, f"order {order}")
    cache = caches.geometries[index]
    return _row(size, "kmalloc", slab_share(caches, cache) if fits else 0, cache.name)


def own_cache_row(m: Machine, caches: Caches, size: int) -> WasteRow:
    """A cache of one's own, not merged with any other."""
    try:
        cache = new_geometry(caches.build, OWN_CACHE, size)
    except SlabError:
        return _row(size, "own cache", 0, "no slab is as large")
    fits = can_allocate(m, cache.order) or can_allocate(m, cache.min_order)
    slots = "object" if cache.objects == 1 else "objects"
    source = f"{cache.objects} {slots} in order {cache.order}"
    return _row(size, "own cache", slab_share(caches, cache) if fits else 0, source)


def slab_share(caches: Caches, cache: Geometry) -> float:
    """Bytes of a slab for each of its objects."""
    return (caches.build.page_size << cache.order) / cache.objects


def _pages(nr_pages: int) -> str:
    return "1 page" if nr_pages == 1 else f"{nr_pages:,} pages"


def _row(size: int, api: str, taken: float, source: str) -> WasteRow:
    return WasteRow(size, api, taken, 100 * (taken - size) / size if taken else 0.0, source)
