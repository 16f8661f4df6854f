"""Per-CPU page lists: a CPU's own free pages of one zone (kernel: struct per_cpu_pages).

Orders 0 to 3, and the PMD order where THP is built in, are first looked for here, without the
zone's lock. An empty list is refilled by `rmqueue_bulk`, a list at its `high` is drained by
`free_pcppages_bulk`, both under the zone's lock and in batches that grow while a CPU only
allocates (alloc_factor) or only frees (free_count). `high` tunes itself between high_min and
high_max: up when refills follow each other, down when the zone is below its high watermark.

How much to move (nr_pcp_alloc, nr_pcp_free) is decided before the lock is asked for; the bulk
functions say in their docstrings that the caller holds it. Invariant: count is the number of
pages on the lists. Lock order: pcp lock (held by being on the CPU), then zone lock.
"""

from kmsim.jit import core, small
from kmsim.mm.buddy import free_one_page
from kmsim.mm.fallback import RMQUEUE_NORMAL, rmqueue
from kmsim.mm.list import list_add, list_add_tail, list_del, list_empty, list_first, list_last
from kmsim.mm.mmzone import (
    MIGRATE_MOVABLE,
    MIGRATE_PCPTYPES,
    NO_PAGE,
    NR_LOWORDER_PCP_LISTS,
    NR_PCP_LISTS,
    PAGE_ALLOC_COSTLY_ORDER,
    PCP_BATCH_SCALE_MAX,
    PCPF_FREE_HIGH_BATCH,
    PCPF_PREV_FREE_HIGH_ORDER,
    PG_PCP,
    ZONE_BELOW_HIGH,
    ZONE_RECLAIM_ACTIVE,
    Machine,
)
from kmsim.mm.pageblock import pageblock_migratetype


@small
def clamp(value: int, low: int, high: int) -> int:
    """`value` within bounds; the upper one is looked at first, which shows where low > high (kernel: clamp)."""
    if value >= high:
        return high
    return low if value <= low else value


@small
def pcp_index(m: Machine, z: int, cpu: int) -> int:
    """Where a CPU's lists of a zone are in `pcps`."""
    return z * int(m.params[0].nr_cpus) + cpu


@small
def pcp_allowed_order(m: Machine, order: int) -> bool:
    """Do per-CPU lists hold blocks of this order? (kernel: pcp_allowed_order)"""
    return order <= PAGE_ALLOC_COSTLY_ORDER or (m.params[0].thp_built_in != 0 and order == m.params[0].pmd_order)


@small
def order_to_pindex(migratetype: int, order: int) -> int:
    """Which of the lists holds blocks of an order and type (kernel: order_to_pindex)."""
    if order > PAGE_ALLOC_COSTLY_ORDER:
        return NR_LOWORDER_PCP_LISTS + int(migratetype == MIGRATE_MOVABLE)
    return MIGRATE_PCPTYPES * order + migratetype


@small
def pindex_to_order(m: Machine, pindex: int) -> int:
    """The order of the blocks on a list (kernel: pindex_to_order)."""
    if pindex >= NR_LOWORDER_PCP_LISTS:
        return int(m.params[0].pmd_order)
    return pindex // MIGRATE_PCPTYPES


@small
def pcp_take(m: Machine, p: int, pindex: int, order: int) -> int:
    """Take the block at the head of a list, or NO_PAGE where it is empty (kernel: __rmqueue_pcplist)."""
    head = int(m.pcps[p].lists) + pindex
    pfn = list_first(m, head)
    if pfn == head:
        return NO_PAGE
    list_del(m, pfn)
    m.pages[pfn].page_flags = 0
    m.pcps[p].count -= 1 << order
    return pfn


@small
def mark_pcp(m: Machine, pfn: int, order: int) -> None:
    """Say in its record that a block is on a per-CPU list."""
    page = m.pages[pfn]
    page.page_flags = PG_PCP
    page.order = order


@core
def nr_pcp_alloc(m: Machine, z: int, p: int, order: int) -> int:
    """How many blocks the next refill takes (kernel: nr_pcp_alloc)."""
    pcp = m.pcps[p]
    base_batch = pcp.batch
    high = clamp(pcp.high, pcp.high_min, pcp.high_max)
    pcp.high = high
    if high < base_batch:
        return 1
    batch = base_batch if order else base_batch << pcp.alloc_factor
    if pcp.high_min != pcp.high_max and not m.zones[z].zone_flags & ZONE_BELOW_HIGH:
        high = min(high + batch, pcp.high_max)
        pcp.high = high
    if order == 0:
        max_nr_alloc = max(high - pcp.count - base_batch, base_batch)
        if batch <= max_nr_alloc and pcp.alloc_factor < PCP_BATCH_SCALE_MAX:
            pcp.alloc_factor += 1
        batch = min(batch, max_nr_alloc)
    if batch > 1:
        batch = max(batch >> order, 2)
    return int(batch)


@core
def rmqueue_bulk(m: Machine, ac: int) -> None:
    """Refill the list that the context found empty; the caller holds the zone's lock (kernel: rmqueue_bulk)."""
    context = m.contexts[ac]
    order = int(context.order)
    p = pcp_index(m, context.zone, context.cpu)
    head = int(m.pcps[p].lists) + int(context.pindex)
    mode = RMQUEUE_NORMAL
    for _ in range(context.nr_pages):
        pfn, mode = rmqueue(m, ac, mode)
        if pfn == NO_PAGE:
            break
        mark_pcp(m, pfn, order)
        list_add_tail(m, pfn, head)
        m.pcps[p].count += 1 << order
        m.work[0].pages_moved += 1 << order


