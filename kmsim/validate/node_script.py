"""Sections `script.node.*`: requests near a given node, with or without __GFP_THISNODE, and frees from afar.

A row is one of `validate.script`, and how the request was made, near which node, which node the page came from, and the
zone's count of free pages; where it failed, that of all zones, and no per-CPU lists. Nothing else ran, so every row and
every item of the state afterwards must be equal. The requests may not reclaim: that one fails is a decision like any.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from kmsim.jit import core, entry
from kmsim.mm.gfp import GFP_DIRECT_RECLAIM, GFP_THISNODE
from kmsim.mm.mmzone import NO_PAGE, NUMA_NO_NODE, PG_LRU, Machine, pcp_index
from kmsim.mm.page_alone import alloc_pages, alloc_pages_node, free_pages
from kmsim.mm.zonelist import page_zone
from kmsim.procfs.recorded import Recording, RecordingError, integer, integers
from kmsim.procfs.recorded_state import build_machine, is_cut
from kmsim.validate.replay import (
    DIFFERS,
    FINISHED,
    MIGRATETYPE,
    NOT_ALLOCATED,
    OP,
    ORDER,
    PFN,
    SCRIPT_GFPS,
    Frames,
    Rows,
    Stop,
    free_frames,
    is_allocated,
    note_pcp,
)
from kmsim.validate.report import Section, cut_section
from kmsim.validate.script import checked_log, lists_at, silent_section

HOW, WANT, NID, FREE = range(9, 13)
NR_COLUMNS = 13
THISNODE, OF_NODE = 1, 2  # bits of `how`: with __GFP_THISNODE; by alloc_pages_node


def node_script_sections(recording: Recording, name: str) -> list[Section]:
    """The rows of one script, and its `after`."""
    script = recording.lab[name]
    log = _checked_log(recording, script["log"])
    cpu = integer(script, name, "cpu", 0, recording.nr_cpus - 1)
    gfps = np.array(integers(script, name, "gfps", len(SCRIPT_GFPS)))
    if (gfps & GFP_DIRECT_RECLAIM).any():
        raise ValueError("gfps must not reclaim")
    if is_cut(script["before"]):
        return [cut_section(name)]
    try:
        m = build_machine(recording, script["before"])
        put_on_lru(m, script["lru"])
    except RecordingError as error:
        return [Section(name, rows=len(log), why=f"its first state: {error}")]
    got = np.zeros((len(log), NR_COLUMNS), np.int64)
    stop = Stop(*replay_nodes(m, cpu, log, gfps, free_frames(m), got))
    rows = _row_section(name, m, log, got, stop)
    if stop.reason != FINISHED:
        return [rows, Section(f"{name}.after", rows=1, why="the rows before it differ")]
    return [rows, silent_section(f"{name}.after", m, script["after"])]


def put_on_lru(m: Machine, pfns: list[Any]) -> None:
    """Mark pages that could be migrated, though nobody asked for them here; RecordingError where some cannot be."""
    if not all(type(pfn) is int and 0 <= pfn < m.params[0].nr_frames for pfn in pfns):
        raise RecordingError("'lru' is no list of page frame numbers")
    if m.pages["page_flags"][pfns].any():
        raise RecordingError("'lru' has pages that are free")
    m.pages["page_flags"][pfns] = PG_LRU
    m.pages["order"][pfns] = 0


def _checked_log(recording: Recording, raw: Any) -> Rows:
    """A recorded log as a table; ValueError where a row asks for what nobody can."""
    log = checked_log(recording, raw, NR_COLUMNS)
    nr_nodes = len(recording.lab["topology"]["nodes"])
    is_alloc = log[:, OP] == 1
    if not np.isin(log[:, HOW], range(4)).all() or log[~is_alloc, HOW].any():
        raise ValueError("how must be from 0 to 3, and 0 where a page is freed")
    if not np.isin(log[is_alloc, WANT], range(nr_nodes)).all():
        raise ValueError(f"want must be a node from 0 to {nr_nodes - 1}")
    return log


def _row_section(name: str, m: Machine, log: Rows, got: Rows, stop: Stop) -> Section:
    nr_run = stop.row if stop.reason == FINISHED else stop.row + 1
    equal = (got[:nr_run] == log[:nr_run]).all(axis=1)
    section = Section(name, rows=len(log), equal=int(equal.sum()))
    if not equal.all():
        row = int(np.argmin(equal))
        _, order, _, pfn = log[row, : PFN + 1].tolist()
        found = f"recorded {log[row].tolist()}, kmsim {got[row].tolist()}"
        if stop.reason == NOT_ALLOCATED and row == stop.row:
            found = f"recorded {log[row].tolist()}, but pfn {pfn} is not an allocated block of order {order} in kmsim"
        section.why = f"row {row}: {found}; {lists_at(m, pfn, order)}"
    return section


@core
def allocate(m: Machine, ac: int, gfp: int, order: int, how: int, want: int) -> int:
    """One request as a row says it was made."""
    if how & THISNODE:
        gfp |= GFP_THISNODE
    if how & OF_NODE:
        return alloc_pages_node(m, ac, gfp, order, want)
    return alloc_pages(m, ac, gfp, order)


@core
def free_counters(m: Machine) -> int:
    """Free pages of all zones, without the CPUs' pending deltas."""
    free = 0
    for zone in range(len(m.zones)):
        free += max(m.zones[zone].nr_free_pages, 0)
    return free


@entry
def replay_nodes(m: Machine, ac: int, log: Rows, gfps: Rows, frames: Frames, got: Rows) -> tuple[int, int]:
    """Run the rows of `log`; `got` is filled with what kmsim says.

    Returns the row at which it stopped (len(log) at the end) and the reason.
    """
    for row in range(log.shape[0]):
        order = log[row, ORDER]
        pfn = log[row, PFN]
        for column in range(log.shape[1]):
            got[row, column] = log[row, column] if column in (OP, ORDER, MIGRATETYPE, HOW, WANT) else 0
        if log[row, OP] == 1:
            gfp = gfps[log[row, MIGRATETYPE]]
            pfn = allocate(m, ac, gfp, order, log[row, HOW], log[row, WANT])
            if pfn != NO_PAGE:
                frames[pfn : pfn + (1 << order)] = 0
        else:
            if not is_allocated(m, frames, pfn, order):
                got[row, PFN] = NO_PAGE
                return row, NOT_ALLOCATED
            free_pages(m, ac, pfn, order)
            frames[pfn : pfn + (1 << order)] = 1
        got[row, PFN] = pfn
        if pfn == NO_PAGE:
            got[row, NID] = NUMA_NO_NODE
            got[row, FREE] = free_counters(m)
        else:
            zone = page_zone(m, pfn)
            note_pcp(m, pcp_index(m, zone, m.contexts[ac].cpu), got[row, PFN:])
            got[row, NID] = m.zones[zone].node
            got[row, FREE] = max(m.zones[zone].nr_free_pages, 0)
        if pfn != log[row, PFN]:
            return row, DIFFERS
    return log.shape[0], FINISHED
