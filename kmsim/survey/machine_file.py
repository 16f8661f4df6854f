"""From the facts of a machine to a config file of it and its state, with everything that is assumed listed in the file.

The file is a study with a small workload, so that `kmsim check` and `kmsim run` take it as it is; named in place of a
machine, it gives its machine. What is simulated is the newest built-in release, unless the wishes name another;
`recorded_release` says which it was.
"""

from typing import Any, NamedTuple

from kmsim.config.memory_map import Arch
from kmsim.config.releases import series_of
from kmsim.mm.getorder import ilog2
from kmsim.mm.kernels import NEWEST_RELEASE
from kmsim.mm.mm_init import PfnRange
from kmsim.mm.mmzone import MIGRATETYPE_NAMES, ZONE_NAMES
from kmsim.mm.zone_setup import zone_batchsize
from kmsim.procfs.typed_lists import HIGHATOMIC, TypedLists, ZoneLists, of_nodes
from kmsim.survey.fitting import reserve_or_change
from kmsim.survey.in_use import add_lru, caches_of, filled, notes_of_use
from kmsim.survey.layout import (
    MOVABLE,
    PIECES_MAX,
    Machine,
    Shape,
    joined,
    lies_in_order,
    reserve,
    shapes_of,
    without_movable,
    zone_ends,
)
from kmsim.survey.marks import Marked, ratios_of_nodes, reserve_of
from kmsim.survey.nodes import cpus_of, distances_of, node_keys, nodes_of, only_first
from kmsim.survey.options import largest_order, not_modelled, set_by
from kmsim.survey.texts import SurveyError
from kmsim.survey.told import Facts, ZoneFacts
from kmsim.survey.yaml_lines import entry, plain, quoted
from kmsim.text import nr_of

CPUS_MAX = 256
MARKS = ("min", "low", "high")
PTE_SHIFT = 3  # a page of 8-byte entries maps a huge page
USUAL = {"swappiness": 60, "watermark_boost_factor": 15000, "percpu_pagelist_high_fraction": 0}  # kernel: the defaults
OPTIONS_NAMED = ("LRU_GEN", "MEMCG", "SLAB_BUCKETS", "INIT_ON_ALLOC", "SLAB_FREELIST_HARDENED", "NUMA_BALANCING")
ORDERS_64K = 14  # with 64 KiB pages and THP
ORDERS_16K = 12


class Wishes(NamedTuple):
    """What the user says of the machine: it comes before what the texts say."""

    node: int | None = None
    memory: int | None = None  # bytes
    arch: Arch | None = None
    kernel_release: str = NEWEST_RELEASE  # what is simulated


class Found(NamedTuple):
    """A machine: its keys, and what was assumed."""

    machine: dict[str, Any]
    notes: list[str]
    sources: list[str]


def found_machine(facts: Facts, wishes: Wishes) -> Found:
    """The machine of the facts; SurveyError where they are not enough for one."""
    where = facts.sources[0]
    if not facts.zones and facts.lists is None:
        raise SurveyError(where, "say what memory there is", "no zone and no free list")
    nodes = nodes_of(facts, wishes.node, where)
    lists = None if facts.lists is None else of_nodes(facts.lists, nodes)
    kind = _kind(facts, lists, wishes, where)
    if lists is not None and lists.nr_orders - 1 != kind.max_page_order:
        raise SurveyError(where, f"have {kind.max_page_order + 1} orders", f"{lists.nr_orders}")
    try:
        shapes = shapes_of(facts, nodes, kind, wishes.memory)
        if not lies_in_order(shapes):
            nodes = only_first(facts, nodes, "their memory lies in turns, which is not simulated")
            lists = None if lists is None else of_nodes(lists, nodes)
            shapes = [shape for shape in shapes if shape.node == nodes[0]]
        reserved, lists = _reserved(facts, shapes, lists, kind)
    except ValueError as error:
        raise SurveyError(where, "be of one machine", str(error)) from None
    machine: dict[str, Any] = {"name": "machine", "kernel_release": wishes.kernel_release}
    if facts.release is not None:
        machine["recorded_release"] = facts.release
    machine |= {"arch": kind.arch, "page_size": f"{1 << kind.page_shift >> 10}KiB"}
    machine |= _orders(facts, kind)
    machine["cpus"] = kind.cpus
    machine |= _memory(facts, nodes, shapes, kind)
    ends = zone_ends(without_movable(shapes), kind)
    if ends is not None:
        machine["zone_ends"] = {name: _size(end) for name, end in zip(ZONE_NAMES[:3], ends, strict=True)}
    movable = sum(shape.present for shape in shapes if shape.name == MOVABLE)
    if movable:
        machine["movablecore"] = _size(movable << kind.page_shift)
    machine["reserved"] = [_range(piece, kind) | {"name": f"reserved-{n}"} for n, piece in enumerate(reserved)]
    machine["released"] = []
    for path, value in set_by(facts.options).items():
        *below, name = path
        (machine.setdefault(below[0], {}) if below else machine)[name] = value
    add_lru(facts, kind.page_shift)
    marks = _sysctls(facts, shapes, kind, nodes, machine)
    if lists is not None:
        states = [(nodes.index(zone.node), _zone_state(facts, zone, marks, kind)) for zone in lists.zones]
        machine["state"] = {"free_lists": [{"node": n} | state if n else state for n, state in states]}
    else:
        state = filled(facts, sum(shape.managed for shape in shapes), kind.page_shift)
        machine |= {} if state is None else {"state": state}
    caches = caches_of(facts, kind.arch)
    if caches:
        machine["caches"] = caches
    facts.notes += not_said(facts, machine)
    return Found(machine, _notes(facts, lists, wishes.kernel_release), facts.sources)


