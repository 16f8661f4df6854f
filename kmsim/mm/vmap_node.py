"""vmap nodes: busy and lazily freed ranges in shares, and pools of ready ranges by length (kernel: struct vmap_node).

On a machine of several CPUs the space is dealt out to nodes in zones of 16 pages. A busy range belongs to the
node of its address; a lazily freed one to the node of the CPU that asked for it, whose pool keeps it for
the next request of that length.

What the kernel keeps in trees by address, a node only counts (busy) or keeps as a list that the purge sorts
(lazy): nothing here is looked up by address, and the order is the same. The steps that the kernel's trees
would take are counted as the bits of the number of ranges (assumed: a balanced tree).
Locks: a node's busy.lock, lazy.lock and pool_lock, one at a time; each verb says which its caller holds.
"""

from kmsim.jit import core, shared, small
from kmsim.mm.indices import LockClassIdx, LockIdx, PoolIdx, VaIdx, VmapNodeIdx
from kmsim.mm.locks import BUSY_LOCK, LAZY_LOCK, POOL_LOCK, vmap_node_lock
from kmsim.mm.vm_records import (
    MAX_VA_SIZE_PAGES,
    NO_OWNER,
    NO_POOL,
    NO_VA,
    VA_BUSY,
    VA_LAZY,
    VA_NEW,
    VA_POOL,
    VA_PURGE,
    Vm,
)
from kmsim.mm.vmap_tree import Records


