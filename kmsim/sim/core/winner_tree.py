"""Which CPU acts next: a tournament over (time, CPU).

`tree[1]` is the smallest of all `time << CPU_BITS | cpu`; the leaves lie in the second half, and each
inner node holds the smaller of its two children. So equal times go to the lower CPU, and a CPU's
new time costs as many steps as the tree is high (a scan of all CPUs, or a heap, halves the rate at 256).
"""

from kmsim.jit import small
from kmsim.sim.core.records import CPU_BITS, Core


@small
def set_time(s: Core, c: int, time: int) -> None:
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
