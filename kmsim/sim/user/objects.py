"""kmalloc and its kin, for a user's own process; see `sim.user.cpu`.

A size that kmalloc cannot serve reaches no allocator: the kernel warns, and counts nothing.
"""

from __future__ import annotations

from kmsim.mm.getorder import get_order
from kmsim.mm.gfp import GFP_ZERO
from kmsim.mm.kmalloc import kmalloc_array_size
from kmsim.mm.limits import SIZE_MAX
from kmsim.mm.slab_common import Caches
from kmsim.mm.slab_geometry import SLAB_TYPESAFE_BY_RCU
from kmsim.sim.core.detail import OF_LARGE_BLOCK, OF_OBJECT
from kmsim.sim.user.alloc import ZERO_SIZE_PTR, Alloc, is_nothing
from kmsim.sim.user.calls import Allocating, Call, Calls, check_size, is_zero
from kmsim.workload.op_stream import ALLOC
from kmsim.workload.request import KREALLOC, LARGE, SLAB, Request


class ObjectCalls(Calls):
    """Objects of any size."""

    def kmalloc(self, size: int, gfp: str | int = "GFP_KERNEL") -> Allocating:
        """Allocate `size` bytes; for 0 bytes it is ZERO_SIZE_PTR, as in the kernel (kernel: kmalloc)."""
        return self._kmalloc(size, gfp, 0)

    def kzalloc(self, size: int, gfp: str | int = "GFP_KERNEL") -> Allocating:
        """The same, zeroed."""
        return self._kmalloc(size, gfp, GFP_ZERO)

    def kmalloc_array(self, nr: int, size: int, gfp: str | int = "GFP_KERNEL") -> Allocating:
        """An array; None where its size overflows."""
        return self._kmalloc(array_size(nr, size), gfp, 0)

    def kcalloc(self, nr: int, size: int, gfp: str | int = "GFP_KERNEL") -> Allocating:
        """The same, zeroed."""
        return self._kmalloc(array_size(nr, size), gfp, GFP_ZERO)

    def krealloc(self, alloc: Alloc | int | None, size: int, gfp: str | int = "GFP_KERNEL") -> Allocating:
        """Make an object larger or smaller: the same handle where it stays in place, another where it moves.

        None where there is no memory, which leaves the object. A size of 0 frees it and gives ZERO_SIZE_PTR.
        (kernel: krealloc)
        """
        if alloc is None or is_nothing(alloc):
            return (yield from self.kmalloc(size, gfp))
        old = self._to_free(alloc, SLAB, LARGE)
        if size == 0:
            yield from self._free(old)
            return ZERO_SIZE_PTR
        new = self._kmalloc_request(size, self._gfp(gfp))
        if new is None:
            return None
        stays = self._room(old) >= size
        detail = OF_LARGE_BLOCK if old.api == LARGE else OF_OBJECT
        asked = Request(new.gfp, new.order, KREALLOC, new.cache)
        return (yield from self._resized(old, asked, None if stays else new._replace(api=new.api), detail, size))

    def kfree(self, alloc: Alloc | int | None) -> Call:
        """Free what kmalloc gave, or any object; None and ZERO_SIZE_PTR are nothing (kernel: kfree)."""
        if alloc is not None and not is_nothing(alloc):
            yield from self._free(self._to_free(alloc, SLAB, LARGE))

    def ksize(self, alloc: Alloc | None) -> int:
        """The bytes that an object can really hold; 0 of None and ZERO_SIZE_PTR (kernel: ksize, slab_ksize)."""
        if alloc is None or is_nothing(alloc):
            return 0
        alloc = self._to_free(alloc, SLAB, LARGE)
        if alloc.api == LARGE:
            return self._room(alloc)
        geometry = self._caches.geometries[alloc.cache_number]
        return geometry.inuse if geometry.flags & SLAB_TYPESAFE_BY_RCU else geometry.size

    def _room(self, alloc: Alloc) -> int:
        """The bytes up to which krealloc leaves memory in place (see `mm.kmalloc.ksize`)."""
        core = self.held.core
        if alloc.api == LARGE:
            return self._page_size << int(core.m.pages[alloc.block].order)
        assert core.slub is not None, "an object without slabs"
        return int(core.slub.caches[alloc.cache_number].object_size)

    def _kmalloc(self, size: int | None, gfp: str | int, zero: int) -> Allocating:
        flags = self._gfp(gfp, zero=zero)
        if size is None:
            return None
        if is_zero(size):
            return ZERO_SIZE_PTR
        request = self._kmalloc_request(size, flags)
        if request is None:
            return None
        return (yield from self._allocate(request, size))

    def _kmalloc_request(self, size: int, flags: int) -> Request | None:
        """What kmalloc asks for; None where no block is so large."""
        check_size(size, SIZE_MAX)
        cache = self._caches.kmalloc_index(size, flags)
        if cache is not None:
            return Request(flags, 0, SLAB, cache)
        order = get_order(size, self._page_shift)
        if order > self.held.machine.params[0].max_page_order:
            return None
        self._gfp(flags, order=order)
        return Request(flags, order, LARGE)

    def _resized(self, old: Alloc, asked: Request, new: Request | None, detail: int, size: int) -> Allocating:
        """Change the memory in a handle's slot; `new` is the request for the new memory, or None: it stays in place."""
        held, slot, since = self.held, old.slot, self._site()
        number = held.request_index(asked)
        before = held.core.slots[slot].copy()
        held.core.slots[slot].detail = detail
        old.give_back(since)
        yield from self._turn(ALLOC, slot, asked, size)
        after = held.core.slots[slot]
        failed = int(after.request) != number
        if failed or new is None:
            old.take_back()
            after.request, after.detail = before.request, before.detail
            if failed:
                return None
            old.nr_bytes = size
            return old
        after.request = held.request_index(new)
        return self._held(slot, new, size, since)

    @property
    def _caches(self) -> Caches:
        caches = self.held.plan.caches
        assert caches is not None, "made where there are users' processes"
        return caches

    @property
    def _page_size(self) -> int:
        return 1 << self._page_shift

    @property
    def _page_shift(self) -> int:
        return int(self.held.machine.params[0].page_shift)


def array_size(nr: int, size: int) -> int | None:
    """The bytes of an array, or None where they overflow; ValueError where one is no number of things."""
    for number in (nr, size):
        if type(number) is not int or number < 0:
            raise ValueError(f"an array has 0 or more elements of 0 or more bytes, not {nr!r} of {size!r}")
    return kmalloc_array_size(nr, size)
