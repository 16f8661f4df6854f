"""Exact pages: as many pages as the bytes need, cut from a block whose tail is given back (kernel: alloc_pages_exact).

The block of the next order is taken, split, and its tail given back page by page, in ascending order, each to the
tail of its list under the zone's lock: the per-CPU lists see none of them (__free_pages_ok with FPI_TO_TAIL). Where
`params.exact_tail_listed` is on, they are freed like any other page.
`exact_free_begin` frees page by page (kernel: free_pages_exact, __free_page).

A request wants what `mm.page_request` wants: the whole block is checked and zeroed before it is split, as in the
kernel. The first page's record remembers how many pages are held (in `prev`, which an
allocated page does not use), so that a wrong size at the free is noticed: `contexts[ac].excess_pages`.
    below 0   that many pages leak: they stay allocated, and nobody can free them
    above 0   that many pages behind the last one would have been freed, whoever owns them: refused, nothing is freed
Lock order: as in `mm.page_alloc`.
"""

from kmsim.jit import core, small
from kmsim.mm.buddy import free_one_page
from kmsim.mm.cacheline import touch
from kmsim.mm.getorder import get_order
from kmsim.mm.gfp import GFP_COMP, GFP_HIGHMEM
from kmsim.mm.indices import ContextIdx, Gfp, NodeIdx, Pfn
from kmsim.mm.ladder import PAGES_DONE, RUNG_FAILED
from kmsim.mm.locks import zone_lock
from kmsim.mm.mmzone import EXACT_SAVED, NO_PAGE, NOPAGE, PGFREE, Machine
from kmsim.mm.page_alloc import alloc_node_begin, free_begin, resume
from kmsim.mm.page_request import page_resume, then_prepared
from kmsim.mm.pageblock import pageblock_migratetype
from kmsim.mm.wants import DONE, want_lock
from kmsim.mm.zonelist import page_zone

EXACT_IDLE, EXACT_ALLOC, EXACT_TAIL, EXACT_TAIL_LISTED, EXACT_FREE = range(5)


@small
def exact_pages(m: Machine, nr_bytes: int) -> int:
    """How many pages the bytes take."""
    page_shift = int(m.params[0].page_shift)
    return (nr_bytes + (1 << page_shift) - 1) >> page_shift


@small
def nr_pages_held(m: Machine, pfn: Pfn) -> int:
    """How many pages are held from an exact request's first page on; kept in `prev`, free in an allocated page."""
    return int(m.pages[pfn].prev)


@small
def set_nr_pages_held(m: Machine, pfn: Pfn, nr_pages: int) -> None:
    """Note how many pages are held from an exact request's first page on."""
    m.pages[pfn].prev = nr_pages


@core
def exact_alloc_begin(m: Machine, ac: ContextIdx, gfp: Gfp, nr_bytes: int, nid: NodeIdx) -> int:
    """Start to allocate `nr_bytes`, near a node or for NUMA_NO_NODE; what does that want? (kernel: alloc_pages_exact)

    When it is done, `contexts[ac].pfn` is the first page or NO_PAGE; the event EXACT_SAVED counts the pages given back.
    """
    assert nr_bytes > 0
    context = m.contexts[ac]
    order = get_order(nr_bytes, int(m.params[0].page_shift))
    context.excess_pages = 0
    context.exact_nr_pages = exact_pages(m, nr_bytes)
    if order > m.params[0].max_page_order:
        context.exact_stage = EXACT_IDLE
        context.attempt = RUNG_FAILED
        context.stage = PAGES_DONE
        context.gfp = context.to_check = context.to_zero = context.order = 0
        context.pfn = NO_PAGE
        context.failure = NOPAGE
        m.events[NOPAGE] += 1
        return DONE
    context.exact_stage = EXACT_ALLOC
    wanted = then_prepared(m, ac, alloc_node_begin(m, ac, gfp & ~(GFP_COMP | GFP_HIGHMEM), order, nid))
    return wanted if wanted else make_alloc_exact(m, ac)


