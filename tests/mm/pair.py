"""The compiled machine and its slow twin side by side: each operation runs on both and comes to the same.

After every operation the machine is recounted; `compare` holds the whole states and counters against each
other. What the twin went through on the way is counted in `reached`, so that a test can ask for it.
"""

from collections import Counter
from collections.abc import Callable
from random import Random
from typing import Any

import numpy as np

from kmsim.mm.gfp import gfp_problem, parse_gfp
from kmsim.mm.memblock import Boot, boot_machine
from kmsim.mm.mmzone import EXTFRAG, MAX_NR_ZONES, NEEDS_SLOW_PATH, NO_PAGE, NOPAGE, PGALLOC, PGFREE
from tests.models.machine_model import ALLOC_NO_WATERMARKS, ALLOC_NOFRAGMENT, BELOW_HIGH, HIGHATOMIC, Record
from tests.models.page_alloc_model import PageAllocModel, Request
from tests.models.pcp_model import PerCpuPages
from tests.models.zone_model import ZoneModel

from . import drivers
from .machines import pending, record_of, twin_of

GFPS = tuple(
    parse_gfp(text)
    for text in (
        "GFP_KERNEL",
        "GFP_HIGHUSER_MOVABLE",
        "GFP_KERNEL | __GFP_RECLAIMABLE",
        "GFP_ATOMIC",
        "GFP_NOWAIT",
        "GFP_ATOMIC | __GFP_NOMEMALLOC",
        "GFP_ATOMIC | __GFP_MEMALLOC",
        "GFP_KERNEL | __GFP_MEMALLOC",
        "GFP_KERNEL | __GFP_HIGH",
        "GFP_KERNEL | __GFP_NORETRY",
        "GFP_NOIO",
        "GFP_DMA",
        "GFP_KERNEL | __GFP_DMA",
        "GFP_DMA32",
        "GFP_HIGHUSER_MOVABLE & ~__GFP_DIRECT_RECLAIM",
        "GFP_TRANSHUGE_LIGHT",
        "GFP_USER | __GFP_HIGHMEM",
        "GFP_ATOMIC | __GFP_DMA32",
        "GFP_ATOMIC | __GFP_RECLAIMABLE",
        "GFP_KERNEL | __GFP_MOVABLE",
        "GFP_HIGHUSER_MOVABLE | __GFP_ZERO",
        "GFP_ATOMIC | __GFP_ZERO",
    )
)
assert all(gfp_problem(gfp, 0) is None for gfp in GFPS)

MANY_FRAMES = 300_000
RESERVES = 0x30  # ALLOC_MIN_RESERVE | ALLOC_NON_BLOCK


