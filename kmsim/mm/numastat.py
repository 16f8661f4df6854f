"""Where allocations land, as kernels built with NUMA count it (kernel: zone_statistics, mm/page_alloc.c).

One count an allocation, whatever its order; in bulk, one a page. An allocation is a *hit* where it came from the node
of the preferred zone, else a *miss* there and *foreign* at the preferred zone; it is *local* where it came from the
node of the CPU that asked, else *other*. The preferred zone is the first that the request could use, so a CPU on a node
without memory has hits, but nothing local.

The kernel counts per CPU and adds the counts up when somebody asks; here they are added up at once. One that
was interleaved and landed on the node whose turn it was is counted as such, too (`mm.mempolicy`). Invariant: hits and
misses of all zones are the allocations.
"""

from kmsim.jit import small
from kmsim.mm.indices import ContextIdx
from kmsim.mm.mempolicy import is_interleave_hit
from kmsim.mm.mmzone import NUMA_FOREIGN, NUMA_HIT, NUMA_INTERLEAVE_HIT, NUMA_LOCAL, NUMA_MISS, NUMA_OTHER, Machine
from kmsim.mm.zonelist import numa_node_id


@small
def zone_statistics(m: Machine, ac: ContextIdx, nr_account: int) -> None:
    """Count allocations of the context, from its zone (kernel: zone_statistics)."""
    if m.params[0].numa:
        count_numa_events(m, ac, nr_account)


@small
def count_numa_events(m: Machine, ac: ContextIdx, nr_account: int) -> None:
    """The counting itself, on kernels that do it."""
    context = m.contexts[ac]
    zone = m.zones[context.zone]
    preferred = m.zones[m.zonerefs[context.preferred_zoneref].zone]
    if zone.node == preferred.node:
        zone.vm_numa_event[NUMA_HIT] += nr_account
    else:
        zone.vm_numa_event[NUMA_MISS] += nr_account
        preferred.vm_numa_event[NUMA_FOREIGN] += nr_account
    is_local = zone.node == numa_node_id(m, context.cpu)
    zone.vm_numa_event[NUMA_LOCAL if is_local else NUMA_OTHER] += nr_account
    if is_interleave_hit(m, ac, zone.node):
        zone.vm_numa_event[NUMA_INTERLEAVE_HIT] += nr_account
