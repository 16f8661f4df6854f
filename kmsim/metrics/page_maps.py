"""Snapshots of the states of all pages; a run keeps a limited number of them.

The length of a run is not known beforehand: whenever there would be too many, every second one is dropped, and
they are taken half as often from then on. The first and the last sample of a run are always kept, or the last
alone where one snapshot is asked for. Codes: `metrics.page_map`.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from kmsim.metrics.columns import Table, made_of
from kmsim.metrics.page_map import FREE, MEMORY_MAP_COLUMNS, ON_PCP_LIST, PAGE_STATES, RESERVED, SLAB, USED
from kmsim.mm.mmzone import MIGRATETYPE_NAMES, PG_BUDDY, PG_PCP, Machine
from kmsim.mm.slub_records import SLAB_LIVE, Slub
from kmsim.mm.zone_names import zone_names
from kmsim.units import PS_PER_NS

NR_PAGES_MAX = 1 << 22  # of a zone whose pages are kept one by one: 4 MiB a snapshot (assumed to be enough)

States = NDArray[np.uint8]


class ZoneMap(NamedTuple):
    """One zone at one instant, by pageblock."""

    zone: str
    start_pfn: NDArray[np.int64]
    migratetype: NDArray[np.uint8]
    counts: NDArray[np.int64]  # [pageblock, state]
    pages: bytes  # of all pageblocks; empty where the zone is too large


class Snapshot(NamedTuple):
    """All populated zones at one instant."""

    time_ps: int
    zones: tuple[ZoneMap, ...]


class PageMaps:
    """The snapshots that a run keeps, in the order of time."""

    def __init__(self, nr_most: int, is_managed: NDArray[np.bool_]) -> None:
        """Keep at most `nr_most`; `is_managed` says of each page frame whether the boot gives it to the allocator."""
        self.taken: list[Snapshot] = []
        self._nr_most = nr_most
        self._is_managed = is_managed
        self._nr_asked = 0
        self._every = 1

    def take(self, m: Machine, slub: Slub | None, now_ps: int) -> None:
        """Called at every sample but the last: take a snapshot if it is its turn."""
        n = self._nr_asked
        self._nr_asked += 1
        if n % self._every == 0 and len(self.taken) >= self._nr_most - 1:  # one is left for the end
            self.taken = self.taken[::2]
            self._every *= 2
        if n % self._every == 0 and len(self.taken) < self._nr_most - 1:
            self.taken.append(snapshot(m, slub, self._is_managed, now_ps))

    def take_last(self, m: Machine, slub: Slub | None, now_ps: int) -> None:
        """Called at the last sample; it replaces another of the same instant."""
        if self.taken and self.taken[-1].time_ps == now_ps:
            self.taken.pop()
        if self._nr_most:
            self.taken.append(snapshot(m, slub, self._is_managed, now_ps))

    def table(self) -> Table:
        """A row for each snapshot, populated zone and pageblock."""
        parts = [(kept.time_ps, zone) for kept in self.taken for zone in kept.zones]
        nr_rows = np.array([len(zone.start_pfn) for _, zone in parts], np.int64)
        counts = np.concatenate([np.zeros((0, len(PAGE_STATES)), np.int64), *(zone.counts for _, zone in parts)])
        types = np.concatenate([np.zeros(0, np.uint8), *(zone.migratetype for _, zone in parts)])
        columns = (
            np.repeat(np.array([time_ps for time_ps, _ in parts], np.int64) / PS_PER_NS, nr_rows),
            np.repeat(np.array([zone.zone for _, zone in parts], object), nr_rows),
            np.concatenate([np.zeros(0, np.int64), *(zone.start_pfn for _, zone in parts)]),
            np.array(MIGRATETYPE_NAMES, object)[types],
            *counts.T,
            np.array([*(piece for _, zone in parts for piece in _pieces(zone)), None], object)[:-1],
        )
        return made_of(MEMORY_MAP_COLUMNS, columns)


def _pieces(zone: ZoneMap) -> list[bytes]:
    """The bytes of each pageblock."""
    size = len(zone.pages) // max(len(zone.start_pfn), 1)
    return [zone.pages[n * size : (n + 1) * size] for n in range(len(zone.start_pfn))]


def snapshot(m: Machine, slub: Slub | None, is_managed: NDArray[np.bool_], now_ps: int) -> Snapshot:
    """All pages now; O(pages), 3 to 8 ms a GiB of 4 KiB pages."""
    states = page_states(m, slub, is_managed)
    zones = [_zone_map(m, z, states) for z in np.flatnonzero(m.zones["present_pages"]).tolist()]
    return Snapshot(now_ps, tuple(zones))


def page_states(m: Machine, slub: Slub | None, is_managed: NDArray[np.bool_]) -> States:
    """The state of every page frame."""
    nr_frames = int(m.params[0].nr_frames)
    states = np.full(nr_frames, RESERVED, np.uint8)
    states[: len(is_managed)][is_managed[:nr_frames]] = USED
    flags = m.pages["page_flags"][:nr_frames] & (PG_BUDDY | PG_PCP)
    heads = np.flatnonzero(flags)
    _paint(states, heads, m.pages["order"][heads], np.where(flags[heads] & PG_BUDDY, FREE, ON_PCP_LIST))
    if slub is not None:
        slabs = slub.slabs[: int(slub.params[0]["nr_slabs_used"])]
        live = np.flatnonzero(slabs["slab_flags"] & SLAB_LIVE)
        _paint(states, slabs["pfn"][live], slabs["order"][live], np.full(len(live), SLAB))
    return states


def _paint(states: States, heads: NDArray[np.integer], orders: NDArray[np.int8], state: NDArray[np.integer]) -> None:
    """Give all pages of these blocks their state; a block is aligned to its size."""
    for order in np.unique(orders).tolist():
        chosen = orders == order
        states.reshape(-1, 1 << order)[heads[chosen] >> order] = state[chosen, np.newaxis]


def _zone_map(m: Machine, z: int, states: States) -> ZoneMap:
    """One zone of it."""
    zone = m.zones[z]
    start, end, shift = int(zone.start_pfn), int(zone.end_pfn), int(m.params[0].pageblock_order)
    first, behind = start >> shift, -(-end >> shift)
    of_zone = states[first << shift : behind << shift].copy()
    of_zone[: start - (first << shift)] = RESERVED
    of_zone[end - (first << shift) :] = RESERVED
    by_block = of_zone.reshape(-1, 1 << shift)
    counts = np.stack([np.count_nonzero(by_block == state, axis=1) for state in range(len(PAGE_STATES))], axis=1)
    return ZoneMap(
        zone_names(m)[z],
        np.arange(first, behind, dtype=np.int64) << shift,
        m.pageblocks[first:behind].copy(),
        counts.astype(np.int64),
        of_zone.tobytes() if end - start <= NR_PAGES_MAX else b"",
    )
