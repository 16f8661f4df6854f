"""Section `numa`: pages taken until there are none, stretch by stretch, each from one zone.

A row is a stretch: its zone, its length, and the counters of every zone when the next one had begun. Nothing else ran.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import zip_longest
from typing import Any

from kmsim.jit import entry
from kmsim.mm.gfp import GFP_FLAGS
from kmsim.mm.mmzone import NO_PAGE, NO_ZONE, ZONE_NAMES, Machine, pcps_of_zone
from kmsim.mm.page_alone import alloc_pages
from kmsim.mm.zone_names import populated_zones
from kmsim.procfs.recorded import Recording, RecordingError, integer
from kmsim.procfs.recorded_state import build_machine, is_cut
from kmsim.validate.report import Section, cut_section
from kmsim.validate.script import silent_section

GFP_NOWAIT = GFP_FLAGS["GFP_NOWAIT"]
Stretch = dict[str, Any]


def fill_sections(recording: Recording, name: str) -> list[Section]:
    """Every stretch, and the state afterwards."""
    part = recording.lab[name]
    cpu = integer(part, name, "cpu", 0, recording.nr_cpus - 1)
    recorded: list[Stretch] = part["fill"]
    if is_cut(part["before"]):
        return [cut_section(name)]
    try:
        m = build_machine(recording, part["before"])
    except RecordingError as error:
        return [Section(name, rows=len(recorded), why=f"its first state: {error}")]
    pairs = list(zip_longest(recorded, stretches(m, cpu)))
    different = [n for n, (wanted, got) in enumerate(pairs) if wanted != got]
    section = Section(name, rows=len(pairs), equal=len(pairs) - len(different))
    if different:
        wanted, got = pairs[different[0]]
        section.why = f"stretch {different[0]}: recorded {wanted}, kmsim {got}"
    return [section, silent_section(f"{name}.after", m, part["after"])]


def stretches(m: Machine, cpu: int) -> Iterator[Stretch]:
    """Take pages until there are none; each stretch, in the recording's words."""
    z = allocate_from_one_zone(m, cpu, NO_ZONE)[0]
    run = 1
    while z != NO_ZONE:
        following, more = allocate_from_one_zone(m, cpu, z)
        yield {
            "node": int(m.zones[z].node),
            "zone": ZONE_NAMES[m.zones[z].zone_type],
            "run": run + more,
            "free": counters(m),
        }
        z, run = following, 1


def counters(m: Machine) -> dict[str, dict[str, int]]:
    """What was recorded of every zone at the end of a stretch."""
    found = {}
    for (node, name), z in populated_zones(m).items():
        zone, pcps = m.zones[z], pcps_of_zone(m, z)
        found[f"{node}:{name}"] = {
            "free": max(0, int(zone.nr_free_pages + pcps["vm_stat_diff"].sum())),
            "free_nosnap": max(0, int(zone.nr_free_pages)),
            "pcp": int(pcps["count"].sum()),
            "highatomic": int(zone.nr_reserved_highatomic),
            "boost": int(zone.watermark_boost),
        }
    return found


@entry
def allocate_from_one_zone(m: Machine, ac: int, z: int) -> tuple[int, int]:
    """Take pages while they come from one zone; the zone of the first that does not, or NO_ZONE, and how many did."""
    nr_pages = 0
    while True:
        if alloc_pages(m, ac, GFP_NOWAIT, 0) == NO_PAGE:
            return NO_ZONE, nr_pages
        if m.contexts[ac].zone != z:
            return int(m.contexts[ac].zone), nr_pages
        nr_pages += 1
