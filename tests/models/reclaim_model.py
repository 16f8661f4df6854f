"""The slow model of Linux 6.12's slow path around direct reclaim (kernel: __alloc_pages_slowpath of mm/page_alloc.c).

Written from the kernel's source for facts and from nothing of kmsim. Reclaim itself is `vmscan_model.py`. Left out:
compaction itself; where its scanners would start, the request fails with "needs_slow_path". Nobody else runs: a request
that would wait for others fails.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from .lru_model import BATCH, Folio
from .machine_model import (
    ALLOC_KSWAPD,
    ALLOC_MIN_RESERVE,
    ALLOC_NO_WATERMARKS,
    MOVABLE,
    WMARK_HIGH,
    WMARK_MASK,
    WMARK_MIN,
    ZONE_INDEX,
)
from .page_alloc_model import (
    GFP_DIRECT_RECLAIM,
    GFP_IO,
    GFP_MEMALLOC,
    GFP_NOMEMALLOC,
    Request,
)
from .pcp_model import PAGE_ALLOC_COSTLY_ORDER
from .vmscan_model import GFP_FS, VmscanModel

GFP_RETRY_MAYFAIL, GFP_NOFAIL, GFP_NORETRY, GFP_THISNODE = 0x4000, 0x8000, 0x10000, 0x200000
SKIPPED, SUCCESS = "skipped", "success"


class ScannersStart(Exception):
    """Compaction would begin to move pages."""


class Panic(Exception):
    """The kernel stops: nobody is left to be killed."""


@dataclass
class Process:
    """Memory that goes when its owner is killed."""

    oom_score_adj: int
    folios: list[Folio] = field(default_factory=list)
    nr_swapped: int = 0
    nr_tables: int = 0

    def badness(self, total: int) -> int:
        """Give its points (kernel: oom_badness)."""
        pages = sum(folio.pages for folio in self.folios)
        return pages + self.nr_swapped + self.nr_tables + self.oom_score_adj * (total // 1000)


class ReclaimModel(VmscanModel):
    """The page allocator of a machine that can reclaim."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.processes: list[Process] = []
        self.kills = False  # is there an OOM killer?
        self.panic_on_oom = False
        self.nr_killed = 0
        self.reclaims_already = False  # the task is in reclaim (kernel: PF_MEMALLOC)

    # ---- the slow path

    def alloc_slowpath(self, request: Request) -> int:
        """Reclaim, compact and try again until that is of no use (kernel: __alloc_pages_slowpath)."""
        try:
            pfn = self.try_hard(request)
            if pfn < 0 and request.gfp & GFP_NOFAIL:
                pfn = self.get_page_from_freelist(request, ALLOC_MIN_RESERVE)
        except ScannersStart:
            return self.fail("needs_slow_path")
        except Panic:
            pfn = -1
        return pfn if pfn >= 0 else self.fail("nopage")

    def try_hard(self, request: Request) -> int:
        """Do all that the slow path does; the page or -1."""
        gfp, order = request.gfp, request.order
        flags = self.slowpath_flags(request)
        may_ignore_marks = bool((gfp & GFP_MEMALLOC or self.reclaims_already) and not gfp & GFP_NOMEMALLOC)
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
            if pfn >= 0 or not gfp & GFP_DIRECT_RECLAIM or self.reclaims_already:
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
            pfn, goes_on = self.may_oom(request)
            if not goes_on:
                return pfn
            loops = 0

    def may_oom(self, request: Request) -> tuple[int, bool]:
        """Kill somebody: a page or -1, and whether all begins again (kernel: __alloc_pages_may_oom)."""
        pfn = self.get_page_from_freelist(request, WMARK_HIGH)
        gfp, order = request.gfp, request.order
        if pfn >= 0 or order > PAGE_ALLOC_COSTLY_ORDER or gfp & (GFP_RETRY_MAYFAIL | GFP_THISNODE):
            return pfn, False
        if request.highest_zoneidx < ZONE_INDEX["Normal"]:
            return -1, False
        has_killed = self.kills and bool(gfp & GFP_FS)
        if has_killed:
            self.kill()
        if gfp & GFP_NOFAIL:
            pfn = self.get_page_from_freelist(request, ALLOC_NO_WATERMARKS)
        return pfn, pfn < 0 and has_killed

    def kill(self) -> None:
        """Kill the process with the most points, the later one of two alike (kernel: select_bad_process)."""
        total = sum(zone.managed for zone in self.zones.values()) + self.swap_total
        candidates = [process for process in self.processes if process.oom_score_adj != -1000]
        if not candidates or self.panic_on_oom:
            raise Panic
        victim = max(reversed(candidates), key=lambda process: process.badness(total))
        self.processes.remove(victim)
        self.nr_killed += 1
        cpu = self.machine.this_cpu
        folios = sorted(victim.folios, key=lambda folio: folio.pfn)
        for first in range(0, len(folios), BATCH):
            self.lru.drain(cpu)
            batch = folios[first : first + BATCH]
            for folio in batch:
                self.lru.unlink(cpu, folio)
                self.swap_free += folio.pages * folio.swapcache
            self.free_unref_folios(cpu, [(folio.pfn, folio.order) for folio in batch])
            self.nr_freed += sum(folio.pages for folio in batch)
        self.swap_free += victim.nr_swapped

    def free_batch(self, batch: list[Folio]) -> None:
        """Free what was reclaimed; what was a process's is in swap now."""
        for process in self.processes:
            gone = [folio for folio in process.folios if folio in batch]
            process.nr_swapped += sum(folio.pages for folio in gone)
            process.folios = [folio for folio in process.folios if folio not in gone]
        super().free_batch(batch)

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
