"""The records: what a machine's memory is made of (kernel: include/linux/mmzone.h, mm_types.h).

Words, here and everywhere:
    page        one page frame, named by its page frame number (`pfn`, an index, never an address)
    block       2^order pages, aligned to their size; named by its first pfn
    buddy       the other half of the block of the next order
    pageblock   2^pageblock_order pages that share one migratetype
    zone        a range of pfns with its own free lists, watermarks and lock
    node        memory that is near some CPUs; its zones, one of each type, lie side by side in `zones`
    zonelist    where the requests of a node's CPUs look for memory, zone after zone; its entries are zonerefs
    pcp         a CPU's own lists of free pages of one zone (per_cpu_pages)

A `Machine` is a handful of numpy record arrays, one per kernel struct, with the kernel's field
names. `pages` is indexed by pfn. Its first `nr_frames` records are the page frames, the rest are
*list heads*: a list is circular and runs through its head, as the kernel's list_head does, so a
page leaves a list without knowing which. A zeroed record is a page in no list (allocated,
reserved or a hole), so a fresh boot writes only the heads of the largest blocks.

Invariant (recounted by `mm.recount.validate`): a page with PG_BUDDY is the head of a free block
and on a free list of its order: that of its pageblock's migratetype (`params.lists_by_pageblock`), or,
before Linux 6.10, of the one that it was freed or moved to; a page with PG_PCP is the head
of a block on one per-CPU list; no page is covered by two of them.

Left out: ZONE_HIGHMEM, ZONE_DEVICE, CMA, isolation, unaccepted and deferred memory, hotplug.
"""

from typing import NamedTuple, cast

import numpy as np
from numpy.typing import NDArray

from kmsim.jit import Record, shared
from kmsim.jit_policies import Policies
from kmsim.mm.indices import CpuIdx, NodeIdx, PcpIdx, ZoneIdx, ZoneType
from kmsim.mm.lru_records import NO_LRU, NR_ZONE_TYPES, Lru
from kmsim.mm.params import Params, params_t
from kmsim.mm.work import work_t

ZONE_DMA, ZONE_DMA32, ZONE_NORMAL, ZONE_MOVABLE = range(4)
MAX_NR_ZONES = NR_ZONE_TYPES
NO_ZONE = -1
NUMA_NO_NODE = -1
ZONE_NAMES = ("DMA", "DMA32", "Normal", "Movable")

NR_NODES_MAX = 16
LOCAL_DISTANCE, REMOTE_DISTANCE = 10, 20  # what the kernel takes where firmware says nothing

# What is counted of an allocation on a kernel built with NUMA (kernel: enum numa_stat_item).
NUMA_HIT, NUMA_MISS, NUMA_FOREIGN, NUMA_INTERLEAVE_HIT, NUMA_LOCAL, NUMA_OTHER = range(6)
NR_VM_NUMA_EVENT_ITEMS = 6

MIGRATE_UNMOVABLE, MIGRATE_MOVABLE, MIGRATE_RECLAIMABLE, MIGRATE_HIGHATOMIC = range(4)
MIGRATE_PCPTYPES = 3
MIGRATE_TYPES = 4
NO_MIGRATETYPE = -1
MIGRATETYPE_NAMES = ("Unmovable", "Movable", "Reclaimable", "HighAtomic")

WMARK_MIN, WMARK_LOW, WMARK_HIGH, WMARK_PROMO = range(4)
NR_WMARK = 4

ZONE_BOOSTED_WATERMARK = 1 << 0
ZONE_RECLAIM_ACTIVE = 1 << 1
ZONE_BELOW_HIGH = 1 << 2

PG_BUDDY = 1 << 0
PG_PCP = 1 << 1
PG_LRU = 1 << 2
PG_SLAB = 1 << 3  # the head of a slab; its `next` is the slab's number
PCP_MT_SHIFT = 4  # of a page with PG_PCP: the migratetype that it had when it was put there (kernel: page->index)

