"""Small machines to test on: the kernel's own rules for what is legal, sizes that a slow model can follow.

`boot_of` and `plain_machine` give one machine by keyword; `boots` draws random ones. `record_of` turns a
machine into the record format of the ground truth, which the slow models read and write.
"""

from itertools import pairwise
from typing import Any

import numpy as np
from hypothesis import strategies as st

from kmsim.mm.memblock import Boot, boot_machine, recount
from kmsim.mm.mm_init import PfnRange, subtract
from kmsim.mm.mmzone import (
    MIGRATE_TYPES,
    NR_PAGE_ORDERS_MAX,
    ZONE_NAMES,
    Machine,
    new_machine,
    node_zone,
    zones_of_node,
)
from kmsim.mm.params import Params
from kmsim.mm.snapshot import ZoneState, load, save
from kmsim.mm.zone_setup import Sysctl
from tests.models.machine_model import LETTERS, Record
from tests.models.page_alloc_model import PageAllocModel
from tests.params import params

U, M, R, H = range(MIGRATE_TYPES)  # the migratetypes, by their letters in the record format
DMA_END = 4096  # x86-64: 16 MiB of 4 KiB pages
FOUR_GIB = 4 << 30
LARGEST = 34_000  # page frames of a random machine's RAM


def boot_of(**changes: Any) -> Boot:
    """An arm64 machine of 16,384 4 KiB pages in one zone, two CPUs, pageblocks of 512 pages; with changes."""
    boot = Boot(arch="arm64", params=params(), thp_enabled=False, ram=(PfnRange(0, 16384),), reserved=())
    return changed(boot, **changes)


def changed(boot: Boot, **changes: Any) -> Boot:
    """The boot with other fields, or other fields of its parameters."""
    of_params = {name: value for name, value in changes.items() if name in Params._fields}
    others = {name: value for name, value in changes.items() if name not in of_params}
    return boot._replace(params=boot.params._replace(**of_params), **others)


def plain_machine(**changes: Any) -> Machine:
    """`boot_of`, booted."""
    return boot_machine(boot_of(**changes))


def machine_with(
    lists: dict[tuple[int, int], list[int]], types: dict[int, int] | None = None, **changes: Any
) -> Machine:
    """`boot_of` in one zone with exactly these free blocks, head first; all other pages are allocated.

    `lists` is keyed by order and migratetype; `types` gives the migratetypes of pageblocks that are not
    movable, by pfn. All watermarks are 0.
    """
    boot = boot_of(**changes)
    booted = boot_machine(boot)
    state = save(booted)[0]
    m = new_machine(params_of(booted))
    state.lists = {key: np.array(pfns) for key, pfns in lists.items()}
    state.watermark = [0, 0, 0, 0]
    pageblock_order = boot.params.pageblock_order
    first = state.start_pfn >> pageblock_order
    for pfn, migratetype in (types or {}).items():
        state.pageblocks[(pfn >> pageblock_order) - first] = migratetype
    load(m, [state])
    recount(m)
    return m


def params_of(m: Machine) -> Params:
    """The record that the machine's parameters came from."""
    return Params(*(int(value) for value in m.params[0]))


def set_watermarks(m: Machine, z: int, marks: tuple[int, int, int]) -> None:
    """Set a zone's min, low and high marks."""
    m.zones[z].watermark[:3] = marks


def type_of(m: Machine, pfn: int) -> int:
    """The migratetype of a page's pageblock."""
    return int(m.pageblocks[pfn >> int(m.params[0].pageblock_order)])


# ---- random machines


