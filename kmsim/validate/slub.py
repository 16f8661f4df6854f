"""Sections `slub.*`: which slab and which object each of thousands of requests got, asked of `mm.slub`.

One CPU allocated from a new cache of its own, and freed to it, with nothing else going on. A row says op (1 allocated,
-1 freed), the handle under which the recording driver keeps the object, the first page frame of the object's slab, and
the object's index there. Of kernels that count the objects of a CPU's partial slabs (5.10) six columns behind them say
what the cache is then: the page frame of the cpu slab, the objects of its free list, slabs on the CPU's list and the
objects counted there, slabs on the node's list, slabs; of 6.12 they say -1 and are not scored. kmsim asks its own cache
for an object, row by row, and frees the one that it gave out under the same handle. Which page a new slab gets is
input: where kmsim takes a new slab, the row's page frame becomes that slab's, unless another slab that is in use has
it. All else is scored, of frees, too: whether a slab is new, which one it is, which object.

The replay stops at the first row that differs, since from there on both caches hold other objects; at a free of a
handle that holds nothing; and where the recorded request got no pages. The cache's geometry is a section of its own.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from kmsim.jit import core, entry
from kmsim.mm.gfp import parse_gfp
from kmsim.mm.mmzone import Machine
from kmsim.mm.slab_geometry import Geometry
from kmsim.mm.slub import slab_alloc_begin, slab_free_begin, slab_resume
from kmsim.mm.slub_cpu_list import noted_from
from kmsim.mm.slub_free import slab_of
from kmsim.mm.slub_records import (
    NO_OBJECT,
    NO_SLAB,
    SLAB_LIVE,
    Slub,
    cache_node_index,
    cpu_slab_index,
    new_slub,
)
from kmsim.mm.slub_recount import count_links
from kmsim.procfs.recorded import Recording
from kmsim.validate.exact import NR_BLOCKS, machine_like
from kmsim.validate.replay import DIFFERS, FINISHED, NOT_ALLOCATED, Rows, as_rows
from kmsim.validate.report import Section, skipped
from kmsim.validate.slab import compared, recomputed, score

OP, HANDLE, SLAB_PFN, INDEX = range(4)
NR_COLUMNS = 10
NR_SCORED = 2  # columns, from SLAB_PFN on
NR_SCORED_WITH_LISTS = NR_COLUMNS - SLAB_PFN
ALLOCATED, FREED = 1, -1
PREFILLED, TAKEN, RETURNED = 2, 3, 4  # of kernels with sheaves (see validate.sheaves)
OF_SHEAVES = (PREFILLED, RETURNED)
NR_PREFILLED = 1  # sheaves that a driver has at once
KINDS_THAT_MOVE = ("mix", "prefill")  # of driving: the last handle moves to the place of a freed one
CPU = 0  # of kmsim's machine, which has one
CACHE = 0
NODE = 0
NO_ROW = -1
NEW = -1  # in the place of a page frame: kmsim took a new slab where the recording shows one that is in use
PAGES_MAX = 1 << 20  # assumed: no driver fills more with objects of one cache


@core
def take(m: Machine, sl: Slub, gfp: int) -> int:
    """An object, or NO_OBJECT, on a machine where every lock is free."""
    wanted = slab_alloc_begin(m, sl, CPU, CACHE, gfp)
    while wanted:
        wanted = slab_resume(m, sl, CPU)
    return int(sl.contexts[CPU].obj)


@core
def give_back(m: Machine, sl: Slub, obj: int) -> None:
    """Free an object on a machine where every lock is free."""
    wanted = slab_free_begin(m, sl, CPU, obj)
    while wanted:
        wanted = slab_resume(m, sl, CPU)


@core
def is_taken(sl: Slub, slab: int, page: int, page_of_slab: Rows) -> bool:
    """Is a slab, which once got this page, still in use there?"""
    return bool(slab >= 0 and int(sl.slabs[slab].slab_flags) & SLAB_LIVE and page_of_slab[slab] == page)


@core
def note_lists(sl: Slub, row: Rows, frames: Rows, page_of_slab: Rows) -> None:
    """Write what is scored of a cache's lists behind the row's object."""
    cpu_slab = sl.cpu_slabs[cpu_slab_index(sl, CACHE, CPU)]
    node = sl.cache_nodes[cache_node_index(sl, CACHE, NODE)]
    slab = int(cpu_slab.slab)
    row[2] = frames[page_of_slab[slab]] if slab != NO_SLAB else NO_SLAB
    row[3] = 0
    if int(cpu_slab.freelist) != NO_OBJECT:
        row[3] = count_links(sl, slab, int(cpu_slab.freelist) - int(cpu_slab.first_object))
    slab = int(cpu_slab.partial)
    row[5] = noted_from(sl, slab) if slab != NO_SLAB else 0
    row[4] = 0
    while slab != NO_SLAB:
        row[4] += 1
        slab = int(sl.slabs[slab].next)
    row[6] = node.nr_partial
    row[7] = node.nr_slabs


@entry
def replay_objects(
    m: Machine,
    sl: Slub,
    request: tuple[int, bool],
    log: Rows,
    pages: tuple[Rows, Rows, Rows, Rows],
    held: Rows,
    got: Rows,
) -> tuple[int, int]:
    """Run the rows of `log`; `got` is filled with the page frame and index that kmsim says.

    `request`: the GFP flags, and whether the last handle moves to the place of a freed one. `pages`: each row's page
    frame as a number from 0 on; the frames by that number; the slab that got a frame last; the number of each slab's.
    `held`: the object under each handle. Returns the row at which it stopped (len(log) at the end) and the reason.
    """
    gfp, moves = request
    page_of_row, frames, slab_at, page_of_slab = pages
    nr_held = 0
    for row in range(log.shape[0]):
        handle = log[row, HANDLE]
        obj = held[handle]
        if log[row, OP] == ALLOCATED:
            if obj != NO_OBJECT:
                return row, NOT_ALLOCATED
            nr_slabs = int(sl.caches[CACHE].alloc_slab)
            obj = take(m, sl, gfp)
            if obj == NO_OBJECT:
                return row, DIFFERS
            slab = slab_of(sl, obj)
            if int(sl.caches[CACHE].alloc_slab) != nr_slabs:
                page = page_of_row[row]
                if is_taken(sl, slab_at[page], page, page_of_slab) and slab_at[page] != slab:
                    return row, DIFFERS
                slab_at[page] = slab
                page_of_slab[slab] = page
            held[handle] = obj
            nr_held += 1
        elif obj == NO_OBJECT:
            return row, NOT_ALLOCATED
        else:
            slab = slab_of(sl, obj)
        got[row, 0] = frames[page_of_slab[slab]]
        got[row, 1] = obj - int(sl.slabs[slab].first_object)
        if got[row, 0] != log[row, SLAB_PFN] or got[row, 1] != log[row, INDEX]:
            return row, DIFFERS
        if log[row, OP] == FREED:
            give_back(m, sl, obj)
            nr_held -= 1
            held[handle] = NO_OBJECT
            if moves:
                held[handle] = held[nr_held]
                held[nr_held] = NO_OBJECT
        if got.shape[1] > NR_SCORED:
            note_lists(sl, got[row], frames, page_of_slab)
            for column in range(NR_SCORED, got.shape[1]):
                if got[row, column] != log[row, SLAB_PFN + column]:
                    return row, DIFFERS
    return log.shape[0], FINISHED


class Replay(NamedTuple):
    """How rows are replayed: by what, how many columns are scored, and what those behind the object are."""

    run: Callable[..., tuple[int, int]]
    nr_scored: int
    lists: str = ""


BY_OBJECT = Replay(replay_objects, NR_SCORED)
WITH_LISTS = Replay(
    replay_objects,
    NR_SCORED_WITH_LISTS,
    "(cpu slab, its free objects, slabs on the CPU's list, their objects, on the node's list, slabs)",
)


def slub_sections(recording: Recording, name: str) -> list[Section]:
    """The rows of one section, and the geometry of its cache."""
    log = checked_log(recording.lab[name]["log"])
    how = WITH_LISTS if recording.kernel.partial_counts_objects else BY_OBJECT
    return sections_of_log(recording, name, log, np.ones(len(log), np.bool_), how)


def sections_of_log(
    recording: Recording, name: str, log: Rows, of_objects: NDArray[np.bool_], how: Replay
) -> list[Section]:
    """Rows, of which those `of_objects` name a slab, and the geometry of their cache."""
    raw = recording.lab[name]
    geometry = recomputed(recording, raw["cache"])
    cache = Section(f"{name}.cache")
    score(cache, f"cache {geometry.name}", *compared(recording, raw["cache"], geometry))
    if not len(log):
        return [skipped(name, "no requests were recorded"), cache]
    return [rows_section(recording, name, (log, of_objects), geometry, how), cache]


def checked_log(raw: Any) -> Rows:
    """A recorded log as a table; ValueError where a row cannot be."""
    log = as_rows(raw, NR_COLUMNS)
    if not np.isin(log[:, OP], (ALLOCATED, FREED)).all():
        raise ValueError("op must be 1 (allocated) or -1 (freed)")
    check_handles(log[:, HANDLE], len(log))
    return log


def check_handles(handles: NDArray[np.int64], nr_rows: int) -> None:
    """ValueError where a handle cannot be one of so many rows."""
    if ((handles < 0) | (handles >= nr_rows)).any():
        raise ValueError(f"a handle must be from 0 to {nr_rows - 1}")


def rows_section(
    recording: Recording, name: str, rows: tuple[Rows, NDArray[np.bool_]], geometry: Geometry, how: Replay
) -> Section:
    """Replay the rows on a machine that has pages enough, and say what differs."""
    raw = recording.lab[name]
    log, of_objects = rows
    without_pages = np.flatnonzero((log[:, SLAB_PFN] < 0) & of_objects)
    end = int(without_pages[0]) if len(without_pages) else len(log)
    frames = np.unique(log[:end, SLAB_PFN][of_objects[:end]])
    page_of_row = np.searchsorted(frames, log[:end, SLAB_PFN])
    nr_pages = len(frames) << geometry.order
    if nr_pages > PAGES_MAX:
        raise ValueError(f"slabs of {nr_pages} pages; kmsim replays up to {PAGES_MAX}")
    max_page_order = int(recording.consts["max_order_inclusive"])
    m = machine_like(recording, NR_BLOCKS + 2 * (nr_pages >> max_page_order))
    sl = new_slub(m, [geometry], nr_prefilled=NR_PREFILLED)
    slab_at = np.full(len(frames), NO_SLAB, np.int64)
    page_of_slab = np.full(len(sl.slabs), NO_ROW, np.int64)
    pages = (page_of_row.astype(np.int64), frames, slab_at, page_of_slab)
    got = np.full((end, how.nr_scored), NEW, np.int64)
    request = (parse_gfp(raw["gfp"]), raw["kind"] in KINDS_THAT_MOVE)
    held = np.full(len(log) + 1, NO_OBJECT, np.int64)
    stopped, reason = how.run(m, sl, request, log[:end], pages, held, got)
    section = Section(name, rows=end, equal=stopped, skipped=len(log) - end)
    if reason != FINISHED:
        section.why = explain_row(log, got, stopped, how.lists, held_nothing=reason == NOT_ALLOCATED)
    elif end < len(log):
        section.why = f"from row {end} on: the page allocator had no pages, which is input"
    return section


def explain_row(log: Rows, got: Rows, row: int, lists: str, *, held_nothing: bool) -> str:
    """The first difference for a person."""
    op, handle, slab_pfn, index = log[row, : INDEX + 1].tolist()
    if op in OF_SHEAVES:
        what = "a sheaf is prefilled" if op == PREFILLED else "a sheaf is returned"
        recorded = log[row, SLAB_PFN:].tolist()
        return f"row {row}, {what}: recorded {recorded}, kmsim {got[row].tolist()} (objects in it, {lists[1:]}"
    what = "free" if op == FREED else "allocation"
    text = f"row {row}, {what}: recorded object {index} of the slab at {slab_pfn}"
    if held_nothing:
        state = "holds no object" if op == FREED else "holds an object already"
        return f"{text}, but handle {handle} {state}"
    found_pfn, found_index, *found_lists = got[row].tolist()
    if found_pfn == NEW:
        return f"{text}, kmsim took a new slab"
    if (found_pfn, found_index) == (slab_pfn, index):
        recorded_lists = log[row, SLAB_PFN + NR_SCORED :].tolist()
        return f"{text}, its lists {recorded_lists}, kmsim {found_lists} {lists}"
    return f"{text}, kmsim {found_index} of the slab at {found_pfn}"
