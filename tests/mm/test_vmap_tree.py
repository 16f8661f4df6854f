"""The tree of ranges: the shape that a red-black tree has in the textbook, and the longest range below each node."""

from random import Random

import numpy as np
import pytest
from numpy.typing import NDArray

from kmsim.jit import entry
from kmsim.mm.vm_records import FREE_TREE, NO_VA, vm_work_t, vmap_area_t, vmap_tree_t
from kmsim.mm.vmap import find_vmap_lowest_match
from kmsim.mm.vmap_node import sort_by_address
from kmsim.mm.vmap_tree import check_tree, find_links, link_va, unlink_va
from tests.models.rbtree_model import RedBlackTree

Records = NDArray[np.void]
NR_RANGES = 400
STRIDE = 64  # pages from one range's start to the next one's


@entry
def insert(vas: Records, trees: Records, work: Records, va: int) -> None:
    """Put a range into the tree."""
    parent, is_left = find_links(vas, work, va, int(trees[FREE_TREE].root))
    link_va(vas, trees, FREE_TREE, va, parent, is_left)


@entry
def remove(vas: Records, trees: Records, va: int) -> None:
    """Take a range out of the tree."""
    unlink_va(vas, trees, FREE_TREE, va)


@entry
def check(vas: Records, trees: Records) -> int:
    """Recount the tree."""
    return check_tree(vas, trees, FREE_TREE)


@entry
def lowest(vas: Records, trees: Records, work: Records, size: int, vstart: int) -> int:
    """The range that a request without an alignment gets."""
    return find_vmap_lowest_match(vas, work, int(trees[FREE_TREE].root), size, 1, vstart, size)


@entry
def sort(vas: Records, head: int) -> int:
    """Sort a list."""
    return sort_by_address(vas, head)


def shape(vas: Records, trees: Records) -> list[tuple[int, bool, int, int]]:
    """Every node in the order of addresses: number, red, the children's numbers."""
    found, va = [], int(trees[FREE_TREE].first)
    while va != NO_VA:
        node = vas[va]
        found.append((va, bool(node.red), int(node.left), int(node.right)))
        va = int(node.next)
    return found


def ranges(random: Random) -> Records:
    """Ranges of random lengths at ascending addresses, none in a tree."""
    vas = np.zeros(NR_RANGES, vmap_area_t)
    vas["start"] = np.arange(NR_RANGES) * STRIDE
    vas["end"] = vas["start"] + [random.randint(1, STRIDE - 1) for _ in range(NR_RANGES)]
    return vas


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(4))
def test_the_tree_has_the_textbook_shape_and_finds_the_lowest_range(seed: int) -> None:
    random = Random(seed)
    vas, trees, work = ranges(random), np.zeros(1, vmap_tree_t), np.zeros(1, vm_work_t)
    trees["root"] = trees["first"] = NO_VA
    twin, held = RedBlackTree(), []
    for number in range(1500):
        grows = random.random() < (0.7, 0.3)[number // 300 % 2]
        if grows and len(held) < NR_RANGES:
            va = random.choice([va for va in range(NR_RANGES) if va not in held])
            insert(vas, trees, work, va)
            twin.insert(va)
            held.append(va)
        elif held:
            va = held.pop(random.randrange(len(held)))
            remove(vas, trees, va)
            twin.delete(va)
        assert shape(vas, trees) == twin.shape()
        assert check(vas, trees) == len(held)
        size, vstart = random.randint(1, STRIDE), random.randrange(NR_RANGES * STRIDE // 2)
        fits = [va for va in sorted(held) if vas[va].end - max(vas[va].start, vstart) >= size]
        assert lowest(vas, trees, work, size, vstart) == (fits[0] if fits else NO_VA)
    assert work[0].tree_steps > 3000


@pytest.mark.parametrize("nr", [1, 2, 3, 17, 256, NR_RANGES])
def test_a_list_is_sorted_by_address(nr: int) -> None:
    random = Random(nr)
    vas = ranges(random)
    order = random.sample(range(NR_RANGES), nr)
    for va, after in zip(order, [*order[1:], NO_VA], strict=True):
        vas[va].next = after
    va, found = sort(vas, order[0]), []
    while va != NO_VA:
        found.append(va)
        va = int(vas[va].next)
    assert found == sorted(order)
