"""Per-CPU page lists: a CPU's own free pages of one zone (kernel: struct per_cpu_pages).

Orders 0 to 3, and the PMD order where THP is built in, are first looked for here, without the zone's lock; of Linux
5.10 (`params.high_order_lists` off), order 0 alone. An empty list is refilled by `rmqueue_bulk`, a list at its `high`
is drained by `free_pcppages_bulk`, both under the zone's lock.

How much to move is decided before the lock is asked for, by one of three policies with the same verbs (see
`mm.kernels`): `mm.pcp_tuned`; where `params.auto_tune` is off, `mm.pcp_fixed`; where `params.high_order_lists` is
off, too, `mm.pcp_order0`. The choice is made here. The bulk functions say in their docstrings that the caller holds
the lock. Invariant: count is the number of pages on the lists. Lock order: pcp lock, then zone lock.

A request only ever tries pcp->lock (see `mm.wants`), when it begins or moves to another zone; a drain from elsewhere
waits for it (`mm.drain`). The caller keeps track of its
holder with `lock_pcp`; a request that finds the lists `locked` goes to the zone instead. Refills and drains
keep their own hold of it. A request that goes on to further pages after a drain (a chain, exact pages, several slabs)
still finds its own hold there, and the next page goes to the zone; the kernel lets go and tries again.
"""

from kmsim.jit import core, shared, small
from kmsim.mm import pcp_fixed, pcp_order0, pcp_tuned
from kmsim.mm.buddy import account_taken, free_one_page
from kmsim.mm.indices import ContextIdx, CpuIdx, Migratetype, Order, PcpIdx, PcpListIdx, Pfn, ZoneIdx
from kmsim.mm.list import list_add, list_add_tail, list_del, list_empty, list_first, list_last
from kmsim.mm.mmzone import (
    MIGRATE_MOVABLE,
    MIGRATE_PCPTYPES,
    MIGRATE_UNMOVABLE,
    NO_PAGE,
    NR_LOWORDER_PCP_LISTS,
    NR_PCP_LISTS,
    PAGE_ALLOC_COSTLY_ORDER,
    PCP_MT_SHIFT,
    PG_PCP,
    RMQUEUE_NORMAL,
    Machine,
    pcp_index,
)
from kmsim.mm.new_pages import check_new_pages
from kmsim.mm.pageblock import pageblock_migratetype
from kmsim.mm.rmqueue import rmqueue
from kmsim.mm.zone_lines import write_lists

NO_CPU = -1


@small
def lock_pcp(m: Machine, p: PcpIdx, cpu: CpuIdx) -> None:
    """A CPU takes the lock of these lists."""
    m.pcps[p].locked = cpu + 1


@small
def unlock_pcp(m: Machine, p: PcpIdx) -> None:
    """Its holder lets go of the lock of these lists."""
    m.pcps[p].locked = 0


@small
def pcp_lock_holder(m: Machine, p: PcpIdx) -> CpuIdx:
    """The CPU that holds the lock of these lists, or NO_CPU."""
    return int(m.pcps[p].locked) - 1


@small
def pcp_trylock(m: Machine, ac: ContextIdx, p: PcpIdx) -> bool:
    """May the context use these lists? Nobody has locked them, or it did itself, for what went before."""
    return bool(m.pcps[p].locked == 0 or m.contexts[ac].held_pcp == p)


@small
def goes_on_at_once(m: Machine, ac: ContextIdx, p: PcpIdx) -> bool:
    """May the request go on with these lists in one piece, as if it had wanted a try at their lock and got it?"""
    return bool(pcp_trylock(m, ac, p) and not m.params[0].stepwise)


@small
def pcp_allowed_order(m: Machine, order: Order) -> bool:
    """Do per-CPU lists hold blocks of this order? (kernel: pcp_allowed_order)"""
    if not m.params[0].high_order_lists:
        return order == 0
    return order <= PAGE_ALLOC_COSTLY_ORDER or (m.params[0].thp_built_in != 0 and order == m.params[0].pmd_order)


@small
def order_to_pindex(migratetype: Migratetype, order: Order) -> PcpListIdx:
    """Which of the lists holds blocks of an order and type (kernel: order_to_pindex)."""
    if order > PAGE_ALLOC_COSTLY_ORDER:
        return NR_LOWORDER_PCP_LISTS + int(migratetype == MIGRATE_MOVABLE)
    return MIGRATE_PCPTYPES * order + migratetype


@shared
def pindex_to_order(pindex: PcpListIdx, pmd_order: Order) -> Order:
    """The order of the blocks on a list (kernel: pindex_to_order)."""
    if pindex >= NR_LOWORDER_PCP_LISTS:
        return pmd_order
    return pindex // MIGRATE_PCPTYPES


