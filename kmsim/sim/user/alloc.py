"""Memory that a user's process holds, and the report of an invalid free.

One kind of handle stands for a block, an object, exact pages or an area. It remembers where it was allocated and
freed, so an invalid free is refused with a report like SLUB's, which names both; the machine is unchanged then. SLUB
would notice some of these frees only with debugging, and some never.
"""

from __future__ import annotations

from typing import NamedTuple

import simpy

from kmsim.jit import entry
from kmsim.mm.indices import CacheIdx, CpuIdx, ObjectIdx, SlotIdx
from kmsim.mm.mmzone import NO_PAGE, Machine
from kmsim.mm.slab_common import Caches
from kmsim.mm.slub_object import address_of, free_problem, slab_owner
from kmsim.mm.slub_records import Slub
from kmsim.mm.vm_records import KV_PAGES, KV_SLAB
from kmsim.sim.core.detail import kv_outcome
from kmsim.sim.core.records import Core
from kmsim.sim.run.clock import now_ps
from kmsim.sim.run.engine import Engine
from kmsim.text import nr_of
from kmsim.units import PS_PER_NS
from kmsim.workload.request import EXACT, KVMALLOC, LARGE, PAGES, SLAB, VMALLOC, VMAP, Request

VERBS = {
    PAGES: ("alloc_pages", "free_pages"),
    EXACT: ("alloc_pages_exact", "free_pages_exact"),
    SLAB: ("the slab", "kfree or kmem_cache_free"),
    LARGE: ("kmalloc", "kfree"),
    VMALLOC: ("vmalloc", "vfree"),
    VMAP: ("vmap", "vunmap"),
}
_LINE = 77
ZERO_SIZE_ADDRESS = 16  # kernel: ZERO_SIZE_PTR, ((void *)16)


class Site(NamedTuple):
    """Where something was asked for: by which process, on which CPU, when."""

    process: str
    cpu: int
    time_ps: int

    def __str__(self) -> str:
        return f"{self.process} cpu={self.cpu} at {self.time_ps / PS_PER_NS:,} ns"


class BadFree(ValueError):
    """A free that was refused; the message is a report like SLUB's."""

    def __init__(
        self,
        problem: str,
        address: int,
        asked: Site,
        cache: str | None = None,
        allocated: Site | None = None,
        freed: Site | None = None,
    ) -> None:
        super().__init__(problem, address, asked, cache, allocated, freed)  # SimPy makes another from these
        self.problem = problem
        self.address = address
        self.cache = cache  # that the object is of
        self.allocated = allocated
        self.freed = freed  # for the first time
        self.asked = asked  # the free that was refused

    def __str__(self) -> str:
        lines = ["", "=" * _LINE, f"BUG {self.cache or 'memory'}: {self.problem}", "-" * _LINE]
        lines += [f"Object 0x{self.address:016x}" + (f" of cache {self.cache}" if self.cache else "")]
        lines += [f"Allocated in {self.allocated}"] if self.allocated else []
        lines += [f"Freed in {self.freed}"] if self.freed else []
        return "\n".join([*lines, f"This free in {self.asked}"])