def not_said(facts: Facts, machine: dict[str, Any]) -> list[str]:
    """What is as kmsim has it, as no text says it."""
    notes = []
    if not facts.has_config:
        notes.append(f"no kernel's config is given: options such as {', '.join(OPTIONS_NAMED)} are not known (assumed)")
    if "thp" not in machine:
        notes.append("THP madvise (assumed)")
    unsaid = [f"vm.{name} {value}" for name, value in USUAL.items() if name not in facts.sysctls]
    return [*notes, f"{', '.join(unsaid)} (assumed)"] if unsaid else notes


def _kind(facts: Facts, lists: TypedLists | None, wishes: Wishes, where: str) -> Machine:
    """Architecture, page size, largest order and CPUs."""
    nr_orders = None if lists is None else lists.nr_orders
    page_size = facts.page_size
    if page_size is None:
        page_size = _page_size(facts, nr_orders)
        facts.notes.append(f"pages of {page_size >> 10} KiB (assumed)")
    arch = wishes.arch or facts.arch
    if arch is None:
        arch = _arch(facts, page_size)
        facts.notes.append(f"architecture {arch}, by its zones (assumed); --arch")
    if arch == "x86-64" and page_size != 4096:
        raise SurveyError(where, "have pages of 4 KiB on x86-64", f"{page_size >> 10} KiB")
    release = None if facts.release is None else series_of(facts.release)
    order = nr_orders - 1 if nr_orders is not None else largest_order(facts.options, release)
    if order is None:
        order = {4096: 10, 16384: 11}.get(page_size, 13)
        facts.notes.append(f"largest order {order} (assumed)")
    cpus = facts.cpus
    if cpus is None:
        cpus = facts.cpus_at_least
        facts.notes.append(f"{nr_of(cpus, 'CPU')}, the fewest that it can have (assumed)")
    if cpus > CPUS_MAX:
        facts.notes.append(f"{cpus} CPUs, of which {CPUS_MAX} are simulated")
    shift = ilog2(page_size)
    pageblock = None if lists is None else lists.pageblock_order
    if pageblock is None:
        pageblock = min(shift - PTE_SHIFT, order)
        facts.notes.append(f"pageblocks of order {pageblock} (assumed)")
    return Machine(arch, shift, order, pageblock, min(cpus, CPUS_MAX))


def _page_size(facts: Facts, nr_orders: int | None) -> int:
    """The page size that fits: MemTotal over managed pages, or the number of orders."""
    managed = sum(zone.managed or 0 for zone in facts.zones.values())
    if managed and facts.mem_total_kb:
        return min((4096, 16384, 65536), key=lambda size: abs(managed * (size >> 10) - (facts.mem_total_kb or 0)))
    return {ORDERS_64K: 65536, ORDERS_16K: 16384}.get(nr_orders or 0, 4096)


def _arch(facts: Facts, page_size: int) -> Arch:
    """By the zones: only arm64 has larger pages, and only x86 a zone DMA of 16 MiB beside DMA32."""
    if page_size != 4096:
        return "arm64"
    names = {name for _, name in facts.zones} | {z.zone for z in (facts.lists.zones if facts.lists else ())}
    dma = next((z for z in facts.zones.values() if z.name == "DMA"), None)
    free = max((z.nr_pages for z in (facts.lists.zones if facts.lists else ()) if z.zone == "DMA"), default=0)
    large = (dma.present or 0 if dma else free) > (16 << 20) // page_size
    return "arm64" if large or ("DMA" in names and "DMA32" not in names and len(names) > 1) else "x86-64"