@st.composite
def boots(draw: st.DrawFn) -> Boot:
    """A random legal machine."""
    page_shift = draw(st.sampled_from((12, 12, 14, 16)))
    pmd_order = page_shift - 3  # a page table holds one page of 8-byte entries
    section_bits = 29 if page_shift == 16 else 27
    limit = section_bits - page_shift
    beyond_pageblocks = st.integers(min(pmd_order + 1, limit), limit)
    max_page_order = draw(st.integers(3, 6) | st.integers(3, limit) | beyond_pageblocks)
    thp_built_in = max_page_order >= pmd_order and draw(st.booleans())
    hugetlb = draw(st.booleans())
    pageblock_order = min(pmd_order, max_page_order) if thp_built_in or hugetlb else max_page_order
    arch = draw(st.sampled_from(("x86-64", "arm64"))) if page_shift == 12 else "arm64"
    ram, reserved = draw(memory(arch, page_shift, 1 << pageblock_order))
    drawn = params(
        page_shift=page_shift,
        max_page_order=max_page_order,
        pageblock_order=pageblock_order,
        pmd_order=pmd_order,
        thp_built_in=thp_built_in,
        nr_cpus=draw(st.integers(1, 4)),
        auto_tune=draw(st.booleans()),
        check_pages=draw(st.booleans()),
        tails_written=draw(st.booleans()),
        batch_scale_max=draw(st.sampled_from((5, 5, 0, 1, 6))),
        pcp_batch=draw(st.sampled_from((0, 0, 1, 7, 96))),
        pcp_high=draw(st.sampled_from((0, 0, 40, 400))),
        watermark_boost_factor=draw(st.sampled_from((15000, 15000, 0))),
        init_on_alloc=draw(st.booleans()),
        init_on_free=draw(st.booleans()),
        folio_reclaim=draw(st.booleans()),
    )
    return Boot(
        arch=arch,
        params=drawn,
        thp_enabled=draw(st.booleans()),
        ram=ram,
        reserved=reserved,
        sysctl=draw(sysctls()),
        cache_slice_bytes=draw(st.sampled_from((0, 2 << 20))),
    )


@st.composite
def sysctls(draw: st.DrawFn) -> Sysctl:
    """Random knobs, the defaults among them."""
    return Sysctl(
        min_free_kbytes=draw(st.sampled_from((None, None, 512, 2048))),
        watermark_scale_factor=draw(st.sampled_from((10, 10, 200))),
        lowmem_reserve_ratio=draw(st.sampled_from(((256, 256, 32, 0), (8, 4, 2, 0)))),
        percpu_pagelist_high_fraction=draw(st.sampled_from((0, 0, 8, 60))),
    )


