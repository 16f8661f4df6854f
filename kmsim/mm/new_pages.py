"""Looking at pages that are about to be handed out (kernel: check_new_pages).

A policy (see `mm.kernels`). It is asked only where `params.check_pages` says so: before Linux 6.4, whenever a
block leaves the buddy allocator; later kernels look only when a debug option is on. Leaves out what a bad page
does: of a simulated machine none is bad. Invariant: nothing is changed but cache lines and the count of work.
Lock order: the caller may hold the pcp lock and the zone's lock.
"""

from kmsim.jit import core
from kmsim.jit_policies import verb
from kmsim.mm.cacheline import touch_block
from kmsim.mm.indices import ContextIdx, Order, Pfn
from kmsim.mm.mmzone import Machine


@verb
@core
def check_new_pages(m: Machine, ac: ContextIdx, pfn: Pfn, order: Order) -> None:
    """Look at every struct page of a block, whether its page is as a free one must be (kernel: check_new_pages)."""
    touch_block(m, ac, pfn, order)
    m.work[0].pages_checked += 1 << order
