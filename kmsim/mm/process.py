"""Whose an anonymous page is, and how many pages a process has (kernel: mm_struct's counters, MM_ANONPAGES ...).

The record of what a folio is (`Machine.holders`) has the number of its process above its flags, so it goes along where
the page is moved. Leaves out threads, memory that processes share, pages of files. Invariant (`recount_processes`): a
process's anon_rss is the pages that are marked as its own. Lock order: takes none.
"""

from kmsim.jit import core, small
from kmsim.mm.indices import Pfn, ProcessIdx
from kmsim.mm.lru import folio_flags, folio_nr_pages, folio_set
from kmsim.mm.lru_records import FOLIO_PROCESS_SHIFT
from kmsim.mm.mmzone import Machine
from kmsim.mm.oom import NO_PROCESS


@small
def process_of(m: Machine, pfn: Pfn) -> ProcessIdx:
    """The process that a folio belongs to, or NO_PROCESS."""
    return (folio_flags(m, pfn) >> FOLIO_PROCESS_SHIFT) - 1


@small
def mapped(m: Machine, pfn: Pfn, p: ProcessIdx) -> None:
    """A folio is a process's from now on."""
    folio_set(m, pfn, (p + 1) << FOLIO_PROCESS_SHIFT)
    m.lru.processes[p].anon_rss += folio_nr_pages(m, pfn)


@small
def unmapped(m: Machine, pfn: Pfn, nr_pages: int) -> None:
    """A folio of a process is about to be freed."""
    m.lru.processes[process_of(m, pfn)].anon_rss -= nr_pages


@core
def swapped_out(m: Machine, pfn: Pfn, nr_pages: int) -> None:
    """A folio is about to be freed, as what it held is in swap; it may be a process's."""
    p = process_of(m, pfn)
    if p != NO_PROCESS:
        unmapped(m, pfn, nr_pages)
        m.lru.processes[p].swapents += nr_pages


@core
def recount_processes(m: Machine) -> None:
    """Count the pages of each process; AssertionError where its own count differs."""
    processes = m.lru.processes
    for p in range(len(processes)):
        processes[p].recounted = 0
    for pfn in range(m.params[0].nr_frames):
        p = process_of(m, pfn)
        if p != NO_PROCESS:
            processes[p].recounted += folio_nr_pages(m, pfn)
    for p in range(len(processes)):
        assert processes[p].recounted == processes[p].anon_rss, "a process has other pages than it counts"
