"""Nodes of any layout: the order in which they help each other out, __GFP_THISNODE, and what is counted of it."""

from random import Random

import numpy as np
import pytest

from kmsim.mm.gfp import GFP_THISNODE, parse_gfp
from kmsim.mm.memblock import recount
from kmsim.mm.mmzone import (
    KSWAPD_WAKEUPS,
    NO_PAGE,
    NOPAGE,
    NUMA_FOREIGN,
    NUMA_HIT,
    NUMA_LOCAL,
    NUMA_MISS,
    NUMA_OTHER,
    ZONE_NAMES,
    Machine,
    pcps_of_zone,
)
from kmsim.mm.zonelist import fallback_order

from . import drivers
from .node_machines import BLOCK, machine

GFP_KERNEL = parse_gfp("GFP_KERNEL")
GFP_NOWAIT = parse_gfp("GFP_NOWAIT")


def orders(m: Machine) -> list[list[int]]:
    """The nodes that each node's requests turn to, in order."""
    node_load = [0] * len(m.nodes)
    return [list(fallback_order(m, n, node_load)) for n in range(len(m.nodes))]


def node_of(m: Machine, pfn: int) -> int:
    """The node of a page."""
    (z,) = np.flatnonzero((m.zones["start_pfn"] <= pfn) & (pfn < m.zones["end_pfn"])).tolist()
    return int(m.zones[z].node)


def fill(m: Machine, cpu: int, gfp: int) -> list[int]:
    """Take pages until there are none; the nodes that they came from, each time that this changes."""
    nodes: list[int] = []
    while (pfn := drivers.alloc(m, cpu, gfp, 0)) != NO_PAGE:
        if nodes[-1:] != [node_of(m, pfn)]:
            nodes.append(node_of(m, pfn))
    return nodes


def counted(m: Machine) -> dict[int, list[int]]:
    """What was counted at each node's Normal zone."""
    zones = [zone for zone in m.zones if ZONE_NAMES[zone.zone_type] == "Normal"]
    return {int(zone.node): zone.vm_numa_event.tolist() for zone in zones}


def test_of_nodes_as_far_as_each_other_the_next_and_the_less_loaded_comes_first() -> None:
    """A kernel says so at boot: `Fallback order for Node 3: 3 0 1 2`."""
    m = machine([1, 1, 1, 1], [0, 1, 2, 3])
    assert orders(m) == [[0, 1, 2, 3], [1, 2, 3, 0], [2, 3, 0, 1], [3, 0, 1, 2]]


def test_a_ring_of_four() -> None:
    """The order that a kernel was recorded to have."""
    ring = [[10, 20, 30, 20], [20, 10, 20, 30], [30, 20, 10, 20], [20, 30, 20, 10]]
    assert orders(machine([1, 1, 1, 1], [0, 1, 2, 3], ring)) == [[0, 1, 3, 2], [1, 2, 0, 3], [2, 3, 1, 0], [3, 0, 2, 1]]


def test_a_node_without_memory_is_in_no_list_and_has_one() -> None:
    m = machine([1, 0, 1], [0, 1, 2], [[10, 20, 30], [20, 10, 15], [30, 15, 10]])
    assert orders(m) == [[0, 2], [2, 0], [2, 0]]


def test_two_nodes_are_filled_in_turn_from_either_side() -> None:
    for cpu, wanted in ((0, [0, 1]), (1, [1, 0])):
        m = machine([2, 2], [0, 1])
        nodes = fill(m, cpu, GFP_NOWAIT)
        assert list(dict.fromkeys(nodes)) == wanted
        recount(m)


def test_a_request_for_one_node_fails_when_that_is_full_and_others_go_on() -> None:
    m = machine([2, 2], [0, 1])
    assert fill(m, 0, GFP_NOWAIT | GFP_THISNODE) == [0]
    assert node_of(m, drivers.alloc(m, 0, GFP_NOWAIT, 0)) == 1
    assert drivers.alloc_near(m, 1, GFP_NOWAIT | GFP_THISNODE, 0, 0) == NO_PAGE
    assert node_of(m, drivers.alloc_near(m, 0, GFP_NOWAIT | GFP_THISNODE, 0, 1)) == 1
    recount(m)


def test_a_request_near_another_node_begins_there_and_uses_the_cpus_own_lists_of_it() -> None:
    m = machine([64, 64], [0, 1])
    pfn = drivers.alloc_near(m, 0, GFP_KERNEL, 0, 1)
    assert node_of(m, pfn) == 1
    count = [pcps_of_zone(m, z)["count"].tolist() for z in range(len(m.zones)) if m.zones[z].present_pages]
    assert [bool(pages) for zone in count for pages in zone] == [False, False, True, False]
    drivers.free(m, 1, pfn, 0)
    assert pcps_of_zone(m, int(m.contexts[1].zone))["count"][1] == 1, "freed by the other CPU, to its own list"
    recount(m)


