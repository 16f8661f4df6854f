"""Sections `script.*`: every row, the state at the end, and the state after draining."""

from __future__ import annotations

from typing import Any

import numpy as np

from kmsim.mm.mmzone import MIGRATE_TYPES, MIGRATETYPE_NAMES, PG_BUDDY, PG_PCP, Machine
from kmsim.mm.pageblock import free_list_head
from kmsim.mm.pcp import pindex_to_order
from kmsim.mm.snapshot import copy_machine, walk
from kmsim.mm.zone_names import zone_names
from kmsim.procfs.recorded import Recording, RecordingError, integer
from kmsim.procfs.recorded_state import RawState, build_machine, has_lists, is_cut
from kmsim.validate.compare import differences, machine_items, recorded_items
from kmsim.validate.foreign import Foreign, explain
from kmsim.validate.replay import (
    FINISHED,
    MIGRATETYPE,
    NO_BLOCK,
    NOT_ALLOCATED,
    OP,
    ORDER,
    PFN,
    SCRIPT_GFPS,
    TIGHT_GFPS,
    Frames,
    Rows,
    Stop,
    as_rows,
    drain_all,
    free_frames,
    replay,
)
from kmsim.validate.report import Section, cut_section, skipped

NR_COLUMNS = 9


def script_sections(recording: Recording, name: str) -> list[Section]:
    """The rows of one script, its `after` and its `after_drain`."""
    script = recording.lab[name]
    log = checked_log(recording, script["log"], NR_COLUMNS)
    cpu = integer(script, name, "cpu", 0, recording.nr_cpus - 1)
    start = script.get("mid") or script["before"]
    if is_cut(start):
        return [cut_section(name)]
    try:
        m = build_machine(recording, start)
    except RecordingError as error:
        return [Section(name, rows=len(log), why=f"its first state: {error}")]
    got = np.zeros((len(log), NR_COLUMNS - PFN), np.int64)
    stop = Stop(*replay(m, cpu, log, gfps_of(script), free_frames(m), got))
    rows = _row_section(name, m, log, got, stop)
    if stop.reason == NO_BLOCK and no_list_holds(m, int(log[stop.row, ORDER])):
        why = f"row {stop.row} needs the kernel's slow path"
        return [rows, skipped(f"{name}.after", why), skipped(f"{name}.after_drain", why)]
    if stop.reason != FINISHED:
        why = "the rows before it differ"
        return [rows, *(Section(f"{name}.{moment}", rows=1, why=why) for moment in ("after", "after_drain"))]
    m, after = state_section(f"{name}.after", m, script["after"], held_frames(m, log))
    return [rows, after, drained_section(f"{name}.after_drain", m, cpu, script["after_drain"])]


def checked_log(recording: Recording, raw: Any, nr_columns: int) -> Rows:
    """A recorded log as a table; ValueError where a row asks for what nobody can."""
    log = as_rows(raw, nr_columns)
    if not np.isin(log[:, OP], (1, -1)).all():
        raise ValueError("op must be 1 (allocated) or -1 (freed)")
    if not np.isin(log[:, MIGRATETYPE], range(len(SCRIPT_GFPS))).all():
        raise ValueError(f"mt must be from 0 to {len(SCRIPT_GFPS) - 1}")
    if not np.isin(log[:, ORDER], range(int(recording.consts["max_order_inclusive"]) + 1)).all():
        raise ValueError(f"order must be from 0 to {recording.consts['max_order_inclusive']}")
    return log


def gfps_of(script: dict[str, Any]) -> Rows:
    """What the driver asked for, by migratetype: tight scripts may not reclaim, not even wake kswapd."""
    return TIGHT_GFPS if script.get("kind") == "tight" else SCRIPT_GFPS


def no_list_holds(m: Machine, order: int) -> bool:
    """Is no block of an order free, so that only the kernel's slow path could come by one?"""
    largest = int(m.params[0].max_page_order)
    return not m.zones["nr_free"][:, order : largest + 1].any()


def held_frames(m: Machine, log: Rows) -> Frames:
    """1 for every page frame that the script held at its end: no other task can have freed it."""
    frames = np.zeros(int(m.params[0].nr_frames), np.uint8)
    for op, order, _, pfn in log[log[:, PFN] >= 0, : PFN + 1].tolist():
        frames[pfn : pfn + (1 << order)] = op == 1
    return frames


def _row_section(name: str, m: Machine, log: Rows, got: Rows, stop: Stop) -> Section:
    nr_run = stop.row if stop.reason == FINISHED else stop.row + 1
    slow_path = stop.reason == NO_BLOCK and no_list_holds(m, int(log[stop.row, ORDER]))
    if slow_path:
        nr_run = stop.row
    equal = (got[:nr_run] == log[:nr_run, PFN:]).all(axis=1)
    if stop.reason == NOT_ALLOCATED:
        equal[stop.row] = False
    section = Section(name, rows=len(log), equal=int(equal.sum()))
    if slow_path:
        section.rows = nr_run
        section.skipped = len(log) - nr_run
        section.why = f"from row {stop.row} on the kernel's slow path decides, which is not modelled"
    if not equal.all():
        row = int(np.argmin(equal))
        section.why = explain_row(m, log, got, row, not_allocated=stop.reason == NOT_ALLOCATED and row == stop.row)
    return section


