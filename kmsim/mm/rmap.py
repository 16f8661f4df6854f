"""From a page to who holds it: what it takes to move a page under its holder (kernel: mm/rmap.c, page->mapping).

A holder is a number other than NO_HOLDER, which means something to whoever allocated the block: here it is kept and
nothing else. The record of a block's first page has it; whoever moves the block moves it along, and writes the block's
new place once, where the holder says. It stands in an array of its own, which a machine has only where pages can
move or be reclaimed; the other half of its 8 bytes a frame says what a folio is (`FOLIO_...` of `mm.lru_records`).

Leaves out: which pages may move (the caller gives no holder for those that may not), pages with several holders.
Invariant: zeroed, a page has no holder; free pages have none. Lock order: takes none; who moves a block holds
its zone's lock.
"""

import numpy as np

from kmsim.jit import Record, only_with
from kmsim.mm.indices import Holder, Pfn
from kmsim.mm.mmzone import Machine

NO_HOLDER = 0

holder_t = np.dtype((Record, [("holder", np.int32), ("folio_flags", np.uint32)]))


def machine_with_holders(m: Machine) -> Machine:
    """The machine with room for holders. No page that may move is allocated on it yet."""
    return m._replace(holders=np.zeros(int(m.params[0].nr_frames), holder_t))


@only_with("holders")
def set_holder(m: Machine, pfn: Pfn, holder: Holder) -> None:
    """Say who holds a block; NO_HOLDER: nobody."""
    if m.holders is not None:  # in plain Python all functions are there
        m.holders[pfn].holder = holder


@only_with("holders", NO_HOLDER)
def holder_of(m: Machine, pfn: Pfn) -> Holder:
    """Who holds the block that begins at a page, or NO_HOLDER."""
    return NO_HOLDER if m.holders is None else int(m.holders[pfn].holder)
