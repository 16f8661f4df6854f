"""Swap: room for anonymous pages outside of memory (kernel: mm/swap_slots.c, mm/swap_state.c, mm/page_io.c).

A page that reclaim wants gets a slot, is written, and leaves the swap cache in the same pass: a write ends within the
call. Slots are handed out through a cache of each CPU's, 64 at once, and only then is the room smaller.

Leaves out where a slot is (its number, clusters), several devices, zswap, pages of nothing but zeroes; when the swap
cache needs a slab for its nodes (an input of replays), and the stages in which such a page is asked for. Invariant: no
page is in the swap cache without a slot that is counted. Lock order: a zone's lock, for such a page.
"""

from kmsim.jit import core, small
from kmsim.mm.indices import ContextIdx, Pfn
from kmsim.mm.lru import folio_clear, folio_nr_pages, folio_set
from kmsim.mm.lru_records import FOLIO_DIRTY, FOLIO_HAS_MAPPING, FOLIO_SWAPCACHE, PGPGOUT, PSWPOUT
from kmsim.mm.mmzone import NO_PAGE, Machine
from kmsim.mm.page_alloc import alloc_begin, resume
from kmsim.mm.pcp_held import answer_try
from kmsim.mm.trace import TRACE_SLAB_PAGE, TRACE_SLAB_PAGE_WANTED, trace

SWAP_SLOTS_CACHE_SIZE = 64
SECTOR_SHIFT = 9


@small
def inner_context(m: Machine, ac: ContextIdx) -> ContextIdx:
    """The context of the requests that a reclaim of this context makes itself; the second half."""
    return ac + len(m.contexts) // 2


@small
def vm_swap_full(m: Machine) -> bool:
    """Is less than half of swap free? (kernel: vm_swap_full)"""
    return bool(m.lru.swap[0].nr_free * 2 < m.lru.swap[0].total_pages)


@core
def add_to_swap(m: Machine, ac: ContextIdx, pfn: Pfn) -> bool:
    """Give a page a slot, and put it into the swap cache; False where there is no room (kernel: add_to_swap)."""
    nr_pages = folio_nr_pages(m, pfn)
    swap = m.lru.swap[0]
    slots = m.lru.cpus[m.contexts[ac].cpu]
    if slots.nr_slots < nr_pages:
        taken = min(max(SWAP_SLOTS_CACHE_SIZE, nr_pages), swap.nr_free)
        swap.nr_free -= taken
        slots.nr_slots += taken
    if slots.nr_slots < nr_pages:
        return False
    if not swap_cache_has_nodes(m, ac):
        return False
    slots.nr_slots -= nr_pages
    folio_set(m, pfn, FOLIO_SWAPCACHE | FOLIO_HAS_MAPPING | FOLIO_DIRTY)
    return True


@core
def swap_cache_has_nodes(m: Machine, ac: ContextIdx) -> bool:
    """Take the pages that the swap cache needs for its own nodes now; does it have them? (kernel: add_to_swap_cache)

    The request is one of a task that reclaims already, and may not reclaim itself.
    """
    swap = m.lru.swap[0]
    has_nodes = True
    while swap.next_node_page < swap.end_node_page:
        wanted_at, order, gfp = m.lru.node_pages[swap.next_node_page]
        if wanted_at != m.lru.reclaims[ac].nr_looked_at:
            break
        swap.next_node_page += 1
        trace(m, TRACE_SLAB_PAGE_WANTED, order, gfp, 0, 0)
        inner = inner_context(m, ac)
        m.contexts[inner].pf_memalloc = 1
        wanted = alloc_begin(m, inner, gfp, order)
        while wanted:
            answer_try(m, inner, wanted)
            wanted = resume(m, inner)
        trace(m, TRACE_SLAB_PAGE, int(m.contexts[inner].pfn), 0, 0, 0)
        has_nodes = bool(m.contexts[inner].pfn != NO_PAGE)
    return has_nodes


@core
def swap_writepage(m: Machine, pfn: Pfn) -> None:
    """Write a page of the swap cache to its slot (kernel: swap_writepage)."""
    nr_pages = folio_nr_pages(m, pfn)
    folio_clear(m, pfn, FOLIO_DIRTY)
    m.lru.work[0].pages_swapped += nr_pages
    m.lru.vm_events[PSWPOUT] += nr_pages
    m.lru.vm_events[PGPGOUT] += nr_pages << (int(m.params[0].page_shift) - SECTOR_SHIFT)


@small
def forget_slot(m: Machine, pfn: Pfn) -> None:
    """Take a page out of the swap cache; what was written stays in its slot (kernel: __delete_from_swap_cache)."""
    folio_clear(m, pfn, FOLIO_SWAPCACHE)


@core
def folio_free_swap(m: Machine, pfn: Pfn) -> None:
    """Take a page out of the swap cache and give its slot back (kernel: folio_free_swap)."""
    folio_clear(m, pfn, FOLIO_SWAPCACHE | FOLIO_HAS_MAPPING)
    folio_set(m, pfn, FOLIO_DIRTY)
    m.lru.swap[0].nr_free += folio_nr_pages(m, pfn)
