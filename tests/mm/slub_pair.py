"""The compiled SLUB and its slow twin side by side: each operation runs on both and comes to the same.

`SlubPair` runs one operation after the other, and its twin gets its pages from the page allocator's own twin,
so that every address must agree. What the twin went through is counted in its `reached` and its statistics.
"""

from collections import Counter
from random import Random
from typing import Any

from kmsim.mm.gfp import parse_gfp
from kmsim.mm.memblock import Boot, boot_machine
from kmsim.mm.mmzone import Machine
from kmsim.mm.slab_geometry import SLAB_CACHE_DMA, SLAB_RECLAIM_ACCOUNT, SLAB_TYPESAFE_BY_RCU, Geometry
from kmsim.mm.slub_records import END, IN_USE, NO_OBJECT, NO_SLAB, Slub, bulk_row, kmem_cache_t, new_slub
from kmsim.mm.slub_recount import nr_live_objects, slab_totals
from tests.models.machine_model import ALLOC_NO_WATERMARKS
from tests.models.slab_lists_model import Cache, Slab
from tests.models.slub_model import Object, SlubModel, Steps

from . import drivers, slub_drivers
from .machines import record_of, twin_of
from .pair import after

GFPS = tuple(
    parse_gfp(text)
    for text in (
        "GFP_KERNEL",
        "GFP_KERNEL | __GFP_ZERO",
        "GFP_KERNEL",
        "GFP_ATOMIC",
        "GFP_ATOMIC | __GFP_MEMALLOC",
        "GFP_KERNEL | __GFP_MEMALLOC",
        "GFP_ATOMIC | __GFP_NOMEMALLOC",
        "GFP_NOWAIT",
        "GFP_NOFS",
        "GFP_KERNEL | __GFP_NOFAIL",
    )
)
STATS = kmem_cache_t.names[kmem_cache_t.names.index("alloc_slowpath") :]


