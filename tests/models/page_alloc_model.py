"""The slow model of Linux 6.12's page allocator: zone choice, bulk requests, and the slow path up to reclaim.

It is written from the kernel's source for facts and from nothing of kmsim, so that the two can be compared.
States go in and come out in the record format of the ground truth. An operation is atomic: no interrupts.

Left out: reclaim and compaction (`last_failure` says where they would begin), NUMA, CMA, cpusets, and kswapd
itself: its wake-ups are counted, but nothing lowers a boost, sets or clears ZONE_RECLAIM_ACTIVE, or switches
to the pressure threshold of the per-CPU counters.

Invariant (`validate`): what buddy_model.py says of the zones; a pcp's count is the pages on its lists; no
page is in two places.
"""

from __future__ import annotations

from itertools import pairwise
from typing import NamedTuple

from .fixed_pcp_model import FixedPerCpuPages
from .machine_model import (
    ALLOC_HIGHATOMIC,
    ALLOC_KSWAPD,
    ALLOC_MIN_RESERVE,
    ALLOC_NO_WATERMARKS,
    ALLOC_NOFRAGMENT,
    ALLOC_NON_BLOCK,
    ALLOC_OOM,
    BELOW_HIGH,
    BOOSTED,
    HIGHATOMIC,
    MOVABLE,
    UNMOVABLE,
    WMARK_HIGH,
    WMARK_LOW,
    WMARK_MASK,
    WMARK_MIN,
    ZONE_INDEX,
    Machine,
    Record,
)
from .pcp_model import PAGE_ALLOC_COSTLY_ORDER, PerCpuPages
from .zone_model import RmqueueMode, ZoneModel

GFP_ZONEMASK = 0xF  # __GFP_DMA 1, __GFP_HIGHMEM 2, __GFP_DMA32 4, __GFP_MOVABLE 8
GFP_MOVABLE_SHIFT = 3
GFP_HIGH = 0x20
GFP_IO = 0x40
GFP_ZERO = 0x100
GFP_DIRECT_RECLAIM = 0x400
GFP_KSWAPD_RECLAIM = 0x800
GFP_MEMALLOC = 0x20000
GFP_NOMEMALLOC = 0x80000

GFP_ZONE = {  # zone index by GFP_ZONEMASK bits; other combinations are illegal (kernel: GFP_ZONE_TABLE)
    0x0: ZONE_INDEX["Normal"], 0x1: ZONE_INDEX["DMA"], 0x2: ZONE_INDEX["Normal"], 0x4: ZONE_INDEX["DMA32"],
    0x8: ZONE_INDEX["Normal"], 0x9: ZONE_INDEX["DMA"], 0xA: ZONE_INDEX["Movable"], 0xC: ZONE_INDEX["DMA32"],
}  # fmt: skip


class Request(NamedTuple):
    """What an allocation asks for (kernel: struct alloc_context)."""

    gfp: int
    order: int
    highest_zoneidx: int
    migratetype: int


