"""The slow model of one zone of Linux 6.12: its free lists, its pageblocks and its free-page counter.

What a reader has to know first:
  page       a page frame, known by its number, the pfn;
  block      1 << order pages that lie on one free list, known by the pfn of the first;
  pageblock  1 << pageblock_order pages that share a migratetype, known by pfn >> pageblock_order.

A free list is an OrderedDict whose keys are pfns, head first: the kernel takes blocks out of the middle.
Everything here happens under zone->lock in the kernel, but for the watermark checks, which take no lock. Left
out: CMA, isolation, NUMA, unaccepted memory, page reporting, guard pages; no page is on an LRU. The per-CPU
lists are in page_alloc_model.py.

Invariant (`validate`): every free block is on the list of its pageblock's type; a block's buddy is not free
beside it unless their types may not merge; global counter + per-CPU deltas = free pages.
"""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import dataclass, field
from typing import Any

Record = dict[str, Any]  # a zone, or one of its pcps, in the ground truth's state format

UNMOVABLE, MOVABLE, RECLAIMABLE, HIGHATOMIC = range(4)
MIGRATE_PCPTYPES = 3
LETTERS = "UMRH"  # of the record format
HOLE = "-"

FALLBACKS = {  # kernel: fallbacks
    UNMOVABLE: (RECLAIMABLE, MOVABLE),
    MOVABLE: (RECLAIMABLE, UNMOVABLE),
    RECLAIMABLE: (UNMOVABLE, MOVABLE),
}

BOOSTED, RECLAIM_ACTIVE, BELOW_HIGH = 1, 2, 4  # zone->flags: bits 0, 1, 2
ZONE_INDEX = {"DMA": 0, "DMA32": 1, "Normal": 2, "Movable": 3}

WMARK_MIN, WMARK_LOW, WMARK_HIGH, WMARK_MASK = 0, 1, 2, 3
ALLOC_NO_WATERMARKS = 0x04
ALLOC_OOM = 0x08
ALLOC_NON_BLOCK = 0x10
ALLOC_MIN_RESERVE = 0x20
ALLOC_NOFRAGMENT = 0x100
ALLOC_HIGHATOMIC = 0x200
ALLOC_KSWAPD = 0x800
ALLOC_RESERVES = ALLOC_NON_BLOCK | ALLOC_MIN_RESERVE | ALLOC_HIGHATOMIC | ALLOC_OOM

NORMAL, STEAL = "normal", "steal"  # kernel: enum rmqueue_mode; a claim leads back to normal


@dataclass
class Machine:
    """What all zones share: the geometry, the sysctls, the pageblock types and the CPU that is running."""

    page_shift: int
    max_page_order: int
    pageblock_order: int
    pmd_order: int
    thp_in_pcp: bool
    nr_cpus: int
    watermark_boost_factor: int
    group_disabled: bool
    this_cpu: int = 0
    block_types: dict[int, int] = field(default_factory=dict)

    @property
    def pageblock_pages(self) -> int:
        """Give the pages of a pageblock (kernel: pageblock_nr_pages)."""
        return 1 << self.pageblock_order


class RmqueueMode:
    """The mode that __rmqueue remembers between the pages of one refill (kernel: enum rmqueue_mode)."""

    def __init__(self) -> None:
        self.mode = NORMAL