@small
def addr_to_node(vm: Vm, start: int) -> VmapNodeIdx:
    """The node that an address belongs to (kernel: addr_to_node_id)."""
    params = vm.params[0]
    return int(start // params.zone_pages % params.nr_nodes)


@shared
def encode_vn_id(node: VmapNodeIdx) -> int:
    """A node as the owner of a range; none is NO_OWNER (kernel: encode_vn_id)."""
    return node + 1


@shared
def decode_vn_id(owner: int) -> VmapNodeIdx:
    """The node that owns a range (kernel: decode_vn_id)."""
    return owner - 1


@small
def home_node(vm: Vm, va: VaIdx) -> VmapNodeIdx:
    """The node that a freed range goes back to: its owner's, or else that of its address."""
    owner = int(vm.vas[va].owner)
    return decode_vn_id(owner) if owner != NO_OWNER else addr_to_node(vm, int(vm.vas[va].start))


@shared
def node_lock(vm: Vm, node: VmapNodeIdx, lock_class: LockClassIdx) -> LockIdx:
    """The number of a node's busy, lazy or pool lock."""
    return vmap_node_lock(int(vm.params[0].lock_first), node, lock_class)


@small
def busy_lock(vm: Vm, start: int) -> LockIdx:
    """The lock of the busy ranges that begin there."""
    return node_lock(vm, addr_to_node(vm, start), BUSY_LOCK)


@small
def lazy_lock(vm: Vm, node: VmapNodeIdx) -> LockIdx:
    """The lock of a node's lazily freed ranges."""
    return node_lock(vm, node, LAZY_LOCK)


@small
def pool_lock(vm: Vm, node: VmapNodeIdx) -> LockIdx:
    """The lock of a node's pools."""
    return node_lock(vm, node, POOL_LOCK)


@small
def tree_depth(nr: int) -> int:
    """How many nodes a way down through a balanced tree visits."""
    depth = 0
    while nr:
        depth += 1
        nr >>= 1
    return depth


@small
def insert_busy(vm: Vm, va: VaIdx) -> None:
    """A range is in use; the caller holds its busy.lock."""
    node = vm.nodes[addr_to_node(vm, int(vm.vas[va].start))]
    vm.work[0].tree_steps += tree_depth(int(node.nr_busy))
    node.nr_busy += 1
    vm.vas[va].state = VA_BUSY


@small
def unlink_busy(vm: Vm, va: VaIdx) -> None:
    """A range is not in use any more; the caller holds its busy.lock (kernel: find_unlink_vmap_area)."""
    assert int(vm.vas[va].state) == VA_BUSY, "a range that is not in use is freed"
    node = vm.nodes[addr_to_node(vm, int(vm.vas[va].start))]
    vm.work[0].tree_steps += tree_depth(int(node.nr_busy))
    node.nr_busy -= 1
    vm.vas[va].state = VA_NEW


@small
def insert_lazy(vm: Vm, n: VmapNodeIdx, va: VaIdx) -> None:
    """A range waits to be flushed; the caller holds the node's lazy.lock."""
    node = vm.nodes[n]
    vm.work[0].tree_steps += tree_depth(int(node.nr_lazy))
    node.nr_lazy += 1
    vm.vas[va].state = VA_LAZY
    vm.vas[va].next = node.lazy
    node.lazy = va


@small
def take_lazy(vm: Vm, n: VmapNodeIdx) -> None:
    """Move all lazily freed ranges to the node's purge list; the caller holds its lazy.lock."""
    node = vm.nodes[n]
    node.purge = node.lazy
    node.lazy = NO_VA
    node.nr_lazy = 0


@core
def sort_purge_list(vm: Vm, n: VmapNodeIdx) -> tuple[int, int]:
    """Bring a purge list into the order of its addresses; where its first range begins and its last one ends."""
    vas = vm.vas
    head = sort_by_address(vas, int(vm.nodes[n].purge))
    vm.nodes[n].purge = head
    last = va = head
    while va != NO_VA:
        vas[va].state = VA_PURGE
        last = va
        va = int(vas[va].next)
    return int(vas[head].start), int(vas[last].end)


@core
def sort_by_address(vas: Records, head: int) -> int:
    """Merge sort of a list: runs of 1, 2, 4 ... records are merged until one is left."""
    length = 1
    while True:
        left, tail, new_head, nr_merges = head, NO_VA, NO_VA, 0
        while left != NO_VA:
            nr_merges += 1
            right, nr_left, nr_right = left, 0, length
            while right != NO_VA and nr_left < length:
                nr_left += 1
                right = int(vas[right].next)
            while nr_left > 0 or (nr_right > 0 and right != NO_VA):
                takes_left = nr_left > 0
                if takes_left and nr_right > 0 and right != NO_VA:
                    takes_left = int(vas[left].start) <= int(vas[right].start)
                if takes_left:
                    va, left = left, int(vas[left].next)
                    nr_left -= 1
                else:
                    va, right = right, int(vas[right].next)
                    nr_right -= 1
                if tail == NO_VA:
                    new_head = va
                else:
                    vas[tail].next = va
                tail = va
            left = right
        if tail != NO_VA:
            vas[tail].next = NO_VA
        head = new_head
        if nr_merges <= 1:
            return head
        length *= 2


# ---- pools


@small
def pool_of(node: VmapNodeIdx, size: int) -> PoolIdx:
    """The number of a node's pool for ranges of `size` pages, or NO_POOL (kernel: size_to_va_pool)."""
    return node * MAX_VA_SIZE_PAGES + size - 1 if size <= MAX_VA_SIZE_PAGES else NO_POOL


@small
def pool_is_empty(vm: Vm, pool: PoolIdx) -> bool:
    """Has a pool no range ready? Asked without its lock."""
    return pool == NO_POOL or int(vm.pools[pool].head) == NO_VA


@small
def pool_unlink_first(vm: Vm, pool: PoolIdx) -> VaIdx:
    """Take the first range off a pool's list."""
    va = int(vm.pools[pool].head)
    after = int(vm.vas[va].next)
    vm.pools[pool].head = after
    if after == NO_VA:
        vm.pools[pool].tail = NO_VA
    return va


@core
def node_pool_del_va(vm: Vm, pool: PoolIdx, align: int) -> VaIdx:
    """The pool's first range if it is aligned, else it goes to the tail, and NO_VA; the caller holds pool_lock.

    (kernel: node_pool_del_va)
    """
    if pool_is_empty(vm, pool):
        return NO_VA
    va = pool_unlink_first(vm, pool)
    if int(vm.vas[va].start) & (align - 1):
        tail = int(vm.pools[pool].tail)
        vm.vas[va].next = NO_VA
        if tail == NO_VA:
            vm.pools[pool].head = va
        else:
            vm.vas[tail].next = va
        vm.pools[pool].tail = va
        return NO_VA
    vm.pools[pool].len -= 1
    vm.vas[va].state = VA_NEW
    return va


@small
def node_pool_add_va(vm: Vm, pool: PoolIdx, va: VaIdx) -> None:
    """Make a range ready for the next request of its length; the caller holds pool_lock (kernel: node_pool_add_va)."""
    head = int(vm.pools[pool].head)
    vm.vas[va].next = head
    vm.vas[va].state = VA_POOL
    vm.pools[pool].head = va
    if head == NO_VA:
        vm.pools[pool].tail = va
    vm.pools[pool].len += 1


@small
def detach_pool(vm: Vm, pool: PoolIdx) -> VaIdx:
    """Take all ranges of a pool, which keeps its count; the first. The caller holds pool_lock."""
    head = int(vm.pools[pool].head)
    vm.pools[pool].head = vm.pools[pool].tail = NO_VA
    return head


@small
def attach_pool(vm: Vm, pool: PoolIdx, head: int) -> None:
    """Give a pool the ranges back that did not decay; the caller holds pool_lock."""
    assert int(vm.pools[pool].head) == NO_VA, "somebody has filled a pool that is being purged"
    vm.pools[pool].head = head
    while int(vm.vas[head].next) != NO_VA:
        head = int(vm.vas[head].next)
    vm.pools[pool].tail = head
