"""The shape of the tournament over all CPUs (see `sim.core.winner_tree`): a complete tree, four children to a node."""

NR_CHILDREN = 4


def tree_shape(nr_cpus: int) -> tuple[int, int]:
    """How many nodes the tree of so many CPUs has, and which of them is the first leaf."""
    nr_leaves, first_leaf = 1, 0
    while nr_leaves < nr_cpus:
        first_leaf += nr_leaves
        nr_leaves *= NR_CHILDREN
    return first_leaf + nr_leaves, first_leaf
