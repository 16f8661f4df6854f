"""One operation on one CPU: what it is, and which stages it goes through.

An operation is a chain of stages; the state changes at the beginning of each (see `sim.core.lock` for why
that is exact), time passes until its end. The first stage stands in the file of its API (`sim.core.apis`), or in
`sim.core.drain`. What it wants then is granted by `sim.core.grant`.
"""

from kmsim.jit import core, prefetch, small
from kmsim.mm.indices import ContextIdx, CpuIdx, SlotIdx
from kmsim.sim.core.apis import begin_other
from kmsim.sim.core.drain import begin_drain
from kmsim.sim.core.due import first_due_at, pop_due
from kmsim.sim.core.pages import begin_pages
from kmsim.sim.core.pcp_lock import waits_for_no_list
from kmsim.sim.core.records import NO_BLOCK, Core
from kmsim.sim.core.slab import begin_slab, look_ahead_slab
from kmsim.sim.core.slot import exchange, take
from kmsim.sim.core.vmalloc import look_ahead_vm
from kmsim.workload.op_stream import DRAIN, FREE
from kmsim.workload.plan import SLAB
from kmsim.workload.request import is_block_of_pages
from kmsim.workload.turns import NO_SLOT


@core
def start(s: Core, c: CpuIdx, ac: ContextIdx) -> None:
    """Take the task's next operation and begin it: the first due block, or what its stream says."""
    run = s.runs[ac]
    now = s.state[0].now
    s.m.contexts[ac].mempolicy = s.tasks[run.task].mempolicy
    due_at = first_due_at(s, run.task)
    if due_at <= now and due_at <= s.tasks[run.task].next_at:
        run.start_ps = now
        run.from_stream = 0
        run.kind = FREE
        take(s, ac, s.timed[pop_due(s, run.task)])
    else:
        read_next(s, ac)
    begin(s, c, ac)


@small
def start_next(s: Core, c: CpuIdx, ac: ContextIdx) -> None:
    """Begin the next operation of the task's stream."""
    read_next(s, ac)
    begin(s, c, ac)


@small
def read_next(s: Core, ac: ContextIdx) -> None:
    """Let a run have the next operation of its task's stream."""
    run = s.runs[ac]
    task = s.tasks[run.task]
    run.start_ps = s.state[0].now
    op = s.ops[task.cursor]
    task.cursor += 1
    run.from_stream = 1
    run.kind = op.kind
    run.request = op.request
    run.slot = op.slot
    run.asked = op.asked
    run.lifetime_ps = op.lifetime_ps
    look_ahead(s, task.cursor)
    if op.kind == FREE:
        take_block(s, ac, op.slot, op.swap)


@small
def take_block(s: Core, ac: ContextIdx, slot: SlotIdx, swap: SlotIdx) -> None:
    """Take the block out of its slot; where another task's slot is named, exchange the two blocks first."""
    if swap != NO_SLOT and s.slots[swap].block != NO_BLOCK:
        exchange(s, slot, swap)
    take(s, ac, s.slots[slot])


@small
def look_ahead(s: Core, cursor: int) -> None:
    """Fetch what the task's next operations will need; other CPUs act until then (a quarter faster at 16 CPUs).

    It may look behind the end of a block, where something else lies; that costs nothing but the fetch.
    """
    prefetch(s.ops, cursor + 4)
    prefetch(s.slots, int(s.ops[cursor + 1].slot))
    slot = int(s.ops[cursor].slot)
    if 0 <= slot < len(s.slots):
        block = int(s.slots[slot].block)
        prefetch(s.m.pages, block)
        look_ahead_slab(s, block)
        look_ahead_vm(s, block, cursor + 1)


@small
def begin(s: Core, c: CpuIdx, ac: ContextIdx) -> None:
    """The first stage."""
    run = s.runs[ac]
    waits_for_no_list(s.m, s, ac)
    if run.kind == DRAIN:
        begin_drain(s, c, ac)
        return
    request = s.requests[run.request]
    if is_block_of_pages(request.api):
        begin_pages(s, c, ac, run.block, request.order)
    elif request.api == SLAB:
        begin_slab(s, c, ac, run.block)
    else:
        begin_other(s, c, ac)
