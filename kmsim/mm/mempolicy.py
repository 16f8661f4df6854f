"""Memory policies of threads: which nodes their requests turn to (kernel: mm/mempolicy.c, set_mempolicy).

    local        the node of the CPU, as without a policy
    preferred    one node first, and the others when it is full
    bind         the nodes of a set alone, the nearest first
    interleave   the nodes of a set in turn, and the others when that one is full

A policy counts in the page allocator, for requests of the thread itself: not for interrupts, nor where the request
names a node or has __GFP_THISNODE. New slabs come by it, too; objects of slabs that are there do not. To *bind* counts
only for requests that may use the highest zone that there is (kernel: apply_policy_zone); one that may dip into the
reserves forgets it at its second walk in the slow path. A request that is *interleaved* and lands on the node whose
turn it was is counted as an interleave hit.

Leaves out weighted interleaving, preferring several nodes, home nodes, policies of ranges of addresses (mbind),
cpusets and NUMA balancing; bulk requests look at no policy, and vmalloc's are not modelled. Invariant: the nodes of a
policy have memory. Takes no lock: a policy is its thread's own.
"""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from kmsim.jit import core, small
from kmsim.mm.gfp import GFP_DIRECT_RECLAIM, GFP_HIGH, GFP_THISNODE, gfp_zone
from kmsim.mm.indices import ContextIdx, Gfp, NodeIdx, ZonerefIdx
from kmsim.mm.mmzone import NO_ZONE, NUMA_NO_NODE, ZONE_MOVABLE, Machine, mempolicy_t, node_zone, zoneref_t
from kmsim.mm.remote_lines import has_nodes
from kmsim.mm.zonelist import fallback_order, first_zoneref, has_memory, numa_node_id, write_zonelists

MPOL_DEFAULT, MPOL_PREFERRED, MPOL_BIND, MPOL_INTERLEAVE, MPOL_LOCAL = range(5)  # kernel: uapi/linux/mempolicy.h
NO_POLICY = 0  # of a context: the first of `mempolicies`, which is nobody's


class MemPolicy(NamedTuple):
    """What a thread has said: a mode, and its nodes, of which local has none and preferred one."""

    mode: int
    nodes: tuple[int, ...] = ()


def with_mempolicies(m: Machine, policies: Sequence[MemPolicy]) -> Machine:
    """The machine with these policies from 1 on, and with zonelists for those that bind; its zonelists stand."""
    records = np.zeros(1 + len(policies), mempolicy_t)
    bound = sorted({policy.nodes for policy in policies if policy.mode == MPOL_BIND})
    first = len(m.zonerefs)
    of_set = len(m.nodes) * (len(m.zones) + 1)
    more = np.full(len(bound) * of_set, NO_ZONE, zoneref_t)
    m = m._replace(zonerefs=np.concatenate((m.zonerefs, more)), mempolicies=records)
    orders = _fallback_orders(m)
    for k, policy in enumerate(policies, 1):
        assert all(has_memory(m, n) for n in policy.nodes)
        record = records[k]
        record.mode = policy.mode
        record.nodes[list(policy.nodes)] = 1
        record.previous = len(m.nodes) - 1  # so that the first in turn is the lowest (kernel: do_set_mempolicy)
        record.policy_zone = _policy_zone(m, policy)
        if policy.mode == MPOL_BIND:
            place = first + bound.index(policy.nodes) * of_set
            for n, order in enumerate(orders):
                lists = record.zoneref[node_zone(m, n, 0) : node_zone(m, n, int(m.nodes[n].nr_zones))]
                place = write_zonelists(m, place, [other for other in order if other in policy.nodes], lists)
    return m


def _fallback_orders(m: Machine) -> list[list[int]]:
    """The nodes that each node's requests turn to, in order, as at boot."""
    node_load = [0] * len(m.nodes)
    return [list(fallback_order(m, n, node_load)) for n in range(len(m.nodes))]


def _policy_zone(m: Machine, policy: MemPolicy) -> int:
    """The lowest zone that a request must be allowed to use to be bound (kernel: policy_zone, apply_policy_zone)."""
    is_populated = m.zones["present_pages"] > 0
    populated = m.zones[is_populated]
    kernels = populated[populated["zone_type"] != ZONE_MOVABLE]
    if not np.isin(kernels["node"], policy.nodes).any():
        return ZONE_MOVABLE
    return int(kernels["zone_type"].max())


@small
def request_zoneref(m: Machine, ac: ContextIdx, gfp: Gfp, preferred_nid: NodeIdx) -> ZonerefIdx:
    """Where a request begins: at a node, or for NUMA_NO_NODE by the policy of its thread, or near its CPU."""
    context = m.contexts[ac]
    if preferred_nid == NUMA_NO_NODE:
        if has_nodes(m) and context.mempolicy != NO_POLICY and gfp & GFP_THISNODE == 0:
            return policy_zoneref(m, ac, gfp)
        preferred_nid = numa_node_id(m, context.cpu)
    context.policy_used = MPOL_DEFAULT
    return first_zoneref(m, preferred_nid, gfp, gfp_zone(gfp))


@core
def policy_zoneref(m: Machine, ac: ContextIdx, gfp: Gfp) -> ZonerefIdx:
    """Where a request begins by the policy of its thread, and what it is to do (kernel: policy_nodemask)."""
    context = m.contexts[ac]
    policy = m.mempolicies[context.mempolicy]
    highest_zoneidx = gfp_zone(gfp)
    n = numa_node_id(m, context.cpu)
    context.policy_used = policy.mode
    if policy.mode == MPOL_BIND and highest_zoneidx >= policy.policy_zone:
        return int(policy.zoneref[node_zone(m, n, highest_zoneidx)])
    if policy.mode == MPOL_INTERLEAVE:
        policy.previous = next_node_in(m, ac, int(policy.previous))
        n = int(policy.previous)
    elif policy.mode == MPOL_PREFERRED:
        n = next_node_in(m, ac, len(m.nodes) - 1)
    return first_zoneref(m, n, gfp, highest_zoneidx)


@small
def next_node_in(m: Machine, ac: ContextIdx, n: NodeIdx) -> NodeIdx:
    """The node of the context's policy behind this one, or again the first (kernel: next_node_in)."""
    policy = m.mempolicies[m.contexts[ac].mempolicy]
    n = (n + 1) % len(m.nodes)
    while not policy.nodes[n]:
        n = (n + 1) % len(m.nodes)
    return n


@small
def is_interleave_hit(m: Machine, ac: ContextIdx, n: NodeIdx) -> bool:
    """Was it this node's turn? (kernel: alloc_pages_mpol)"""
    context = m.contexts[ac]
    if context.policy_used != MPOL_INTERLEAVE:
        return False
    return bool(m.mempolicies[context.mempolicy].previous == n)


@small
def forget_policy(m: Machine, ac: ContextIdx, may_dip: bool) -> None:
    """In the slow path: one that may use the reserves goes to any node (kernel: __alloc_pages_slowpath)."""
    context = m.contexts[ac]
    is_atomic = context.gfp & GFP_HIGH != 0 and context.gfp & GFP_DIRECT_RECLAIM == 0  # kernel: without ALLOC_CPUSET
    if context.policy_used == MPOL_BIND and (may_dip or is_atomic):
        context.policy_used = MPOL_DEFAULT
        n = numa_node_id(m, context.cpu)
        context.preferred_zoneref = first_zoneref(m, n, context.gfp, context.highest_zoneidx)