# max_page_order + page_shift <= SECTION_SIZE_BITS allows at most 15 (4 KiB pages, 27 bits).
NR_PAGE_ORDERS_MAX = 16
PAGE_ALLOC_COSTLY_ORDER = 3
NR_LOWORDER_PCP_LISTS = MIGRATE_PCPTYPES * (PAGE_ALLOC_COSTLY_ORDER + 1)
NR_PCP_LISTS = NR_LOWORDER_PCP_LISTS + 2
RMQUEUE_NORMAL = 0  # the mode of a request that looks for its own type first (see mm.rmqueue)
PCPF_PREV_FREE_HIGH_ORDER = 1 << 0
PCPF_FREE_HIGH_BATCH = 1 << 1

NO_PAGE = -1
NO_PCP = -1
NO_LOCK = -1
BOOT_CPU = 0  # who asks where it makes no difference
CONTEXTS_PER_CPU = 3  # a thread may be interrupted by a softirq, and that by an irq
FAR_FROM_ALL = -2  # a pfn that is no page's neighbour
NO_CACHES = -1  # for cache_lines, while memory is being set up: touches are not seen

# No field may be named as an attribute of np.record (flags, size, base, min, max ...): the same
# code runs without numba, where records are objects with these fields as attributes.
page_t = np.dtype(
    (
        Record,
        [
            ("next", np.int32),
            ("prev", np.int32),
            ("touched", np.uint32),  # the toucher's nr_misses, modulo 2^32, when it last touched this struct page
            ("toucher", np.uint16),  # the CPU that did, as `mm.cacheline.toucher` has it; 0: none yet
            ("order", np.int8),
            ("page_flags", np.uint8),
        ],
    )
)
# A node (kernel: pg_data_t, NODE_DATA).
node_t = np.dtype(
    (
        Record,
        [
            ("first_zone", np.int64),  # in `zones`
            ("nr_zones", np.int64),
            ("zoneref", np.int64, (MAX_NR_ZONES,)),  # by the highest type of zone: where a request begins in `zonerefs`
            ("thisnode_zoneref", np.int64, (MAX_NR_ZONES,)),  # where one begins that may not leave the node
            ("distance", np.int64, (NR_NODES_MAX,)),  # to each node (kernel: node_distance)
        ],
    )
)
# An entry of a zonelist; the end of one has NO_ZONE in both (kernel: struct zoneref).
zoneref_t = np.dtype((Record, [("zone", np.int64), ("zone_type", np.int64)]))
zone_t = np.dtype(
    (
        Record,
        [
            ("start_pfn", np.int64),
            ("end_pfn", np.int64),
            ("present_pages", np.int64),
            ("managed_pages", np.int64),
            ("watermark", np.int64, (NR_WMARK,)),
            ("watermark_boost", np.int64),
            ("lowmem_reserve", np.int64, (MAX_NR_ZONES,)),
            ("zone_flags", np.int64),
            ("nr_reserved_highatomic", np.int64),
            ("nr_free_highatomic", np.int64),
            ("nr_free_pages", np.int64),  # vm_stat[NR_FREE_PAGES]: without the CPUs' pending deltas
            ("percpu_drift_mark", np.int64),
            ("free_list", np.int64),  # the first of this zone's free-list heads in `pages`
            ("nr_free", np.int64, (NR_PAGE_ORDERS_MAX,)),
            ("node", np.int64),  # kernel: zone_to_nid
            ("zone_type", np.int64),  # kernel: zone_idx
            ("vm_numa_event", np.int64, (NR_VM_NUMA_EVENT_ITEMS,)),  # of all CPUs
            ("count_version", np.int64),  # of the lines that CPUs read without the lock (see mm.zone_lines)
            ("lists_version", np.int64),
            ("count_node", np.int64),  # of the CPU that has had the line last
            ("lists_node", np.int64),
        ],
    )
)
pcp_t = np.dtype(
    (
        Record,
        [
            ("count", np.int64),
            ("high", np.int64),
            ("high_min", np.int64),
            ("high_max", np.int64),
            ("batch", np.int64),
            ("pcp_flags", np.int64),
            ("alloc_factor", np.int64),
            ("free_count", np.int64),
            ("free_factor", np.int64),  # where lists are not tuned (see mm.pcp_fixed)
            ("locked", np.int64),  # not 0: pcp->lock is held; the caller says so with `mm.pcp.lock_pcp`
            ("lists", np.int64),  # the first of its NR_PCP_LISTS list heads in `pages`
            ("vm_stat_diff", np.int64),  # per_cpu_zonestat: this CPU's pending delta of NR_FREE_PAGES
            ("stat_threshold", np.int64),
            ("count_seen", np.int64),  # the versions of the zone's lines that this CPU has seen last
            ("lists_seen", np.int64),
        ],
    )
)
# A CPU: where it is, and its cache, as far as struct pages are in it.
cpu_t = np.dtype(
    (
        Record,
        [
            ("nr_misses", np.int64),
            ("last_pfn", np.int64),  # the page whose line came from memory last
            ("node", np.int64),  # kernel: numa_node_id
        ],
    )
)
# One request under way (kernel: struct alloc_context and the locals of the functions it is in).
context_t = np.dtype(
    (
        Record,
        [
            ("cpu", np.int64),
            ("stage", np.int64),
            ("gfp", np.int64),
            ("order", np.int64),
            ("migratetype", np.int64),
            ("alloc_flags", np.int64),
            ("highest_zoneidx", np.int64),
            ("preferred_zoneref", np.int64),
            ("zoneref", np.int64),  # the entry of `zone`
            ("zone", np.int64),
            ("attempt", np.int64),
            ("pfn", np.int64),
            ("failure", np.int64),  # the event that a request without a block was counted as
            ("lock", np.int64),  # the spinlock that it wants, and then holds, or NO_LOCK (see mm.wants)
            ("mutex", np.int64),  # the mutex that it wants, or lets go of
            ("wake_at", np.int64),  # of a SLEEP: when it ends if nobody wakes it, or -jiffies
            ("tried", np.int64),  # of a TRY_LOCK: whether it was had, until the next call has read it
            ("held_pcp", np.int64),  # the per-CPU lists whose lock it holds, or NO_PCP
            ("nr_pages", np.int64),
            ("nr_wanted", np.int64),
            ("nr_populated", np.int64),
            ("next_pfn", np.int64),  # of a batch that is being freed: the block to look at next
            ("pcp", np.int64),  # the per-CPU lists that are being drained
            ("pindex", np.int64),
            ("to_check", np.int64),  # pages of `pfn` that are checked when no lock is held any more
            ("to_zero", np.int64),  # are the new pages zeroed?
            ("page_list", np.int64),  # its list head in `pages`, for the bulk interfaces
            ("to_free", np.int64),  # the block that it wants to put on the lists whose lock it tries, else 0
            ("chain_next", np.int64),  # of a chain that is being freed: the next page (see mm.page_chain)
            ("chain_tail", np.int64),
            ("exact_stage", np.int64),
            ("exact_nr_pages", np.int64),  # of an exact request: how many pages it asks for
            ("exact_next", np.int64),  # of an exact request: the next page to be given back, and the end
            ("exact_end", np.int64),
            ("exact_first", np.int64),  # the page that it keeps from, while its tail goes to the per-CPU lists
            ("mempolicy", np.int64),  # its thread's, in `mempolicies`
            ("policy_used", np.int64),  # the mode of the policy by which the request goes
            ("excess_pages", np.int64),  # exact pages: freed that were not part of them; below 0: left behind
            ("pf_memalloc", np.int64),  # not 0: a request of a task that reclaims (kernel: PF_MEMALLOC)
        ],
    )
)
# A memory policy of a thread (kernel: struct mempolicy, and il_prev of its task).
mempolicy_t = np.dtype(
    (
        Record,
        [
            ("mode", np.int64),
            ("nodes", np.int64, (NR_NODES_MAX,)),  # is the node in it?
            ("previous", np.int64),  # whose turn it was last
            ("policy_zone", np.int64),
            ("zoneref", np.int64, (NR_NODES_MAX * MAX_NR_ZONES,)),  # of one that binds, by `node_zone`, as `node_t`'s
        ],
    )
)


