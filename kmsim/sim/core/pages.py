"""A request for a block of pages: its first stage, outside locks (the rest is granted by `sim.core.grant`).

The per-CPU list that it takes from or puts to is held until the stage is over (`mm.pcp_held`). Requests for single
pages, which are nearly all, are apart: the compiler knows their order, and most are served at once.
"""

from kmsim.jit import core, small
from kmsim.mm.indices import ContextIdx, CpuIdx, Gfp, NodeIdx, Order, Pfn
from kmsim.mm.page_alloc import alloc_node_begin, free_begin, get_page_from_freelist, set_out
from kmsim.mm.page_at_hand import is_at_hand, take_at_hand
from kmsim.mm.page_request import then_prepared
from kmsim.mm.pcp_held import hold_if_used, hold_pcp
from kmsim.mm.wants import DONE
from kmsim.sim.core.costs import cache_lines_ps, light_instructions_ps, no_light_work
from kmsim.sim.core.grant import then
from kmsim.sim.core.records import OF_PAGES, Core
from kmsim.sim.core.stage import set_stage
from kmsim.sim.core.verbs import at_once
from kmsim.workload.op_stream import ALLOC
from kmsim.workload.request import block_gfp


@small
def begin_pages(s: Core, c: CpuIdx, ac: ContextIdx, pfn: Pfn, order: Order) -> None:
    """The stage outside locks."""
    if order or s.state[0].stepwise:
        begin_block(s, c, ac, pfn, order)
        return
    s.runs[ac].verbs = OF_PAGES
    no_light_work(s)
    if s.runs[ac].kind == ALLOC:
        request = s.requests[s.runs[ac].request]
        begin_alloc_page(s, c, ac, int(request.gfp), int(request.nid))
    else:
        end_free(s, c, ac, free_begin(s.m, ac, pfn, 0))


@core
def begin_block(s: Core, c: CpuIdx, ac: ContextIdx, pfn: Pfn, order: Order) -> None:
    """The same for a block of any order."""
    run = s.runs[ac]
    run.verbs = OF_PAGES
    no_light_work(s)
    if run.kind == ALLOC:
        request = s.requests[run.request]
        gfp = block_gfp(int(request.api), int(request.gfp))
        end_alloc(s, c, ac, alloc_node_begin(s.m, ac, gfp, order, int(request.nid)))
    else:
        end_free(s, c, ac, free_begin(s.m, ac, pfn, order))


@small
def begin_alloc_page(s: Core, c: CpuIdx, ac: ContextIdx, gfp: Gfp, nid: NodeIdx) -> None:
    """The stage of an allocation of a single page."""
    m = s.m
    zoneref = set_out(m, ac, gfp, 0, nid)
    if not is_at_hand(m, ac, zoneref):
        search_page(s, c, ac, zoneref)
        return
    hold_pcp(m, ac, take_at_hand(m, ac, zoneref))
    set_stage(s, c, ac, s.prices[0].alloc_fast + light_instructions_ps(s), cache_lines_ps(s))
    then(s, c, ac, then_prepared(m, ac, DONE))


@core
def search_page(s: Core, c: CpuIdx, ac: ContextIdx, zoneref: int) -> None:
    """The same where the page is not at hand."""
    end_alloc(s, c, ac, get_page_from_freelist(s.m, ac, zoneref))


@small
def end_alloc(s: Core, c: CpuIdx, ac: ContextIdx, wants: int) -> None:
    """An allocation has begun, and wants something."""
    wants = at_once(s, ac, then_prepared(s.m, ac, wants))
    hold_if_used(s.m, ac, True)
    set_stage(s, c, ac, s.prices[0].alloc_fast + light_instructions_ps(s), cache_lines_ps(s))
    then(s, c, ac, wants)


@small
def end_free(s: Core, c: CpuIdx, ac: ContextIdx, wants: int) -> None:
    """A free has begun, and wants something."""
    wants = at_once(s, ac, wants)
    hold_if_used(s.m, ac, False)
    set_stage(s, c, ac, s.prices[0].free_fast + light_instructions_ps(s), cache_lines_ps(s))
    then(s, c, ac, wants)
