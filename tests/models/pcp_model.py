"""The slow model of a CPU's page lists of one zone in Linux 6.12 (kernel: struct per_cpu_pages).

An operation is atomic: no interrupts. Left out: what switches ZONE_RECLAIM_ACTIVE.
Invariant (checked by `PageAllocModel.validate`): count is the pages on the lists.
"""

from __future__ import annotations

from collections import deque

from .machine_model import (
    BELOW_HIGH,
    MIGRATE_PCPTYPES,
    MOVABLE,
    RECLAIM_ACTIVE,
    WMARK_HIGH,
    ZONE_INDEX,
    Record,
)
from .zone_model import RmqueueMode, ZoneModel

PAGE_ALLOC_COSTLY_ORDER = 3
NR_LOWORDER_PCP_LISTS = MIGRATE_PCPTYPES * (PAGE_ALLOC_COSTLY_ORDER + 1)
PCPF_PREV_FREE_HIGH_ORDER, PCPF_FREE_HIGH_BATCH = 1, 2


def clamp(value: int, low: int, high: int) -> int:
    """Limit a value; `high` wins where the limits cross, as in the kernel (kernel: clamp)."""
    return high if value >= high else max(value, low)


class PerCpuPages:
    """The lists that one CPU keeps for one zone; pcp->lock is held (kernel: struct per_cpu_pages)."""

    def __init__(self, record: Record, zone: ZoneModel) -> None:
        self.zone = zone
        self.machine = zone.machine
        self.cpu = record["cpu"]
        self.count: int = record["count"]
        self.high: int = record["high"]
        self.high_min: int = record["high_min"]
        self.high_max: int = record["high_max"]
        self.batch: int = record["batch"]
        self.flags: int = record["flags"]
        self.alloc_factor: int = record["alloc_factor"]
        self.free_count: int = record["free_count"]
        self.free_factor: int = record.get("free_factor", 0)  # of Linux 6.0
        self.locked = False  # pcp->lock is held by somebody
        nr_lists = NR_LOWORDER_PCP_LISTS + 2 * self.machine.thp_in_pcp
        self.lists: list[deque[int]] = [deque(record["lists"].get(str(pindex), ())) for pindex in range(nr_lists)]

    @property
    def most_at_once(self) -> int:
        """Give the most pages that one drain gives back."""
        return self.batch * 2**self.machine.batch_scale_max

    def list_index(self, migratetype: int, order: int) -> int:
        """Number the list of a type and order (kernel: order_to_pindex)."""
        if order > PAGE_ALLOC_COSTLY_ORDER:
            return NR_LOWORDER_PCP_LISTS + (migratetype == MOVABLE)
        return MIGRATE_PCPTYPES * order + migratetype

    def list_order(self, pindex: int) -> int:
        """Give the order of a list's blocks (kernel: pindex_to_order)."""
        return self.machine.pmd_order if pindex >= NR_LOWORDER_PCP_LISTS else pindex // MIGRATE_PCPTYPES

    # ---- allocating

    def note_alloc(self) -> None:
        """Let the drains of frees to come be smaller (kernel: rmqueue_pcplist)."""
        self.free_count >>= 1

    def alloc(self, order: int, migratetype: int, alloc_flags: int) -> int:
        """Take a block from the list, refilled if it is empty, or -1 (kernel: __rmqueue_pcplist)."""
        pages = self.lists[self.list_index(migratetype, order)]
        if not pages:
            mode = RmqueueMode()
            for _ in range(self.nr_alloc(order)):  # kernel: rmqueue_bulk
                pfn = self.zone.rmqueue(order, migratetype, alloc_flags, mode)
                if pfn < 0:
                    break
                self.machine.check_new_pages(order)  # kernel: check_pcp_refill
                pages.append(pfn)
                self.count += 1 << order
        if not pages:
            return -1
        self.count -= 1 << order
        return pages.popleft()

    def nr_alloc(self, order: int) -> int:
        """Decide how many blocks a refill takes; pcp->high and alloc_factor grow (kernel: nr_pcp_alloc)."""
        self.high = high = clamp(self.high, self.high_min, self.high_max)
        if high < self.batch:
            return 1
        batch = self.batch if order else self.batch << self.alloc_factor
        if self.high_min != self.high_max and not self.zone.flags & BELOW_HIGH:
            self.high = high = min(high + batch, self.high_max)
        if not order:
            most = max(high - self.count - self.batch, self.batch)
            if batch <= most and self.alloc_factor < self.machine.batch_scale_max:
                self.alloc_factor += 1
            batch = min(batch, most)
        return max(batch >> order, 2) if batch > 1 else batch

    # ---- freeing

    def free(self, pfn: int, order: int, migratetype: int) -> None:
        """Put a freed block on its list, drain if that is too much (kernel: free_unref_page_commit)."""
        pindex = self.list_index(migratetype, order)
        self.lists[pindex].appendleft(pfn)
        self.count += 1 << order
        free_high = self.note_free(order)
        high = self.high_for_free(free_high)
        if self.count < high:
            return
        self.drain(self.nr_free(high, free_high), pindex)
        zone = self.zone
        if zone.flags & BELOW_HIGH and zone.watermark_ok(0, zone.mark(WMARK_HIGH), ZONE_INDEX["Movable"], 0):
            zone.flags &= ~BELOW_HIGH

    def note_free(self, order: int) -> bool:
        """Let a free change the factors; say whether the lists are to be emptied for it."""
        self.alloc_factor >>= 1
        free_high = self.is_freeing_high_orders(order)
        if self.free_count < self.most_at_once:
            self.free_count += 1 << order
        return free_high

    def is_freeing_high_orders(self, order: int) -> bool:
        """Ask whether orders 1 to 3 are freed in a row and remember it (kernel: free_unref_page_commit)."""
        if not 0 < order <= PAGE_ALLOC_COSTLY_ORDER:
            self.flags &= ~PCPF_PREV_FREE_HIGH_ORDER
            return False
        keeps_batch = self.flags & PCPF_FREE_HIGH_BATCH
        in_a_row = self.free_count >= self.batch and self.flags & PCPF_PREV_FREE_HIGH_ORDER
        self.flags |= PCPF_PREV_FREE_HIGH_ORDER
        return bool(in_a_row and (not keeps_batch or self.count >= self.batch))

    def high_for_free(self, free_high: bool) -> int:
        """Give the count at which a drain starts and let pcp->high move (kernel: nr_pcp_high)."""
        self.high = high = clamp(self.high, self.high_min, self.high_max)
        if not high:
            return 0
        if free_high:
            self.high = max(high - self.most_at_once, self.high_min)
            return 0
        freed = max(self.free_count, self.batch)
        if self.zone.flags & RECLAIM_ACTIVE:
            self.high = max(high - freed, self.high_min)
            return min(self.batch << 2, self.high)
        if self.high_min == self.high_max:
            return high
        if self.zone.flags & BELOW_HIGH:
            self.high = max(high - freed, self.high_min)
            return max(self.count, self.high_min)
        if self.count >= high:
            need = self.free_count + self.batch
            if self.high < need:
                self.high = clamp(need, self.high_min, self.high_max)
        return high

    def nr_free(self, high: int, free_high: bool) -> int:
        """Decide how many pages a drain gives back (kernel: nr_pcp_free)."""
        if free_high:
            return min(self.count, self.most_at_once)
        if high < self.batch:
            return 1
        return clamp(self.free_count, self.batch, high - self.batch)

    def drain(self, nr_pages: int, pindex: int) -> None:
        """Give back pages from the lists' tails, list `pindex` first (kernel: free_pcppages_bulk)."""
        nr_pages = min(self.count, nr_pages)
        while nr_pages > 0:
            pages = self.lists[pindex]
            order = self.list_order(pindex)
            while nr_pages > 0 and pages:
                pfn = pages.pop()
                nr_pages -= 1 << order
                self.count -= 1 << order
                self.zone.merge_and_add(pfn, order, self.zone.block_type(pfn))
            pindex = (pindex + 1) % len(self.lists)

    def drain_everything(self) -> None:
        """Give back all pages, batch << batch_scale_max at a time (kernel: drain_pages_zone)."""
        while self.count:
            self.drain(min(self.count, self.most_at_once), 0)

    def decay_high(self) -> bool:
        """Lower pcp->high by an eighth, drain to it and ask for more of it (kernel: decay_pcp_high)."""
        todo = False
        if self.high > self.high_min:
            least = self.count - self.most_at_once
            self.high = max(least, self.high - (self.high >> 3), self.high_min)
            todo = self.high > self.high_min
        surplus = self.count - self.high
        while surplus > 0:
            step = min(surplus, self.batch)
            self.drain(step, 0)
            surplus -= step
            todo = True
        return todo

    # ---- records

    def state(self) -> Record:
        """Write the lists as a `pcp` entry of a ground-truth state."""
        return {
            "cpu": self.cpu, "count": self.count, "high": self.high, "batch": self.batch,
            "high_min": self.high_min, "high_max": self.high_max, "flags": self.flags,
            "alloc_factor": self.alloc_factor, "free_count": self.free_count,
            "free_factor": self.free_factor,
            "lists": {str(pindex): list(pages) for pindex, pages in enumerate(self.lists) if pages},
        }  # fmt: skip

    def blocks(self) -> list[tuple[int, int]]:
        """List the (pfn, order) of every block held."""
        return [(pfn, self.list_order(pindex)) for pindex, pages in enumerate(self.lists) for pfn in pages]
