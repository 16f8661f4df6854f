"""A machine becomes one that can reclaim: it gets LRU lists, page cache and swap (kernel: lruvec_init).

All of it is added behind what is there: list heads at the end of `pages`, and a second half of contexts, whose
requests reclaims make themselves (see `mm.swap`). Leaves out what is on the lists (`mm.fill_memory`). Invariant: no
block changes its place. Locks: nothing runs yet.
"""

import numpy as np
from numpy.typing import NDArray

from kmsim.mm.lru import refresh_node_stat_thresholds
from kmsim.mm.lru_records import new_lru, nr_lru_heads
from kmsim.mm.mmzone import Machine
from kmsim.mm.rmap import machine_with_holders


def machine_that_reclaims(m: Machine, nr_file_pages: int = 0) -> Machine:
    """The machine with empty LRU lists, no swap, and a page cache for so many pages of files; none is allocated yet."""
    nr_contexts = 2 * len(m.contexts)
    nr_nodes, first_head = len(m.nodes), len(m.pages)
    lru = new_lru((nr_nodes, len(m.zones), int(m.params[0].nr_cpus), nr_contexts), first_head + len(m.contexts))
    inner = m.contexts.copy()
    inner["page_list"] = first_head + np.arange(len(inner))
    nr_heads = len(inner) + nr_lru_heads(nr_nodes, nr_contexts)
    m = m._replace(
        pages=with_heads(m.pages, nr_heads),
        contexts=np.concatenate((m.contexts, inner)),
        lru=lru._replace(page_cache=np.zeros(nr_file_pages, np.int64)),
    )
    refresh_node_stat_thresholds(m)
    return machine_with_holders(m)


def with_heads(pages: NDArray[np.void], nr_heads: int) -> NDArray[np.void]:
    """The records with so many heads of empty lists behind them."""
    heads = np.zeros(nr_heads, pages.dtype)
    heads["next"] = heads["prev"] = np.arange(len(pages), len(pages) + nr_heads)
    return np.concatenate((pages, heads))


def set_swap(m: Machine, nr_pages: int, swappiness: int) -> None:
    """Let swap have room for so many pages (kernel: swapon, vm_swappiness)."""
    swap = m.lru.swap[0]
    swap.total_pages = swap.nr_free = nr_pages
    swap.swappiness = swappiness
