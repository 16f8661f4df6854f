"""Which zone a page is in, and in which order zones are asked (kernel: mmzone.h, build_zonelists).

One node: the zonelist of a request is its highest zone and every populated zone below it.
"""

from kmsim.jit import small
from kmsim.mm.indices import Pfn, ZoneIdx
from kmsim.mm.mmzone import MAX_NR_ZONES, Machine


@small
def next_zone(m: Machine, zone: ZoneIdx) -> ZoneIdx:
    """The first populated zone at or below `zone`, or -1 (kernel: for_next_zone_zonelist_nodemask)."""
    while zone >= 0 and m.zones[zone].present_pages == 0:
        zone -= 1
    return zone


@small
def page_zone(m: Machine, pfn: Pfn) -> ZoneIdx:
    """The zone of a page frame; frames below the first zone's start count as its own (kernel: page_zone)."""
    zone = next_zone(m, MAX_NR_ZONES - 1)
    while pfn < m.zones[zone].start_pfn:
        below = next_zone(m, zone - 1)
        if below < 0:
            break
        zone = below
    return zone