def geometry_of(
    page_shift: int, size: int, order: int, *, flags: int = 0, partial: tuple[int, int] = (2, 5), has_ctor: bool = False
) -> Geometry:
    """A cache of objects of one size in slabs of an order; `partial`: a CPU's slabs, and the node's at least."""
    min_order = max(0, (size - 1).bit_length() - page_shift)
    order = max(order, min_order)
    objects = min((1 << page_shift + order) // size, END)
    return Geometry(
        name=f"size-{size}",
        object_size=size - size % 24,
        size=size,
        align=8,
        inuse=size - size % 24,
        offset=0,
        flags=flags,
        order=order,
        objects=objects,
        min_order=min_order,
        min_objects=min((1 << page_shift + min_order) // size, objects),
        cpu_partial=partial[0] * objects // 2,
        cpu_partial_slabs=partial[0],
        min_partial=partial[1],
        has_ctor=has_ctor,
    )


def some_caches(page_shift: int, random: Random) -> list[Geometry]:
    """A few caches, small and large, one of them of what cannot be missed."""
    page = 1 << page_shift
    sizes = [random.choice((page // 8, page // 4)), page // 32, 3 * page // 8, page * 5 // 4, random.choice((24, 56))]
    random.shuffle(sizes)
    return [
        geometry_of(
            page_shift,
            size // 8 * 8,
            random.choice((0, 1, 2, 3)),
            flags=random.choice((0, 0, SLAB_RECLAIM_ACCOUNT, SLAB_CACHE_DMA, SLAB_TYPESAFE_BY_RCU)),
            partial=random.choice(((2, 5), (0, 1), (4, 2), (1, 0), (6, 5))),
            has_ctor=random.random() < 0.3,
        )
        for size in sizes[: random.randint(1, 4)]
    ]


class SlubPair:
    """A machine with SLUB, the twins of both, and the objects that are allocated."""

    def __init__(self, boot: Boot, geometries: list[Geometry], seeds: list[int] | None, random: Random) -> None:
        self.m: Machine = boot_machine(boot)
        self.sl: Slub = new_slub(self.m, geometries, seeds)
        self.pages = twin_of(self.m)
        self.twin = SlubModel(
            geometries,
            boot.params.nr_cpus,
            seeds,
            init_on_alloc=boot.params.init_on_alloc,
            init_on_free=boot.params.init_on_free,
        )
        self.geometries = geometries
        self.random = random
        self.held: list[tuple[int, Object]] = []
        self.blocks: list[tuple[int, int]] = []
        self.bytes_zeroed = 0
        self.cpu = 0
        after(self.pages, "scan_zonelist", self.note_scan)

    def note_scan(self, _: int, pfn: int, _request: Any, alloc_flags: int) -> None:
        """See whether pages that the twin gets came from the reserves."""
        self.twin.reserves_used = pfn >= 0 and alloc_flags & ALLOC_NO_WATERMARKS != 0

    def drive(self, steps: Steps) -> Any:
        """Run a request of the twin to its end, with pages from the page allocator's twin."""
        answer = None
        while True:
            try:
                kind, *what = steps.send(answer)
            except StopIteration as done:
                return done.value
            answer = None
            if kind == "alloc":
                order, gfp = what
                answer = self.pages.alloc_pages(self.cpu, gfp, order)
            elif kind == "free":
                self.pages.free_pages(self.cpu, *what)

    def run(self, operation: int, one: int = -1, gfp: int = 0, nr_objects: int = 0) -> int:
        """Run an operation on the compiled side; the context's object."""
        wanted = slub_drivers.begin(self.m, self.sl, self.cpu, operation, one, gfp, nr_objects)
        return slub_drivers.finish(self.m, self.sl, self.cpu, wanted)

    def address(self, obj: Object) -> int:
        """Where the twin's object is."""
        slab, index = obj
        return (slab.pfn << self.m.params[0].page_shift) + index * slab.cache.geometry.size

    def note(self, number: int, obj: Object) -> None:
        """Both sides have allocated this object."""
        assert slub_drivers.address(self.m, self.sl, number) == self.address(obj)
        assert slub_drivers.owner(self.sl, number) == obj[0].cache.number
        assert slub_drivers.problem(self.sl, number, -1) == 0
        self.held.append((number, obj))

    # ---- operations

    def alloc(self, cache: int, gfp: int) -> bool:
        """Allocate an object; was there one?"""
        number = self.run(slub_drivers.ALLOC, cache, gfp)
        obj = self.drive(self.twin.alloc(self.cpu, cache, gfp))
        assert (number == NO_OBJECT) == (obj is None)
        if obj is not None:
            self.note(number, obj)
        self.recount()
        return obj is not None

    def free(self, number: int, obj: Object) -> None:
        """Free an object."""
        self.run(slub_drivers.FREE, number)
        self.drive(self.twin.free(self.cpu, obj))
        assert slub_drivers.problem(self.sl, number, -1) != 0
        self.recount()

    def alloc_bulk(self, cache: int, gfp: int, nr_objects: int) -> None:
        """Allocate several objects."""
        self.run(slub_drivers.ALLOC_BULK, cache, gfp, nr_objects)
        row = bulk_row(self.cpu)
        numbers = self.sl.bulk[row : row + int(self.sl.contexts[self.cpu].nr_objects)].tolist()
        objects = self.drive(self.twin.alloc_bulk(self.cpu, cache, gfp, nr_objects))
        assert len(numbers) == len(objects)
        for number, obj in zip(numbers, objects, strict=True):
            self.note(number, obj)
        self.recount()

    def free_bulk(self, batch: list[tuple[int, Object]]) -> None:
        """Free several objects."""
        row = bulk_row(self.cpu)
        self.sl.bulk[row : row + len(batch)] = [number for number, _ in batch]
        self.run(slub_drivers.FREE_BULK, nr_objects=len(batch))
        self.drive(self.twin.free_bulk(self.cpu, [obj for _, obj in batch]))
        self.recount()

    def shrink(self, cache: int) -> None:
        """Shrink a cache."""
        self.run(slub_drivers.SHRINK, cache)
        self.drive(self.twin.shrink(cache))
        self.recount()

    def destroy(self, cache: int) -> int:
        """Destroy a cache; how many objects live."""
        self.run(slub_drivers.DESTROY, cache)
        live = self.drive(self.twin.destroy(cache))
        assert live == self.sl.contexts[self.cpu].remaining == nr_live_objects(self.sl, cache)
        self.recount()
        return int(live)

    def alloc_pages(self, gfp: int, order: int) -> bool:
        """Allocate a block of pages, so that there is less for slabs; was there one?"""
        pfn = drivers.alloc(self.m, self.cpu, gfp, order)
        assert pfn == self.pages.alloc_pages(self.cpu, gfp, order)
        if pfn >= 0:
            self.blocks.append((pfn, order))
        return pfn >= 0

    def free_pages(self, pfn: int, order: int) -> None:
        """Free a block of pages."""
        drivers.free(self.m, self.cpu, pfn, order)
        self.pages.free_pages(self.cpu, pfn, order)

    # ---- comparison

    def recount(self) -> None:
        """Recount SLUB after an operation."""
        slub_drivers.recount(self.m, self.sl)

    def compare(self) -> None:
        """Hold the whole states against each other, and the counters against what was done."""
        drivers.recount(self.m)
        assert record_of(self.m) == self.pages.state()
        compare_caches(self.m, self.sl, self.twin)
        assert self.m.work[0].bytes_zeroed == self.twin.bytes_zeroed + self.pages.bytes_zeroed
        assert self.sl.work[0].objects_constructed == self.twin.objects_constructed
        for cache in self.twin.caches:
            live = sum(obj[0].cache is cache for _, obj in self.held)
            assert nr_live_objects(self.sl, cache.number) == live


def compare_caches(m: Machine, sl: Slub, twin: SlubModel, pfn_of: dict[int, int] | None = None) -> None:
    """Hold all caches against the twin's; `pfn_of` gives the pfn that one of the twin's own making stands for."""
    for cache in twin.caches:
        ours = cache_of(m, sl, cache.number)
        theirs = twin_cache_of(cache, pfn_of)
        assert ours == theirs, [key for key in ours if ours[key] != theirs[key]]
        totals = slab_totals(sl, cache.number)
        nr_free = sum(slab.objects - slab.inuse for slab in cache.partial)
        assert totals == (totals.total_objects - nr_free, totals.total_objects, len(cache.slabs))


def freelist_of(sl: Slub, slab: int, index: int) -> list[int]:
    """The indices of a free list."""
    found = []
    while index != END:
        assert index < IN_USE
        found.append(index)
        index = int(sl.links[int(sl.slabs[slab].first_object) + index])
    return found


def chain_of(sl: Slub, slab: int) -> list[int]:
    """The slabs of a list."""
    found = []
    while slab != NO_SLAB:
        found.append(slab)
        slab = int(sl.slabs[slab].next)
    return found


def slab_state(sl: Slub, slab: int) -> tuple[int, int, int, int, bool, list[int]]:
    """One slab as the twin sees it."""
    record = sl.slabs[slab]
    free = freelist_of(sl, slab, int(record.freelist))
    flags = int(record.slab_flags)
    return int(record.pfn), int(record.order), int(record.objects), int(record.inuse), bool(flags & 4), free


def cache_of(m: Machine, sl: Slub, number: int) -> dict[str, Any]:
    """A cache of the compiled side."""
    record, node = sl.caches[number], sl.cache_nodes[number]
    nr_cpus = int(m.params[0].nr_cpus)
    cpus = []
    fast: Counter[str] = Counter()
    for cpu in range(nr_cpus):
        c = sl.cpu_slabs[number * nr_cpus + cpu]
        slab = int(c.slab)
        first = int(c.freelist) - int(c.first_object)
        free = [] if c.freelist == NO_OBJECT else freelist_of(sl, slab, first)
        partial = [slab_state(sl, s) for s in chain_of(sl, int(c.partial))]
        cpus.append((slab_state(sl, slab) if slab != NO_SLAB else None, free, partial))
        fast.update(alloc_fastpath=int(c.alloc_fastpath), free_fastpath=int(c.free_fastpath))
    return {
        "node": [slab_state(sl, s) for s in chain_of(sl, int(node.partial_first))],
        "cpus": cpus,
        "nr_slabs": int(node.nr_slabs),
        "objects": int(node.total_objects),
        "stats": +(fast + Counter({name: int(record[name]) for name in STATS})),
    }


def twin_cache_of(cache: Cache, pfn_of: dict[int, int] | None) -> dict[str, Any]:
    """The same of the twin."""

    def state(slab: Slab) -> tuple[int, int, int, int, bool, list[int]]:
        pfn = pfn_of[slab.pfn] if pfn_of is not None else slab.pfn
        return pfn, slab.order, slab.objects, slab.inuse, slab.pfmemalloc, list(slab.freelist)

    return {
        "node": [state(slab) for slab in cache.partial],
        "cpus": [(state(c.slab) if c.slab else None, c.freelist, [state(s) for s in c.partial]) for c in cache.cpus],
        "nr_slabs": len(cache.slabs),
        "objects": sum(slab.objects for slab in cache.slabs),
        "stats": +cache.stats,
    }