class ZoneModel:
    """One zone, built from a zone of a ground-truth state."""

    def __init__(self, record: Record, machine: Machine) -> None:
        self.record = record
        self.machine = machine
        self.name = record["name"]
        self.index = ZONE_INDEX[self.name]
        self.start_pfn: int = record["start_pfn"]
        self.end_pfn: int = self.start_pfn + record["spanned"]
        self.managed: int = record["managed"]
        self.flags: int = record.get("zflags", 0)  # some older records lack it
        self.watermark: list[int] = list(record["wm"])
        self.boost: int = record["boost"]
        self.nr_reserved_highatomic: int = record["highatomic"]
        self.lowmem_reserve: list[int] = list(record["lowmem_reserve"])
        self.first_block = self.start_pfn >> machine.pageblock_order
        self.block_letters = record["blocks"]
        for i, letter in enumerate(self.block_letters):
            if letter != HOLE:
                machine.block_types[self.first_block + i] = LETTERS.index(letter)
        orders = range(machine.max_page_order + 1)
        self.free_lists: list[list[OrderedDict[int, None]]] = [
            [OrderedDict() for _ in LETTERS] for _ in orders
        ]
        self.nr_free = [0 for _ in orders]
        self.order_of: dict[int, int] = {}  # PageBuddy and buddy_order, by pfn
        self.type_of: dict[int, int] = {}  # the list that holds the block, by pfn
        for key, pfns in record["lists"].items():
            for pfn in pfns:
                if pfn < 0:
                    raise ValueError(f"{self.name}: list {key} of the record is cut, its tail is not known")
                self.add_to_free_list(pfn, int(key[:-1]), LETTERS.index(key[-1]), tail=True)
        self.nr_free_pages = sum(nr << order for order, nr in enumerate(self.nr_free))
        self.deltas = [0] * machine.nr_cpus
        self.nr_free_highatomic = self.listed_pages(HIGHATOMIC)

    # ---- pages and pageblocks

    def spans(self, pfn: int) -> bool:
        """Say whether the pfn lies between the zone's ends (kernel: zone_spans_pfn)."""
        return self.start_pfn <= pfn < self.end_pfn

    def block_type(self, pfn: int) -> int:
        """Give the migratetype of the page's pageblock (kernel: get_pfnblock_migratetype)."""
        return self.machine.block_types[pfn >> self.machine.pageblock_order]

    def set_block_types(self, pfn: int, order: int, migratetype: int) -> None:
        """Set the type of all pageblocks in a block (kernel: change_pageblock_range).

        Without grouping by mobility every ordinary type is recorded as unmovable.
        """
        if self.machine.group_disabled and migratetype < MIGRATE_PCPTYPES:
            migratetype = UNMOVABLE
        first = pfn >> self.machine.pageblock_order
        for block in range(first, first + (1 << (order - self.machine.pageblock_order))):
            self.machine.block_types[block] = migratetype

    # ---- the free-page counter

    def free_pages_counter(self) -> int:
        """Give NR_FREE_PAGES as watermark checks read it, without deltas (kernel: zone_page_state)."""
        return max(self.nr_free_pages, 0)

    def stat_threshold(self) -> int:
        """Give the delta a CPU may keep back while kswapd sleeps (kernel: calculate_normal_threshold)."""
        units_of_128m = self.managed >> (27 - self.machine.page_shift)
        return min(125, 2 * self.machine.nr_cpus.bit_length() * (1 + units_of_128m.bit_length()))

    def account_freepages(self, nr_pages: int, migratetype: int) -> None:
        """Count pages in or out on the running CPU (kernel: account_freepages, __mod_zone_page_state)."""
        cpu = self.machine.this_cpu
        delta = self.deltas[cpu] + nr_pages
        if abs(delta) > self.stat_threshold():
            self.nr_free_pages += delta
            delta = 0
        self.deltas[cpu] = delta
        if migratetype == HIGHATOMIC:
            self.nr_free_highatomic += nr_pages

    # ---- free lists

    def add_to_free_list(self, pfn: int, order: int, migratetype: int, *, tail: bool) -> None:
        """Put a block on a list without counting its pages (kernel: __add_to_free_list, set_buddy_order)."""
        assert pfn not in self.order_of, f"{self.name}: block {pfn} is free already"
        free_list = self.free_lists[order][migratetype]
        free_list[pfn] = None
        if not tail:
            free_list.move_to_end(pfn, last=False)
        self.nr_free[order] += 1
        self.order_of[pfn] = order
        self.type_of[pfn] = migratetype

    def del_from_free_list(self, pfn: int) -> None:
        """Take a block off its list without counting its pages (kernel: __del_page_from_free_list)."""
        order = self.order_of.pop(pfn)
        del self.free_lists[order][self.type_of.pop(pfn)][pfn]
        self.nr_free[order] -= 1

    def first_free(self, order: int, migratetype: int) -> int:
        """Give the block at the head of a list, or -1 (kernel: get_page_from_free_area)."""
        return next(iter(self.free_lists[order][migratetype]), -1)

    # ---- freeing

    def free_one_page(self, pfn: int, order: int) -> None:
        """Free a block pageblock by pageblock, as types may differ (kernel: split_large_buddy)."""
        step = min(order, self.machine.pageblock_order)
        for part in range(pfn, pfn + (1 << order), 1 << step):
            self.merge_and_add(part, step, self.block_type(part))

    def merge_and_add(self, pfn: int, order: int, migratetype: int) -> None:
        """Merge a freed block with its free buddies and list the result (kernel: __free_one_page)."""
        self.account_freepages(1 << order, migratetype)
        while order < self.machine.max_page_order:
            buddy = pfn ^ (1 << order)
            if self.order_of.get(buddy) != order:
                break
            buddy_type = migratetype
            if order >= self.machine.pageblock_order:
                buddy_type = self.block_type(buddy)
                if buddy_type != migratetype and HIGHATOMIC in (buddy_type, migratetype):
                    break
            self.del_from_free_list(buddy)
            if buddy_type != migratetype:
                self.set_block_types(buddy, order, migratetype)
            pfn &= buddy
            order += 1
        self.add_to_free_list(pfn, order, migratetype, tail=self.is_merge_likely(pfn, order))

    def is_merge_likely(self, pfn: int, order: int) -> bool:
        """Ask whether the pair this block belongs to has a free buddy (kernel: buddy_merge_likely)."""
        if order >= self.machine.max_page_order - 1:
            return False
        pair = pfn & ~(1 << order)
        return self.order_of.get(pair ^ (1 << (order + 1))) == order + 1

    # ---- allocating

    def expand(self, pfn: int, low: int, high: int, migratetype: int) -> int:
        """Give back the upper halves of a block and return how many pages those are (kernel: expand)."""
        for order in range(high - 1, low - 1, -1):
            self.add_to_free_list(pfn + (1 << order), order, migratetype, tail=False)
        return (1 << high) - (1 << low)

    def take(self, pfn: int, low: int, high: int, migratetype: int) -> int:
        """Take order `low` out of a free block of order `high` (kernel: page_del_and_expand)."""
        self.del_from_free_list(pfn)
        left = self.expand(pfn, low, high, migratetype)
        self.account_freepages(left - (1 << high), migratetype)
        return pfn

    def rmqueue_smallest(self, order: int, migratetype: int) -> int:
        """Take a block from the smallest sufficient list of one type, or -1 (kernel: __rmqueue_smallest)."""
        for current in range(order, self.machine.max_page_order + 1):
            pfn = self.first_free(current, migratetype)
            if pfn >= 0:
                return self.take(pfn, order, current, migratetype)
        return -1

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
        # No page is on an LRU, so no allocated page counts as movable.
        alike = machine.pageblock_pages - free if migratetype != MOVABLE and old_type == MOVABLE else 0
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

    # ---- watermarks

    def mark(self, which: int) -> int:
        """Give a watermark with the boost on top (kernel: wmark_pages)."""
        return self.watermark[which] + self.boost

    def watermark_ok(self, order: int, mark: int, highest_zoneidx: int, alloc_flags: int) -> bool:
        """Ask whether a request leaves the mark untouched and finds a block (kernel: __zone_watermark_ok)."""
        usable = self.free_pages_counter() - ((1 << order) - 1)
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

    def listed_pages(self, migratetype: int | None = None) -> int:
        """Count the pages on the free lists, of one type or of all."""
        types = range(len(LETTERS)) if migratetype is None else (migratetype,)
        return sum(len(lists[mt]) << order for order, lists in enumerate(self.free_lists) for mt in types)

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

    def validate(self) -> None:
        """Recount the zone's lists, pageblocks and counters; raise AssertionError where they disagree."""
        listed = 0
        for order, by_type in enumerate(self.free_lists):
            assert self.nr_free[order] == sum(map(len, by_type)), f"{self.name}: nr_free of order {order}"
            for mt, free_list in enumerate(by_type):
                listed += len(free_list)
                for pfn in free_list:
                    self.validate_block(pfn, order, mt)
        assert listed == len(self.order_of), f"{self.name}: a block is marked free but on no list"
        assert self.nr_free_pages + sum(self.deltas) == self.listed_pages(), f"{self.name}: NR_FREE_PAGES"
        assert all(abs(delta) <= self.stat_threshold() for delta in self.deltas), f"{self.name}: deltas"
        assert self.nr_free_highatomic == self.listed_pages(HIGHATOMIC), f"{self.name}: nr_free_highatomic"

    def validate_block(self, pfn: int, order: int, migratetype: int) -> None:
        """Check one free block: its place, its type, and that it could not have merged."""
        where = f"{self.name}: block {pfn} of order {order}"
        assert pfn % (1 << order) == 0, f"{where} is not aligned"
        assert self.start_pfn <= pfn <= self.end_pfn - (1 << order), f"{where} leaves the zone"
        assert self.order_of[pfn] == order, f"{where} is marked as order {self.order_of[pfn]}"
        assert self.type_of[pfn] == migratetype, f"{where} is on another list than it is marked for"
        for page in range(pfn, pfn + (1 << order), self.machine.pageblock_pages):
            # Without grouping, a merge across pageblocks records ordinary types as unmovable.
            recorded = self.block_type(page)
            excused = self.machine.group_disabled and HIGHATOMIC not in (recorded, migratetype)
            assert recorded == migratetype or excused, f"{where} is on the list of another type"
        buddy = pfn ^ (1 << order)
        if order < self.machine.max_page_order and self.order_of.get(buddy) == order:
            pair = {self.block_type(buddy), migratetype}
            assert len(pair) == 2 and HIGHATOMIC in pair, f"{where} did not merge"  # noqa: PT018
