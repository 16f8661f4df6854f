"""What is done with new pages before they are handed out: checks, zeroing, compound pages (kernel: prep_new_page).

It is the last step of a request, when no lock is held any more; `mm.page_alloc` says when. Leaves out debug options and
what kmsan and KASAN initialise. Invariant: nothing is changed but cache lines and the count of work. Lock order: takes
none.
"""

from kmsim.jit import core, small
from kmsim.mm.gfp import GFP_COMP, GFP_ZERO
from kmsim.mm.indices import ContextIdx, Gfp, Order
from kmsim.mm.ladder import RUNG_BULK
from kmsim.mm.mmzone import NO_PAGE, Machine
from kmsim.mm.new_pages import check_new_pages
from kmsim.mm.tail_pages import prep_compound_page


@small
def after_lock(m: Machine, ac: ContextIdx) -> None:
    """Check, zero and join new pages, once for each request that is done; after a free or a failure it does nothing."""
    if is_to_be_prepared(m, ac):
        prep_new_pages(m, ac)


@small
def want_init_on_alloc(m: Machine, gfp: Gfp) -> bool:
    """Is new memory zeroed: at the caller's wish, or of every caller? (kernel: want_init_on_alloc)"""
    return gfp & GFP_ZERO != 0 or m.params[0].init_on_alloc != 0


@small
def is_to_be_zeroed(m: Machine, gfp: Gfp) -> bool:
    """The same of pages, which are zero already where all are zeroed when they are freed (kernel: post_alloc_hook)."""
    return want_init_on_alloc(m, gfp) and m.params[0].init_on_free == 0


@small
def init_on_free(m: Machine, order: Order) -> None:
    """Zero a block that is being freed, where all are (kernel: free_pages_prepare)."""
    if m.params[0].init_on_free:
        m.work[0].bytes_zeroed += 1 << (order + m.params[0].page_shift)


@small
def is_to_be_prepared(m: Machine, ac: ContextIdx) -> bool:
    """Is there more to do with the pages of the request than to hand them out?"""
    context = m.contexts[ac]
    return bool(context.to_check or context.to_zero or (context.gfp & GFP_COMP and context.order))


@core
def prep_new_pages(m: Machine, ac: ContextIdx) -> None:
    """Check, zero and join the context's new block, or its pages of a bulk request (kernel: prep_new_page)."""
    context = m.contexts[ac]
    if context.to_check:
        check_new_pages(m, ac, int(context.pfn), int(context.order))
    if context.to_zero:
        nr_blocks = context.nr_populated if context.attempt == RUNG_BULK else int(context.pfn != NO_PAGE)
        m.work[0].bytes_zeroed += nr_blocks << (context.order + m.params[0].page_shift)
    if context.gfp & GFP_COMP and context.order and context.pfn != NO_PAGE:
        prep_compound_page(m, ac, int(context.pfn), int(context.order))
