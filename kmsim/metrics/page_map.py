"""What the table `memory_map` says of each page: its codes, for who writes them and who reads them.

A row is a pageblock of a zone at one instant: its migratetype, how many of its pages are in each state, and
in `pages` one byte a page, in the order of the pages. Where a zone has too many pages for that, `pages` is
empty and the counts are all there is. Pages of a pageblock that lie outside of its zone count as reserved.
Needs nothing of the simulator.
"""

import numpy as np
from numpy.typing import NDArray

from kmsim.metrics.columns import BYTES, INT, REAL, TEXT, Columns

# The codes of `pages`. FREE: on a free list of the buddy allocator. ON_PCP_LIST: on a CPU's list. SLAB: a slab's.
# USED: allocated otherwise. RESERVED: kept by the boot, or no memory at all.
PAGE_STATES = ("free", "pcp", "slab", "used", "reserved")
FREE, ON_PCP_LIST, SLAB, USED, RESERVED = range(len(PAGE_STATES))

MEMORY_MAP_COLUMNS: Columns = {
    "time_ns": REAL,
    "zone": TEXT,
    "start_pfn": INT,
    "migratetype": TEXT,
    **{f"nr_{state}": INT for state in PAGE_STATES},
    "pages": BYTES,
}


def states_of(pages: bytes) -> NDArray[np.uint8]:
    """The states of a pageblock's pages, as indices of `PAGE_STATES`."""
    return np.frombuffer(pages, np.uint8)