def _memory(facts: Facts, nodes: list[int], shapes: list[Shape], kind: Machine) -> dict[str, Any]:
    """Where RAM lies, and of several nodes which of them has it, and which CPUs."""
    of_node = [joined([piece for shape in shapes if shape.node == node for piece in shape.ram]) for node in nodes]
    ram = [[_range(piece, kind) for piece in mine] for mine in of_node]
    if len(nodes) == 1:
        return {"memory_map": ram[0]}
    keys: dict[str, Any] = {"nodes": node_keys(cpus_of(facts, nodes, kind.cpus), ram)}
    distances = distances_of(facts, nodes)
    return keys if distances is None else keys | {"distances": distances}


def _reserved(
    facts: Facts, shapes: list[Shape], lists: TypedLists | None, kind: Machine
) -> tuple[list[PfnRange], TypedLists | None]:
    """What the boot keeps of the zones, and free lists that they can have then."""
    of_name = {} if lists is None else {(zone.node, zone.zone): zone for zone in lists.zones}
    if lists is not None and of_name.keys() != {(shape.node, shape.name) for shape in shapes}:
        names, there = sorted(name for _, name in of_name), sorted(shape.name for shape in shapes)
        raise ValueError(f"free lists of zones {', '.join(names)}, where the zones are {', '.join(there)}")
    pieces: list[PfnRange] = []
    for shape in shapes:
        zone = of_name.get((shape.node, shape.name))
        if zone is None:
            pieces += reserve(shape, None, kind)
            continue
        mine, of_name[shape.node, shape.name], note = reserve_or_change(shape, zone, kind)
        pieces += mine
        facts.notes += [note] if note else []
    if any(shape.present > shape.managed for shape in shapes):
        facts.notes.append("where the reserved pages lie (assumed)")
    if len(pieces) > PIECES_MAX:
        facts.notes.append(f"of {len(pieces)} reserved pieces the {PIECES_MAX} largest are kept (assumed)")
        pieces = sorted(sorted(pieces, key=lambda piece: piece.start - piece.end)[:PIECES_MAX])
    return pieces, None if lists is None else lists._replace(zones=tuple(of_name.values()))


def _orders(facts: Facts, kind: Machine) -> dict[str, Any]:
    """Orders, and what of huge pages they say."""
    pmd_order = kind.page_shift - PTE_SHIFT
    thp = facts.options.get("TRANSPARENT_HUGEPAGE", "y") == "y" and kind.max_page_order >= pmd_order
    hugetlb = facts.options.get("HUGETLB_PAGE", "y") == "y"
    if kind.pageblock_order > pmd_order:
        thp = hugetlb = False
        facts.notes.append("no huge pages, as pageblocks are larger than one (assumed)")
    keys: dict[str, Any] = {"max_page_order": kind.max_page_order, "pageblock_order": kind.pageblock_order}
    if not thp:
        keys["thp"] = {"built_in": False}
    elif facts.thp is not None:
        keys["thp"] = {"enabled": facts.thp}
    if not hugetlb:
        keys["hugetlb"] = False
    return keys


def _sysctls(
    facts: Facts, shapes: list[Shape], kind: Machine, nodes: list[int], machine: dict[str, Any]
) -> dict[tuple[int, str], dict[str, Any]]:
    """Write the sysctls; return what no sysctls give, as keys of a zone's state."""
    zones = [zone for zone in facts.zones.values() if zone.node in nodes and zone.present]
    sysctl: dict[str, Any] = {}
    said = facts.sysctls
    for name in ("watermark_boost_factor", "percpu_pagelist_high_fraction", "swappiness"):
        if name in said:
            sysctl[name] = said[name][0]
    kbytes, scale = (said.get(name, (None,))[0] for name in ("min_free_kbytes", "watermark_scale_factor"))
    left: dict[tuple[int, str], dict[str, Any]] = {}
    managed = {(shape.node, shape.name): shape.managed for shape in shapes}
    with_marks = [(zone, zone.marks) for zone in zones if zone.marks is not None]
    marked = [Marked(zone.name, managed[zone.node, zone.name], marks) for zone, marks in with_marks]
    reserve = reserve_of(marked, kind.page_shift, kbytes, scale) if len(marked) == len(shapes) else None
    if reserve is not None:
        sysctl["min_free_kbytes"], sysctl["watermark_scale_factor"] = reserve
    elif marked:
        for zone, marks in with_marks:
            left[zone.node, zone.name] = {"watermarks": dict(zip(MARKS, marks, strict=True))}
        facts.notes.append("the marks are set in the state: no sysctls of the simulated kernel give them")
    if kbytes is not None and "min_free_kbytes" not in sysctl:
        sysctl["min_free_kbytes"] = kbytes
    if not marked and kbytes is None:
        facts.notes.append("marks as a boot sets them (assumed)")
    ratios = ratios_of_nodes(zones, said.get("lowmem_reserve_ratio")) if zones else None
    if ratios is not None:
        sysctl["lowmem_reserve_ratio"] = list(ratios)
    elif zones and all(len(zone.protection) >= len(ZONE_NAMES) for zone in zones):
        facts.notes.append("the lowmem reserves are set in the state: no lowmem_reserve_ratio gives them")
        for zone in zones:
            left.setdefault((zone.node, zone.name), {})["lowmem_reserve"] = list(zone.protection[: len(ZONE_NAMES)])
    elif any(zone.protection for zone in zones):
        facts.notes.append("lowmem reserves as lowmem_reserve_ratio 256 256 32 0 gives them (assumed)")
    if sysctl:
        machine["sysctl"] = sysctl
    _batch(facts, zones, kind, machine)
    return left


