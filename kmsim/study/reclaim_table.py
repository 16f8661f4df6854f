"""What requests went through when memory was short, as a table: one row for each class of requests that reclaimed.

    requests          that freed memory themselves, or waited for what others had (kernel: __alloc_pages_slowpath)
    passes            through all priorities; the sum is vmstat's allocstall
    retries           of the whole slow path
    pages_scanned     by them (vmstat: pgscan_direct)
    pages_reclaimed   of these (vmstat: pgsteal_direct)

Only a machine that can reclaim has it. Counted from the end of the warm-up on.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from kmsim.metrics.columns import CLASS_COLUMNS, INT, Columns, Table, made_of
from kmsim.mm.lru_records import LRU_EVENT_NAMES
from kmsim.mm.oom import has_named
from kmsim.sim.core.records import HAS_RECLAIMED, PAGES_RECLAIMED, PAGES_SCANNED, PASSES, RETRIES, Core

if TYPE_CHECKING:
    from kmsim.sim.run.windows import Reading

RECLAIM = "reclaim"
COUNTED = {
    "requests": HAS_RECLAIMED,
    "passes": PASSES,
    "retries": RETRIES,
    "pages_scanned": PAGES_SCANNED,
    "pages_reclaimed": PAGES_RECLAIMED,
}
RECLAIM_COLUMNS: Columns = {**CLASS_COLUMNS, **dict.fromkeys(COUNTED, INT)}
RECLAIM_COUNTERS = frozenset(LRU_EVENT_NAMES)


def reclaim_table(core: Core, names: Sequence[tuple[str, str, str, int, str]], start: Reading | None) -> Table:
    """The table; `names` has what CLASS_COLUMNS say of each class of operations."""
    counts = core.reclaimed
    if start is not None and start.reclaimed is not None:
        counts = counts.copy()
        counts[: len(start.reclaimed)] -= start.reclaimed
    of_class = sorted((names[k], k) for k in np.flatnonzero(counts[:, HAS_RECLAIMED]).tolist())
    rows = [(*name, *(int(counts[k, column]) for column in COUNTED.values())) for name, k in of_class]
    return made_of(RECLAIM_COLUMNS, zip(*rows, strict=True) if rows else [()] * len(RECLAIM_COLUMNS))


def reclaim_events(core: Core, start: Reading | None) -> dict[str, int]:
    """The kernel's counters of reclaim by their names; none on a machine that cannot reclaim.

    That of killed processes only where the config has some.
    """
    if core.m.lru is None:
        return {}
    events = core.m.lru.vm_events
    if start is not None and start.lru_events is not None:
        events = events - start.lru_events
    counters: dict[str, int] = dict(zip(LRU_EVENT_NAMES, events.tolist(), strict=True))
    if not has_named(core.m.lru.processes):
        del counters["oom_kill"]
    return counters
