"""Recordings of real kernels: files of the ground-truth format, and machines in a recorded state.

A recording is JSON, plain or gzipped, of one boot: `files` holds raw texts of /proc by moment,
`lab` what a test driver wrote down, of which a *raw state* is a list of populated zones. A file
comes from a user, so everything is checked before it is used; RecordingError says what is wrong.

Leaves out: what sections other than states hold (see `kmsim.validate`). Watermarks in a state have
no boost in them; a CPU's pending delta of NR_FREE_PAGES starts at 0 where it was not recorded.
"""

import json
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any, NoReturn

import numpy as np

from kmsim.input_file import BrokenGzip, read_unzipped
from kmsim.jit_policies import Policies
from kmsim.mm.kernels import NEWEST, Kernel, kernel_of
from kmsim.mm.mmzone import (
    MIGRATE_MOVABLE,
    MIGRATE_TYPES,
    NR_PAGE_ORDERS_MAX,
    NR_PCP_LISTS,
    ZONE_NAMES,
    Machine,
    Params,
    new_machine,
    node_zone,
    pcps_of_zone,
)
from kmsim.mm.snapshot import RECORDED_PCP_FIELDS, PcpState, Pfns, ZoneState, load, order_of_pcp_list
from kmsim.mm.vmstat import MAX_THRESHOLD, refresh_zone_stat_thresholds

BYTES_MAX = 128 << 20  # the largest recording so far has 9 MiB
VALUES_MAX = 10_000_000  # lists, mappings and what is in them, together; Python takes up to 64 bytes for each
FRAMES_MAX = 1 << 25  # of 4 KiB: 128 GiB, more than any recorded machine has
CPUS_MAX = 1024
COUNT_MAX = (1 << 63) - 1
SECTIONS_NAMED = 8  # in a message

MIGRATETYPE_LETTERS = "UMRH"
NOT_OURS = "-"
_MIGRATETYPES = {letter: mt for mt, letter in enumerate(MIGRATETYPE_LETTERS)} | {NOT_OURS: MIGRATE_MOVABLE}
ARCHES = {"x86_64": "x86-64", "aarch64": "arm64"}

RawState = list[dict[str, Any]]

# What a machine is built from, with the values that kmsim can be.
_CONSTS = {
    "PAGE_SHIFT": (12, 16),
    "max_order_inclusive": (3, NR_PAGE_ORDERS_MAX - 1),
    "pageblock_order": (1, NR_PAGE_ORDERS_MAX - 1),
    "nr_cpu_ids": (1, CPUS_MAX),
    "THP": (0, 1),
}


class RecordingError(ValueError):
    """The file is not a recording, or not one that can be used; one line. `line`: that of the file, where known."""

    def __init__(self, why: str, line: int | None = None) -> None:
        super().__init__(why)
        self.line = line


@dataclass(frozen=True)
class Recording:
    """One boot: the kernel's constants, raw texts by name, and the driver's sections by name."""

    consts: dict[str, Any]
    files: dict[str, str]
    lab: dict[str, Any]

    @property
    def arch(self) -> str:
        """The architecture by kmsim's name, or as the kernel calls its machine."""
        machine = str(self.consts.get("machine", ""))
        return ARCHES.get(machine, machine)

    @property
    def nr_cpus(self) -> int:
        """The CPUs that were online; those that could have come later have no lists."""
        return int(self.consts.get("online_cpus") or self.consts["nr_cpu_ids"])

    @property
    def release(self) -> str:
        """The kernel's release, such as 6.12.117-lab; `unknown` where it is not recorded."""
        return str(self.consts.get("release", "unknown"))

    @property
    def kernel(self) -> Kernel:
        """What that release does; as the newest where it is not built in."""
        return kernel_of(self.release) or NEWEST

    @property
    def pmd_order(self) -> int:
        """Order of a huge page; a kernel without THP may not say."""
        recorded = self.consts.get("HPAGE_PMD_ORDER") or 0
        return int(recorded) or int(self.consts["PAGE_SHIFT"]) - 3


