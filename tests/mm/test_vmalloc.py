"""vmalloc: what it waits for, in which order it takes and gives back, and how it fails."""

import numpy as np
import pytest

from kmsim.mm import wants
from kmsim.mm.gfp import parse_gfp
from kmsim.mm.locks import (
    BUSY_LOCK,
    FREE_VMAP_AREA_LOCK,
    LAZY_LOCK,
    NODE_LIST_LOCK,
    PAGE_TABLE_LOCK,
    POOL_LOCK,
    VMAP_PURGE_LOCK,
    ZONE_LOCK,
    all_locks,
)
from kmsim.mm.mm_init import PfnRange
from kmsim.mm.vm_frame import own_lock
from kmsim.mm.vm_layout import small_space, vmalloc_space
from kmsim.mm.vm_records import (
    EXCEEDS_MEMORY,
    HUGE_FALLBACKS,
    NO_AREA,
    NO_PAGES,
    NO_SPACE,
    VM_ALLOW_HUGE_VMAP,
    VM_FAILED,
    VM_USERMAP,
)
from kmsim.mm.wants import FLUSH, UNLOCK
from kmsim.procfs import vmallocinfo

from . import drivers
from .vm_drivers import (
    DEFERRED,
    GO_ON,
    NOTHING,
    PURGE,
    VFREE,
    VFREE_ATOMIC,
    VMALLOC,
    VMALLOC_USER,
    VMAP,
    Ready,
    ready,
    recount,
)

GFP_KERNEL = parse_gfp("GFP_KERNEL")
ZERO = parse_gfp("__GFP_ZERO")
PAGE = 4096
WORDS = {
    ZONE_LOCK: "zone",
    NODE_LIST_LOCK: "list_lock",
    FREE_VMAP_AREA_LOCK: "free_vmap_area_lock",
    VMAP_PURGE_LOCK: "vmap_purge_lock",
    PAGE_TABLE_LOCK: "page_table_lock",
    BUSY_LOCK: "busy {}",
    LAZY_LOCK: "lazy {}",
    POOL_LOCK: "pool {}",
}
SPECIALS = {-UNLOCK: "unlock vmap_purge_lock", -FLUSH: "flush", -wants.GO_ON: "release"}


def names(kmsim: Ready, waits: list[int]) -> list[str]:
    """What a request waited for, in words; zones and caches by their kind."""
    locks = all_locks(len(kmsim.m.zones), len(kmsim.sl.cache_nodes), len(kmsim.vm.nodes))
    return [SPECIALS[wait] if wait < 0 else WORDS[locks[wait].lock_class].format(locks[wait].of) for wait in waits]


def warm(kmsim: Ready) -> Ready:
    """The machine once slabs, per-CPU lists and page tables are there."""
    areas = [kmsim.vmalloc(4 * PAGE) for _ in range(4)]
    for area in areas:
        kmsim.request(0, VFREE, area)
    return kmsim


def test_the_story_of_a_vmalloc_and_a_vfree() -> None:
    kmsim = warm(ready())
    waits = kmsim.request(0, VMALLOC, 3 * PAGE, GFP_KERNEL, 0)
    assert names(kmsim, waits) == ["free_vmap_area_lock", "busy 1", "release"]
    area = kmsim.area(0)
    assert kmsim.start(area) == 20
    assert names(kmsim, kmsim.request(0, VFREE, area)) == ["busy 1", "release", "lazy 0", "release"]


def test_the_story_of_a_purge_and_of_a_range_that_is_ready() -> None:
    kmsim = warm(ready())
    waits = names(kmsim, kmsim.request(1, PURGE))
    assert waits == ["vmap_purge_lock", "lazy 0", "release", "flush", *["pool 0"] * 4, "unlock vmap_purge_lock"]
    waits = names(kmsim, kmsim.request(0, VMALLOC, 4 * PAGE, GFP_KERNEL, 0))
    assert waits[:2] == ["pool 0", "busy 0"]
    assert kmsim.start(kmsim.area(0)) == 15  # the last one that became ready