class PageAllocModel:
    """The page allocator of one machine, built from a ground-truth state."""

    zone_type: type[ZoneModel] = ZoneModel
    fixed_pcp_type: type[PerCpuPages] = FixedPerCpuPages  # where lists do not tune themselves

    def __init__(
        self, state: list[Record], *, page_shift: int, max_page_order: int, pageblock_order: int,
        pmd_order: int, thp_in_pcp: bool, nr_cpus: int, watermark_boost_factor: int = 15000,
        group_disabled: bool | None = None, auto_tune: bool = True, check_pages: bool = False,
        batch_scale_max: int = 5, init_on_alloc: bool = False, init_on_free: bool = False,
        folio_reclaim: bool = True,
    ) -> None:  # fmt: skip
        if group_disabled is None:
            group_disabled = any(record["group_disabled"] for record in state)
        self.machine = Machine(
            page_shift, max_page_order, pageblock_order, pmd_order, bool(thp_in_pcp), nr_cpus,
            watermark_boost_factor, bool(group_disabled), auto_tune, check_pages, batch_scale_max,
            folio_reclaim,
        )  # fmt: skip
        self.zones = {ZONE_INDEX[record["name"]]: self.zone_type(record, self.machine) for record in state}
        pcp_type = PerCpuPages if auto_tune else self.fixed_pcp_type
        self.pcps = {
            (ZONE_INDEX[record["name"]], pcp["cpu"]): pcp_type(pcp, self.zones[ZONE_INDEX[record["name"]]])
            for record in state
            for pcp in record["pcp"]
        }
        self.kswapd_wakeups = 0
        self.nr_watermark_checks = 0  # zones whose marks were compared
        self.init_on_alloc = init_on_alloc
        self.init_on_free = init_on_free
        self.bytes_zeroed = 0
        self.last_failure: str | None = None

    # ---- public verbs

    def alloc_pages(self, cpu: int, gfp: int, order: int) -> int:
        """Allocate a block and return its first pfn, or -1 (kernel: __alloc_pages).

        A failure is told by `last_failure`: "nopage" for good, "needs_slow_path" where compaction or direct
        reclaim would begin.
        """
        self.machine.this_cpu = cpu
        self.last_failure = None
        if order > self.machine.max_page_order:
            return self.fail("nopage")
        request = Request(gfp, order, GFP_ZONE[gfp & GFP_ZONEMASK], self.migratetype_of(gfp))
        preferred = self.zonelist(request.highest_zoneidx)[:1]
        if not preferred:
            return self.fail("nopage")
        alloc_flags = WMARK_LOW | (gfp & GFP_KSWAPD_RECLAIM)  # __GFP_KSWAPD_RECLAIM is ALLOC_KSWAPD
        if preferred[0].index == ZONE_INDEX["Normal"]:  # kernel: alloc_flags_nofragment
            alloc_flags |= ALLOC_NOFRAGMENT
        pfn = self.get_page_from_freelist(request, alloc_flags)
        if pfn < 0:
            pfn = self.alloc_slowpath(request)
        if pfn >= 0:
            self.prep_new_pages(gfp, order, 1)
        return pfn

    def alloc_pages_bulk(self, cpu: int, gfp: int, nr_pages: int) -> list[int]:
        """Allocate up to nr_pages order-0 pages of one zone (kernel: alloc_pages_bulk_noprof, array form).

        It stops early where the zone runs dry, and takes a single page where no zone is well above its mark.
        """
        if nr_pages <= 0:
            return []
        self.machine.this_cpu = cpu
        self.last_failure = None
        pages: list[int] = []
        zonelist = self.zonelist(GFP_ZONE[gfp & GFP_ZONEMASK])
        if nr_pages > 1:
            for zone in zonelist:
                self.nr_watermark_checks += 1
                # The reserve is that of the preferred zone's own index, not of the request's highest zone.
                if zone.watermark_fast(0, zone.mark(WMARK_LOW) + nr_pages, zonelist[0].index, WMARK_LOW):
                    pages = self.take_from_pcp(self.pcps[zone.index, cpu], self.migratetype_of(gfp), nr_pages)
                    self.prep_new_pages(gfp, 0, len(pages))
                    break
        if not pages:
            pfn = self.alloc_pages(cpu, gfp, 0)
            pages = [pfn] if pfn >= 0 else []
        return pages

    def free_pages(self, cpu: int, pfn: int, order: int) -> None:
        """Free a block that alloc_pages returned (kernel: free_unref_page)."""
        self.machine.this_cpu = cpu
        if self.init_on_free:
            self.bytes_zeroed += 1 << order + self.machine.page_shift
        zone = self.zone_of(pfn)
        pcp = self.pcps[zone.index, cpu]
        if not self.is_pcp_order(order) or pcp.locked:
            zone.free_one_page(pfn, order)
            return
        migratetype = zone.block_type(pfn)
        # Pages of highatomic pageblocks wait among the movable ones; they find their way home when drained.
        pcp.free(pfn, order, MOVABLE if migratetype == HIGHATOMIC else migratetype)

    def free_exact_tail(self, cpu: int, pfn: int) -> None:
        """Free a page that an exact request does not need (kernel: __free_pages_ok with FPI_TO_TAIL).

        It goes past the per-CPU lists, to the tail of its list.
        """
        self.machine.this_cpu = cpu
        zone = self.zone_of(pfn)
        usual = zone.is_merge_likely
        zone.is_merge_likely = lambda *_: True  # type: ignore[method-assign]
        zone.free_one_page(pfn, 0)
        zone.is_merge_likely = usual  # type: ignore[method-assign]

    def free_unref_folios(self, cpu: int, folios: list[tuple[int, int]]) -> None:
        """Free a batch of (pfn, order), those that no pcp holds first (kernel: free_unref_folios).

        Before 6.12's reclaim, all of order > 0 first, and then single pages, the last first.
        """
        is_new = self.machine.folio_reclaim
        later: list[tuple[int, int]] = []
        for pfn, order in folios:
            if self.is_pcp_order(order) and (is_new or order == 0):
                later.append((pfn, order))
            else:
                self.free_pages(cpu, pfn, order)
        for pfn, order in later if is_new else reversed(later):
            self.free_pages(cpu, pfn, order)

    def drain_pages(self, cpu: int, running_cpu: int | None = None) -> None:
        """Give back a CPU's lists, zone by zone (kernel: drain_pages).

        The pages are counted on the CPU that runs, by default that same CPU.
        """
        self.machine.this_cpu = cpu if running_cpu is None else running_cpu
        for index in sorted(self.zones):
            self.pcps[index, cpu].drain_everything()

    def drain_all_pages(self, running_cpu: int = 0) -> None:
        """Give back the lists of every CPU, CPU by CPU (kernel: drain_all_pages)."""
        for cpu in range(self.machine.nr_cpus):
            self.drain_pages(cpu, running_cpu)

    def decay_pcp_high(self, cpu: int, zone_index: int) -> bool:
        """Let a pcp's high decay and say whether work is left (kernel: decay_pcp_high)."""
        self.machine.this_cpu = cpu
        return self.pcps[zone_index, cpu].decay_high()

    def unusable_index(self, zone_index: int) -> list[int]:
        """Give a zone's unusable free space index, times 1000, by order."""
        return self.zones[zone_index].unusable_index()

    def extfrag_index(self, zone_index: int) -> list[int]:
        """Give a zone's external fragmentation index, times 1000, by order."""
        return self.zones[zone_index].extfrag_index()

    def state(self) -> list[Record]:
        """Write the machine as a ground-truth state, which compares with == field by field."""
        return [
            zone.state() | {"pcp": [pcp.state() for (of, _), pcp in self.pcps.items() if of == index]}
            for index, zone in self.zones.items()
        ]

    def validate(self) -> None:
        """Recount every list and counter; raise AssertionError where they disagree."""
        for zone in self.zones.values():
            zone.validate()
        blocks = [block for zone in self.zones.values() for block in zone.order_of.items()]
        for (index, cpu), pcp in self.pcps.items():
            held = pcp.blocks()
            where = f"pcp of zone {index}, CPU {cpu}"
            assert pcp.count == sum(1 << order for _, order in held), f"{where}: count"
            assert all(self.zone_of(pfn).index == index for pfn, _ in held), f"{where}: zone of a page"
            blocks += held
        blocks.sort()
        for (pfn, order), (following, _) in pairwise(blocks):
            assert pfn + (1 << order) <= following, f"page {following} is in block {pfn} too"

    # ---- zone choice

    def zonelist(self, highest_zoneidx: int) -> list[ZoneModel]:
        """List the populated zones from the highest allowed one down (kernel: for_each_zone_zonelist)."""
        return [self.zones[index] for index in range(highest_zoneidx, -1, -1) if index in self.zones]

    def zone_of(self, pfn: int) -> ZoneModel:
        """Find the zone that a page belongs to (kernel: page_zone)."""
        return next(zone for zone in self.zones.values() if zone.spans(pfn))

    def migratetype_of(self, gfp: int) -> int:
        """Give the mobility that the flags ask for (kernel: gfp_migratetype)."""
        return UNMOVABLE if self.machine.group_disabled else (gfp >> GFP_MOVABLE_SHIFT) & 3

    def is_pcp_order(self, order: int) -> bool:
        """Ask whether per-CPU lists hold this order (kernel: pcp_allowed_order)."""
        is_thp = self.machine.thp_in_pcp and order == self.machine.pmd_order
        return is_thp or order <= PAGE_ALLOC_COSTLY_ORDER

    def get_page_from_freelist(self, request: Request, alloc_flags: int) -> int:
        """Try every zone, then again with fragmenting fallbacks (kernel: get_page_from_freelist)."""
        pfn = self.scan_zonelist(request, alloc_flags)
        if pfn < 0 and alloc_flags & ALLOC_NOFRAGMENT:
            pfn = self.scan_zonelist(request, alloc_flags & ~ALLOC_NOFRAGMENT)
        return pfn

    def scan_zonelist(self, request: Request, alloc_flags: int) -> int:
        """Take the first zone above its mark that has a block, or -1 (kernel: get_page_from_freelist)."""
        for zone in self.zonelist(request.highest_zoneidx):
            if not self.may_use_zone(zone, request, alloc_flags):
                continue
            pfn = self.rmqueue(zone, request, alloc_flags)
            if pfn >= 0:
                if alloc_flags & ALLOC_HIGHATOMIC:
                    zone.reserve_highatomic(pfn, request.order)
                return pfn
        return -1

    def may_use_zone(self, zone: ZoneModel, request: Request, alloc_flags: int) -> bool:
        """Check the zone's marks and flag it if it is below the high one (kernel: get_page_from_freelist)."""

        self.nr_watermark_checks += 1

        def is_above(which: int) -> bool:
            return zone.watermark_fast(request.order, zone.mark(which), request.highest_zoneidx, alloc_flags)

        if not zone.flags & BELOW_HIGH:
            if is_above(WMARK_HIGH):
                return True
            zone.flags |= BELOW_HIGH
        return is_above(alloc_flags & WMARK_MASK) or bool(alloc_flags & ALLOC_NO_WATERMARKS)

    def rmqueue(self, zone: ZoneModel, request: Request, alloc_flags: int) -> int:
        """Take a block of one zone, from the pcp if it holds the order, or -1 (kernel: rmqueue)."""
        pfn = -1
        pcp = self.pcps[zone.index, self.machine.this_cpu]
        if self.is_pcp_order(request.order) and not pcp.locked:
            pcp.note_alloc()
            pfn = pcp.alloc(request.order, request.migratetype, alloc_flags)
        if pfn < 0:
            pfn = self.rmqueue_buddy(zone, request, alloc_flags)
        if alloc_flags & ALLOC_KSWAPD and zone.flags & BOOSTED:
            zone.flags &= ~BOOSTED
            self.kswapd_wakeups += 1
        return pfn

    def rmqueue_buddy(self, zone: ZoneModel, request: Request, alloc_flags: int) -> int:
        """Take a block of the free lists or, as the flags allow, of the reserve (kernel: rmqueue_buddy)."""
        pfn = -1
        if alloc_flags & ALLOC_HIGHATOMIC:
            pfn = zone.rmqueue_smallest(request.order, HIGHATOMIC)
        if pfn < 0:
            pfn = zone.rmqueue(request.order, request.migratetype, alloc_flags, RmqueueMode())
        if pfn < 0 and alloc_flags & (ALLOC_OOM | ALLOC_NON_BLOCK):
            pfn = zone.rmqueue_smallest(request.order, HIGHATOMIC)
        if pfn >= 0:
            self.machine.check_new_pages(request.order)
        return pfn

    def prep_new_pages(self, gfp: int, order: int, nr_blocks: int) -> None:
        """Zero new blocks if the request or the boot says so, unless they are zero (kernel: post_alloc_hook)."""
        if (gfp & GFP_ZERO or self.init_on_alloc) and not self.init_on_free:
            self.bytes_zeroed += nr_blocks << order + self.machine.page_shift

    def take_from_pcp(self, pcp: PerCpuPages, migratetype: int, nr_pages: int) -> list[int]:
        """Take up to nr_pages pages of one pcp; unlike single pages these leave free_count alone."""
        pages: list[int] = []
        while len(pages) < nr_pages and not pcp.locked:
            pfn = pcp.alloc(0, migratetype, WMARK_LOW)
            if pfn < 0:
                break
            pages.append(pfn)
        return pages

    # ---- slow path

    def alloc_slowpath(self, request: Request) -> int:
        """Wake kswapd, try the min mark, then the reserves (kernel: __alloc_pages_slowpath, to reclaim)."""
        can_reclaim = request.gfp & GFP_DIRECT_RECLAIM
        alloc_flags = self.slowpath_flags(request)
        self.wake_kswapd(alloc_flags)
        pfn = self.get_page_from_freelist(request, alloc_flags)
        if pfn >= 0:
            return pfn
        may_ignore_marks = request.gfp & GFP_MEMALLOC and not request.gfp & GFP_NOMEMALLOC
        costly = request.order > PAGE_ALLOC_COSTLY_ORDER
        compacts_first = costly or (request.order > 0 and request.migratetype != MOVABLE)
        if can_reclaim and request.gfp & GFP_IO and compacts_first and not may_ignore_marks:
            return self.fail("needs_slow_path")
        self.wake_kswapd(alloc_flags)
        if may_ignore_marks:
            alloc_flags = ALLOC_NO_WATERMARKS | (alloc_flags & ALLOC_KSWAPD)
        pfn = self.get_page_from_freelist(request, alloc_flags)
        if pfn >= 0:
            return pfn
        return self.fail("needs_slow_path" if can_reclaim else "nopage")

    def slowpath_flags(self, request: Request) -> int:
        """Translate the flags into what they may use (kernel: gfp_to_alloc_flags)."""
        alloc_flags = WMARK_MIN | (request.gfp & GFP_KSWAPD_RECLAIM)
        if request.gfp & GFP_HIGH:
            alloc_flags |= ALLOC_MIN_RESERVE
        if not request.gfp & (GFP_DIRECT_RECLAIM | GFP_NOMEMALLOC):
            alloc_flags |= ALLOC_NON_BLOCK
            if request.order and request.gfp & GFP_HIGH:
                alloc_flags |= ALLOC_HIGHATOMIC
        return alloc_flags

    def wake_kswapd(self, alloc_flags: int) -> None:
        """Count one wake-up, as there is one node (kernel: wake_all_kswapds)."""
        if alloc_flags & ALLOC_KSWAPD:
            self.kswapd_wakeups += 1

    def fail(self, reason: str) -> int:
        """Note why there is no block and return -1."""
        self.last_failure = reason
        return -1
