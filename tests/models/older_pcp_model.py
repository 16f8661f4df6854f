"""The slow models of a CPU's page lists of one zone before Linux 6.7, of 6.1 and of 5.10.

Written from what those kernels' functions of these names do. A page keeps the type that it had when it was put on a
list, and goes back to that type's free list (kernel: set_pcppage_migratetype). What is not said here is as in
fixed_pcp_model.py and pcp_model.py. Invariant: count is the pages on the lists, and each of them has a type.
"""

from __future__ import annotations

from .fixed_pcp_model import FixedPerCpuPages
from .machine_model import MIGRATE_PCPTYPES, Record
from .zone_model import RmqueueMode, ZoneModel


class PerCpuPages61(FixedPerCpuPages):
    """The lists that one CPU keeps for one zone in Linux 6.1."""

    def __init__(self, record: Record, zone: ZoneModel) -> None:
        super().__init__(record, zone)
        assert not any(self.lists), "of pages that are on the lists already no type is known"
        self.type_of: dict[int, int] = {}

    def alloc(self, order: int, migratetype: int, alloc_flags: int) -> int:
        """Take a block from the list, refilled if it is empty, or -1 (kernel: __rmqueue_pcplist, rmqueue_bulk)."""
        pages = self.lists[self.list_index(migratetype, order)]
        if not pages:
            for _ in range(self.nr_alloc(order)):
                pfn = self.zone.rmqueue(order, migratetype, alloc_flags, RmqueueMode())
                if pfn < 0:
                    break
                self.machine.check_new_pages(order)  # kernel: check_pcp_refill
                self.type_of[pfn] = migratetype
                pages.append(pfn)
            self.zone.account_freepages(-(len(pages) << order), migratetype)
            self.count += len(pages) << order
        if not pages:
            return -1
        self.count -= 1 << order
        pfn = pages.popleft()
        del self.type_of[pfn]
        return pfn

    def free(self, pfn: int, order: int, migratetype: int) -> None:
        """Put a freed block on its list, drain if that is too much (kernel: free_unref_page_commit)."""
        self.type_of[pfn] = self.zone.block_type(pfn)
        pindex = self.list_index(migratetype, order)
        self.lists[pindex].appendleft(pfn)
        self.count += 1 << order
        free_high = self.note_free(order)
        high = self.high_for_free(free_high)
        if self.count >= high:
            self.drain(self.nr_free(high, free_high), pindex)

    def give_back(self, pindex: int) -> int:
        """Give back the block at a list's tail, and say how many pages that is (kernel: free_pcppages_bulk)."""
        pfn, order = self.lists[pindex].pop(), self.list_order(pindex)
        self.count -= 1 << order
        self.zone.merge_and_add(pfn, order, self.type_of.pop(pfn))
        return 1 << order

    def drain(self, nr_pages: int, pindex: int) -> None:
        """Give back pages from the lists' tails, list `pindex` first (kernel: free_pcppages_bulk)."""
        nr_pages = min(self.count, nr_pages)
        while nr_pages > 0:
            while nr_pages > 0 and self.lists[pindex]:
                nr_pages -= self.give_back(pindex)
            pindex = (pindex + 1) % len(self.lists)


class PerCpuPages510(PerCpuPages61):
    """The lists of Linux 5.10: of order 0 alone, a batch goes in or out at a time."""

    def note_alloc(self) -> None:
        """Note nothing."""

    def nr_alloc(self, order: int) -> int:
        """Give a batch (kernel: __rmqueue_pcplist)."""
        assert order == 0, "a list of another order"
        return self.batch

    def note_free(self, order: int) -> bool:
        """Say that it does not matter what was freed before (kernel: free_unref_page_commit)."""
        assert order == 0, "a list of another order"
        return False

    def high_for_free(self, free_high: bool) -> int:
        """Give the count at which a drain starts, which never changes (kernel: free_unref_page_commit)."""
        assert not free_high, "what 5.10 does not know"
        return self.high

    def nr_free(self, high: int, free_high: bool) -> int:
        """Give a batch (kernel: free_unref_page_commit)."""
        assert high == self.high, "high has changed"
        assert not free_high, "what 5.10 does not know"
        return self.batch

    def drain(self, nr_pages: int, pindex: int) -> None:
        """Give pages back round robin from MOVABLE on (kernel: free_pcppages_bulk).

        Each turn gives one page more than what the list before was short of; empty lists have their turns, too.
        """
        assert pindex < MIGRATE_PCPTYPES, "a list of another order"
        left, turn, due = min(self.count, nr_pages), 0, 0
        while left:
            turn = (turn + 1) % MIGRATE_PCPTYPES
            due += 1
            if not self.lists[turn]:
                continue
            if due == MIGRATE_PCPTYPES:
                due = left
            given = min(due, left, len(self.lists[turn]))
            for _ in range(given):
                self.give_back(turn)
            left -= given
            due -= given

    def drain_everything(self) -> None:
        """Give back all pages in one hold of the lock (kernel: drain_pages_zone)."""
        self.drain(self.count, 0)
