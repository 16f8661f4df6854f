"""The common case of an allocation in one piece: a single page from the CPU's list of the first zone.

What `get_page_from_freelist` of `mm.page_alloc` decides step by step is decided here at once: the zone is above its
high mark, so that nobody is woken and no rung of the ladder is gone down, and the list is neither locked nor empty.
Whoever has asked `is_at_hand` may call `take_at_hand`; else there is the ladder. The event core does so but in stepwise
mode, and a test compares the two.

Leaves out all else. Invariant: what is not at hand is left as it was. Lock order: the pcp's lock is only tried.
"""

from kmsim.jit import small
from kmsim.mm.indices import ContextIdx, PcpIdx, ZonerefIdx
from kmsim.mm.list import list_empty
from kmsim.mm.mmzone import NO_ZONE, WMARK_HIGH, ZONE_BELOW_HIGH, ZONE_BOOSTED_WATERMARK, Machine, pcp_index
from kmsim.mm.page_alloc import hand_out
from kmsim.mm.pcp import note_alloc, order_to_pindex, pcp_take, pcp_trylock
from kmsim.mm.watermark import is_page_above, wmark_pages
from kmsim.mm.zone_lines import read_count


@small
def is_at_hand(m: Machine, ac: ContextIdx, zoneref: ZonerefIdx) -> bool:
    """May a request for one page that has set out be served by the CPU's list of this zone, with nothing else to do?"""
    context = m.contexts[ac]
    z = int(m.zonerefs[zoneref].zone)
    if z == NO_ZONE or m.zones[z].zone_flags & (ZONE_BELOW_HIGH | ZONE_BOOSTED_WATERMARK):
        return False
    p = pcp_index(m, z, context.cpu)
    if not pcp_trylock(m, ac, p) or list_empty(m, int(m.pcps[p].lists) + order_to_pindex(context.migratetype, 0)):
        return False
    return is_page_above(m, z, wmark_pages(m, z, WMARK_HIGH), context.highest_zoneidx, context.alloc_flags)


@small
def take_at_hand(m: Machine, ac: ContextIdx, zoneref: ZonerefIdx) -> PcpIdx:
    """Take it; the lists that it is from."""
    context = m.contexts[ac]
    z = int(m.zonerefs[zoneref].zone)
    p = pcp_index(m, z, context.cpu)
    m.work[0].watermark_checks += 1
    read_count(m, ac, z)
    context.zoneref = zoneref
    context.zone = z
    note_alloc(m, p)
    hand_out(m, ac, pcp_take(m, ac, p, order_to_pindex(context.migratetype, 0), 0))
    return p
