"""Samples of free memory over simulated time.

A run may take 100,000 of them, so a sample copies a few numbers out of the machine, and the tables
are made of all samples at the end. Pageblocks, of which there may be many, are counted again only
when one has changed its type.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from kmsim.metrics.columns import INT, REAL, TEXT, Columns, Table, made_of
from kmsim.mm.mmzone import (
    MIGRATE_TYPES,
    MIGRATETYPE_NAMES,
    NR_PAGE_ORDERS_MAX,
    Machine,
)
from kmsim.mm.zone_names import zone_names
from kmsim.procfs.pagetypeinfo import pageblock_counts
from kmsim.units import PS_PER_NS

Counts = NDArray[np.int64]

FREE_BLOCKS_COLUMNS: Columns = {
    "time_ns": REAL,
    "zone": TEXT,
    **dict.fromkeys(("order", "nr_free", "free_pages"), INT),
    "unusable_index": REAL,
    "fragmentation_index": REAL,
}
_PAGEBLOCKS = tuple(f"pageblocks_{name.lower()}" for name in MIGRATETYPE_NAMES)
MEMORY_COLUMNS: Columns = {
    "time_ns": REAL,
    "zone": TEXT,
    **dict.fromkeys(("free_pages", "pcp_pages", "free_huge_frames", "largest_free_order", *_PAGEBLOCKS), INT),
}


class Sample(NamedTuple):
    """One instant, by zone: free blocks by order, pages on per-CPU lists, pageblocks by migratetype."""

    time_ps: int
    nr_free: Counts
    pcp_pages: Counts
    pageblocks: Counts


@dataclass
class Samples:
    """What was sampled, in the order of time."""

    taken: list[Sample] = field(default_factory=list)
    _types: bytes | None = None  # of all pageblocks, when they were counted last
    _pageblocks: Counts = field(default_factory=lambda: np.zeros((0, MIGRATE_TYPES), np.int64))

    def take(self, m: Machine, now_ps: int) -> None:
        """Sample every zone; a second sample at one instant replaces the first."""
        if self.taken and self.taken[-1].time_ps == now_ps:
            self.taken.pop()
        assert not self.taken or self.taken[-1].time_ps < now_ps, "time does not run backwards"
        types = m.pageblocks.tobytes()
        if types != self._types:
            self._types = types
            self._pageblocks = np.array([pageblock_counts(m, z) for z in range(len(m.zones))])
        pcp_pages = m.pcps["count"].reshape(len(m.zones), -1).sum(axis=1)
        self.taken.append(Sample(now_ps, m.zones["nr_free"].copy(), pcp_pages, self._pageblocks))

    def free_blocks_table(self, m: Machine) -> Table:
        """A row for each sample, populated zone and order; the machine says which there are."""
        nr_free = self._nr_free(m)
        nr_orders = nr_free.shape[2]
        columns = (
            *self._keys(m, nr_orders),
            np.tile(np.arange(nr_orders), nr_free[..., 0].size),
            nr_free.ravel(),
            (nr_free << np.arange(nr_orders)).ravel(),
            unusable_index(nr_free).ravel() / 1000,
            fragmentation_index(nr_free).ravel() / 1000,
        )
        return made_of(FREE_BLOCKS_COLUMNS, columns)

    def memory_table(self, m: Machine) -> Table:
        """A row for each sample and populated zone.

        `free_pages` are those on the zone's free lists, `pcp_pages` those on per-CPU lists;
        `free_huge_frames` is what lies in free blocks of at least a huge page, in huge pages;
        `largest_free_order` is -1 where nothing is free.
        """
        nr_free = self._nr_free(m)
        orders = np.arange(nr_free.shape[2])
        pmd_order = int(m.params[0].pmd_order)
        largest = np.where(nr_free > 0, orders, -1).max(axis=2)
        populated = _populated(m)
        pcp_pages = _stacked([sample.pcp_pages for sample in self.taken], len(m.zones))[:, populated]
        pageblocks = _stacked([sample.pageblocks for sample in self.taken], len(m.zones), MIGRATE_TYPES)[:, populated]
        columns = (
            *self._keys(m, 1),
            (nr_free << orders).sum(axis=2).ravel(),
            pcp_pages.ravel(),
            (nr_free[..., pmd_order:] << (orders[pmd_order:] - pmd_order)).sum(axis=2).ravel(),
            largest.ravel(),
            *pageblocks.reshape(-1, MIGRATE_TYPES).T,
        )
        return made_of(MEMORY_COLUMNS, columns)

    def _nr_free(self, m: Machine) -> Counts:
        """Free blocks [sample, populated zone, order]."""
        every = _stacked([sample.nr_free for sample in self.taken], len(m.zones), NR_PAGE_ORDERS_MAX)
        return every[:, _populated(m), : int(m.params[0].max_page_order) + 1]

    def _keys(self, m: Machine, rows: int) -> tuple[NDArray[np.float64], NDArray[np.object_]]:
        """Time and zone of each row, where each zone has as many rows in a sample."""
        populated = _populated(m)
        times = np.array([sample.time_ps for sample in self.taken], np.int64) / PS_PER_NS
        zones = np.array(zone_names(m), object)[populated]
        return np.repeat(times, len(populated) * rows), np.tile(np.repeat(zones, rows), len(times))


def _populated(m: Machine) -> Counts:
    return np.flatnonzero(m.zones["present_pages"])


def _stacked(parts: list[Counts], *shape: int) -> Counts:
    """One array of all samples, even if there are none."""
    return np.stack(parts) if parts else np.zeros((0, *shape), np.int64)


def _pages_from_each_order(nr_free: Counts) -> Counts:
    """Free pages in blocks of at least each order."""
    pages = nr_free << np.arange(nr_free.shape[-1])
    return np.cumsum(pages[..., ::-1], axis=-1)[..., ::-1]


def unusable_index(nr_free: Counts) -> Counts:
    """`mm.vmstat.unusable_free_index` of many samples at every order; free blocks [..., order], thousandths."""
    usable = _pages_from_each_order(nr_free)
    free_pages = usable[..., :1]
    return np.where(free_pages > 0, (free_pages - usable) * 1000 // np.maximum(free_pages, 1), 1000)


def fragmentation_index(nr_free: Counts) -> Counts:
    """`mm.vmstat.fragmentation_index` of many samples at every order; free blocks [..., order], thousandths."""
    usable = _pages_from_each_order(nr_free)
    nr_blocks = nr_free.sum(axis=-1, keepdims=True)
    blocks_wanted = usable[..., :1] * 1000 >> np.arange(nr_free.shape[-1])
    would_fail = 1000 - (1000 + blocks_wanted) // np.maximum(nr_blocks, 1)
    return np.where(nr_blocks == 0, 0, np.where(usable > 0, -1000, would_fail))
