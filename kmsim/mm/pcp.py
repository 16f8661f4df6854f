"""Per-CPU page lists: a CPU's own free pages of one zone (kernel: struct per_cpu_pages).

Orders 0 to 3, and the PMD order where THP is built in, are first looked for here, without the
zone's lock. An empty list is refilled by `rmqueue_bulk`, a list at its `high` is drained by
`free_pcppages_bulk`, both under the zone's lock.

How much to move is decided before the lock is asked for, by one of two policies with the same verbs
(see `mm.kernels`): `mm.pcp_tuned`, or, where `params.auto_tune` is off, `mm.pcp_fixed`; the choice is
made here. The bulk functions say in their docstrings that the caller holds the lock. Invariant: count is the number of
pages on the lists. Lock order: pcp lock, then zone lock.

pcp->lock is only ever tried, when a request begins or moves to another zone. The caller keeps track of its
holder with `lock_pcp`; a request that finds the lists `locked` goes to the zone instead. Refills and drains
keep their own hold of it. A request that goes on to further pages after a drain (a chain, exact pages, several slabs)
still finds its own hold there, and the next page goes to the zone; the kernel lets go and tries again.
"""

from kmsim.jit import small
from kmsim.mm import pcp_fixed, pcp_tuned
from kmsim.mm.buddy import free_one_page
from kmsim.mm.indices import ContextIdx, CpuIdx, Migratetype, Order, PcpIdx, PcpListIdx, Pfn, ZoneIdx
from kmsim.mm.list import list_add, list_add_tail, list_del, list_empty, list_first, list_last
from kmsim.mm.mmzone import (
    MIGRATE_MOVABLE,
    MIGRATE_PCPTYPES,
    NO_PAGE,
    NR_LOWORDER_PCP_LISTS,
    NR_PCP_LISTS,
    PAGE_ALLOC_COSTLY_ORDER,
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
def pcp_allowed_order(m: Machine, order: Order) -> bool:
    """Do per-CPU lists hold blocks of this order? (kernel: pcp_allowed_order)"""
    return order <= PAGE_ALLOC_COSTLY_ORDER or (m.params[0].thp_built_in != 0 and order == m.params[0].pmd_order)


@small
def order_to_pindex(migratetype: Migratetype, order: Order) -> PcpListIdx:
    """Which of the lists holds blocks of an order and type (kernel: order_to_pindex)."""
    if order > PAGE_ALLOC_COSTLY_ORDER:
        return NR_LOWORDER_PCP_LISTS + int(migratetype == MIGRATE_MOVABLE)
    return MIGRATE_PCPTYPES * order + migratetype


@small
def pindex_to_order(m: Machine, pindex: PcpListIdx) -> Order:
    """The order of the blocks on a list (kernel: pindex_to_order)."""
    if pindex >= NR_LOWORDER_PCP_LISTS:
        return int(m.params[0].pmd_order)
    return pindex // MIGRATE_PCPTYPES


@small
def note_alloc(m: Machine, p: PcpIdx) -> None:
    """Note an allocation from the lists (kernel: rmqueue_pcplist)."""
    if m.params[0].auto_tune:
        pcp_tuned.note_alloc(m, p)
    else:
        pcp_fixed.note_alloc(m, p)


@small
def nr_pcp_alloc(m: Machine, z: ZoneIdx, p: PcpIdx, order: Order) -> int:
    """How many blocks the next refill takes."""
    if m.params[0].auto_tune:
        return pcp_tuned.nr_pcp_alloc(m, z, p, order)
    return pcp_fixed.nr_pcp_alloc(m, z, p, order)


@small
def nr_to_drain(m: Machine, z: ZoneIdx, p: PcpIdx, order: Order) -> int:
    """After a free: how many pages to give back to the zone, 0 for none."""
    if m.params[0].auto_tune:
        return pcp_tuned.nr_to_drain(m, z, p, order)
    return pcp_fixed.nr_to_drain(m, z, p, order)


@small
def decay_pcp_high(m: Machine, p: PcpIdx) -> int:
    """How many pages vmstat's periodic worker drains."""
    if m.params[0].auto_tune:
        return pcp_tuned.decay_pcp_high(m, p)
    return pcp_fixed.decay_pcp_high(m, p)


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
def mark_pcp(m: Machine, pfn: Pfn, order: Order) -> None:
    """Say in its record that a block is on a per-CPU list."""
    page = m.pages[pfn]
    page.page_flags = PG_PCP
    page.order = order


@small
def rmqueue_bulk(m: Machine, ac: ContextIdx) -> None:
    """Refill the list that the context found empty; the caller holds the zone's lock (kernel: rmqueue_bulk)."""
    context = m.contexts[ac]
    order = int(context.order)
    p = pcp_index(m, context.zone, context.cpu)
    head = int(m.pcps[p].lists) + int(context.pindex)
    mode = RMQUEUE_NORMAL
    nr_blocks = 0
    for _ in range(context.nr_pages):
        pfn, mode = rmqueue(m, ac, mode)
        if pfn == NO_PAGE:
            break
        if m.params[0].check_pages:
            check_new_pages(m, ac, pfn, order)  # kernel: check_pcp_refill
        mark_pcp(m, pfn, order)
        list_add_tail(m, ac, pfn, head)
        m.pcps[p].count += 1 << order
        nr_blocks += 1
    m.work[0].blocks_moved += nr_blocks
    write_lists(m, ac, nr_blocks)


@small
def pcp_put(m: Machine, ac: ContextIdx, p: PcpIdx, pfn: Pfn, order: Order) -> int:
    """Put a freed block at the head of its list; which list it was (kernel: free_unref_page_commit)."""
    pcp = m.pcps[p]
    migratetype = pageblock_migratetype(m, pfn)
    if migratetype >= MIGRATE_PCPTYPES:
        migratetype = MIGRATE_MOVABLE  # a reserved (highatomic) page is handed to whoever comes
    pindex = order_to_pindex(migratetype, order)
    list_add(m, ac, pfn, int(pcp.lists) + pindex)
    mark_pcp(m, pfn, order)
    pcp.count += 1 << order
    return pindex


@small
def free_pcppages_bulk(m: Machine, ac: ContextIdx, p: PcpIdx, nr_pages: int, pindex: PcpListIdx) -> None:
    """Give pages back from the tails of the lists, round robin from list `pindex` (kernel: free_pcppages_bulk).

    `p` is the pcp to drain, which need not be that of the context's CPU; the caller holds the lock
    of the context's zone.
    """
    pcp = m.pcps[p]
    nr_pages = min(pcp.count, nr_pages)
    pindex -= 1
    nr_blocks = 0
    while nr_pages > 0:
        pindex = pindex + 1 if pindex < NR_PCP_LISTS - 1 else 0
        head = int(pcp.lists) + pindex
        while list_empty(m, head):
            pindex = pindex + 1 if pindex < NR_PCP_LISTS - 1 else 0
            head = int(pcp.lists) + pindex
        order = pindex_to_order(m, pindex)
        while nr_pages > 0 and not list_empty(m, head):
            pfn = list_last(m, head)
            list_del(m, ac, pfn)
            m.pages[pfn].page_flags = 0
            nr_pages -= 1 << order
            pcp.count -= 1 << order
            free_one_page(m, ac, pfn, order, pageblock_migratetype(m, pfn), False)
            nr_blocks += 1
    m.work[0].blocks_moved += nr_blocks
    write_lists(m, ac, nr_blocks)