class Machine(NamedTuple):
    """The whole state that `mm` decides on: arrays of records or of plain numbers, and where policies come from."""

    pages: NDArray[np.void]
    pageblocks: NDArray[np.uint8]  # the migratetype of each pageblock, indexed by pfn >> pageblock_order
    nodes: NDArray[np.void]
    zonerefs: NDArray[np.void]  # the zonelists, one behind the other (see mm.zonelist)
    zones: NDArray[np.void]
    pcps: NDArray[np.void]  # indexed by `pcp_index`
    cpus: NDArray[np.void]
    contexts: NDArray[np.void]
    params: NDArray[np.void]
    work: NDArray[np.void]
    events: NDArray[np.int64]  # vmstat event counters, indexed by mm.vmstat's constants
    policies: Policies | None = None  # files in place of the package's policies (see mm.kernels)
    mempolicies: NDArray[np.void] = np.zeros(1, mempolicy_t)  # the first is no policy (see mm.mempolicy)
    # Each of these is None where it is not needed; then nothing that is marked as only with it is compiled.
    holders: NDArray[np.void] = cast(NDArray[np.void], None)  # of pages that can move or be reclaimed (see mm.rmap)
    lru: Lru = NO_LRU  # where pages can be reclaimed (see mm.lru_records)
    trace: NDArray[np.int64] = cast(NDArray[np.int64], None)  # where a replay looks at each step (see mm.trace)


