"""The page cache: a read of a page of a file finds it in memory, or brings it there (kernel: mm/filemap.c, swap.c).

The pages of all files are numbered through, file behind file; `Lru.page_cache` has where each of them is. A read that
finds its page marks it accessed: the first time as referenced, the second time it is activated, by way of a batch of
the CPU's. A read that does not allocates a page, puts it into the cache and the CPU's batch, and reads it. Stages:
    ALLOCATE    the page allocator is asked; the slow path, too
    ADD         the new page joins the cache; if another read was first, it is freed again
    FREE_AGAIN  the page allocator takes it back
    FLUSH_BATCH a batch is full: its folios go to their lists, with the lru_lock

Leaves out readahead, folios of order > 0, writes, what the device does with others' reads meanwhile (a read is a
price). A folio waits in one batch to be activated, where the kernel would add it to a second one, with no effect.
Invariant: an entry of the cache above 0 is a page whose holder is the entry. Locks: the lru_lock of the node whose
page filled the batch, for all of it; none else but those of the page allocator.
"""

from kmsim.jit import core, small
from kmsim.mm.indices import ContextIdx, Gfp, Pfn
from kmsim.mm.lru import (
    folio_add_lru,
    folio_clear,
    folio_flags,
    folio_set,
    lru_add_drain,
    lru_batch,
    workingset_age_nonresident,
)
from kmsim.mm.lru_records import (
    FOLIO_ACTIVE,
    FOLIO_HAS_MAPPING,
    FOLIO_IN_BATCH,
    FOLIO_REFERENCED,
)
from kmsim.mm.mmzone import NO_PAGE, PG_LRU, Machine
from kmsim.mm.page_alloc import alloc_begin, free_begin, resume
from kmsim.mm.page_cache import entry_of_page, holder_of_entry, page_of_entry
from kmsim.mm.prep_new_page import after_lock
from kmsim.mm.rmap import set_holder
from kmsim.mm.slow_path import alloc_resume
from kmsim.mm.wants import DONE, want_lock, want_to_go_on
from kmsim.mm.workingset import workingset_refault
from kmsim.mm.zonelist import page_zone

ALLOCATE, ADD, FREE_AGAIN, FLUSH_BATCH = range(4)


@core
def read_begin(m: Machine, ac: ContextIdx, index: int, gfp: Gfp) -> int:
    """Start to read a page of the page cache; what does that want? (kernel: filemap_read)

    When it is done, `contexts[ac].pfn` is the page, or NO_PAGE where there was no memory for it.
    """
    reclaim = m.lru.reclaims[ac]
    reclaim.read_page = index
    if m.lru.page_cache[index] > 0:
        return found(m, ac)
    reclaim.read_stage = ALLOCATE
    return after_alloc(m, ac, alloc_begin(m, ac, gfp, 0))


@core
def read_resume(m: Machine, ac: ContextIdx) -> int:
    """What the read wanted is granted: go on; what does it want now?"""
    stage = m.lru.reclaims[ac].read_stage
    if stage == ALLOCATE:
        return after_alloc(m, ac, alloc_resume(m, ac))
    if stage == ADD:
        return filemap_add_folio(m, ac)
    if stage == FREE_AGAIN:
        wanted = resume(m, ac)
        return wanted if wanted else found(m, ac)
    assert stage == FLUSH_BATCH, "a read that waits for nothing"
    lru_add_drain(m, ac)
    m.lru.reclaims[ac].read_stage = ALLOCATE
    return DONE


@small
def has_filled_batch(m: Machine, ac: ContextIdx) -> bool:
    """Waits the context's read for the lru_lock with a batch that is full? It may not sleep then (see `mm.wants`)."""
    return bool(m.lru.reclaims[ac].read_stage == FLUSH_BATCH)


@small
def after_alloc(m: Machine, ac: ContextIdx, wanted: int) -> int:
    """Hand on what the page allocator wants; a new page joins the cache next, with no lock held."""
    if wanted or m.contexts[ac].pfn == NO_PAGE:
        return wanted
    m.lru.reclaims[ac].read_stage = ADD
    return want_to_go_on(m, ac)


