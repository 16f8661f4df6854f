"""A request for pages in bulk: its first stage (the rest is granted by `sim.core.grant`).

The pages are of order 0 and held as a chain, which is freed page by page (kernel: alloc_pages_bulk). Between two visits
to the page allocator no lock is held. Kept out of the compiled core where no request is for exact pages or pages in
bulk.
"""

from kmsim.jit import only_with, small
from kmsim.mm.indices import ContextIdx, CpuIdx, Pfn
from kmsim.mm.page_chain import chain_alloc_begin, chain_free_begin
from kmsim.mm.page_request import then_prepared
from kmsim.sim.core.costs import no_work
from kmsim.sim.core.grant import first_stage
from kmsim.sim.core.records import OF_LISTS, Core
from kmsim.workload.op_stream import ALLOC


@only_with("lists")
def begin_bulk(s: Core, c: CpuIdx, ac: ContextIdx) -> None:
    """The stage before any lock."""
    run = s.runs[ac]
    run.verbs = OF_LISTS
    no_work(s)
    path = 0  # each page that is freed is priced as a free
    if run.kind == ALLOC:
        nr_pages = run.asked >> s.m.params[0].page_shift
        path = s.prices[0].alloc_fast + nr_pages * s.prices[0].bulk_page
        wants = then_prepared(s.m, ac, chain_alloc_begin(s.m, ac, s.requests[run.request].gfp, nr_pages))
    else:
        wants = chain_free_begin(s.m, ac, run.block)
    first_stage(s, c, ac, path, wants)


@small
def chain_got(s: Core, ac: ContextIdx) -> Pfn:
    """The first page of the chain, or NO_BLOCK."""
    return int(s.m.contexts[ac].pfn)