def explain_row(m: Machine, log: Rows, got: Rows, row: int, *, not_allocated: bool) -> str:
    """The first difference for a person: the row, both answers, and the lists there."""
    op, order, migratetype, pfn = (int(value) for value in log[row, :4])
    what = "allocation" if op == 1 else "free"
    text = f"row {row}, {what} of order {order}, {MIGRATETYPE_NAMES[migratetype]}: recorded {log[row, PFN:].tolist()}"
    if not_allocated:
        return f"{text}, but pfn {pfn} is not an allocated block of order {order} in kmsim"
    columns = "(pfn, count, high, batch, alloc_factor, free_count)"
    return f"{text}, kmsim {got[row].tolist()} {columns}; {lists_at(m, pfn, order)}"


def lists_at(m: Machine, pfn: int, order: int) -> str:
    """What kmsim's lists of this order hold, and where it has the pfn."""
    parts = []
    names = zone_names(m)
    for z, zone in enumerate(m.zones):
        if zone.present_pages:
            heads = [walk(m, free_list_head(m, z, order, mt))[:3] for mt in range(MIGRATE_TYPES)]
            lists = ", ".join(f"{order}{letter} {pfns}" for letter, pfns in zip("UMRH", heads, strict=True) if pfns)
            parts.append(f"{names[z]} free lists: {lists or 'none'}")
    if 0 <= pfn < int(m.params[0].nr_frames):
        page_flags = int(m.pages[pfn].page_flags)
        where = {PG_BUDDY: "on a free list", PG_PCP: "on a per-CPU list"}.get(page_flags, "heads no free block")
        parts.append(f"pfn {pfn} {where}")
    return "; ".join(parts)


def drained_section(name: str, m: Machine, cpu: int, raw: RawState) -> Section:
    """A machine, once its per-CPU lists are empty, against a recorded state; something may come before or after."""

    def differing_drained(machine: Machine) -> list[str]:
        drained = copy_machine(machine)
        drain_all(drained, cpu)
        return differing(drained, raw)[1]

    drained = copy_machine(m)
    drain_all(drained, cpu)
    _, section = state_section(name, drained, raw, None)
    if not section.agrees:
        found = explain(m, cpus_of(m), [], lambda machine: not differing_drained(machine))
        if found is not None:
            return disturbed(name, section.rows, found[0], "before the lists were drained")
    return section


def state_section(name: str, m: Machine, raw: RawState, held: Frames | None) -> tuple[Machine, Section]:
    """A machine against a recorded state; a foreign operation in between is looked for where they differ.

    `held` marks the frames that the recording's own task holds, which nobody else can have freed; None
    where nothing is known, and no free is tried. Returns the machine with that operation in it, if
    there was one.
    """
    rows, lines = differing(m, raw)
    if not lines:
        return m, Section(name, rows=rows, equal=rows)
    freed = freed_frames(m, raw, held) if held is not None else []
    found = explain(m, cpus_of(m), freed, lambda machine: not differing(machine, raw)[1])
    if found is None:
        return m, Section(name, rows=rows, equal=rows - len(lines), why="; ".join(lines[:3]))
    return found[1], disturbed(name, rows, found[0], "between the last row and the dump")


def differing(m: Machine, raw: RawState) -> tuple[int, list[str]]:
    """How many items of a recorded state were compared, and a line for each that differs."""
    return differences(recorded_items(m, raw), machine_items(m, lists=has_lists(raw)))


def silent_section(name: str, m: Machine, raw: RawState) -> Section:
    """A machine against a recorded state between which and its last row nothing else can have run."""
    rows, lines = differing(m, raw)
    return Section(name, rows=rows, equal=rows - len(lines), why="; ".join(lines[:3]))


def disturbed(name: str, rows: int, foreign: Foreign, when: str) -> Section:
    """A section that agrees once a foreign operation is allowed for."""
    return Section(name, rows=rows, equal=rows, skipped=1, why=f"{foreign} came {when}")


def cpus_of(m: Machine) -> list[int]:
    """The numbers of a machine's CPUs."""
    return list(range(int(m.params[0].nr_cpus)))


def freed_frames(m: Machine, raw: RawState, held: Frames) -> list[int]:
    """The first page frames that the recording has as free and kmsim as allocated, and that are not held."""
    recorded = np.zeros(int(m.params[0].nr_frames), np.uint8)
    for zone in raw:
        for key, pfns in zone["lists"].items():
            for pfn in pfns:
                if pfn >= 0:
                    recorded[pfn : pfn + (1 << int(key[:-1]))] = 1
        for pcp in zone["pcp"]:
            for pindex, pfns in pcp["lists"].items():
                order = pindex_to_order(int(pindex), int(m.params[0].pmd_order))
                for pfn in pfns:
                    recorded[pfn : pfn + (1 << order)] = 1
    return [int(pfn) for pfn in np.flatnonzero(recorded & (1 - free_frames(m)) & (1 - held))[:8]]
