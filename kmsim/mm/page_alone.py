"""Whole requests for pages on a machine on which nothing else runs, so every lock is free (kernel: mm/page_alloc.c).

For replays, boots and tests; on a clock, the stage loop of the event core asks `mm.page_alloc` step by step. A machine
that cannot reclaim leaves out the slow path: a request that wants it fails. Invariant and lock order: as in
`mm.page_alloc` and `mm.slow_path`.
"""

from kmsim.jit import small
from kmsim.mm.indices import ContextIdx, Gfp, NodeIdx, Order, Pfn
from kmsim.mm.mmzone import NUMA_NO_NODE, Machine
from kmsim.mm.page_alloc import alloc_node_begin, free_begin, resume
from kmsim.mm.pcp_held import answer_try, let_go
from kmsim.mm.prep_new_page import after_lock
from kmsim.mm.slow_path import alloc_resume


@small
def alloc_pages(m: Machine, ac: ContextIdx, gfp: Gfp, order: Order) -> Pfn:
    """A block of 2^order pages near the CPU, or by its thread's policy, or NO_PAGE (kernel: alloc_pages)."""
    return alloc_pages_node(m, ac, gfp, order, NUMA_NO_NODE)


@small
def alloc_pages_node(m: Machine, ac: ContextIdx, gfp: Gfp, order: Order, preferred_nid: NodeIdx) -> Pfn:
    """A block of 2^order pages near a node, or NO_PAGE (kernel: alloc_pages_node)."""
    wanted = alloc_node_begin(m, ac, gfp, order, preferred_nid)
    while wanted:
        answer_try(m, ac, wanted)
        wanted = alloc_resume(m, ac)
        let_go(m, ac, wanted)  # of a list that the slow path has emptied
    after_lock(m, ac)
    return int(m.contexts[ac].pfn)


@small
def free_pages(m: Machine, ac: ContextIdx, pfn: Pfn, order: Order) -> None:
    """Free a block (kernel: __free_pages)."""
    wanted = free_begin(m, ac, pfn, order)
    while wanted:
        answer_try(m, ac, wanted)
        wanted = resume(m, ac)
    after_lock(m, ac)
