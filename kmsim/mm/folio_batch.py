"""A batch of folios is freed at once (kernel: free_unref_folios of mm/page_alloc.c).

The caller puts blocks on the context's own list with `put_folio` (the kernel's batches hold at most 31; up to Linux 6.1
it frees 32 at once), and frees them with `free_folios_begin`. Where the per-CPU lists are locked, each block goes to
the zone. Leaves out memory cgroups.
Invariant: the list is empty when the batch is freed. Lock order: that of `mm.page_alloc`.
"""

from kmsim.jit import core
from kmsim.mm.indices import ContextIdx, Order, Pfn
from kmsim.mm.list import list_add, list_add_tail, list_del, list_empty, list_first
from kmsim.mm.mmzone import Machine
from kmsim.mm.page_alloc import free_begin, resume
from kmsim.mm.pcp import pcp_allowed_order
from kmsim.mm.wants import DONE


@core
def put_folio(m: Machine, ac: ContextIdx, pfn: Pfn, order: Order) -> None:
    """Add a block to the batch that `free_folios_begin` will free; single pages the last first, up to Linux 6.1."""
    m.pages[pfn].order = order
    if order == 0 and not m.params[0].folio_reclaim:
        list_add(m, ac, pfn, m.contexts[ac].page_list)
    else:
        list_add_tail(m, ac, pfn, m.contexts[ac].page_list)


@core
def free_folios_begin(m: Machine, ac: ContextIdx) -> int:
    """Start to free the batch; what does that want? (kernel: free_unref_folios)

    Blocks that per-CPU lists do not hold go to the zone first (up to Linux 6.1, all of order > 0), then the others in
    order.
    """
    m.contexts[ac].next_pfn = list_first(m, m.contexts[ac].page_list)
    return free_folios_next(m, ac)


@core
def free_folios_next(m: Machine, ac: ContextIdx) -> int:
    """Free blocks up to the next one that wants a lock."""
    context = m.contexts[ac]
    head = int(context.page_list)
    while context.next_pfn != head:
        pfn = int(context.next_pfn)
        context.next_pfn = int(m.pages[pfn].next)
        order = int(m.pages[pfn].order)
        if not pcp_allowed_order(m, order) or (order and not m.params[0].folio_reclaim):
            list_del(m, ac, pfn)
            wanted = free_begin(m, ac, pfn, order)
            if wanted:
                return wanted
    while not list_empty(m, head):
        pfn = list_first(m, head)
        list_del(m, ac, pfn)
        wanted = free_begin(m, ac, pfn, int(m.pages[pfn].order))
        if wanted:
            return wanted
    return DONE


@core
def free_folios_resume(m: Machine, ac: ContextIdx) -> int:
    """What a batch wanted is granted: go on; what does it want now?"""
    wanted = resume(m, ac)
    return wanted if wanted else free_folios_next(m, ac)
