"""Raw states of recordings, and machines in a recorded state.

A *raw state* is a list of the populated zones of all nodes, each with its marks, its free lists and its per-CPU lists,
as a test driver wrote them down. Everything is checked before it is used; RecordingError says what is wrong.

Leaves out zones that lie between parts of another. Watermarks in a state have no boost in them; a CPU's pending delta
of NR_FREE_PAGES starts at 0 where it was not recorded.
"""

from itertools import pairwise
from typing import Any

import numpy as np

from kmsim.jit_policies import Policies
from kmsim.mm.mmzone import (
    MIGRATE_MOVABLE,
    MIGRATE_TYPES,
    NR_PCP_LISTS,
    NR_VM_NUMA_EVENT_ITEMS,
    ZONE_NAMES,
    Machine,
    new_machine,
    node_zone,
    pcps_of_zone,
)
from kmsim.mm.params import Params
from kmsim.mm.pcp import pindex_to_order
from kmsim.mm.snapshot import RECORDED_PCP_FIELDS, PcpState, Pfns, ZoneState, load
from kmsim.mm.vmstat import MAX_THRESHOLD, refresh_zone_stat_thresholds
from kmsim.procfs.recorded import COUNT_MAX, Recording, RecordingError, field, integer, integers
from kmsim.procfs.topology import topology_of

FRAMES_MAX = 1 << 25  # of 4 KiB: 128 GiB, more than any recorded machine has
SECTIONS_NAMED = 8  # in a message

BOOST_FACTOR = "fresh.watermark_boost_factor"
BOOST_FACTOR_MAX = (1 << 31) - 1  # an int of the kernel

MIGRATETYPE_LETTERS = "UMRH"
NOT_OURS = "-"
_MIGRATETYPES = {letter: mt for mt, letter in enumerate(MIGRATETYPE_LETTERS)} | {NOT_OURS: MIGRATE_MOVABLE}

RawState = list[dict[str, Any]]


def is_state(value: object) -> bool:
    """Does a part of a section look like a raw state?"""
    if not isinstance(value, list) or not value:
        return False
    return all(isinstance(zone, dict) and "nr_free" in zone for zone in value)


def raw_state(recording: Recording, section: str, moment: str) -> RawState:
    """A section's state at a moment (`before`, `after`, `state` ...); RecordingError says which there are."""
    states = {
        name: [key for key, part in parts.items() if is_state(part)]
        for name, parts in recording.lab.items()
        if isinstance(parts, dict)
    }
    if not states.get(section):
        known = [name for name, moments in states.items() if moments]
        more = [f"and {len(known) - SECTIONS_NAMED} more"] if len(known) > SECTIONS_NAMED else []
        listed = ", ".join([*known[:SECTIONS_NAMED], *more]) or "no section"
        raise RecordingError(f"no states in section {section!r}; there are some in: {listed}")
    if moment not in states[section]:
        raise RecordingError(f"section {section!r} has no {moment!r} but: {', '.join(states[section])}")
    found: RawState = recording.lab[section][moment]
    return found


def has_lists(raw: RawState) -> bool:
    """Does the state say which blocks are free, or only how many?"""
    return all("lists" in zone for zone in raw)


def is_cut(raw: RawState) -> bool:
    """Was a list too long to be recorded whole?"""
    lists = (zone["lists"].values() for zone in raw if isinstance(zone.get("lists"), dict))
    return any(isinstance(pfns, list) and pfns[-1:] == [-1] for zone_lists in lists for pfns in zone_lists)


def states_of(recording: Recording, raw: RawState) -> list[ZoneState]:
    """The zones of a raw state that `has_lists`; where a list was cut, what was recorded of it."""
    if not has_lists(raw):
        raise RecordingError("a state without lists: it says how many blocks are free, not which")
    states = [_zone_state(recording, zone) for zone in raw]
    for before, state in pairwise(states):
        if (state.node, state.zone_type) <= (before.node, before.zone_type):
            raise RecordingError(f"zone {_name(state)} is listed behind {_name(before)}")
    for before, state in pairwise(_by_address(states)):
        if state.start_pfn < before.start_pfn + before.spanned_pages:
            raise RecordingError(f"zone {_name(state)} is not behind {_name(before)}")
    _join_shared_pageblocks(recording, states, [zone["blocks"][0] == NOT_OURS for zone in raw])
    return states