@core
def found(m: Machine, ac: ContextIdx) -> int:
    """The page is in memory: it was used once more."""
    pfn = page_of_entry(int(m.lru.page_cache[m.lru.reclaims[ac].read_page]))
    m.contexts[ac].pfn = pfn
    m.lru.work[0].pages_found += 1
    return flush_if_full(m, ac, pfn, folio_mark_accessed(m, ac, pfn))


@core
def filemap_add_folio(m: Machine, ac: ContextIdx) -> int:
    """Put the new page into the cache, and read it (kernel: filemap_add_folio, filemap_read_folio)."""
    after_lock(m, ac)
    reclaim = m.lru.reclaims[ac]
    pfn = int(m.contexts[ac].pfn)
    entry = int(m.lru.page_cache[reclaim.read_page])
    if entry > 0:  # another read was first (kernel: -EEXIST)
        reclaim.read_stage = FREE_AGAIN
        wanted = free_begin(m, ac, pfn, 0)
        return wanted if wanted else found(m, ac)
    m.lru.page_cache[reclaim.read_page] = entry_of_page(pfn)
    set_holder(m, pfn, holder_of_entry(int(reclaim.read_page)))
    m.holders[pfn].folio_flags = FOLIO_HAS_MAPPING
    if entry < 0:
        workingset_refault(m, ac, pfn, entry)
    is_full = folio_add_lru(m, ac, pfn)
    m.lru.work[0].pages_read += 1
    folio_mark_accessed(m, ac, pfn)
    return flush_if_full(m, ac, pfn, is_full)


@small
def flush_if_full(m: Machine, ac: ContextIdx, pfn: Pfn, is_full: bool) -> int:
    """Want the lru_lock where a batch is full."""
    if not is_full:
        return DONE
    m.lru.reclaims[ac].read_stage = FLUSH_BATCH
    return want_lock(m, ac, int(m.lru.lruvecs[m.zones[page_zone(m, pfn)].node].lru_lock))


@core
def folio_mark_accessed(m: Machine, ac: ContextIdx, pfn: Pfn) -> bool:
    """A page of a file was used; is the batch to be flushed now? (kernel: folio_mark_accessed)"""
    flags = folio_flags(m, pfn)
    if not flags & FOLIO_REFERENCED:
        folio_set(m, pfn, FOLIO_REFERENCED)
        return False
    if flags & FOLIO_ACTIVE:
        return False
    is_full = False
    if int(m.pages[pfn].page_flags) == PG_LRU:
        is_full = folio_activate(m, ac, pfn)
    else:
        lru_cache_activate_folio(m, ac, pfn)
    folio_clear(m, pfn, FOLIO_REFERENCED)
    workingset_age_nonresident(m, int(m.zones[page_zone(m, pfn)].node), 1)
    return is_full


@core
def folio_activate(m: Machine, ac: ContextIdx, pfn: Pfn) -> bool:
    """Let a folio be activated with the CPU's batch; is that to be flushed now? (kernel: folio_activate)"""
    if folio_flags(m, pfn) & FOLIO_IN_BATCH:
        return False
    folio_set(m, pfn, FOLIO_IN_BATCH)
    batch = m.lru.cpus[m.contexts[ac].cpu]
    assert batch.nr_to_activate < lru_batch(m), "a folio joins a full batch"
    batch.to_activate[batch.nr_to_activate] = pfn
    batch.nr_to_activate += 1
    return bool(batch.nr_to_activate == lru_batch(m))


@core
def lru_cache_activate_folio(m: Machine, ac: ContextIdx, pfn: Pfn) -> None:
    """Let a folio that waits in the CPU's batch come to the active list (kernel: __lru_cache_activate_folio)."""
    batch = m.lru.cpus[m.contexts[ac].cpu]
    for index in range(batch.nr_to_add):
        if batch.to_add[index] == pfn:
            folio_set(m, pfn, FOLIO_ACTIVE)