@small
def pcp_put(m: Machine, p: int, pfn: int, order: int) -> int:
    """Put a freed block at the head of its list; which list it was (kernel: free_unref_page_commit)."""
    pcp = m.pcps[p]
    pcp.alloc_factor >>= 1
    migratetype = pageblock_migratetype(m, pfn)
    if migratetype >= MIGRATE_PCPTYPES:
        migratetype = MIGRATE_MOVABLE  # a reserved (highatomic) page is handed to whoever comes
    pindex = order_to_pindex(migratetype, order)
    list_add(m, pfn, int(pcp.lists) + pindex)
    mark_pcp(m, pfn, order)
    pcp.count += 1 << order
    return pindex


@small
def nr_to_drain(m: Machine, z: int, p: int, order: int) -> int:
    """After a free: how many pages to give back to the zone, 0 for none (kernel: free_unref_page_commit)."""
    pcp = m.pcps[p]
    batch = pcp.batch
    free_high = False
    if order and order <= PAGE_ALLOC_COSTLY_ORDER:
        free_high = (
            pcp.free_count >= batch
            and pcp.pcp_flags & PCPF_PREV_FREE_HIGH_ORDER != 0
            and (pcp.pcp_flags & PCPF_FREE_HIGH_BATCH == 0 or pcp.count >= batch)
        )
        pcp.pcp_flags |= PCPF_PREV_FREE_HIGH_ORDER
    else:
        pcp.pcp_flags &= ~PCPF_PREV_FREE_HIGH_ORDER
    if pcp.free_count < batch << PCP_BATCH_SCALE_MAX:
        pcp.free_count += 1 << order
    high = nr_pcp_high(m, z, p, free_high)
    if pcp.count < high:
        return 0
    return nr_pcp_free(m, p, high, free_high)


@small
def nr_pcp_high(m: Machine, z: int, p: int, free_high: bool) -> int:
    """The count at which a free drains, after `high` has been tuned (kernel: nr_pcp_high)."""
    pcp = m.pcps[p]
    batch = pcp.batch
    high_min = pcp.high_min
    high_max = pcp.high_max
    high = clamp(pcp.high, high_min, high_max)
    pcp.high = high
    if not high:
        return 0
    if free_high:
        pcp.high = max(high - (batch << PCP_BATCH_SCALE_MAX), high_min)
        return 0
    zone_flags = m.zones[z].zone_flags
    if zone_flags & ZONE_RECLAIM_ACTIVE:
        pcp.high = max(high - max(pcp.free_count, batch), high_min)
        return int(min(batch << 2, pcp.high))
    if high_min == high_max:
        return int(high)
    if zone_flags & ZONE_BELOW_HIGH:
        pcp.high = max(high - max(pcp.free_count, batch), high_min)
        high = max(pcp.count, high_min)
    elif pcp.count >= high:
        need_high = pcp.free_count + batch
        if pcp.high < need_high:
            pcp.high = clamp(need_high, high_min, high_max)
    return int(high)


@small
def nr_pcp_free(m: Machine, p: int, high: int, free_high: bool) -> int:
    """How many pages one drain gives back (kernel: nr_pcp_free)."""
    pcp = m.pcps[p]
    batch = pcp.batch
    if free_high:
        return int(min(pcp.count, batch << PCP_BATCH_SCALE_MAX))
    if high < batch:
        return 1
    return clamp(pcp.free_count, batch, high - batch)


@core
def free_pcppages_bulk(m: Machine, ac: int, p: int, nr_pages: int, pindex: int) -> None:
    """Give pages back from the tails of the lists, round robin from list `pindex` (kernel: free_pcppages_bulk).

    `p` is the pcp to drain, which need not be that of the context's CPU; the caller holds the lock
    of the context's zone.
    """
    pcp = m.pcps[p]
    nr_pages = min(pcp.count, nr_pages)
    pindex -= 1
    while nr_pages > 0:
        pindex = pindex + 1 if pindex < NR_PCP_LISTS - 1 else 0
        head = int(pcp.lists) + pindex
        while list_empty(m, head):
            pindex = pindex + 1 if pindex < NR_PCP_LISTS - 1 else 0
            head = int(pcp.lists) + pindex
        order = pindex_to_order(m, pindex)
        while nr_pages > 0 and not list_empty(m, head):
            pfn = list_last(m, head)
            list_del(m, pfn)
            m.pages[pfn].page_flags = 0
            nr_pages -= 1 << order
            pcp.count -= 1 << order
            free_one_page(m, ac, pfn, order, pageblock_migratetype(m, pfn), False)
            m.work[0].pages_moved += 1 << order


@core
def decay_pcp_high(m: Machine, p: int) -> int:
    """Let `high` fall towards high_min, as vmstat's worker does; pages to drain then (kernel: decay_pcp_high)."""
    pcp = m.pcps[p]
    if pcp.high > pcp.high_min:
        pcp.high = max(
            pcp.count - (pcp.batch << PCP_BATCH_SCALE_MAX), pcp.high - (pcp.high >> 3), pcp.high_min
        )
    return int(max(pcp.count - pcp.high, 0))