def pindex_to_migratetype(pindex: PcpListIdx) -> Migratetype:
    """The type of the blocks on a list of the lower orders."""
    return pindex % MIGRATE_PCPTYPES


@small
def note_alloc(m: Machine, p: PcpIdx) -> None:
    """Note an allocation from the lists (kernel: rmqueue_pcplist)."""
    if m.params[0].auto_tune:
        pcp_tuned.note_alloc(m, p)
    elif m.params[0].high_order_lists:
        pcp_fixed.note_alloc(m, p)
    else:
        pcp_order0.note_alloc(m, p)


@small
def nr_pcp_alloc(m: Machine, z: ZoneIdx, p: PcpIdx, order: Order) -> int:
    """How many blocks the next refill takes."""
    if m.params[0].auto_tune:
        return pcp_tuned.nr_pcp_alloc(m, z, p, order)
    if m.params[0].high_order_lists:
        return pcp_fixed.nr_pcp_alloc(m, z, p, order)
    return pcp_order0.nr_pcp_alloc(m, z, p, order)


@small
def nr_to_drain(m: Machine, z: ZoneIdx, p: PcpIdx, order: Order) -> int:
    """After a free: how many pages to give back to the zone, 0 for none."""
    if m.params[0].auto_tune:
        return pcp_tuned.nr_to_drain(m, z, p, order)
    if m.params[0].high_order_lists:
        return pcp_fixed.nr_to_drain(m, z, p, order)
    return pcp_order0.nr_to_drain(m, z, p, order)


@small
def decay_pcp_high(m: Machine, p: PcpIdx) -> int:
    """How many pages vmstat's periodic worker drains."""
    if m.params[0].auto_tune:
        return pcp_tuned.decay_pcp_high(m, p)
    if m.params[0].high_order_lists:
        return pcp_fixed.decay_pcp_high(m, p)
    return pcp_order0.decay_pcp_high(m, p)


@small
def pcp_take(m: Machine, ac: ContextIdx, p: PcpIdx, pindex: PcpListIdx, order: Order) -> Pfn:
    """Take the block at the head of a list, or NO_PAGE where it is empty (kernel: __rmqueue_pcplist)."""
    head = int(m.pcps[p].lists) + pindex
    pfn = list_first(m, head)
    if pfn == head:
        return NO_PAGE
    list_del(m, ac, pfn)
    m.pages[pfn].page_flags = 0
    m.pcps[p].count -= 1 << order
    return pfn


@small
def mark_pcp(m: Machine, pfn: Pfn, order: Order, migratetype: Migratetype) -> None:
    """Say in its record that a block of a type is on a per-CPU list (kernel: set_pcppage_migratetype)."""
    page = m.pages[pfn]
    page.page_flags = PG_PCP | migratetype << PCP_MT_SHIFT
    page.order = order


@small
def pcp_migratetype(m: Machine, pfn: Pfn) -> Migratetype:
    """The migratetype to whose free list a block on a per-CPU list goes back.

    That of its pageblock; up to Linux 6.9, the type noted when it was put here (kernel: get_pcppage_migratetype).
    """
    if m.params[0].lists_by_pageblock:
        return pageblock_migratetype(m, pfn)
    return int(m.pages[pfn].page_flags) >> PCP_MT_SHIFT


@small
def rmqueue_bulk(m: Machine, ac: ContextIdx) -> None:
    """Refill the list that the context found empty; the caller holds the zone's lock (kernel: rmqueue_bulk)."""
    context = m.contexts[ac]
    order = int(context.order)
    p = pcp_index(m, context.zone, context.cpu)
    head = int(m.pcps[p].lists) + int(context.pindex)
    mode = RMQUEUE_NORMAL
    nr_blocks = 0
    migratetype = int(context.migratetype)
    for _ in range(context.nr_pages):
        pfn, mode = rmqueue(m, ac, mode)
        if pfn == NO_PAGE:
            break
        if m.params[0].check_pages:
            check_new_pages(m, ac, pfn, order)  # kernel: check_pcp_refill
        mark_pcp(m, pfn, order, migratetype)
        list_add_tail(m, ac, pfn, head)
        m.pcps[p].count += 1 << order
        nr_blocks += 1
    account_taken(m, ac, nr_blocks << order)
    m.work[0].blocks_moved += nr_blocks
    write_lists(m, ac, nr_blocks)