def test_a_cpu_on_a_node_without_memory_gets_none_for_this_node_and_wakes_nobody() -> None:
    m = machine([2, 0], [0, 1])
    assert drivers.alloc(m, 1, GFP_NOWAIT | GFP_THISNODE, 0) == NO_PAGE
    assert (m.events[NOPAGE], m.events[KSWAPD_WAKEUPS]) == (1, 0)
    assert counted(m) == {0: [0] * 6, 1: [0] * 6}
    assert node_of(m, drivers.alloc(m, 1, GFP_NOWAIT, 0)) == 0
    assert counted(m)[0] == [1, 0, 0, 0, 0, 1], "a hit, as its first zone is node 0's, but nothing local"


def test_hits_misses_and_what_is_foreign() -> None:
    m = machine([2, 2], [0, 1])
    drivers.alloc(m, 0, GFP_KERNEL, 3)
    drivers.alloc_near(m, 0, GFP_KERNEL, 0, 1)
    assert counted(m) == {0: [1, 0, 0, 0, 1, 0], 1: [1, 0, 0, 0, 0, 1]}
    pfns = np.zeros(8, np.int64)
    assert drivers.bulk(m, 1, GFP_KERNEL, 8, pfns) == 8
    assert counted(m)[1] == [9, 0, 0, 0, 8, 1]
    fill(m, 0, GFP_NOWAIT | GFP_THISNODE)
    before = counted(m)
    assert node_of(m, drivers.alloc(m, 0, GFP_NOWAIT, 0)) == 1
    after = counted(m)
    changed = {n: [b - a for a, b in zip(before[n], after[n], strict=True)] for n in after}
    assert changed == {0: [0, 0, 1, 0, 0, 0], 1: [0, 1, 0, 0, 0, 1]}


def test_a_kernel_without_numa_counts_nothing() -> None:
    m = machine([2], [0])
    m.params[0].numa = False
    drivers.alloc(m, 0, GFP_KERNEL, 0)
    assert not m.zones["vm_numa_event"].any()


def test_lists_are_sized_for_the_cpus_of_their_node_or_for_all_where_it_has_none() -> None:
    m = machine([40, 40, 40], [0, 0, 0, 1])
    high_max = [int(pcps_of_zone(m, z)["high_max"][0]) for z, zone in enumerate(m.zones) if zone.present_pages]
    managed = 40 * BLOCK
    assert high_max == [managed // 8 // 3, managed // 8, managed // 8 // 4]


def layout(random: Random) -> Machine:
    """Any number of nodes, some without memory and some without CPUs, at any distances."""
    nr_nodes = random.randint(1, 16)
    blocks = [random.choice([0, 1, 2, 3]) for _ in range(nr_nodes)]
    blocks[random.randrange(nr_nodes)] = 2
    node_of_cpu = [random.randrange(nr_nodes) for _ in range(random.randint(1, 6))]
    distances = [[10] * nr_nodes for _ in range(nr_nodes)]
    for n in range(nr_nodes):
        for other in range(n):
            distances[n][other] = distances[other][n] = random.choice([12, 20, 20, 31])
    return machine(blocks, node_of_cpu, distances)


@pytest.mark.parametrize("seed", range(12))
def test_no_layout_loses_a_page_or_a_count(seed: int) -> None:
    random = Random(seed)
    m = layout(random)
    nr_nodes, nr_cpus = len(m.nodes), len(m.cpus)
    fresh = m.zones["nr_free"].copy()
    held: list[tuple[int, int]] = []
    nr_got = 0
    for step in range(1500):
        cpu = random.randrange(nr_cpus)
        if held and random.random() < 0.4:
            drivers.free(m, cpu, *held.pop(random.randrange(len(held))))
            continue
        order, node = random.choice([0, 0, 0, 1, 3, 4, 9]), random.randrange(nr_nodes)
        gfp = random.choice([GFP_KERNEL, GFP_NOWAIT, GFP_NOWAIT | GFP_THISNODE])
        pfn = drivers.alloc_near(m, cpu, gfp, order, node)
        if pfn != NO_PAGE:
            held.append((pfn, order))
            nr_got += 1
            assert not gfp & GFP_THISNODE or node_of(m, pfn) == node
        if step % 250 == 0:
            recount(m)
    totals = m.zones["vm_numa_event"].sum(axis=0).tolist()
    assert totals[NUMA_HIT] + totals[NUMA_MISS] == totals[NUMA_LOCAL] + totals[NUMA_OTHER] == nr_got
    assert totals[NUMA_MISS] == totals[NUMA_FOREIGN]
    for pfn, order in held:
        drivers.free(m, random.randrange(nr_cpus), pfn, order)
    drivers.drain_all(m, 0)
    recount(m)
    assert (m.zones["nr_free"] == fresh).all()
