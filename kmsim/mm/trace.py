"""What was done, step by step, for a replay that compares each step with what a kernel recorded.

A machine has a trace only in such a replay; elsewhere the functions here do nothing and cost nothing. A step is a row:
the letter by which recordings call it, then its numbers. Row 0 says how many rows there are behind it; steps for which
there is no room are left out.

Leaves out what nothing compares. Invariant: only the trace is changed. Lock order: takes none.
"""

import numpy as np
from numpy.typing import NDArray

from kmsim.jit import only_with
from kmsim.mm.mmzone import Machine

TRACE_COLUMNS = 16

# Steps, by the letter that recordings have for them.
TRACE_WAKE_KSWAPD = ord("K")
TRACE_TRY_TO_COMPACT = ord("T")
TRACE_SUITABLE = ord("S")
TRACE_DEFER_RESET = ord("R")
TRACE_DEFERRED = ord("Z")
TRACE_RECLAIM_BEGINS = ord("d")
TRACE_RECLAIM_ENDS = ord("e")
TRACE_SCAN_COUNT = ord("n")
TRACE_ISOLATED = ord("i")
TRACE_SHRUNK_INACTIVE = ord("s")
TRACE_SHRUNK_ACTIVE = ord("a")
TRACE_RECLAIMED_PAGE = ord("r")
TRACE_ACTIVATED_PAGE = ord("v")
TRACE_KEPT_PAGE = ord("k")
TRACE_RECLAIM_RETRY = ord("t")
TRACE_COMPACT_RETRY = ord("c")
TRACE_OUT_OF_MEMORY = ord("U")
TRACE_SLAB_PAGE_WANTED = ord("A")
TRACE_SLAB_PAGE = ord("L")
TRACE_VM_EVENT = ord("V")


def new_trace(nr_rows: int) -> NDArray[np.int64]:
    """Room for so many steps."""
    return np.zeros((1 + nr_rows, TRACE_COLUMNS), np.int64)


@only_with("trace")
def trace(m: Machine, letter: int, a: int, b: int, c: int, d: int) -> None:
    """Note a step: its letter, and its first numbers; those that it does not have are 0."""
    row = m.trace[0, 0] + 1
    if row == m.trace.shape[0]:
        return
    m.trace[0, 0] = row
    m.trace[row, 0] = letter
    m.trace[row, 1] = a
    m.trace[row, 2] = b
    m.trace[row, 3] = c
    m.trace[row, 4] = d


@only_with("trace")
def trace_more(m: Machine, column: int, a: int, b: int, c: int, d: int) -> None:
    """Note four more numbers of the last step, from a column on."""
    row = m.trace[0, 0]
    m.trace[row, column] = a
    m.trace[row, column + 1] = b
    m.trace[row, column + 2] = c
    m.trace[row, column + 3] = d
