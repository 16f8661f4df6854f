"""Sections of SLUB and kmalloc: `caches`, `kcreate`, `ksize`, `kmax`, and the geometry in fresh.slabinfo.

Every geometry is computed anew, from what the cache's creator asked for and the recorded kernel's
constants. What a creator asked for is in kmsim for kmalloc's caches, in the name of those in `kcreate`,
and for the others in the recorded object size, alignment, flags and constructor. The names that were
merged into a cache were not recorded, only their number; that a cache stands in the list at all says
that no older one could have served it, which is checked.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

from kmsim.mm.gfp import GFP_FLAGS
from kmsim.mm.mmzone import Machine
from kmsim.mm.slab_common import KMALLOC_PREFIXES, Caches, can_merge, is_mergeable
from kmsim.mm.slab_geometry import (
    CMPXCHG_DOUBLE,
    SLAB_HWCACHE_ALIGN,
    SLAB_NO_MERGE,
    SLAB_NOLEAKTRACE,
    SLAB_TYPESAFE_BY_RCU,
    WORD,
    Geometry,
    SlabBuild,
    align_up,
    free_pointer,
    new_geometry,
    slab_build,
)
from kmsim.procfs import slabinfo
from kmsim.procfs.recorded import Recording
from kmsim.procfs.recorded_state import build_machine, has_lists, is_cut, params_of
from kmsim.sim.core.ask import can_kmalloc
from kmsim.validate.report import Section, skipped
from kmsim.validate.script import no_list_holds
from kmsim.validate.slab_flags import ours, theirs

RawCache = dict[str, Any]

# A recorded field and what a Geometry calls it.
FIELDS = {
    "object_size": "object_size",
    "size": "size",
    "objs": "objects",
    "order": "order",
    "min_objs": "min_objects",
    "min_order": "min_order",
    "align": "align",
    "inuse": "inuse",
    "offset": "offset",
    "flags": "flags",
    "min_partial": "min_partial",
    "cpu_partial": "cpu_partial",
    "cpu_partial_slabs": "cpu_partial_slabs",
    "ctor": "has_ctor",
}
# What the recording driver asked kmem_cache_create for, by the middle of the name: alignment, flags, constructor.
CREATED: dict[str, tuple[int, int, bool]] = {
    "plain": (0, 0, False),
    "hwalign": (0, SLAB_HWCACHE_ALIGN, False),
    "align64": (64, 0, False),
    "rcu": (0, SLAB_TYPESAFE_BY_RCU, False),
    "ctor": (0, 0, True),
}
# What creators of caches ask for their sheaves (kernel: vma_state_init of mm/vma_init.c, maple_tree_init, of 7.3).
SHEAF_CAPACITIES = {"vm_area_struct": 32, "maple_node": 32}
OTHER_TYPES = (
    GFP_FLAGS["GFP_KERNEL"] | GFP_FLAGS["__GFP_RECLAIMABLE"],
    GFP_FLAGS["GFP_KERNEL"] | GFP_FLAGS["GFP_DMA"],
    GFP_FLAGS["GFP_KERNEL_ACCOUNT"],
)
# Caches of which user space may copy a region (kernel: kmem_cache_create_usercopy, of 6.1), one built with no more.
USER_REGIONS = ("dentry", "mm_struct", "names_cache", "proc_dir_entry", "skbuff_head_cache", "task_struct")
FAILED, NOT_TRIED = "fail", "skipped"
GFP_KSIZE = GFP_FLAGS["GFP_KERNEL"] | GFP_FLAGS["__GFP_NOWARN"]


def build_of(recording: Recording) -> SlabBuild:
    """SLUB's view of the recorded machine.

    arm64 kernels always have a bounce buffer, so that kmalloc need not align for DMA.
    """
    consts = recording.consts
    minalign, slab_minalign = int(consts["ARCH_KMALLOC_MINALIGN"]), int(consts["ARCH_SLAB_MINALIGN"])
    for_dma = minalign if recording.arch == "arm64" else int(consts["dma_get_cache_alignment"])
    present = int(consts.get("present_cpus") or 0)
    raws: list[RawCache] = recording.lab.get("caches") or recording.lab.get("kcreate") or [{}]
    counted = present if recording.slab_kernel.counts_present_cpus else 0
    return replace(
        slab_build(params_of(recording), recording.slab_kernel, minalign),
        # The kernel does not trust a single present CPU, which may be all that it has started yet.
        nr_cpus=counted if counted > 1 else int(consts["nr_cpu_ids"]),
        cache_line_size=int(consts["cache_line_size"]),
        kmalloc_minalign=max(for_dma, slab_minalign),
        slab_minalign=slab_minalign,
        cmpxchg_double=bool(ours(recording, raws[0]["flags"]) & CMPXCHG_DOUBLE) if "flags" in raws[0] else True,
        cpu_partial=bool(consts.get("slub_cpu_partial", 1)),
    )


def score(section: Section, what: str, recorded: object, got: object) -> None:
    """Count one row, and explain the first that differs."""
    section.rows += 1
    section.equal += recorded == got
    if recorded != got and not section.why:
        section.why = f"{what}: recorded {recorded}, kmsim {got}"


def field(raw: RawCache, key: str) -> int:
    """A recorded field of a cache; ValueError where it is no integer."""
    if type(raw[key]) is not int:
        raise ValueError(f"cache {raw['name']!r}: {key} must be an integer, found {raw[key]!r}")
    return int(raw[key])


def compared(recording: Recording, raw: RawCache, layout: Geometry) -> tuple[dict[str, Any], dict[str, Any]]:
    """The fields that differ, as recorded and as computed."""
    pairs = {key: (field(raw, key), int(getattr(layout, name))) for key, name in FIELDS.items()}
    pairs["flags"] = (pairs["flags"][0], theirs(recording, layout.flags))
    if recording.kernel.sheaves:
        pairs["sheaf_capacity"] = (field(raw, "sheaf_capacity"), layout.sheaf_capacity)
        pairs["barn"] = (field(raw, "barn"), int(layout.sheaf_capacity > 0))
    if field(raw, "refcount") > 1 and pairs["offset"][0] in merged_offsets(recording, raw, layout):
        del pairs["offset"]
    differing = {key: pair for key, pair in pairs.items() if pair[0] != pair[1]}
    return {key: pair[0] for key, pair in differing.items()}, {key: pair[1] for key, pair in differing.items()}


def merged_offsets(recording: Recording, raw: RawCache, layout: Geometry) -> set[int]:
    """Where the free pointer may lie in a cache whose first, smaller objects others have joined."""
    smallest = max(1, layout.size - max(layout.align, WORD) + 1)
    sizes = range(smallest, int(raw["object_size"]) + 1)
    flags = ours(recording, int(raw["flags"]))
    return {free_pointer(size, flags, bool(raw["ctor"]), None) for size in sizes}


def recomputed(recording: Recording, raw: RawCache) -> Geometry:
    """The geometry of a cache from what its creator asked for, as far as the recording says."""
    flags = ours(recording, field(raw, "flags")) & ~CMPXCHG_DOUBLE
    # Where an RCU cache has its free pointer inside the object, its creator has said where.
    inside = flags & SLAB_TYPESAFE_BY_RCU and not raw["ctor"] and raw["offset"] < align_up(raw["object_size"], WORD)
    return new_geometry(
        build_of(recording),
        str(raw["name"]),
        field(raw, "object_size"),
        align=field(raw, "align"),
        flags=flags,
        has_ctor=bool(raw["ctor"]),
        freeptr_offset=int(raw["offset"]) if inside else None,
        sheaf_capacity=SHEAF_CAPACITIES.get(str(raw["name"]), 0),
    )


def layouts(recording: Recording) -> dict[str, Geometry]:
    """The computed geometry of every cache that was recorded, by name; kmalloc's from kmsim's own tables."""
    build = build_of(recording)
    own = {cache.name: cache for cache in Caches(build).geometries if is_kmalloc(cache.name)}
    return {raw["name"]: own.get(raw["name"]) or recomputed(recording, raw) for raw in recording.lab["caches"]}


def is_kmalloc(name: str) -> bool:
    """Is this a cache of kmalloc's?"""
    return name.startswith(KMALLOC_PREFIXES)


