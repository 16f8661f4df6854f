"""All locks, in one table: how each is taken, what it protects, and in which order (kernel: mm/rmap.c, mm/slub.c).

Words, here and wherever there are locks:
    class    all locks that protect the same kind of thing, as lockdep's classes: a row of `LOCK_CLASSES`
    kind     how locks of a class are taken and waited for
    order    a CPU that holds a lock asks only for locks of a higher order, so two of one order are never held
             together. A lock that is only tried may be tried whatever is held, as lockdep has it
    number   all locks of a machine are numbered through (`LockIdx`), class by class, as `all_locks` lists them

Leaves out what nothing here waits for: RCU, slab_mutex, pcpu_drain_mutex, the rq locks. Invariant: the functions that
give the number of a lock agree with `all_locks`.
"""

from collections.abc import Sequence
from typing import NamedTuple

from kmsim.jit import shared
from kmsim.mm.indices import LockClassIdx, LockIdx, NodeIdx, VmapNodeIdx, ZoneIdx

# Kinds of locks.
LOCK_IRQSAVE, LOCK_SPIN, LOCK_MUTEX, LOCK_TRY, LOCK_WAIT = range(5)
LOCK_KINDS = (
    "spinlock, interrupts off",
    "spinlock, interrupts on",
    "mutex",
    "trylock by its CPU; a drain from elsewhere waits",
    "no lock, but waited for and counted like one",
)

# Classes of locks.
(
    ZONE_LOCK,
    NODE_LIST_LOCK,
    FREE_VMAP_AREA_LOCK,
    VMAP_PURGE_LOCK,
    PAGE_TABLE_LOCK,
    BUSY_LOCK,
    LAZY_LOCK,
    POOL_LOCK,
    PCP_LOCK,
    CSD_LOCK,
    LRU_LOCK,
) = range(11)


class LockClass(NamedTuple):
    """What all locks of a class have in common."""

    name: str  # as in the kernel's source
    kind: int
    protects: str
    order: int
    row: str  # how one of them is called in results: {} is the zone, list or vmap node that it is of


LOCK_CLASSES = (
    LockClass("zone->lock", LOCK_IRQSAVE, "free lists, pageblock types, marks of a zone", 5, "zone {}"),
    LockClass("n->list_lock", LOCK_IRQSAVE, "a cache's partial slabs", 5, "list_lock {}"),
    LockClass("free_vmap_area_lock", LOCK_SPIN, "free addresses", 3, "free_vmap_area_lock"),
    LockClass("vmap_purge_lock", LOCK_MUTEX, "the purge of lazily freed addresses", 1, "vmap_purge_lock"),
    LockClass("init_mm.page_table_lock", LOCK_SPIN, "page tables of the kernel", 3, "init_mm.page_table_lock"),
    LockClass("vn->busy.lock", LOCK_SPIN, "a vmap node's addresses in use", 3, "vmap node {} busy"),
    LockClass("vn->lazy.lock", LOCK_SPIN, "a vmap node's lazily freed addresses", 3, "vmap node {} lazy"),
    LockClass("vn->pool_lock", LOCK_SPIN, "a vmap node's pools of addresses", 3, "vmap node {} pool"),
    LockClass("pcp->lock", LOCK_TRY, "one CPU's page lists of one zone", 4, "pcp lists {}"),
    LockClass("csd_lock", LOCK_WAIT, "a flush of all TLBs, until all other CPUs have served it", 2, "csd_lock"),
    LockClass("lruvec->lru_lock", LOCK_IRQSAVE, "a node's LRU lists and their sizes", 5, "lru_lock {}"),
)
VMALLOC_CLASSES = (FREE_VMAP_AREA_LOCK, VMAP_PURGE_LOCK, PAGE_TABLE_LOCK)  # one lock of each
VMAP_NODE_CLASSES = (BUSY_LOCK, LAZY_LOCK, POOL_LOCK)  # one lock of each for every vmap node
NR_VMALLOC_CLASSES = len(VMALLOC_CLASSES)
NR_VMAP_NODE_CLASSES = len(VMAP_NODE_CLASSES)


class Lock(NamedTuple):
    """One lock of a machine."""

    lock_class: LockClassIdx
    of: int  # which zone, list of a cache or vmap node it is of; 0 where there is one lock of the class


def all_locks(nr_zones: int, nr_lists: int = 0, nr_vmap_nodes: int = 0, nr_lruvecs: int = 0) -> list[Lock]:
    """All locks of a machine, in the order of their numbers; without vmap nodes there is no vmalloc.

    A cache has a list for each node; a machine that reclaims has LRU lists for each.
    """
    locks = [Lock(ZONE_LOCK, z) for z in range(nr_zones)]
    locks += [Lock(NODE_LIST_LOCK, nth) for nth in range(nr_lists)]
    locks += [Lock(lock_class, 0) for lock_class in VMALLOC_CLASSES if nr_vmap_nodes]
    locks += [Lock(lock_class, node) for node in range(nr_vmap_nodes) for lock_class in VMAP_NODE_CLASSES]
    locks += [Lock(PCP_LOCK, z) for z in range(nr_zones)]
    locks += [Lock(CSD_LOCK, 0)] * (nr_vmap_nodes > 0)
    return locks + [Lock(LRU_LOCK, node) for node in range(nr_lruvecs)]


def first_of_class(locks: Sequence[Lock], lock_class: LockClassIdx) -> LockIdx:
    """The number of the first lock of a class that has any."""
    return [lock.lock_class for lock in locks].index(lock_class)


def names_of_locks(locks: Sequence[Lock], *, zones: Sequence[str], lists: Sequence[str]) -> list[str]:
    """What the locks are called in results, on a machine with these zones and lists of partial slabs."""
    subjects = {ZONE_LOCK: zones, PCP_LOCK: zones, NODE_LIST_LOCK: lists}
    rows = ((LOCK_CLASSES[lock.lock_class].row, subjects.get(lock.lock_class), lock.of) for lock in locks)
    return [row.format(of if names is None else names[of]) for row, names, of in rows]


@shared
def zone_lock(z: ZoneIdx) -> LockIdx:
    """The number of a zone's lock."""
    return z


@shared
def nth_list_lock(first: LockIdx, nth: int) -> LockIdx:
    """The number of the nth list_lock, where the caches' begin with `first`."""
    return first + nth


@shared
def vmalloc_lock(first: LockIdx, lock_class: LockClassIdx) -> LockIdx:
    """The number of the only lock of one of VMALLOC_CLASSES, where vmalloc's begin with `first`."""
    return first + lock_class - FREE_VMAP_AREA_LOCK


@shared
def vmap_node_lock(first: LockIdx, node: VmapNodeIdx, lock_class: LockClassIdx) -> LockIdx:
    """The number of a vmap node's lock of one of VMAP_NODE_CLASSES, where vmalloc's begin with `first`."""
    return first + NR_VMALLOC_CLASSES + NR_VMAP_NODE_CLASSES * node + lock_class - BUSY_LOCK


@shared
def pcp_lock(first: LockIdx, z: ZoneIdx) -> LockIdx:
    """The number under which the locks of a zone's per-CPU lists are counted, where such begin with `first`."""
    return first + z


@shared
def csd_lock(first: LockIdx, nr_zones: int) -> LockIdx:
    """The number under which waits for flushes are counted: behind the per-CPU lists', which begin with `first`."""
    return first + nr_zones


@shared
def lru_lock(first: LockIdx, n: NodeIdx) -> LockIdx:
    """The number of a node's lru_lock, where they begin with `first`."""
    return first + n
