"""The slow model of Linux 6.12's direct reclaim: what one call of try_to_free_pages does (kernel: mm/vmscan.c).

Where `is_old`, as 5.10 and 6.1 do it. Written from the kernel's source for facts and from nothing of kmsim. One node;
kswapd sleeps; a write to swap ends at once. The slow path around it is `reclaim_model.py`.
"""

from __future__ import annotations

from typing import Any, NamedTuple

from .lru_model import CLUSTER, ISOLATED, LISTS, Folio, LruModel
from .machine_model import WMARK_HIGH, WMARK_LOW, WMARK_MIN
from .page_alloc_model import GFP_IO, PageAllocModel, Request
from .pcp_model import PAGE_ALLOC_COSTLY_ORDER
from .zone_model import ZoneModel

GFP_FS = 0x80
SLOTS = 64


class Scan(NamedTuple):
    """What one call of reclaim has found out of a node (kernel: struct scan_control)."""

    priority: int
    may_deactivate: dict[str, bool]
    trims_cache: bool
    file_is_tiny: bool
    cost: dict[str, int]


class VmscanModel(PageAllocModel):
    """The page allocator of a machine with LRU lists, and what frees their pages."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.is_old = not self.machine.folio_reclaim
        self.lru = LruModel(self.zones, self.machine.nr_cpus, is_old=self.is_old)
        self.swap_total = self.swap_free = 0
        self.swappiness = 60
        self.slots = [0] * self.machine.nr_cpus
        self.nr_freed = 0  # pages, by reclaim

    def reclaimable(self, zone: ZoneModel) -> int:
        """Count what reclaim could free in a zone (kernel: zone_reclaimable_pages)."""
        names = [name for name in LISTS if self.swap_free > 0 or name.endswith("file")]
        pages = sum(self.lru.of_zone[zone.index, name].snapshot() for name in names)
        return pages or max(zone.nr_free_pages + sum(zone.deltas), 0)

    def suitable(self, zone: ZoneModel, request: Request, free: int | None = None, *, index: bool = True) -> bool:
        """Ask whether compaction of a zone makes sense (kernel: compaction_suitable)."""
        costly = request.order > PAGE_ALLOC_COSTLY_ORDER
        mark = zone.mark(WMARK_LOW if costly else WMARK_MIN) + 2 * (1 << request.order)
        if not zone.watermark_ok(0, mark, request.highest_zoneidx, 0, free):
            return False
        return not (index and costly and 0 <= zone.extfrag_index()[request.order] <= 500)

    # ---- reclaim

    def try_to_free_pages(self, request: Request) -> int:
        """Reclaim pass after pass (kernel: try_to_free_pages, do_try_to_free_pages)."""
        self.call = request
        self.skipped_deactivate = False
        passes = ((False, False),) * (1 if self.is_old else 2)  # a full walk of memory cgroups is newer
        for force, needs_skipped in (*passes, (True, True)):
            if needs_skipped and not self.skipped_deactivate:
                break
            self.lru.events[f"allocstall {request.highest_zoneidx}"] += 1
            freed = self.reclaim_pass(force=force)
            if freed:
                return freed
        return 0

    def reclaim_pass(self, *, force: bool) -> int:
        """Scan more at each priority (kernel: do_try_to_free_pages, shrink_zones)."""
        freed = 0
        for priority in range(12, -1, -1):
            ready = False
            is_shrunk = False
            for zone in self.zonelist(self.call.highest_zoneidx):
                if self.call.order > PAGE_ALLOC_COSTLY_ORDER and self.is_ready(zone):
                    ready = True
                elif not is_shrunk:
                    is_shrunk = True
                    freed += self.shrink_node(priority, force=force)
            if freed >= CLUSTER or ready:
                return freed or int(ready)
        return freed

    def is_ready(self, zone: ZoneModel) -> bool:
        """Ask whether compaction should go ahead without more reclaim (kernel: compaction_ready)."""
        call = self.call
        if not call.gfp & GFP_IO:
            return False
        if zone.watermark_ok(call.order, zone.mark(WMARK_MIN), call.highest_zoneidx, 0):
            return True
        if not self.suitable(zone, call):
            return False
        mark = zone.mark(WMARK_HIGH) + 2 * (1 << call.order)
        free = zone.free_pages_counter()
        drift = self.machine.nr_cpus * zone.stat_threshold()
        if drift > zone.watermark[WMARK_LOW] - zone.watermark[WMARK_MIN] and free < zone.watermark[WMARK_HIGH] + drift:
            free = max(zone.nr_free_pages + sum(zone.deltas), 0)
        return zone.watermark_ok(0, mark, call.highest_zoneidx, 0, free)

    def shrink_node(self, priority: int, *, force: bool) -> int:
        """Shrink the node's lists, for a larger block several times (kernel: shrink_node)."""
        total = 0
        while True:
            scan = self.prepare(priority, force=force)
            freed = self.shrink_lruvec(scan)
            total += freed
            if not self.should_continue(priority, freed):
                return total

    def should_continue(self, priority: int, freed: int) -> bool:
        """Ask whether a block of the order needs more free pages (kernel: should_continue_reclaim)."""
        call = self.call
        pressing = call.order > PAGE_ALLOC_COSTLY_ORDER or priority < 10
        if not call.order or not call.gfp & GFP_IO or not pressing or not freed:
            return False
        for index in sorted(self.zones):
            zone = self.zones[index]
            if index > call.highest_zoneidx or not zone.managed:
                continue
            if zone.watermark_ok(call.order, zone.mark(WMARK_MIN), call.highest_zoneidx, 0):
                return False
            if self.suitable(zone, call):
                return False
        inactive = self.lru.of_node["inactive_file"].read()
        if self.swap_free > 0:
            inactive += self.lru.of_node["inactive_anon"].read()
        return inactive > 2 << call.order

    def prepare(self, priority: int, *, force: bool) -> Scan:
        """Find out how the node stands (kernel: prepare_scan_control); no evicted page ever comes back here."""
        low = {kind: self.lru.inactive_is_low(kind, self.machine.page_shift) for kind in ("anon", "file")}
        may = {kind: force or low[kind] for kind in low}
        inactive_file = self.lru.of_node["inactive_file"].read()
        files = self.lru.of_node["active_file"].read() + inactive_file
        zones = [zone for zone in self.zones.values() if zone.managed]
        free = sum(zone.free_pages_counter() for zone in zones)
        high = sum(zone.mark(WMARK_HIGH) for zone in zones)
        anon = self.lru.of_node["inactive_anon"].read() >> priority
        tiny = files + free <= high and not may["anon"] and anon > 0
        return Scan(priority, may, bool(inactive_file >> priority and not may["file"]), tiny, dict(self.lru.cost))

    def targets(self, scan: Scan) -> dict[str, int]:
        """Count how much of each list is to be scanned (kernel: get_scan_count)."""
        sizes = {}
        for name in LISTS:
            zones = [index for index, zone in self.zones.items() if index <= self.call.highest_zoneidx and zone.managed]
            sizes[name] = sum(self.lru.of_zone[index, name].read() for index in zones) >> scan.priority
        if self.swap_free <= 0:
            only = "file"
        elif not scan.priority and self.swappiness:
            return sizes
        elif scan.file_is_tiny:
            only = "anon"
        elif scan.trims_cache:
            only = "file"
        else:
            both = sum(scan.cost.values())
            anon_cost, file_cost = both + scan.cost["anon"], both + scan.cost["file"]
            part = {
                "anon": self.swappiness * (anon_cost + file_cost + 1) // (anon_cost + 1),
                "file": (200 - self.swappiness) * (anon_cost + file_cost + 1) // (file_cost + 1),
            }
            return {name: size * part[name[-4:]] // sum(part.values()) for name, size in sizes.items()}
        return {name: size if name.endswith(only) else 0 for name, size in sizes.items()}

    def shrink_lruvec(self, scan: Scan) -> int:
        """Shrink list after list, 32 pages each (kernel: shrink_lruvec)."""
        targets = self.targets(scan)
        left = dict(targets)
        freed = 0
        while left["inactive_anon"] or left["active_file"] or left["inactive_file"]:
            for name in LISTS:
                if left[name]:
                    pages = min(left[name], CLUSTER)
                    left[name] -= pages
                    freed += self.shrink_list(name, pages, scan)
            if freed < CLUSTER or scan.priority == 12:
                continue
            both = {kind: left[f"inactive_{kind}"] + left[f"active_{kind}"] for kind in ("anon", "file")}
            if not all(both.values()):
                break
            ends, stays = ("anon", "file") if both["file"] > both["anon"] else ("file", "anon")
            share = both[ends] * 100 // (targets[f"inactive_{ends}"] + targets[f"active_{ends}"] + 1)
            for activity in ("inactive", "active"):
                left[f"{activity}_{ends}"] = 0
                name = f"{activity}_{stays}"
                scanned = targets[name] - left[name]
                left[name] = targets[name] * (100 - share) // 100
                left[name] -= min(left[name], scanned)
        if self.swap_total and self.lru.inactive_is_low("anon", self.machine.page_shift):
            self.shrink_active("active_anon", CLUSTER)
        return freed

    def shrink_list(self, name: str, pages: int, scan: Scan) -> int:
        """Shrink a list, an active one only where that is allowed (kernel: shrink_list)."""
        if not name.startswith("active"):
            return self.shrink_inactive(name, pages)
        if scan.may_deactivate[name[-4:]]:
            self.shrink_active(name, pages)
        else:
            self.skipped_deactivate = True
        return 0

    def isolate(self, name: str, pages: int) -> tuple[list[Folio], int]:
        """Take folios off the tail, and count the pages looked at (kernel: isolate_lru_folios)."""
        cpu = self.machine.this_cpu
        self.lru.drain(cpu)
        source = self.lru.lists[name]
        taken: list[Folio] = []
        skipped: list[Folio] = []
        scanned = looked_at = 0
        while scanned < pages and source:
            folio = source.pop()
            looked_at += folio.pages
            if self.lru.zone_index(folio) > self.call.highest_zoneidx:
                skipped.append(folio)
            else:
                scanned += folio.pages
                taken.append(folio)
                self.machine.on_lru -= set(range(folio.pfn, folio.pfn + folio.pages))
        source[:0] = reversed(skipped)
        for index in sorted(self.zones):
            of_zone = sum(folio.pages for folio in taken if self.lru.zone_index(folio) == index)
            if of_zone:
                self.lru.resize(cpu, name, index, -of_zone)
        for folio in skipped:
            self.lru.events[f"pgskip {self.lru.zone_index(folio)}"] += folio.pages
        self.lru.of_node[ISOLATED[name[-4:]]].add(cpu, sum(folio.pages for folio in taken))
        return taken, looked_at

    def put_back(self, folios: list[Folio]) -> int:
        """Put folios on their lists, and count the pages (kernel: move_folios_to_lru)."""
        moved = 0
        for folio in folios:
            if folio.mlocked:
                self.lru.add(self.machine.this_cpu, folio)
                continue
            self.lru.link(self.machine.this_cpu, folio)
            moved += folio.pages
            if folio.active:
                self.lru.age += folio.pages
        return moved

    def shrink_active(self, name: str, pages: int) -> None:
        """Deactivate folios of an active list (kernel: shrink_active_list)."""
        taken, looked_at = self.isolate(name, pages)
        self.lru.events["pgrefill"] += looked_at
        for folio in taken:
            if not folio.mlocked:
                if folio.mapped:
                    folio.accessed = False
                folio.active = False
                folio.workingset = True
        self.lru.events["pgdeactivate"] += self.put_back(taken)
        self.lru.of_node[ISOLATED[name[-4:]]].add(self.machine.this_cpu, -sum(folio.pages for folio in taken))

    def shrink_inactive(self, name: str, pages: int) -> int:
        """Reclaim folios of an inactive list (kernel: shrink_inactive_list, shrink_folio_list)."""
        kind = name[-4:]
        taken, looked_at = self.isolate(name, pages)
        nr_taken = sum(folio.pages for folio in taken)
        self.lru.events["pgscan_direct"] += looked_at
        if not taken:
            return 0
        kept: list[Folio] = []
        batch: list[Folio] = []
        freed = written = 0
        for folio in taken:
            fate, wrote = self.fate(folio)
            written += folio.pages * wrote
            if fate == "freed":
                freed += folio.pages
                batch.append(folio)
                if len(batch) == self.lru.batch and not self.is_old:
                    self.free_batch(batch)
            else:
                kept.append(folio)
                if fate == "active" and not folio.mlocked:
                    folio.active = True
                    self.lru.events["pgactivate"] += folio.pages
        self.free_batch(batch)
        self.put_back(kept)
        self.lru.of_node[ISOLATED[kind]].add(self.machine.this_cpu, -nr_taken)
        self.lru.events["pgsteal_direct"] += freed
        self.lru.note_cost(kind, written, looked_at - freed)
        return freed

    def free_batch(self, batch: list[Folio]) -> None:
        """Free what was reclaimed; up to 6.1 larger folios first, and then single pages, the last one first."""
        if self.is_old:
            batch.sort(key=lambda folio: folio.order == 0)
            nr_single = sum(folio.order == 0 for folio in batch)
            batch[len(batch) - nr_single :] = reversed(batch[len(batch) - nr_single :])
        for folio in batch:
            del self.lru.folios[folio.pfn]
            self.nr_freed += folio.pages
        freed = [(folio.pfn, folio.order) for folio in batch]
        batch.clear()
        if self.is_old:
            for pfn, order in freed:
                self.free_pages(self.machine.this_cpu, pfn, order)
        else:
            self.free_unref_folios(self.machine.this_cpu, freed)

    def fate(self, folio: Folio) -> tuple[str, bool]:
        """Try to reclaim a folio: "freed", "active" or "kept", and whether it was written."""
        if folio.mlocked:
            return "active", False
        was_referenced, folio.referenced = folio.referenced, False
        if folio.mapped and folio.accessed:
            folio.accessed = False
            folio.referenced = True
            return ("active" if was_referenced else "kept"), False
        only_if_clean = was_referenced and folio.type == "file"
        if folio.kind == "anon" and not folio.swapcache:
            if not self.call.gfp & GFP_IO:
                return "kept", False
            if not self.take_slot(folio):
                return "active", False
        folio.dirty |= folio.pte_dirty
        folio.mapped = folio.accessed = folio.pte_dirty = False
        wrote = False
        if folio.dirty:
            if folio.type == "file":
                folio.reclaim = True
                return "active", False
            may_write = self.call.gfp & GFP_FS or (folio.swapcache and self.call.gfp & GFP_IO)
            if only_if_clean or folio.pinned or not may_write:
                return "kept", False
            if not folio.swapcache and not self.take_slot(folio):
                return "active", False
            folio.dirty = False
            wrote = True
            self.lru.events["pswpout"] += folio.pages
        if folio.pinned:
            return "kept", wrote
        if folio.type == "file" or folio.swapcache:
            self.lru.age += folio.pages
        return "freed", wrote

    def take_slot(self, folio: Folio) -> bool:
        """Give a folio room in swap, by way of the CPU's cache of slots (kernel: folio_alloc_swap)."""
        cpu = self.machine.this_cpu
        if self.slots[cpu] < folio.pages:
            taken = min(max(SLOTS, folio.pages), self.swap_free)
            self.swap_free -= taken
            self.slots[cpu] += taken
        if self.slots[cpu] < folio.pages:
            return False
        self.slots[cpu] -= folio.pages
        folio.swapcache = folio.dirty = True
        return True
