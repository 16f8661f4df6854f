"""The buddy allocator of one zone: split on allocation, merge on freeing (kernel: mm/page_alloc.c).

A zone keeps its free blocks on lists by order and migratetype. Allocation takes the first block of
the smallest order that has one, hands on its low half and puts the high halves at the heads of
their lists. Freeing merges with the buddy as long as it is free and of the same order; the block
goes to the tail where its next merge is likely, else to the head.

Leaves out: debug guard pages, page reporting, free-list shuffling, capture by compaction. Invariant: no two free
buddies of one order below max_page_order; nr_free[order] counts the blocks of all types; NR_FREE_PAGES follows every
change, up to Linux 6.9 with `account_taken` at the end of one hold. Lock order: the caller holds the zone's lock;
nothing here takes another. The zone, and the CPU whose counters change, are those of the context `ac`.
"""

from kmsim.jit import core, small
from kmsim.mm.cacheline import touch
from kmsim.mm.indices import ContextIdx, Migratetype, Order, Pfn, ZoneIdx
from kmsim.mm.list import list_add, list_add_tail, list_del, list_first
from kmsim.mm.mmzone import MIGRATE_PCPTYPES, NO_PAGE, PG_BUDDY, Machine
from kmsim.mm.pageblock import change_pageblock_range, free_list_head, pageblock_migratetype
from kmsim.mm.vmstat import account_freepages, mod_zone_free_pages
from kmsim.mm.zonelist import page_zone


@small
def add_to_free_list(
    m: Machine, ac: ContextIdx, pfn: Pfn, order: Order, migratetype: Migratetype, to_tail: bool
) -> None:
    """Put a block on its free list (kernel: __add_to_free_list and set_buddy_order)."""
    z = int(m.contexts[ac].zone)
    page = m.pages[pfn]
    page.order = order
    page.page_flags = PG_BUDDY
    head = free_list_head(m, z, order, migratetype)
    if to_tail:
        list_add_tail(m, ac, pfn, head)
    else:
        list_add(m, ac, pfn, head)
    m.zones[z].nr_free[order] += 1


@small
def del_page_from_free_list(m: Machine, ac: ContextIdx, pfn: Pfn, order: Order) -> None:
    """Take a block off its free list, without accounting (kernel: __del_page_from_free_list)."""
    list_del(m, ac, pfn)
    m.pages[pfn].page_flags = 0
    m.zones[m.contexts[ac].zone].nr_free[order] -= 1


@small
def find_buddy_pfn(m: Machine, ac: ContextIdx, pfn: Pfn, order: Order) -> Pfn:
    """`free_buddy_pfn`, and the touch of the buddy that it takes to know (kernel: find_buddy_page_pfn)."""
    touch(m, ac, pfn ^ (1 << order))
    return free_buddy_pfn(m, int(m.contexts[ac].zone), pfn, order)


@small
def free_buddy_pfn(m: Machine, z: ZoneIdx, pfn: Pfn, order: Order) -> Pfn:
    """The buddy's pfn if it is free, of this order and in this zone, else NO_PAGE (kernel: page_is_buddy)."""
    buddy_pfn = pfn ^ (1 << order)
    buddy = m.pages[buddy_pfn]
    if int(buddy.page_flags) & PG_BUDDY == 0 or int(buddy.order) != order:
        return NO_PAGE
    zone = m.zones[z]
    if buddy_pfn < zone.start_pfn or buddy_pfn >= zone.end_pfn:
        return NO_PAGE
    return buddy_pfn


@small
def buddy_merge_likely(m: Machine, ac: ContextIdx, pfn: Pfn, order: Order) -> bool:
    """Is the buddy of the next order free, so that this block's buddy, once freed, would merge twice?

    (kernel: buddy_merge_likely)
    """
    if order >= m.params[0].max_page_order - 1:
        return False
    z = int(m.contexts[ac].zone)
    higher_pfn = pfn & ~(1 << order)
    if higher_pfn < m.zones[z].start_pfn and page_zone(m, higher_pfn) != z:
        return False
    return find_buddy_pfn(m, ac, higher_pfn, order + 1) != NO_PAGE


