"""The stages of exact pages and of pages in bulk, each of which goes through the page allocator several times.

Between two visits no lock is held. Kept out of the compiled core where no request asks for them.
"""

from kmsim.jit import only_with
from kmsim.mm.indices import ContextIdx, CpuIdx
from kmsim.mm.locks import zone_lock
from kmsim.mm.page_chain import chain_alloc_begin, chain_alloc_locked, chain_free_begin, chain_free_locked
from kmsim.mm.page_exact import exact_alloc_begin, exact_free_begin, exact_locked
from kmsim.sim.core.costs import cache_lines_ps, instructions_ps
from kmsim.sim.core.pages import hold_lock, hold_pcp, is_bulk, no_work
from kmsim.sim.core.records import COMPLETE, LIST_LOCK, Core
from kmsim.sim.core.stage import set_stage
from kmsim.workload.op_stream import ALLOC
from kmsim.workload.plan import EXACT


@only_with("lists")
def begin_list(s: Core, c: CpuIdx, ac: ContextIdx) -> None:
    """The stage before any lock."""
    m = s.m
    run = s.runs[ac]
    request = s.requests[run.request]
    page_shift = m.params[0].page_shift
    no_work(s)
    path = s.prices[0].alloc_fast if run.kind == ALLOC else 0  # each page that is freed is priced as a free
    if request.api == EXACT:
        if run.kind == ALLOC:
            wanted = exact_alloc_begin(m, ac, request.gfp, run.nr_bytes)
        else:
            wanted = exact_free_begin(m, ac, run.block, run.detail << page_shift)
    elif run.kind == ALLOC:
        nr_pages = run.nr_bytes >> page_shift
        wanted = chain_alloc_begin(m, ac, request.gfp, nr_pages)
        path += nr_pages * s.prices[0].bulk_page
    else:
        wanted = chain_free_begin(m, ac, run.block)
    set_stage(s, c, ac, path + instructions_ps(s), cache_lines_ps(s, False))
    list_then(s, c, ac, wanted)


@only_with("lists")
def list_then(s: Core, c: CpuIdx, ac: ContextIdx, wanted: bool) -> None:
    """What the run does when this stage ends."""
    s.runs[ac].then = LIST_LOCK if wanted else COMPLETE
    if wanted and is_bulk(s.m.contexts[ac].stage):
        hold_pcp(s, c, ac)


@only_with("lists")
def lock_list(s: Core, c: CpuIdx, ac: ContextIdx) -> None:
    """The stage under the zone's lock that the request wants."""
    context = s.m.contexts[ac]
    z = int(context.zone)
    in_bulk = is_bulk(context.stage)
    no_work(s)
    run = s.runs[ac]
    if s.requests[run.request].api == EXACT:
        wanted = exact_locked(s.m, ac)
    elif run.kind == ALLOC:
        wanted = chain_alloc_locked(s.m, ac)
    else:
        wanted = chain_free_locked(s.m, ac)
    hold_lock(s, c, ac, zone_lock(z), in_bulk)
    list_then(s, c, ac, wanted)