def caches_section(recording: Recording, name: str) -> list[Section]:
    """Each cache that was there, then kmalloc's in their order, then that none should have been merged."""
    section = Section(name)
    raws: list[RawCache] = recording.lab[name]
    computed = layouts(recording)
    for raw in raws:
        score(section, f"cache {raw['name']}", *compared(recording, raw, computed[raw["name"]]))
    build = build_of(recording)
    oldest_first = [raw["name"] for raw in reversed(raws) if is_kmalloc(raw["name"])]
    own = [cache.name for cache in Caches(build).geometries if is_kmalloc(cache.name)]
    score(section, "kmalloc's caches, oldest first", oldest_first, own)
    older: list[Geometry] = []
    for raw in reversed(raws):
        layout = computed[raw["name"]]
        if not may_merge(build, layout):
            continue
        if not is_kmalloc(layout.name) and raw["refcount"] > 0:
            served_by = [
                cache.name
                for cache in older
                if is_mergeable(build, cache, layout.object_size, layout.align, layout.flags)
            ]
            score(section, f"cache {layout.name} merges with", [], served_by)
        if raw["refcount"] > 0:
            older.append(layout)
    return [section]


def may_merge(build: SlabBuild, layout: Geometry) -> bool:
    """May the cache share its slabs? Not with a region for user space, where such caches stay alone."""
    has_region = layout.name in USER_REGIONS and not build.kernel.kmalloc_merges
    return can_merge(build, layout) and not has_region


