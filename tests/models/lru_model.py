"""The slow model of Linux 6.12's LRU lists: one node, its folios, its counters (kernel: mm/swap.c, mm_inline.h).

Or, where `is_old`, of 5.10's and 6.1's: smaller batches, and no cost of rotations.

Written from the kernel's source for facts and from nothing of kmsim. A list is a Python list, head first. Invariant
(`validate`): a folio is in one place; counters with their deltas are the pages on the lists.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass

from .zone_model import ZoneModel

LISTS = ("inactive_anon", "active_anon", "inactive_file", "active_file")
ISOLATED = {"anon": "isolated_anon", "file": "isolated_file"}
BATCH, OLD_BATCH = 31, 15
CLUSTER = 32


@dataclass
class Folio:
    """Pages of a file or of a process."""

    pfn: int
    order: int = 0
    kind: str = "file"  # "anon" or "shmem" where swap backs it
    active: bool = False
    referenced: bool = False
    accessed: bool = False
    dirty: bool = False
    pte_dirty: bool = False
    mapped: bool = False
    pinned: bool = False
    mlocked: bool = False
    swapcache: bool = False
    workingset: bool = False
    reclaim: bool = False  # to be reclaimed as soon as somebody has written it back

    @property
    def pages(self) -> int:
        """Give its pages (kernel: folio_nr_pages)."""
        return 1 << self.order

    @property
    def type(self) -> str:
        """Give the type of list that it belongs to (kernel: folio_is_file_lru)."""
        return "file" if self.kind == "file" else "anon"

    @property
    def list_name(self) -> str:
        """Give the list that it belongs to (kernel: folio_lru_list)."""
        if self.mlocked:
            return "unevictable"
        return ("active_" if self.active else "inactive_") + self.type


class PerCpuCounter:
    """A counter that CPUs change late (kernel: __mod_node_page_state)."""

    def __init__(self, nr_cpus: int, threshold: int) -> None:
        self.threshold = threshold
        self.total = 0
        self.deltas = [0] * nr_cpus

    def add(self, cpu: int, pages: int) -> None:
        """Count pages on a CPU."""
        self.deltas[cpu] += pages
        if abs(self.deltas[cpu]) > self.threshold:
            self.total += self.deltas[cpu]
            self.deltas[cpu] = 0

    def read(self) -> int:
        """Give what a reader sees."""
        return max(self.total, 0)

    def snapshot(self) -> int:
        """Give the pages that there are."""
        return max(self.total + sum(self.deltas), 0)


class LruModel:
    """The LRU lists of one node."""

    def __init__(self, zones: dict[int, ZoneModel], nr_cpus: int, *, is_old: bool = False) -> None:
        self.zones = zones
        self.is_old = is_old
        self.batch = OLD_BATCH if is_old else BATCH
        self.folios: dict[int, Folio] = {}
        self.lists: dict[str, list[Folio]] = {name: [] for name in LISTS}
        self.batches: list[list[Folio]] = [[] for _ in range(nr_cpus)]
        names = (*LISTS, "unevictable")
        threshold = max(zone.stat_threshold() for zone in zones.values())
        self.of_node = {name: PerCpuCounter(nr_cpus, threshold) for name in (*names, *ISOLATED.values())}
        self.of_zone = {
            (index, name): PerCpuCounter(nr_cpus, zone.stat_threshold())
            for index, zone in zones.items()
            for name in names
        }
        self.cost = {"anon": 0, "file": 0}
        self.age = 0
        self.events: Counter[str] = Counter()

    def zone_index(self, folio: Folio) -> int:
        """Find the folio's zone (kernel: folio_zonenum)."""
        return next(index for index, zone in self.zones.items() if zone.spans(folio.pfn))

    def resize(self, cpu: int, name: str, index: int, pages: int) -> None:
        """Count pages that come to or leave a list (kernel: update_lru_size)."""
        self.of_node[name].add(cpu, pages)
        self.of_zone[index, name].add(cpu, pages)

    def add(self, cpu: int, folio: Folio) -> None:
        """Let a folio wait in the CPU's batch; a full one is flushed (kernel: folio_add_lru)."""
        self.folios[folio.pfn] = folio
        self.batches[cpu].append(folio)
        if len(self.batches[cpu]) == self.batch or folio.order:
            self.drain(cpu)

    def drain(self, cpu: int) -> None:
        """Put a CPU's batch on the lists (kernel: lru_add_drain_cpu)."""
        for folio in self.batches[cpu]:
            if folio.mlocked:
                folio.active = False
                self.events["unevictable_pgs_culled"] += folio.pages
            self.link(cpu, folio)
        self.batches[cpu] = []

    def link(self, cpu: int, folio: Folio) -> None:
        """Put a folio at the head of its list (kernel: lruvec_add_folio)."""
        name = folio.list_name
        self.resize(cpu, name, self.zone_index(folio), folio.pages)
        zone = self.zones[self.zone_index(folio)]
        zone.machine.on_lru.update(range(folio.pfn, folio.pfn + folio.pages))
        if name in self.lists:
            self.lists[name].insert(0, folio)

    def unlink(self, cpu: int, folio: Folio) -> None:
        """Take a folio off its list for good (kernel: lruvec_del_folio)."""
        name = folio.list_name
        self.resize(cpu, name, self.zone_index(folio), -folio.pages)
        zone = self.zones[self.zone_index(folio)]
        zone.machine.on_lru -= set(range(folio.pfn, folio.pfn + folio.pages))
        del self.folios[folio.pfn]
        if name in self.lists:
            self.lists[name].remove(folio)

    def note_cost(self, kind: str, io: int, rotated: int) -> None:
        """Remember the cost of reclaiming one type; let all costs fade (kernel: lru_note_cost)."""
        self.cost[kind] += io if self.is_old else io * CLUSTER + rotated
        size = sum(self.of_node[name].read() for name in LISTS)
        if sum(self.cost.values()) > size // 4:
            self.cost = {of: cost // 2 for of, cost in self.cost.items()}

    def inactive_is_low(self, kind: str, page_shift: int) -> bool:
        """Ask whether too few pages are inactive (kernel: inactive_is_low)."""
        inactive = self.of_node["inactive_" + kind].read()
        active = self.of_node["active_" + kind].read()
        gigabytes = (inactive + active) >> (30 - page_shift)
        ratio = int((10 * gigabytes) ** 0.5) if gigabytes else 1
        return inactive * ratio < active

    def validate(self) -> None:
        """Recount the lists."""
        seen: set[int] = set()
        for name, folios in self.lists.items():
            assert all(folio.list_name == name for folio in folios), name
            assert self.of_node[name].snapshot() == sum(folio.pages for folio in folios), name
            assert not seen & {folio.pfn for folio in folios}, name
            seen |= {folio.pfn for folio in folios}
        for name in ISOLATED.values():
            assert self.of_node[name].snapshot() == 0
