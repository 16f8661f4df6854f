"""Slab requests that are put away: their context is free for others meanwhile, and nothing of those is taken along."""

import numpy as np
import pytest

from kmsim.jit import entry
from kmsim.mm.slub_asleep import Contexts, Objects, put_away, take_up
from kmsim.mm.slub_records import NO_OBJECT, NO_SLAB, SLAB_BULK_MAX, Slub, bulk_row
from kmsim.mm.slub_steps import LOCKED_PUT_PARTIALS, OP_ALLOC, OP_ALLOC_BULK, OP_FREE_BULK, SLUB_DONE

from .test_slub import with_caches

CONTEXT, RECORD = 1, 2
HELD = {"slab": 5, "freelist": 40, "old_slab": 6, "old_freelist": 50, "chain": 7, "discards": 8, "free_slab": 9}
NR_OBJECTS = 3


@entry
def away(sl: Slub, ac: int, contexts: Contexts, bulk: Objects, k: int) -> None:
    """Put a request away, for Python callers."""
    put_away(sl, ac, contexts, bulk, k)


@entry
def back(sl: Slub, ac: int, contexts: Contexts, bulk: Objects, k: int) -> None:
    """Take it up again."""
    take_up(sl, ac, contexts, bulk, k)


def request_of(sl: Slub, operation: int) -> None:
    """Let a request be under way that holds all that one can hold."""
    context = sl.contexts[CONTEXT]
    context.operation = operation
    context.stage = LOCKED_PUT_PARTIALS
    context.nr_objects = NR_OBJECTS  # of another operation than one in bulk: that of an earlier one
    for name, held in HELD.items():
        context[name] = held


def row(objects: Objects, of: int) -> list[int]:
    """The first objects of a row."""
    return objects[bulk_row(of) : bulk_row(of) + NR_OBJECTS].tolist()


@pytest.mark.parametrize("operation", [OP_ALLOC, OP_ALLOC_BULK, OP_FREE_BULK])
def test_a_request_that_is_put_away_leaves_nothing_and_takes_nothing_of_others(operation: int) -> None:
    _, sl = with_caches(64)
    contexts, bulk = np.zeros(4, sl.contexts.dtype), np.zeros(4 * SLAB_BULK_MAX, np.int32)
    request_of(sl, operation)
    before = sl.contexts[CONTEXT].copy()
    sl.bulk[bulk_row(CONTEXT) : bulk_row(CONTEXT) + NR_OBJECTS] = (11, 12, 13)
    away(sl, CONTEXT, contexts, bulk, RECORD)
    assert sl.contexts[CONTEXT].stage == SLUB_DONE
    left = {name: int(sl.contexts[CONTEXT][name]) for name in HELD}
    assert left == {name: NO_OBJECT if "freelist" in name else NO_SLAB for name in HELD}
    sl.bulk[bulk_row(CONTEXT) : bulk_row(CONTEXT) + NR_OBJECTS] = (21, 22, 23)  # another's, which has not begun
    back(sl, CONTEXT, contexts, bulk, RECORD)
    assert sl.contexts[CONTEXT] == before
    assert contexts[RECORD]["stage"] == SLUB_DONE
    assert row(sl.bulk, CONTEXT) == ([21, 22, 23] if operation == OP_ALLOC else [11, 12, 13])
