"""Recorded states of machines under memory pressure: zones, and what their pages are in use for.

Such a state is a mapping: `zones` (a raw state, see `procfs.recorded_state`), `czone` (each zone's counters and the
answers of its checks), `lru` (the LRU lists in order), `map` (what every page frame is) and `node`. Everything is
checked before it is used; RecordingError says what is wrong.

Leaves out kswapd's and kcompactd's fields, and the positions of compaction's scanners.
"""

from typing import Any

from kmsim.mm.mmzone import Machine
from kmsim.mm.vmstat import MAX_THRESHOLD
from kmsim.mm.zone_names import populated_zones
from kmsim.procfs.recorded import COUNT_MAX, Recording, RecordingError, field, integer, integers
from kmsim.procfs.recorded_state import RawState, build_machine, is_state

PressureState = dict[str, Any]
FREE_PAGES = "nr_free_pages"
QUIET_KSWAPD = 1 << 0  # of a section's `quiet`: what was kept from running


def is_pressure_state(value: object) -> bool:
    """Does a part of a section look like such a state?"""
    return isinstance(value, dict) and is_state(value.get("zones")) and isinstance(value.get("czone"), dict)


def pressure_states(recording: Recording, section: str) -> dict[str, PressureState]:
    """The states of a section, by the moment (`before`, `after`, `state`).

    One that was dumped while kswapd ran does not hang together, and is left out.
    """
    parts = recording.lab.get(section)
    if not isinstance(parts, dict):
        return {}
    kswapd_runs = "quiet" in parts and integer(parts, section, "quiet") & QUIET_KSWAPD == 0
    states = {moment: part for moment, part in parts.items() if is_pressure_state(part)}
    return {moment: state for moment, state in states.items() if moment != "after" or not kswapd_runs}


def counted_zones(recording: Recording, state: PressureState) -> RawState:
    """The zones of a state, each with its threshold and what CPUs have not folded into its counter yet."""
    zones = []
    for zone in state["zones"]:
        where, of_zone = czone_of(state, zone)
        zstat = field(of_zone, where, "zstat", dict)
        counted = integers(zstat, where, FREE_PAGES, 1 + recording.nr_cpus, low=-COUNT_MAX)
        threshold = integer(of_zone, where, "threshold", 1, MAX_THRESHOLD)
        zones.append(zone | {"fstat": counted, "threshold": threshold})
    return zones


def czone_of(state: PressureState, zone: dict[str, Any]) -> tuple[str, dict[str, Any]]:
    """What is said of a zone in messages, and its part of `czone`."""
    name = field(zone, "a zone", "name", str)
    return f"czone {name!r}", field(state["czone"], "czone", name, dict)


def build_counted_machine(recording: Recording, state: PressureState) -> Machine:
    """The machine in this state, without its LRU lists."""
    zones = counted_zones(recording, state)
    m = build_machine(recording, zones)
    found = populated_zones(m)
    for zone in zones:
        counted = int(m.zones[found[zone.get("nid", 0), zone["name"]]].nr_free_pages)
        if counted != zone["fstat"][0]:
            said = zone["fstat"][0]
            raise RecordingError(f"zone {zone['name']!r}: {counted} pages are counted as free, and not {said}")
    return m