def read(path: Path) -> Recording:
    """The recording in a file; RecordingError if the file is not a recording, OSError if it cannot be read."""
    try:
        return parse(read_unzipped(path, BYTES_MAX))
    except BrokenGzip as error:
        raise RecordingError(str(error)) from None


def parse(content: bytes) -> Recording:
    """The recording in the bytes of a JSON document."""
    if sum(map(content.count, (b"[", b"{", b","))) > VALUES_MAX:
        raise RecordingError(f"more than {VALUES_MAX:,} values")
    try:
        document = json.loads(content, parse_constant=_no_number)
    except json.JSONDecodeError as error:
        raise RecordingError(
            f"no JSON (line {error.lineno}, column {error.colno}: {error.msg})", error.lineno
        ) from None
    except RecursionError:
        raise RecordingError("nested too deeply") from None
    except ValueError as error:  # no UTF-8, or a number of thousands of digits
        raise RecordingError(f"no JSON ({str(error).splitlines()[0]})") from None
    lab = _field(document, "the file", "lab", dict)
    files = _field(document, "the file", "files", dict)
    for name, content_of in files.items():
        if not isinstance(content_of, str):
            raise RecordingError(f"files[{name!r}] is not text")
    consts = {"THP": 0} | _field(lab, "lab", "consts", dict)
    recording = Recording(consts, files, lab)
    for name, (low, high) in _CONSTS.items():
        integer(recording.consts, "consts", name, low, high)
    if recording.consts.get("HPAGE_PMD_ORDER") is not None:
        integer(recording.consts, "consts", "HPAGE_PMD_ORDER", 0, 20)
    largest = int(recording.consts["max_order_inclusive"])
    if recording.consts["pageblock_order"] > largest:
        raise RecordingError(f"consts: pageblock_order is above max_order_inclusive, {largest}")
    if recording.consts["THP"] and recording.pmd_order > largest:
        raise RecordingError(f"consts: HPAGE_PMD_ORDER is above max_order_inclusive, {largest}")
    return recording


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
        if state.start_pfn < before.start_pfn + before.spanned_pages or state.zone_type <= before.zone_type:
            raise RecordingError(f"zone {ZONE_NAMES[state.zone_type]} is not behind {ZONE_NAMES[before.zone_type]}")
    _join_shared_pageblocks(recording, raw, states)
    return states


def build_machine(
    recording: Recording, raw: RawState, wanted: Params | None = None, policies: Policies | None = None
) -> Machine:
    """The machine that was recorded, in this state; parameters that no recording says are as `params_of` has them."""
    states = states_of(recording, raw)
    if is_cut(raw):
        raise RecordingError("a state with a list too long to be recorded whole")
    _check_apart(recording, states)
    params = params_of(recording, wanted)._replace(
        nr_frames=states[-1].start_pfn + states[-1].spanned_pages,
        mobility_disabled=bool(raw[0].get("group_disabled", 0)),
    )
    m = new_machine(params, policies=policies)
    load(m, states)
    refresh_zone_stat_thresholds(m)
    _set_recorded_thresholds(m, raw)
    return m


def _set_recorded_thresholds(m: Machine, raw: RawState) -> None:
    """Take the recorded stat_threshold where a state has one: it is another while kswapd is awake."""
    for zone in raw:
        if "threshold" in zone:
            z = node_zone(m, 0, ZONE_NAMES.index(zone["name"]))
            threshold = integer(zone, f"zone {zone['name']!r}", "threshold", 1, MAX_THRESHOLD)
            pcps_of_zone(m, z)["stat_threshold"] = threshold


