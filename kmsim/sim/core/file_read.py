"""A read of a page of a file: its first stage (the rest is granted by `sim.core.grant`).

A page that is in memory is found in one stage, without a lock. Kept out of the compiled core where no memory can be
reclaimed; which page is read, the operation says (`workload.sizes`).
"""

from kmsim.jit import only_with
from kmsim.mm.filemap import read_begin
from kmsim.mm.indices import ContextIdx, CpuIdx
from kmsim.mm.mmzone import Machine
from kmsim.sim.core.costs import no_work
from kmsim.sim.core.grant import first_stage
from kmsim.sim.core.records import OF_FILE, Core


@only_with("lru")
def begin_read(m: Machine, s: Core, c: CpuIdx, ac: ContextIdx) -> None:
    """The stage before any lock."""
    run = s.runs[ac]
    run.verbs = OF_FILE
    request = s.requests[run.request]
    no_work(s)
    wants = read_begin(m, ac, int(request.file + run.asked - 1), int(request.gfp))
    path = 0 if m.lru.work[0].pages_found else s.prices[0].alloc_fast
    first_stage(s, c, ac, int(path), wants)
