"""Sections `slub.*` of kernels with sheaves: each object, and what the CPU's sheaves, the barn and the node hold then.

As in `validate.slub`, with three operations more: 2 prefills a sheaf for as many objects as the row's handle says, and
the column of the slab has the objects in it; 3 takes an object from that sheaf; 4 returns it, and the column has what
was left in it. Behind the object stand the objects of main and spare (-1: there is none), the barn's full and empty
sheaves, the slabs on the node's list and all slabs. All of it is scored.

A refill takes several slabs at once, so a slab's page is known when the first of its objects is handed out. Which page
that is, is input, unless another slab that is in use has it.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from kmsim.jit import core, entry
from kmsim.mm.mmzone import Machine
from kmsim.mm.sheaf import alloc_from_sheaf
from kmsim.mm.sheaf_records import NO_SHEAF
from kmsim.mm.slub import prefill_begin, return_begin, slab_resume
from kmsim.mm.slub_free import slab_of
from kmsim.mm.slub_records import NO_OBJECT, SLAB_LIVE, Slub, cache_node_index, cpu_slab_index
from kmsim.procfs.recorded import Recording
from kmsim.validate.replay import DIFFERS, FINISHED, NOT_ALLOCATED, Rows, as_rows
from kmsim.validate.report import Section
from kmsim.validate.slub import (
    ALLOCATED,
    CACHE,
    CPU,
    FREED,
    HANDLE,
    INDEX,
    NO_ROW,
    NODE,
    NR_COLUMNS,
    NR_SCORED_WITH_LISTS,
    OP,
    PREFILLED,
    RETURNED,
    SLAB_PFN,
    TAKEN,
    Replay,
    check_handles,
    give_back,
    is_taken,
    sections_of_log,
    take,
)

OPERATIONS = (ALLOCATED, FREED, PREFILLED, TAKEN, RETURNED)
OF_OBJECTS = (ALLOCATED, FREED, TAKEN)
NO_INDEX = -1


@core
def prefill(m: Machine, sl: Slub, gfp: int, nr_objects: int) -> int:
    """A sheaf of one's own, or NO_SHEAF, on a machine where every lock is free."""
    wanted = prefill_begin(m, sl, CPU, CACHE, gfp, nr_objects)
    while wanted:
        wanted = slab_resume(m, sl, CPU)
    return int(sl.contexts[CPU].sheaf)


@core
def put_back(m: Machine, sl: Slub, gfp: int, sheaf: int) -> None:
    """Return a sheaf on a machine where every lock is free."""
    wanted = return_begin(m, sl, CPU, CACHE, gfp, sheaf)
    while wanted:
        wanted = slab_resume(m, sl, CPU)


@core
def size_of(sl: Slub, sheaf: int) -> int:
    """The objects of a sheaf; -1 where there is none."""
    return int(sl.sheaves.sheaves[sheaf].nr_objects) if sheaf != NO_SHEAF else NO_SHEAF


@core
def note_sheaves(sl: Slub, row: Rows) -> None:
    """Write what the CPU, the barn and the node hold behind the row's object."""
    of_cpu = sl.sheaves.cpus[cpu_slab_index(sl, CACHE, CPU)]
    barn = sl.sheaves.barns[cache_node_index(sl, CACHE, NODE)]
    node = sl.cache_nodes[cache_node_index(sl, CACHE, NODE)]
    row[2] = max(size_of(sl, int(of_cpu.main)), 0)
    row[3] = size_of(sl, int(of_cpu.spare))
    row[4] = barn.nr_full
    row[5] = barn.nr_empty
    row[6] = node.nr_partial
    row[7] = node.nr_slabs


@core
def forget_discarded(sl: Slub, page_of_slab: Rows) -> None:
    """Slabs that were given back have no page any more."""
    for slab in range(sl.params[0].nr_slabs_used):
        if int(sl.slabs[slab].slab_flags) & SLAB_LIVE == 0:
            page_of_slab[slab] = NO_ROW