def params_of(recording: Recording, wanted: Params | None = None) -> Params:
    """The parameters of the recorded machine.

    Recorded constants win. The rest comes from `wanted`, or, if that is None, from the row of the recorded release.
    """
    consts = recording.consts
    recorded = {
        "page_shift": consts["PAGE_SHIFT"],
        "max_page_order": consts["max_order_inclusive"],
        "pageblock_order": consts["pageblock_order"],
        "pmd_order": recording.pmd_order,
        "thp_built_in": bool(consts["THP"]),
        "nr_cpus": recording.nr_cpus,
    }
    if wanted is None:
        return Params(**recorded, **recording.kernel._asdict())
    return wanted._replace(**recorded)


def _zone_state(recording: Recording, zone: dict[str, Any]) -> ZoneState:
    where = f"zone {zone.get('name')!r}"
    name = _field(zone, where, "name", str)
    if name not in ZONE_NAMES or zone.get("nid", 0) != 0:
        raise RecordingError(f"{where} of node {zone.get('nid', 0)}: not one of {', '.join(ZONE_NAMES)} of node 0")
    start_pfn = integer(zone, where, "start_pfn", 0, FRAMES_MAX)
    spanned = integer(zone, where, "spanned", 1, FRAMES_MAX - start_pfn)
    pageblock_order = recording.consts["pageblock_order"]
    letters = _field(zone, where, "blocks", str)
    nr_pageblocks = ((start_pfn + spanned - 1) >> pageblock_order) - (start_pfn >> pageblock_order) + 1
    if len(letters) != nr_pageblocks or not set(letters) <= set(_MIGRATETYPES):
        raise RecordingError(f"{where}: blocks are not {nr_pageblocks} of the letters UMRH-")
    marks = _integers(zone, where, "wm", 3)
    pcps = _field(zone, where, "pcp", list)
    nr_cpus = recording.nr_cpus
    if len(pcps) != nr_cpus:
        raise RecordingError(f"{where}: per-CPU lists of {len(pcps)} CPUs where there are {nr_cpus}")
    return ZoneState(
        node=0,
        zone_type=ZONE_NAMES.index(name),
        start_pfn=start_pfn,
        spanned_pages=spanned,
        present_pages=integer(zone, where, "present", 1, spanned),
        managed_pages=integer(zone, where, "managed", 0, spanned),
        watermark=[*marks, 2 * marks[2] - marks[1]],  # promo is not recorded; the marks are evenly spaced
        watermark_boost=integer(zone, where, "boost"),
        lowmem_reserve=_integers(zone, where, "lowmem_reserve", len(ZONE_NAMES)),
        zone_flags=integer(zone, where, "zflags") if "zflags" in zone else 0,
        nr_reserved_highatomic=integer(zone, where, "highatomic"),
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
    pending = _integers(zone, where, "fstat", 1 + nr_cpus, low=-COUNT_MAX)[1:]
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
    for name, recorded in _field(zone, where, "lists", dict).items():
        if name not in keys:
            raise RecordingError(f"{where}: no list is called {name!r}")
        whole = recorded[:-1] if isinstance(recorded, list) and recorded[-1:] == [-1] else recorded
        lists[keys[name]] = _pfns(whole, f"{where}, list {name}", keys[name][0], bounds)
    return lists


def _pcp_state(recording: Recording, pcp: object, where: str, bounds: tuple[int, int], pending: int) -> PcpState:
    where = f"{where}, per-CPU lists"
    if not isinstance(pcp, dict):
        raise RecordingError(f"{where} are no mapping")
    recorded_name = {"pcp_flags": "flags"}
    counters = {name: integer(pcp, where, recorded_name.get(name, name)) for name in RECORDED_PCP_FIELDS}
    counters["free_factor"] = 0  # these kernels tune their lists instead
    lists = {}
    nr_pages = 0
    for key, pfns in _field(pcp, where, "lists", dict).items():
        if key not in map(str, range(NR_PCP_LISTS)):
            raise RecordingError(f"{where}: no list is called {key!r}")
        pindex = int(key)
        order = order_of_pcp_list(pindex, recording.pmd_order)
        lists[pindex] = _pfns(pfns, f"{where}, list {key}", order, bounds)
        nr_pages += len(lists[pindex]) << order
    if nr_pages != counters["count"]:
        raise RecordingError(f"{where} hold {nr_pages} pages and not {counters['count']}, their 'count'")
    return PcpState(counters, lists, pending)


def _pfns(value: object, where: str, order: int, bounds: tuple[int, int]) -> Pfns:
    """Page frame numbers of blocks, checked to lie in the zone from its first frame up to its end."""
    if not isinstance(value, list) or not all(type(pfn) is int for pfn in value):
        raise RecordingError(f"{where} is no list of page frame numbers")
    for pfn in value:
        if not bounds[0] <= pfn <= bounds[1] - (1 << order) or pfn & ((1 << order) - 1):
            raise RecordingError(f"{where}: no block of order {order} of this zone starts at {pfn}")
    return np.array(value, np.int64)


def _join_shared_pageblocks(recording: Recording, raw: RawState, states: list[ZoneState]) -> None:
    """Give a pageblock that lies in two zones the type that its owner gives it, in both."""
    pageblock_order = recording.consts["pageblock_order"]
    for (before, state), zone in zip(pairwise(states), raw[1:], strict=True):
        last = (before.start_pfn + before.spanned_pages - 1) >> pageblock_order
        if last == state.start_pfn >> pageblock_order:
            owner = before.pageblocks[-1] if zone["blocks"][0] == NOT_OURS else state.pageblocks[0]
            before.pageblocks[-1] = state.pageblocks[0] = owner


def _check_apart(recording: Recording, states: list[ZoneState]) -> None:
    """Is no page in two blocks?"""
    starts, sizes = [np.zeros(0, np.int64)], [np.zeros(0, np.int64)]
    for state in states:
        held = [(pfns, order) for (order, _), pfns in state.lists.items()]
        for pcp in state.pcps:
            for pindex, pfns in pcp.lists.items():
                held.append((pfns, order_of_pcp_list(pindex, recording.pmd_order)))
        starts += [pfns for pfns, _ in held]
        sizes += [np.full(len(pfns), 1 << order) for pfns, order in held]
    pfns, lengths = np.concatenate(starts), np.concatenate(sizes)
    by_pfn = np.argsort(pfns, kind="stable")
    ends = pfns[by_pfn] + lengths[by_pfn]
    twice = np.flatnonzero(pfns[by_pfn][1:] < ends[:-1])
    if len(twice):
        raise RecordingError(f"page frame {pfns[by_pfn][1 + twice[0]]} is in two free blocks")


def _no_number(word: str) -> NoReturn:
    raise RecordingError(f"{word} is not a JSON number")


def _field(mapping: object, where: str, key: str, kind: type) -> Any:
    if not isinstance(mapping, dict) or key not in mapping:
        raise RecordingError(f"{where} has no {key!r}")
    if not isinstance(mapping[key], kind):
        raise RecordingError(f"{where}: {key!r} is not of the kind {kind.__name__}")
    return mapping[key]


def integer(mapping: dict[str, Any], where: str, key: str, low: int = 0, high: int = COUNT_MAX) -> int:
    """A whole number of a mapping; RecordingError, which says where, if it is none from `low` to `high`."""
    if key not in mapping:
        raise RecordingError(f"{where} has no {key!r}")
    value = mapping[key]
    if type(value) is not int or not low <= value <= high:
        raise RecordingError(f"{where}: {key!r} is not an integer from {low} to {high}")
    return value


def _integers(mapping: dict[str, Any], where: str, key: str, length: int, low: int = 0) -> list[int]:
    values = _field(mapping, where, key, list)
    if len(values) != length:
        raise RecordingError(f"{where}: {key!r} does not have {length} numbers")
    return [integer({key: value}, where, key, low) for value in values]


assert len(MIGRATETYPE_LETTERS) == MIGRATE_TYPES
