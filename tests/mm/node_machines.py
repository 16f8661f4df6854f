"""Machines of several nodes, of any size and at any distance, for tests."""

from collections.abc import Sequence

from kmsim.mm.memblock import free_range, lay_out_node
from kmsim.mm.mm_init import PfnRange
from kmsim.mm.mmzone import Machine, new_machine
from kmsim.mm.zone_setup import init_watermarks
from kmsim.mm.zonelist import build_all_zonelists
from tests.params import params

BLOCK = 1024  # pages of the largest block
NOTHING = PfnRange(0, 0)


def machine(blocks: Sequence[int], node_of_cpu: Sequence[int], distances: list[list[int]] | None = None) -> Machine:
    """So many of the largest blocks of Normal memory on each node, one node behind the other, all of it free."""
    nr_nodes = len(blocks)
    end = (sum(blocks) + 1) * BLOCK
    m = new_machine(params(nr_nodes=nr_nodes, nr_cpus=len(node_of_cpu), nr_frames=end, numa=True))
    start = BLOCK  # so that frame 0 is nobody's
    for n, nr_blocks in enumerate(blocks):
        span = PfnRange(start, start + nr_blocks * BLOCK)
        lay_out_node(m, n, [NOTHING, NOTHING, span, NOTHING], [span], [span])
        start = span.end
    m.cpus["node"][:] = node_of_cpu
    if distances is not None:
        m.nodes["distance"][:, :nr_nodes] = distances
    build_all_zonelists(m)
    free_range(m, BLOCK, end)
    init_watermarks(m, thp_enabled=False)
    return m
