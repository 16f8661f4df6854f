"""Cache lines of a zone that its requests read without its lock: its count of free pages, and its free lists.

Each request compares the count with the zone's marks before it takes a page (`mm.watermark`), and one of order > 0
looks at the free lists, too. Meanwhile others write both under the lock. So a line travels between CPUs, and a write
that finds it read by another CPU has to wait for it: under the lock, where all others wait as well. Where nobody
reads, a line that another CPU wrote last comes while the section goes on.

    the count   written when a CPU's pending delta is folded into it (kernel: zone_page_state_add), and with it,
                as atomically, the count of all zones: two lines
    the lists   written once for each block that is put on a free list or taken off

A line is known by its *version*: two for each write, one more since another CPU has read it. Each CPU remembers the
version that it has seen last. Each line remembers the node of the CPU that read or wrote it last, from which it comes.

Leaves out that the lists of a zone are several lines, and the time that passes within a section: the reads since the
last section stand for those that fall between the writes of the next one. Invariant: a line whose version a CPU has
seen is in its cache. Lock order: writes are under the zone's lock; reads take none.
"""

from kmsim.jit import core, small
from kmsim.mm.indices import ContextIdx, ZoneIdx
from kmsim.mm.mmzone import Machine, pcp_index
from kmsim.mm.remote_lines import count_from_caches_of, count_shared, has_nodes
from kmsim.mm.zonelist import numa_node_id

READ = 1  # since the last write, by another CPU
LINES_OF_COUNT = 2  # the zone's own, and that of all zones


@small
def read_count(m: Machine, ac: ContextIdx, z: ZoneIdx) -> None:
    """A CPU reads how many pages are free."""
    zone = m.zones[z]
    pcp = m.pcps[pcp_index(m, z, m.contexts[ac].cpu)]
    if pcp.count_seen | READ != zone.count_version | READ:
        zone.count_version |= READ
        pcp.count_seen = zone.count_version
        m.work[0].lines_other += 1
        if has_nodes(m):
            cpu = int(m.contexts[ac].cpu)
            count_from_caches_of(m, cpu, int(zone.count_node), 1)
            zone.count_node = numa_node_id(m, cpu)


@small
def read_lists(m: Machine, ac: ContextIdx, z: ZoneIdx) -> None:
    """A CPU reads whether there is a free block."""
    zone = m.zones[z]
    pcp = m.pcps[pcp_index(m, z, m.contexts[ac].cpu)]
    if pcp.lists_seen | READ != zone.lists_version | READ:
        zone.lists_version |= READ
        pcp.lists_seen = zone.lists_version
        m.work[0].lines_other += 1
        if has_nodes(m):
            cpu = int(m.contexts[ac].cpu)
            count_from_caches_of(m, cpu, int(zone.lists_node), 1)
            zone.lists_node = numa_node_id(m, cpu)


@small
def write_count(m: Machine, ac: ContextIdx) -> None:
    """A CPU folds its delta into the count of the context's zone."""
    context = m.contexts[ac]
    zone = m.zones[context.zone]
    pcp = m.pcps[pcp_index(m, context.zone, context.cpu)]
    if has_nodes(m):
        _write_count_from_afar(m, ac)
    if zone.count_version & READ:
        m.work[0].lines_shared += LINES_OF_COUNT
    elif pcp.count_seen != zone.count_version:
        m.work[0].lines_other += LINES_OF_COUNT
    zone.count_version = (zone.count_version | READ) + 1
    pcp.count_seen = zone.count_version


@core
def _write_count_from_afar(m: Machine, ac: ContextIdx) -> None:
    """How far the lines come that `write_count` waits for."""
    context = m.contexts[ac]
    zone = m.zones[context.zone]
    cpu = int(context.cpu)
    if zone.count_version & READ:
        count_shared(m, cpu, int(zone.count_node), LINES_OF_COUNT)
    elif m.pcps[pcp_index(m, context.zone, cpu)].count_seen != zone.count_version:
        count_from_caches_of(m, cpu, int(zone.count_node), LINES_OF_COUNT)
    zone.count_node = numa_node_id(m, cpu)


@small
def write_lists(m: Machine, ac: ContextIdx, nr_blocks: int) -> None:
    """A CPU has put so many blocks on free lists of the context's zone, or taken them off, in one section."""
    context = m.contexts[ac]
    zone = m.zones[context.zone]
    if zone.lists_version & READ:
        m.work[0].lines_shared += nr_blocks
    if has_nodes(m):
        if zone.lists_version & READ:
            count_shared(m, int(context.cpu), int(zone.lists_node), nr_blocks)
        zone.lists_node = numa_node_id(m, int(context.cpu))
    zone.lists_version = (zone.lists_version | READ) + 1
    m.pcps[pcp_index(m, context.zone, context.cpu)].lists_seen = zone.lists_version