def test_pages_come_in_order_and_go_back_in_order() -> None:
    kmsim = warm(ready())
    area = kmsim.vmalloc(130 * PAGE)
    pfns = kmsim.pfns(area)
    assert len(pfns) == len(set(pfns)) == 130
    kmsim.request(0, VFREE, area)
    taken = [drivers.alloc(kmsim.m, 0, GFP_KERNEL, 0) for _ in range(10)]
    assert taken == pfns[::-1][:10]


def test_an_area_has_a_guard_page_and_an_array_of_its_own_beyond_a_page_of_pointers() -> None:
    kmsim = ready(ram=(PfnRange(0, 40_000),))
    area = kmsim.vmalloc(513 * PAGE)
    array = int(kmsim.vm.areas[area].pages_area)
    assert array != NO_AREA
    assert (kmsim.start(area), kmsim.start(array)) == (0, 514)
    assert len(kmsim.pfns(array)) == 2
    assert int(kmsim.vm.areas[kmsim.vmalloc(512 * PAGE)].pages_area) == NO_AREA
    kmsim.request(0, VFREE, area)
    recount(kmsim.m, kmsim.vm)
    assert not kmsim.vm.areas[array].in_use


def test_huge_mappings_as_the_kernel_chooses_them() -> None:
    kmsim = ready(ram=(PfnRange(0, 16_384),))
    area = kmsim.vmalloc((4 << 20) + 1, vm_flags=VM_ALLOW_HUGE_VMAP)
    record = kmsim.vm.areas[area]
    assert (int(record.nr_pages), int(record.page_order)) == (1536, 9)
    pfns = kmsim.pfns(area)
    assert all(pfns[i] % 512 == 0 and pfns[i : i + 512] == list(range(pfns[i], pfns[i] + 512)) for i in (0, 512, 1024))
    assert kmsim.start(area) % 512 == 0
    small = kmsim.vmalloc((2 << 20) - 1, vm_flags=VM_ALLOW_HUGE_VMAP)
    assert int(kmsim.vm.areas[small].page_order) == 0
    plain = kmsim.vmalloc(4 << 20)
    assert int(kmsim.vm.areas[plain].page_order) == 0


def test_a_huge_mapping_needs_a_pmds_size_for_each_node_with_or_without_memory() -> None:
    kmsim = ready(ram=(PfnRange(0, 16_384),), nr_nodes=3, numa=True)
    orders = []
    for nr_bytes in ((6 << 20) - 4096, 6 << 20):
        area = kmsim.vmalloc(nr_bytes, vm_flags=VM_ALLOW_HUGE_VMAP)
        orders.append(int(kmsim.vm.areas[area].page_order))
    assert orders == [0, 9]


def test_without_blocks_for_huge_mappings_it_takes_pages() -> None:
    kmsim = ready(ram=(PfnRange(0, 9_000),))
    held = []
    while (pfn := drivers.alloc(kmsim.m, 0, parse_gfp("GFP_NOWAIT"), 3)) >= 0:
        held.append(pfn)
    for pfn in held[::2]:
        drivers.free(kmsim.m, 0, pfn, 3)
    area = kmsim.vmalloc(4 << 20, vm_flags=VM_ALLOW_HUGE_VMAP)
    assert (int(kmsim.vm.areas[area].nr_pages), int(kmsim.vm.areas[area].page_order)) == (1024, 0)
    assert kmsim.vm.events[HUGE_FALLBACKS] == 1
    recount(kmsim.m, kmsim.vm)


def test_a_huge_mapping_takes_the_place_of_a_table() -> None:
    kmsim = ready(ram=(PfnRange(0, 16_384),))
    first = kmsim.vmalloc(600 * PAGE)
    assert kmsim.vm.params[0].nr_tables == 3
    kmsim.request(0, VFREE, first)
    kmsim.request(0, PURGE)
    waits = kmsim.request(0, VMALLOC, 2 << 20, GFP_KERNEL, VM_ALLOW_HUGE_VMAP)
    assert kmsim.start(kmsim.area(0)) == 0
    assert -FLUSH in waits
    assert kmsim.vm.params[0].nr_tables == 2
    recount(kmsim.m, kmsim.vm)