def _batch(facts: Facts, zones: list[ZoneFacts], kind: Machine, machine: dict[str, Any]) -> None:
    """The batch of per-CPU lists, where it is not what the simulated kernel finds."""
    largest = max((zone for zone in zones if zone.batch), key=lambda zone: zone.managed or 0, default=None)
    if largest is not None and largest.batch != zone_batchsize(largest.managed or 0, kind.page_shift):
        machine.setdefault("pcp", {})["batch"] = largest.batch
        facts.notes.append(f"the batch of zone {largest.name}, {largest.batch}, is that of all zones (assumed)")


def _zone_state(
    facts: Facts, zone: ZoneLists, marks: dict[tuple[int, str], dict[str, Any]], kind: Machine
) -> dict[str, Any]:
    """One zone of the state."""
    said = facts.zones.get((zone.node, zone.zone))
    free = {name: list(zone.nr_free[name]) for name in MIGRATETYPE_NAMES if any(zone.nr_free.get(name, ()))}
    state: dict[str, Any] = {"zone": zone.zone, "free": free}
    pageblocks = dict(zone.pageblocks)
    if said is not None and said.reserved_highatomic is not None and HIGHATOMIC not in pageblocks:
        pages = sum(blocks << order for order, blocks in enumerate(zone.nr_free.get(HIGHATOMIC, ())))
        if said.reserved_highatomic >= pages:
            pageblocks[HIGHATOMIC] = said.reserved_highatomic >> kind.pageblock_order
        else:
            facts.notes.append(f"zone {zone.zone}: {pages:,} free highatomic pages, more than its reserve has")
    if pageblocks:
        state["pageblocks"] = pageblocks
    if said is not None and said.boost:
        state["boost"] = said.boost
    return state | marks.get((zone.node, zone.zone), {})


def _notes(facts: Facts, lists: TypedLists | None, simulated: str) -> list[str]:
    """All that is assumed, and all that is left out."""
    notes = [*facts.notes, *([] if lists is None else lists.notes), *not_modelled(facts.options)]
    if facts.release is None:
        notes.append(f"the release is not said; {simulated} is simulated")
    elif series_of(facts.release) != series_of(simulated):
        notes.append(f"recorded on Linux {facts.release}; what {simulated} does is simulated (assumed)")
    notes += notes_of_use(facts)
    return list(dict.fromkeys(notes))


def _size(value: int) -> str:
    for unit, shift in (("GiB", 30), ("MiB", 20), ("KiB", 10)):
        if value and not value & ((1 << shift) - 1):
            return f"{value >> shift}{unit}"
    return f"{value}B"


def _range(piece: PfnRange, kind: Machine) -> dict[str, Any]:
    shift = kind.page_shift
    return {"start": _size(piece.start << shift), "size": _size((piece.end - piece.start) << shift)}


def text_of(found: Found) -> str:
    """The file."""
    head = ["# Written by `kmsim machine` from:", *(f"#   {plain(source)}" for source in found.sources)]
    lines = [*head, "machine:"]
    notes = [f"    - {quoted(note)}" for note in found.notes]
    if notes:
        lines += ["  notes:  # what is assumed, and what is not simulated", *notes]
    for key, value in found.machine.items():
        lines += entry(key, value, 2)
    lines += ["workload:", "  threads:", "    - {name: app, operations: 1000}", ""]
    return "\n".join(lines)
