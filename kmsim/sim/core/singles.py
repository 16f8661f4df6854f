"""An operation that has ended is kept as a row of its own: the last ones, or a sample of all.

The last N lie in a ring. A sample of N is a reservoir (Vitter, Random sampling with a reservoir, ACM TOMS 11, 1985,
algorithm R): each operation that was seen is in it with the same probability, and how many there will be need not be
known. Its random numbers are of a stream of its own, so nothing else of the run changes. Kept out of the compiled core
where no run asks for it. Needs no lock: a row is written in the event in which the operation ends.
"""

from kmsim.jit import only_with
from kmsim.mm.indices import ContextIdx, CpuIdx
from kmsim.sim.core.records import Core, class_of
from kmsim.sim.core.single_records import MINSTD_MODULUS, MINSTD_MULTIPLIER
from kmsim.workload.op_stream import ALLOC
from kmsim.workload.request import bytes_asked


@only_with("singles")
def keep_single(s: Core, c: CpuIdx, ac: ContextIdx, block: int) -> None:
    """Keep an allocation or a free that ends now, of this block (NO_BLOCK: it failed), if its turn comes."""
    keeping = s.singles.keeping[0]
    nr_rows = len(s.singles.rows)
    number = keeping.nr_seen
    keeping.nr_seen = number + 1
    at = number % nr_rows
    if keeping.is_sampled and number >= nr_rows:
        keeping.random = keeping.random * MINSTD_MULTIPLIER % MINSTD_MODULUS
        at = int(keeping.random / MINSTD_MODULUS * (number + 1))
        if at >= nr_rows:
            return
    run = s.runs[ac]
    row = s.singles.rows[at]
    row.number = number
    row.start_ps = run.start_ps
    row.latency_ps = s.state[0].now - run.start_ps
    row.cpu = c
    row.task = run.task
    row.of_class = class_of(run.request, run.kind)
    row.nr_bytes = bytes_asked(s.requests[run.request].api, run.asked) if run.kind == ALLOC else 0
    row.block = block