def _name(state: ZoneState) -> str:
    return f"{ZONE_NAMES[state.zone_type]} of node {state.node}"


def _by_address(states: list[ZoneState]) -> list[ZoneState]:
    return sorted(states, key=lambda state: state.start_pfn)


def build_machine(
    recording: Recording,
    raw: RawState,
    wanted: Params | None = None,
    policies: Policies | None = None,
) -> Machine:
    """The machine that was recorded, in this state; parameters that no recording says are as `params_of` has them."""
    states = states_of(recording, raw)
    if is_cut(raw):
        raise RecordingError("a state with a list too long to be recorded whole")
    _check_apart(recording, states)
    params = params_of(recording, wanted)._replace(
        nr_frames=max(state.start_pfn + state.spanned_pages for state in states),
        mobility_disabled=bool(raw[0].get("group_disabled", 0)),
    )
    m = new_machine(params, policies=policies)
    lay_out_nodes(m, recording)
    load(m, states)
    refresh_zone_stat_thresholds(m)
    _set_recorded_thresholds(m, raw)
    return m


def lay_out_nodes(m: Machine, recording: Recording) -> None:
    """Put the CPUs of a new machine on the recorded nodes, as far apart as those are."""
    topology = topology_of(recording)
    m.cpus["node"][:] = topology.node_of_cpu[: len(m.cpus)]
    m.nodes["distance"][:, : len(m.nodes)] = topology.distances


def _set_recorded_thresholds(m: Machine, raw: RawState) -> None:
    """Take the recorded stat_threshold where a state has one: it is another while kswapd is awake."""
    for zone in raw:
        if "threshold" in zone:
            z = node_zone(m, zone.get("nid", 0), ZONE_NAMES.index(zone["name"]))
            threshold = integer(zone, f"zone {zone['name']!r}", "threshold", 1, MAX_THRESHOLD)
            pcps_of_zone(m, z)["stat_threshold"] = threshold


def params_of(recording: Recording, wanted: Params | None = None) -> Params:
    """The parameters of the recorded machine.

    Recorded constants win. The rest comes from `wanted`, or, if that is None, from the row of the recorded release
    and from the sysctl that the machine ran with.
    """
    consts = recording.consts
    topology = topology_of(recording)
    recorded = {
        "page_shift": consts["PAGE_SHIFT"],
        "max_page_order": consts["max_order_inclusive"],
        "pageblock_order": consts["pageblock_order"],
        "pmd_order": recording.pmd_order,
        "thp_built_in": bool(consts["THP"]),
        "nr_cpus": recording.nr_cpus,
        "nr_nodes": len(topology.distances),
        "numa": topology.numa,
    }
    if wanted is None:
        params = Params(**recorded, **recording.kernel._asdict())
        return params._replace(watermark_boost_factor=_boost_factor(recording, params.watermark_boost_factor))
    return wanted._replace(**recorded)


def _boost_factor(recording: Recording, default: int) -> int:
    """vm.watermark_boost_factor, or the default where it was not recorded: with 0, a fallback boosts no mark."""
    text = recording.files.get(BOOST_FACTOR, "").strip()
    if not (text.isascii() and text.isdecimal()):
        return default
    value = int(text) if len(text) < 20 else -1  # Python refuses to read thousands of digits
    return integer({BOOST_FACTOR: value}, "files", BOOST_FACTOR, 0, BOOST_FACTOR_MAX)


