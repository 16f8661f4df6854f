"""The slow model of Linux 6.12's slow path around direct reclaim (kernel: __alloc_pages_slowpath of mm/page_alloc.c).

Written from the kernel's source for facts and from nothing of kmsim. Reclaim itself is `vmscan_model.py`. Left out:
compaction itself; where its scanners would start, the request fails with "needs_slow_path".
"""

from __future__ import annotations

from .machine_model import (
    ALLOC_KSWAPD,
    ALLOC_NO_WATERMARKS,
    MOVABLE,
    WMARK_HIGH,
    WMARK_MASK,
    WMARK_MIN,
)
from .page_alloc_model import (
    GFP_DIRECT_RECLAIM,
    GFP_IO,
    GFP_MEMALLOC,
    GFP_NOMEMALLOC,
    Request,
)
from .pcp_model import PAGE_ALLOC_COSTLY_ORDER
from .vmscan_model import VmscanModel

GFP_RETRY_MAYFAIL, GFP_NORETRY = 0x4000, 0x10000
SKIPPED, SUCCESS = "skipped", "success"


class ScannersStart(Exception):
    """Compaction would begin to move pages."""


class ReclaimModel(VmscanModel):
    """The page allocator of a machine that can reclaim."""

    # ---- the slow path

    def alloc_slowpath(self, request: Request) -> int:
        """Reclaim, compact and try again until that is of no use (kernel: __alloc_pages_slowpath)."""
        try:
            pfn = self.try_hard(request)
        except ScannersStart:
            return self.fail("needs_slow_path")
        return pfn if pfn >= 0 else self.fail("nopage")

    def try_hard(self, request: Request) -> int:
        """Do all that the slow path does; the page or -1."""
        gfp, order = request.gfp, request.order
        flags = self.slowpath_flags(request)
        may_ignore_marks = bool(gfp & GFP_MEMALLOC and not gfp & GFP_NOMEMALLOC)
        costly = order > PAGE_ALLOC_COSTLY_ORDER
        self.wake_kswapd(flags)
        pfn = self.get_page_from_freelist(request, flags)
        if pfn >= 0:
            return pfn
        result, loops = SKIPPED, 0
        first = costly or (order > 0 and request.migratetype != MOVABLE)
        if gfp & GFP_DIRECT_RECLAIM and gfp & GFP_IO and first and not may_ignore_marks:
            pfn, result = self.direct_compact(request, flags)
            if pfn >= 0:
                return pfn
            if costly and gfp & GFP_NORETRY:
                assert result == SKIPPED
                return -1
        while True:
            self.wake_kswapd(flags)
            if may_ignore_marks:
                flags = ALLOC_NO_WATERMARKS | (flags & ALLOC_KSWAPD)
            pfn = self.get_page_from_freelist(request, flags)
            if pfn >= 0 or not gfp & GFP_DIRECT_RECLAIM:
                return pfn
            progress, pfn = self.direct_reclaim(request, flags)
            if pfn < 0 and order:
                pfn, result = self.direct_compact(request, flags)
            if pfn >= 0:
                return pfn
            if gfp & GFP_NORETRY or (costly and not (gfp & GFP_IO and gfp & GFP_RETRY_MAYFAIL)):
                return -1
            loops = 0 if progress and not costly else loops + 1
            if self.should_reclaim_retry(request, flags, loops):
                continue
            if progress and gfp & GFP_IO and order and self.should_compact_retry(request, result):
                continue
            return self.get_page_from_freelist(request, WMARK_HIGH)

    def direct_reclaim(self, request: Request, flags: int) -> tuple[int, int]:
        """Free pages and look for one, twice if need be (kernel: __alloc_pages_direct_reclaim)."""
        progress = self.try_to_free_pages(request)
        if not progress:
            return 0, -1
        pfn = self.get_page_from_freelist(request, flags)
        if pfn < 0:
            for zone in self.zonelist(request.highest_zoneidx):
                if zone.unreserve_highatomic(request.migratetype, force=False):
                    break
            self.drain_all_pages(self.machine.this_cpu)
            pfn = self.get_page_from_freelist(request, flags)
        return progress, pfn

    def should_reclaim_retry(self, request: Request, flags: int, loops: int) -> bool:
        """Ask whether all that can be reclaimed would do (kernel: should_reclaim_retry)."""
        if loops <= 16:
            for zone in self.zonelist(request.highest_zoneidx):
                available = self.reclaimable(zone) + max(zone.nr_free_pages + sum(zone.deltas), 0)
                mark = zone.mark(WMARK_MIN)
                if zone.watermark_ok(request.order, mark, request.highest_zoneidx, flags, available):
                    return True
        zones = self.zonelist(request.highest_zoneidx)
        return any(zone.unreserve_highatomic(request.migratetype, force=True) for zone in zones)

    # ---- compaction, up to its scanners

    def direct_compact(self, request: Request, flags: int) -> tuple[int, str]:
        """Compact and look for a page (kernel: __alloc_pages_direct_compact)."""
        result = SKIPPED
        if request.gfp & GFP_IO:
            for zone in self.zonelist(request.highest_zoneidx):
                mark = zone.mark(flags & WMARK_MASK)
                if zone.watermark_ok(request.order, mark, request.highest_zoneidx, flags):
                    result = SUCCESS
                    break
                if self.suitable(zone, request):
                    raise ScannersStart
        if result == SKIPPED:
            return -1, result
        return self.get_page_from_freelist(request, flags), result

    def should_compact_retry(self, request: Request, result: str) -> bool:
        """Ask whether a zone would be suitable if some of its pages were reclaimed (kernel: should_compact_retry)."""
        assert result == SKIPPED, "a block was there, and then it was not, though nobody else runs"
        for zone in self.zonelist(request.highest_zoneidx):
            free = self.reclaimable(zone) // request.order + max(zone.nr_free_pages + sum(zone.deltas), 0)
            if self.suitable(zone, request, free, index=False):
                return True
        return False
