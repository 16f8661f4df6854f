"""The slow model of one zone of Linux 6.12: what it takes of other types, what it reserves, its watermarks.

The free lists under it are in buddy_model.py, the words in machine_model.py, per-CPU lists in pcp_model.py.
Everything here happens under zone->lock in the kernel, but for the watermark checks, which take no lock. Left
out: CMA, isolation, NUMA, unaccepted memory; no page is on an LRU.

Invariant (`validate`): that of buddy_model.py.
"""

from __future__ import annotations

from .buddy_model import BuddyModel
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
    HOLE,
    LETTERS,
    MIGRATE_PCPTYPES,
    MOVABLE,
    NORMAL,
    RECLAIMABLE,
    STEAL,
    UNMOVABLE,
    WMARK_HIGH,
    WMARK_MASK,
    WMARK_MIN,
    Machine,
    Record,
)


class RmqueueMode:
    """The mode that __rmqueue remembers between the pages of one refill (kernel: enum rmqueue_mode)."""

    def __init__(self) -> None:
        self.mode = NORMAL


class ZoneModel(BuddyModel):
    """One zone, built from a zone of a ground-truth state."""

    def __init__(self, record: Record, machine: Machine) -> None:
        super().__init__(record, machine)
        self.flags: int = record.get("zflags", 0)  # some older records lack it
        self.watermark: list[int] = list(record["wm"])
        self.boost: int = record["boost"]
        self.nr_reserved_highatomic: int = record["highatomic"]
        self.lowmem_reserve: list[int] = list(record["lowmem_reserve"])

    # ---- fallbacks

    def find_fallback(self, order: int, migratetype: int) -> int:
        """Name the first other type with a block of this order, or -1 (kernel: find_suitable_fallback)."""
        for other in FALLBACKS[migratetype]:
            if self.free_lists[order][other]:
                return other
        return -1

    def may_claim(self, order: int, migratetype: int) -> bool:
        """Ask whether a block of this order may bring its pageblock with it (kernel: can_steal_fallback)."""
        return (
            order >= self.machine.pageblock_order // 2
            or migratetype in (RECLAIMABLE, UNMOVABLE)
            or self.machine.group_disabled
        )

    def rmqueue(self, order: int, migratetype: int, alloc_flags: int, state: RmqueueMode) -> int:
        """Take a block of the type, of a claimed pageblock or of another type, or -1 (kernel: __rmqueue).

        `state` carries the mode from page to page of one refill: rungs that just failed are not tried again.
        """
        if state.mode == NORMAL:
            pfn = self.rmqueue_smallest(order, migratetype)
            if pfn >= 0:
                return pfn
        if state.mode != STEAL:
            pfn = self.rmqueue_claim(order, migratetype, alloc_flags)
            if pfn >= 0:
                state.mode = NORMAL
                return pfn
        if not alloc_flags & ALLOC_NOFRAGMENT:
            pfn = self.rmqueue_steal(order, migratetype)
            if pfn >= 0:
                state.mode = STEAL
                return pfn
        return -1

    def rmqueue_claim(self, order: int, migratetype: int, alloc_flags: int) -> int:
        """Turn a pageblock of another type to this type, largest block first (kernel: __rmqueue_claim)."""
        lowest = max(order, self.machine.pageblock_order) if alloc_flags & ALLOC_NOFRAGMENT else order
        for current in range(self.machine.max_page_order, lowest - 1, -1):
            other = self.find_fallback(current, migratetype)
            if other < 0:
                continue
            if not self.may_claim(current, migratetype):
                break
            victim = self.first_free(current, other)
            pfn = self.try_to_claim_block(victim, order, migratetype, alloc_flags)
            if pfn >= 0:
                return pfn
        return -1

    def rmqueue_steal(self, order: int, migratetype: int) -> int:
        """Take a block of another type, smallest first, and leave its pageblock (kernel: __rmqueue_steal)."""
        for current in range(order, self.machine.max_page_order + 1):
            other = self.find_fallback(current, migratetype)
            if other >= 0:
                return self.take(self.first_free(current, other), order, current, other)
        return -1

    def try_to_claim_block(self, victim: int, order: int, migratetype: int, alloc_flags: int) -> int:
        """Claim the victim's pageblock if it is alike enough, then allocate (kernel: try_to_steal_block)."""
        machine = self.machine
        old_type = self.block_type(victim)
        current = self.order_of[victim]
        if old_type == HIGHATOMIC:
            return -1
        if current >= machine.pageblock_order:
            self.del_from_free_list(victim)
            self.account_freepages(-(1 << current), old_type)
            self.set_block_types(victim, current, migratetype)
            self.account_freepages(self.expand(victim, order, current, migratetype), migratetype)
            return victim
        if self.boost_watermark() and alloc_flags & ALLOC_KSWAPD:
            self.flags |= BOOSTED
        if not self.spans_pageblock_of(victim):
            return -1
        free = sum(1 << self.order_of[pfn] for pfn in self.free_in_pageblock_of(victim))
        start = victim & -machine.pageblock_pages
        on_lru = sum(page in machine.on_lru for page in range(start, start + machine.pageblock_pages))
        if migratetype == MOVABLE:
            alike = on_lru
        else:
            alike = machine.pageblock_pages - free - on_lru if old_type == MOVABLE else 0
        if free + alike < machine.pageblock_pages // 2 and not machine.group_disabled:
            return -1
        self.move_freepages_block(victim, old_type, migratetype)
        return self.rmqueue_smallest(order, migratetype)

    def boost_watermark(self) -> bool:
        """Raise the watermarks by a pageblock after a fragmenting fallback (kernel: boost_watermark)."""
        step = self.machine.pageblock_pages
        if not self.machine.watermark_boost_factor or step * 4 > self.managed:
            return False
        limit = self.watermark[WMARK_HIGH] * self.machine.watermark_boost_factor // 10000
        if not limit:
            return False
        self.boost = min(self.boost + step, max(step, limit))
        return True

    # ---- pageblocks that change their type

    def spans_pageblock_of(self, pfn: int) -> bool:
        """Ask whether the whole pageblock is inside the zone's span (kernel: prep_move_freepages_block)."""
        start = pfn & -self.machine.pageblock_pages
        return self.spans(start) and self.spans(start + self.machine.pageblock_pages - 1)

    def free_in_pageblock_of(self, pfn: int) -> list[int]:
        """List the free blocks that begin in the page's pageblock, lowest pfn first."""
        start = pfn & -self.machine.pageblock_pages
        return [page for page in range(start, start + self.machine.pageblock_pages) if page in self.order_of]

    def move_freepages_block(self, pfn: int, old_type: int, new_type: int) -> None:
        """Move a pageblock's free blocks to the tails of new lists (kernel: __move_freepages_block)."""
        for block in self.free_in_pageblock_of(pfn):
            order = self.order_of[block]
            self.del_from_free_list(block)
            self.add_to_free_list(block, order, new_type, tail=True)
            self.account_freepages(-(1 << order), old_type)
            self.account_freepages(1 << order, new_type)
        self.set_block_types(pfn, self.machine.pageblock_order, new_type)

    def reserve_highatomic(self, pfn: int, order: int) -> None:
        """Keep an atomic block's pageblock for its like (kernel: reserve_highatomic_pageblock)."""
        step = self.machine.pageblock_pages
        if self.managed // 100 < step:
            return
        limit = -(-(self.managed // 100) // step) * step
        if self.nr_reserved_highatomic >= limit or self.block_type(pfn) == HIGHATOMIC:
            return
        if order >= self.machine.pageblock_order:
            self.set_block_types(pfn, order, HIGHATOMIC)
            self.nr_reserved_highatomic += 1 << order
        elif self.spans_pageblock_of(pfn):
            self.move_freepages_block(pfn, self.block_type(pfn), HIGHATOMIC)
            self.nr_reserved_highatomic += step

    def unreserve_highatomic(self, migratetype: int, *, force: bool) -> bool:
        """Give up the pageblock of the smallest reserved free block (kernel: unreserve_highatomic_pageblock)."""
        step = self.machine.pageblock_pages
        if not force and self.nr_reserved_highatomic <= step:
            return False
        for order in range(self.machine.max_page_order + 1):
            if not self.free_lists[order][HIGHATOMIC]:
                continue
            pfn = self.first_free(order, HIGHATOMIC)
            self.nr_reserved_highatomic -= min(max(step, 1 << order), self.nr_reserved_highatomic)
            if order < self.machine.pageblock_order:
                self.move_freepages_block(pfn, HIGHATOMIC, migratetype)
            else:
                self.del_from_free_list(pfn)
                self.add_to_free_list(pfn, order, migratetype, tail=True)
                self.account_freepages(-(1 << order), HIGHATOMIC)
                self.account_freepages(1 << order, migratetype)
                self.set_block_types(pfn, order, migratetype)
            return True
        return False

    # ---- watermarks

    def mark(self, which: int) -> int:
        """Give a watermark with the boost on top (kernel: wmark_pages)."""
        return self.watermark[which] + self.boost

    def watermark_ok(
        self, order: int, mark: int, highest_zoneidx: int, alloc_flags: int, free: int | None = None
    ) -> bool:
        """Ask whether a request leaves the mark untouched and finds a block (kernel: __zone_watermark_ok).

        `free`: how many pages to assume as free; by default what the counter says.
        """
        usable = (self.free_pages_counter() if free is None else free) - ((1 << order) - 1)
        if not alloc_flags & ALLOC_RESERVES:
            usable -= self.nr_free_highatomic
        if alloc_flags & ALLOC_MIN_RESERVE:
            mark -= mark // 2
            if alloc_flags & ALLOC_NON_BLOCK:
                mark -= mark // 4
        if alloc_flags & ALLOC_OOM:
            mark -= mark // 2
        if usable <= mark + self.lowmem_reserve[highest_zoneidx]:
            return False
        types = LETTERS if alloc_flags & (ALLOC_HIGHATOMIC | ALLOC_OOM) else LETTERS[:MIGRATE_PCPTYPES]
        return not order or any(
            self.free_lists[high][LETTERS.index(letter)]
            for high in range(order, self.machine.max_page_order + 1)
            for letter in types
        )

    def watermark_fast(self, order: int, mark: int, highest_zoneidx: int, alloc_flags: int) -> bool:
        """Check a mark as the fast path does: first coarsely, then exactly (kernel: zone_watermark_fast).

        An order-0 request with __GFP_HIGH against the min mark may ignore the boost.
        """
        if not order:
            free = self.free_pages_counter()
            reserved = 0 if alloc_flags & ALLOC_RESERVES else self.nr_free_highatomic
            if free - min(free, reserved) > mark + self.lowmem_reserve[highest_zoneidx]:
                return True
        if self.watermark_ok(order, mark, highest_zoneidx, alloc_flags):
            return True
        ignores_boost = alloc_flags & ALLOC_MIN_RESERVE and alloc_flags & WMARK_MASK == WMARK_MIN
        if order or not ignores_boost or not self.boost:
            return False
        return self.watermark_ok(order, self.watermark[WMARK_MIN], highest_zoneidx, alloc_flags)

    # ---- what the files show

    def unusable_index(self) -> list[int]:
        """Give the share of free memory an order cannot use, x 1000 (kernel: unusable_free_index)."""
        free = self.listed_pages()
        if not free:
            return [1000 for _ in self.nr_free]
        return [(free - self.suitable_pages(order)) * 1000 // free for order in range(len(self.nr_free))]

    def extfrag_index(self) -> list[int]:
        """Give each order's fragmentation index x 1000; -1000: it fits (kernel: __fragmentation_index)."""
        free, blocks = self.listed_pages(), sum(self.nr_free)

        def index(order: int) -> int:
            if not blocks:
                return 0
            if self.suitable_pages(order):
                return -1000
            return 1000 - (1000 + free * 1000 // (1 << order)) // blocks

        return [index(order) for order in range(len(self.nr_free))]

    def suitable_pages(self, order: int) -> int:
        """Count the free pages in blocks of this order and above (kernel: fill_contig_page_info)."""
        return sum(nr << high for high, nr in enumerate(self.nr_free) if high >= order)

    def state(self) -> Record:
        """Write the zone as a zone of a ground-truth state, without its per-CPU lists."""
        lists = {
            f"{order}{LETTERS[mt]}": list(free_list)
            for order, by_type in enumerate(self.free_lists)
            for mt, free_list in enumerate(by_type)
            if free_list
        }
        blocks = "".join(
            HOLE if letter == HOLE else LETTERS[self.machine.block_types[self.first_block + i]]
            for i, letter in enumerate(self.block_letters)
        )
        return self.record | {
            "free": self.nr_free_pages + sum(self.deltas),
            "zflags": self.flags,
            "wm": list(self.watermark),
            "boost": self.boost,
            "highatomic": self.nr_reserved_highatomic,
            "lowmem_reserve": list(self.lowmem_reserve),
            "group_disabled": int(self.machine.group_disabled),
            "blocks": blocks,
            "nr_free": list(self.nr_free),
            "lists": lists,
        }
