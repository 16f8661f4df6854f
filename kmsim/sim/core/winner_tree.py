"""Which CPU acts next: a tournament over (time, CPU).

`tree[1]` is the smallest of all `time << CPU_BITS | cpu`; the leaves lie in the second half, and each
inner node holds the smaller of its two children. So equal times go to the lower CPU, and a CPU's
new time costs as many steps as the tree is high (a scan of all CPUs, or a heap, halves the rate at 256).
"""

from kmsim.jit import small
from kmsim.mm.indices import CpuIdx
from kmsim.sim.core.records import CPU_BITS, Core


@small
def is_before(s: Core, horizon: int) -> bool:
    """Does any CPU act before this time?"""
    return bool(s.tree[1] < horizon << CPU_BITS)


@small
def next_cpu(s: Core) -> CpuIdx:
    """The CPU that acts next."""
    return int(s.tree[1] & ((1 << CPU_BITS) - 1))


@small
def set_time(s: Core, c: CpuIdx, time: int) -> None:
    """Say when something happens next on a CPU."""
    s.cpus[c].time = time
    tree = s.tree
    node = (len(tree) >> 1) + c
    winner = time << CPU_BITS | c
    tree[node] = winner
    while node > 1:  # up to the root, whoever wins: a loop that ends early is mispredicted, and slower
        winner = min(winner, tree[node ^ 1])
        node >>= 1
        tree[node] = winner
