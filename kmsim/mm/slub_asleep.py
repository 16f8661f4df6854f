"""Slab requests that are put away while their thread sleeps, and taken up again.

A request is its context, and for objects in bulk the context's row of `bulk`. What it holds (slabs, free objects) stays
with it, in the record to which it is put away; its context is then as one in which no request is under way, so that
another thread can use it. Leaves out who sleeps, and when (`sim.core.sleep`). Takes no lock. Invariant: a request is
under way in one record.
"""

import numpy as np
from numpy.typing import NDArray

from kmsim.jit import core, small
from kmsim.mm.indices import ContextIdx
from kmsim.mm.slub_records import NO_OBJECT, NO_SLAB, Slub, bulk_row
from kmsim.mm.slub_steps import OP_ALLOC_BULK, OP_FREE_BULK, SLUB_DONE

Contexts = NDArray[np.void]  # of slab_context_t
Objects = NDArray[np.int32]  # a row for each of the contexts


@core
def put_away(sl: Slub, ac: ContextIdx, contexts: Contexts, bulk: Objects, k: int) -> None:
    """Put a context's request, if there is one, into record `k` of `contexts`, and its objects into that row."""
    contexts[k] = sl.contexts[ac]
    for n in range(nr_in_row(sl.contexts, ac)):
        bulk[bulk_row(k) + n] = sl.bulk[bulk_row(ac) + n]
    context = sl.contexts[ac]
    context.stage = SLUB_DONE
    context.slab = NO_SLAB
    context.freelist = NO_OBJECT
    context.old_slab = NO_SLAB
    context.old_freelist = NO_OBJECT
    context.chain = NO_SLAB
    context.discards = NO_SLAB
    context.free_slab = NO_SLAB


@core
def take_up(sl: Slub, ac: ContextIdx, contexts: Contexts, bulk: Objects, k: int) -> None:
    """Take it up again."""
    sl.contexts[ac] = contexts[k]
    for n in range(nr_in_row(contexts, k)):
        sl.bulk[bulk_row(ac) + n] = bulk[bulk_row(k) + n]
    contexts[k].stage = SLUB_DONE


@small
def nr_in_row(contexts: Contexts, ac: int) -> int:
    """How many objects the request of a context has in its row."""
    context = contexts[ac]
    is_bulk = context.operation in (OP_ALLOC_BULK, OP_FREE_BULK)
    return int(context.nr_objects) if is_bulk and context.stage != SLUB_DONE else 0