def _zone_state(recording: Recording, zone: dict[str, Any]) -> ZoneState:
    nid = zone.get("nid", 0)
    where = f"zone {zone.get('name')!r}" + (f" of node {nid!r}" if nid else "")
    name = field(zone, where, "name", str)
    nr_nodes = len(topology_of(recording).distances)
    if name not in ZONE_NAMES or nid not in range(nr_nodes):
        raise RecordingError(
            f"zone {name!r} of node {nid!r}: not one of {', '.join(ZONE_NAMES)} of nodes 0 to {nr_nodes - 1}"
        )
    start_pfn = integer(zone, where, "start_pfn", 0, FRAMES_MAX)
    spanned = integer(zone, where, "spanned", 1, FRAMES_MAX - start_pfn)
    pageblock_order = recording.consts["pageblock_order"]
    letters = field(zone, where, "blocks", str)
    nr_pageblocks = ((start_pfn + spanned - 1) >> pageblock_order) - (start_pfn >> pageblock_order) + 1
    if len(letters) != nr_pageblocks or not set(letters) <= set(_MIGRATETYPES):
        raise RecordingError(f"{where}: blocks are not {nr_pageblocks} of the letters UMRH-")
    marks = integers(zone, where, "wm", 3)
    pcps = field(zone, where, "pcp", list)
    nr_cpus = recording.nr_cpus
    if len(pcps) != nr_cpus:
        raise RecordingError(f"{where}: per-CPU lists of {len(pcps)} CPUs where there are {nr_cpus}")
    return ZoneState(
        node=int(nid),
        zone_type=ZONE_NAMES.index(name),
        start_pfn=start_pfn,
        spanned_pages=spanned,
        present_pages=integer(zone, where, "present", 1, spanned),
        managed_pages=integer(zone, where, "managed", 0, spanned),
        watermark=[*marks, 2 * marks[2] - marks[1]],  # promo is not recorded; the marks are evenly spaced
        watermark_boost=integer(zone, where, "boost"),
        lowmem_reserve=integers(zone, where, "lowmem_reserve", len(ZONE_NAMES)),
        zone_flags=integer(zone, where, "zflags") if "zflags" in zone else 0,
        nr_reserved_highatomic=integer(zone, where, "highatomic"),
        vm_numa_event=integers(zone, where, "numa", NR_VM_NUMA_EVENT_ITEMS) if "numa" in zone else [],
        pageblocks=np.array([_MIGRATETYPES[letter] for letter in letters], np.uint8),
        lists=_free_lists(recording, zone, where, (start_pfn, start_pfn + spanned)),
        pcps=[
            _pcp_state(recording, pcp, where, (start_pfn, start_pfn + spanned), pending)
            for pcp, pending in zip(pcps, _pending(zone, where, nr_cpus), strict=True)
        ],
    )


def _pending(zone: dict[str, Any], where: str, nr_cpus: int) -> list[int]:
    """Each CPU's delta of NR_FREE_PAGES that is not folded into the zone's counter (the first of `fstat`) yet."""
    if "fstat" not in zone:
        return [0] * nr_cpus
    pending = integers(zone, where, "fstat", 1 + nr_cpus, low=-COUNT_MAX)[1:]
    if any(abs(delta) > MAX_THRESHOLD for delta in pending):
        raise RecordingError(f"{where}: a CPU's delta in 'fstat' is not from -{MAX_THRESHOLD} to {MAX_THRESHOLD}")
    return pending


def _free_lists(
    recording: Recording, zone: dict[str, Any], where: str, bounds: tuple[int, int]
) -> dict[tuple[int, int], Pfns]:
    lists = {}
    nr_orders = recording.consts["max_order_inclusive"] + 1
    keys = {
        f"{order}{letter}": (order, mt) for order in range(nr_orders) for mt, letter in enumerate(MIGRATETYPE_LETTERS)
    }
    for name, recorded in field(zone, where, "lists", dict).items():
        if name not in keys:
            raise RecordingError(f"{where}: no list is called {name!r}")
        whole = recorded[:-1] if isinstance(recorded, list) and recorded[-1:] == [-1] else recorded
        lists[keys[name]] = _pfns(whole, f"{where}, list {name}", keys[name][0], bounds)
    return lists


