"""The records of single operations that a run keeps on demand (`run.operations`).

    row     one operation that has ended: an allocation, also one that failed, or a free
    seen    operations that have ended since counting began, at 0 or at the end of the warm-up

Leaves out how many operations of a kind there were, and their latencies all together: `Core.totals` and `Core.counts`
have these of every run. Invariant: the first min(seen, rows) rows are of different operations, all seen.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from kmsim.jit import Record

# Park, Miller, Random number generators: good ones are hard to find, CACM 31 (1988); Park's multiplier of 1993.
MINSTD_MULTIPLIER, MINSTD_MODULUS = 48271, (1 << 31) - 1

single_t = np.dtype(
    (
        Record,
        [
            ("number", np.int64),  # of those seen, from 0 on, in the order in which they end
            ("start_ps", np.int64),
            ("latency_ps", np.int64),
            ("cpu", np.int64),
            ("task", np.int64),
            ("of_class", np.int64),  # as `sim.core.records.class_of` numbers them
            ("nr_bytes", np.int64),  # asked for; 0: a free
            ("block", np.int64),  # or NO_BLOCK: it failed
        ],
    )
)
keeping_t = np.dtype(
    (
        Record,
        [
            ("nr_seen", np.int64),
            ("is_sampled", np.int64),  # 0: the last ones are kept
            ("random", np.int64),  # the state of a generator of its own, 1 to MINSTD_MODULUS - 1
        ],
    )
)


class Singles(NamedTuple):
    """The operations that are kept."""

    rows: NDArray[np.void]  # as many as are kept at most
    keeping: NDArray[np.void]  # one record


def new_singles(nr_rows: int, *, is_sampled: bool, seed: int) -> Singles:
    """Room for so many operations; `seed` is the generator's first state."""
    assert 0 < seed < MINSTD_MODULUS
    singles = Singles(np.zeros(nr_rows, single_t), np.zeros(1, keeping_t))
    singles.keeping["is_sampled"] = is_sampled
    singles.keeping["random"] = seed
    return singles


def forget_singles(singles: Singles | None) -> None:
    """Counting begins now: what was seen before is in no table."""
    if singles is not None:
        singles.keeping["nr_seen"] = 0


def singles_kept(singles: Singles) -> NDArray[np.void]:
    """The operations that are kept, in the order in which they ended."""
    kept = singles.rows[: int(singles.keeping[0]["nr_seen"])]
    return kept[np.argsort(kept["number"])]
