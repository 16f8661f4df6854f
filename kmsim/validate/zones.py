"""Sections `fresh.zoneinfo` and `sweep.*`: watermarks, reserves and per-CPU list sizes by formula.

The kernel computes them from the managed pages at that moment. At boot the init sections, in a low zone, and the
initrd, in the last one below 4 GiB, have not been given back yet; how many pages those are is unknown, and
`fresh.zoneinfo` agrees if one pair of numbers (one number, where both lie in one zone) explains every mark, every size
of a per-CPU list and every threshold of pending counts at once. Counts and the self-tuned `high` are not compared.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Iterator
from itertools import islice, product
from typing import Any

from kmsim.mm.indices import NodeIdx, ZoneIdx
from kmsim.mm.mmzone import (
    ZONE_DMA32,
    ZONE_NAMES,
    Machine,
    new_machine,
    node_zone,
    pcps_of_zone,
)
from kmsim.mm.zone_names import name_on_node, zone_names
from kmsim.mm.zone_setup import (
    MIN_PERCPU_PAGELIST_HIGH_FRACTION,
    Sysctl,
    apply_sysctl,
    init_watermarks,
    managed_pages_changed,
    zone_set_pageset_high_and_batch,
)
from kmsim.procfs import zoneinfo
from kmsim.procfs.recorded import Recording
from kmsim.procfs.recorded_state import lay_out_nodes, params_of
from kmsim.procfs.zoneinfo import ZoneInfo
from kmsim.validate.report import Section, skipped

FRACTION = "percpu_pagelist_high_fraction"
MARKS = ("boost", "min", "low", "high", "promo")
Values = dict[str, Any]

INITRD_BELOW = 4 << 30  # where boot loaders put it
RELEASED_BYTES_MAX = 256 << 20  # assumed: no initrd with init sections is larger
TRIES_MAX = 1 << 16  # numbers of pages, or pairs of them, that are tried


def recorded_values(m: Machine, infos: list[ZoneInfo]) -> Values:
    """What is scored of a zoneinfo of such a machine."""
    values: Values = {}
    for info in infos:
        name = name_on_node(m, info.zone, info.node)
        for mark in MARKS:
            if mark in info.sizes:  # older kernels print fewer
                values[f"{name} {mark}"] = info.sizes[mark]
        values[f"{name} protection"] = info.protection
        if info.pagesets:
            values[f"{name} batch"] = tuple(pageset.counters["batch"] for pageset in info.pagesets)
    return values


def state_values(m: Machine, state: list[dict[str, Any]]) -> Values:
    """What is scored of the boot's state."""
    values: Values = {}
    for zone in state:
        name = name_on_node(m, zone["name"], zone.get("nid", 0))
        for limit in limits_of(m):
            values[f"{name} pcp {limit}"] = tuple(pcp[limit] for pcp in zone["pcp"])
        if "threshold" in zone:
            values[f"{name} threshold"] = zone["threshold"]
    return values


def limits_of(m: Machine) -> tuple[str, ...]:
    """What was recorded of the sizes of per-CPU lists: their limits, or their one size."""
    return ("high_min", "high_max") if m.params[0].auto_tune else ("high",)


def zone_named(m: Machine, name: str, n: NodeIdx) -> ZoneIdx:
    """A node's zone, by the name of its type."""
    return node_zone(m, n, ZONE_NAMES.index(name))


def pageless_machine(recording: Recording) -> Machine:
    """A machine of the recorded nodes and parameters, without pages to allocate; its zones have no sizes yet."""
    m = new_machine(params_of(recording)._replace(nr_frames=1))
    lay_out_nodes(m, recording)
    return m


def zones_machine(recording: Recording, infos: list[ZoneInfo]) -> Machine:
    """A machine of the recorded zones' sizes, without pages to allocate."""
    m = pageless_machine(recording)
    for info in infos:
        zone = m.zones[zone_named(m, info.zone, info.node)]
        zone.present_pages = info.sizes["present"]
        zone.managed_pages = info.sizes["managed"]
    return m


