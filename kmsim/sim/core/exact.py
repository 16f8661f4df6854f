"""A request for exact pages: its first stage, and what its free needs (the rest is granted by `sim.core.grant`).

It takes a block and gives back what of it was not asked for, page by page; freeing goes page by page, too (kernel:
alloc_pages_exact, free_pages_exact). Between two visits to the page allocator no lock is held. Kept out of the compiled
core where no request is for exact pages or pages in bulk.
"""

from kmsim.jit import only_with, small
from kmsim.mm.indices import ContextIdx, CpuIdx, Pfn
from kmsim.mm.page_exact import exact_alloc_begin, exact_free_begin
from kmsim.sim.core.costs import no_work
from kmsim.sim.core.grant import first_stage
from kmsim.sim.core.records import OF_LISTS, Core
from kmsim.workload.op_stream import ALLOC


@only_with("lists")
def begin_exact(s: Core, c: CpuIdx, ac: ContextIdx) -> None:
    """The stage before any lock."""
    run = s.runs[ac]
    run.verbs = OF_LISTS
    request = s.requests[run.request]
    no_work(s)
    path = 0  # each page that is freed is priced as a free
    if run.kind == ALLOC:
        path = s.prices[0].alloc_fast
        wants = exact_alloc_begin(s.m, ac, request.gfp, run.asked, int(request.nid))
    else:
        wants = exact_free_begin(s.m, ac, run.block, run.detail << s.m.params[0].page_shift)
    first_stage(s, c, ac, path, wants)


@small
def exact_pages(s: Core, ac: ContextIdx) -> tuple[Pfn, int]:
    """The first page, or NO_BLOCK; and how many there are."""
    nr_pages = -(-s.runs[ac].asked >> s.m.params[0].page_shift)
    return int(s.m.contexts[ac].pfn), nr_pages
