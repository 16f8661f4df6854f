"""A request's reclaim that is put away while its thread sleeps, and taken up again.

The folios that it has isolated stay with it: the heads of its lists lie beside its record, and between the two nobody
touches the folios' links. Its context is then as one that has never reclaimed, so that another thread can use it.
Leaves out who sleeps, and when (`sim.core.sleep`). Takes no lock. Invariant: a reclaim is under way in one record; the
last record has none, ever.
"""

import numpy as np
from numpy.typing import NDArray

from kmsim.jit import core
from kmsim.mm.indices import ContextIdx
from kmsim.mm.ladder import RUNG_FAST
from kmsim.mm.lru_records import NR_RECLAIM_LISTS
from kmsim.mm.mmzone import Machine

Reclaims = NDArray[np.void]  # of reclaim_t, and one more than those that can be put away
Heads = NDArray[np.void]  # of page_t: NR_RECLAIM_LISTS for each


@core
def put_away_reclaim(m: Machine, ac: ContextIdx, reclaims: Reclaims, heads: Heads, k: int) -> None:
    """Put a context's way through the slow path into record `k`; its other records are put away already."""
    first_head = int(m.lru.reclaims[ac].lists)
    reclaims[k] = m.lru.reclaims[ac]
    m.lru.reclaims[ac] = reclaims[len(reclaims) - 1]
    m.lru.reclaims[ac].lists = first_head
    for which in range(NR_RECLAIM_LISTS):
        head = first_head + which
        heads[k * NR_RECLAIM_LISTS + which] = m.pages[head]
        m.pages[head].next = head
        m.pages[head].prev = head
    m.contexts[ac].attempt = RUNG_FAST  # a free that follows is in no slow path


@core
def take_up_reclaim(m: Machine, ac: ContextIdx, reclaims: Reclaims, heads: Heads, k: int) -> None:
    """Take it up again."""
    first_head = int(m.lru.reclaims[ac].lists)
    assert reclaims[k].lists == first_head, "a reclaim is taken up in another context"
    m.lru.reclaims[ac] = reclaims[k]
    for which in range(NR_RECLAIM_LISTS):
        m.pages[first_head + which] = heads[k * NR_RECLAIM_LISTS + which]
    reclaims[k] = reclaims[len(reclaims) - 1]
