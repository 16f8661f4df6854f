"""A request for a block of pages: its first stage, outside locks (the rest is granted by `sim.core.grant`).

The per-CPU list that it takes from or puts to is held until the stage is over (`mm.pcp_held`).
"""

from kmsim.jit import small
from kmsim.mm.indices import ContextIdx, CpuIdx, Order, Pfn
from kmsim.mm.page_alloc import alloc_begin, free_begin
from kmsim.mm.page_request import then_prepared
from kmsim.mm.pcp_held import hold_if_used
from kmsim.sim.core.costs import cache_lines_ps, light_instructions_ps, no_light_work
from kmsim.sim.core.grant import then
from kmsim.sim.core.records import OF_PAGES, Core
from kmsim.sim.core.stage import set_stage
from kmsim.sim.core.verbs import without_slow_path
from kmsim.workload.op_stream import ALLOC
from kmsim.workload.request import block_gfp


@small
def begin_pages(s: Core, c: CpuIdx, ac: ContextIdx, pfn: Pfn, order: Order) -> None:
    """The stage outside locks."""
    m = s.m
    run = s.runs[ac]
    run.verbs = OF_PAGES
    no_light_work(s)
    if run.kind == ALLOC:
        request = s.requests[run.request]
        wants = alloc_begin(m, ac, block_gfp(int(request.api), int(request.gfp)), order)
        hold_if_used(m, ac, True)
        wants = without_slow_path(s, ac, then_prepared(m, ac, wants))
        path = s.prices[0].alloc_fast
    else:
        wants = free_begin(m, ac, pfn, order)
        hold_if_used(m, ac, False)
        path = s.prices[0].free_fast
    set_stage(s, c, ac, path + light_instructions_ps(s), cache_lines_ps(s))
    then(s, c, ac, wants)
