"""A reclaim that is put away: its context is free for others meanwhile, and it goes on with the folios that it had."""

import numpy as np
import pytest

from kmsim.jit import entry
from kmsim.mm.ladder import RUNG_FAST
from kmsim.mm.lru_records import NR_RECLAIM_LISTS, reclaim_t
from kmsim.mm.mmzone import NO_PAGE, Machine, page_t
from kmsim.mm.slow_path import RECLAIMING, WALKING
from kmsim.mm.snapshot import walk
from kmsim.mm.vmscan import LOOK_AT_FOLIOS
from kmsim.mm.vmscan_asleep import Heads, Reclaims, put_away_reclaim, take_up_reclaim

from .reclaim_drivers import read_step, recount_with_asleep
from .test_filemap import GFP, machine, read

pytestmark = pytest.mark.slow  # what they need is compiled for them alone

RECORD, NR_RECORDS = 2, 4


@entry
def away(m: Machine, ac: int, reclaims: Reclaims, heads: Heads, k: int) -> None:
    """Put a reclaim away, for Python callers."""
    put_away_reclaim(m, ac, reclaims, heads, k)


@entry
def back(m: Machine, ac: int, reclaims: Reclaims, heads: Heads, k: int) -> None:
    """Take it up again."""
    take_up_reclaim(m, ac, reclaims, heads, k)


def isolated(m: Machine) -> list[list[int]]:
    """What is on the lists of context 0's reclaim."""
    return [walk(m, int(m.lru.reclaims[0].lists) + which) for which in range(NR_RECLAIM_LISTS)]


def test_another_request_reclaims_while_one_is_put_away() -> None:
    m = machine()
    index = 0
    while m.lru.reclaims[0].step != RECLAIMING or m.lru.reclaims[0].stage != LOOK_AT_FOLIOS:
        index += 1
        wanted = read_step(m, 0, index, GFP, True)
        while wanted and m.lru.reclaims[0].stage != LOOK_AT_FOLIOS:
            wanted = read_step(m, 0, 0, 0, False)
    reclaims, heads = np.zeros(NR_RECORDS + 1, reclaim_t), np.zeros(NR_RECORDS * NR_RECLAIM_LISTS, page_t)
    context, reclaim, folios = m.contexts[0].copy(), m.lru.reclaims[0].copy(), isolated(m)
    assert sum(map(len, folios)) == reclaim.nr_taken > 0
    away(m, 0, reclaims, heads, RECORD)
    assert isolated(m) == [[]] * NR_RECLAIM_LISTS
    assert (m.lru.reclaims[0].step, m.lru.reclaims[0].stage) == (WALKING, 0)
    assert m.contexts[0].attempt == RUNG_FAST
    recount_with_asleep(m, reclaims)
    for other in range(index + 1, index + 100):
        assert read(m, other) != NO_PAGE
    assert m.lru.reclaims[0].nr_passes > 0, "no other request had to reclaim"
    recount_with_asleep(m, reclaims)
    m.contexts[0] = context
    back(m, 0, reclaims, heads, RECORD)
    assert m.lru.reclaims[0] == reclaim
    assert isolated(m) == folios
    assert reclaims[RECORD] == reclaims[NR_RECORDS]
    recount_with_asleep(m, reclaims)
    wanted = True
    while wanted:
        wanted = read_step(m, 0, 0, 0, False) != 0
    assert m.contexts[0].pfn != NO_PAGE
    assert m.lru.page_cache[index] == m.contexts[0].pfn + 1
    recount_with_asleep(m, reclaims)
