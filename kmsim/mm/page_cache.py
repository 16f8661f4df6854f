"""Entries of the page cache: what the numbers in `Lru.page_cache` and a cached page's holder mean (kernel: i_pages).

An entry is above 0 where its page is in memory: the page's frame number and one more. It is 0 where the page was never
read, and below 0 a shadow (see `mm.workingset`). The holder of a cached page (see `mm.rmap`) is its entry: the index in
`page_cache` and one more. Leaves out what files are. Needs no lock: these are functions of numbers alone.
Invariant: each is the inverse of the one beside it.
"""

from kmsim.jit import small
from kmsim.mm.indices import Holder, Pfn


@small
def entry_of_page(pfn: Pfn) -> int:
    """The entry that says that a page is in memory."""
    return pfn + 1


@small
def page_of_entry(entry: int) -> Pfn:
    """The page of an entry above 0."""
    return entry - 1


@small
def holder_of_entry(index: int) -> Holder:
    """The holder of a page that the entry at this index in `page_cache` leads to."""
    return index + 1


@small
def index_of_holder(holder: Holder) -> int:
    """Where in `page_cache` the entry is that holds a page."""
    return holder - 1
