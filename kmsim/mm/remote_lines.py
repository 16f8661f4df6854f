"""Cache lines that come from another node: how far they come, for the price list.

A line that another CPU's cache has comes from that CPU's node. One that no cache has comes from the memory that it
lies in: a struct page and an object from the node of the page. How far that is, is counted in units of firmware's
distance beyond that of a node to itself; the price list says what a unit costs (assumed: it grows with the distance).
Where several misses of one stage overlap, the furthest counts as the exposed one.

Leaves out links between nodes that are busy, and the contents of pages: zeroing and copying cost the same on each
node. With one node nothing is counted. Takes no lock.
"""

from kmsim.jit import small
from kmsim.mm.indices import CpuIdx, NodeIdx, Pfn
from kmsim.mm.mmzone import LOCAL_DISTANCE, Machine
from kmsim.mm.zonelist import numa_node_id, page_zone


@small
def has_nodes(m: Machine) -> bool:
    """Can anything be on another node?"""
    return len(m.nodes) > 1


@small
def distance_beyond(m: Machine, cpu: CpuIdx, n: NodeIdx) -> int:
    """How much further a node is from a CPU than its own."""
    return int(m.nodes[numa_node_id(m, cpu)].distance[n]) - LOCAL_DISTANCE


@small
def count_from_cpu(m: Machine, cpu: CpuIdx, other: CpuIdx, nr_lines: int) -> None:
    """So many lines come from the cache of another CPU."""
    if has_nodes(m):
        count_from_caches_of(m, cpu, numa_node_id(m, other), nr_lines)


@small
def count_from_caches_of(m: Machine, cpu: CpuIdx, n: NodeIdx, nr_lines: int) -> None:
    """So many lines come from a cache of a node."""
    beyond = distance_beyond(m, cpu, n)
    work = m.work[0]
    work.beyond_other += beyond * nr_lines
    work.beyond_other_max = max(work.beyond_other_max, beyond)


@small
def count_shared(m: Machine, cpu: CpuIdx, n: NodeIdx, nr_lines: int) -> None:
    """So many lines are waited for that a CPU of a node has read."""
    m.work[0].beyond_shared += distance_beyond(m, cpu, n) * nr_lines


@small
def count_from_memory(m: Machine, cpu: CpuIdx, pfn: Pfn) -> None:
    """A line comes from the memory of a page's node, or of its struct page's, which is the same."""
    if has_nodes(m):
        beyond = distance_beyond(m, cpu, int(m.zones[page_zone(m, pfn)].node))
        work = m.work[0]
        work.beyond_memory += beyond
        work.beyond_memory_max = max(work.beyond_memory_max, beyond)


@small
def count_prefetched(m: Machine, cpu: CpuIdx, pfn: Pfn, nr_lines: int) -> None:
    """So many lines come from there, prefetched."""
    if has_nodes(m):
        m.work[0].beyond_memory += distance_beyond(m, cpu, int(m.zones[page_zone(m, pfn)].node)) * nr_lines
