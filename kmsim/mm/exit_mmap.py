"""A killed process's memory is freed, batch by batch (kernel: exit_mmap, __oom_reap_task_mm).

Whose an anonymous page is, `mm.process` says. The request for which the process
was killed frees them itself, in the order of page frames: in the kernel, the process itself does that when it runs
next, or the thread oom_reaper. Pages that another request has isolated just then stay, and are freed by the next
request that comes here. `exit_begin` starts and `exit_resume` carries on what was wanted (see `mm.wants`): the lru_lock
of the pages' node for each batch, and what freeing it wants.

Leaves out page tables, which are counted and take no pages here, and pages of files. Invariant: a process's anon_rss is
the pages that are marked as its own. Lock order: one lock at a time: the lru_lock, or a context's pcp lock and then a
zone's.
"""

from kmsim.jit import core, small
from kmsim.mm.folio_batch import free_folios_begin, free_folios_resume, put_folio
from kmsim.mm.indices import ContextIdx, Pfn, ProcessIdx
from kmsim.mm.list import list_del
from kmsim.mm.lru import folio_flags, folio_lru_list, folio_nr_pages, lru_add_drain, update_lru_size
from kmsim.mm.lru_records import FOLIO_IN_BATCH, FOLIO_SWAPCACHE, LRU_UNEVICTABLE, PAGEVEC_SIZE
from kmsim.mm.mmzone import PG_LRU, Machine
from kmsim.mm.oom import NO_PROCESS, PROCESS_HAS_EXITED, PROCESS_IS_REAPED, is_dying
from kmsim.mm.process import process_of, unmapped
from kmsim.mm.rmap import NO_HOLDER, set_holder
from kmsim.mm.wants import DONE, want_lock
from kmsim.mm.zonelist import page_zone

REAP_ISOLATE, REAP_FREE = range(2)


@core
def needs_reaper(m: Machine) -> bool:
    """Was a process killed whose memory nobody frees now?"""
    control = m.lru.oom[0]
    if control.reaper or control.victim == NO_PROCESS:
        return False
    return is_dying(m.lru.processes, int(control.victim))


@core
def exit_begin(m: Machine, ac: ContextIdx) -> int:
    """Start to free the victim's memory; what does that want?"""
    m.lru.oom[0].reaper = ac + 1
    m.lru.reclaims[ac].next_reaped = 0
    return want_next_batch(m, ac)


@core
def want_next_batch(m: Machine, ac: ContextIdx) -> int:
    """Find the next page of the victim and want its node's lru_lock; where there is none, the victim is gone."""
    reclaim = m.lru.reclaims[ac]
    victim = int(m.lru.oom[0].victim)
    pfn = int(reclaim.next_reaped)
    while pfn < m.params[0].nr_frames and not is_to_be_reaped(m, pfn, victim):
        pfn += 1
    reclaim.next_reaped = pfn
    if pfn < m.params[0].nr_frames:
        reclaim.stage = REAP_ISOLATE
        return want_lock(m, ac, int(m.lru.lruvecs[m.zones[page_zone(m, pfn)].node].lru_lock))
    m.lru.oom[0].reaper = 0
    end_process(m, victim)
    return DONE


@small
def is_to_be_reaped(m: Machine, pfn: Pfn, victim: ProcessIdx) -> bool:
    """Is it a page of the victim that nobody has isolated?"""
    if process_of(m, pfn) != victim or int(m.pages[pfn].page_flags) != PG_LRU:
        return False
    return folio_flags(m, pfn) & FOLIO_IN_BATCH == 0


@core
def end_process(m: Machine, p: ProcessIdx) -> None:
    """Let the process be gone: its swap is free, and if all of its pages are, so is its memory."""
    process = m.lru.processes[p]
    m.lru.swap[0].nr_free += process.swapents
    process.swapents = 0
    process.pgtables = 0
    if process.anon_rss == 0:
        process.process_flags = int(process.process_flags) | PROCESS_IS_REAPED | PROCESS_HAS_EXITED


@core
def exit_resume(m: Machine, ac: ContextIdx) -> int:
    """What the end of the process wanted is granted: go on; what does it want now?"""
    if m.lru.reclaims[ac].stage == REAP_ISOLATE:
        take_batch(m, ac)
        m.lru.reclaims[ac].stage = REAP_FREE
        wanted = free_folios_begin(m, ac)
    else:
        wanted = free_folios_resume(m, ac)
    return wanted if wanted else want_next_batch(m, ac)


@core
def take_batch(m: Machine, ac: ContextIdx) -> None:
    """Take pages of one node off its LRU lists, up to a batch; the caller holds its lru_lock."""
    reclaim = m.lru.reclaims[ac]
    lru_add_drain(m, ac)
    victim = int(m.lru.oom[0].victim)
    pfn = int(reclaim.next_reaped)
    node = int(m.zones[page_zone(m, pfn)].node)
    nr_taken = 0
    while nr_taken < PAGEVEC_SIZE and pfn < m.params[0].nr_frames:
        if is_to_be_reaped(m, pfn, victim):
            if m.zones[page_zone(m, pfn)].node != node:
                break
            take_folio(m, ac, pfn)
            nr_taken += 1
        pfn += 1
    reclaim.next_reaped = pfn


@core
def take_folio(m: Machine, ac: ContextIdx, pfn: Pfn) -> None:
    """Take a folio off its list and out of its process, its slot of swap too; it waits to be freed."""
    nr_pages = folio_nr_pages(m, pfn)
    flags = folio_flags(m, pfn)
    lru = folio_lru_list(flags)
    if flags & FOLIO_SWAPCACHE:
        m.lru.swap[0].nr_free += nr_pages
    update_lru_size(m, page_zone(m, pfn), int(m.contexts[ac].cpu), lru, -nr_pages)
    if lru != LRU_UNEVICTABLE:
        list_del(m, ac, pfn)
    unmapped(m, pfn, nr_pages)
    m.pages[pfn].page_flags = 0
    m.holders[pfn].folio_flags = 0
    set_holder(m, pfn, NO_HOLDER)
    m.lru.work[0].folios_moved += 1
    m.lru.work[0].folios_unmapped += 1
    put_folio(m, ac, pfn, int(m.pages[pfn].order))
