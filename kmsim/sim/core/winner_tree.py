"""Which CPU acts next: a tournament over (time, CPU).

`tree[0]` is the smallest of all `time << CPU_BITS | cpu`. The tree is complete: the four children of node n lie at
4 n + 1 and behind, the leaves last, and each inner node holds the smallest of its children. So equal times go to the
lower CPU, and a CPU's new time costs as many steps as the tree is high (a scan of all CPUs, or a heap, halves the rate
at 256; two children a node instead of four cost a twentieth more instructions in all).
"""

from kmsim.jit import small
from kmsim.mm.indices import CpuIdx
from kmsim.sim.core.records import CPU_BITS, Core


@small
def is_before(s: Core, horizon: int) -> bool:
    """Does any CPU act before this time?"""
    return bool(s.tree[0] < horizon << CPU_BITS)


@small
def next_cpu(s: Core) -> CpuIdx:
    """The CPU that acts next."""
    return int(s.tree[0] & ((1 << CPU_BITS) - 1))


@small
def set_time(s: Core, c: CpuIdx, time: int) -> None:
    """Say when something happens next on a CPU."""
    s.cpus[c].time = time
    tree = s.tree
    node = s.state[0].first_leaf + c
    tree[node] = time << CPU_BITS | c
    while node > 0:  # up to the root, whoever wins: a loop that ends early is mispredicted, and slower
        node = (node - 1) >> 2
        n = 4 * node
        tree[node] = min(tree[n + 1], tree[n + 2], tree[n + 3], tree[n + 4])
