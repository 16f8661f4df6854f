"""Can this folio be reclaimed, and what does that take? (kernel: shrink_folio_list of mm/vmscan.c)

A folio that was accessed lately is kept, or activated the second time; a clean one is unmapped and freed; an anonymous
one is given a slot of swap and written first. What becomes of it stands in the request's reclaim record: it waits to be
freed with others, or goes back to an LRU list.

Leaves out pages under writeback (a write ends within the call), buffers (private data), folios of order > 0 that would
be split, folios mapped by several page tables, executable mappings. Invariant: each folio ends in one of the two
lists. Lock order: takes none.
"""

from kmsim.jit import core, small
from kmsim.mm.folio_batch import put_folio
from kmsim.mm.gfp import GFP_FS, GFP_IO
from kmsim.mm.indices import ContextIdx, Pfn
from kmsim.mm.list import list_add
from kmsim.mm.lru import (
    folio_clear,
    folio_evictable,
    folio_flags,
    folio_is_file_lru,
    folio_nr_pages,
    folio_set,
    workingset_age_nonresident,
)
from kmsim.mm.lru_records import (
    ANON,
    FILE,
    FOLIO_ACCESSED,
    FOLIO_ACTIVE,
    FOLIO_DIRTY,
    FOLIO_HAS_MAPPING,
    FOLIO_IN_BATCH,
    FOLIO_MAPPED,
    FOLIO_MLOCKED,
    FOLIO_PINNED,
    FOLIO_PTE_DIRTY,
    FOLIO_RECLAIM,
    FOLIO_REFERENCED,
    FOLIO_SWAPBACKED,
    FOLIO_SWAPCACHE,
    GOES_BACK,
)
from kmsim.mm.mmzone import Machine
from kmsim.mm.process import swapped_out
from kmsim.mm.rmap import NO_HOLDER, set_holder
from kmsim.mm.swap import add_to_swap, folio_free_swap, forget_slot, swap_writepage, vm_swap_full
from kmsim.mm.trace import TRACE_ACTIVATED_PAGE, TRACE_KEPT_PAGE, TRACE_RECLAIMED_PAGE, trace
from kmsim.mm.workingset import workingset_eviction

FOLIOREF_RECLAIM, FOLIOREF_RECLAIM_CLEAN, FOLIOREF_KEEP, FOLIOREF_ACTIVATE = range(4)
FREED, PUT_BACK_INACTIVE, PUT_BACK_ACTIVE = range(3)  # what becomes of a folio


@small
def folio_is_anon(flags: int) -> bool:
    """Is it a process's anonymous memory, and not of a file in memory? (kernel: folio_test_anon)"""
    return flags & FOLIO_SWAPBACKED != 0 and (flags & FOLIO_SWAPCACHE != 0 or flags & FOLIO_HAS_MAPPING == 0)


@core
def folio_referenced(m: Machine, pfn: Pfn) -> bool:
    """Was it accessed by way of a page table? Forgets that (kernel: folio_referenced)."""
    flags = folio_flags(m, pfn)
    if flags & FOLIO_MAPPED == 0 or flags & FOLIO_ACCESSED == 0:
        return False
    folio_clear(m, pfn, FOLIO_ACCESSED)
    return True


@core
def folio_check_references(m: Machine, pfn: Pfn) -> int:
    """What its use says about it, FOLIOREF_... (kernel: folio_check_references)."""
    accessed = folio_referenced(m, pfn)
    flags = folio_flags(m, pfn)
    was_referenced = flags & FOLIO_REFERENCED != 0
    folio_clear(m, pfn, FOLIO_REFERENCED)
    if accessed:
        folio_set(m, pfn, FOLIO_REFERENCED)
        return FOLIOREF_ACTIVATE if was_referenced else FOLIOREF_KEEP
    return FOLIOREF_RECLAIM_CLEAN if was_referenced and folio_is_file_lru(flags) else FOLIOREF_RECLAIM


@core
def shrink_folio(m: Machine, ac: ContextIdx, pfn: Pfn) -> None:
    """Reclaim an isolated folio, or put it aside to go back (kernel: shrink_folio_list)."""
    reclaim = m.lru.reclaims[ac]
    nr_pages = folio_nr_pages(m, pfn)
    reclaim.nr_scanned += nr_pages
    fate = fate_of(m, ac, pfn)
    reclaim.nr_looked_at += 1
    m.lru.work[0].folios_scanned += 1
    if fate == FREED:
        reclaim.nr_of_list += nr_pages
        trace(m, TRACE_RECLAIMED_PAGE, pfn, 0, 0, 0)
        m.lru.work[0].folios_unmapped += 1
        swapped_out(m, pfn, nr_pages)
        m.holders[pfn].folio_flags = 0
        set_holder(m, pfn, NO_HOLDER)
        put_folio(m, ac, pfn, int(m.pages[pfn].order))
        reclaim.nr_of_batch += 1
        return
    if fate == PUT_BACK_ACTIVE:
        activate(m, ac, pfn)
    trace(m, TRACE_ACTIVATED_PAGE if folio_flags(m, pfn) & FOLIO_ACTIVE else TRACE_KEPT_PAGE, pfn, 0, 0, 0)
    list_add(m, ac, pfn, int(reclaim.lists) + GOES_BACK)


