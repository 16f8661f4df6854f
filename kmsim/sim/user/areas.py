"""vmalloc, vmap and kvmalloc, for a user's own process; see `sim.user.cpu`.

One call asks for less than 2 GiB: an operation counts its bytes in an int. A larger kvmalloc fails as in the
kernel, and reaches no allocator.
"""

from __future__ import annotations

from collections.abc import Sequence

from kmsim.mm.getorder import get_order
from kmsim.mm.gfp import GFP_DIRECT_RECLAIM, GFP_KERNEL, GFP_ZERO
from kmsim.mm.limits import INT_MAX, SIZE_MAX
from kmsim.mm.slub_records import NO_CACHE
from kmsim.mm.vm_records import (
    ABOVE_INT_MAX,
    KV_FAILED,
    KV_OUTCOMES,
    KV_PAGES,
    KV_REASONS,
    KV_SLAB,
    KV_VMALLOC,
    NON_BLOCKING,
    OVERFLOW,
    VM_USERMAP,
)
from kmsim.sim.core.detail import kv_detail
from kmsim.sim.user.alloc import ZERO_SIZE_PTR, Alloc, is_nothing
from kmsim.sim.user.calls import Allocating, Call, check_size, is_zero
from kmsim.sim.user.objects import ObjectCalls, array_size
from kmsim.workload.request import EXACT, KVMALLOC, KVREALLOC, LARGE, PAGES, SLAB, VMALLOC, VMAP, Request


