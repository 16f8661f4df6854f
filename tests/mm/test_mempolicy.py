"""Memory policies of threads: where their requests go, and what is counted of it."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import pytest

from kmsim.mm.gfp import GFP_THISNODE, parse_gfp
from kmsim.mm.memblock import recount
from kmsim.mm.mempolicy import (
    MPOL_BIND,
    MPOL_INTERLEAVE,
    MPOL_LOCAL,
    MPOL_PREFERRED,
    NO_POLICY,
    MemPolicy,
    with_mempolicies,
)
from kmsim.mm.mmzone import (
    NO_PAGE,
    NUMA_FOREIGN,
    NUMA_HIT,
    NUMA_INTERLEAVE_HIT,
    NUMA_LOCAL,
    NUMA_MISS,
    NUMA_OTHER,
    ZONE_NORMAL,
    Machine,
    node_zone,
)

from . import drivers
from .node_machines import machine

GFP_KERNEL = parse_gfp("GFP_KERNEL")
GFP_NOWAIT = parse_gfp("GFP_NOWAIT")
GFP_ATOMIC = parse_gfp("GFP_ATOMIC")
RING = [[10, 20, 30, 20], [20, 10, 20, 30], [30, 20, 10, 20], [20, 30, 20, 10]]


class Caller(NamedTuple):
    """A machine on which requests are made, from one CPU."""

    m: Machine
    cpu: int

    def node(self, gfp: int = GFP_KERNEL, order: int = 0) -> int | None:
        """The node of one allocation, which is kept; None where there is no page."""
        pfn = drivers.alloc(self.m, self.cpu, gfp, order)
        return None if pfn == NO_PAGE else node_of(self.m, pfn)

    def nodes(self, times: int, gfp: int = GFP_KERNEL, order: int = 0) -> list[int | None]:
        """Those of so many."""
        return [self.node(gfp, order) for _ in range(times)]

    def filled(self, gfp: int, order: int = 0) -> list[int]:
        """Those of all that there are, each node once, in their order."""
        found: list[int] = []
        while (node := self.node(gfp, order)) is not None:
            if node not in found:
                found.append(node)
        recount(self.m)
        return found


def node_of(m: Machine, pfn: int) -> int:
    """The node of a page."""
    return next(int(zone.node) for zone in m.zones if zone.start_pfn <= pfn < zone.end_pfn)


def caller(
    policy: MemPolicy, cpu: int = 0, blocks: Sequence[int] = (2, 2, 2, 2), distances: list[list[int]] | None = RING
) -> Caller:
    """A thread of that policy on a CPU of four nodes in a ring, a CPU on each."""
    m = with_mempolicies(machine(blocks, [0, 1, 2, 3], distances), [policy])
    m.contexts[cpu].mempolicy = 1
    return Caller(m, cpu)


def counted(m: Machine, n: int, event: int) -> int:
    """A node's events of one kind."""
    return int(m.zones[node_zone(m, n, ZONE_NORMAL)].vm_numa_event[event])


@pytest.mark.slow
def test_local_is_as_without_a_policy() -> None:
    for policy in (MemPolicy(MPOL_LOCAL), None):
        for cpu in range(4):
            of = caller(policy or MemPolicy(MPOL_LOCAL), cpu)
            of.m.contexts[cpu].mempolicy = NO_POLICY if policy is None else 1
            assert of.nodes(3) == [cpu] * 3
            assert of.filled(GFP_NOWAIT)[0] == cpu


def test_preferred_goes_to_its_node_and_from_there_to_the_nearest() -> None:
    of = caller(MemPolicy(MPOL_PREFERRED, (3,)), cpu=1)
    assert of.filled(GFP_NOWAIT) == [3, 0, 2, 1]
    assert counted(of.m, 3, NUMA_OTHER) == counted(of.m, 3, NUMA_HIT) > 0
    assert counted(of.m, 3, NUMA_FOREIGN) == sum(counted(of.m, n, NUMA_MISS) for n in range(3)) > 0


def test_bind_uses_its_nodes_alone_the_nearest_first() -> None:
    of = caller(MemPolicy(MPOL_BIND, (0, 2)), cpu=3)
    assert of.filled(GFP_NOWAIT) == [0, 2]
    of = caller(MemPolicy(MPOL_BIND, (1, 2)), cpu=2)
    assert of.filled(GFP_NOWAIT) == [2, 1]
    assert counted(of.m, 2, NUMA_HIT) == counted(of.m, 2, NUMA_LOCAL) > 0
    assert counted(of.m, 1, NUMA_MISS) == counted(of.m, 2, NUMA_FOREIGN) > 0


