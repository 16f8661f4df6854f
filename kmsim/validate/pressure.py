"""Sections of a machine that is out of free memory: each request, each step of reclaim, and the state at the end.

A row is a request or a free, with the page, this CPU's list of the page's zone and the zone's free pages after it, and
how many steps there were until then. A step is an event of the recording: which lists were scanned, how far, what
became of each page. All columns and all steps are compared, but those of slab shrinkers, which freed nothing. That the
swap cache asks for a page of its own is an input; which page it gets is compared.

A row in which compaction's scanners would start ends the score of its section: they are not modelled yet.
"""

from __future__ import annotations

from itertools import pairwise
from typing import Any, NamedTuple

import numpy as np

from kmsim.jit import core, entry
from kmsim.mm.gfp import GFP_FLAGS
from kmsim.mm.lru_records import LRU_EVENT_NAMES
from kmsim.mm.mmzone import NEEDS_SLOW_PATH, NO_PAGE, Machine, pcp_index
from kmsim.mm.page_alone import alloc_pages, free_pages
from kmsim.mm.trace import TRACE_VM_EVENT, new_trace, trace
from kmsim.mm.zone_names import populated_zones
from kmsim.mm.zonelist import page_zone
from kmsim.procfs.recorded import Recording, RecordingError, field, integer
from kmsim.procfs.recorded_lru import build_reclaim_machine, lru_items, recorded_lru_items
from kmsim.procfs.recorded_pressure import QUIET_KSWAPD, pressure_states
from kmsim.procfs.recorded_state import is_cut
from kmsim.validate.compare import differences, machine_items, recorded_items
from kmsim.validate.replay import DIFFERS, FINISHED, NOT_ALLOCATED, Frames, Rows, as_rows, free_frames, is_allocated
from kmsim.validate.report import Section, cut_section, skipped

OP, ORDER, GFP, ZONE, PFN, COUNT, HIGH, ALLOC_FACTOR, FREE_COUNT, FREE, EVENTS = range(11)
NR_COLUMNS = 11
NEEDS_COMPACTION = 4  # why a replay stopped, besides those of `validate.replay`

# How many numbers a step has, by its letter; steps of other letters are not compared.
WIDTHS = {"K": 4, "T": 3, "S": 3, "R": 5, "Z": 5, "d": 2, "e": 1, "n": 11, "i": 7, "s": 12, "a": 6}
WIDTHS |= {"r": 1, "v": 1, "k": 1, "t": 7, "c": 6, "U": 2, "V": 2, "A": 2, "L": 1}
LOOKED_AT = "rvk"
SLAB_PAGE_WANTED = "A"
NOT_COMPARED = "hH"  # slab shrinkers
SCANNERS = "B"  # compaction of a zone begins
KINDS = ("compact", "reclaim", "slow")  # sections, by the first word of their names
COMMANDS = ("palloc", "pmix")  # of the driver: requests, requests and frees
TRACE_ROWS_MORE = 100_000  # than were recorded
GFP_MAX = 1 << 27

Steps = list[list[Any]]


class Log(NamedTuple):
    """A section's rows, and the steps of each that are compared."""

    rows: Rows
    steps: list[Steps]
    nr_scored: int  # rows up to the first in which compaction's scanners start


def is_replayed(recording: Recording, name: str) -> bool:
    """Is it a section of requests on a machine under pressure, with kswapd kept from running?"""
    section = recording.lab.get(name)
    if name.partition(".")[0] not in KINDS or not isinstance(section, dict):
        return False
    command = str(section.get("cmd", "")).partition(" ")[0]
    quiet = section.get("quiet", 0)
    return command in COMMANDS and type(quiet) is int and quiet & QUIET_KSWAPD != 0


def pressure_sections(recording: Recording, name: str) -> list[Section]:
    """The rows of a section, and its `after`."""
    section = recording.lab[name]
    before = field(pressure_states(recording, name), name, "before", dict)
    if is_cut(before["zones"]):
        return [cut_section(name)]
    gfps = _checked_gfps(section, name)
    log = _checked_log(recording, name, len(gfps))
    cpu = integer(section, name, "cpu", 0, recording.nr_cpus - 1)
    try:
        m = build_reclaim_machine(recording, before)
    except RecordingError as error:
        return [Section(name, rows=len(log.rows), why=f"its first state: {error}")]
    node_pages, ends = _node_pages(log)
    m = m._replace(trace=new_trace(len(section["events"]) + TRACE_ROWS_MORE), lru=m.lru._replace(node_pages=node_pages))
    got = np.zeros_like(log.rows)
    given = (_vm_event_indices(recording), free_frames(m), ends)
    row, reason = replay_pressure(m, cpu, log.rows[: log.nr_scored], gfps, given, got)
    rows = _row_section(name, log, got, m.trace, (row, reason))
    if log.nr_scored < len(log.rows):
        return [rows, skipped(f"{name}.after", rows.why)]
    if reason != FINISHED:
        return [rows, Section(f"{name}.after", rows=1, why="the rows before it differ")]
    return [rows, _after_section(f"{name}.after", m, section["after"])]