class Alloc:
    """Memory that a process holds: a handle that stays good wherever its pages lie."""

    def __init__(
        self, engine: Engine, caches: Caches | None, slot: SlotIdx, request: Request, nr_bytes: int, allocated: Site
    ) -> None:
        self.engine = engine
        self._caches = caches
        self.slot = slot  # where the simulator remembers the block
        self.request = request
        self.nr_bytes = nr_bytes  # asked for
        self.allocated = allocated
        self.freed: Site | None = None
        self.mapped: tuple[Alloc, ...] = ()  # by vmap
        self._address = address(engine.core, self.api, self.block)
        self._cache = self.cache

    @property
    def is_freed(self) -> bool:
        """Has it been given back?"""
        return self.freed is not None

    @property
    def block(self) -> int:
        """Its number: a page frame, an object or an area; ValueError once it is freed."""
        if self.is_freed:
            raise ValueError("a block that has been freed has no page frame")
        return int(self.engine.core.slots[self.slot].block)

    @property
    def api(self) -> int:
        """Which allocator it came from; that of a kvmalloc is the slab, the page allocator or vmalloc."""
        if self.request.api != KVMALLOC:
            return self.request.api
        outcome = kv_outcome(int(self.engine.core.slots[self.slot].detail))
        return {KV_SLAB: SLAB, KV_PAGES: LARGE}.get(outcome, VMALLOC)

    @property
    def address(self) -> int:
        """Its address in the linear mapping, or in vmalloc's; where it was, once it is freed."""
        return self._address if self.is_freed else address(self.engine.core, self.api, self.block)

    @property
    def pfn(self) -> int:
        """Its first page frame, as of now; ValueError once it is freed, or where its pages need not be contiguous."""
        block, api = self.block, self.api
        if api in (VMALLOC, VMAP):
            raise ValueError("memory of vmalloc has no one page frame")
        return address(self.engine.core, api, block) >> int(self.engine.machine.params[0].page_shift)

    @property
    def cache(self) -> str | None:
        """The name of the slab cache that the object is of, or was; None where it is no object."""
        if self.is_freed:
            return self._cache
        if self.api != SLAB or self._caches is None:
            return None
        return self._caches.geometries[self.cache_number].name

    @property
    def cache_number(self) -> int:
        """The cache that an object is of."""
        slub = self.engine.core.slub
        assert slub is not None, "an object without slabs"
        return object_cache(slub, self.block)

    @property
    def pages(self) -> list[int]:
        """The page frames that it lies in, in the order of its addresses; ValueError once it is freed."""
        core, block, api = self.engine.core, self.block, self.api
        if api == VMAP:
            return [pfn for mapped in self.mapped for pfn in mapped.pages]
        if api == VMALLOC:
            assert core.vm is not None, "an area without vmalloc"
            return _chain(core.m, int(core.vm.areas[block].first_pfn))
        if api == SLAB:
            assert core.slub is not None, "an object without slabs"
            last = address(core, api, block) + int(core.slub.caches[self.cache_number].object_size) - 1
            return list(range(self.pfn, (last >> int(core.m.params[0].page_shift)) + 1))
        nr_pages = int(core.slots[self.slot].detail) if api == EXACT else 1 << int(core.m.pages[block].order)
        return list(range(block, block + nr_pages))

    @property
    def is_contiguous(self) -> bool:
        """Are its page frames physically contiguous? Those of vmalloc need not be; ValueError once it is freed."""
        pages = self.pages
        return pages == list(range(pages[0], pages[0] + len(pages)))

    def __repr__(self) -> str:
        if self.is_freed:
            return f"<{nr_of(self.nr_bytes, 'byte')} at {self._address:#x}, freed in {self.freed}>"
        what = {SLAB: f"object of {self.cache}", VMALLOC: "area of vmalloc", VMAP: "area of vmap"}
        given = what.get(self.api, f"block of {VERBS[self.api][0]}")
        first, nr_pages = self.pages[0], len(self.pages)
        frames = f"page frame {first:#x}" if nr_pages == 1 else f"{nr_pages:,} page frames from {first:#x} on"
        if not self.is_contiguous:
            frames = f"{nr_pages:,} page frames, not contiguous"
        return f"<{nr_of(self.nr_bytes, 'byte')}, {given} at {self.address:#x}, {frames}>"

    def refused(self, problem: str, asked: Site) -> BadFree:
        """The report of a bad free of this memory."""
        return BadFree(problem, self.address, asked, self.cache, self.allocated, self.freed)

    def give_back(self, asked: Site) -> None:
        """Mark it as freed."""
        self._address, self._cache = self.address, self.cache
        self.freed = asked

    def take_back(self) -> None:
        """Undo `give_back`: it is still allocated."""
        self.freed = None


class ZeroSizePtr(Alloc):
    """What a request for 0 bytes gives: no memory, and not None; its free does nothing (kernel: ZERO_SIZE_PTR)."""

    def __init__(self) -> None:
        self.nr_bytes = 0
        self.freed = None

    @property
    def block(self) -> int:
        """It has none."""
        raise ValueError("a request for 0 bytes has no page frame")

    @property
    def address(self) -> int:
        """One that no memory has."""
        return ZERO_SIZE_ADDRESS

    @property
    def cache(self) -> str | None:
        """It is no object."""
        return None

    @property
    def pages(self) -> list[int]:
        """It has none."""
        return []

    @property
    def is_contiguous(self) -> bool:
        """There is nothing that could be apart."""
        return True

    def __repr__(self) -> str:
        return "<ZERO_SIZE_PTR: 0 bytes>"


ZERO_SIZE_PTR = ZeroSizePtr()


def is_nothing(alloc: Alloc | int | None) -> bool:
    """Is there nothing to free: NULL or ZERO_SIZE_PTR, as a handle or an address? (kernel: ZERO_OR_NULL_PTR)"""
    if isinstance(alloc, int):
        return 0 <= alloc <= ZERO_SIZE_ADDRESS
    return alloc is None or alloc is ZERO_SIZE_PTR


def _chain(m: Machine, first_pfn: int) -> list[int]:
    """The pages of a chain (see `mm.page_chain`)."""
    found = []
    pfn = first_pfn
    while pfn != NO_PAGE:
        found.append(pfn)
        pfn = int(m.pages[pfn].next)
    return found


def site(env: simpy.Environment, cpu: CpuIdx) -> Site:
    """The site of the current call."""
    process = env.active_process
    return Site("a call" if process is None else str(process.name), cpu, now_ps(env))


def address(core: Core, api: int, block: int) -> int:
    """The address of a block, an object or an area."""
    page_shift = int(core.m.params[0].page_shift)
    if api == SLAB:
        assert core.slub is not None, "an object without slabs"
        return object_address(core.m, core.slub, block)
    if api in (VMALLOC, VMAP):
        assert core.vm is not None, "an area without vmalloc"
        return int(core.vm.vas[int(core.vm.areas[block].va)].start) << page_shift
    return block << page_shift


@entry
def object_address(m: Machine, sl: Slub, obj: ObjectIdx) -> int:
    """`mm.slub_object.address_of`, for Python callers."""
    return address_of(m, sl, obj)


@entry
def object_cache(sl: Slub, obj: ObjectIdx) -> CacheIdx:
    """`mm.slub_object.slab_owner`, for Python callers."""
    return slab_owner(sl, obj)


@entry
def object_problem(sl: Slub, obj: ObjectIdx, cache: CacheIdx) -> int:
    """`mm.slub_object.free_problem`, for Python callers."""
    return free_problem(sl, obj, cache)
