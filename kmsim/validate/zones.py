"""Sections `fresh.zoneinfo` and `sweep.*`: watermarks, reserves and per-CPU list sizes by formula.

The kernel computes them from the managed pages at that moment. At boot the initrd and the init
sections have not been given back yet; how many pages those are is the one unknown of a file, and
`fresh.zoneinfo` agrees if one value of it explains every mark and every high_max at once. Counts
and the self-tuned `high` are not compared.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from kmsim.mm.indices import ZoneType
from kmsim.mm.mmzone import ZONE_DMA32, ZONE_NAMES, Machine, new_machine, node_zone, pcps_of_zone
from kmsim.mm.zone_setup import (
    MIN_PERCPU_PAGELIST_HIGH_FRACTION,
    Sysctl,
    apply_sysctl,
    init_watermarks,
    zone_set_pageset_high_and_batch,
)
from kmsim.procfs import zoneinfo
from kmsim.procfs.recorded import Recording, params_of
from kmsim.procfs.zoneinfo import ZoneInfo
from kmsim.validate.report import Section, skipped

MARKS = ("boost", "min", "low", "high", "promo")
Values = dict[str, Any]

RELEASED_BYTES_MAX = 256 << 20  # assumed: no initrd with init sections is larger


def recorded_values(infos: list[ZoneInfo]) -> Values:
    """What is scored of a recorded zoneinfo."""
    values: Values = {}
    for info in infos:
        for mark in MARKS:
            values[f"{info.zone} {mark}"] = info.sizes[mark]
        values[f"{info.zone} protection"] = info.protection
        if info.pagesets:
            values[f"{info.zone} batch"] = tuple(pageset.counters["batch"] for pageset in info.pagesets)
    return values


def zones_machine(recording: Recording, infos: list[ZoneInfo]) -> Machine:
    """A machine of the recorded zones' sizes, without pages to allocate."""
    m = new_machine(params_of(recording)._replace(nr_frames=1))
    for info in infos:
        zone = m.zones[node_zone(m, info.node, ZONE_NAMES.index(info.zone))]
        zone.present_pages = info.sizes["present"]
        zone.managed_pages = info.sizes["managed"]
    return m


def knobs(recording: Recording) -> Values:
    """The sysctls as the files `fresh.*` show them, by name."""
    files = recording.files
    return {
        "min_free_kbytes": int(files["fresh.min_free_kbytes"]),
        "watermark_scale_factor": int(files["fresh.watermark_scale_factor"]),
        "percpu_pagelist_high_fraction": int(files["fresh.percpu_pagelist_high_fraction"]),
        "lowmem_reserve_ratio": tuple(int(word) for word in files["fresh.lowmem_reserve_ratio"].split()),
    }


def fresh_section(recording: Recording) -> Section:
    """The marks that the boot set, with the list sizes of `fresh.state`."""
    name = "fresh.zoneinfo"
    infos = zoneinfo.parse(recording.files[name])
    expected = recorded_values(infos)
    state = recording.lab.get("fresh.state", {}).get("state", [])
    boosts = {zone["name"]: zone["boost"] for zone in state}
    for zone in state:
        for limit in ("high_min", "high_max"):
            expected[f"{zone['name']} {limit}"] = tuple(pcp[limit] for pcp in zone["pcp"])
    if "fresh.min_free_kbytes" in recording.files:
        expected["min_free_kbytes"] = int(recording.files["fresh.min_free_kbytes"])
    best, best_released = {}, -1
    most = -1
    for released in released_pages(recording, infos, expected):
        values = boot_values(recording, infos, boosts, released)
        equal = sum(values.get(key) == value for key, value in expected.items())
        if equal > most:
            most, best, best_released = equal, values, released
        if equal == len(expected):
            break
    section = Section(name, rows=len(expected), equal=max(most, 0))
    section.why = f"{best_released} pages were given back after the marks had been computed"
    if most < len(expected):
        section.why += "; " + _first_difference(expected, best)
    return section


