"""The slow model of a CPU's page lists of one zone in Linux 6.0, where their size is fixed.

Written from what 6.0's functions of these names do. What the lists are and how pages move is that of
pcp_model.py; vmstat's worker drains nothing on a machine of one node.
Invariant: high is what it was set to.
"""

from __future__ import annotations

from .machine_model import RECLAIM_ACTIVE
from .pcp_model import PAGE_ALLOC_COSTLY_ORDER, PerCpuPages


class FixedPerCpuPages(PerCpuPages):
    """The lists that one CPU keeps for one zone; pcp->lock is held (kernel: struct per_cpu_pages)."""

    def note_alloc(self) -> None:
        """Halve what the next drain gives back (kernel: rmqueue_pcplist)."""
        self.free_factor //= 2

    def nr_alloc(self, order: int) -> int:
        """Decide how many blocks a refill takes: a batch of pages, two blocks at least (kernel: __rmqueue_pcplist)."""
        return self.batch if self.batch <= 1 else max(self.batch // (1 << order), 2)

    def note_free(self, order: int) -> bool:
        """Say whether orders 1 to 3 follow on a drain (kernel: free_unref_page_commit)."""
        return self.is_freeing_high_orders(order)

    def is_freeing_high_orders(self, order: int) -> bool:
        """Ask whether there were drains and nearly no allocations, and the block is of order 1 to 3."""
        return self.free_factor > 0 and 0 < order <= PAGE_ALLOC_COSTLY_ORDER

    def high_for_free(self, free_high: bool) -> int:
        """Give the count at which a drain starts (kernel: nr_pcp_high)."""
        if free_high or not self.high:
            return 0
        return min(self.batch * 4, self.high) if self.zone.flags & RECLAIM_ACTIVE else self.high

    def nr_free(self, high: int, free_high: bool) -> int:
        """Decide how many pages a drain gives back, and let the next give back more (kernel: nr_pcp_free)."""
        if free_high:
            return self.count
        if high < self.batch:
            return 1
        most = high - self.batch
        wanted = self.batch * 2**self.free_factor
        self.free_factor += wanted < most and self.free_factor < self.machine.batch_scale_max  # of 6.1.y
        return min(max(wanted, self.batch), most)

    def decay_high(self) -> bool:
        """Leave everything as it is."""
        return False
