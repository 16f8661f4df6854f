"""Pageblocks: the grain at which pages are grouped by mobility (kernel: pageblock-flags.h, page_alloc.c).

Models the migratetype of each pageblock, and moving a pageblock's free pages to another type's lists. Of allocated
pages those on an LRU list (PG_LRU) count as ones that could be migrated. Leaves out the skip bits of compaction.
Invariant, since Linux 6.10 (`params.lists_by_pageblock`): a free block smaller than a pageblock is on the list of its
pageblock's migratetype. The caller holds the zone's lock.
"""

from kmsim.jit import core, shared, small
from kmsim.mm.gfp import GFP_MOVABLE, GFP_MOVABLE_SHIFT, GFP_RECLAIMABLE
from kmsim.mm.indices import ContextIdx, Gfp, Migratetype, Order, Pfn, ZoneIdx
from kmsim.mm.list import list_add_tail, list_del
from kmsim.mm.mmzone import MIGRATE_PCPTYPES, MIGRATE_TYPES, MIGRATE_UNMOVABLE, PG_BUDDY, PG_LRU, Machine
from kmsim.mm.vmstat import account_freepages


@small
def gfp_migratetype(m: Machine, gfp: Gfp) -> Migratetype:
    """The type of pages that a request wants (kernel: gfp_migratetype)."""
    if m.params[0].mobility_disabled:
        return MIGRATE_UNMOVABLE
    return (gfp & (GFP_MOVABLE | GFP_RECLAIMABLE)) >> GFP_MOVABLE_SHIFT


@small
def pageblock_migratetype(m: Machine, pfn: Pfn) -> Migratetype:
    """The migratetype of the pageblock that holds `pfn` (kernel: get_pfnblock_migratetype)."""
    return int(m.pageblocks[pfn >> m.params[0].pageblock_order])


@small
def set_pageblock_migratetype(m: Machine, pfn: Pfn, migratetype: Migratetype) -> None:
    """Set the type of the pageblock that holds `pfn`; all are unmovable where grouping is off.

    (kernel: set_pageblock_migratetype)
    """
    if m.params[0].mobility_disabled and migratetype < MIGRATE_PCPTYPES:
        migratetype = MIGRATE_UNMOVABLE
    m.pageblocks[pfn >> m.params[0].pageblock_order] = migratetype


@core
def change_pageblock_range(m: Machine, pfn: Pfn, order: Order, migratetype: Migratetype) -> None:
    """Set the type of every pageblock of a block (kernel: change_pageblock_range)."""
    pageblock_order = m.params[0].pageblock_order
    for nth in range(1 << (order - pageblock_order)):
        set_pageblock_migratetype(m, pfn + (nth << pageblock_order), migratetype)


@shared
def free_list_head(m: Machine, z: ZoneIdx, order: Order, migratetype: Migratetype) -> int:
    """The head of a zone's free list (kernel: zone->free_area[order].free_list[migratetype])."""
    return int(m.zones[z].free_list) + order * MIGRATE_TYPES + migratetype


@small
def zone_spans_pageblock(m: Machine, z: ZoneIdx, start_pfn: Pfn) -> bool:
    """Does the whole pageblock lie in the zone?"""
    zone = m.zones[z]
    return bool(start_pfn >= zone.start_pfn and start_pfn + (1 << m.params[0].pageblock_order) <= zone.end_pfn)


@small
def pageblock_start(m: Machine, pfn: Pfn) -> int:
    """The first page frame of the pageblock that holds `pfn` (kernel: pageblock_start_pfn)."""
    return int(pfn & ~((1 << m.params[0].pageblock_order) - 1))


@core
def count_free_and_movable(m: Machine, start_pfn: Pfn) -> tuple[int, int]:
    """How many pages of a pageblock are free, and how many could be migrated (kernel: prep_move_freepages_block)."""
    end_pfn = start_pfn + (1 << m.params[0].pageblock_order)
    nr_free = 0
    nr_movable = 0
    pfn = start_pfn
    while pfn < end_pfn:
        m.work[0].frames_scanned += 1
        page_flags = int(m.pages[pfn].page_flags)
        if page_flags & PG_BUDDY:
            nr_pages = 1 << int(m.pages[pfn].order)
            nr_free += nr_pages
            pfn += nr_pages
        elif page_flags & PG_LRU:
            nr_pages = min(1 << int(m.pages[pfn].order), end_pfn - pfn)
            nr_movable += nr_pages
            pfn += nr_pages
        else:
            pfn += 1
    return nr_free, nr_movable


@core
def move_freepages_block(m: Machine, ac: ContextIdx, start_pfn: Pfn, old_mt: Migratetype, new_mt: Migratetype) -> None:
    """Change a pageblock's type and move its free pages to the tails of that type's lists.

    (kernel: __move_freepages_block)
    """
    end_pfn = start_pfn + (1 << m.params[0].pageblock_order)
    z = int(m.contexts[ac].zone)
    pfn = start_pfn
    while pfn < end_pfn:
        m.work[0].frames_scanned += 1
        if not int(m.pages[pfn].page_flags) & PG_BUDDY:
            pfn += 1
            continue
        order = int(m.pages[pfn].order)
        list_del(m, ac, pfn)
        list_add_tail(m, ac, pfn, free_list_head(m, z, order, new_mt))
        account_freepages(m, ac, -(1 << order), old_mt)
        account_freepages(m, ac, 1 << order, new_mt)
        pfn += 1 << order
    set_pageblock_migratetype(m, start_pfn, new_mt)


@small
def list_block_move(m: Machine, ac: ContextIdx, pfn: Pfn, order: Order, migratetype: Migratetype) -> None:
    """Move a free block to the tail of another type's list, without accounting (kernel: move_to_free_list)."""
    list_del(m, ac, pfn)
    list_add_tail(m, ac, pfn, free_list_head(m, int(m.contexts[ac].zone), order, migratetype))


@core
def move_freepages_from(m: Machine, ac: ContextIdx, page: Pfn, migratetype: Migratetype) -> tuple[int, int]:
    """Move the free pages of a page's pageblock to the tails of a type's lists, up to Linux 6.9.

    Where the pageblock begins before the zone, from the page on; none where it ends behind it. Returns how many pages
    moved, and how many more could be migrated (kernel: move_freepages_block).
    """
    zone = m.zones[m.contexts[ac].zone]
    pfn = pageblock_start(m, page)
    end_pfn = pfn + (1 << m.params[0].pageblock_order)
    nr_moved = 0
    nr_movable = 0
    if end_pfn > zone.end_pfn:
        return nr_moved, nr_movable
    if pfn < zone.start_pfn:
        pfn = page
    while pfn < end_pfn:
        m.work[0].frames_scanned += 1
        page_flags = int(m.pages[pfn].page_flags)
        if page_flags & PG_BUDDY:
            order = int(m.pages[pfn].order)
            list_block_move(m, ac, pfn, order, migratetype)
            nr_moved += 1 << order
            pfn += 1 << order
        else:
            if page_flags & PG_LRU:
                nr_movable += 1
            pfn += 1
    return nr_moved, nr_movable
