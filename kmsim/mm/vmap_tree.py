"""A red-black tree of address ranges, augmented by the longest range below (kernel: lib/rbtree.c, mm/vmalloc.c).

Nodes are records of `vas`; a tree is a record of `trees`, with its root and the first of a list that
threads all nodes by address. Insertion and removal keep the shape that the kernel's tree has, not just any
balanced one: where an alignment is asked for, the shape decides which range is found.

Invariant (recounted by `check_tree`): ranges ascend and neither overlap nor touch; no red node has a red
child; every way down passes equally many black nodes; `subtree_max` is the longest range at or below a node.
The caller holds the tree's lock. Nodes that are visited on a way down are counted in `tree_steps`.
"""

import numpy as np
from numpy.typing import NDArray

from kmsim.jit import core, small
from kmsim.mm.indices import VaIdx
from kmsim.mm.vm_records import NO_VA

Records = NDArray[np.void]


@small
def subtree_max(vas: Records, va: VaIdx) -> int:
    """The longest range of a subtree, in pages; 0 of an empty one (kernel: get_subtree_max_size)."""
    return 0 if va == NO_VA else int(vas[va].subtree_max)


@small
def own_max(vas: Records, va: VaIdx) -> int:
    """What `subtree_max` must be, from the node and its two children."""
    node = vas[va]
    longest = max(subtree_max(vas, int(node.left)), subtree_max(vas, int(node.right)))
    return max(longest, int(node.end - node.start))


@core
def propagate(vas: Records, va: VaIdx) -> None:
    """A range has changed its length: set what depends on it (kernel: augment_tree_propagate_from)."""
    while va != NO_VA:
        longest = own_max(vas, va)
        if longest == int(vas[va].subtree_max):
            return
        vas[va].subtree_max = longest
        va = int(vas[va].parent)


@small
def replace_child(vas: Records, trees: Records, t: int, parent: VaIdx, old: VaIdx, new: VaIdx) -> None:
    """Let `parent`, or the tree, lead to `new` where it led to `old`."""
    if parent == NO_VA:
        trees[t].root = new
    elif int(vas[parent].left) == old:
        vas[parent].left = new
    else:
        vas[parent].right = new


@core
def rotate(vas: Records, trees: Records, t: int, va: VaIdx, leftwards: bool) -> None:
    """Let the child on the other side take a node's place, and the node go down on this side."""
    node = vas[va]
    parent = int(node.parent)
    if leftwards:
        up = int(node.right)
        moved = int(vas[up].left)
        node.right = moved
        vas[up].left = va
    else:
        up = int(node.left)
        moved = int(vas[up].right)
        node.left = moved
        vas[up].right = va
    if moved != NO_VA:
        vas[moved].parent = va
    vas[up].parent = parent
    node.parent = up
    replace_child(vas, trees, t, parent, va, up)
    vas[va].subtree_max = own_max(vas, va)
    vas[up].subtree_max = own_max(vas, up)


@small
def is_red(vas: Records, va: VaIdx) -> bool:
    """Is this a red node? What is not there is black."""
    return va != NO_VA and int(vas[va].red) != 0


@core
def find_links(vas: Records, work: Records, va: VaIdx, node: VaIdx) -> tuple[int, bool]:
    """Where a range belongs at or below `node`: the parent, and whether to its left (kernel: find_va_links)."""
    start = int(vas[va].start)
    end = int(vas[va].end)
    parent, is_left = NO_VA, False
    while node != NO_VA:
        work[0].tree_steps += 1
        parent = node
        if end <= int(vas[node].start):
            is_left = True
            node = int(vas[node].left)
        else:
            assert start >= int(vas[node].end), "two ranges overlap"
            is_left = False
            node = int(vas[node].right)
    return parent, is_left


@core
def link_va(vas: Records, trees: Records, t: int, va: VaIdx, parent: VaIdx, is_left: bool) -> None:
    """Hang a range into the tree and its list, and balance (kernel: __link_va)."""
    node = vas[va]
    node.parent = parent
    node.left = node.right = NO_VA
    node.red = 1
    node.subtree_max = int(node.end - node.start)
    trees[t].nr += 1
    if parent == NO_VA:
        before, after = NO_VA, NO_VA
        trees[t].root = va
    elif is_left:
        before, after = int(vas[parent].prev), parent
        vas[parent].left = va
    else:
        before, after = parent, int(vas[parent].next)
        vas[parent].right = va
    node.prev = before
    node.next = after
    if before == NO_VA:
        trees[t].first = va
    else:
        vas[before].next = va
    if after != NO_VA:
        vas[after].prev = va
    propagate(vas, parent)
    balance_insertion(vas, trees, t, va)