@core
def activate(m: Machine, ac: ContextIdx, pfn: Pfn) -> None:
    """Make it active, unless it is mlocked; a full swap gets its slot back."""
    flags = folio_flags(m, pfn)
    if flags & FOLIO_SWAPCACHE and (vm_swap_full(m) or flags & FOLIO_MLOCKED):
        folio_free_swap(m, pfn)
    if not flags & FOLIO_MLOCKED:
        folio_set(m, pfn, FOLIO_ACTIVE)
        m.lru.reclaims[ac].nr_activate[FILE if folio_is_file_lru(flags) else ANON] += folio_nr_pages(m, pfn)


@core
def fate_of(m: Machine, ac: ContextIdx, pfn: Pfn) -> int:
    """Do what it takes to reclaim it; what becomes of it?"""
    reclaim = m.lru.reclaims[ac]
    flags = folio_flags(m, pfn)
    if not folio_evictable(flags):
        return PUT_BACK_ACTIVE
    if folio_is_file_lru(flags) and flags & FOLIO_DIRTY:
        reclaim.nr_dirty += folio_nr_pages(m, pfn)
    references = folio_check_references(m, pfn)
    if references == FOLIOREF_ACTIVATE:
        return PUT_BACK_ACTIVE
    if references == FOLIOREF_KEEP:
        reclaim.nr_ref_keep += folio_nr_pages(m, pfn)
        return PUT_BACK_INACTIVE
    if folio_is_anon(flags) and not flags & FOLIO_SWAPCACHE:
        if not reclaim.gfp_mask & GFP_IO:
            return PUT_BACK_INACTIVE
        if not add_to_swap(m, ac, pfn):
            return PUT_BACK_ACTIVE
    try_to_unmap(m, pfn)
    if folio_flags(m, pfn) & FOLIO_DIRTY:
        fate = write_out(m, ac, pfn, references)
        if fate != FREED:
            return fate
    return remove_mapping(m, ac, pfn)


@small
def try_to_unmap(m: Machine, pfn: Pfn) -> None:
    """Take it out of the page table that it is in (kernel: try_to_unmap)."""
    if folio_flags(m, pfn) & FOLIO_PTE_DIRTY:
        folio_set(m, pfn, FOLIO_DIRTY)
    folio_clear(m, pfn, FOLIO_MAPPED | FOLIO_ACCESSED | FOLIO_PTE_DIRTY)


@core
def write_out(m: Machine, ac: ContextIdx, pfn: Pfn, references: int) -> int:
    """Write a dirty folio to swap; files are left to those who write them back (kernel: pageout)."""
    reclaim = m.lru.reclaims[ac]
    flags = folio_flags(m, pfn)
    if folio_is_file_lru(flags):
        folio_set(m, pfn, FOLIO_RECLAIM)
        return PUT_BACK_ACTIVE
    if references == FOLIOREF_RECLAIM_CLEAN or flags & FOLIO_PINNED:
        return PUT_BACK_INACTIVE
    may_enter_fs = reclaim.gfp_mask & GFP_FS or (flags & FOLIO_SWAPCACHE and reclaim.gfp_mask & GFP_IO)
    if not may_enter_fs:
        return PUT_BACK_INACTIVE
    if not flags & FOLIO_SWAPCACHE and not add_to_swap(m, ac, pfn):  # of a file in memory (kernel: shmem_writepage)
        return PUT_BACK_ACTIVE
    swap_writepage(m, pfn)
    reclaim.nr_pageout += folio_nr_pages(m, pfn)
    return FREED


@core
def remove_mapping(m: Machine, ac: ContextIdx, pfn: Pfn) -> int:
    """Take it out of its file or the swap cache, and remember when that was (kernel: __remove_mapping)."""
    flags = folio_flags(m, pfn)
    if flags & (FOLIO_PINNED | FOLIO_IN_BATCH) or not flags & FOLIO_HAS_MAPPING:
        return PUT_BACK_INACTIVE
    if folio_is_file_lru(flags):
        workingset_eviction(m, pfn)
    if folio_is_file_lru(flags) or flags & FOLIO_SWAPCACHE:
        workingset_age_nonresident(m, int(m.lru.reclaims[ac].node), folio_nr_pages(m, pfn))
    if flags & FOLIO_SWAPCACHE:
        forget_slot(m, pfn)
    return FREED
