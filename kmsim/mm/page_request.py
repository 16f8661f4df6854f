"""Pages asked for in their own right, a block or a chain, and not within a request for something else.

The new pages are checked and zeroed when no lock is held any more, as the request's last step; requests that ask for
pages of their own (a slab's, an area's) see to that themselves. Frees are in `mm.page_alloc` and `mm.page_chain`.
Leaves out all else: see `mm.page_alloc`. Invariant: PREP follows a block, never a failure. Lock order: as there.
"""

from kmsim.jit import core, small
from kmsim.mm.indices import ContextIdx
from kmsim.mm.ladder import PAGES_DONE, PREP
from kmsim.mm.mmzone import NO_PAGE, Machine
from kmsim.mm.page_chain import chain_alloc_resume
from kmsim.mm.prep_new_page import after_lock, is_to_be_prepared
from kmsim.mm.slow_path import alloc_resume
from kmsim.mm.wants import DONE, want_to_go_on


@small
def then_prepared(m: Machine, ac: ContextIdx, wants: int) -> int:
    """What the request wants: as the page allocator says, and to go on where its new pages are to be prepared."""
    context = m.contexts[ac]
    if wants == DONE and is_to_be_prepared(m, ac) and context.pfn != NO_PAGE:
        context.stage = PREP
        return want_to_go_on(m, ac)
    return wants


@small
def page_resume(m: Machine, ac: ContextIdx) -> int:
    """What the request wanted is granted: go on; what does it want now?"""
    return prepare(m, ac) if m.contexts[ac].stage == PREP else then_prepared(m, ac, alloc_resume(m, ac))


@core
def bulk_resume(m: Machine, ac: ContextIdx) -> int:
    """The same, for pages in bulk that become a chain."""
    return prepare(m, ac) if m.contexts[ac].stage == PREP else then_prepared(m, ac, chain_alloc_resume(m, ac))


@small
def prepare(m: Machine, ac: ContextIdx) -> int:
    """Check and zero the new pages, which is the last thing to do."""
    after_lock(m, ac)
    m.contexts[ac].stage = PAGES_DONE
    return DONE
