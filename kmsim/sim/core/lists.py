"""A request for exact pages or for pages in bulk: its first stage (the rest is granted by `sim.core.grant`).

Each goes through the page allocator several times; between two visits no lock is held. Kept out of the compiled core
where no request asks for them.
"""

from kmsim.jit import only_with
from kmsim.mm.indices import ContextIdx, CpuIdx
from kmsim.mm.page_chain import chain_alloc_begin, chain_free_begin
from kmsim.mm.page_exact import exact_alloc_begin, exact_free_begin
from kmsim.mm.page_request import then_prepared
from kmsim.sim.core.costs import no_work
from kmsim.sim.core.grant import first_stage
from kmsim.sim.core.records import OF_LISTS, Core
from kmsim.workload.op_stream import ALLOC
from kmsim.workload.plan import EXACT


@only_with("lists")
def begin_list(s: Core, c: CpuIdx, ac: ContextIdx) -> None:
    """The stage before any lock."""
    run = s.runs[ac]
    run.verbs = OF_LISTS
    request = s.requests[run.request]
    page_shift = s.m.params[0].page_shift
    no_work(s)
    path = s.prices[0].alloc_fast if run.kind == ALLOC else 0  # each page that is freed is priced as a free
    if request.api == EXACT:
        if run.kind == ALLOC:
            wants = exact_alloc_begin(s.m, ac, request.gfp, run.asked, int(request.nid))
        else:
            wants = exact_free_begin(s.m, ac, run.block, run.detail << page_shift)
    elif run.kind == ALLOC:
        nr_pages = run.asked >> page_shift
        wants = then_prepared(s.m, ac, chain_alloc_begin(s.m, ac, request.gfp, nr_pages))
        path += nr_pages * s.prices[0].bulk_page
    else:
        wants = chain_free_begin(s.m, ac, run.block)
    first_stage(s, c, ac, path, wants)