class Pair:
    """A machine, its twin, and the blocks that are allocated."""

    def __init__(self, boot: Boot, random: Random, twin_type: type[PageAllocModel] = PageAllocModel) -> None:
        self.m = boot_machine(boot)
        self.twin = twin_of(self.m, twin_type)
        self.random = random
        self.held: list[tuple[int, int]] = []
        self.reached: Counter[str] = Counter()
        self.expected = Counter[int]()
        self.pfns = np.zeros(1000, np.int64)
        self.nr_operations = 0
        watch(self.twin, self.reached)
        self.compare()

    def recount(self) -> None:
        """Recount the machine after an operation; where there are a million page frames, not after each."""
        self.nr_operations += 1
        if self.m.params[0].nr_frames < MANY_FRAMES or self.nr_operations % 32 == 0:
            drivers.recount(self.m)

    def alloc(self, cpu: int, gfp: int, order: int) -> bool:
        """Allocate a block; was there one?"""
        pfn = drivers.alloc(self.m, cpu, gfp, order)
        assert pfn == self.twin.alloc_pages(cpu, gfp, order), (cpu, hex(gfp), order)
        self.note([(pfn, order)] if pfn != NO_PAGE else [])
        self.recount()
        return pfn != NO_PAGE

    def bulk(self, cpu: int, gfp: int, nr_pages: int) -> None:
        """Allocate single pages in bulk."""
        nr_populated = drivers.bulk(self.m, cpu, gfp, nr_pages, self.pfns)
        pages = self.pfns[:nr_populated].tolist()
        assert pages == self.twin.alloc_pages_bulk(cpu, gfp, nr_pages), (cpu, hex(gfp), nr_pages)
        self.note([(pfn, 0) for pfn in pages])
        self.reached["bulk_short"] += 1 < nr_populated < nr_pages
        self.recount()

    def note(self, blocks: list[tuple[int, int]]) -> None:
        """Remember new blocks, and what the counters must show for them or for their absence."""
        self.held += blocks
        for pfn, order in blocks:
            self.expected[PGALLOC + self.twin.zone_of(pfn).index] += 1 << order
        if self.twin.last_failure is not None:
            assert not blocks
            self.expected[NOPAGE if self.twin.last_failure == "nopage" else NEEDS_SLOW_PATH] += 1
            self.reached[self.twin.last_failure] += 1

    def free(self, cpu: int, pfn: int, order: int) -> None:
        """Free one block."""
        drivers.free(self.m, cpu, pfn, order)
        self.twin.free_pages(cpu, pfn, order)
        self.expected[PGFREE] += 1 << order
        self.recount()

    def folios(self, cpu: int, blocks: list[tuple[int, int]]) -> None:
        """Free a batch of blocks."""
        pfns, orders = (np.array(column, np.int64) for column in zip(*blocks, strict=True))
        drivers.folios(self.m, cpu, pfns, orders)
        self.twin.free_unref_folios(cpu, blocks)
        self.expected[PGFREE] += sum(1 << order for _, order in blocks)
        self.recount()

    def drain(self, cpu: int, of_cpu: int) -> None:
        """Let `cpu` empty the lists of `of_cpu`."""
        for z in sorted(self.twin.zones):
            drivers.drain(self.m, cpu, z, of_cpu)
        self.twin.drain_pages(of_cpu, cpu)
        self.recount()

    def drain_all(self, cpu: int) -> None:
        """Empty all per-CPU lists."""
        drivers.drain_all(self.m, cpu)
        self.twin.drain_all_pages(cpu)
        self.recount()

    def decay(self, cpu: int, z: int) -> None:
        """Let one `high` decay."""
        drivers.decay(self.m, cpu, z)
        self.twin.decay_pcp_high(cpu, z)
        self.recount()

    def unreserve(self, cpu: int, gfp: int, z: int) -> None:
        """Give a reserved pageblock back, as a request that reclaimed in vain does; now and then by force."""
        force = self.random.random() < 0.5
        given_back = drivers.unreserve(self.m, cpu, gfp, z, force)
        self.twin.machine.this_cpu = cpu
        assert given_back == self.twin.zones[z].unreserve_highatomic(self.twin.migratetype_of(gfp), force=force)
        self.reached["unreserve"] += given_back
        self.recount()

    def lock_some(self) -> None:
        """Let somebody hold the locks of some per-CPU lists, often of none."""
        share = self.random.choice((0, 0, 0.2, 1))
        for (z, cpu), pcp in self.twin.pcps.items():
            pcp.locked = self.random.random() < share
            self.m.pcps[z * self.twin.machine.nr_cpus + cpu].locked = pcp.locked

    def pop(self) -> tuple[int, int]:
        """A block to be freed: the oldest, the youngest or any."""
        place = self.random.choice((0, -1, self.random.randrange(len(self.held))))
        return self.held.pop(place)

    def free_everything(self) -> None:
        """Free all blocks in random order and empty all lists."""
        self.random.shuffle(self.held)
        while self.held:
            self.free(self.random.randrange(self.twin.machine.nr_cpus), *self.held.pop())
        self.drain_all(0)

    def records(self) -> list[Record]:
        """The machine, as its twin knows it."""
        return record_of(self.m)

    def compare(self) -> None:
        """Hold the whole states against each other, and the counters against what was done."""
        self.twin.validate()
        drivers.recount(self.m)
        for ours, theirs in zip(self.records(), self.twin.state(), strict=True):
            assert ours == theirs, [key for key in ours if ours[key] != theirs[key]]
        for z, zone in self.twin.zones.items():
            assert self.m.zones[z].nr_free_pages == zone.nr_free_pages
            assert self.m.zones[z].nr_free_highatomic == zone.nr_free_highatomic
            assert pending(self.m, z) == zone.deltas
        events = {event: int(nr) for event, nr in enumerate(self.m.events)}
        counted = [*range(PGALLOC, PGALLOC + MAX_NR_ZONES), PGFREE, NOPAGE, NEEDS_SLOW_PATH]
        assert [events[event] for event in counted] == [self.expected[event] for event in counted]
        work = self.m.work[0]
        assert work.pages_checked == self.twin.machine.nr_checked
        assert work.watermark_checks == self.twin.nr_watermark_checks
        assert work.bytes_zeroed == self.twin.bytes_zeroed
        assert events[EXTFRAG] == sum(self.reached[rung] for rung in ("claim", "steal", "move"))


# ---- what was reached


