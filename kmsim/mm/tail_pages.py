"""The pages of a block behind its first: what is done with each when the block is freed, or made a compound page.

A policy (see `mm.kernels`). A free walks them all, to take flags away from each (kernel: free_pages_prepare), where
`params.tails_written` says so, as in stock kernels; one that does not only counts them: the loop runs over pages that
it leaves alone. Whoever asks with __GFP_COMP gets a compound page: each page is made to name the first (kernel:
prep_compound_page). Leaves out the checks of a debug kernel, and that compound pages are written whoever frees them.
Invariant: nothing is changed but cache lines and the count of work. Lock order: none is held; the caller may hold the
pcp lock.
"""

from kmsim.jit import core
from kmsim.jit_policies import verb
from kmsim.mm.cacheline import touch_block, touch_tails
from kmsim.mm.indices import ContextIdx, Order, Pfn
from kmsim.mm.mmzone import Machine


@verb
@core
def free_tail_pages(m: Machine, ac: ContextIdx, pfn: Pfn, order: Order) -> None:
    """Take the flags of a block's other pages away (kernel: free_pages_prepare)."""
    m.work[0].tails_walked += (1 << order) - 1
    if m.params[0].tails_written:
        touch_block(m, ac, pfn, order)


@verb
@core
def prep_compound_page(m: Machine, ac: ContextIdx, pfn: Pfn, order: Order) -> None:
    """Make each of a block's other pages name the first (kernel: prep_compound_page)."""
    m.work[0].tails_walked += (1 << order) - 1
    touch_tails(m, ac, pfn, order)
