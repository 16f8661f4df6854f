"""Many contexts at once: each request stops at each lock, others run meanwhile, on its own CPU only interrupts.

The compiled side and its twin take the same turns. The twin makes up the pfns of its pages, since only which
request got a slab first is compared, not where; there are always pages. Which pages are being waited for is
read off the machine's counters of allocated and freed pages.
"""

from collections import Counter
from dataclasses import dataclass, field
from random import Random
from typing import Any

from kmsim.mm.locks import zone_lock
from kmsim.mm.memblock import Boot, boot_machine
from kmsim.mm.mmzone import CONTEXTS_PER_CPU, MAX_NR_ZONES, NEEDS_SLOW_PATH, NO_LOCK, NOPAGE, PGALLOC, PGFREE
from kmsim.mm.slab_geometry import Geometry
from kmsim.mm.slub_records import SLAB_PFMEMALLOC, bulk_row, list_lock_of, new_slub
from kmsim.mm.wants import DONE
from tests.models.slub_model import Object, SlubModel, Steps

from . import drivers, slub_drivers
from .slub_pair import compare_caches


@dataclass
class Request:
    """An operation under way in a context."""

    operation: int
    steps: Steps
    waits_for: tuple[Any, ...] = ()
    is_started: bool = False  # pages that are being freed: their free has begun
    nr_allocated: int = 0  # pages that the compiled side has got or begun to free, and the twin has not yet
    nr_freed: int = 0
    finished: bool = False
    result: Any = None
    objects: list[tuple[int, Object]] = field(default_factory=list)


