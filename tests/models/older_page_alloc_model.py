"""The slow models of the page allocators of Linux 6.1 and 5.10, up to reclaim.

Written from what those kernels' functions of these names do; their zones are in older_zone_model.py, their per-CPU
lists in older_pcp_model.py. What is not said here is as in page_alloc_model.py: these kernels do not remember whether a
zone is below its high mark. __GFP_ATOMIC has no bit in the masks of the newest kernel: what has all else of GFP_ATOMIC
counts as having it.

Left out: in 5.10 nothing can find a list locked, as it turns interrupts off; here such a request goes to the zone.
Invariant: that of page_alloc_model.py.
"""

from __future__ import annotations

from .machine_model import (
    ALLOC_HIGHATOMIC,
    ALLOC_KSWAPD,
    ALLOC_MIN_RESERVE,
    ALLOC_NO_WATERMARKS,
    BOOSTED,
    WMARK_MASK,
    WMARK_MIN,
)
from .older_pcp_model import PerCpuPages61, PerCpuPages510
from .older_zone_model import ALLOC_ATOMIC, ALLOC_HARDER, Zone61, Zone510
from .page_alloc_model import (
    GFP_DIRECT_RECLAIM,
    GFP_HIGH,
    GFP_KSWAPD_RECLAIM,
    GFP_NOMEMALLOC,
    PageAllocModel,
    Request,
)
from .zone_model import ZoneModel


def is_atomic(gfp: int) -> bool:
    """Ask whether the mask has __GFP_ATOMIC."""
    return gfp & (GFP_HIGH | GFP_KSWAPD_RECLAIM | GFP_DIRECT_RECLAIM) == GFP_HIGH | GFP_KSWAPD_RECLAIM


class PageAlloc61(PageAllocModel):
    """The page allocator of Linux 6.1."""

    zone_type = Zone61
    fixed_pcp_type = PerCpuPages61

    def may_use_zone(self, zone: ZoneModel, request: Request, alloc_flags: int) -> bool:
        """Check the zone's mark (kernel: get_page_from_freelist)."""
        self.nr_watermark_checks += 1
        mark = zone.mark(alloc_flags & WMARK_MASK)
        is_above = zone.watermark_fast(request.order, mark, request.highest_zoneidx, alloc_flags)
        return is_above or bool(alloc_flags & ALLOC_NO_WATERMARKS)

    def rmqueue_buddy(self, zone: ZoneModel, request: Request, alloc_flags: int) -> int:
        """Take a block of the free lists or of the reserve, and count its pages (kernel: rmqueue_buddy)."""
        pfn = super().rmqueue_buddy(zone, request, alloc_flags)
        if pfn >= 0:
            zone.account_freepages(-(1 << request.order), request.migratetype)
        return pfn

    def slowpath_flags(self, request: Request) -> int:
        """Translate the flags into what they may use (kernel: gfp_to_alloc_flags)."""
        return super().slowpath_flags(request) | (ALLOC_ATOMIC if is_atomic(request.gfp) else 0)


class PageAlloc510(PageAlloc61):
    """The page allocator of Linux 5.10."""

    zone_type = Zone510
    fixed_pcp_type = PerCpuPages510

    def is_pcp_order(self, order: int) -> bool:
        """Say that per-CPU lists hold order 0 alone."""
        return order == 0

    def rmqueue(self, zone: ZoneModel, request: Request, alloc_flags: int) -> int:
        """Take a page from the pcp alone, or a block from the zone, or -1 (kernel: rmqueue).

        Whoever finds the zone boosted wakes kswapd, except where a block of order > 0 was not to be had.
        """
        pcp = self.pcps[zone.index, self.machine.this_cpu]
        if request.order == 0 and not pcp.locked:
            pfn = pcp.alloc(0, request.migratetype, alloc_flags)
        else:
            pfn = self.rmqueue_buddy(zone, request, alloc_flags)
        if zone.flags & BOOSTED and (pfn >= 0 or request.order == 0):
            zone.flags &= ~BOOSTED
            self.kswapd_wakeups += 1
        return pfn

    def slowpath_flags(self, request: Request) -> int:
        """Translate the flags into what they may use (kernel: gfp_to_alloc_flags).

        ALLOC_HIGHATOMIC stands for ALLOC_HARDER of order > 0.
        """
        alloc_flags = WMARK_MIN | (request.gfp & (GFP_HIGH | ALLOC_KSWAPD))
        if is_atomic(request.gfp):
            alloc_flags |= ALLOC_ATOMIC
            if not request.gfp & GFP_NOMEMALLOC:
                alloc_flags |= ALLOC_HARDER | (ALLOC_HIGHATOMIC if request.order else 0)
        return alloc_flags

    def free_exact_tail(self, cpu: int, pfn: int) -> None:
        """Free a page that an exact request does not need (kernel: make_alloc_exact)."""
        self.free_pages(cpu, pfn, 0)


assert GFP_HIGH == ALLOC_MIN_RESERVE  # of 5.10: ALLOC_HIGH