def boot_values(recording: Recording, infos: list[ZoneInfo], boosts: dict[str, int], released: int) -> Values:
    """What the boot sets on these zones, `released` pages of which are not yet there."""
    m = zones_machine(recording, infos)
    m.zones[node_zone(m, 0, released_zone(recording, infos))].managed_pages -= released
    # A kernel without THP has no such file.
    thp_enabled = "[never]" not in recording.files.get("fresh.thp_enabled", "[never]")
    chosen = init_watermarks(m, thp_enabled=thp_enabled)
    for zone in m.zones:
        zone.watermark_boost = boosts.get(ZONE_NAMES[zone.zone_type], 0)
    return machine_values(m) | {"min_free_kbytes": chosen}


def machine_values(m: Machine) -> Values:
    """A machine's values in the words of `recorded_values`."""
    values = recorded_values(zoneinfo.rows(m))
    for z, zone in enumerate(m.zones):
        if zone.present_pages:
            for limit in ("high_min", "high_max"):
                column = pcps_of_zone(m, z)[limit]
                values[f"{ZONE_NAMES[zone.zone_type]} {limit}"] = tuple(int(value) for value in column)
    return values


def released_zone(recording: Recording, infos: list[ZoneInfo]) -> ZoneType:
    """The type of the zone that the initrd and the init sections lie in: DMA32 on x86, else the lowest."""
    populated = [ZONE_NAMES.index(info.zone) for info in infos if info.sizes["present"]]
    if recording.arch == "x86-64" and ZONE_DMA32 in populated:
        return ZONE_DMA32
    return populated[0]


def released_pages(recording: Recording, infos: list[ZoneInfo], expected: Values) -> Iterator[int]:
    """The numbers of pages that the zone's high_max allows: it falls as they rise."""
    zone_type = released_zone(recording, infos)
    m = zones_machine(recording, infos)
    zone = node_zone(m, 0, zone_type)
    managed = int(m.zones[zone].managed_pages)
    most = RELEASED_BYTES_MAX >> recording.consts["PAGE_SHIFT"]
    if f"{ZONE_NAMES[zone_type]} high_max" not in expected:
        yield from range(min(managed, most))
        return
    wanted = expected[f"{ZONE_NAMES[zone_type]} high_max"][0]

    def high_max(released: int) -> int:
        m.zones[zone].managed_pages = managed - released
        zone_set_pageset_high_and_batch(m, MIN_PERCPU_PAGELIST_HIGH_FRACTION)
        return int(pcps_of_zone(m, zone)["high_max"][0])

    low, high = 0, managed  # the first number of pages with high_max <= wanted
    while low < high:
        middle = (low + high) // 2
        if high_max(middle) <= wanted:
            high = middle
        else:
            low = middle + 1
    for released in range(low, min(managed, low + most)):
        if high_max(released) != wanted:
            return
        yield released


def sweep_section(recording: Recording, name: str) -> Section:
    """The marks after one sysctl was written."""
    infos = zoneinfo.parse(recording.files[name])
    key, _, value = name.removeprefix("sweep.").removesuffix(".zoneinfo").partition("=")
    settings = knobs(recording)
    if key not in settings:
        return skipped(name, f"{key} is not modelled as a sysctl that changes zones")
    numbers = tuple(int(word) for word in value.split(","))
    if len(numbers) != (len(ZONE_NAMES) if key == "lowmem_reserve_ratio" else 1):
        return Section(name, rows=1, why=f"{value} is not a value of {key}")
    settings[key] = numbers if key == "lowmem_reserve_ratio" else numbers[0]
    m = zones_machine(recording, infos)
    apply_sysctl(m, Sysctl(**settings), settings["min_free_kbytes"])
    expected = recorded_values(infos)
    values = machine_values(m)
    equal = sum(values.get(key) == value for key, value in expected.items())
    section = Section(name, rows=len(expected), equal=equal)
    if equal < len(expected):
        section.why = _first_difference(expected, values)
    return section


def _first_difference(expected: Values, got: Values) -> str:
    key = next(key for key, value in expected.items() if got.get(key) != value)
    return f"{key}: recorded {expected[key]}, kmsim {got.get(key)}"