def test_tables_are_taken_once_and_kept() -> None:
    kmsim = ready(ram=(PfnRange(0, 16_384),))
    for _ in range(3):
        kmsim.request(0, VFREE, kmsim.vmalloc(100 * PAGE))
        kmsim.request(0, PURGE)
    assert kmsim.vm.work[0].tables_new == kmsim.vm.params[0].nr_tables == 2
    assert kmsim.vm.work[0].ptes_set == 300
    assert kmsim.vm.work[0].ptes_cleared == 303


def test_zeroed_memory_is_zeroed_without_a_lock() -> None:
    kmsim = warm(ready())
    before = int(kmsim.m.work[0].bytes_zeroed)
    kmsim.request(0, VMALLOC_USER, 5 * PAGE)
    assert int(kmsim.vm.areas[kmsim.area(0)].vm_flags) & VM_USERMAP
    assert int(kmsim.m.work[0].bytes_zeroed) - before == 5 * PAGE + 96 + 64  # with the vm_struct and the array


@pytest.mark.parametrize(("nr_bytes", "reason"), [(1 << 30, EXCEEDS_MEMORY), ((64 << 20) - 8 * PAGE, NO_PAGES)])
def test_what_fails_gives_everything_back(nr_bytes: int, reason: int) -> None:
    kmsim = warm(ready())
    before = free_pages(kmsim)
    nr_areas = int(kmsim.vm.areas["in_use"].sum())
    assert kmsim.vmalloc(nr_bytes) == NO_AREA
    assert kmsim.vm.contexts[0].failure == reason
    assert kmsim.vm.events[VM_FAILED + reason] == 1
    recount(kmsim.m, kmsim.vm)
    assert int(kmsim.vm.areas["in_use"].sum()) == nr_areas
    assert before - free_pages(kmsim) < 60  # tables, and slabs that stay


def free_pages(kmsim: Ready) -> int:
    """Free pages, once all per-CPU lists are empty."""
    drivers.drain_all(kmsim.m, 0)
    drivers.recount(kmsim.m)
    return sum(int(count) << order for order, count in enumerate(kmsim.m.zones[0].nr_free))


def test_an_exhausted_space_purges_once_and_then_fails() -> None:
    kmsim = ready(small_space(1 << 20), 1)
    held = [kmsim.vmalloc(60 * PAGE) for _ in range(4)]
    waits = kmsim.request(0, VMALLOC, 60 * PAGE, GFP_KERNEL, 0)
    assert kmsim.area(0) == NO_AREA
    assert kmsim.vm.contexts[0].failure == NO_SPACE
    assert names(kmsim, waits).count("vmap_purge_lock") == 1
    kmsim.request(0, VFREE, held[1])
    waits = names(kmsim, kmsim.request(0, VMALLOC, 60 * PAGE, GFP_KERNEL, 0))
    assert kmsim.start(kmsim.area(0)) == 61
    assert waits.count("flush") == 1
    recount(kmsim.m, kmsim.vm)


def test_areas_freed_in_interrupts_wait_for_the_work_item_and_go_newest_first() -> None:
    kmsim = warm(ready())
    areas = [kmsim.vmalloc(PAGE) for _ in range(3)]
    for area in areas:
        assert kmsim.request(3, VFREE_ATOMIC, area) == []
    assert kmsim.vm.params[0].vfree_scheduled == 1
    last = kmsim.pfns(areas[0])[0]
    kmsim.request(0, DEFERRED, 1)
    assert kmsim.vm.params[0].vfree_scheduled == 0
    assert drivers.alloc(kmsim.m, 0, GFP_KERNEL, 0) == last
    recount(kmsim.m, kmsim.vm)


def test_a_vmap_takes_no_pages() -> None:
    kmsim = warm(ready())
    before = int(kmsim.vm.work[0].pages_taken)
    kmsim.request(0, VMAP, 7)
    assert int(kmsim.vm.work[0].pages_taken) == before
    assert int(kmsim.vm.areas[kmsim.area(0)].nr_pages) == 0
    kmsim.request(0, VMAP, 1 << 20)
    assert kmsim.area(0) == NO_AREA