def kcreate_section(recording: Recording, name: str) -> list[Section]:
    """Each cache that the driver created, with a flag against merging that leaves a cache its sheaves."""
    build, section = build_of(recording), Section(name)
    alone = SLAB_NO_MERGE if recording.kernel.sheaves else SLAB_NOLEAKTRACE
    for raw in recording.lab[name]:
        _, kind, size = str(raw["name"]).rsplit("-", 2)
        if kind not in CREATED:
            section.skipped += 1
            section.why = section.why or f"{raw['name']}: what it was created with is not known"
            continue
        align, flags, has_ctor = CREATED[kind]
        layout = new_geometry(build, raw["name"], int(size), align=align, flags=flags | alone, has_ctor=has_ctor)
        score(section, f"cache {raw['name']}", *compared(recording, raw, layout))
    return [section]


def ksize_sections(recording: Recording, name: str) -> list[Section]:
    """What each size of kmalloc came from, by kernel's plain flags and by the other families'."""
    caches, m = Caches(build_of(recording)), fresh_machine(recording)
    raw = recording.lab[name]
    if isinstance(raw, list):
        return [_other_types(caches, name, raw)]
    section = Section(name)
    for row in raw["rows"]:
        if row[3] in (FAILED, NOT_TRIED):
            _score_failure(section, m, caches, row)
        else:
            _score_ksize(section, caches, row, GFP_KSIZE)
    if "other_types" not in raw:
        return [section]
    return [section, _other_types(caches, f"{name}.other_types", raw["other_types"])]


def _other_types(caches: Caches, name: str, rows: list[list[Any]]) -> Section:
    """Rows of three a size: reclaimable, DMA, accounted."""
    section = Section(name)
    for number, row in enumerate(rows):
        _score_ksize(section, caches, row, OTHER_TYPES[number % len(OTHER_TYPES)])
    return section


def _score_failure(section: Section, m: Machine | None, caches: Caches, row: list[Any]) -> None:
    """A size that was not to be had: a row where kmsim refuses it too, in the state after the boot."""
    if row[3] == FAILED and m is not None and not can_kmalloc(m, caches, int(row[0])):
        score(section, f"kmalloc({row[0]})", FAILED, FAILED)
        return
    section.skipped += 1
    section.why = section.why or f"{row[0]} bytes: {'failed later' if row[3] == FAILED else 'not tried'}"


