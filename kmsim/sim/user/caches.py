"""Slab caches, for a user's own process; see `sim.user.cpu`.

A cache that does not merge with one that is there gets one of the spare numbers, and asks for its own records
(kernel: struct kmem_cache, kmem_cache_node) as objects of the boot's two caches. Leaves out per-CPU memory for
them, sysfs, and the reuse of a destroyed cache's number.
"""

from __future__ import annotations

from collections.abc import Generator, Sequence
from typing import Any

import numpy as np

from kmsim.config.caches import KERNELS_OWN, KERNELS_PREFIXES
from kmsim.mm.gfp import GFP_KERNEL, GFP_ZERO
from kmsim.mm.indices import ContextIdx
from kmsim.mm.slab_geometry import SlabError, slab_flags
from kmsim.mm.slub_object import FREE_WRONG_CACHE
from kmsim.mm.slub_records import SLAB_BULK_MAX, Slub, add_cache, bulk_row
from kmsim.sim.core.records import NO_BLOCK, NOT_FILLED, context_of
from kmsim.sim.user.alloc import Alloc, BadFree, object_problem
from kmsim.sim.user.calls import Allocating, Call
from kmsim.sim.user.objects import ObjectCalls
from kmsim.workload.op_stream import ALLOC, FREE
from kmsim.workload.plan import THREAD
from kmsim.workload.request import DESTROY, OBJECTS, SHRINK, SLAB, Request

KMEM_CACHE, KMEM_CACHE_NODE = range(2)  # the boot's first two


class Cache:
    """A slab cache under the name that it was created with; it may share its slabs with others."""

    def __init__(self, name: str, number: int, object_size: int, has_ctor: bool) -> None:
        self.name = name
        self.number = number
        self.object_size = object_size  # bytes, as its creator asked for
        self.has_ctor = has_ctor
        self.is_owned = False  # may it be destroyed by who has this?
        self.is_destroyed = False


