"""Doubly linked lists that run through the page records (kernel: include/linux/list.h).

A list is named by its head, a record of `pages` behind the last page frame. Lists are circular:
an empty list's head points at itself, and `list_del` needs no list. Invariant:
pages[pages[x].next].prev == x for every x on a list. The caller holds whatever lock the list has.
Each verb that writes touches the struct pages that it writes (see `mm.cacheline`), on the CPU of `ac`.
"""

from kmsim.jit import small
from kmsim.mm.cacheline import touch, touch_neighbour
from kmsim.mm.indices import ContextIdx, Pfn
from kmsim.mm.mmzone import Machine


@small
def list_first(m: Machine, head: Pfn) -> Pfn:
    """The page at the head of the list; `head` itself where the list is empty."""
    return int(m.pages[head].next)


@small
def list_last(m: Machine, head: Pfn) -> Pfn:
    """The page at the tail of the list; `head` itself where the list is empty."""
    return int(m.pages[head].prev)


@small
def list_empty(m: Machine, head: Pfn) -> bool:
    """Is nothing on the list?"""
    return int(m.pages[head].next) == head


@small
def _link(m: Machine, pfn: Pfn, before: Pfn, after: Pfn) -> None:
    page = m.pages[pfn]
    page.next = after
    page.prev = before
    m.pages[before].next = pfn
    m.pages[after].prev = pfn


@small
def list_add(m: Machine, ac: ContextIdx, pfn: Pfn, head: Pfn) -> None:
    """Put a page at the head of a list (kernel: list_add)."""
    after = int(m.pages[head].next)
    _link(m, pfn, head, after)
    touch(m, ac, pfn)
    touch_neighbour(m, ac, after)


@small
def list_add_tail(m: Machine, ac: ContextIdx, pfn: Pfn, head: Pfn) -> None:
    """Put a page at the tail of a list (kernel: list_add_tail)."""
    before = int(m.pages[head].prev)
    _link(m, pfn, before, head)
    touch(m, ac, pfn)
    touch_neighbour(m, ac, before)


@small
def list_del(m: Machine, ac: ContextIdx, pfn: Pfn) -> None:
    """Take a page off whatever list it is on (kernel: list_del)."""
    page = m.pages[pfn]
    before = int(page.prev)
    after = int(page.next)
    m.pages[before].next = after
    m.pages[after].prev = before
    touch(m, ac, pfn)
    touch_neighbour(m, ac, before)
    touch_neighbour(m, ac, after)


@small
def list_move(m: Machine, ac: ContextIdx, pfn: Pfn, head: Pfn) -> None:
    """Take a page off its list and put it at the head of another (kernel: list_move)."""
    list_del(m, ac, pfn)
    list_add(m, ac, pfn, head)


@small
def list_splice(m: Machine, ac: ContextIdx, from_head: Pfn, head: Pfn) -> None:
    """Put all pages of a list, in their order, at the head of another; the list is empty then (kernel: list_splice)."""
    first, last = int(m.pages[from_head].next), int(m.pages[from_head].prev)
    if first == from_head:
        return
    after = int(m.pages[head].next)
    m.pages[head].next = first
    m.pages[first].prev = head
    m.pages[last].next = after
    m.pages[after].prev = last
    m.pages[from_head].next = from_head
    m.pages[from_head].prev = from_head
    touch(m, ac, first)
    touch(m, ac, last)
    touch_neighbour(m, ac, after)