@core
def free_one_page(m: Machine, ac: ContextIdx, pfn: Pfn, order: Order, migratetype: Migratetype, to_tail: bool) -> None:
    """Free a block: merge it with its buddies, then put the merged block on its free list (kernel: __free_one_page)."""
    max_page_order = m.params[0].max_page_order
    assert pfn & ((1 << order) - 1) == 0
    account_freepages(m, ac, 1 << order, migratetype)
    while order < max_page_order:
        buddy_pfn = find_buddy_pfn(m, ac, pfn, order)
        if buddy_pfn == NO_PAGE:
            break
        if order >= m.params[0].pageblock_order:
            buddy_mt = pageblock_migratetype(m, buddy_pfn)
            if buddy_mt != migratetype:
                # Only types that fall back to each other may share a block; reserves stay apart.
                is_reserved = migratetype >= MIGRATE_PCPTYPES or buddy_mt >= MIGRATE_PCPTYPES
                if is_reserved and not m.params[0].merges_reserved:
                    break
                if m.params[0].lists_by_pageblock:
                    change_pageblock_range(m, buddy_pfn, order, migratetype)
        del_page_from_free_list(m, ac, buddy_pfn, order)
        m.work[0].merges += 1
        pfn &= buddy_pfn
        order += 1
    if not to_tail:
        to_tail = buddy_merge_likely(m, ac, pfn, order)
    add_to_free_list(m, ac, pfn, order, migratetype, to_tail)


@small
def split_large_buddy(m: Machine, ac: ContextIdx, pfn: Pfn, order: Order, to_tail: bool) -> None:
    """Free a block pageblock by pageblock, since each may have a type of its own (kernel: split_large_buddy).

    Up to Linux 6.9 in one piece, as one of its first pageblock's type (kernel: __free_pages_ok).
    """
    end_pfn = pfn + (1 << order)
    part_order = order
    if m.params[0].lists_by_pageblock:
        part_order = min(order, m.params[0].pageblock_order)
    while pfn < end_pfn:
        free_one_page(m, ac, pfn, part_order, pageblock_migratetype(m, pfn), to_tail)
        pfn += 1 << part_order


@small
def expand(m: Machine, ac: ContextIdx, pfn: Pfn, low: int, high: int, migratetype: Migratetype) -> int:
    """Give the high halves of a block back, down to order `low`; how many pages that is (kernel: expand)."""
    nr_added = 0
    while high > low:
        high -= 1
        add_to_free_list(m, ac, pfn + (1 << high), high, migratetype, False)
        m.work[0].splits += 1
        nr_added += 1 << high
    return nr_added


@small
def page_del_and_expand(m: Machine, ac: ContextIdx, pfn: Pfn, low: int, high: int, migratetype: Migratetype) -> None:
    """Take a block of order `high` off its list and keep its lowest 2^low pages (kernel: page_del_and_expand).

    Up to Linux 6.9 `account_taken` is called for it later.
    """
    del_page_from_free_list(m, ac, pfn, high)
    nr_taken = (1 << high) - expand(m, ac, pfn, low, high, migratetype)
    if m.params[0].lists_by_pageblock:
        account_freepages(m, ac, -nr_taken, migratetype)


@small
def account_taken(m: Machine, ac: ContextIdx, nr_pages: int) -> None:
    """Count the pages that one hold of the zone's lock took off the lists, where that was not done one by one."""
    if not m.params[0].lists_by_pageblock:
        mod_zone_free_pages(m, ac, -nr_pages)


@small
def rmqueue_smallest(m: Machine, ac: ContextIdx, order: Order, migratetype: Migratetype) -> Pfn:
    """The first block of the smallest sufficient order of one type, or NO_PAGE (kernel: __rmqueue_smallest)."""
    for current_order in range(order, m.params[0].max_page_order + 1):
        head = free_list_head(m, m.contexts[ac].zone, current_order, migratetype)
        pfn = list_first(m, head)
        if pfn != head:
            page_del_and_expand(m, ac, pfn, order, current_order, migratetype)
            return pfn
    return NO_PAGE