@st.composite
def memory(
    draw: st.DrawFn, arch: str, page_shift: int, pageblock_pages: int
) -> tuple[tuple[PfnRange, ...], tuple[PfnRange, ...]]:
    """RAM over one to three zones with holes and ragged ends, and what of it is reserved."""
    nr_pageblocks = draw(st.integers(2, 12) | st.integers(110, 300))  # from 101 on there are highatomic ones
    size = min(nr_pageblocks * pageblock_pages + draw(st.integers(600, 3000)), LARGEST)
    boundary = FOUR_GIB >> page_shift
    whole: tuple[PfnRange, ...]
    layout = draw(st.sampled_from(("low", "low", "middle", "across", "above")))
    if layout == "across":
        below = draw(st.integers(size // 8, size * 7 // 8))
        whole = (PfnRange(boundary - below, boundary + size - below),)
    elif layout == "above":
        start = boundary + draw(st.integers(0, 3000))
        whole = (PfnRange(start, start + size),)
    elif arch == "x86-64" and layout == "low":
        whole = (PfnRange(1, 159), PfnRange(256, 256 + size))
    else:
        start = DMA_END + draw(st.integers(0, 3000))
        whole = (PfnRange(start, start + size),)
    ram = subtract(whole, draw(cuts(whole[-1], size // 10)))
    reserved = draw(cuts(ram[-1], max((ram[-1].end - ram[-1].start) // 10, 1)))
    return tuple(ram), reserved


@st.composite
def cuts(draw: st.DrawFn, piece: PfnRange, longest: int) -> tuple[PfnRange, ...]:
    """Up to three sorted ranges inside a piece that leave its first page where it is."""
    if piece.end - piece.start < 100:
        return ()
    points = sorted(draw(st.sets(st.integers(piece.start + 1, piece.end - 1), max_size=3)))
    ranges = []
    for start, end in pairwise([*points, piece.end]):
        length = min(draw(st.integers(0, longest)), end - start - 1)
        if length > 0:
            ranges.append(PfnRange(start, start + length))
    return tuple(ranges)


# ---- to and from the slow model


def record_of(m: Machine) -> list[Record]:
    """The machine as a ground-truth state."""
    return [zone_record(m, state) for state in save(m)]


def zone_record(m: Machine, state: ZoneState) -> Record:
    """One zone as a zone of a ground-truth state."""
    zone = zones_of_node(m, state.node)[state.zone_type]
    return {
        "name": ZONE_NAMES[state.zone_type],
        "start_pfn": state.start_pfn,
        "spanned": state.spanned_pages,
        "present": state.present_pages,
        "managed": state.managed_pages,
        "free": state.nr_free_pages(),
        "zflags": state.zone_flags,
        "wm": state.watermark,
        "boost": state.watermark_boost,
        "highatomic": state.nr_reserved_highatomic,
        "lowmem_reserve": state.lowmem_reserve,
        "group_disabled": int(m.params[0].mobility_disabled),
        "blocks": "".join(LETTERS[migratetype] for migratetype in state.pageblocks),
        "nr_free": [int(nr) for nr in zone.nr_free[: int(m.params[0].max_page_order) + 1]],
        "lists": {f"{order}{LETTERS[mt]}": pfns.tolist() for (order, mt), pfns in state.lists.items()},
        "pcp": [
            {("flags" if name == "pcp_flags" else name): value for name, value in pcp.counters.items()}
            | {"cpu": cpu, "lists": {str(pindex): pfns.tolist() for pindex, pfns in pcp.lists.items()}}
            for cpu, pcp in enumerate(state.pcps)
        ],
    }


def twin_of(m: Machine, twin_type: type[PageAllocModel] = PageAllocModel) -> PageAllocModel:
    """The slow model in the machine's state."""
    given = params_of(m)
    return twin_type(
        record_of(m),
        page_shift=given.page_shift,
        max_page_order=given.max_page_order,
        pageblock_order=given.pageblock_order,
        pmd_order=given.pmd_order,
        thp_in_pcp=bool(given.thp_built_in),
        nr_cpus=given.nr_cpus,
        watermark_boost_factor=given.watermark_boost_factor,
        auto_tune=bool(given.auto_tune),
        check_pages=bool(given.check_pages),
        batch_scale_max=given.batch_scale_max,
        init_on_alloc=bool(given.init_on_alloc),
        init_on_free=bool(given.init_on_free),
        folio_reclaim=bool(given.folio_reclaim),
    )


def free_blocks(m: Machine, z: int) -> dict[tuple[int, int], list[int]]:
    """The free blocks of a zone, head first, by order and migratetype; empty lists are left out."""
    state = next(state for state in save(m) if node_zone(m, state.node, state.zone_type) == z)
    return {key: pfns.tolist() for key, pfns in state.lists.items()}


def free_list(m: Machine, z: int, order: int, migratetype: int) -> list[int]:
    """The free blocks of one list, head first."""
    return free_blocks(m, z).get((order, migratetype), [])


def pcp_lists(m: Machine, z: int, cpu: int) -> dict[int, list[int]]:
    """What a CPU's lists of a zone hold, head first; empty lists are left out."""
    state = next(state for state in save(m) if node_zone(m, state.node, state.zone_type) == z)
    return {pindex: pfns.tolist() for pindex, pfns in state.pcps[cpu].lists.items()}


def pending(m: Machine, z: int) -> list[int]:
    """Each CPU's pending delta of a zone's free pages."""
    nr_cpus = int(m.params[0].nr_cpus)
    return [int(delta) for delta in m.pcps["vm_stat_diff"][z * nr_cpus : (z + 1) * nr_cpus]]


def same_bytes(left: Machine, right: Machine) -> bool:
    """Are two machines equal in every record?"""
    return all(np.array_equal(a, b) for a, b in zip(left, right, strict=True))


assert len(LETTERS) == MIGRATE_TYPES
assert NR_PAGE_ORDERS_MAX > 15
