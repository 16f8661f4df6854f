"""The slow models of a zone before Linux 6.10, of 6.1 and of 5.10: a free page's list may not be its pageblock's type.

Written from what those kernels' functions of these names do. A fallback moves free pages to the lists of the wanted
type and looks there again (5.10 also moves pageblocks too small for a request: a check of the marks keeps it from
that); NR_FREE_PAGES changes once for what a hold of the lock takes, by whoever takes it. What is not said here is as in
zone_model.py and buddy_model.py.

Invariant (`validate`): a free block's buddy is not free beside it, unless their types may not merge; global counter +
per-CPU deltas = free pages.
"""

from __future__ import annotations

from .machine_model import (
    ALLOC_HIGHATOMIC,
    ALLOC_KSWAPD,
    ALLOC_MIN_RESERVE,
    ALLOC_NOFRAGMENT,
    ALLOC_NON_BLOCK,
    ALLOC_OOM,
    ALLOC_RESERVES,
    BOOSTED,
    FALLBACKS,
    HIGHATOMIC,
    LETTERS,
    MIGRATE_PCPTYPES,
    MOVABLE,
    NORMAL,
    WMARK_MASK,
    WMARK_MIN,
)
from .zone_model import RmqueueMode, ZoneModel

ALLOC_HARDER = 0x1000  # of 5.10; the bit is this model's own
ALLOC_ATOMIC = 0x2000  # this model's own: the mask has __GFP_ATOMIC, for which these kernels look at the mask itself


