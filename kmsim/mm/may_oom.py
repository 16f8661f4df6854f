"""Does a request that found nothing ask the OOM killer, and what does that do? (kernel: __alloc_pages_may_oom)

The killer helps neither costly requests, nor those that rather fail, stay on a node, or need a low zone; so these do
not ask. What it decides, and whom it kills, is in `mm.oom`; the machine stops where that is a panic (`oom.panicked`).
Leaves out oom_lock: two requests that ask at one time get their answers one after the other. Lock order: takes none.
"""

from kmsim.jit import core, only_with, shared
from kmsim.mm.gfp import GFP_RETRY_MAYFAIL, GFP_THISNODE
from kmsim.mm.indices import ContextIdx, NodeIdx
from kmsim.mm.lru_records import OOM_KILL
from kmsim.mm.mempolicy import MPOL_BIND
from kmsim.mm.mmzone import PAGE_ALLOC_COSTLY_ORDER, ZONE_NORMAL, Machine
from kmsim.mm.oom import NO_PROCESS, OOM_KILLS, OOM_PANICS, decide, kill
from kmsim.mm.trace import TRACE_OUT_OF_MEMORY, trace


@core
def may_oom(m: Machine, ac: ContextIdx) -> bool:
    """May a process be killed for the request?"""
    context = m.contexts[ac]
    if context.order > PAGE_ALLOC_COSTLY_ORDER or int(context.gfp) & (GFP_RETRY_MAYFAIL | GFP_THISNODE):
        return False
    return bool(context.highest_zoneidx >= ZONE_NORMAL)


@only_with("lru", False)
def has_panicked(m: Machine) -> bool:
    """Has the machine stopped for ever?"""
    return bool(m.lru.oom[0].panicked)


@shared
def totalpages_of(m: Machine) -> int:
    """Pages of memory and of swap, all together (kernel: totalram_pages, total_swap_pages)."""
    totalpages = int(m.lru.swap[0].total_pages)
    for z in range(len(m.zones)):
        totalpages += int(m.zones[z].managed_pages)
    return totalpages


@core
def find_totalpages(m: Machine, ac: ContextIdx) -> None:
    """Find how much memory and swap there is for the request; its policy may limit it (kernel: constrained_alloc)."""
    control = m.lru.oom[0]
    of_nodes = int(m.lru.swap[0].total_pages)
    control.is_limited = 0
    for z in range(len(m.zones)):
        zone = m.zones[z]
        if is_allowed(m, ac, int(zone.node)):
            of_nodes += int(zone.present_pages)
        elif zone.present_pages:
            control.is_limited = 1
    control.totalpages = of_nodes if control.is_limited else totalpages_of(m)


@core
def is_allowed(m: Machine, ac: ContextIdx, node: NodeIdx) -> bool:
    """May the request use a node's memory? Only a thread that is bound may not use that of all."""
    context = m.contexts[ac]
    if context.policy_used != MPOL_BIND:
        return True
    policy = m.mempolicies[context.mempolicy]
    return bool(context.highest_zoneidx < policy.policy_zone or policy.nodes[node])


@core
def ask_killer(m: Machine, ac: ContextIdx) -> int:
    """Let the killer decide, and kill; its answer, OOM_... of `mm.oom`."""
    context = m.contexts[ac]
    find_totalpages(m, ac)
    trace(m, TRACE_OUT_OF_MEMORY, int(context.order), int(context.gfp), 0, 0)
    answer = decide(m.lru.oom, m.lru.processes, int(context.gfp), NO_PROCESS)
    if answer == OOM_KILLS:
        kill(m.lru.oom, m.lru.processes)
        m.lru.vm_events[OOM_KILL] += 1
    elif answer == OOM_PANICS:
        m.lru.oom[0].panicked = 1
    return answer
