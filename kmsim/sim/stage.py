"""The verbs of `mm` as Python calls them: one compiled call per stage.

This is the door of `stepwise` mode. Each call returns whether a lock is wanted next.
"""

from kmsim.jit import entry
from kmsim.mm.mmzone import Machine
from kmsim.mm.page_alloc import alloc_begin, free_begin, locked


@entry
def begin(m: Machine, ac: int, is_alloc: bool, gfp: int, order: int, pfn: int) -> bool:
    """Start an allocation, or the freeing of `pfn`."""
    if is_alloc:
        return alloc_begin(m, ac, gfp, order)
    return free_begin(m, ac, pfn, order)


@entry
def granted(m: Machine, ac: int) -> bool:
    """Run the critical section that the context waits for."""
    return locked(m, ac)
