"""Doubly linked lists that run through the page records (kernel: include/linux/list.h).

A list is named by its head, a record of `pages` behind the last page frame. Lists are circular:
an empty list's head points at itself, and `list_del` needs no list. Invariant:
pages[pages[x].next].prev == x for every x on a list. The caller holds whatever lock the list has.
"""

from kmsim.jit import small
from kmsim.mm.mmzone import Machine


@small
def list_first(m: Machine, head: int) -> int:
    """The page at the head of the list; `head` itself where the list is empty."""
    return int(m.pages[head].next)


@small
def list_last(m: Machine, head: int) -> int:
    """The page at the tail of the list; `head` itself where the list is empty."""
    return int(m.pages[head].prev)


@small
def list_empty(m: Machine, head: int) -> bool:
    """Is nothing on the list?"""
    return int(m.pages[head].next) == head


@small
def _link(m: Machine, pfn: int, before: int, after: int) -> None:
    page = m.pages[pfn]
    page.next = after
    page.prev = before
    m.pages[before].next = pfn
    m.pages[after].prev = pfn


@small
def list_add(m: Machine, pfn: int, head: int) -> None:
    """Put a page at the head of a list."""
    _link(m, pfn, head, int(m.pages[head].next))


@small
def list_add_tail(m: Machine, pfn: int, head: int) -> None:
    """Put a page at the tail of a list."""
    _link(m, pfn, int(m.pages[head].prev), head)


@small
def list_del(m: Machine, pfn: int) -> None:
    """Take a page off whatever list it is on."""
    page = m.pages[pfn]
    before = int(page.prev)
    after = int(page.next)
    m.pages[before].next = after
    m.pages[after].prev = before