def _checked_gfps(section: dict[str, Any], name: str) -> Rows:
    """The masks that rows name by number; ValueError where the kernel would refuse one."""
    gfps = [mask for _, mask in field(section, name, "gfps", list)]
    known = sum({bit for flag in GFP_FLAGS.values() for bit in [flag] if flag.bit_count() == 1})
    if not gfps or not all(type(mask) is int and 0 <= mask < GFP_MAX and not mask & ~known for mask in gfps):
        raise ValueError("gfps must be masks of flags that there are")
    return np.array(gfps, np.int64)


def _checked_log(recording: Recording, name: str, nr_gfps: int) -> Log:
    """A recorded log as a table with the steps of each row; ValueError where a row asks for what nobody can."""
    section = recording.lab[name]
    rows = as_rows(section["rows"], NR_COLUMNS)
    events = field(section, name, "events", list)
    if not all(isinstance(event, list) and event and isinstance(event[0], str) for event in events):
        raise ValueError("events must be lists that begin with a letter")
    if not np.isin(rows[:, OP], (1, -1)).all() or not np.isin(rows[:, GFP], range(nr_gfps)).all():
        raise ValueError("op must be 1 or -1, and gfp the number of a mask")
    if not np.isin(rows[:, ORDER], range(int(recording.consts["max_order_inclusive"]) + 1)).all():
        raise ValueError(f"order must be from 0 to {recording.consts['max_order_inclusive']}")
    ends = [0, *rows[:, EVENTS].tolist()]
    if any(later < before for before, later in pairwise(ends)) or ends[-1] > len(events):
        raise ValueError("events of a row must follow those of the row before")
    of_rows = [events[first:end] for first, end in pairwise(ends)]
    starts = [index for index, of_row in enumerate(of_rows) if any(event[0] in SCANNERS for event in of_row)]
    compared = set(_vm_event_indices(recording)[:, 1].tolist())
    steps = [[event for event in of_row if _is_compared(event, compared)] for of_row in of_rows]
    rows[:, EVENTS] = np.cumsum([len(of_row) for of_row in steps])
    return Log(rows, steps, starts[0] if starts else len(rows))


def _is_compared(event: list[Any], vm_events: set[int]) -> bool:
    if event[0] == "V":
        return event[1:2] == [] or event[1] in vm_events
    return event[0] not in NOT_COMPARED


def _vm_event_indices(recording: Recording) -> Rows:
    """The counters that are compared: which of `Lru.vm_events`, and its number in the recording, by that number."""
    names = field(field(recording.lab, "lab", "pnames", dict), "pnames", "vm_events", list)
    known = {name: index for index, name in enumerate(LRU_EVENT_NAMES)}
    pairs = [[known[name], number] for number, name in enumerate(names) if name in known]
    return np.array(pairs, np.int64).reshape(-1, 2)


def _node_pages(log: Log) -> tuple[Rows, Rows]:
    """The pages that the swap cache needed for itself (see `Lru.node_pages`), and where those of each row end."""
    pages: list[list[int]] = []
    ends = []
    for steps in log.steps:
        looked_at = 0
        for step in steps:
            looked_at += step[0] in LOOKED_AT
            if step[0] == SLAB_PAGE_WANTED:
                pages.append([looked_at, *step[1:]])
        ends.append(len(pages))
    return as_rows(pages, 3), np.array(ends, np.int64)


@core
def note_row(m: Machine, ac: int, row: Rows, pfn: int) -> None:
    """Write what a row shows of the machine: page, list and counter of its zone."""
    row[PFN] = pfn
    if pfn == NO_PAGE:
        row[ZONE] = -1
        for z in range(len(m.zones)):
            row[FREE] += max(int(m.zones[z].nr_free_pages), 0)
        return
    zone = page_zone(m, pfn)
    pcp = m.pcps[pcp_index(m, zone, int(m.contexts[ac].cpu))]
    row[ZONE] = m.zones[zone].zone_type
    row[COUNT] = pcp.count
    row[HIGH] = pcp.high
    row[ALLOC_FACTOR] = pcp.alloc_factor
    row[FREE_COUNT] = pcp.free_count
    row[FREE] = max(int(m.zones[zone].nr_free_pages), 0)