class CacheCalls(ObjectCalls):
    """Caches, and objects of them."""

    def kmem_cache_create(
        self,
        name: str,
        object_size: int | None = None,
        *,
        align: int = 0,
        flags: Sequence[str] = (),
        constructor_ps: int | None = None,
    ) -> Generator[Any, None, Cache | None]:
        """Create a cache; with a name only, one of those that the machine's config or its kernel knows.

        `flags` as in a config (HWCACHE_ALIGN, NO_MERGE, ...); `constructor_ps` is the time of the constructor for one
        object, None: it has none. None where there is no memory; ValueError for what no cache can be.
        (kernel: kmem_cache_create)
        """
        creation: dict[str, Any] = {"align": align, "flags": slab_flags(flags), "has_ctor": constructor_ps is not None}
        if object_size is None:
            config = self.held.config.known_caches.get(name)
            if config is None:
                raise ValueError(f"no cache {name!r} is known: it needs a size")
            object_size, creation, constructor_ps = config.object_size, {**config.creation}, config.constructor
        if name in KERNELS_OWN or name.startswith(KERNELS_PREFIXES):
            raise ValueError(f"{name!r} is one of the kernel's own names")
        caches, slub = self._caches, self._slub
        if len(caches.geometries) == len(slub.caches):
            raise ValueError("all numbers for caches that are created in a run are used up")
        is_owned, number = name not in caches.names, len(caches.geometries)
        try:
            cache = Cache(name, caches.create(name, object_size, **creation), object_size, constructor_ps is not None)
        except SlabError as error:
            raise ValueError(f"a cache must {error}") from None
        cache.is_owned = is_owned
        if cache.number < number:
            slub.caches[cache.number].object_size = caches.geometries[cache.number].object_size
            return cache
        self._set_up(number, constructor_ps or 0)
        for of in (KMEM_CACHE, KMEM_CACHE_NODE):
            request = Request(GFP_KERNEL | GFP_ZERO, 0, SLAB, of)
            record = yield from self._allocate(request, caches.geometries[of].object_size)
            if record is None:
                yield from self._forget(cache)
                return None
            self.held.cache_records.setdefault(number, []).append(record)
        return cache

    def kmem_cache_alloc(self, cache: Cache, gfp: str | int = "GFP_KERNEL") -> Allocating:
        """Allocate an object (kernel: kmem_cache_alloc)."""
        return self._alloc_object(cache, gfp, 0)

    def kmem_cache_zalloc(self, cache: Cache, gfp: str | int = "GFP_KERNEL") -> Allocating:
        """The same, zeroed."""
        return self._alloc_object(cache, gfp, GFP_ZERO)

    def kmem_cache_free(self, cache: Cache, alloc: Alloc | int | None) -> Call:
        """Free an object to its cache; BadFree where it is another's; None is nothing (kernel: kmem_cache_free)."""
        if alloc is not None:
            yield from self._free(self._object_to_free(cache, alloc))

    def kmem_cache_alloc_bulk(
        self, cache: Cache, nr: int, gfp: str | int = "GFP_KERNEL"
    ) -> Generator[Any, None, list[Alloc]]:
        """Allocate `nr` objects, or none (kernel: kmem_cache_alloc_bulk)."""
        flags = self._object_gfp(cache, gfp, 0)
        check_nr(nr)
        held, since = self.held, self._site()
        request = Request(flags, 0, OBJECTS, cache.number)
        slot = held.new_slot()
        with self._turns.request() as turn:
            yield turn
            held.core.slots[slot].detail = nr
            number = held.request_index(request)
            held.core.slots[slot].request = NOT_FILLED
            yield self._operation(ALLOC, slot, request, nr * cache.object_size)
            has_got = int(held.core.slots[slot].request) == number
            objects = self._bulk_row[:nr].tolist() if has_got else []
        held.core.slots[slot].block = NO_BLOCK
        held.return_slot(slot)
        one = Request(flags, 0, SLAB, cache.number)
        allocs = []
        for obj in objects:
            of_object = held.new_slot()
            held.core.slots[of_object] = (obj, held.request_index(one), 0)
            allocs.append(self._held(of_object, one, cache.object_size, since))
        return allocs

    def kmem_cache_free_bulk(self, cache: Cache, allocs: Sequence[Alloc]) -> Call:
        """Free objects to their cache; where one of them must not be freed, none is (kernel: kmem_cache_free_bulk)."""
        check_nr(len(allocs))
        for n, alloc in enumerate(allocs):
            self._object_to_free(cache, alloc)
            if any(other is alloc for other in allocs[:n]):
                raise alloc.refused("Object already free: it is in the same bulk twice", self._site())
        held = self.held
        objects = [alloc.block for alloc in allocs]
        for alloc in allocs:
            alloc.give_back(self._site())
        slot = held.new_slot()
        request = Request(0, 0, OBJECTS, cache.number)
        with self._turns.request() as turn:
            yield turn
            self._bulk_row[: len(objects)] = objects
            held.core.slots[slot] = (objects[0], held.request_index(request), len(objects))
            yield self._operation(FREE, slot, request)
        for used in (slot, *(alloc.slot for alloc in allocs)):
            held.core.slots[used].block = NO_BLOCK
            held.return_slot(used)

    def kmem_cache_shrink(self, cache: Cache) -> Call:
        """Give back the slabs that the cache does not need (kernel: kmem_cache_shrink)."""
        check_live(cache)
        yield from self._ask(Request(0, 0, SHRINK, cache.number))

    def kmem_cache_destroy(self, cache: Cache | None) -> Call:
        """Destroy a cache, or its name where others share it; None is nothing (kernel: kmem_cache_destroy).

        BadFree where objects still live: it stays then.
        """
        if cache is None:
            return
        check_live(cache)
        if not cache.is_owned:
            raise ValueError(f"the cache {cache.name!r} was created by others")
        if self._caches.refcounts[cache.number] == 1:
            yield from self._ask(Request(0, 0, DESTROY, cache.number))
            remaining = int(self._slub.contexts[self._context].remaining)
            if remaining:
                problem = f"Objects remaining on __kmem_cache_shutdown(): {remaining}"
                where = self.held.cache_records[cache.number][0].address
                raise BadFree(problem, where, self._site(), cache.name)
        yield from self._forget(cache)

    def _forget(self, cache: Cache) -> Call:
        """The name is free, and the records of a cache that has lost its last name are given back."""
        cache.is_destroyed = True
        if self._caches.destroy(cache.name):
            for record in reversed(self.held.cache_records.pop(cache.number, [])):
                yield from self._free(record)

    def _ask(self, request: Request) -> Call:
        """Make a request that allocates nothing."""
        held = self.held
        slot = held.new_slot()
        yield from self._turn(ALLOC, slot, request)
        held.core.slots[slot].block = NO_BLOCK
        held.return_slot(slot)

    def _alloc_object(self, cache: Cache, gfp: str | int, zero: int) -> Allocating:
        flags = self._object_gfp(cache, gfp, zero)
        return (yield from self._allocate(Request(flags, 0, SLAB, cache.number), cache.object_size))

    def _object_gfp(self, cache: Cache, gfp: str | int, zero: int) -> int:
        """The flags of a request for an object; ValueError where the kernel would warn."""
        check_live(cache)
        flags = self._gfp(gfp, zero=zero)
        if cache.has_ctor and flags & GFP_ZERO:
            raise ValueError(f"objects of {cache.name!r} are constructed, and must not be zeroed")
        return flags

    def _object_to_free(self, cache: Cache, alloc: Alloc | int) -> Alloc:
        check_live(cache)
        found = self._to_free(alloc, SLAB)
        problem = object_problem(self._slub, found.block, cache.number)
        if problem == FREE_WRONG_CACHE:
            raise found.refused(f"Wrong slab cache. {cache.name} but object is from {found.cache}", self._site())
        assert problem == 0, "a live handle without an object"
        return found

    def _set_up(self, number: int, constructor_ps: int) -> None:
        """Make a new cache known to the machine."""
        held = self.held
        seeds = held.slab_seeds
        seed = seeds[number] if seeds else None
        slub = add_cache(self._slub, number, self._caches.geometries[number], seed)
        held.engine.core = held.core._replace(slub=slub)
        assert held.core.constructors is not None, "there with slabs"
        held.core.constructors[number] = constructor_ps

    @property
    def _slub(self) -> Slub:
        slub = self.held.core.slub
        assert slub is not None, "made where there are users' processes"
        return slub

    @property
    def _context(self) -> ContextIdx:
        """That of a thread on this CPU."""
        return context_of(self.held.core, THREAD, self.number)

    @property
    def _bulk_row(self) -> np.ndarray[Any, np.dtype[np.int32]]:
        """The objects of a bulk request of a thread on this CPU."""
        row = bulk_row(self._context)
        return self._slub.bulk[row : row + SLAB_BULK_MAX]


def check_nr(nr: int) -> None:
    """ValueError where it is no number of objects for one bulk."""
    if type(nr) is not int or not 1 <= nr <= SLAB_BULK_MAX:
        raise ValueError(f"a bulk has 1 to {SLAB_BULK_MAX} objects, not {nr!r}")


def check_live(cache: Cache) -> None:
    """ValueError where it is destroyed."""
    if cache.is_destroyed:
        raise ValueError(f"the cache {cache.name!r} is destroyed")
