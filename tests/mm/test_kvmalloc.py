"""kvmalloc: when it leaves the slab, why, and where the memory goes when it is made larger."""

import pytest

from kmsim.mm.gfp import parse_gfp
from kmsim.mm.mm_init import PfnRange
from kmsim.mm.vm_records import (
    ABOVE_INT_MAX,
    KV_FAILED,
    KV_NO_BLOCK,
    KV_NO_REASON,
    KV_NONE,
    KV_OUTCOMES,
    KV_PAGES,
    KV_REASONS,
    KV_SLAB,
    KV_VMALLOC,
    NON_BLOCKING,
    OVERFLOW,
    SMALL,
    TOO_LARGE,
)

from . import drivers
from .vm_drivers import KVFREE, KVMALLOC, KVMALLOC_ARRAY, KVREALLOC, Ready, ready, recount

GFP_KERNEL = parse_gfp("GFP_KERNEL")
GFP_NOWAIT = parse_gfp("GFP_NOWAIT")
ZERO = parse_gfp("__GFP_ZERO")
MIB = 1 << 20
PAGE = 4096


def kvmalloc(kmsim: Ready, nr_bytes: int, gfp: int = GFP_KERNEL) -> tuple[int, int]:
    """A whole kvmalloc: its outcome and its reason."""
    kmsim.request(0, KVMALLOC, cache_of(kmsim, nr_bytes), nr_bytes, gfp)
    context = kmsim.vm.contexts[0]
    return int(context.outcome), int(context.reason)


def cache_of(kmsim: Ready, nr_bytes: int) -> int:
    """kmalloc's cache, or -1."""
    index = kmsim.caches.kmalloc_index(nr_bytes, GFP_KERNEL)
    return -1 if index is None else index


def handle(kmsim: Ready) -> int:
    """What the context's result is known by."""
    context = kmsim.vm.contexts[0]
    by_outcome = {KV_SLAB: context.obj, KV_PAGES: context.pfn, KV_VMALLOC: context.area}
    return int(by_outcome[int(context.outcome)])


def free(kmsim: Ready) -> None:
    """Free the context's result."""
    context = kmsim.vm.contexts[0]
    kmsim.request(0, KVFREE, int(context.outcome), handle(kmsim), int(context.order))
    recount(kmsim.m, kmsim.vm)
    drivers.recount(kmsim.m)


@pytest.mark.parametrize(
    ("nr_bytes", "outcome", "reason"),
    [
        (1, KV_SLAB, KV_NO_REASON),
        (8192, KV_SLAB, KV_NO_REASON),
        (8193, KV_PAGES, KV_NO_REASON),
        (4 * MIB, KV_PAGES, KV_NO_REASON),
        (4 * MIB + 1, KV_VMALLOC, TOO_LARGE),
        (1 << 31, KV_FAILED, ABOVE_INT_MAX),
        ((1 << 31) - 1, KV_FAILED, TOO_LARGE),  # vmalloc has not that much memory
    ],
)
def test_sizes_on_a_fresh_machine(nr_bytes: int, outcome: int, reason: int) -> None:
    kmsim = ready()
    assert kvmalloc(kmsim, nr_bytes) == (outcome, reason)
    assert kmsim.vm.events[KV_OUTCOMES + outcome] == 1
    assert kmsim.vm.events[KV_REASONS : KV_REASONS + 7].sum() == (reason != KV_NO_REASON)
    if outcome != KV_FAILED:
        free(kmsim)


def test_an_area_of_kvmalloc_has_huge_mappings() -> None:
    kmsim = ready()
    kvmalloc(kmsim, 4 * MIB + 1)
    assert int(kmsim.vm.areas[kmsim.area(0)].page_order) == 9


def fragmented(**changes: object) -> Ready:
    """A machine on which only single pages are free."""
    kmsim = ready(ram=(PfnRange(0, 9_000),), **changes)
    held = []
    while (pfn := drivers.alloc(kmsim.m, 0, GFP_NOWAIT | parse_gfp("__GFP_MEMALLOC"), 0)) >= 0:
        held.append(pfn)
    for pfn in held:
        if pfn % 2 == 0:
            drivers.free(kmsim.m, 0, pfn, 0)
    drivers.drain_all(kmsim.m, 0)
    return kmsim