def _pcp_state(recording: Recording, pcp: object, where: str, bounds: tuple[int, int], pending: int) -> PcpState:
    where = f"{where}, per-CPU lists"
    if not isinstance(pcp, dict):
        raise RecordingError(f"{where} are no mapping")
    counters = _pcp_counters(recording, pcp, where)
    lists = {}
    nr_pages = 0
    for key, pfns in field(pcp, where, "lists", dict).items():
        if key not in map(str, range(NR_PCP_LISTS)):
            raise RecordingError(f"{where}: no list is called {key!r}")
        pindex = int(key)
        order = pindex_to_order(pindex, recording.pmd_order)
        lists[pindex] = _pfns(pfns, f"{where}, list {key}", order, bounds)
        nr_pages += len(lists[pindex]) << order
    if nr_pages != counters["count"]:
        raise RecordingError(f"{where} hold {nr_pages} pages and not {counters['count']}, their 'count'")
    return PcpState(counters, lists, pending)


def _pcp_counters(recording: Recording, pcp: dict[str, Any], where: str) -> dict[str, int]:
    """What was recorded of a CPU's lists besides their blocks, by the names of `PCP_FIELDS`."""
    if recording.kernel.auto_tune:
        recorded_name = {"pcp_flags": "flags"}
        counters = {name: integer(pcp, where, recorded_name.get(name, name)) for name in RECORDED_PCP_FIELDS}
        return counters | {"free_factor": 0}
    counters = {name: integer(pcp, where, name) for name in ("count", "high", "batch")}
    of_zone = dict.fromkeys(("pcp_flags", "alloc_factor", "free_count"), 0)
    has_factor = recording.kernel.high_order_lists
    factor = integer(pcp, where, "free_factor") if has_factor else 0
    return counters | of_zone | {"high_min": counters["high"], "high_max": counters["high"], "free_factor": factor}


def _pfns(value: object, where: str, order: int, bounds: tuple[int, int]) -> Pfns:
    """Page frame numbers of blocks, checked to lie in the zone from its first frame up to its end."""
    if not isinstance(value, list) or not all(type(pfn) is int for pfn in value):
        raise RecordingError(f"{where} is no list of page frame numbers")
    for pfn in value:
        if not bounds[0] <= pfn <= bounds[1] - (1 << order) or pfn & ((1 << order) - 1):
            raise RecordingError(f"{where}: no block of order {order} of this zone starts at {pfn}")
    return np.array(value, np.int64)


def _join_shared_pageblocks(recording: Recording, states: list[ZoneState], is_not_ours: list[bool]) -> None:
    """Give a pageblock that lies in two zones the type that its owner gives it, in both.

    `is_not_ours` says of each state whether its first pageblock is another zone's.
    """
    pageblock_order = recording.consts["pageblock_order"]
    owned_below = {state.start_pfn: below for state, below in zip(states, is_not_ours, strict=True)}
    for before, state in pairwise(_by_address(states)):
        last = (before.start_pfn + before.spanned_pages - 1) >> pageblock_order
        if last == state.start_pfn >> pageblock_order:
            owner = before.pageblocks[-1] if owned_below[state.start_pfn] else state.pageblocks[0]
            before.pageblocks[-1] = state.pageblocks[0] = owner


def _check_apart(recording: Recording, states: list[ZoneState]) -> None:
    """Is no page in two blocks?"""
    starts, sizes = [np.zeros(0, np.int64)], [np.zeros(0, np.int64)]
    for state in states:
        held = [(pfns, order) for (order, _), pfns in state.lists.items()]
        for pcp in state.pcps:
            for pindex, pfns in pcp.lists.items():
                held.append((pfns, pindex_to_order(pindex, recording.pmd_order)))
        starts += [pfns for pfns, _ in held]
        sizes += [np.full(len(pfns), 1 << order) for pfns, order in held]
    pfns, lengths = np.concatenate(starts), np.concatenate(sizes)
    by_pfn = np.argsort(pfns, kind="stable")
    ends = pfns[by_pfn] + lengths[by_pfn]
    twice = np.flatnonzero(pfns[by_pfn][1:] < ends[:-1])
    if len(twice):
        raise RecordingError(f"page frame {pfns[by_pfn][1 + twice[0]]} is in two free blocks")


assert len(MIGRATETYPE_LETTERS) == MIGRATE_TYPES
