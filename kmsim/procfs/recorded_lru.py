"""The LRU lists of recorded states under memory pressure, and machines that have them.

A list is recorded as page frame numbers, head first, with runs of them as [first, step, length]; what each folio is,
as a mask of `FOLIO_...` (`mm.lru_records`), run-length coded beside it. Counters are [global, delta of CPU 0 ...].

Leaves out folios that wait in a CPU's batch: the lists were dumped after those were flushed. Machines have one node.
"""

import re
from typing import Any

import numpy as np

from kmsim.mm.lru import is_active_list, lru_head
from kmsim.mm.lru_init import machine_that_reclaims
from kmsim.mm.lru_records import (
    ANON,
    FILE,
    FOLIO_ACTIVE,
    FOLIO_HAS_MAPPING,
    LRU_UNEVICTABLE,
    NR_EVICTABLE_LISTS,
    NR_ISOLATED,
    NR_LRU_TYPES,
    NR_NODE_LRU_ITEMS,
    NR_ZONE_LRU_ITEMS,
    WORKINGSET_ACTIVATE,
)
from kmsim.mm.mmzone import PG_LRU, Machine
from kmsim.mm.snapshot import Pfns, link, walk
from kmsim.mm.zone_names import populated_zones
from kmsim.procfs.recorded import COUNT_MAX, Recording, RecordingError, field, integer, integers
from kmsim.procfs.recorded_pressure import PressureState, build_counted_machine, czone_of
from kmsim.procfs.recorded_state import FRAMES_MAX
from kmsim.procfs.stat_items import LRU_LISTS, NODE_LRU_ITEMS, ZONE_LRU_ITEMS

*LIST_NAMES, UNEVICTABLE = LRU_LISTS
FLAGS_MAX = 2 * FOLIO_HAS_MAPPING - 1
SWAP_PAGES_MAX = 1 << 32

_RUN = re.compile(r"(\d+)(\D)")


def build_reclaim_machine(recording: Recording, state: PressureState) -> Machine:
    """The machine in this state, with all that reclaim decides on."""
    if len(recording.lab.get("topology", {}).get("nodes", [0])) > 1:
        raise RecordingError("LRU lists of several nodes")
    m = machine_that_reclaims(build_counted_machine(recording, state))
    lru = field(state, "the state", "lru", dict)
    taken = np.zeros(int(m.params[0].nr_frames), bool)
    taken[np.flatnonzero(m.pages["page_flags"][: len(taken)])] = True
    for number, name in enumerate(LIST_NAMES):
        pfns, flags = recorded_list(lru, name)
        _check_list(m, name, pfns, taken)
        link(m, lru_head(m, 0, number), pfns, 0, PG_LRU)
        m.holders["folio_flags"][pfns] = flags | (FOLIO_ACTIVE if is_active_list(number) else 0)
    pfns, flags = recorded_list(lru, UNEVICTABLE)
    _check_list(m, UNEVICTABLE, pfns, taken)
    _mark(m, pfns)
    m.holders["folio_flags"][pfns] = flags
    _load_costs(m, lru)
    _load_zones(recording, m, state)
    _load_node(recording, m, field(state, "the state", "node", dict))
    return m


def recorded_list(lru: dict[str, Any], name: str) -> tuple[Pfns, Pfns]:
    """The folios of a recorded list, head first, and what each of them is."""
    pfns: list[int] = []
    for entry in field(lru, "lru", name, list):
        first, step, length = entry if isinstance(entry, list) and len(entry) == 3 else (entry, 1, 1)
        if not all(type(part) is int for part in (first, step, length)) or not 0 < length <= FRAMES_MAX - len(pfns):
            raise RecordingError(f"lru: {name} has an entry {entry!r}")
        pfns += range(first, first + step * length, step) if step else [first] * length
    coded = integers(lru, "lru", f"{name}.flags", len(field(lru, "lru", f"{name}.flags", list)))
    counts, flags = coded[::2], coded[1::2]
    if len(coded) % 2 or sum(counts) != len(pfns) or any(flag > FLAGS_MAX for flag in flags):
        raise RecordingError(f"lru: {name}.flags are not those of {len(pfns)} folios")
    return np.array(pfns, np.int64), np.repeat(np.array(flags, np.int64), counts)


def _check_list(m: Machine, name: str, pfns: Pfns, taken: np.ndarray[Any, np.dtype[np.bool_]]) -> None:
    """Are all folios of a list page frames that are in no other place? Marks them as taken."""
    if not len(pfns):
        return
    zones = [zone for zone in m.zones if zone.present_pages]
    inside = np.logical_or.reduce([(pfns >= int(z.start_pfn)) & (pfns < int(z.end_pfn)) for z in zones])
    if not inside.all():
        raise RecordingError(f"lru: {name}: no zone has page frame {pfns[np.argmin(inside)]}")
    if taken[pfns].any() or len(np.unique(pfns)) < len(pfns):
        raise RecordingError(f"lru: {name}: a page frame is in two places")
    taken[pfns] = True


def _mark(m: Machine, pfns: Pfns) -> None:
    """Mark single pages that could be migrated, and are on none of the four lists."""
    m.pages["page_flags"][pfns] = PG_LRU
    m.pages["order"][pfns] = 0