@pytest.mark.parametrize(
    ("nr_bytes", "gfp", "outcome", "reason"),
    [
        (32768, GFP_KERNEL, KV_VMALLOC, KV_NO_BLOCK),
        (6000, GFP_KERNEL, KV_VMALLOC, KV_NO_BLOCK),
        (32768, GFP_NOWAIT, KV_FAILED, NON_BLOCKING),
        (300, GFP_KERNEL, KV_SLAB, KV_NO_REASON),
    ],
)
def test_without_contiguous_memory_it_leaves_the_slab(nr_bytes: int, gfp: int, outcome: int, reason: int) -> None:
    kmsim = fragmented()
    assert kvmalloc(kmsim, nr_bytes, gfp) == (outcome, reason)
    if outcome != KV_FAILED:
        free(kmsim)


@pytest.mark.parametrize(
    ("gfp", "is_5_10", "expected"),
    [
        ("GFP_KERNEL_ACCOUNT", True, (KV_VMALLOC, KV_NO_BLOCK)),
        ("GFP_NOFS", True, (KV_FAILED, KV_NO_BLOCK)),
        ("GFP_NOFS", False, (KV_VMALLOC, KV_NO_BLOCK)),
    ],
)
def test_in_5_10_it_leaves_the_slab_with_all_of_gfp_kernel_alone(
    gfp: str, is_5_10: bool, expected: tuple[int, int]
) -> None:
    kmsim = fragmented(kvmalloc_kernel_only=is_5_10)
    assert kvmalloc(kmsim, 32768, parse_gfp(gfp)) == expected


def test_a_page_and_less_never_leaves_the_slab() -> None:
    kmsim = ready()
    while drivers.alloc(kmsim.m, 0, GFP_NOWAIT | parse_gfp("__GFP_MEMALLOC"), 0) >= 0:
        continue
    assert kvmalloc(kmsim, PAGE) == (KV_FAILED, SMALL)


def test_an_array_that_overflows_fails_at_once() -> None:
    kmsim = ready()
    kmsim.request(0, KVMALLOC_ARRAY, 1 << 40, 1 << 40, GFP_KERNEL)
    assert (kmsim.vm.contexts[0].outcome, kmsim.vm.contexts[0].reason) == (KV_FAILED, OVERFLOW)
    kmsim.request(0, KVMALLOC_ARRAY, 100, 1000, GFP_KERNEL)
    assert kmsim.vm.contexts[0].outcome == KV_PAGES


def kvrealloc(kmsim: Ready, nr_bytes: int, gfp: int = GFP_KERNEL) -> int:
    """A whole kvrealloc of the context's result; the new outcome."""
    cache = cache_of(kmsim, nr_bytes) if nr_bytes else -1
    kmsim.request(0, KVREALLOC, cache, nr_bytes, gfp)
    recount(kmsim.m, kmsim.vm)
    drivers.recount(kmsim.m)
    return int(kmsim.vm.contexts[0].outcome)


def test_memory_that_has_room_stays_where_it_is() -> None:
    kmsim = ready()
    kvmalloc(kmsim, 100)
    before = handle(kmsim)
    zeroed = int(kmsim.m.work[0].bytes_zeroed)
    assert kvrealloc(kmsim, 120, GFP_KERNEL | ZERO) == KV_SLAB
    assert handle(kmsim) == before
    assert int(kmsim.m.work[0].bytes_zeroed) - zeroed == 8
    assert kmsim.vm.work[0].bytes_copied == 0


def test_memory_grows_from_the_slab_to_pages_to_an_area() -> None:
    kmsim = ready()
    kmsim.vm.contexts[0].outcome = KV_NONE
    assert kvrealloc(kmsim, 100) == KV_SLAB
    assert kvrealloc(kmsim, 20_000) == KV_PAGES
    assert kmsim.vm.work[0].bytes_copied == 128
    assert kvrealloc(kmsim, 5 * MIB) == KV_VMALLOC
    assert kmsim.vm.work[0].bytes_copied == 128 + 32768
    area = handle(kmsim)
    assert kvrealloc(kmsim, 6 * MIB) == KV_VMALLOC  # its huge pages have room
    assert handle(kmsim) == area
    assert kvrealloc(kmsim, 7 * MIB) == KV_VMALLOC
    assert int(kmsim.vm.areas[handle(kmsim)].page_order) == 0  # as vrealloc does
    assert kmsim.vm.work[0].bytes_copied == 128 + 32768 + 6 * MIB
    assert kvrealloc(kmsim, 0) == KV_NONE
    assert int(kmsim.vm.areas["in_use"].sum()) == 0


def test_a_failed_kvrealloc_leaves_the_old_memory() -> None:
    kmsim = ready()
    kvmalloc(kmsim, 5 * MIB)
    area = handle(kmsim)
    assert kvrealloc(kmsim, 1 << 33) == KV_FAILED
    assert kmsim.vm.areas[area].in_use
