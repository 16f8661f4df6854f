"""The emptying of all CPUs' per-CPU lists: its first stage (the rest is granted by `sim.core.grant`)."""

from kmsim.jit import core
from kmsim.mm.drain import drain_all_begin
from kmsim.mm.indices import ContextIdx, CpuIdx
from kmsim.sim.core.costs import no_work
from kmsim.sim.core.grant import first_stage
from kmsim.sim.core.records import NOT_WAITING, OF_DRAIN, Core


@core
def begin_drain(s: Core, c: CpuIdx, ac: ContextIdx) -> None:
    """The stage before any lock."""
    run = s.runs[ac]
    run.verbs = OF_DRAIN
    run.since = NOT_WAITING
    no_work(s)
    first_stage(s, c, ac, s.prices[0].free_fast, drain_all_begin(s.m, ac))