@core
def make_alloc_exact(m: Machine, ac: ContextIdx) -> int:
    """The block was allocated, or not: split it and go on to its tail (kernel: make_alloc_exact)."""
    context = m.contexts[ac]
    context.exact_stage = EXACT_IDLE
    pfn = int(context.pfn)
    if pfn == NO_PAGE:
        return DONE
    nr_pages = int(context.exact_nr_pages)
    for page in range(pfn, pfn + nr_pages):
        m.pages[page].order = 0
    set_nr_pages_held(m, pfn, nr_pages)
    context.exact_next = pfn + nr_pages
    context.exact_end = pfn + (1 << int(context.order))
    m.events[EXACT_SAVED] += context.exact_end - context.exact_next
    if m.params[0].exact_tail_listed:
        context.exact_first = pfn
        return list_tail(m, ac)
    return next_of_tail(m, ac)


@small
def list_tail(m: Machine, ac: ContextIdx) -> int:
    """Free the tail as single pages, up to the next one that wants a lock (kernel: make_alloc_exact, before 6.0)."""
    context = m.contexts[ac]
    context.exact_stage = EXACT_TAIL_LISTED
    while context.exact_next < context.exact_end:
        pfn = int(context.exact_next)
        context.exact_next = pfn + 1
        wanted = free_begin(m, ac, pfn, 0)
        if wanted:
            return wanted
    context.pfn = context.exact_first
    context.exact_stage = EXACT_IDLE
    return DONE


@small
def next_of_tail(m: Machine, ac: ContextIdx) -> int:
    """Ask for the lock of the tail's next page."""
    context = m.contexts[ac]
    if context.exact_next == context.exact_end:
        context.exact_stage = EXACT_IDLE
        return DONE
    context.exact_stage = EXACT_TAIL
    context.zone = page_zone(m, int(context.exact_next))
    return want_lock(m, ac, zone_lock(context.zone))


@core
def exact_resume(m: Machine, ac: ContextIdx) -> int:
    """What an exact request wanted is granted: go on; what does it want now?"""
    context = m.contexts[ac]
    if context.exact_stage == EXACT_ALLOC:
        wanted = page_resume(m, ac)
        return wanted if wanted else make_alloc_exact(m, ac)
    if context.exact_stage == EXACT_TAIL:
        pfn = int(context.exact_next)
        touch(m, ac, pfn)
        m.events[PGFREE] += 1
        free_one_page(m, ac, pfn, 0, pageblock_migratetype(m, pfn), True)
        context.exact_next = pfn + 1
        return next_of_tail(m, ac)
    if context.exact_stage == EXACT_TAIL_LISTED:
        wanted = resume(m, ac)
        return wanted if wanted else list_tail(m, ac)
    assert context.exact_stage == EXACT_FREE, "a context that waits for no lock"
    wanted = resume(m, ac)
    return wanted if wanted else free_next(m, ac)


@core
def exact_free_begin(m: Machine, ac: ContextIdx, pfn: Pfn, nr_bytes: int) -> int:
    """Start to free exact pages; what does that want? (kernel: free_pages_exact)

    See `excess_pages` for a wrong size.
    """
    context = m.contexts[ac]
    nr_pages = exact_pages(m, nr_bytes)
    excess = nr_pages - nr_pages_held(m, pfn)
    context.excess_pages = excess
    context.exact_stage = EXACT_IDLE
    if excess > 0:
        context.stage = PAGES_DONE
        context.gfp = context.to_check = context.to_zero = 0
        return DONE
    context.exact_next = pfn
    context.exact_end = pfn + nr_pages
    context.exact_stage = EXACT_FREE
    return free_next(m, ac)


@small
def free_next(m: Machine, ac: ContextIdx) -> int:
    """Free pages up to the next one that wants a lock."""
    context = m.contexts[ac]
    while context.exact_next < context.exact_end:
        pfn = int(context.exact_next)
        context.exact_next = pfn + 1
        m.work[0].pages_freed += 1
        wanted = free_begin(m, ac, pfn, 0)
        if wanted:
            return wanted
    context.exact_stage = EXACT_IDLE
    return DONE
