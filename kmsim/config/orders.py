"""Orders that follow from how a kernel is built: the largest block, a huge page, a pageblock, a memory section.

They differ between releases: up to Linux 6.1, transparent huge pages alone do not make a pageblock smaller than the
largest block, and 5.10's arm64 has larger blocks for large pages only where it has transparent huge pages.
"""

from kmsim.config.memory_map import KIB, Arch
from kmsim.mm.getorder import ilog2
from kmsim.mm.kernels import KERNELS, NEWEST

DEFAULT_MAX_PAGE_ORDER = 10
EXCLUSIVE_BEFORE = 6_004  # Linux 6.4, where MAX_ORDER became the largest order itself
SERIES_OF_LARGE_BLOCKS = KERNELS["6.1"].series  # since then, with large pages; kernel: arch/arm64/Kconfig


def default_max_page_order(page_size: int, policies_of: str, *, thp: bool) -> int:
    """MAX_PAGE_ORDER as the architectures set it: 10, 11 and 13 for 4, 16 and 64 KiB."""
    if not (thp or KERNELS[policies_of].series >= SERIES_OF_LARGE_BLOCKS):
        return DEFAULT_MAX_PAGE_ORDER
    return {4 * KIB: DEFAULT_MAX_PAGE_ORDER, 16 * KIB: 11}.get(page_size, 13)


def pmd_order(page_size: int) -> int:
    """Order of a huge page: one page of 8-byte entries (kernel: HPAGE_PMD_ORDER)."""
    return ilog2(page_size) - 3


def largest_pageblock_order(page_size: int, max_page_order: int, policies_of: str, *, hugetlb: bool, thp: bool) -> int:
    """Order of the blocks that have one migratetype: at most a huge page's (kernel: pageblock_order)."""
    huge = hugetlb or (thp and KERNELS[policies_of].series >= NEWEST.series)  # kernel: include/linux/pageblock-flags.h
    return min(pmd_order(page_size), max_page_order) if huge else max_page_order


def largest_order_in_words(order: int, series: int) -> str:
    """The largest order as a release, such as 6012, calls it; before 6.4 MAX_ORDER is one more than that."""
    return f"MAX_ORDER {order + 1}" if series < EXCLUSIVE_BEFORE else f"MAX_PAGE_ORDER {order}"


def largest_order_said(order: int, policies_of: str) -> str:
    """The largest order in a message: inclusive, as keys say it, and as an older release calls it."""
    series = KERNELS[policies_of].series
    if series >= EXCLUSIVE_BEFORE:
        return str(order)
    return f"{order} ({largest_order_in_words(order, series)} of Linux {policies_of})"


def section_bits(arch: Arch, page_size: int) -> int:
    """Log2 of a memory section (kernel: SECTION_SIZE_BITS)."""
    return 29 if arch == "arm64" and page_size == 64 * KIB else 27
