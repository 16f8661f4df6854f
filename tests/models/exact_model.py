"""The slow model of exact pages, on top of the page allocator's (kernel: alloc_pages_exact, free_pages_exact).

An operation is atomic. A block is cut to the pages that were asked for; the others are freed one by one.
"""

from __future__ import annotations

from .page_alloc_model import PageAllocModel


def nr_pages_of(twin: PageAllocModel, size: int) -> int:
    """Give the pages that hold a size."""
    page_bytes = 1 << twin.machine.page_shift
    return (size + page_bytes - 1) // page_bytes


def order_of(twin: PageAllocModel, size: int) -> int:
    """Give the order of the smallest block for a size (kernel: get_order)."""
    order = 0
    while 1 << order < nr_pages_of(twin, size):
        order += 1
    return order


def alloc_pages_exact(twin: PageAllocModel, cpu: int, gfp: int, size: int) -> int:
    """Give the first page, or -1."""
    order = order_of(twin, size)
    if order > twin.machine.max_page_order:
        twin.last_failure = "nopage"
        return -1
    pfn = twin.alloc_pages(cpu, gfp, order)
    if pfn >= 0:
        for page in range(pfn + nr_pages_of(twin, size), pfn + (1 << order)):
            twin.free_exact_tail(cpu, page)
    return pfn


def free_pages_exact(twin: PageAllocModel, cpu: int, pfn: int, size: int) -> None:
    """Free page by page."""
    for page in range(pfn, pfn + nr_pages_of(twin, size)):
        twin.free_pages(cpu, page, 0)
