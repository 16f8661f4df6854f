"""No pageblock is reserved for a block that was on a per-CPU list.

Written from the description of "mm/page_alloc: don't increase highatomic reserve after pcp alloc" (linux-mm, 20 March
2026): such a block is never of a reserved pageblock, so each would reserve another one. An empty list is not refilled
for such a request, which then looks among the reserved blocks first.
"""

from kmsim.mm.gfp import ALLOC_HIGHATOMIC
from kmsim.mm.highatomic import has_room, reserve_highatomic_pageblock, unreserve_highatomic_pageblock
from kmsim.mm.indices import ContextIdx
from kmsim.mm.mmzone import Machine

__all__ = ["may_refill", "may_reserve", "reserve_highatomic_pageblock", "unreserve_highatomic_pageblock"]


def may_refill(m: Machine, ac: ContextIdx) -> bool:
    """May an empty per-CPU list be refilled for the context's request?"""
    return not m.contexts[ac].alloc_flags & ALLOC_HIGHATOMIC


def may_reserve(m: Machine, ac: ContextIdx, from_pcp: bool) -> bool:
    """May the pageblock of the block that the context has just got become highatomic?"""
    return not from_pcp and has_room(m, int(m.contexts[ac].zone))
