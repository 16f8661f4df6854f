"""Slots: the one place where a block that is held stands, and the way back to it from the block's page.

A slot is filled when its allocation is over, and emptied when its free begins: in between the block's number stands
nowhere else, so whoever moves the block writes it there. A slot in `slots` is named by operations, one in `timed` by
an entry of a task's heap (`sim.core.due`).

What can move is a movable block of a plain request for pages (as the kernel's anonymous memory that is mlocked). Its
first page names the slot as its *holder* (`mm.rmap`): n + 1 is `slots[n]`, -(n + 1) is `timed[n]`. Blocks of users'
processes move, too, as their handles ask the slot.

Leaves out: all other pages (of bulk, exact and large requests, of slabs and of vmalloc), blocks of operations under
way, and immortal ones, which nobody remembers; these have no holder, and do not move. A page of the page cache is held
by its entry there (see `mm.filemap`). Where no page of a run can
move, there are no holders, and what is said here of them is not compiled. Invariant: the first page of a full slot's
movable block leads to the slot, and a holder is a full slot whose block begins at the page. Slots need no lock: one is
named by one operation at a time.
"""

from typing import Any

from kmsim.jit import core, only_with, shared, small
from kmsim.mm.indices import ContextIdx, Holder, SlotIdx, TimedIdx
from kmsim.mm.limits import INT_MAX
from kmsim.mm.mmzone import PG_BUDDY, PG_PCP, Machine
from kmsim.mm.rmap import NO_HOLDER, holder_of, machine_with_holders, set_holder
from kmsim.sim.core.records import NO_BLOCK, NOT_FILLED, Core
from kmsim.workload.request import can_move

Slot = Any  # a record of slot_t


def with_holders(core: Core) -> Core:
    """The core, before its first operation, as one whose pages know their holders."""
    assert max(len(core.slots), len(core.timed)) < INT_MAX, "more slots than a page can tell apart"
    return core if core.m.holders is not None else core._replace(m=machine_with_holders(core.m))


@small
def holder_of_slot(n: SlotIdx) -> Holder:
    """The holder that a slot is."""
    return n + 1


@small
def holder_of_timed(n: TimedIdx) -> Holder:
    """The holder that the slot of a timed block is."""
    return -(n + 1)


@shared
def slot_of(s: Core, holder: Holder) -> Slot:
    """The slot that a holder is."""
    return s.slots[holder - 1] if holder > NO_HOLDER else s.timed[-holder - 1]


@small
def fill(s: Core, slot: Slot, holder: Holder, block: int, request: int, detail: int) -> None:
    """Put a block into a slot, which is that holder."""
    slot.block = block
    slot.request = request
    slot.detail = detail
    lead_back(s.m, s, slot, holder)


@small
def exchange(s: Core, n: SlotIdx, other: SlotIdx) -> None:
    """Exchange the blocks of two slots in `slots`, both full."""
    mine, theirs = s.slots[n], s.slots[other]
    block, request, detail = mine.block, mine.request, mine.detail
    fill(s, mine, holder_of_slot(n), theirs.block, theirs.request, theirs.detail)
    fill(s, theirs, holder_of_slot(other), block, request, detail)


@small
def take(s: Core, ac: ContextIdx, slot: Slot) -> None:
    """Let a run have the block of a slot, which is empty then."""
    run = s.runs[ac]
    run.block = slot.block
    run.request = slot.request
    run.detail = slot.detail
    lead_back(s.m, s, slot, NO_HOLDER)
    slot.block = NO_BLOCK


@only_with("holders")
def lead_back(m: Machine, s: Core, slot: Slot, holder: Holder) -> None:
    """Let the page of a full slot's block name its holder."""
    if block_can_move(s, slot):
        set_holder(m, int(slot.block), holder)


@small
def block_can_move(s: Core, slot: Slot) -> bool:
    """May the block of a slot move, if it is full?"""
    if slot.request == NOT_FILLED:
        return False
    request = s.requests[slot.request]
    return can_move(request.api, request.gfp)


@only_with("holders")
def recount_holders(m: Machine, s: Core) -> None:
    """Follow every page with a holder to its slot, and every full slot to its page."""
    if m.holders is None:  # in plain Python all functions are there
        return
    for pfn in range(len(m.holders)):
        holder = holder_of(m, pfn)
        if holder != NO_HOLDER and m.holders[pfn].folio_flags == 0:
            slot = slot_of(s, holder)
            assert slot.block == pfn, "a page's holder has another block"
            assert block_can_move(s, slot), "a page that may not move has a holder"
            assert int(m.pages[pfn].page_flags) & (PG_BUDDY | PG_PCP) == 0, "a free page has a holder"
            assert m.pages[pfn].order == s.requests[slot.request].order, "a held block is of another order"
    for n in range(len(s.slots)):
        leads_back(m, s, s.slots[n], holder_of_slot(n))
    for k in range(len(s.tasks)):
        first = int(s.tasks[k].first_due)
        for at in range(first, first + s.tasks[k].nr_due):
            n = int(first + s.due[at].slot)
            leads_back(m, s, s.timed[n], holder_of_timed(n))


@core
def leads_back(m: Machine, s: Core, slot: Slot, holder: Holder) -> None:
    """Check that the block of a slot, if it is full and can move, leads back to it."""
    if slot.block != NO_BLOCK and block_can_move(s, slot):
        assert holder_of(m, int(slot.block)) == holder, "a slot's block has another holder"
