"""The slow model of vmalloc's addresses: which range a request gets, and where a freed one goes (kernel: mm/vmalloc.c).

Written from the kernel's source for facts and from nothing of kmsim. All numbers are pages; a range is a tuple of start
and end, its guard page included. The free space is a sorted list. An operation is atomic: no interrupts.

Left out: objects and their failures, and the shape of the kernel's tree. That decides where an *aligned* request
lies: `alloc` is told the answer and checks that the kernel could have given it.
"""

from __future__ import annotations

from bisect import insort
from dataclasses import dataclass, field

Range = tuple[int, int]
POOL_PAGES_MAX = 256


@dataclass
class Node:
    """What one vmap node keeps: lazily freed ranges with their owners, and pools by length, first to be used first."""

    lazy: list[tuple[Range, int | None]] = field(default_factory=list)
    pools: dict[int, list[Range]] = field(default_factory=dict)


class VmapModel:
    """The address space of one machine."""

    def __init__(self, start: int, end: int, page_shift: int, nr_cpus: int, nr_nodes: int | None = None) -> None:
        self.start, self.end = start, end
        self.free: list[Range] = [(0, (1 << 64 - page_shift) - 1)]
        self.nodes = [Node() for _ in range(min(max(nr_cpus, 1), 128) if nr_nodes is None else nr_nodes)]
        self.busy: dict[Range, int | None] = {}  # and whose CPU's node asked
        self.lazy_max = nr_cpus.bit_length() * (32 << 20 >> page_shift)
        self.lazy_nr = 0
        self.drain_scheduled = False
        self.flushes: list[Range] = []

    def alloc(self, cpu: int, size: int, align: int, told: int | None) -> int | None:
        """A range's start, or None; purges where there is none (kernel: alloc_vmap_area)."""
        owner = cpu % len(self.nodes) if len(self.nodes) > 1 else None
        start = self.take_ready(owner, size, align)
        if start is None:
            start = self.take_free(size, align, told)
            if start is None:
                self.purge(full=True)
                start = self.take_free(size, align, told)
        if start is not None:
            self.busy[start, start + size] = owner
        return start

    def take_ready(self, owner: int | None, size: int, align: int) -> int | None:
        """The first range of the pool; one that is not aligned goes to its end (kernel: node_pool_del_va)."""
        pool = self.nodes[owner].pools.get(size, []) if owner is not None and size <= POOL_PAGES_MAX else []
        if not pool:
            return None
        first = pool.pop(0)
        if first[0] % align:
            pool.append(first)
            return None
        return first[0]

    def take_free(self, size: int, align: int, told: int | None) -> int | None:
        """The lowest place in the free space."""
        for low, high in self.free:
            start = -(-max(low, self.start) // align) * align
            if start + size <= high:
                break
        if align > 1:
            start = self.check_told(size, align, start, told)
        if start + size > self.end:
            return None
        place = next(piece for piece in self.free if piece[0] <= start and start + size <= piece[1])
        self.free.remove(place)
        for piece in ((place[0], start), (start + size, place[1])):
            if piece[0] < piece[1]:
                insort(self.free, piece)
        return start

    def check_told(self, size: int, align: int, lowest: int, told: int | None) -> int:
        """The answer for an aligned request is between the lowest place and the lowest that any place would do for."""
        sure = next(
            -(-max(low, self.start) // align) * align
            for low, high in self.free
            if high - max(low, self.start) >= size + align
        )
        if told is None:
            assert sure + size > self.end
            return sure
        assert lowest <= told <= sure
        assert told % align == 0
        return told

    def give(self, piece: Range) -> None:
        """Put a range into the free space, merged (kernel: merge_or_add_vmap_area)."""
        insort(self.free, piece)
        at = self.free.index(piece)
        while at + 1 < len(self.free) and self.free[at][1] == self.free[at + 1][0]:
            self.free[at : at + 2] = [(self.free[at][0], self.free[at + 1][1])]
        while at and self.free[at - 1][1] == self.free[at][0]:
            self.free[at - 1 : at + 1] = [(self.free[at - 1][0], self.free[at][1])]
            at -= 1

    def node_of(self, start: int) -> int:
        """The node of an address: zones of 16 pages in turn (kernel: addr_to_node_id)."""
        return start // 16 % len(self.nodes) if len(self.nodes) > 1 else 0

    def free_lazily(self, piece: Range) -> None:
        """A range is unmapped and waits to be flushed (kernel: free_vmap_area_noflush)."""
        owner = self.busy.pop(piece)
        self.lazy_nr += piece[1] - piece[0]
        self.nodes[self.node_of(piece[0]) if owner is None else owner].lazy.append((piece, owner))
        self.drain_scheduled |= self.lazy_nr > self.lazy_max

    def purge(self, *, full: bool) -> None:
        """Flush, and make ranges ready or free again (kernel: __purge_vmap_area_lazy)."""
        purged: dict[int, list[tuple[Range, int | None]]] = {}
        for number, node in enumerate(self.nodes):
            self.decay(node, full=full)
            if node.lazy:
                purged[number], node.lazy = sorted(node.lazy), []
        if purged:
            ranges = [piece for pieces in purged.values() for piece, _ in pieces]
            self.flushes.append((min(ranges)[0], max(high for _, high in ranges)))
        for number, pieces in purged.items():
            for piece, owner in pieces:
                size = piece[1] - piece[0]
                self.lazy_nr -= size
                if owner is not None and not full and size <= POOL_PAGES_MAX:
                    self.nodes[number].pools.setdefault(size, []).insert(0, piece)
                else:
                    self.give(piece)

    def decay(self, node: Node, *, full: bool) -> None:
        """A quarter of each pool goes back; of a pool of fewer than four, all (kernel: decay_va_pool_node)."""
        for pool in node.pools.values():
            nr = len(pool) if full or len(pool) < 4 else len(pool) // 4
            for piece in pool[:nr]:
                self.give(piece)
            del pool[:nr]
