"""The slow model of a zone's buddy allocator in Linux 6.12: free lists, pageblocks, the free-page counter.

The words are explained in machine_model.py. A free list is an OrderedDict whose keys are pfns, head first:
the kernel takes blocks out of the middle. Everything here happens under zone->lock in the kernel. Left out:
CMA, isolation, NUMA, unaccepted memory, page reporting, guard pages; no page is on an LRU.

Invariant (`validate`): every free block is on the list of its pageblock's type; a block's buddy is not free
beside it unless their types may not merge; global counter + per-CPU deltas = free pages.
"""

from __future__ import annotations

from collections import OrderedDict

from .machine_model import HIGHATOMIC, HOLE, LETTERS, MIGRATE_PCPTYPES, UNMOVABLE, ZONE_INDEX, Machine, Record


class BuddyModel:
    """The free blocks of one zone, built from a zone of a ground-truth state."""

    def __init__(self, record: Record, machine: Machine) -> None:
        self.record = record
        self.machine = machine
        self.name = record["name"]
        self.index = ZONE_INDEX[self.name]
        self.start_pfn: int = record["start_pfn"]
        self.end_pfn: int = self.start_pfn + record["spanned"]
        self.managed: int = record["managed"]
        machine.zone_starts.append(self.start_pfn)
        self.first_block = self.start_pfn >> machine.pageblock_order
        self.block_letters = record["blocks"]
        for i, letter in enumerate(self.block_letters):
            if letter != HOLE:
                machine.block_types[self.first_block + i] = LETTERS.index(letter)
        orders = range(machine.max_page_order + 1)
        self.free_lists: list[list[OrderedDict[int, None]]] = [[OrderedDict() for _ in LETTERS] for _ in orders]
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
        """Ask whether the pair this block belongs to has a free buddy (kernel: buddy_merge_likely).

        Where the pair begins in the zone below, its first page and that buddy are in different zones.
        """
        if order >= self.machine.max_page_order - 1:
            return False
        pair = pfn & ~(1 << order)
        if min(self.machine.zone_starts) < self.start_pfn and pair < self.start_pfn:
            return False
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

    def listed_pages(self, migratetype: int | None = None) -> int:
        """Count the pages on the free lists, of one type or of all."""
        types = range(len(LETTERS)) if migratetype is None else (migratetype,)
        return sum(len(lists[mt]) << order for order, lists in enumerate(self.free_lists) for mt in types)

    # ---- checks

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
