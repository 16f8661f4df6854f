"""The verbs of `mm` by which a run goes on, once what it wanted is granted.

A run remembers whose they are (`run.verbs`) from its first stage on:
    OF_PAGES     a block of pages                              `mm.page_request`
    OF_LISTS     exact pages, pages in bulk                    `mm.page_exact`, `mm.page_request`
    OF_SLAB      objects                                       `mm.slub`
    OF_KMALLOC   krealloc                                      `mm.kmalloc`
    OF_VM        vmalloc, vmap, kvmalloc, and their frees      `mm.vmalloc`
    OF_DRAIN     the emptying of all per-CPU lists             `mm.drain`
    OF_FLUSH     a flusher: nothing in `mm`
    OF_FILE      a read of a page of a file                    `mm.filemap`
Here, too, is the one place where wants that take no time are granted (`at_once`): a try at a list's lock, and the slow
path. Where memory can be reclaimed its allocator goes there in the next stage, elsewhere it fails.
Verbs that no request of a run needs are not compiled for it. Takes no lock: see `sim.core.grant`.
"""

from kmsim.jit import core, only_with, small
from kmsim.mm.drain import drain_all_resume
from kmsim.mm.filemap import read_resume
from kmsim.mm.indices import ContextIdx
from kmsim.mm.kmalloc import kmalloc_resume
from kmsim.mm.mmzone import Machine
from kmsim.mm.page_chain import chain_free_resume
from kmsim.mm.page_exact import exact_resume
from kmsim.mm.page_request import bulk_resume, page_resume
from kmsim.mm.pcp_held import answer_try
from kmsim.mm.slub import slab_resume
from kmsim.mm.vmalloc import vm_resume
from kmsim.mm.wants import DONE, SLOW_PATH, TRY_LOCK
from kmsim.sim.core.records import OF_DRAIN, OF_FILE, OF_KMALLOC, OF_LISTS, OF_PAGES, OF_SLAB, OF_VM, Core, pcp_lock_of
from kmsim.workload.op_stream import ALLOC
from kmsim.workload.plan import EXACT


@small
def carry_on(s: Core, ac: ContextIdx) -> int:
    """What the run wanted is granted: let `mm` do what follows; what does it want now, that takes time?"""
    return at_once(s, ac, resume_run(s, ac))


@small
def at_once(s: Core, ac: ContextIdx, wants: int) -> int:
    """Grant what takes no time, and whatever of that kind follows; what does the run want then?"""
    return granted_at_once(s, ac, wants) if wants in (TRY_LOCK, SLOW_PATH) else wants


@core
def granted_at_once(s: Core, ac: ContextIdx, wants: int) -> int:
    """Answer a try; let the request go to the slow path, or fail where there is none."""
    while wants in (TRY_LOCK, SLOW_PATH):
        answer_try(s.m, ac, wants)
        wants = resume_run(s, ac)
    return wants


@small
def resume_run(s: Core, ac: ContextIdx) -> int:
    """Call the verb by which the run goes on."""
    if s.runs[ac].verbs == OF_PAGES:
        return page_resume(s.m, ac)
    return resume_other(s, ac)


@core
def resume_other(s: Core, ac: ContextIdx) -> int:
    """The same for all but blocks of pages."""
    verbs = s.runs[ac].verbs
    if verbs == OF_SLAB:
        return resume_slab(s, ac)
    if verbs == OF_VM:
        return resume_vm(s, ac)
    if verbs == OF_KMALLOC:
        return resume_kmalloc(s, ac)
    if verbs == OF_DRAIN:
        return drain_all_resume(s.m, ac, pcp_lock_of(s, 0))
    if verbs == OF_FILE:
        return resume_read(s.m, ac)
    assert verbs == OF_LISTS, "a run that no verb carries on"
    return resume_list(s, ac)


@only_with("slub", DONE)
def resume_slab(s: Core, ac: ContextIdx) -> int:
    """SLUB's verb."""
    return slab_resume(s.m, s.slub, ac)


@only_with("vm", DONE)
def resume_vm(s: Core, ac: ContextIdx) -> int:
    """vmalloc's verb."""
    return vm_resume(s.m, s.slub, s.vm, ac)


@only_with("vm", DONE)
def resume_kmalloc(s: Core, ac: ContextIdx) -> int:
    """kmalloc's verb."""
    return kmalloc_resume(s.m, s.slub, ac)


@only_with("lru", DONE)
def resume_read(m: Machine, ac: ContextIdx) -> int:
    """The verb of the page cache."""
    return read_resume(m, ac)


@only_with("lists", DONE)
def resume_list(s: Core, ac: ContextIdx) -> int:
    """The verb of exact pages, or of pages in bulk."""
    run = s.runs[ac]
    if s.requests[run.request].api == EXACT:
        return exact_resume(s.m, ac)
    return bulk_resume(s.m, ac) if run.kind == ALLOC else chain_free_resume(s.m, ac)