@small
def pcp_put(m: Machine, ac: ContextIdx, p: PcpIdx, pfn: Pfn, order: Order) -> int:
    """Put a freed block at the head of its list; which list it was (kernel: free_unref_page_commit)."""
    pcp = m.pcps[p]
    migratetype = block_mt = pageblock_migratetype(m, pfn)
    if migratetype >= MIGRATE_PCPTYPES:
        migratetype = MIGRATE_MOVABLE  # a reserved (highatomic) page is handed to whoever comes
    pindex = order_to_pindex(migratetype, order)
    list_add(m, ac, pfn, int(pcp.lists) + pindex)
    mark_pcp(m, pfn, order, block_mt)
    pcp.count += 1 << order
    return pindex


@small
def free_pcppages_bulk(m: Machine, ac: ContextIdx, p: PcpIdx, nr_pages: int, pindex: PcpListIdx) -> None:
    """Give pages back from the tails of the lists, round robin from list `pindex` (kernel: free_pcppages_bulk).

    `p` is the pcp to drain, which need not be that of the context's CPU; the caller holds the lock
    of the context's zone.
    """
    nr_pages = min(int(m.pcps[p].count), nr_pages)
    if m.params[0].high_order_lists:
        nr_blocks = drain_list_by_list(m, ac, p, nr_pages, pindex)
    else:
        nr_blocks = drain_round_robin(m, ac, p, nr_pages)
    m.work[0].blocks_moved += nr_blocks
    write_lists(m, ac, nr_blocks)


@small
def drain_list_by_list(m: Machine, ac: ContextIdx, p: PcpIdx, nr_pages: int, pindex: PcpListIdx) -> int:
    """Give pages back from one list until it is empty, then from the next; how many blocks that were."""
    pcp = m.pcps[p]
    pindex -= 1
    nr_blocks = 0
    while nr_pages > 0:
        pindex = pindex + 1 if pindex < NR_PCP_LISTS - 1 else 0
        head = int(pcp.lists) + pindex
        while list_empty(m, head):
            pindex = pindex + 1 if pindex < NR_PCP_LISTS - 1 else 0
            head = int(pcp.lists) + pindex
        order = pindex_to_order(pindex, int(m.params[0].pmd_order))
        while nr_pages > 0 and not list_empty(m, head):
            give_back(m, ac, p, head, order)
            nr_pages -= 1 << order
            nr_blocks += 1
    return nr_blocks


@core
def drain_round_robin(m: Machine, ac: ContextIdx, p: PcpIdx, nr_pages: int) -> int:
    """Give pages back where lists hold order 0 alone; returns how many.

    Round robin, beginning with MIGRATE_MOVABLE. Each list passed over as empty lets the next one give one page more; if
    only one list has pages, it gives all the rest (kernel: free_pcppages_bulk of 5.10).
    """
    lists = int(m.pcps[p].lists)
    migratetype = MIGRATE_UNMOVABLE
    nr_here = 0  # kernel: batch_free; what a list was too short for counts for the next
    nr_left = nr_pages
    while nr_left > 0:
        nr_here += 1
        migratetype = migratetype + 1 if migratetype < MIGRATE_PCPTYPES - 1 else 0
        if list_empty(m, lists + migratetype):
            continue
        if nr_here == MIGRATE_PCPTYPES:  # the only list with pages
            nr_here = nr_left
        while nr_here > 0 and nr_left > 0 and not list_empty(m, lists + migratetype):
            give_back(m, ac, p, lists + migratetype, 0)
            nr_here -= 1
            nr_left -= 1
    return nr_pages


@small
def give_back(m: Machine, ac: ContextIdx, p: PcpIdx, head: int, order: Order) -> None:
    """Give the block at the tail of a list back to the zone."""
    pfn = list_last(m, head)
    migratetype = pcp_migratetype(m, pfn)
    list_del(m, ac, pfn)
    m.pages[pfn].page_flags = 0
    m.pcps[p].count -= 1 << order
    free_one_page(m, ac, pfn, order, migratetype, False)


@small
def nr_given_back(m: Machine, p: PcpIdx, nr_pages: int) -> int:
    """How many of the pages that a free drains go back in one hold of the zone's lock.

    The next hold begins with the list just freed to (kernel: free_frozen_page_commit).
    """
    return min(nr_pages, int(m.pcps[p].batch)) if m.params[0].drains_anew else nr_pages


@small
def nr_drained_at_once(m: Machine, p: PcpIdx) -> int:
    """How many pages a drain of whole lists gives back in one hold of the zone's lock (kernel: drain_pages_zone)."""
    pcp = m.pcps[p]
    if m.params[0].high_order_lists:
        return int(min(pcp.count, pcp.batch << m.params[0].batch_scale_max))
    return int(pcp.count)
