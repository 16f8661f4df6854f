"""A machine whose memory is in use when a run begins: pages of files, and memory of processes, on their LRU lists.

Every page is asked of the page allocator, one by one and by one CPU, as after a long time in which nothing was
reclaimed: files and the processes' anonymous memory in turns, by their shares. Every second page of each type is
active (assumed; inactive_is_low wants that many below 1 GiB). Pages of files are clean and of no file that the run
reads; anonymous ones are mapped once and dirty, and nobody uses them again.

Leaves out where processes would have got their pages from other CPUs' lists. Invariant: the time depends on the
number of frames only. Locks: nothing else runs.
"""

import numpy as np
from numpy.typing import NDArray

from kmsim.jit import core, entry
from kmsim.mm.gfp import GFP_DIRECT_RECLAIM, GFP_KSWAPD_RECLAIM, parse_gfp
from kmsim.mm.lru import folio_add_lru, lru_add_drain
from kmsim.mm.lru_records import (
    FOLIO_ACTIVE,
    FOLIO_HAS_MAPPING,
    FOLIO_MAPPED,
    FOLIO_PTE_DIRTY,
    FOLIO_SWAPBACKED,
)
from kmsim.mm.mmzone import NO_PAGE, Machine
from kmsim.mm.oom import NO_PROCESS
from kmsim.mm.page_alone import alloc_pages
from kmsim.mm.process import mapped

FILLING_GFP = parse_gfp("GFP_HIGHUSER_MOVABLE") & ~(GFP_DIRECT_RECLAIM | GFP_KSWAPD_RECLAIM)
FILE_FLAGS = FOLIO_HAS_MAPPING
ANON_FLAGS = FOLIO_SWAPBACKED | FOLIO_MAPPED | FOLIO_PTE_DIRTY


@entry
def fill(m: Machine, ac: int, nr_file: int, of_processes: NDArray[np.int64]) -> int:
    """Fill memory with so many pages of files, and of each process; how many there was memory for."""
    nr_anonymous = int(of_processes.sum())
    nr_pages = nr_file + nr_anonymous
    nr_done = 0
    while nr_done < nr_pages:
        files_before = nr_done * nr_file // nr_pages
        is_file = (nr_done + 1) * nr_file // nr_pages > files_before
        nth_of_type = files_before if is_file else nr_done - files_before
        process = NO_PROCESS if is_file else whose_turn(m, of_processes, nth_of_type, nr_anonymous)
        if not fill_page(m, ac, process, nth_of_type % 2):
            break
        nr_done += 1
    lru_add_drain(m, ac)
    return nr_done


@core
def whose_turn(m: Machine, of_processes: NDArray[np.int64], nth: int, nr_anonymous: int) -> int:
    """Which process gets the next anonymous page, of which `nth` are given: the one that lags most behind its share."""
    chosen = 0
    most = -1
    for p in range(len(of_processes)):
        lag = (nth + 1) * of_processes[p] - m.lru.processes[p].anon_rss * nr_anonymous
        if p == 0 or lag > most:
            chosen = p
            most = lag
    return chosen


@core
def fill_page(m: Machine, ac: int, process: int, is_active: int) -> bool:
    """One page of a process, or of a file; False where there is no memory for it."""
    pfn = alloc_pages(m, ac, FILLING_GFP, 0)
    if pfn == NO_PAGE:
        return False
    flags = FILE_FLAGS if process == NO_PROCESS else ANON_FLAGS
    m.holders[pfn].folio_flags = flags | (FOLIO_ACTIVE if is_active else 0)
    if process != NO_PROCESS:
        mapped(m, pfn, process)
    if folio_add_lru(m, ac, pfn):
        lru_add_drain(m, ac)
    return True
