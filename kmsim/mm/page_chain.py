"""Pages of one owner, chained through their own records: many pages as one handle, without memory of their own.

A chain is known by its first page. `next` of each page's record leads to the next one, NO_PAGE behind the last:
an allocated page is on no list, so the link is free. `chain_alloc_begin` is a request to the bulk allocator
(`mm.bulk`) whose pages become a chain in the order in which the array API would hand them out; `chain_free_begin`
frees a chain page by page with __free_page, in that order. Each wants what `mm.page_alloc` wants.

Invariant: the pages of a chain are allocated, of order 0, and in no other chain. The records' other fields are
left alone. Making a chain costs no touch of a page's record: the kernel writes an array of pointers.
Lock order: as in `mm.bulk` and `mm.page_alloc`.
"""

from kmsim.jit import core, small
from kmsim.mm.bulk import alloc_bulk_begin, alloc_bulk_resume
from kmsim.mm.indices import ContextIdx, Gfp, Order, Pfn
from kmsim.mm.list import list_empty, list_first, list_last
from kmsim.mm.mmzone import NO_PAGE, Machine
from kmsim.mm.page_alloc import free_begin, resume
from kmsim.mm.wants import DONE


@core
def chain_alloc_begin(m: Machine, ac: ContextIdx, gfp: Gfp, nr_pages: int) -> int:
    """Start to allocate up to `nr_pages` pages; what does that want?

    When it is done, `contexts[ac].pfn` is the first or NO_PAGE, `chain_tail` the last, `nr_populated` how many.
    """
    wanted = alloc_bulk_begin(m, ac, gfp, nr_pages)
    return wanted if wanted else chain_done(m, ac)


@core
def chain_alloc_resume(m: Machine, ac: ContextIdx) -> int:
    """What the request wanted is granted: go on; what does it want now?"""
    wanted = alloc_bulk_resume(m, ac)
    return wanted if wanted else chain_done(m, ac)


@small
def chain_done(m: Machine, ac: ContextIdx) -> int:
    """Make the context's list a chain."""
    context = m.contexts[ac]
    head = int(context.page_list)
    context.pfn = NO_PAGE
    context.chain_tail = NO_PAGE
    if not list_empty(m, head):
        context.pfn = list_first(m, head)
        context.chain_tail = list_last(m, head)
        m.pages[context.chain_tail].next = NO_PAGE
        m.pages[head].next = head
        m.pages[head].prev = head
    return DONE


@small
def append_pages(m: Machine, ac: ContextIdx, first_pfn: Pfn, tail: Pfn) -> Pfn:
    """Put the chain that the context has just allocated behind another one; the first page of both."""
    if first_pfn == NO_PAGE:
        return int(m.contexts[ac].pfn)
    m.pages[tail].next = m.contexts[ac].pfn
    return first_pfn


@core
def append_split(m: Machine, ac: ContextIdx, first_pfn: Pfn, tail: Pfn, pfn: Pfn, order: Order) -> Pfn:
    """Split a block into pages and put them behind a chain; the first page of both (kernel: split_page)."""
    end = pfn + (1 << order)
    for page in range(pfn, end):
        m.pages[page].order = 0
        m.pages[page].next = page + 1
    m.pages[end - 1].next = NO_PAGE
    m.contexts[ac].chain_tail = end - 1
    if first_pfn == NO_PAGE:
        return pfn
    m.pages[tail].next = pfn
    return first_pfn


@core
def chain_free_begin(m: Machine, ac: ContextIdx, first_pfn: Pfn) -> int:
    """Start to free a chain, page by page; what does that want?"""
    m.contexts[ac].chain_next = first_pfn
    return chain_free_next(m, ac)


@core
def chain_free_resume(m: Machine, ac: ContextIdx) -> int:
    """What the freeing of a chain wanted is granted: go on; what does it want now?"""
    wanted = resume(m, ac)
    return wanted if wanted else chain_free_next(m, ac)


@core
def chain_free_next(m: Machine, ac: ContextIdx) -> int:
    """Free pages up to the next one that wants a lock."""
    context = m.contexts[ac]
    while context.chain_next != NO_PAGE:
        pfn = int(context.chain_next)
        context.chain_next = int(m.pages[pfn].next)
        m.work[0].pages_freed += 1
        wanted = free_begin(m, ac, pfn, 0)
        if wanted:
            return wanted
    return DONE
