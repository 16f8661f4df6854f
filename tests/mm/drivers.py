"""Whole operations on a machine where every lock is free, as Python calls them.

`kmsim.mm`'s verbs are cut where a zone's lock is requested, and `core` functions have no Python wrapper; these run
each operation to its end. `cpu` is the CPU that runs it, and its context. All verbs are one compiled entry: each
entry that holds the page allocator takes long to compile.
"""

import numpy as np
from numpy.typing import NDArray

from kmsim.jit import core, entry
from kmsim.mm.bulk import alloc_bulk_begin, alloc_bulk_resume
from kmsim.mm.drain import decay_begin, decay_locked, drain_all_pages, drain_begin, drain_locked
from kmsim.mm.folio_batch import free_folios_begin, free_folios_resume, put_folio
from kmsim.mm.highatomic import unreserve_highatomic_pageblock
from kmsim.mm.list import list_del, list_empty, list_first
from kmsim.mm.mmzone import NUMA_NO_NODE, Machine
from kmsim.mm.page_alloc import set_out
from kmsim.mm.page_alone import alloc_pages, alloc_pages_node, free_pages
from kmsim.mm.page_chain import chain_alloc_begin, chain_free_begin, chain_free_resume
from kmsim.mm.page_exact import exact_alloc_begin, exact_free_begin, exact_resume
from kmsim.mm.page_request import bulk_resume, then_prepared
from kmsim.mm.prep_new_page import after_lock
from kmsim.mm.recount import validate

Pfns = NDArray[np.int64]
NO_PFNS = np.zeros(0, np.int64)
(
    ALLOC,
    ALLOC_NEAR,
    FREE,
    BULK,
    FOLIOS,
    DRAIN,
    DRAIN_ALL,
    DECAY,
    UNRESERVE,
    EXACT_ALLOC,
    EXACT_FREE,
    CHAIN_ALLOC,
    CHAIN_FREE,
) = range(13)


@core
def run_bulk(m: Machine, cpu: int, gfp: int, nr_pages: int, pfns: Pfns) -> int:
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


@core
def run_folios(m: Machine, cpu: int, pfns: Pfns, orders: Pfns) -> None:
    """Free a batch of blocks."""
    for i in range(len(pfns)):
        put_folio(m, cpu, pfns[i], orders[i])
    wanted = free_folios_begin(m, cpu)
    while wanted:
        wanted = free_folios_resume(m, cpu)
    assert list_empty(m, m.contexts[cpu].page_list)


@core
def run_lists(m: Machine, cpu: int, verb: int, z: int, of_cpu: int) -> None:
    """Drain a CPU's lists in one zone or all lists, or let the CPU's own decay."""
    if verb == DRAIN_ALL:
        drain_all_pages(m, cpu)
    elif verb == DRAIN:
        wanted = drain_begin(m, cpu, z, of_cpu)
        while wanted:
            wanted = drain_locked(m, cpu)
    else:
        assert verb == DECAY
        wanted = decay_begin(m, cpu, z, cpu)
        while wanted:
            wanted = decay_locked(m, cpu)


@core
def run_pieces(m: Machine, cpu: int, verb: int, one: int, two: int) -> int:
    """Exact requests and chains; the first page, or what is wrong with an exact free's size."""
    if verb in (EXACT_ALLOC, EXACT_FREE):
        if verb == EXACT_ALLOC:
            wanted = exact_alloc_begin(m, cpu, one, two, NUMA_NO_NODE)
        else:
            wanted = exact_free_begin(m, cpu, one, two)
        while wanted:
            wanted = exact_resume(m, cpu)
        return int(m.contexts[cpu].pfn if verb == EXACT_ALLOC else m.contexts[cpu].excess_pages)
    if verb == CHAIN_ALLOC:
        wanted = then_prepared(m, cpu, chain_alloc_begin(m, cpu, one, two))
        while wanted:
            wanted = bulk_resume(m, cpu)
        return int(m.contexts[cpu].pfn)
    assert verb == CHAIN_FREE
    wanted = chain_free_begin(m, cpu, one)
    while wanted:
        wanted = chain_free_resume(m, cpu)
    return 0