class Crowd:
    """A machine with SLUB, its twin, and a request or none in each context."""

    def __init__(self, boot: Boot, geometries: list[Geometry], reserve_share: float, random: Random) -> None:
        self.m = boot_machine(boot)
        self.sl = new_slub(self.m, geometries)
        self.zone_locks = [zone_lock(z) for z in range(len(self.m.zones))]
        self.twin = SlubModel(geometries, boot.params.nr_cpus)
        self.nr_cpus = boot.params.nr_cpus
        self.random = random
        self.requests: dict[int, Request] = {}
        self.held: list[tuple[int, Object]] = []
        self.pfn_of: dict[int, int] = {}  # what the twin's pfns stand for
        self.nr_pfns = 0
        self.reserve_share = reserve_share  # of allocations that change whether their slab is one
        self.reached: Counter[str] = Counter()

    def runnable(self) -> list[int]:
        """Contexts that nothing interrupts: on each CPU the highest that has a request, and those above it."""
        found = []
        for cpu in range(self.nr_cpus):
            levels = [level for level in range(CONTEXTS_PER_CPU) if cpu + level * self.nr_cpus in self.requests]
            found += [cpu + level * self.nr_cpus for level in range(max(levels, default=0), CONTEXTS_PER_CPU)]
        return found

    def turn(self, alloc_share: int, gfp: int) -> None:
        """Let one context go on, or start something."""
        ac = self.random.choice(self.runnable())
        if ac in self.requests:
            self.go_on(ac)
        else:
            self.start(ac, alloc_share, gfp)
        slub_drivers.recount(self.m, self.sl)

    def start(self, ac: int, alloc_share: int, gfp: int) -> None:
        """Start a random operation in an idle context."""
        cpu = ac % self.nr_cpus
        number = self.random.randrange(len(self.twin.caches))
        nr_objects = 0
        one = number
        objects: list[tuple[int, Object]] = []
        is_bulk = self.random.randrange(10) == 0
        if self.random.randrange(100) == 0:
            operation, steps = slub_drivers.SHRINK, self.twin.shrink(number)
        elif self.random.randrange(100) < alloc_share or not self.held:
            nr_objects = self.random.randint(1, 20)
            operation = slub_drivers.ALLOC_BULK if is_bulk else slub_drivers.ALLOC
            bulk = self.twin.alloc_bulk(cpu, number, gfp, nr_objects)
            steps = bulk if is_bulk else self.twin.alloc(cpu, number, gfp)
        elif is_bulk:
            nr_objects = min(len(self.held), self.random.randint(1, 20))
            objects = [self.pop() for _ in range(nr_objects)]
            self.sl.bulk[bulk_row(ac) : bulk_row(ac) + nr_objects] = [each for each, _ in objects]
            operation, steps = slub_drivers.FREE_BULK, self.twin.free_bulk(cpu, [obj for _, obj in objects])
        else:
            objects = [self.pop()]
            one = objects[0][0]
            operation, steps = slub_drivers.FREE, self.twin.free(cpu, objects[0][1])
        self.requests[ac] = Request(operation, steps, objects=objects)
        before = self.m.events.copy()
        wanted = slub_drivers.begin(self.m, self.sl, ac, operation, one, gfp, nr_objects)
        self.follow(ac, wanted, before)

    def pop(self) -> tuple[int, Object]:
        """An object to be freed."""
        return self.held.pop(self.random.choice((0, -1, self.random.randrange(len(self.held)))))

    def go_on(self, ac: int) -> None:
        """Grant a context its lock."""
        self.reached["waits over a turn"] += 1
        before = self.m.events.copy()
        wanted = slub_drivers.locked(self.m, self.sl, ac)
        self.follow(ac, wanted, before)

    def follow(self, ac: int, wanted: int, before: Any) -> None:
        """Let the twin come as far as the compiled side has."""
        request = self.requests[ac]
        events = self.m.events - before
        assert events[NOPAGE] == events[NEEDS_SLOW_PATH] == 0
        request.nr_allocated += int(events[PGALLOC : PGALLOC + MAX_NR_ZONES].sum())
        request.nr_freed += int(events[PGFREE])
        lock = int(self.m.contexts[ac].lock) if wanted else None
        if not request.waits_for or request.waits_for[0] in ("lock", "unlocked"):
            self.step(request, None)
        while not request.finished and not self.is_there(request, lock):
            if request.waits_for[0] == "alloc":
                request.nr_allocated -= 1 << request.waits_for[1]
                self.nr_pfns += 1
                self.step(request, self.nr_pfns)
            else:
                self.step(request, None)
        assert request.finished == (wanted == DONE)
        if request.finished:
            assert request.nr_allocated == request.nr_freed == 0
            self.finish(ac)

    def is_there(self, request: Request, lock: int | None) -> bool:
        """Has the twin come to where the compiled side waits for a lock, or goes on without one?"""
        kind, *what = request.waits_for
        if kind == "free" and not request.is_started:
            request.nr_freed -= 1 << what[1]
            request.is_started = True
        assert request.nr_freed >= 0
        self.reached["goes on without a lock"] += lock == NO_LOCK
        if lock == NO_LOCK:
            assert kind != "lock"
            return True
        if kind == "lock":
            assert lock == list_lock_of(self.sl, what[0], 0)
            return True
        if kind == "alloc" and request.nr_allocated == 0:
            assert lock in self.zone_locks
            return True
        nothing_left = request.nr_allocated == request.nr_freed == 0
        return kind == "free" and lock in self.zone_locks and nothing_left

    def step(self, request: Request, answer: int | None) -> None:
        """Let the twin's request go on."""
        try:
            request.waits_for = request.steps.send(answer)
            request.is_started = False
        except StopIteration as done:
            request.finished = True
            request.result = done.value

    def finish(self, ac: int) -> None:
        """A request is done: compare what came of it."""
        request = self.requests.pop(ac)
        if request.operation == slub_drivers.ALLOC:
            self.note(int(self.sl.contexts[ac].obj), request.result)
        elif request.operation == slub_drivers.ALLOC_BULK:
            row = bulk_row(ac)
            assert self.sl.contexts[ac].nr_objects == len(request.result)
            for place, obj in enumerate(request.result):
                self.note(int(self.sl.bulk[row + place]), obj)

    def note(self, number: int, obj: Object) -> None:
        """Both sides have allocated this object: in the same slab, if either has been seen before."""
        slab, index = obj
        record = self.sl.slabs[int(self.sl.slab_of_chunk[number >> 3])]
        assert number - int(record.first_object) == index
        assert self.pfn_of.setdefault(slab.pfn, int(record.pfn)) == int(record.pfn)
        self.held.append((number, obj))
        if self.random.random() < self.reserve_share:
            slab.pfmemalloc = not slab.pfmemalloc
            record.slab_flags = int(record.slab_flags) ^ SLAB_PFMEMALLOC

    def compare(self) -> None:
        """End all requests, and hold the whole states against each other."""
        while self.requests:
            cpus = {ac % self.nr_cpus: ac for ac in sorted(self.requests)}  # the highest of each
            self.go_on(cpus[self.random.choice(sorted(cpus))])
        drivers.recount(self.m)
        slub_drivers.recount(self.m, self.sl)
        compare_caches(self.m, self.sl, self.twin, self.pfn_of)
        for cache in self.twin.caches:
            self.reached.update(cache.stats)
        self.reached.update(self.twin.reached)
