"""Replaying recorded scripts: the same requests, row by row, through the verbs that the simulator runs.

A row is a request or a free, with the pfn and the state of the CPU's pcp after it. The replay stops
at the first row where kmsim's page frame differs, because from there on the machines differ; at a
free of something that is not allocated; and at a request that may reclaim and needs the kernel's slow
path, which is not modelled: what follows such a row is not scored. A request counts as one only if no
list holds a block of its order; that kmsim refused for another reason is a difference. That a request
which may not reclaim fails is a decision like any other: its pcp is that of the zone that served last.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from kmsim.jit import core, entry
from kmsim.mm.drain import drain_all_pages
from kmsim.mm.gfp import GFP_DIRECT_RECLAIM, GFP_FLAGS
from kmsim.mm.mmzone import NO_PAGE, NO_ZONE, PG_BUDDY, PG_PCP, Machine, pcp_index
from kmsim.mm.page_alone import alloc_pages, free_pages
from kmsim.mm.zonelist import page_zone

OP, ORDER, MIGRATETYPE, PFN = range(4)
NO_COUNT = -1  # what was recorded of a count that the kernel has not
FINISHED, DIFFERS, NOT_ALLOCATED, NO_BLOCK = range(4)

# What the recording driver asked for, by the row's migratetype column.
SCRIPT_GFPS = np.array(
    [
        GFP_FLAGS["GFP_KERNEL"],
        GFP_FLAGS["GFP_HIGHUSER_MOVABLE"],
        GFP_FLAGS["GFP_KERNEL"] | GFP_FLAGS["__GFP_RECLAIMABLE"],
    ]
)
TIGHT_GFPS = SCRIPT_GFPS & ~GFP_FLAGS["__GFP_RECLAIM"]
STEAL_GFPS = SCRIPT_GFPS & ~GFP_DIRECT_RECLAIM | GFP_FLAGS["__GFP_NORETRY"]

Rows = NDArray[np.int64]
Frames = NDArray[np.uint8]


class Stop(NamedTuple):
    """Where a replay stopped, and why (one of FINISHED, DIFFERS, NOT_ALLOCATED, NO_BLOCK)."""

    row: int
    reason: int


def free_frames(m: Machine) -> Frames:
    """1 for every page frame that is in a free block or on a per-CPU list."""
    frames = np.zeros(int(m.params[0].nr_frames), np.uint8)
    listed = np.flatnonzero(m.pages["page_flags"][: len(frames)] & (PG_BUDDY | PG_PCP))
    for pfn, order in zip(listed.tolist(), m.pages["order"][listed].tolist(), strict=True):
        frames[pfn : pfn + (1 << order)] = 1
    return frames


@core
def is_allocated(m: Machine, frames: Frames, pfn: int, order: int) -> bool:
    """Is this an aligned block of a zone, no page of which is free?"""
    end = pfn + (1 << order)
    if pfn < 0 or order < 0 or order > m.params[0].max_page_order or pfn & ((1 << order) - 1):
        return False
    if end > m.params[0].nr_frames:
        return False
    zone = page_zone(m, pfn)
    if pfn < m.zones[zone].start_pfn or end > m.zones[zone].end_pfn:
        return False
    return not frames[pfn:end].any()


@core
def note_pcp(m: Machine, p: int, row: Rows) -> None:
    """Write what is scored of a pcp behind the row's page frame."""
    pcp = m.pcps[p]
    row[1] = pcp.count
    row[2] = pcp.high
    row[3] = pcp.batch
    if m.params[0].auto_tune:
        row[4] = pcp.alloc_factor
        row[5] = pcp.free_count
    elif m.params[0].high_order_lists:
        row[4] = pcp.free_factor
        row[5] = 0
    else:
        row[4] = row[5] = NO_COUNT


@entry
def replay(m: Machine, ac: int, log: Rows, gfps: Rows, frames: Frames, got: Rows) -> tuple[int, int]:
    """Run the rows of `log`; `got` is filled with what kmsim says in columns PFN onwards.

    Returns the row at which it stopped (len(log) at the end) and the reason.
    """
    last_zone = NO_ZONE  # that of the last block that was allocated, whose lists a failure shows
    for row in range(log.shape[0]):
        order = log[row, ORDER]
        pfn = log[row, PFN]
        if log[row, OP] == 1:
            gfp = gfps[log[row, MIGRATETYPE]]
            found = alloc_pages(m, ac, gfp, order)
            got[row, 0] = found
            if found != NO_PAGE:
                frames[found : found + (1 << order)] = 0
                last_zone = int(m.contexts[ac].zone)
            elif gfp & GFP_DIRECT_RECLAIM:
                return row, NO_BLOCK
            zone = last_zone
        else:
            if not is_allocated(m, frames, pfn, order):
                return row, NOT_ALLOCATED
            free_pages(m, ac, pfn, order)
            frames[pfn : pfn + (1 << order)] = 1
            got[row, 0] = pfn
            zone = page_zone(m, pfn)
        if zone != NO_ZONE:
            note_pcp(m, pcp_index(m, zone, m.contexts[ac].cpu), got[row])
        else:  # no row before it says which zone the recording shows
            for column in range(1, got.shape[1]):
                got[row, column] = log[row, PFN + column]
        if got[row, 0] != pfn:
            return row, DIFFERS
    return log.shape[0], FINISHED


@entry
def allocate_until(m: Machine, ac: int, gfp: int, order: int, expected: Rows, got: Rows) -> int:
    """Allocate as long as kmsim hands out the expected pfns; how many it did."""
    for row in range(expected.shape[0]):
        got[row] = alloc_pages(m, ac, gfp, order)
        if got[row] != expected[row]:
            return row
    return int(expected.shape[0])


@entry
def drain_all(m: Machine, ac: int) -> None:
    """Empty every per-CPU list, for Python callers."""
    drain_all_pages(m, ac)


def as_rows(log: Any, columns: int) -> Rows:
    """A recorded log as a table; ValueError where it is not one."""
    if not isinstance(log, list) or not all(is_row(row, columns) for row in log):
        raise ValueError(f"a log must be rows of {columns} integers")
    return np.array(log, dtype=np.int64).reshape(-1, columns)


def is_row(row: Any, columns: int) -> bool:
    """Is this a list of so many integers?"""
    return isinstance(row, list) and len(row) == columns and all(type(value) is int for value in row)