@entry
def run(m: Machine, cpu: int, verb: int, what: tuple[int, int, int], pfns: Pfns, orders: Pfns) -> int:
    """Run an operation to its end; its page or number."""
    if verb == ALLOC:
        return alloc_pages(m, cpu, what[0], what[1])
    if verb == ALLOC_NEAR:
        return alloc_pages_node(m, cpu, what[0], what[1], what[2])
    if verb == FREE:
        free_pages(m, cpu, what[0], what[1])
    elif verb == BULK:
        return run_bulk(m, cpu, what[0], what[1], pfns)
    elif verb == FOLIOS:
        run_folios(m, cpu, pfns, orders)
    elif verb == UNRESERVE:
        set_out(m, cpu, what[0], 0, NUMA_NO_NODE)
        return int(unreserve_highatomic_pageblock(m, cpu, what[1], what[2] != 0))
    elif verb in (DRAIN, DRAIN_ALL, DECAY):
        run_lists(m, cpu, verb, what[0], what[1])
    else:
        return run_pieces(m, cpu, verb, what[0], what[1])
    return 0


def _run(m: Machine, cpu: int, verb: int, *what: int, pfns: Pfns = NO_PFNS, orders: Pfns = NO_PFNS) -> int:
    """`run` with as many numbers as the verb has."""
    one, two, three = (*map(int, what), 0, 0, 0)[:3]
    return int(run(m, int(cpu), verb, (one, two, three), pfns, orders))


def alloc(m: Machine, cpu: int, gfp: int, order: int) -> int:
    """A block of 2^order pages, or NO_PAGE."""
    return _run(m, cpu, ALLOC, gfp, order)


def alloc_near(m: Machine, cpu: int, gfp: int, order: int, node: int) -> int:
    """A block of 2^order pages near a node, or NO_PAGE."""
    return _run(m, cpu, ALLOC_NEAR, gfp, order, node)


def free(m: Machine, cpu: int, pfn: int, order: int) -> None:
    """Free one block."""
    _run(m, cpu, FREE, pfn, order)


def bulk(m: Machine, cpu: int, gfp: int, nr_pages: int, pfns: Pfns) -> int:
    """Allocate up to `nr_pages` pages into `pfns`; how many there were."""
    return _run(m, cpu, BULK, gfp, nr_pages, pfns=pfns)


def folios(m: Machine, cpu: int, pfns: Pfns, orders: Pfns) -> None:
    """Free a batch of blocks."""
    _run(m, cpu, FOLIOS, pfns=pfns, orders=orders)


def drain(m: Machine, cpu: int, z: int, of_cpu: int) -> None:
    """Empty the lists of `of_cpu` in one zone."""
    _run(m, cpu, DRAIN, z, of_cpu)


def drain_all(m: Machine, cpu: int) -> None:
    """Empty the lists of every CPU in every zone."""
    _run(m, cpu, DRAIN_ALL)


def decay(m: Machine, cpu: int, z: int) -> None:
    """Let the `high` of the CPU's own lists in one zone decay."""
    _run(m, cpu, DECAY, z)


def unreserve(m: Machine, cpu: int, gfp: int, z: int, force: bool) -> bool:
    """Give back a highatomic pageblock of a zone, for a request of order 0 that reclaimed in vain; was there one?"""
    return bool(_run(m, cpu, UNRESERVE, gfp, z, force))


def exact_alloc(m: Machine, cpu: int, gfp: int, nr_bytes: int) -> int:
    """The first page of an exact request, or NO_PAGE."""
    return _run(m, cpu, EXACT_ALLOC, gfp, nr_bytes)


def exact_free(m: Machine, cpu: int, pfn: int, nr_bytes: int) -> int:
    """Free exact pages; how many too many or too few."""
    return _run(m, cpu, EXACT_FREE, pfn, nr_bytes)


def chain_alloc(m: Machine, cpu: int, gfp: int, nr_pages: int) -> int:
    """The first page of a chain, or NO_PAGE."""
    return _run(m, cpu, CHAIN_ALLOC, gfp, nr_pages)


def chain_free(m: Machine, cpu: int, pfn: int) -> None:
    """Free a chain."""
    _run(m, cpu, CHAIN_FREE, pfn)


@entry
def recount(m: Machine) -> None:
    """Recount the machine; AssertionError where two records disagree."""
    validate(m)