def after(owner: object, name: str, look: Callable[..., None]) -> None:
    """Let `look(before, result, *arguments)` see every call; `before` is the zone's flags before it."""
    method = getattr(owner, name)

    def watched(*args: Any, **kwargs: Any) -> Any:
        zone = getattr(owner, "zone", owner)
        before = getattr(zone, "flags", 0)
        result = method(*args, **kwargs)
        look(before, result, *args)
        return result

    setattr(owner, name, watched)


def watch(twin: PageAllocModel, reached: Counter[str]) -> None:
    """Count what the twin goes through."""
    for zone in twin.zones.values():
        watch_zone(zone, reached)
    for pcp in twin.pcps.values():
        watch_pcp(pcp, reached)

    def scanned(_: int, pfn: int, _request: Request, alloc_flags: int) -> None:
        reached["nofragment_refused"] += pfn < 0 and alloc_flags & ALLOC_NOFRAGMENT != 0
        reached["no_watermarks"] += pfn >= 0 and alloc_flags & ALLOC_NO_WATERMARKS != 0

    def used(_: int, result: bool, zone: ZoneModel, request: Request, alloc_flags: int) -> None:
        mark = zone.mark(alloc_flags & 3)
        plain = zone.watermark_ok(request.order, mark, request.highest_zoneidx, alloc_flags & ~RESERVES)
        watermarks_count = not alloc_flags & ALLOC_NO_WATERMARKS
        reached["reserves"] += bool(result and not plain and alloc_flags & RESERVES and watermarks_count)
        reached["below_high"] += zone.flags & BELOW_HIGH != 0
        reached["lower_zone"] += result and zone.index < request.highest_zoneidx and len(twin.zones) > 1

    def taken(_: int, pfn: int, zone: ZoneModel, request: Request, _alloc_flags: int) -> None:
        is_locked = twin.pcps[zone.index, twin.machine.this_cpu].locked
        reached["locked"] += is_locked and pfn >= 0 and twin.is_pcp_order(request.order)
        reached["checked"] = twin.machine.nr_checked
        reached["free_factor"] += any(pcp.free_factor > 1 for pcp in twin.pcps.values())

    after(twin, "rmqueue", taken)
    after(twin, "scan_zonelist", scanned)
    after(twin, "may_use_zone", used)


def watch_zone(zone: ZoneModel, reached: Counter[str]) -> None:
    """Count what happens in a zone."""
    merging = zone.merge_and_add
    set_types = zone.set_block_types
    in_merge = [False]

    def merge_and_add(*args: Any) -> None:
        in_merge[0] = True
        merging(*args)
        in_merge[0] = False

    def set_block_types(*args: Any) -> None:
        reached["merge_of_types"] += in_merge[0]
        set_types(*args)

    def smallest(_: int, pfn: int, _order: int, migratetype: int) -> None:
        reached["from_highatomic"] += pfn >= 0 and migratetype == HIGHATOMIC

    def claimed(_: int, pfn: int, *_args: Any) -> None:
        reached["claim"] += pfn >= 0

    def tried(_: int, pfn: int, *_args: Any) -> None:
        reached["claim_refused"] += pfn < 0

    def stolen(_: int, pfn: int, *_args: Any) -> None:
        reached["steal"] += pfn >= 0

    def boosted(_: int, result: bool) -> None:
        reached["boost"] += result

    reserved = zone.reserve_highatomic

    def reserve_highatomic(pfn: int, order: int) -> None:
        before = zone.nr_reserved_highatomic
        reserved(pfn, order)
        reached["highatomic"] += zone.nr_reserved_highatomic > before

    vars(zone).update(
        merge_and_add=merge_and_add, set_block_types=set_block_types, reserve_highatomic=reserve_highatomic
    )
    after(zone, "rmqueue_smallest", smallest)
    after(zone, "rmqueue_claim", claimed)
    after(zone, "try_to_claim_block", tried)
    after(zone, "rmqueue_steal", stolen)
    after(zone, "boost_watermark", boosted)


def watch_pcp(pcp: PerCpuPages, reached: Counter[str]) -> None:
    """Count what happens in a CPU's lists."""

    def freed(before: int, _result: None, *_args: Any) -> None:
        reached["high_again"] += bool(before & BELOW_HIGH and not pcp.zone.flags & BELOW_HIGH)

    def in_a_row(_: int, result: bool, _order: int) -> None:
        reached["free_high"] += result

    def decayed(_: int, result: bool) -> None:
        reached["decay"] += result

    after(pcp, "free", freed)
    after(pcp, "is_freeing_high_orders", in_a_row)
    after(pcp, "decay_high", decayed)
