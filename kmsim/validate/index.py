"""Sections of the debugfs files extfrag_index and unusable_index, from the free blocks of their moment.

buddyinfo was read just before them; a moment's own state, where there is no such file, a little earlier.
"""

from __future__ import annotations

from collections.abc import Callable

from kmsim.mm.vmstat import fragmentation_index, unusable_free_index
from kmsim.procfs import buddyinfo, indices
from kmsim.procfs.recorded import Recording
from kmsim.validate.report import Section, skipped

INDICES: dict[str, Callable[[list[int], int], int]] = {
    "extfrag_index": fragmentation_index,
    "unusable_index": unusable_free_index,
}
ACTIVE = ("script", "steal", "wmark", "numa")  # sections, by the first word of their names, that move free blocks
FreeCounts = dict[tuple[int, str], list[int]]  # by node and zone


def free_counts(recording: Recording, moment: str) -> FreeCounts | None:
    """Free blocks per order and zone at a moment: buddyinfo's, else the state's own; None if neither is there."""
    text = recording.files.get("end.buddyinfo" if moment == "unfrag" else f"{moment}.buddyinfo")
    if text is not None:
        return {(zone.node, zone.zone): list(zone.nr_free) for zone in buddyinfo.parse(text)}
    section = recording.lab.get(f"{moment}.do")
    if isinstance(section, dict) and "state" in section:
        return {(zone.get("nid", 0), zone["name"]): list(zone["nr_free"]) for zone in section["state"]}
    return None


def ends_unfragmented(recording: Recording) -> bool:
    """Did the recording end with `unfrag`, so that the free blocks of that moment are those of its end?"""
    names = [name for name in recording.lab if name.endswith(".undo") or name.split(".")[0] in ACTIVE]
    return not names or names[-1].endswith(".undo")


def index_section(recording: Recording, name: str) -> Section:
    """One index file, value by value."""
    moment, _, kind = name.rpartition(".")
    counts = free_counts(recording, moment)
    if counts is None or (moment == "unfrag" and not ends_unfragmented(recording)):
        return skipped(name, "the free blocks of that moment were not recorded")
    section = Section(name)
    for node, zone, recorded in indices.parse(recording.files[name]):
        for order, wanted in enumerate(recorded):
            got = INDICES[kind](counts[node, zone], order) if (node, zone) in counts else None
            section.rows += 1
            section.equal += got == wanted
            if got != wanted and not section.why:
                section.why = (
                    f"node {node}, zone {zone}, order {order}: recorded {wanted}, kmsim {got} (in thousandths)"
                )
    return section