def knobs(recording: Recording) -> Values:
    """The sysctls as the files `fresh.*` show them, by name."""
    files = recording.files
    return {
        "min_free_kbytes": int(files["fresh.min_free_kbytes"]),
        "watermark_scale_factor": int(files["fresh.watermark_scale_factor"]),
        FRACTION: int(files[f"fresh.{fraction_name(recording)}"]),
        "lowmem_reserve_ratio": tuple(int(word) for word in files["fresh.lowmem_reserve_ratio"].split()),
    }


def fraction_name(recording: Recording) -> str:
    """What the recorded kernel calls the sysctl that sizes per-CPU lists by their zone (FRACTION since 5.14)."""
    return FRACTION if recording.kernel.high_order_lists else "percpu_pagelist_fraction"


def fresh_section(recording: Recording) -> Section:
    """The marks that the boot set, with the list sizes of `fresh.state`."""
    name = "fresh.zoneinfo"
    infos = zoneinfo.parse(recording.files[name])
    m = zones_machine(recording, infos)
    state = recording.lab.get("fresh.state", {}).get("state", [])
    boosts = {zone_named(m, zone["name"], zone.get("nid", 0)): zone["boost"] for zone in state}
    expected = recorded_values(m, infos) | state_values(m, state)
    if "fresh.min_free_kbytes" in recording.files:
        expected["min_free_kbytes"] = int(recording.files["fresh.min_free_kbytes"])
    unknown = released_zones(recording, infos, m)
    if len(unknown) > 1 and not state:
        return skipped(name, "what two zones were given back later cannot be told without the boot's state")
    if m.params[0].auto_tune:
        of_zone = {z: list(released_pages(m, z, expected)) for z in unknown}
    else:
        of_zone = {z: list(released_by_mark(recording, infos, z, expected)) for z in unknown}
    best, best_released = {}, tuple(-1 for _ in of_zone)
    most = -1
    for released in islice(product(*of_zone.values()), TRIES_MAX):
        values = boot_values(recording, infos, boosts, dict(zip(of_zone, released, strict=True)))
        equal = sum(values.get(key) == value for key, value in expected.items())
        if equal > most:
            most, best, best_released = equal, values, released
        if equal == len(expected):
            break
    section = Section(name, rows=len(expected), equal=max(most, 0))
    numbers = " and ".join(map(str, best_released))
    section.why = f"{numbers} pages were given back after the marks had been computed"
    if most < len(expected):
        section.why += "; " + _first_difference(expected, best)
    return section


def boot_values(
    recording: Recording, infos: list[ZoneInfo], boosts: dict[ZoneIdx, int], released: dict[ZoneIdx, int]
) -> Values:
    """What the boot sets on these zones, of which the pages `released` later are not yet there."""
    m = zones_machine(recording, infos)
    for z, nr_pages in released.items():
        m.zones[z].managed_pages -= nr_pages
    # A kernel without THP has no such file.
    thp_enabled = "[never]" not in recording.files.get("fresh.thp_enabled", "[never]")
    chosen = init_watermarks(m, thp_enabled=thp_enabled)
    for z, nr_pages in released.items():
        m.zones[z].managed_pages += nr_pages
    managed_pages_changed(m)
    for z, boost in boosts.items():
        m.zones[z].watermark_boost = boost
    return machine_values(m) | {"min_free_kbytes": chosen}


def machine_values(m: Machine) -> Values:
    """A machine's values in the words of `recorded_values` and `state_values`."""
    values = recorded_values(m, zoneinfo.rows(m))
    names = zone_names(m)
    for z, zone in enumerate(m.zones):
        if zone.present_pages:
            pcps = pcps_of_zone(m, z)
            for limit in limits_of(m):
                values[f"{names[z]} pcp {limit}"] = tuple(int(value) for value in pcps[limit])
            values[f"{names[z]} threshold"] = int(pcps["stat_threshold"][0])
    return values


