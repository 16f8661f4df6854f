"""Sections of the debugfs files extfrag_index and unusable_index, from the free blocks of their moment."""

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
FreeCounts = dict[str, list[int]]


def free_counts(recording: Recording, moment: str) -> FreeCounts | None:
    """Free blocks per order and zone at a moment: the state's own, else buddyinfo's; None if neither is there."""
    section = recording.lab.get(f"{moment}.do")
    if isinstance(section, dict) and "state" in section:
        return {zone["name"]: list(zone["nr_free"]) for zone in section["state"]}
    # What `unfrag` shows is what the recording ended with.
    text = recording.files.get(f"{moment}.buddyinfo" if moment != "unfrag" else "end.buddyinfo")
    if text is None:
        return None
    return {zone.zone: list(zone.nr_free) for zone in buddyinfo.parse(text)}


def index_section(recording: Recording, name: str) -> Section:
    """One index file, value by value."""
    moment, _, kind = name.rpartition(".")
    counts = free_counts(recording, moment)
    if counts is None:
        return skipped(name, "the free blocks of that moment were not recorded")
    section = Section(name)
    for _, zone, recorded in indices.parse(recording.files[name]):
        for order, wanted in enumerate(recorded):
            got = INDICES[kind](counts[zone], order) if zone in counts else None
            section.rows += 1
            section.equal += got == wanted
            if got != wanted and not section.why:
                section.why = f"zone {zone}, order {order}: recorded {wanted}, kmsim {got} (in thousandths)"
    return section
