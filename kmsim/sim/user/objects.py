"""kmalloc and its kin, for a user's own process; see `sim.user.cpu`.

A size that kmalloc cannot serve reaches no allocator: the kernel warns, and counts nothing.
"""

from __future__ import annotations

from kmsim.mm.getorder import get_order
from kmsim.mm.gfp import GFP_ZERO
from kmsim.mm.kmalloc import kmalloc_array_size
from kmsim.mm.limits import SIZE_MAX
from kmsim.mm.slab_common import Caches
from kmsim.sim.core.detail import OF_LARGE_BLOCK, OF_OBJECT
from kmsim.sim.user.alloc import Alloc
from kmsim.sim.user.calls import Allocating, Call, Calls, check_size
from kmsim.workload.op_stream import ALLOC
from kmsim.workload.request import KREALLOC, LARGE, SLAB, Request


class ObjectCalls(Calls):
    """Objects of any size."""

    def kmalloc(self, size: int, gfp: str | int = "GFP_KERNEL") -> Allocating:
        """Allocate `size` bytes; a size of 0 is refused, as it allocates nothing (kernel: kmalloc)."""
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

        None where there is no memory, which leaves the object, or where the size is 0, which frees it.
        (kernel: krealloc)
        """
        if alloc is None:
            return (yield from self.kmalloc(size, gfp))
        old = self._to_free(alloc, SLAB, LARGE)
        if size == 0:
            yield from self._free(old)
            return None
        new = self._kmalloc_request(size, self._gfp(gfp))
        if new is None:
            return None
        stays = self.ksize(old) >= size
        detail = OF_LARGE_BLOCK if old.api == LARGE else OF_OBJECT
        asked = Request(new.gfp, new.order, KREALLOC, new.cache)
        return (yield from self._resized(old, asked, None if stays else new._replace(api=new.api), detail, size))

    def kfree(self, alloc: Alloc | int | None) -> Call:
        """Free what kmalloc gave, or any object; None is nothing (kernel: kfree)."""
        if alloc is not None:
            yield from self._free(self._to_free(alloc, SLAB, LARGE))

    def ksize(self, alloc: Alloc) -> int:
        """The bytes that an object can really hold (kernel: ksize)."""
        alloc = self._to_free(alloc, SLAB, LARGE)
        core = self.held.core
        if alloc.api == LARGE:
            return self._page_size << int(core.m.pages[alloc.block].order)
        assert core.slub is not None, "an object without slabs"
        return int(core.slub.caches[alloc.cache_number].object_size)

    def _kmalloc(self, size: int | None, gfp: str | int, zero: int) -> Allocating:
        flags = self._gfp(gfp, zero=zero)
        if size is None:
            return None
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
    """The bytes of an array, or None where they overflow; ValueError if one is not a positive integer."""
    for number in (nr, size):
        if type(number) is not int or number < 1:
            raise ValueError(f"an array has 1 element of 1 byte at least, not {nr!r} of {size!r}")
    return kmalloc_array_size(nr, size)
