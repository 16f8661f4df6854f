"""The records of vmalloc's address space and of the requests that are under way in it (kernel: linux/vmalloc.h).

Words, here and in every file of vmalloc's:
    vpn         a virtual page number: an address without its offset within the page
    area        what a caller holds: a vm_struct, with its pages; an index into `areas`
    va          a range of addresses: a vmap_area, free, busy, lazily freed or in a pool; an index into `vas`
    node        a vmap node: busy and lazy ranges, and pools of ready ranges by size
    table       a page of the kernel's page table; level 1 holds PTEs, level 2 points at those, and so on
    frame       one function under way: its step, and its locals (`mm.vm_locals`). Frames of a context are a
                stack, since vmalloc calls itself for a large array of pages, frees itself on failure, and purges

Every list runs through records by index. Unused records are kept on a list (`va_unused`, `area_unused`), and none
moves. Left out: what the boot itself maps (the kernel image, interrupt stacks, per-CPU memory), ioremap, vm_map_ram
and its blocks, execmem, the shrinker of the pools, KASAN, five-level page tables.
"""

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from kmsim.jit import Record
from kmsim.mm.locks import VMALLOC_CLASSES, all_locks, first_of_class
from kmsim.mm.mmzone import NO_LOCK, Machine
from kmsim.mm.slab_common import Caches
from kmsim.mm.slub_records import NO_OBJECT
from kmsim.mm.vm_layout import Space
from kmsim.mm.vm_locals import vm_frame_t

NO_AREA = -1
NO_VA = -1
NO_POOL = -1  # for a range of this length
NO_OWNER = 0  # of a range: no node's pool is to have it

# What a range is.
VA_UNUSED, VA_NEW, VA_FREE, VA_BUSY, VA_LAZY, VA_PURGE, VA_POOL, VA_DECAY, VA_PRELOADED = range(9)

# The trees of ranges: the free address space, and what a purge's decay of pools has collected.
FREE_TREE, DECAY_TREE = range(2)

MAX_VA_SIZE_PAGES = 256  # the longest range that a pool keeps, its guard page included
VMAP_ZONE_PAGES = 16  # consecutive pages that belong to one node
NR_VMAP_NODES_MAX = 128
LAZY_MAX_BYTES = 32 << 20  # for each bit of the number of CPUs
NR_TABLE_LEVELS = 4
FRAMES_PER_CONTEXT = 8
POINTER_BYTES = 8
VM_STRUCT_BYTES = 72
VMAP_AREA_BYTES = 72

# vm_struct's flags (kernel: linux/vmalloc.h).
VM_ALLOC = 0x2
VM_MAP = 0x4
VM_USERMAP = 0x8
VM_UNINITIALIZED = 0x20
VM_NO_GUARD = 0x40
VM_ALLOW_HUGE_VMAP = 0x400


# How a kvmalloc ended, and why it left the slab or failed.
KV_NONE, KV_SLAB, KV_PAGES, KV_VMALLOC, KV_FAILED = range(5)
KV_NO_REASON, KV_NO_BLOCK, TOO_LARGE, SMALL, NON_BLOCKING, ABOVE_INT_MAX, OVERFLOW = range(7)

# Why a vmalloc or vmap failed.
VM_NO_FAILURE, EXCEEDS_MEMORY, NO_STRUCT, NO_SPACE, NO_ARRAY, NO_PAGES, NO_TABLE = range(7)

# Counters (`vm.events`). The kernel's warnings are counted, not printed.
VM_ALLOCATED = 0  # areas that a caller got, those for arrays of pages among them
VM_FREED = 1  # of those; not what a failed request gives back
VM_FAILED = 2  # + the reason, 7 of them
HUGE_FALLBACKS = 9  # huge mappings that were tried again with small pages
PURGES = 10
POOL_HITS = 11  # ranges that a node's pool had ready
KV_OUTCOMES = 12  # + KV_SLAB ... KV_FAILED, 5 of them
KV_REASONS = 17  # + the reason, 7 of them
NR_VM_EVENTS = 24

