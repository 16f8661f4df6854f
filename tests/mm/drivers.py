"""Whole operations on a machine where every lock is free, as Python calls them: one compiled call each.

`kmsim.mm`'s verbs are cut where a zone's lock is requested, and `core` functions have no Python wrapper;
these entries run each operation to its end. `cpu` is the CPU that runs it, and its context.
"""

import numpy as np
from numpy.typing import NDArray

from kmsim.jit import entry
from kmsim.mm.bulk import (
    alloc_bulk_begin,
    alloc_bulk_resume,
)
from kmsim.mm.drain import decay_begin, decay_locked, drain_all_pages, drain_begin, drain_locked
from kmsim.mm.folio_batch import free_folios_begin, free_folios_resume, put_folio
from kmsim.mm.highatomic import unreserve_highatomic_pageblock
from kmsim.mm.list import list_del, list_empty, list_first
from kmsim.mm.mmzone import NUMA_NO_NODE, Machine
from kmsim.mm.page_alloc import set_out
from kmsim.mm.page_alone import alloc_pages, alloc_pages_node, free_pages
from kmsim.mm.prep_new_page import after_lock
from kmsim.mm.recount import validate

Pfns = NDArray[np.int64]


@entry
def alloc(m: Machine, cpu: int, gfp: int, order: int) -> int:
    """A block of 2^order pages, or NO_PAGE."""
    return alloc_pages(m, cpu, gfp, order)


@entry
def alloc_near(m: Machine, cpu: int, gfp: int, order: int, node: int) -> int:
    """A block of 2^order pages near a node, or NO_PAGE."""
    return alloc_pages_node(m, cpu, gfp, order, node)


@entry
def free(m: Machine, cpu: int, pfn: int, order: int) -> None:
    """Free one block."""
    free_pages(m, cpu, pfn, order)


@entry
def bulk(m: Machine, cpu: int, gfp: int, nr_pages: int, pfns: Pfns) -> int:
    """Allocate up to `nr_pages` pages into `pfns`; how many there were."""
    wanted = alloc_bulk_begin(m, cpu, gfp, nr_pages)
    while wanted:
        wanted = alloc_bulk_resume(m, cpu)
    after_lock(m, cpu)
    head = int(m.contexts[cpu].page_list)
    nr_populated = 0
    while not list_empty(m, head):
        pfn = list_first(m, head)
        list_del(m, cpu, pfn)
        pfns[nr_populated] = pfn
        nr_populated += 1
    assert nr_populated == m.contexts[cpu].nr_populated
    return nr_populated


@entry
def folios(m: Machine, cpu: int, pfns: Pfns, orders: Pfns) -> None:
    """Free a batch of blocks."""
    for i in range(len(pfns)):
        put_folio(m, cpu, pfns[i], orders[i])
    wanted = free_folios_begin(m, cpu)
    while wanted:
        wanted = free_folios_resume(m, cpu)
    assert list_empty(m, m.contexts[cpu].page_list)


@entry
def drain(m: Machine, cpu: int, z: int, of_cpu: int) -> None:
    """Empty the lists of `of_cpu` in one zone."""
    wanted = drain_begin(m, cpu, z, of_cpu)
    while wanted:
        wanted = drain_locked(m, cpu)


@entry
def drain_all(m: Machine, cpu: int) -> None:
    """Empty the lists of every CPU in every zone."""
    drain_all_pages(m, cpu)


@entry
def decay(m: Machine, cpu: int, z: int) -> None:
    """Let the `high` of the CPU's own lists in one zone decay."""
    wanted = decay_begin(m, cpu, z, cpu)
    while wanted:
        wanted = decay_locked(m, cpu)


@entry
def unreserve(m: Machine, cpu: int, gfp: int, z: int, force: bool) -> bool:
    """Give back a highatomic pageblock of a zone, for a request of order 0 that reclaimed in vain; was there one?"""
    set_out(m, cpu, gfp, 0, NUMA_NO_NODE)
    return unreserve_highatomic_pageblock(m, cpu, z, force)


@entry
def recount(m: Machine) -> None:
    """Recount the machine; AssertionError where two records disagree."""
    validate(m)