class AreaCalls(ObjectCalls):
    """Memory whose addresses are contiguous and whose pages need not be."""

    def vmalloc(self, size: int, gfp: str | int = "GFP_KERNEL") -> Allocating:
        """Allocate `size` bytes; None for 0 bytes, of which the kernel warns (kernel: vmalloc, __vmalloc)."""
        return self._vmalloc(size, gfp)

    def vzalloc(self, size: int, gfp: str | int = "GFP_KERNEL") -> Allocating:
        """The same, zeroed."""
        return self._vmalloc(size, gfp, zero=GFP_ZERO)

    def vmalloc_huge(self, size: int, gfp: str | int = "GFP_KERNEL") -> Allocating:
        """The same, mapped with huge pages from PMD_SIZE on (kernel: vmalloc_huge)."""
        return self._vmalloc(size, gfp, huge=1)

    def vmalloc_user(self, size: int) -> Allocating:
        """Zeroed memory that may be mapped to user space (kernel: vmalloc_user)."""
        alloc = yield from self._vmalloc(size, GFP_KERNEL, zero=GFP_ZERO)
        if alloc is not None:
            vm = self.held.core.vm
            assert vm is not None, "an area without vmalloc"
            vm.areas[alloc.block].vm_flags |= VM_USERMAP
        return alloc

    def vfree(self, alloc: Alloc | int | None) -> Call:
        """Free what vmalloc gave, or a kvmalloc that left the slab; None is nothing (kernel: vfree)."""
        if alloc is not None:
            yield from self._free(self._to_free(alloc, VMALLOC))

    def vmap(self, blocks: Sequence[Alloc]) -> Allocating:
        """Map the pages of these blocks one after the other; the blocks stay allocated (kernel: vmap)."""
        if not blocks:
            raise ValueError("vmap needs at least one block")
        for block in blocks:
            self._to_free(block, PAGES, EXACT, LARGE)
        nr_bytes = sum(-(-block.nr_bytes // self._page_size) * self._page_size for block in blocks)
        check_size(nr_bytes)
        alloc = yield from self._allocate(Request(GFP_KERNEL, 0, VMAP), nr_bytes)
        if alloc is not None:
            alloc.mapped = tuple(blocks)
        return alloc

    def vunmap(self, alloc: Alloc | int | None) -> Call:
        """Unmap what vmap has mapped; None is nothing (kernel: vunmap)."""
        if alloc is not None:
            yield from self._free(self._to_free(alloc, VMAP))

    def kvmalloc(self, size: int, gfp: str | int = "GFP_KERNEL") -> Allocating:
        """Allocate `size` bytes from the slab if it can, else from vmalloc (kernel: kvmalloc)."""
        return self._kvmalloc(size, gfp, 0)

    def kvzalloc(self, size: int, gfp: str | int = "GFP_KERNEL") -> Allocating:
        """The same, zeroed."""
        return self._kvmalloc(size, gfp, GFP_ZERO)

    def kvmalloc_array(self, nr: int, size: int, gfp: str | int = "GFP_KERNEL") -> Allocating:
        """An array; None where its size overflows."""
        return self._kvmalloc(array_size(nr, size), gfp, 0)

    def kvcalloc(self, nr: int, size: int, gfp: str | int = "GFP_KERNEL") -> Allocating:
        """The same, zeroed."""
        return self._kvmalloc(array_size(nr, size), gfp, GFP_ZERO)

    def kvrealloc(self, alloc: Alloc | int | None, size: int, gfp: str | int = "GFP_KERNEL") -> Allocating:
        """Make memory larger or smaller: the same handle where it stays in place, another where it moves.

        None where there is no memory, which leaves the old. A size of 0 frees it; ZERO_SIZE_PTR is given for an object
        then, and None for an area (kernel: kvrealloc, krealloc, vrealloc).
        """
        if alloc is None or is_nothing(alloc):
            return (yield from self.kvmalloc(size, gfp))
        old = self._to_free(alloc, SLAB, LARGE, VMALLOC)
        if size == 0:
            is_area = old.api == VMALLOC
            yield from self._free(old)
            return None if is_area else ZERO_SIZE_PTR
        new = self._kvmalloc_request(size, self._gfp(gfp))
        if new is None:
            return None
        asked = new._replace(api=KVREALLOC)
        return (yield from self._resized(old, asked, None if self._has_room(old, size) else new, _detail(old), size))

    def kvfree(self, alloc: Alloc | int | None) -> Call:
        """Free what kvmalloc, kmalloc or vmalloc gave; None and ZERO_SIZE_PTR are nothing (kernel: kvfree)."""
        if alloc is not None and not is_nothing(alloc):
            yield from self._free(self._to_free(alloc, SLAB, LARGE, VMALLOC))

    def _vmalloc(self, size: int, gfp: str | int, *, zero: int = 0, huge: int = 0) -> Allocating:
        if is_zero(size):
            return None
        check_size(size)
        flags = self._gfp(gfp, zero=zero, refuse=0)
        request = Request(flags, get_order(size, self._page_shift), VMALLOC, huge=huge)
        return (yield from self._allocate(request, size))

    def _kvmalloc(self, size: int | None, gfp: str | int, zero: int) -> Allocating:
        flags = self._gfp(gfp, zero=zero)
        if size is not None and is_zero(size):
            return ZERO_SIZE_PTR
        request = self._kvmalloc_request(size, flags)
        if size is None or request is None:
            return None
        return (yield from self._allocate(request, size))

    def _kvmalloc_request(self, size: int | None, flags: int) -> Request | None:
        """The request of a kvmalloc; None where it fails however much memory there is, which is counted here."""
        if size is not None:
            check_size(size, SIZE_MAX)
            if size <= INT_MAX:
                cache = self._caches.kmalloc_index(size, flags)
                order = get_order(size, self._page_shift)
                return Request(flags, order, KVMALLOC, NO_CACHE if cache is None else cache)
        vm = self.held.core.vm
        assert vm is not None, "made where there are users' processes"
        may_block = flags & GFP_DIRECT_RECLAIM
        reason = OVERFLOW if size is None else ABOVE_INT_MAX if may_block else NON_BLOCKING
        vm.events[KV_OUTCOMES + KV_FAILED] += 1
        vm.events[KV_REASONS + reason] += 1
        return None

    def _has_room(self, alloc: Alloc, size: int) -> bool:
        """Does kvrealloc leave it in place? An object can grow to its whole slot, an area to all of its pages."""
        core = self.held.core
        assert core.slub is not None
        assert core.vm is not None
        if alloc.api == SLAB:
            return size <= int(core.slub.caches[alloc.cache_number].slot_size)
        if alloc.api == LARGE:
            return size <= self.ksize(alloc)
        return size <= int(core.vm.areas[alloc.block].nr_pages) * self._page_size


def _detail(alloc: Alloc) -> int:
    """The `detail` of the memory, as if a kvmalloc had given it."""
    if alloc.api == LARGE:
        order = int(alloc.engine.machine.pages[alloc.block].order)
        return kv_detail(KV_PAGES, order)
    return kv_detail(KV_SLAB if alloc.api == SLAB else KV_VMALLOC, 0)