vmap_area_t = np.dtype(
    (
        Record,
        [
            ("start", np.int64),  # vpn
            ("end", np.int64),
            ("subtree_max", np.int64),  # the longest range in this subtree of a tree, in pages
            ("parent", np.int32),
            ("left", np.int32),
            ("right", np.int32),
            ("next", np.int32),
            ("prev", np.int32),
            ("obj", np.int32),  # its object in the cache `vmap_area`; NO_OBJECT: the boot's
            ("area", np.int32),
            ("owner", np.uint16),  # the node whose CPU asked for it (see `vmap_node.encode_vn_id`), or NO_OWNER
            ("red", np.uint8),
            ("state", np.uint8),
        ],
    )
)
vm_struct_t = np.dtype(
    (
        Record,
        [
            ("nr_bytes", np.int64),  # requested
            ("va", np.int32),
            ("obj", np.int32),  # its object
            ("pages_obj", np.int32),  # the object that is its array of pages, or NO_OBJECT
            ("pages_area", np.int32),  # the area that is its array of pages, or NO_AREA
            ("first_pfn", np.int32),  # its pages, as `mm.page_chain` keeps them
            ("nr_pages", np.int32),
            ("next", np.int32),  # on a CPU's list of areas to be freed later
            ("vm_flags", np.uint16),
            ("page_order", np.uint8),  # of each mapping
            ("in_use", np.uint8),
        ],
    )
)
vmap_node_t = np.dtype(
    (
        Record,
        [
            ("nr_busy", np.int64),
            ("nr_lazy", np.int64),
            ("lazy", np.int32),  # lazily freed ranges, the last one first
            ("purge", np.int32),  # ranges that a purge works on, by address
            ("skip_populate", np.int64),
        ],
    )
)
# A pool of ranges of one length; of node n and length p pages it is number n * MAX_VA_SIZE_PAGES + p - 1.
vmap_pool_t = np.dtype((Record, [("head", np.int32), ("tail", np.int32), ("len", np.int32)]))
vmap_tree_t = np.dtype((Record, [("root", np.int32), ("first", np.int32), ("nr", np.int64)]))
vm_cpu_t = np.dtype(
    (
        Record,
        [
            ("preload", np.int32),  # ne_fit_preload_node
            ("deferred", np.int32),  # vfree_deferred: the area that was added last
            ("vfree_scheduled", np.int64),
        ],
    )
)
vm_params_t = np.dtype(
    (
        Record,
        [
            ("start", np.int64),  # VMALLOC_START and VMALLOC_END, as vpns
            ("end", np.int64),
            ("nr_nodes", np.int64),
            ("zone_pages", np.int64),
            ("lazy_max_pages", np.int64),
            ("vmap_lazy_nr", np.int64),
            ("total_pages", np.int64),  # totalram_pages
            ("pmd_order", np.int64),
            ("allow_huge", np.int64),
            ("lock_first", np.int64),  # the number of vmalloc's first lock (see `mm.locks`)
            ("drain_scheduled", np.int64),  # schedule_work(drain_vmap_work)
            ("vfree_scheduled", np.int64),  # on how many CPUs a deferred vfree is scheduled
            ("va_cache", np.int64),
            ("vm_cache", np.int64),  # kmalloc's cache for a vm_struct
            ("va_unused", np.int64),  # records that were used and are not: the first; and the first never used
            ("va_fresh", np.int64),
            ("area_unused", np.int64),
            ("area_fresh", np.int64),
            ("nr_table_levels", np.int64),
            ("table_bits", np.int64),
            ("table_first", np.int64, (NR_TABLE_LEVELS,)),  # where each level begins in `tables`
            ("nr_tables", np.int64),
        ],
    )
)
vm_context_t = np.dtype(
    (
        Record,
        [
            ("wants", np.int64),  # what the step on top of the stack wants (see mm.wants)
            ("lock", np.int64),  # which lock, where it wants one, or to let go of one
            ("area", np.int64),  # the result
            ("obj", np.int64),  # kvmalloc's results, and what the last request to the slab gave
            ("pfn", np.int64),
            ("order", np.int64),
            ("outcome", np.int64),
            ("reason", np.int64),
            ("failure", np.int64),
            ("depth", np.int64),  # frames in use
            ("inner", np.int64),  # the kind of request that is under way in another allocator, or NOTHING: none
            ("settles", np.int64),  # it is over, but for what is done without a lock
            ("held", np.int64),  # not 0: a spinlock was granted and not yet let go of
            ("cache", np.int64),  # arguments of the inner request
            ("gfp", np.int64),
            ("nr", np.int64),
            ("flush_start", np.int64),  # what is to be flushed: the first page, and how many
            ("flush_pages", np.int64),
        ],
    )
)
# What was done, for the price list; the caller sets it to zero.
vm_work_t = np.dtype(
    (
        Record,
        [
            ("areas_new", np.int64),
            ("areas_gone", np.int64),
            ("tree_steps", np.int64),  # nodes visited, in all trees
            ("areas_moved", np.int64),  # ranges put on or taken off a list, a pool or a tree by a purge
            ("ptes_set", np.int64),
            ("ptes_cleared", np.int64),
            ("tables_new", np.int64),
            ("pages_taken", np.int64),
            ("bytes_copied", np.int64),  # by kvrealloc
        ],
    )
)


