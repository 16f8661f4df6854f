"""No pageblock is reserved for requests of orders up to PAGE_ALLOC_COSTLY_ORDER.

Written from the description of "mm/page_alloc: skip high atomic reservation at or below costly order" (linux-mm, 18 May
2026): a request of order 1 otherwise reserves a whole pageblock, 256 times what it asked for.
"""

from kmsim.mm.highatomic import (
    has_room,
    may_refill,
    reserve_highatomic_pageblock,
    unreserve_highatomic_pageblock,
)
from kmsim.mm.indices import ContextIdx
from kmsim.mm.mmzone import PAGE_ALLOC_COSTLY_ORDER, Machine

__all__ = ["may_refill", "may_reserve", "reserve_highatomic_pageblock", "unreserve_highatomic_pageblock"]


def may_reserve(m: Machine, ac: ContextIdx, _from_pcp: bool) -> bool:
    """May the pageblock of the block that the context has just got become highatomic?"""
    context = m.contexts[ac]
    return context.order > PAGE_ALLOC_COSTLY_ORDER and has_room(m, int(context.zone))