class Zone61(ZoneModel):
    """A zone of Linux 6.1."""

    # ---- the free-page counter

    def account_freepages(self, nr_pages: int, migratetype: int) -> None:
        """Count pages in or out; how many of them are highatomic is not counted (kernel: __mod_zone_freepage_state)."""
        super().account_freepages(nr_pages, min(migratetype, MOVABLE))

    def take(self, pfn: int, low: int, high: int, migratetype: int) -> int:
        """Take order `low` out of a free block, uncounted (kernel: del_page_from_free_list, expand)."""
        self.del_from_free_list(pfn)
        self.expand(pfn, low, high, migratetype)
        return pfn

    # ---- freeing

    def free_one_page(self, pfn: int, order: int) -> None:
        """Free a block in one piece, by its first page's type (kernel: __free_pages_ok)."""
        self.merge_and_add(pfn, order, self.block_type(pfn))

    def may_merge(self, migratetype: int, buddy_type: int) -> bool:
        """Ask whether blocks of a pageblock and more may merge (kernel: migratetype_is_mergeable)."""
        return migratetype == buddy_type or HIGHATOMIC not in (migratetype, buddy_type)

    def merge_and_add(self, pfn: int, order: int, migratetype: int) -> None:
        """Merge a freed block with its free buddies; no pageblock changes its type (kernel: __free_one_page)."""
        self.account_freepages(1 << order, migratetype)
        while order < self.machine.max_page_order and self.order_of.get(pfn ^ (1 << order)) == order:
            buddy = pfn ^ (1 << order)
            if order >= self.machine.pageblock_order and not self.may_merge(migratetype, self.block_type(buddy)):
                break
            self.del_from_free_list(buddy)
            pfn = min(pfn, buddy)
            order += 1
        self.add_to_free_list(pfn, order, migratetype, tail=self.is_merge_likely(pfn, order))

    # ---- fallbacks

    def rmqueue(self, order: int, migratetype: int, alloc_flags: int, state: RmqueueMode) -> int:
        """Take a block of the type; where there is none, move pages to its lists and look again (kernel: __rmqueue)."""
        assert state.mode == NORMAL, "a mode that is not known here"
        while True:
            pfn = self.rmqueue_smallest(order, migratetype)
            if pfn >= 0 or not self.rmqueue_fallback(order, migratetype, alloc_flags):
                return pfn

    def rmqueue_fallback(self, order: int, migratetype: int, alloc_flags: int) -> bool:
        """Move free pages of another type to this type's lists; were there any? (kernel: __rmqueue_fallback)"""
        top = self.machine.max_page_order
        floor = max(order, self.machine.pageblock_order) if alloc_flags & ALLOC_NOFRAGMENT else order
        found = [high for high in range(floor, top + 1) if self.find_fallback(high, migratetype) >= 0]
        if not found:
            return False
        current = found[-1]
        if not self.may_claim(current, migratetype) and migratetype == MOVABLE and current > order:
            current = next(high for high in range(order, top + 1) if self.find_fallback(high, migratetype) >= 0)
        other = next(other for other in FALLBACKS[migratetype] if self.free_lists[current][other])
        whole = self.may_claim(current, migratetype)
        self.steal(self.first_free(current, other), migratetype, alloc_flags, whole=whole)
        return True

    def steal(self, victim: int, migratetype: int, alloc_flags: int, *, whole: bool) -> None:
        """Move a block, or with it all that is free beside it, to a type's lists (kernel: steal_suitable_fallback)."""
        old_type, order = self.block_type(victim), self.order_of[victim]
        if old_type != HIGHATOMIC and order < self.machine.pageblock_order:
            if self.boost_watermark() and alloc_flags & ALLOC_KSWAPD:
                self.flags |= BOOSTED
            moved = self.move_pageblock(victim, migratetype) if whole else 0
            if moved:
                not_free = self.machine.pageblock_pages - moved
                alike = not_free if old_type == MOVABLE and migratetype != MOVABLE else 0  # no page is on an LRU
                if 2 * (moved + alike) >= self.machine.pageblock_pages or self.machine.group_disabled:
                    self.set_block_types(victim, self.machine.pageblock_order, migratetype)
                return
        elif old_type != HIGHATOMIC:
            self.set_block_types(victim, order, migratetype)
        self.move_to_tail(victim, migratetype)

    def move_to_tail(self, pfn: int, migratetype: int) -> None:
        """Move a free block to the tail of a type's list (kernel: move_to_free_list)."""
        order = self.order_of[pfn]
        self.del_from_free_list(pfn)
        self.add_to_free_list(pfn, order, migratetype, tail=True)

    def move_pageblock(self, pfn: int, migratetype: int) -> int:
        """Move what is free of a pageblock, and say how many pages that were (kernel: move_freepages_block)."""
        start = pfn & -self.machine.pageblock_pages
        end = start + self.machine.pageblock_pages
        if not self.spans(end - 1):
            return 0
        first = start if self.spans(start) else pfn
        blocks = [page for page in range(first, end) if page in self.order_of]
        for block in blocks:
            self.move_to_tail(block, migratetype)
        return sum(1 << self.order_of[block] for block in blocks)

    # ---- the highatomic reserve

    def reserve_highatomic(self, pfn: int, order: int) -> None:
        """Keep an atomic block's first pageblock for its like (kernel: reserve_highatomic_pageblock)."""
        assert order > 0, "no block of order 0 is reserved"
        step = self.machine.pageblock_pages
        if self.nr_reserved_highatomic < self.managed // 100 + step and self.block_type(pfn) != HIGHATOMIC:
            self.nr_reserved_highatomic += step
            self.set_block_types(pfn, self.machine.pageblock_order, HIGHATOMIC)
            self.move_pageblock(pfn, HIGHATOMIC)

    def unreserve_highatomic(self, migratetype: int, *, force: bool) -> bool:
        """Give up the pageblock of the smallest free block that moves (kernel: unreserve_highatomic_pageblock).

        Such a block may lie in a pageblock that is not reserved any more.
        """
        step = self.machine.pageblock_pages
        if not force and self.nr_reserved_highatomic <= step:
            return False
        for order in range(self.machine.max_page_order + 1):
            pfn = self.first_free(order, HIGHATOMIC)
            if pfn < 0:
                continue
            if self.block_type(pfn) == HIGHATOMIC:
                self.nr_reserved_highatomic = max(self.nr_reserved_highatomic - step, 0)
            self.set_block_types(pfn, self.machine.pageblock_order, migratetype)
            if self.move_pageblock(pfn, migratetype):
                return True
        return False

    # ---- watermarks

    def kept_back(self, alloc_flags: int) -> int:
        """Give the pages that the request may not use: all of the reserve (kernel: __zone_watermark_unusable_free)."""
        return 0 if alloc_flags & ALLOC_RESERVES else self.nr_reserved_highatomic

    def lowered(self, mark: int, alloc_flags: int) -> int:
        """Give the mark down to which the request may go (kernel: __zone_watermark_ok)."""
        if alloc_flags & ALLOC_MIN_RESERVE:
            mark -= mark // 2
            if alloc_flags & ALLOC_NON_BLOCK:
                mark -= mark // 4
        return mark - mark // 2 if alloc_flags & ALLOC_OOM else mark

    def watermark_ok(
        self, order: int, mark: int, highest_zoneidx: int, alloc_flags: int, free: int | None = None
    ) -> bool:
        """Ask whether a request leaves the mark untouched and finds a block (kernel: __zone_watermark_ok)."""
        usable = self.free_pages_counter() if free is None else free
        usable -= (1 << order) - 1 + self.kept_back(alloc_flags)
        if usable <= self.lowered(mark, alloc_flags) + self.lowmem_reserve[highest_zoneidx]:
            return False
        types = range(len(LETTERS) if alloc_flags & (ALLOC_HIGHATOMIC | ALLOC_OOM) else MIGRATE_PCPTYPES)
        highs = range(order, self.machine.max_page_order + 1)
        return order == 0 or any(self.free_lists[high][mt] for high in highs for mt in types)

    def watermark_fast(self, order: int, mark: int, highest_zoneidx: int, alloc_flags: int) -> bool:
        """Check a mark; only __GFP_ATOMIC of order 0 may ignore the boost (kernel: zone_watermark_fast)."""
        free = self.free_pages_counter()
        quick = free - min(free, self.kept_back(alloc_flags)) > mark + self.lowmem_reserve[highest_zoneidx]
        if (order == 0 and quick) or self.watermark_ok(order, mark, highest_zoneidx, alloc_flags):
            return True
        if order or not alloc_flags & ALLOC_ATOMIC or alloc_flags & WMARK_MASK != WMARK_MIN or not self.boost:
            return False
        return self.watermark_ok(order, self.watermark[WMARK_MIN], highest_zoneidx, alloc_flags)

    # ---- checks

    def validate_block(self, pfn: int, order: int, migratetype: int) -> None:
        """Check one free block: its place, and that it could not have merged."""
        where = f"{self.name}: block {pfn} of order {order}"
        assert pfn % (1 << order) == 0, f"{where} is not aligned"
        assert self.start_pfn <= pfn <= self.end_pfn - (1 << order), f"{where} leaves the zone"
        assert (self.order_of[pfn], self.type_of[pfn]) == (order, migratetype), f"{where} is marked otherwise"
        buddy = pfn ^ (1 << order)
        if order < self.machine.max_page_order and self.order_of.get(buddy) == order:
            self.validate_apart(order, where)

    def validate_apart(self, order: int, where: str) -> None:
        """Check that two free buddies were kept apart by a reserve, which may be given up since."""
        assert order >= self.machine.pageblock_order, f"{where} did not merge"

    def validate(self) -> None:
        """Recount the zone's lists and counters; raise AssertionError where they disagree."""
        for order, by_type in enumerate(self.free_lists):
            assert self.nr_free[order] == sum(map(len, by_type)), f"{self.name}: nr_free of order {order}"
            for mt, free_list in enumerate(by_type):
                for pfn in free_list:
                    self.validate_block(pfn, order, mt)
        assert self.nr_free_pages + sum(self.deltas) == self.listed_pages(), f"{self.name}: NR_FREE_PAGES"
        assert all(abs(delta) <= self.stat_threshold() for delta in self.deltas), f"{self.name}: deltas"


class Zone510(Zone61):
    """A zone of Linux 5.10."""

    def may_merge(self, migratetype: int, buddy_type: int) -> bool:
        """Say that all may: only isolated pageblocks stay apart (kernel: __free_one_page)."""
        assert buddy_type <= HIGHATOMIC, f"{self.name}: a type that is not known merges with {migratetype}"
        return True

    def kept_back(self, alloc_flags: int) -> int:
        """Give the pages that the request may not use (kernel: __zone_watermark_unusable_free)."""
        return 0 if alloc_flags & (ALLOC_HARDER | ALLOC_OOM) else self.nr_reserved_highatomic

    def lowered(self, mark: int, alloc_flags: int) -> int:
        """Give the mark down to which the request may go (kernel: __zone_watermark_ok)."""
        if alloc_flags & ALLOC_MIN_RESERVE:  # ALLOC_HIGH
            mark -= mark // 2
        if alloc_flags & ALLOC_OOM:
            return mark - mark // 2
        return mark - mark // 4 if alloc_flags & ALLOC_HARDER else mark

    def validate_apart(self, order: int, where: str) -> None:
        """Say that no two free buddies are left apart."""
        raise AssertionError(f"{where} did not merge, of {order}")