@shared
def pcp_index(m: Machine, z: ZoneIdx, cpu: CpuIdx) -> PcpIdx:
    """Where a CPU's lists of a zone are in `pcps`."""
    return z * int(m.params[0].nr_cpus) + cpu


@shared
def zone_of_pcp(m: Machine, p: PcpIdx) -> ZoneIdx:
    """The zone of lists in `pcps`."""
    return p // int(m.params[0].nr_cpus)


@shared
def cpu_of_pcp(m: Machine, p: PcpIdx) -> CpuIdx:
    """The CPU whose lists these are, in `pcps`."""
    return p % int(m.params[0].nr_cpus)


def pcps_of_zone(m: Machine, z: ZoneIdx) -> NDArray[np.void]:
    """All CPUs' lists of a zone, by CPU; a view."""
    return m.pcps[pcp_index(m, z, 0) : pcp_index(m, z + 1, 0)]


@shared
def node_zone(m: Machine, n: NodeIdx, zone_type: ZoneType) -> ZoneIdx:
    """A node's zone of a type."""
    return int(m.nodes[n].first_zone) + zone_type


def zones_of_node(m: Machine, n: NodeIdx) -> NDArray[np.void]:
    """A node's zones, by type; a view."""
    return m.zones[node_zone(m, n, 0) : node_zone(m, n, int(m.nodes[n].nr_zones))]