@core
def find_page(sl: Slub, slab: int, page: int, pages: tuple[Rows, Rows, Rows, Rows]) -> bool:
    """Note the page of a slab whose first object was just handed out; False where another slab has that page."""
    _, _, slab_at, page_of_slab = pages
    if page_of_slab[slab] != NO_ROW:
        return True
    if is_taken(sl, slab_at[page], page, page_of_slab):
        return False
    slab_at[page] = slab
    page_of_slab[slab] = page
    return True


@entry
def replay_sheaves(
    m: Machine,
    sl: Slub,
    request: tuple[int, bool],
    log: Rows,
    pages: tuple[Rows, Rows, Rows, Rows],
    held: Rows,
    got: Rows,
) -> tuple[int, int]:
    """Run the rows of `log`; as `validate.slub.replay_objects`, with all columns."""
    gfp, moves = request
    page_of_row, frames, _, page_of_slab = pages
    nr_held = 0
    sheaf = NO_SHEAF
    for row in range(log.shape[0]):
        op, handle = log[row, OP], log[row, HANDLE]
        nr_discarded = int(sl.caches[CACHE].free_slab)
        obj = NO_OBJECT
        if op in (PREFILLED, RETURNED):
            if (sheaf == NO_SHEAF) == (op == RETURNED):
                return row, NOT_ALLOCATED
            if op == PREFILLED:
                sheaf = prefill(m, sl, gfp, handle)
                got[row, 0] = size_of(sl, sheaf)
            else:
                got[row, 0] = size_of(sl, sheaf)
                put_back(m, sl, gfp, sheaf)
                sheaf = NO_SHEAF
            got[row, 1] = NO_INDEX
        elif op == FREED:
            obj = held[handle]
            if obj == NO_OBJECT:
                return row, NOT_ALLOCATED
        else:
            if held[handle] != NO_OBJECT or (op == TAKEN and sheaf == NO_SHEAF):
                return row, NOT_ALLOCATED
            obj = take(m, sl, gfp) if op == ALLOCATED else alloc_from_sheaf(m, sl, CPU, sheaf, gfp)
            if obj == NO_OBJECT:
                return row, DIFFERS
            held[handle] = obj
            nr_held += 1
            if not find_page(sl, slab_of(sl, obj), page_of_row[row], pages):
                return row, DIFFERS
        if obj != NO_OBJECT:
            slab = slab_of(sl, obj)
            got[row, 0] = frames[page_of_slab[slab]]
            got[row, 1] = obj - int(sl.slabs[slab].first_object)
        if op == FREED:
            give_back(m, sl, obj)
            nr_held -= 1
            held[handle] = held[nr_held] if moves else NO_OBJECT
            if moves:
                held[nr_held] = NO_OBJECT
        note_sheaves(sl, got[row])
        for column in range(got.shape[1]):
            if got[row, column] != log[row, SLAB_PFN + column]:
                return row, DIFFERS
        if int(sl.caches[CACHE].free_slab) != nr_discarded:
            forget_discarded(sl, page_of_slab)
    return log.shape[0], FINISHED


def checked_sheaf_log(raw: Any) -> Rows:
    """A recorded log as a table; ValueError where a row cannot be."""
    log = as_rows(raw, NR_COLUMNS)
    if not np.isin(log[:, OP], OPERATIONS).all():
        raise ValueError("op must be 1 (allocated), -1 (freed), 2 (prefilled), 3 (taken from it) or 4 (returned)")
    of_objects = np.isin(log[:, OP], OF_OBJECTS)
    check_handles(log[of_objects, HANDLE], len(log))
    if (log[~of_objects, HANDLE] < 1).any():
        raise ValueError("a sheaf must be prefilled for 1 object or more")
    if (log[~of_objects, INDEX] != NO_INDEX).any():
        raise ValueError(f"the index must be {NO_INDEX} where a sheaf is prefilled or returned")
    return log


WITH_SHEAVES = Replay(
    replay_sheaves,
    NR_SCORED_WITH_LISTS,
    "(objects of main, of spare, full sheaves in the barn, empty ones, slabs on the node's list, slabs)",
)


def sheaf_sections(recording: Recording, name: str) -> list[Section]:
    """The rows of one section, and the geometry of its cache."""
    log = checked_sheaf_log(recording.lab[name]["log"])
    return sections_of_log(recording, name, log, np.isin(log[:, OP], OF_OBJECTS), WITH_SHEAVES)
