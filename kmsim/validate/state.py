"""Section `fresh.state`: the boot's state, recounted.

kmsim cannot derive where the boot put its pages, but a state it can start from must be one: each
block aligned, within its zone, on its pageblock's list, counted, apart from its buddy, and in one
place only (`mm.recount`). A row is a page frame number on a list.
"""

from __future__ import annotations

from typing import Any

from kmsim.mm.memblock import recount
from kmsim.procfs.recorded import Recording, RecordingError
from kmsim.procfs.recorded_state import build_machine, has_lists, is_cut, is_state
from kmsim.validate.compare import differences, machine_items, recorded_items
from kmsim.validate.report import Section, skipped


def fault(recording: Recording, part: Any) -> str:
    """What is wrong with a raw state, if this is one, that only a recount finds; empty if nothing is."""
    if not is_state(part) or not has_lists(part):
        return ""
    try:
        recount(build_machine(recording, part))
    except (RecordingError, AssertionError) as error:
        return str(error)
    return ""


def state_section(recording: Recording, name: str) -> Section:
    """Load the state, recount it, and write it back."""
    raw = recording.lab[name]["state"]
    if not has_lists(raw) or is_cut(raw):
        return skipped(name, "its lists were not recorded whole")
    rows = sum(len(pfns) for zone in raw for pfns in zone["lists"].values())
    rows += sum(len(pfns) for zone in raw for pcp in zone["pcp"] for pfns in pcp["lists"].values())
    try:
        m = build_machine(recording, raw)
        recount(m)
    except (RecordingError, AssertionError) as error:
        return Section(name, rows=rows, why=str(error))
    _, lines = differences(recorded_items(m, raw), machine_items(m, lists=True))
    return Section(name, rows=rows, equal=0 if lines else rows, why="; ".join(lines[:3]))