def test_the_preferred_zone_of_one_that_binds_is_the_first_of_its_set() -> None:
    of = caller(MemPolicy(MPOL_BIND, (2, 3)), cpu=1)
    of.node()
    assert counted(of.m, 2, NUMA_HIT) == counted(of.m, 2, NUMA_OTHER) == 1


def test_interleaving_takes_turns_from_the_lowest_on() -> None:
    of = caller(MemPolicy(MPOL_INTERLEAVE, (1, 2, 3)), cpu=2)
    assert of.nodes(7) == [1, 2, 3, 1, 2, 3, 1]
    assert of.nodes(3, order=3) == [2, 3, 1], "one turn a request, whatever its order"
    assert [counted(of.m, n, NUMA_INTERLEAVE_HIT) for n in range(4)] == [0, 4, 3, 3]
    assert counted(of.m, 2, NUMA_LOCAL) == 3


def test_a_turn_whose_node_is_full_goes_elsewhere_and_is_no_interleave_hit() -> None:
    of = caller(MemPolicy(MPOL_INTERLEAVE, (0, 1)), blocks=(2, 1, 2, 2))
    while None not in of.nodes(1, GFP_NOWAIT | GFP_THISNODE):  # of node 0 alone
        continue
    before = counted(of.m, 1, NUMA_INTERLEAVE_HIT)
    assert of.nodes(4, GFP_NOWAIT) == [1, 1, 1, 1]
    assert counted(of.m, 1, NUMA_INTERLEAVE_HIT) - before == 2
    assert counted(of.m, 0, NUMA_INTERLEAVE_HIT) == 0
    recount(of.m)


@pytest.mark.parametrize(
    "policy", [MemPolicy(MPOL_BIND, (2,)), MemPolicy(MPOL_PREFERRED, (2,)), MemPolicy(MPOL_INTERLEAVE, (2, 3))]
)
def test_a_request_that_names_a_node_or_this_one_looks_at_no_policy(policy: MemPolicy) -> None:
    of = caller(policy)
    assert of.node(GFP_KERNEL | GFP_THISNODE) == 0
    assert node_of(of.m, drivers.alloc_near(of.m, 0, GFP_KERNEL, 0, 1)) == 1
    assert of.node() == 2


def test_a_request_of_the_reserves_forgets_what_binds_it_in_the_slow_path() -> None:
    of = caller(MemPolicy(MPOL_BIND, (2,)))
    assert of.filled(GFP_NOWAIT) == [2]
    assert of.filled(GFP_ATOMIC)[:2] == [2, 0], "its own node's reserves first, then its CPU's node"


def test_lower_zones_are_not_bound() -> None:
    """Where there is Normal memory, who asks for DMA32 may have it from any node."""
    m = machine([2, 2, 2, 2], [0, 1, 2, 3], RING)
    first = m.zones[node_zone(m, 0, ZONE_NORMAL)]
    lower = m.zones[node_zone(m, 0, ZONE_NORMAL) - 1]
    for name in ("start_pfn", "end_pfn", "present_pages", "managed_pages"):
        lower[name] = first[name]
    m = with_mempolicies(m, [MemPolicy(MPOL_BIND, (0, 2)), MemPolicy(MPOL_BIND, (2,))])
    assert m.mempolicies["policy_zone"].tolist()[1:] == [ZONE_NORMAL, ZONE_NORMAL]


def test_policies_of_several_threads_have_turns_of_their_own() -> None:
    m = with_mempolicies(
        machine([2, 2, 2, 2], [0, 1, 2, 3], RING),
        [MemPolicy(MPOL_INTERLEAVE, (0, 1)), MemPolicy(MPOL_BIND, (3,)), MemPolicy(MPOL_INTERLEAVE, (0, 1))],
    )
    found = []
    for policy in (1, 2, 1, 3, NO_POLICY, 3):
        m.contexts[2].mempolicy = policy
        found.append(Caller(m, 2).node())
    assert found == [0, 3, 1, 0, 2, 1]
    recount(m)


def test_a_bulk_looks_at_no_policy() -> None:
    of = caller(MemPolicy(MPOL_BIND, (2,)))
    pfns = np.zeros(8, np.int64)
    assert drivers.bulk(of.m, 0, GFP_KERNEL, 8, pfns) == 8
    assert {node_of(of.m, int(pfn)) for pfn in pfns} == {0}