def _load_costs(m: Machine, lru: dict[str, Any]) -> None:
    """What reclaim remembers of the lists."""
    lruvec = m.lru.lruvecs[0]
    for name in ("anon_cost", "file_cost", "nonresident_age"):
        lruvec[name] = integer(lru, "lru", name)
    lruvec["refaults"] = integers(lru, "lru", "refaults", NR_LRU_TYPES)


def _load_zones(recording: Recording, m: Machine, state: PressureState) -> None:
    """The zones' counters of LRU pages, and what compaction remembers of them; movable pages that are on no list."""
    found = populated_zones(m)
    frames = field(state, "the state", "map", dict)
    for zone in state["zones"]:
        where, of_zone = czone_of(state, zone)
        z = found[zone.get("nid", 0), zone["name"]]
        zstat = field(of_zone, where, "zstat", dict)
        for item, name in enumerate(ZONE_LRU_ITEMS):
            counter = integers(zstat, where, name, 1 + recording.nr_cpus, low=-COUNT_MAX)
            m.lru.zones[z]["vm_stat"][item] = counter[0]
            first = z * recording.nr_cpus
            m.lru.pcps["vm_stat_diff"][first : first + recording.nr_cpus, item] = counter[1:]
        for to, of in (("compact_considered", "considered"), ("compact_defer_shift", "defer_shift")):
            m.lru.zones[z][to] = integer(of_zone, where, of, 0, 64)
        m.lru.zones[z]["compact_order_failed"] = integer(of_zone, where, "order_failed", 0, 64)
        m.zones[z].percpu_drift_mark = integer(of_zone, where, "percpu_drift_mark")
        movable = _frames_of(field(frames, "map", zone["name"], str), "m", int(m.zones[z].start_pfn))
        _check_list(m, f"map of {zone['name']}", movable, m.pages["page_flags"][: int(m.params[0].nr_frames)] != 0)
        _mark(m, movable)


def _frames_of(coded: str, letter: str, start_pfn: int) -> Pfns:
    """The page frames that a run-length coded map shows as one letter."""
    runs = _RUN.findall(coded)
    if "".join(map("".join, runs)) != coded or any(len(count) > 9 for count, _ in runs):
        raise RecordingError("a map is not counts and letters")
    found = []
    pfn = start_pfn
    for count, of_run in runs:
        if of_run == letter:
            found.append(np.arange(pfn, pfn + min(int(count), FRAMES_MAX)))
        pfn += int(count)
    return np.concatenate(found) if found else np.zeros(0, np.int64)


def _load_node(recording: Recording, m: Machine, node: dict[str, Any]) -> None:
    """The node's counters, and swap."""
    nstat = field(node, "node", "nstat", dict)
    m.lru.node_cpus["stat_threshold"] = integer(node, "node", "threshold", 1, COUNT_MAX)
    for item, name in enumerate(NODE_LRU_ITEMS):
        counter = integers(nstat, "node", name, 1 + recording.nr_cpus, low=-COUNT_MAX)
        m.lru.lruvecs[0]["vm_stat"][item] = counter[0]
        m.lru.node_cpus["vm_stat_diff"][: recording.nr_cpus, item] = counter[1:]
    swap = m.lru.swap[0]
    swap.total_pages = integer(node, "node", "swap_total", 0, SWAP_PAGES_MAX)
    swap.nr_free = integer(node, "node", "swap_free", 0, int(swap.total_pages))
    swap.swappiness = integer(node, "node", "swappiness", 0, 200)


def lru_items(m: Machine) -> dict[str, Any]:
    """The machine's LRU lists and what is remembered of them, by name, for a comparison."""
    lruvec = m.lru.lruvecs[0]
    items: dict[str, Any] = {name: int(lruvec[name]) for name in ("anon_cost", "file_cost", "nonresident_age")}
    items["refaults"] = tuple(lruvec["refaults"].tolist())
    for number, name in enumerate(LIST_NAMES):
        pfns = walk(m, lru_head(m, 0, number))
        items[name] = tuple(pfns)
        items[f"{name}.flags"] = tuple((m.holders["folio_flags"][pfns] & FLAGS_MAX).tolist())
    return items


def recorded_lru_items(state: PressureState) -> dict[str, Any]:
    """The same of a recorded state."""
    lru = field(state, "the state", "lru", dict)
    items: dict[str, Any] = {name: integer(lru, "lru", name) for name in ("anon_cost", "file_cost", "nonresident_age")}
    items["refaults"] = tuple(integers(lru, "lru", "refaults", NR_LRU_TYPES))
    for name in LIST_NAMES:
        pfns, flags = recorded_list(lru, name)
        items[name] = tuple(pfns.tolist())
        items[f"{name}.flags"] = tuple(flags.tolist())
    return items


assert len(LIST_NAMES) == NR_EVICTABLE_LISTS
assert len(ZONE_LRU_ITEMS) == NR_ZONE_LRU_ITEMS
assert len(NODE_LRU_ITEMS) == NR_NODE_LRU_ITEMS
assert NODE_LRU_ITEMS.index("nr_isolated_anon") == NR_ISOLATED + ANON
assert NODE_LRU_ITEMS.index("workingset_activate_file") == WORKINGSET_ACTIVATE + FILE
assert NODE_LRU_ITEMS.index("nr_unevictable") == LRU_UNEVICTABLE
