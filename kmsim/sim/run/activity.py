"""How much was allocated and freed from one sample to the next, and how many bytes are in use.

A run may take 100,000 samples, so a sample copies a few numbers, and the table is made at the end.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from kmsim.metrics.columns import INT, REAL, TEXT, Columns, Table, made_of
from kmsim.sim.core.records import BYTES, COUNT, FAILED, NR_KINDS, NR_TOTALS, SUM_PS, Core
from kmsim.units import PS_PER_NS
from kmsim.workload.op_stream import ALLOC, FREE
from kmsim.workload.turns import KIND_NAMES

ACTIVITY_COLUMNS: Columns = {
    "time_ns": REAL,
    "kind": TEXT,
    **dict.fromkeys(("count", "failed", "sum_ps"), INT),
    "mean_ns": REAL,
    "live_bytes": INT,
}
SUMMED_TOGETHER = 256  # samples; one by one, it is three times as slow

Ints = NDArray[np.int64]


@dataclass
class Activity:
    """What was counted until each sample, in the order of time; all since the boot."""

    times_ps: list[int] = field(default_factory=list)
    _counted: list[Ints] = field(default_factory=list)  # [sample, kind, column of `totals`], over classes and CPUs
    _live_bytes: list[Ints] = field(default_factory=list)  # [sample]
    _latest: list[Ints] = field(default_factory=list)  # [class, column], not yet summed up

    def take(self, core: Core, now_ps: int) -> None:
        """Sample; a second sample at one instant replaces the first."""
        if self.times_ps and self.times_ps[-1] == now_ps:
            self.times_ps.pop()
            self._latest.pop()
        if len(self._latest) == SUMMED_TOGETHER or (self._latest and len(self._latest[0]) != len(core.totals)):
            self._sum_up()
        self.times_ps.append(now_ps)
        self._latest.append(core.totals.sum(axis=1))

    def _sum_up(self) -> None:
        """Sum the latest samples up to what the table needs."""
        if not self._latest:
            return
        by_class = np.stack(self._latest)
        by_class = by_class.reshape(len(by_class), -1, NR_KINDS, by_class.shape[-1])
        self._counted.append(by_class.sum(axis=1))
        self._live_bytes.append(live_bytes(by_class))
        self._latest.clear()

    def table(self) -> Table:
        """A row for each sample and kind; counts, latencies' sum and mean are of the time since the sample before.

        `live_bytes` are those asked for by what is allocated then: exact where all blocks of a request are of
        one size; where sizes are drawn, what lives of a request counts with the mean of all its blocks. Leaves
        out what users' processes do to a block behind its request's back: krealloc and bulks of objects.
        """
        self._sum_up()
        counted = np.concatenate([np.zeros((0, NR_KINDS, NR_TOTALS), np.int64), *self._counted])
        since = np.diff(counted, axis=0, prepend=0)[..., [COUNT, FAILED, SUM_PS]].reshape(-1, 3)
        count = since[:, 0]
        nr_samples = len(self.times_ps)
        columns = (
            np.repeat(np.array(self.times_ps, np.int64) / PS_PER_NS, NR_KINDS),
            np.tile(np.array(KIND_NAMES[:NR_KINDS], object), nr_samples),
            count,
            since[:, 1],
            since[:, 2],
            np.where(count > 0, since[:, 2] / np.maximum(count, 1) / PS_PER_NS, np.nan),
            np.repeat(np.concatenate([np.zeros(0, np.int64), *self._live_bytes]), NR_KINDS),
        )
        return made_of(ACTIVITY_COLUMNS, columns)


def live_bytes(by_class: Ints) -> Ints:
    """Bytes asked for by what is allocated; of totals since the boot [sample, request, kind, column]."""
    count, asked = by_class[..., ALLOC, COUNT], by_class[..., ALLOC, BYTES]
    nr_live = np.maximum(count - by_class[..., FREE, COUNT], 0)
    each, rest = np.divmod(asked, np.maximum(count, 1))
    of_rest = np.rint(rest * (nr_live / np.maximum(count, 1))).astype(np.int64)
    in_use: Ints = (nr_live * each + of_rest).sum(axis=-1)
    return in_use