class Vm(NamedTuple):
    """The state of vmalloc; every field is an array of records or of plain numbers."""

    areas: NDArray[np.void]
    vas: NDArray[np.void]
    trees: NDArray[np.void]
    nodes: NDArray[np.void]
    pools: NDArray[np.void]
    cpus: NDArray[np.void]
    tables: NDArray[np.int32]  # by level and slot: the pfn of the table there, + 1; 0: none
    kmalloc_caches: NDArray[np.int32]  # kmalloc's cache for an array of n pointers, by n
    params: NDArray[np.void]
    contexts: NDArray[np.void]
    frames: NDArray[np.void]  # of context ac: FRAMES_PER_CONTEXT from ac * FRAMES_PER_CONTEXT on
    work: NDArray[np.void]
    events: NDArray[np.int64]


def create_vm_caches(caches: Caches) -> None:
    """Create the cache of ranges where it is not there yet (kernel: vmalloc_init); before the slab is made."""
    try:
        caches.index_of("vmap_area")
    except KeyError:
        caches.create("vmap_area", VMAP_AREA_BYTES, align=POINTER_BYTES)


def new_vm(
    m: Machine,
    caches: Caches,
    *,
    space: Space,
    nr_list_locks: int,
    nr_nodes: int | None = None,
    nr_areas: int | None = None,
) -> Vm:
    """An empty address space: one free range, no tables, empty pools.

    `nr_list_locks` says how many lists of slabs have a lock; `nr_nodes` is the kernel's clamp(CPUs, 1, 128)
    where it is None, or 1 where the kernel has no nodes; `nr_areas` is how many areas there can be at once.
    """
    page_shift = int(m.params[0].page_shift)
    nr_cpus = int(m.params[0].nr_cpus)
    nr_nodes = nr_nodes or (min(nr_cpus, NR_VMAP_NODES_MAX) if m.params[0].vmap_nodes else 1)
    nr_areas = nr_areas or min(int(m.params[0].nr_frames) + 1024, 1 << 22)
    first, last = space.start >> page_shift, space.end >> page_shift
    table_bits = page_shift - 3
    firsts, nr_slots = _table_levels(first, last, table_bits, space.nr_table_levels)
    nr_contexts = len(m.contexts)
    vm = Vm(
        areas=np.zeros(nr_areas, vm_struct_t),
        vas=np.zeros(3 * nr_areas + 1024, vmap_area_t),
        trees=np.zeros(2, vmap_tree_t),
        nodes=np.zeros(nr_nodes, vmap_node_t),
        pools=np.zeros(nr_nodes * MAX_VA_SIZE_PAGES, vmap_pool_t),
        cpus=np.zeros(nr_cpus, vm_cpu_t),
        tables=np.zeros(nr_slots, np.int32),
        kmalloc_caches=_array_caches(caches, 1 << page_shift),
        params=np.zeros(1, vm_params_t),
        contexts=np.zeros(nr_contexts, vm_context_t),
        frames=np.zeros(nr_contexts * FRAMES_PER_CONTEXT, vm_frame_t),
        work=np.zeros(1, vm_work_t),
        events=np.zeros(NR_VM_EVENTS, np.int64),
    )
    params = vm.params[0]
    params.start, params.end = first, last
    params.nr_nodes = nr_nodes
    params.zone_pages = VMAP_ZONE_PAGES if nr_nodes > 1 else 1
    params.lazy_max_pages = nr_cpus.bit_length() * (LAZY_MAX_BYTES >> page_shift)
    params.total_pages = int(m.zones["managed_pages"].sum())
    params.pmd_order = m.params[0].pmd_order
    params.allow_huge = m.params[0].vmalloc_huge
    locks = all_locks(len(m.zones), nr_list_locks, nr_nodes)
    params.lock_first = first_of_class(locks, VMALLOC_CLASSES[0])
    params.va_cache = caches.index_of("vmap_area")
    params.vm_cache = kmalloc_cache(caches, VM_STRUCT_BYTES)
    params.nr_table_levels = space.nr_table_levels
    params.table_bits = table_bits
    params.table_first[: len(firsts)] = firsts
    _make_empty(vm, page_shift)
    return vm