def new_machine(params: Params, nr_contexts: int | None = None, policies: Policies | None = None) -> Machine:
    """A machine with no zones yet: all lists empty, every page frame in no list, every line in no cache.

    `nr_frames` is rounded up to a whole number of the largest blocks, so that a buddy always exists. `policies` stand
    in place of the package's from the first block on that is given to a zone.
    """
    nr_cpus = params.nr_cpus
    assert 0 < nr_cpus < 1 << 16, "a toucher has 16 bits"
    assert 3 <= params.max_page_order < NR_PAGE_ORDERS_MAX
    assert not params.thp_built_in or params.pmd_order <= params.max_page_order
    nr_contexts = nr_contexts or CONTEXTS_PER_CPU * nr_cpus
    nr_frames = -(-params.nr_frames // (1 << params.max_page_order)) << params.max_page_order
    assert 1 <= params.nr_nodes <= NR_NODES_MAX
    nr_zones = params.nr_nodes * MAX_NR_ZONES
    nr_free_lists = nr_zones * NR_PAGE_ORDERS_MAX * MIGRATE_TYPES
    nr_pcp_lists = nr_zones * nr_cpus * NR_PCP_LISTS
    nr_heads = nr_free_lists + nr_pcp_lists + nr_contexts
    machine = _empty_arrays(params._replace(nr_frames=nr_frames), nr_zones, nr_heads, nr_contexts)
    _lay_out_zones(machine)
    machine.zones["free_list"] = nr_frames + np.arange(nr_zones) * NR_PAGE_ORDERS_MAX * MIGRATE_TYPES
    machine.pcps["lists"] = nr_frames + nr_free_lists + np.arange(nr_zones * nr_cpus) * NR_PCP_LISTS
    machine.contexts["page_list"] = nr_frames + nr_free_lists + nr_pcp_lists + np.arange(nr_contexts)
    machine.contexts["cpu"] = np.arange(nr_contexts) % nr_cpus
    machine.contexts["held_pcp"] = NO_PCP
    machine.contexts["lock"] = NO_LOCK
    return machine._replace(policies=policies)


def _lay_out_zones(m: Machine) -> None:
    """Give each node a zone of each type, without pages yet; a zonelist that was not built is empty."""
    m.nodes["nr_zones"] = MAX_NR_ZONES
    m.nodes["first_zone"] = np.arange(len(m.nodes)) * MAX_NR_ZONES
    m.zones["node"] = np.repeat(np.arange(len(m.nodes)), MAX_NR_ZONES)
    m.zones["zone_type"] = np.tile(np.arange(MAX_NR_ZONES), len(m.nodes))
    m.nodes["distance"] = REMOTE_DISTANCE
    np.fill_diagonal(m.nodes["distance"], LOCAL_DISTANCE)
    m.zonerefs["zone"] = m.zonerefs["zone_type"] = NO_ZONE


def _empty_arrays(params: Params, nr_zones: int, nr_heads: int, nr_contexts: int) -> Machine:
    """All records zero, and every list empty."""
    nr_frames, nr_cpus = params.nr_frames, params.nr_cpus
    machine = Machine(
        pages=np.zeros(nr_frames + nr_heads, page_t),
        pageblocks=np.full(nr_frames >> params.pageblock_order, MIGRATE_MOVABLE, np.uint8),
        nodes=np.zeros(params.nr_nodes, node_t),
        zonerefs=np.zeros((2 * params.nr_nodes + 1) * (nr_zones + 1), zoneref_t),
        zones=np.zeros(nr_zones, zone_t),
        pcps=np.zeros(nr_zones * nr_cpus, pcp_t),
        cpus=np.zeros(nr_cpus, cpu_t),
        contexts=np.zeros(nr_contexts, context_t),
        params=np.zeros(1, params_t),
        work=np.zeros(1, work_t),
        events=np.zeros(NR_EVENTS, np.int64),
    )
    heads = np.arange(nr_frames, nr_frames + nr_heads, dtype=np.int32)
    machine.pages["next"][nr_frames:] = heads
    machine.pages["prev"][nr_frames:] = heads
    machine.cpus["last_pfn"] = FAR_FROM_ALL
    machine.params[0] = params
    return machine


# Event counters (kernel: enum vm_event_item; NEEDS_SLOW_PATH is kmsim's own).
PGALLOC = 0  # + the type of zone
PGFREE = 4
KSWAPD_WAKEUPS = 5  # kernel: the mm_vmscan_wakeup_kswapd trace event
EXTFRAG = 6  # kernel: the mm_page_alloc_extfrag trace event
NOPAGE = 7
NEEDS_SLOW_PATH = 8
EXACT_SAVED = 9  # pages that exact requests gave back at once, of the blocks that they took
NR_EVENTS = 10