def _score_ksize(section: Section, caches: Caches, row: list[Any], gfp: int) -> None:
    size = int(row[0])
    rounded = caches.kmalloc_size_roundup(size)
    index = caches.kmalloc_index(size, gfp)
    if index is None:
        order = caches.kmalloc_large_order(size)
        got = [size, caches.build.page_size << order, rounded, f"large(order {order})", order, 1]
    else:
        cache = caches.geometries[index]
        got = [size, cache.object_size, rounded, cache.name, cache.order, cache.objects]
    if row[2] is None:  # a kernel without kmalloc_size_roundup
        got[2] = None
    score(section, f"kmalloc({size}, {gfp:#x})", list(row), got)


def fresh_machine(recording: Recording) -> Machine | None:
    """The machine in the state that was recorded after the boot; None where its lists were not recorded whole."""
    state = recording.lab.get("fresh.state", {}).get("state")
    return build_machine(recording, state) if state and has_lists(state) and not is_cut(state) else None


def kmax_section(recording: Recording, name: str) -> list[Section]:
    """The largest kmalloc: each order asked of the allocator in the state that was recorded after the boot."""
    m = fresh_machine(recording)
    if m is None:
        return [skipped(name, "the lists of the boot's state were not recorded whole")]
    raw, caches, section = recording.lab[name], Caches(build_of(recording)), Section(name)
    rows = [(f"order {order}", int(size), int(ok)) for order, size, ok in raw["by_order"]]
    rows += [(key, *map(int, raw[key])) for key in ("at_max", "at_max_plus1") if key in raw]  # type: ignore[misc]
    largest = 0
    for what, size, ok in rows:
        got = int(can_kmalloc(m, caches, size))
        if ok and not got and needs_slow_path(m, caches, size):
            section.skipped += 1
            section.why = section.why or f"{what} needs the kernel's slow path"
            got = ok
        else:
            score(section, f"{what}, {size} bytes", ok, got)
        if got and what.startswith("order"):
            largest = max(largest, size)
    if "largest_ok" in raw:
        score(section, "largest", raw["largest_ok"], largest)
    return [section]


def needs_slow_path(m: Machine, caches: Caches, size: int) -> bool:
    """Is no block free that could serve the size, so that the kernel has to reclaim or compact for it?"""
    order = caches.kmalloc_large_order(size)
    return order <= caches.build.max_page_order and no_list_holds(m, order)


def slabinfo_section(recording: Recording, name: str) -> list[Section]:
    """Each cache's geometry in the file, and that the file reads back as it is."""
    if "caches" not in recording.lab:
        return [skipped(name, "the caches' object sizes and flags were not recorded")]
    section, computed, content = Section(name), layouts(recording), recording.files[name]
    lines = slabinfo.parse(content)
    for line in lines:
        if line.name not in computed:
            section.skipped += 1
            section.why = section.why or f"cache {line.name} is not in the section caches"
            continue
        cache = computed[line.name]
        recorded = (line.objsize, line.objperslab, line.pagesperslab, line.limit, line.batchcount, line.sharedfactor)
        score(section, f"cache {line.name}", recorded, (cache.size, cache.objects, cache.slab_pages, 0, 0, 0))
    for number, (recorded_line, line_of_ours) in enumerate(
        zip(content.splitlines(), slabinfo.text(lines).splitlines(), strict=True), 1
    ):
        score(section, f"line {number}", recorded_line, line_of_ours)
    return [section]


SLAB_SECTIONS: dict[str, Callable[[Recording, str], list[Section]]] = {
    "caches": caches_section,
    "kcreate": kcreate_section,
    "ksize": ksize_sections,
    "ksize.other_types": ksize_sections,
    "kmax": kmax_section,
    "fresh.slabinfo": slabinfo_section,
}
