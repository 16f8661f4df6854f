"""Sections `wmark*`: where a zone stops giving pages, by what the request may take.

The driver took single pages until a request failed, one kind of request (a *phase*) after the other, and drained its
per-CPU lists near the marks, so that a refill did not overshoot them. A row is one zone in one phase: the zone's
counter, as the kernel's check reads it, stopped within its threshold of pending deltas, and one page, of the most free
pages at which kmsim refuses. Scored are phases of order 0 that took something, from zones without a boost, on kernels
that ran with watermark_boost_factor 0, since kswapd ran, too, and takes boosts back at any time. The plain variant,
without draining, and what ignores the marks are not scored, nor is a phase that left a zone full which it may not use:
the driver saw by all that was free whether it was near the marks (one such phase overshot them by a refill).
"""

from __future__ import annotations

from typing import Any

from kmsim.jit import entry
from kmsim.mm.gfp import ALLOC_RESERVES, GFP_MEMALLOC, gfp_to_alloc_flags, gfp_zone
from kmsim.mm.mmzone import (
    WMARK_HIGH,
    WMARK_MIN,
    ZONE_NAMES,
    Machine,
    pcps_of_zone,
)
from kmsim.mm.vmstat import refresh_zone_stat_thresholds
from kmsim.mm.watermark import zone_watermark_ok
from kmsim.mm.zone_names import name_on_node
from kmsim.procfs.recorded import Recording, integer, integers
from kmsim.procfs.recorded_state import FRAMES_MAX
from kmsim.validate.report import Section, skipped
from kmsim.validate.zones import pageless_machine, zone_named

PLAIN_VARIANT = 0
Phase = dict[str, Any]


def wmark_section(recording: Recording, name: str) -> Section:
    """Every stop of one section."""
    part = recording.lab[name]
    if recording.files.get("fresh.watermark_boost_factor", "").strip() != "0":
        return skipped(name, "boosts, which kswapd took back at times that were not recorded")
    if integer(part, name, "variant") == PLAIN_VARIANT:
        return skipped(name, "refills overshoot the marks where lists are not drained")
    m = zones_of_state(recording, part["start"])
    section = Section(name)
    for phase in part["phases"]:
        _add_phase(section, m, phase)
    return section


def zones_of_state(recording: Recording, state: list[dict[str, Any]]) -> Machine:
    """A machine of the recorded marks and reserves, without pages to allocate."""
    m = pageless_machine(recording)
    for recorded in state:
        where = f"zone {recorded['name']!r}"
        zone = m.zones[zone_named(m, recorded["name"], recorded.get("nid", 0))]
        zone.present_pages, zone.managed_pages = (integer(recorded, where, key) for key in ("present", "managed"))
        zone.watermark[: WMARK_HIGH + 1] = integers(recorded, where, "wm", WMARK_HIGH + 1)
        zone.lowmem_reserve[:] = integers(recorded, where, "lowmem_reserve", len(ZONE_NAMES))
        if max(*zone.watermark, *zone.lowmem_reserve) > FRAMES_MAX:
            raise ValueError(f"{where} has a mark or a reserve of more than {FRAMES_MAX} pages")
    refresh_zone_stat_thresholds(m)
    return m


def _add_phase(section: Section, m: Machine, phase: Phase) -> None:
    gfp = integer(phase, "phase", "gfp_val")
    if phase["order"] or not phase["allocs"] or gfp & GFP_MEMALLOC or leaves_memory(m, phase, zone_type_of(gfp)):
        return
    for z, zone in enumerate(m.zones):
        type_name = ZONE_NAMES[zone.zone_type]
        key = f"{zone.node}:{type_name}"
        if key not in phase["before"] or zone.zone_type > zone_type_of(gfp):
            continue
        before, after = phase["before"][key], phase["after"][key]
        if before["boost"] or after["boost"] or (after["highatomic"] and not may_use_reserves(gfp)):
            continue
        mark = most_refused(m, z, gfp)
        allowed = int(pcps_of_zone(m, z)["stat_threshold"][0]) + 1
        section.rows += 1
        is_near = abs(after["free_nosnap"] - mark) <= allowed
        section.equal += is_near
        if not is_near:
            where = f"{phase['gfp']}, {name_on_node(m, type_name, zone.node)}"
            found = f"recorded a stop at {after['free_nosnap']} free pages, kmsim {mark}, {allowed} more or less"
            section.why = section.why or f"{where}: {found}"


def leaves_memory(m: Machine, phase: Phase, highest: int) -> bool:
    """Is a zone that the request may not use above its high mark when it fails?"""
    for zone in m.zones:
        counted = phase["after"].get(f"{zone.node}:{ZONE_NAMES[zone.zone_type]}")
        if counted and zone.zone_type > highest and counted["free_nosnap"] > zone.watermark[WMARK_HIGH]:
            return True
    return False


def zone_type_of(gfp: int) -> int:
    """The highest type of zone that the request may use."""
    return _flags_of(gfp)[0]


def may_use_reserves(gfp: int) -> bool:
    """May the request take pages that are kept for high-order atomic ones?"""
    return _flags_of(gfp)[1] & ALLOC_RESERVES != 0


@entry
def _flags_of(gfp: int) -> tuple[int, int]:
    """The highest type of zone, and what the request may do once the low mark has stopped it."""
    return gfp_zone(gfp), gfp_to_alloc_flags(gfp, 0)


@entry
def most_refused(m: Machine, z: int, gfp: int) -> int:
    """The most free pages of a zone at which a request for one page is refused at last."""
    alloc_flags = gfp_to_alloc_flags(gfp, 0)
    refused, enough = 0, 1 << 40
    while enough - refused > 1:
        middle = (refused + enough) // 2
        if zone_watermark_ok(m, z, 0, m.zones[z].watermark[WMARK_MIN], gfp_zone(gfp), alloc_flags, middle):
            enough = middle
        else:
            refused = middle
    return refused