def released_zones(recording: Recording, infos: list[ZoneInfo], m: Machine) -> list[ZoneIdx]:
    """The zones of the init sections (on x86 the lowest DMA32, else the lowest) and of the initrd, each once."""
    populated = sorted((info for info in infos if info.start_pfn is not None), key=lambda info: info.start_pfn or 0)
    dma32 = [info for info in populated if info.zone == ZONE_NAMES[ZONE_DMA32]]
    init = (dma32 if recording.arch == "x86-64" and dma32 else populated)[0]
    limit = INITRD_BELOW >> recording.consts["PAGE_SHIFT"]
    initrd = [info for info in populated if (info.start_pfn or 0) < limit][-1]
    return list(dict.fromkeys(zone_named(m, info.zone, info.node) for info in (init, initrd)))


def released_pages(m: Machine, z: ZoneIdx, expected: Values) -> Iterator[int]:
    """The numbers of pages that a zone's high_max allows: it falls as they rise."""
    managed = int(m.zones[z].managed_pages)
    most = RELEASED_BYTES_MAX >> int(m.params[0].page_shift)
    limits = expected.get(f"{zone_names(m)[z]} pcp high_max")
    if limits is None:
        yield from range(min(managed, most))
        return

    def high_max(released: int) -> int:
        m.zones[z].managed_pages = managed - released
        zone_set_pageset_high_and_batch(m, MIN_PERCPU_PAGELIST_HIGH_FRACTION)
        m.zones[z].managed_pages = managed
        return int(pcps_of_zone(m, z)["high_max"][0])

    low, high = 0, managed  # the first number of pages with high_max <= wanted
    while low < high:
        middle = (low + high) // 2
        if high_max(middle) <= limits[0]:
            high = middle
        else:
            low = middle + 1
    for released in range(low, min(managed, low + most)):
        if high_max(released) != limits[0]:
            return
        yield released


def released_by_mark(recording: Recording, infos: list[ZoneInfo], z: ZoneIdx, expected: Values) -> range:
    """The numbers of pages that a zone's min mark allows, if no other zone got any: it falls as they rise."""
    m = zones_machine(recording, infos)
    key = f"{zone_names(m)[z]} min"
    numbers = range(min(int(m.zones[z].managed_pages), RELEASED_BYTES_MAX >> int(m.params[0].page_shift)))

    def fallen(released: int) -> int:
        return -int(boot_values(recording, infos, {}, {z: released})[key])

    first = bisect_left(numbers, -expected[key], key=fallen)
    return numbers[first : bisect_right(numbers, -expected[key], key=fallen)]


def sweep_section(recording: Recording, name: str) -> Section:
    """The marks after one sysctl was written."""
    infos = zoneinfo.parse(recording.files[name])
    key, _, value = name.removeprefix("sweep.").removesuffix(".zoneinfo").partition("=")
    settings = knobs(recording)
    key = FRACTION if key == fraction_name(recording) else key
    if key not in settings:
        return skipped(name, f"{key} is not modelled as a sysctl that changes zones")
    numbers = tuple(int(word) for word in value.split(","))
    if len(numbers) != (len(ZONE_NAMES) if key == "lowmem_reserve_ratio" else 1):
        return Section(name, rows=1, why=f"{value} is not a value of {key}")
    settings[key] = numbers if key == "lowmem_reserve_ratio" else numbers[0]
    m = zones_machine(recording, infos)
    apply_sysctl(m, Sysctl(**settings), settings["min_free_kbytes"])
    expected = recorded_values(m, infos)
    values = machine_values(m)
    equal = sum(values.get(key) == value for key, value in expected.items())
    section = Section(name, rows=len(expected), equal=equal)
    if equal < len(expected):
        section.why = _first_difference(expected, values)
    return section


def _first_difference(expected: Values, got: Values) -> str:
    key = next(key for key, value in expected.items() if got.get(key) != value)
    return f"{key}: recorded {expected[key]}, kmsim {got.get(key)}"
