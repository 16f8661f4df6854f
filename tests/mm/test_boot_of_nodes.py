"""Machines of any nodes, through the boot: no page and no count is lost, whoever asks for memory where."""

from itertools import accumulate, pairwise
from random import Random

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from kmsim.mm.gfp import GFP_THISNODE, parse_gfp
from kmsim.mm.memblock import Boot, boot_machine, recount
from kmsim.mm.mm_init import BootNode, MovableShare, PfnRange
from kmsim.mm.mmzone import (
    NO_PAGE,
    NUMA_FOREIGN,
    NUMA_HIT,
    NUMA_LOCAL,
    NUMA_MISS,
    NUMA_OTHER,
    ZONE_MOVABLE,
    Machine,
)

from . import drivers
from .machines import boot_of

FOUR_GIB = 1 << 20
NOWAIT = parse_gfp("GFP_NOWAIT")
MOVABLE = parse_gfp("__GFP_MOVABLE | __GFP_HIGHMEM | __GFP_NOWARN")
NR_NODES_MOST = 16


@st.composite
def boots_of_nodes(draw: st.DrawFn) -> Boot:
    """Up to 16 nodes of up to 900 pages, ragged, across a border of zones or not, some without memory or CPUs."""
    sizes = draw(st.lists(st.integers(0, 900) | st.just(0), min_size=1, max_size=NR_NODES_MOST))
    sizes[draw(st.integers(0, len(sizes) - 1))] = draw(st.integers(300, 900))
    total = sum(sizes)
    first = draw(st.sampled_from((1, 4096 - total // 2, FOUR_GIB - total // 2)))
    borders = [max(first, 1), *(max(first, 1) + size for size in accumulate(sizes))]
    hole = draw(st.sampled_from((None, None, draw(st.integers(borders[0], borders[-1])))))
    node_of_cpu = draw(st.lists(st.integers(0, len(sizes) - 1), min_size=1, max_size=4))
    nodes = []
    for n, (start, end) in enumerate(pairwise(borders)):
        pieces = [(start, end)] if hole is None else [(start, min(hole, end)), (max(hole + 20, start), end)]
        ram = tuple(PfnRange(low, high) for low, high in pieces if high > low)
        nodes.append(BootNode(ram, tuple(cpu for cpu, node in enumerate(node_of_cpu) if node == n)))
    distances = np.full((len(sizes), len(sizes)), 10)
    for n in range(len(sizes)):
        for other in range(n):
            distances[n, other] = distances[other, n] = draw(st.sampled_from((11, 20, 20, 31)))
    movable = draw(st.sampled_from((0, 0, total // 4, total)))
    return boot_of(
        arch="x86-64",
        nodes=tuple(nodes),
        ram=tuple(piece for node in nodes for piece in node.ram),
        distances=tuple(map(tuple, distances.tolist())),
        movable=MovableShare(*draw(st.permutations((movable, 0)))),
        nr_nodes=len(nodes),
        nr_cpus=len(node_of_cpu),
        numa=True,
        max_page_order=5,
        pageblock_order=4,
        thp_built_in=False,
    )


def zone_of(m: Machine, pfn: int) -> tuple[int, int]:
    """The node and the type of the zone of a page."""
    ((z,),) = np.nonzero((m.zones["start_pfn"] <= pfn) & (pfn < m.zones["end_pfn"]))
    return int(m.zones[z].node), int(m.zones[z].zone_type)


@settings(max_examples=25)
@given(boots_of_nodes(), st.integers(0, 1 << 30))
def test_no_layout_loses_a_page_or_a_count(boot: Boot, seed: int) -> None:
    random, m = Random(seed), boot_machine(boot)
    recount(m)
    present = np.bincount(m.zones["node"], m.zones["present_pages"], len(m.nodes))
    assert present.tolist() == [sum(piece.end - piece.start for piece in node.ram) for node in boot.nodes]
    fresh = m.zones["nr_free"].copy()
    held: list[tuple[int, int]] = []
    nr_got = 0
    for _ in range(300):
        cpu = random.randrange(len(m.cpus))
        if held and random.random() < 0.3:
            drivers.free(m, cpu, *held.pop(random.randrange(len(held))))
            continue
        order, node = random.choice((0, 0, 0, 1, 3, 5)), random.randrange(len(m.nodes))
        gfp = random.choice((NOWAIT, MOVABLE, NOWAIT | GFP_THISNODE, MOVABLE | GFP_THISNODE))
        pfn = drivers.alloc_near(m, cpu, gfp, order, node)
        if pfn == NO_PAGE:
            continue
        held.append((pfn, order))
        nr_got += 1
        found, zone_type = zone_of(m, pfn)
        assert not gfp & GFP_THISNODE or found == node
        assert gfp & MOVABLE == MOVABLE or zone_type != ZONE_MOVABLE
    totals = m.zones["vm_numa_event"].sum(axis=0).tolist()
    assert totals[NUMA_HIT] + totals[NUMA_MISS] == totals[NUMA_LOCAL] + totals[NUMA_OTHER] == nr_got
    assert totals[NUMA_MISS] == totals[NUMA_FOREIGN]
    recount(m)
    for pfn, order in held:
        drivers.free(m, random.randrange(len(m.cpus)), pfn, order)
    drivers.drain_all(m, 0)
    recount(m)
    assert (m.zones["nr_free"] == fresh).all()