def _make_empty(vm: Vm, page_shift: int) -> None:
    """All lists empty, and the whole of the address space one free range (kernel: vmap_init_free_space)."""
    vm.params["va_unused"], vm.params["area_unused"] = NO_VA, NO_AREA
    vm.params["va_fresh"] = 1
    vm.trees["root"] = vm.trees["first"] = NO_VA
    vm.nodes["lazy"] = vm.nodes["purge"] = NO_VA
    vm.pools["head"] = vm.pools["tail"] = NO_VA
    vm.cpus["preload"] = NO_VA
    vm.cpus["deferred"] = NO_AREA
    vm.contexts["lock"] = NO_LOCK
    whole = vm.vas[0]
    whole.end = whole.subtree_max = (1 << (64 - page_shift)) - 1
    whole.parent = whole.left = whole.right = whole.next = whole.prev = NO_VA
    whole.obj = NO_OBJECT
    whole.area = NO_AREA
    whole.state = VA_FREE
    vm.trees[FREE_TREE].root = vm.trees[FREE_TREE].first = 0
    vm.trees[FREE_TREE].nr = 1


def _table_levels(first: int, last: int, table_bits: int, nr_levels: int) -> tuple[list[int], int]:
    """Where each level's slots begin in `tables`, and how many slots there are."""
    assert nr_levels <= NR_TABLE_LEVELS
    firsts: list[int] = []
    nr_slots = 0
    for level in range(1, nr_levels + 1):
        shift = table_bits * level
        firsts.append(nr_slots - (first >> shift))
        nr_slots += (last >> shift) - (first >> shift) + 1
    return firsts, nr_slots


def _array_caches(caches: Caches, page_bytes: int) -> NDArray[np.int32]:
    """kmalloc's cache for an array of 0, 1, 2 ... pointers, up to a page of them."""
    nr_pointers = page_bytes // POINTER_BYTES
    numbers = [kmalloc_cache(caches, max(nr, 1) * POINTER_BYTES) for nr in range(nr_pointers + 1)]
    return np.array(numbers, np.int32)


def kmalloc_cache(caches: Caches, nr_bytes: int) -> int:
    """The number of kmalloc's cache for a size, which some cache must hold."""
    number = caches.kmalloc_index(nr_bytes, 0)
    assert number is not None, "an object that no cache holds"
    return number