@pytest.mark.parametrize("seed", range(3))
def test_requests_on_several_cpus_and_in_interrupts_may_come_in_any_order(seed: int) -> None:
    kmsim = ready(nr_cpus=2, ram=(PfnRange(0, 20_000),))
    random = np.random.default_rng(seed)
    held: list[int] = []
    pages: list[int] = []
    running: dict[int, bool] = {}  # by context: is it an allocation?
    waits_for: dict[int, int] = {}  # by context
    mutex = None
    for _ in range(1500):
        ac = int(random.integers(2))
        if ac not in running:
            waits_for[ac] = begin(kmsim, ac, random, held, running, mutex)
        else:
            lock = waits_for[ac]
            purge_lock = own_lock(kmsim.vm, VMAP_PURGE_LOCK)
            if lock == purge_lock and mutex not in (None, ac):
                continue  # asleep until the other one lets go of it
            mutex = ac if lock == purge_lock else None if lock == -UNLOCK else mutex
            waits_for[ac] = kmsim.step(ac, GO_ON)
            if waits_for[ac] == NOTHING:
                finish(kmsim, ac, held, running)
        interrupt(kmsim, ac, random, pages)
    for ac in list(running):
        while running.get(ac) is not None and kmsim.step(ac, GO_ON) != NOTHING:
            continue
        finish(kmsim, ac, held, running)
    recount(kmsim.m, kmsim.vm)
    drivers.recount(kmsim.m)
    assert kmsim.vm.events[0] > 40


def begin(
    kmsim: Ready, ac: int, random: np.random.Generator, held: list[int], running: dict[int, bool], mutex: int | None
) -> int:
    """Begin a request in a context that has none; what it waits for."""
    choice = int(random.integers(10))
    if choice == 0 and mutex is None and len(running) == 0:
        lock, running[ac] = kmsim.step(ac, PURGE), False
    elif choice < 6 or not held:
        nr_pages, gfp = int(random.integers(1, 700)), GFP_KERNEL | int(random.choice((0, ZERO)))
        lock = kmsim.step(ac, VMALLOC, nr_pages * PAGE, gfp, 0)
        running[ac] = True
    else:
        lock, running[ac] = kmsim.step(ac, VFREE, held.pop(int(random.integers(len(held))))), False
    if lock == NOTHING:
        finish(kmsim, ac, held, running)
    return lock


def finish(kmsim: Ready, ac: int, held: list[int], running: dict[int, bool]) -> None:
    """A request is done."""
    if running.pop(ac) and kmsim.area(ac) != NO_AREA:
        held.append(kmsim.area(ac))


def interrupt(kmsim: Ready, ac: int, random: np.random.Generator, pages: list[int]) -> None:
    """On the same CPU, in a context of its own, take or give a page, which changes the lists that a request uses."""
    context = ac + 2 * int(random.integers(1, 3))
    if random.integers(2) and len(pages) < 500:
        pfn = drivers.alloc(kmsim.m, context, parse_gfp("GFP_ATOMIC"), 0)
        if pfn >= 0:
            pages.append(pfn)
    elif pages:
        drivers.free(kmsim.m, context, pages.pop(int(random.integers(len(pages)))), 0)


def test_the_file_shows_areas_by_node_and_address_and_what_waits() -> None:
    kmsim = ready(ram=(PfnRange(0, 40_000),))
    areas = [kmsim.vmalloc(600 * PAGE, ac=1), kmsim.vmalloc(3 * PAGE), kmsim.vmalloc(PAGE)]
    kmsim.request(0, VMALLOC_USER, PAGE)
    kmsim.request(0, VMAP, 2)
    kmsim.request(1, VFREE, areas[2])
    rows = vmallocinfo.rows(kmsim.m, kmsim.vm, lambda area: f"area_{area}+0x1/0x2", numa=True)
    first = vmalloc_space("x86-64", 12).start
    assert [((row.start - first) >> 12, row.nr_bytes >> 12, row.flags, row.kind) for row in rows] == [
        (0, 601, ("vmalloc", "vpages"), ""),
        (610, 2, ("vmalloc", "user"), ""),
        (612, 3, ("vmap",), ""),
        (601, 3, ("vmalloc",), ""),
        (604, 4, ("vmalloc",), ""),
        (608, 2, (), "unpurged vm_area"),
    ]
    assert rows[0].caller == f"area_{areas[0]}+0x1/0x2"
    assert rows[0].pages_by_node == ((0, 600),)
    assert vmallocinfo.parse(vmallocinfo.show(kmsim.m, kmsim.vm))