@core
def note_vm_events(m: Machine, events: Rows) -> None:
    """Note the counters that this row has changed, as steps, and set them to 0."""
    for index in range(events.shape[0]):
        of_machine = events[index, 0]
        if m.lru.vm_events[of_machine]:
            trace(m, TRACE_VM_EVENT, events[index, 1], m.lru.vm_events[of_machine], 0, 0)
            m.lru.vm_events[of_machine] = 0


@entry
def replay_pressure(
    m: Machine, ac: int, log: Rows, gfps: Rows, given: tuple[Rows, Frames, Rows], got: Rows
) -> tuple[int, int]:
    """Run the rows of `log`; `got` is filled with what kmsim says.

    `given`: the vm events that are compared, which frames are free, and where each row's `node_pages` end.

    Returns the row at which it stopped (len(log) at the end) and the reason.
    """
    events, frames, ends = given
    swap = m.lru.swap[0]
    for row in range(log.shape[0]):
        m.lru.reclaims[ac].nr_looked_at = 0
        swap.next_node_page = swap.end_node_page
        swap.end_node_page = ends[row]
        order, pfn = log[row, ORDER], log[row, PFN]
        for column in (OP, ORDER, GFP):
            got[row, column] = log[row, column]
        if log[row, OP] == 1:
            pfn = alloc_pages(m, ac, gfps[log[row, GFP]], order)
            if pfn != NO_PAGE:
                frames[pfn : pfn + (1 << order)] = 0
            elif m.events[NEEDS_SLOW_PATH]:
                return row, NEEDS_COMPACTION
        else:
            if not is_allocated(m, frames, pfn, order):
                return row, NOT_ALLOCATED
            free_pages(m, ac, pfn, order)
            frames[pfn : pfn + (1 << order)] = 1
        note_row(m, ac, got[row], pfn)
        note_vm_events(m, events)
        got[row, EVENTS] = m.trace[0, 0]
        if pfn != log[row, PFN]:
            return row, DIFFERS
    return log.shape[0], FINISHED


def _row_section(name: str, log: Log, got: Rows, found: Rows, stop: tuple[int, int]) -> Section:
    row, reason = stop
    nr_run = row if reason in (FINISHED, NEEDS_COMPACTION, NOT_ALLOCATED) else row + 1
    section = Section(name, rows=log.nr_scored, skipped=len(log.rows) - log.nr_scored)
    if section.skipped:
        section.why = f"from row {log.nr_scored} on compaction decides, which is not modelled"
    first = 0
    for index in range(nr_run):
        end = int(got[index, EVENTS])
        steps = decoded(found[1 + first : 1 + end])
        first = end
        if (got[index] == log.rows[index]).all() and steps == log.steps[index]:
            section.equal += 1
        elif section.equal == index:
            section.why = _explained(index, log, got[index], steps)
    if nr_run < log.nr_scored and section.equal == nr_run:
        why = {NEEDS_COMPACTION: "compaction would start in kmsim", NOT_ALLOCATED: "a block is freed that is not held"}
        section.why = f"row {row}: {why[reason]}"
    return section


def decoded(rows: Rows) -> Steps:
    """Steps as recordings have them: the letter, then as many numbers as it has, signed, of 32 bits."""
    steps = []
    for row in rows.tolist():
        letter = chr(row[0])
        steps.append(
            [letter, *(((value + (1 << 31)) % (1 << 32)) - (1 << 31) for value in row[1 : 1 + WIDTHS[letter]])]
        )
    return steps


def _explained(index: int, log: Log, got: Rows, steps: Steps) -> str:
    """The first difference of a row for a person."""
    expected = log.steps[index]
    at = next((i for i, (a, b) in enumerate(zip(expected, steps, strict=False)) if a != b), None)
    if at is None and len(expected) == len(steps):
        return f"row {index}: recorded {log.rows[index].tolist()}, kmsim {got.tolist()}"
    at = min(len(expected), len(steps)) if at is None else at
    wanted, found = (of[at] if at < len(of) else "no more" for of in (expected, steps))
    return f"row {index}, step {at}: recorded {wanted}, kmsim {found}"


def _after_section(name: str, m: Machine, state: dict[str, Any]) -> Section:
    """The machine at the end against the recorded state: free lists, per-CPU lists, LRU lists and costs."""
    wanted = recorded_items(m, state["zones"]) | recorded_lru_items(state)
    got = machine_items(m, lists=True) | lru_items(m)
    for zone in state["zones"]:
        wanted[f"{zone['name']} boost"] = integer(zone, "a zone", "boost")
    for (_, of), z in populated_zones(m).items():
        got[f"{of} boost"] = int(m.zones[z].watermark_boost)
    rows, lines = differences(wanted, got)
    return Section(name, rows=rows, equal=rows - len(lines), why="; ".join(lines[:3]))
