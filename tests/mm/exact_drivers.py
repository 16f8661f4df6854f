"""Exact pages and chains on a machine where every lock is free, as Python calls them: one compiled call each."""

from kmsim.jit import entry
from kmsim.mm.mempolicy import NUMA_NO_NODE
from kmsim.mm.mmzone import Machine
from kmsim.mm.page_chain import chain_alloc_begin, chain_free_begin, chain_free_resume
from kmsim.mm.page_exact import exact_alloc_begin, exact_free_begin, exact_resume
from kmsim.mm.page_request import bulk_resume, then_prepared


@entry
def exact_alloc(m: Machine, cpu: int, gfp: int, nr_bytes: int) -> int:
    """The first page of an exact request, or NO_PAGE."""
    wanted = exact_alloc_begin(m, cpu, gfp, nr_bytes, NUMA_NO_NODE)
    while wanted:
        wanted = exact_resume(m, cpu)
    return int(m.contexts[cpu].pfn)


@entry
def exact_free(m: Machine, cpu: int, pfn: int, nr_bytes: int) -> int:
    """Free exact pages; how many too many or too few."""
    wanted = exact_free_begin(m, cpu, pfn, nr_bytes)
    while wanted:
        wanted = exact_resume(m, cpu)
    return int(m.contexts[cpu].excess_pages)


@entry
def chain_alloc(m: Machine, cpu: int, gfp: int, nr_pages: int) -> int:
    """The first page of a chain, or NO_PAGE."""
    wanted = then_prepared(m, cpu, chain_alloc_begin(m, cpu, gfp, nr_pages))
    while wanted:
        wanted = bulk_resume(m, cpu)
    return int(m.contexts[cpu].pfn)


@entry
def chain_free(m: Machine, cpu: int, pfn: int) -> None:
    """Free a chain."""
    wanted = chain_free_begin(m, cpu, pfn)
    while wanted:
        wanted = chain_free_resume(m, cpu)