@core
def balance_insertion(vas: Records, trees: Records, t: int, va: VaIdx) -> None:
    """Take away what a new red node does to the tree's colours (kernel: __rb_insert)."""
    while True:
        parent = int(vas[va].parent)
        if parent == NO_VA:
            vas[va].red = 0
            return
        if not is_red(vas, parent):
            return
        above = int(vas[parent].parent)
        is_left = int(vas[above].left) == parent
        uncle = int(vas[above].right) if is_left else int(vas[above].left)
        if is_red(vas, uncle):
            vas[uncle].red = 0
            vas[parent].red = 0
            vas[above].red = 1
            va = above
            continue
        if va == (int(vas[parent].right) if is_left else int(vas[parent].left)):
            rotate(vas, trees, t, parent, is_left)
            parent = va
        vas[parent].red = 0
        vas[above].red = 1
        rotate(vas, trees, t, above, not is_left)
        return


@core
def unlink_va(vas: Records, trees: Records, t: int, va: VaIdx) -> None:
    """Take a range out of the tree and its list, and balance (kernel: __unlink_va, rb_erase_augmented)."""
    node = vas[va]
    before, after = int(node.prev), int(node.next)
    if before == NO_VA:
        trees[t].first = after
    else:
        vas[before].next = after
    if after != NO_VA:
        vas[after].prev = before
    trees[t].nr -= 1
    left, right, parent = int(node.left), int(node.right), int(node.parent)
    was_red = is_red(vas, va)
    if left == NO_VA or right == NO_VA:
        child = right if left == NO_VA else left
        hole = parent
        replace_child(vas, trees, t, parent, va, child)
    else:
        up = right
        while int(vas[up].left) != NO_VA:
            up = int(vas[up].left)
        was_red = is_red(vas, up)
        child = int(vas[up].right)
        hole = up
        if up != right:
            hole = int(vas[up].parent)
            vas[hole].left = child
            vas[up].right = right
            vas[right].parent = up
        vas[up].left = left
        vas[left].parent = up
        vas[up].parent = parent
        vas[up].red = node.red
        replace_child(vas, trees, t, parent, va, up)
    if child != NO_VA:
        vas[child].parent = hole
    recompute(vas, hole)
    if not was_red:
        balance_removal(vas, trees, t, child, hole)


@small
def recompute(vas: Records, va: VaIdx) -> None:
    """Set `subtree_max` from a node up to the root, without a look at what it was."""
    while va != NO_VA:
        vas[va].subtree_max = own_max(vas, va)
        va = int(vas[va].parent)


@core
def balance_removal(vas: Records, trees: Records, t: int, va: VaIdx, parent: VaIdx) -> None:
    """One black node is missing on the way to `va`, a child of `parent` (kernel: ____rb_erase_color)."""
    while parent != NO_VA and not is_red(vas, va):
        is_left = int(vas[parent].left) == va
        sibling = int(vas[parent].right) if is_left else int(vas[parent].left)
        if is_red(vas, sibling):
            vas[sibling].red = 0
            vas[parent].red = 1
            rotate(vas, trees, t, parent, is_left)
            sibling = int(vas[parent].right) if is_left else int(vas[parent].left)
        near = int(vas[sibling].left) if is_left else int(vas[sibling].right)
        far = int(vas[sibling].right) if is_left else int(vas[sibling].left)
        if not is_red(vas, far):
            if not is_red(vas, near):
                vas[sibling].red = 1
                va = parent
                parent = int(vas[va].parent)
                continue
            vas[near].red = 0
            vas[sibling].red = 1
            rotate(vas, trees, t, sibling, not is_left)
            far = sibling
            sibling = near
        vas[sibling].red = vas[parent].red
        vas[parent].red = 0
        vas[far].red = 0
        rotate(vas, trees, t, parent, is_left)
        return
    if va != NO_VA:
        vas[va].red = 0


@core
def check_tree(vas: Records, trees: Records, t: int) -> int:
    """Recount a tree along its list; how many ranges there are. AssertionError names what is inconsistent."""
    va, before, nr, depth = int(trees[t].first), NO_VA, 0, -1
    while va != NO_VA:
        node = vas[va]
        assert int(node.prev) == before, "a list's links disagree"
        assert int(node.start) < int(node.end), "a free range without a page"
        assert before == NO_VA or int(vas[before].end) < int(node.start), "two free ranges that overlap or touch"
        assert int(node.subtree_max) == own_max(vas, va), "subtree_max differs from the ranges"
        left, right = int(node.left), int(node.right)
        assert left == NO_VA or int(vas[left].parent) == va, "a child knows another parent"
        assert right == NO_VA or int(vas[right].parent) == va, "a child knows another parent"
        if is_red(vas, va):
            assert not is_red(vas, left), "a red node has a red child"
            assert not is_red(vas, right), "a red node has a red child"
        if left == NO_VA or right == NO_VA:
            nr_black, up, steps = 0, va, 0
            while up != NO_VA:
                nr_black += not is_red(vas, up)
                up = int(vas[up].parent)
                steps += 1
                assert steps <= 128, "a tree has no end"
            assert depth in (-1, nr_black), "ways down with unequal numbers of black nodes"
            depth = nr_black
        if before != NO_VA:
            is_below = int(vas[before].right) == NO_VA or left == NO_VA
            assert is_below, "the list is not in the order of the tree"
        nr += 1
        before = va
        va = int(node.next)
    assert nr == int(trees[t].nr), "a tree counts other than its list"
    return nr
