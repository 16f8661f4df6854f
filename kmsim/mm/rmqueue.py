"""One block from a zone's free lists, for a request of one migratetype (kernel: __rmqueue).

A block of the request's own type comes first; where there is none, the policy says what of another type is taken:
`mm.fallback`, or `mm.fallback_moves` before Linux 6.10. `mm.fallback` remembers, as the *mode*, which of its rungs
served, while one hold of the lock fills a per-CPU list. Lock order: the caller holds the zone's lock. The request
(zone, order, migratetype, alloc_flags) is that of the context `ac`.
"""

from kmsim.jit import small
from kmsim.mm import fallback, fallback_moves
from kmsim.mm.buddy import rmqueue_smallest
from kmsim.mm.indices import ContextIdx
from kmsim.mm.mmzone import NO_PAGE, RMQUEUE_NORMAL, Machine


@small
def rmqueue(m: Machine, ac: ContextIdx, mode: int) -> tuple[int, int]:
    """A block for the context's request, by the first rung at or below `mode` that has one (kernel: __rmqueue).

    Returns its pfn, or NO_PAGE, and the mode for the next request under the same hold of the lock.
    """
    if mode == RMQUEUE_NORMAL:
        context = m.contexts[ac]
        pfn = rmqueue_smallest(m, ac, context.order, context.migratetype)
        if pfn != NO_PAGE:
            return pfn, RMQUEUE_NORMAL
    if m.params[0].lists_by_pageblock:
        return fallback.rmqueue_fallback(m, ac, mode)
    return fallback_moves.rmqueue_fallback(m, ac, mode)
