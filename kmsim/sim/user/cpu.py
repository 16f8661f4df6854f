"""A CPU as a user's own SimPy process sees it: ask for memory, give it back.

    def my_thread(simulation):
        cpu = simulation.cpus[0]
        alloc = yield from cpu.alloc_pages("GFP_KERNEL", order=3)
        yield simulation.env.timeout(2 * US)
        if alloc is not None:
            yield from cpu.free_pages(alloc)

    kmsim.run("study.yaml", processes=[my_thread])

Here are the calls for pages; those for objects are in `sim.user.objects`, for caches in `sim.user.caches`, for
vmalloc and kvmalloc in `sim.user.areas`. All take part in everything: they share the CPU with its kernel threads
(and pay for the switch), are interrupted, wait for locks, and are counted. Calls on one CPU are served one after
the other.
Where there is no memory the answer is None; a bad free is refused with `sim.user.alloc.BadFree`.
An operation that has begun goes on: do not throw a `simpy.Interrupt` into a process that is within a call.
"""

from __future__ import annotations

from kmsim.mm.getorder import get_order
from kmsim.mm.gfp import GFP_COMP, GFP_HIGHMEM, parse_gfp
from kmsim.mm.indices import NodeIdx, Order
from kmsim.mm.mmzone import NUMA_NO_NODE
from kmsim.sim.user.alloc import Alloc
from kmsim.sim.user.areas import AreaCalls
from kmsim.sim.user.caches import CacheCalls
from kmsim.sim.user.calls import Allocating, Call, check_size, is_zero
from kmsim.sim.user.not_made import says_what_is_not_made
from kmsim.workload.op_stream import DRAIN
from kmsim.workload.request import EXACT, PAGES, Request
from kmsim.workload.turns import NO_SLOT


@says_what_is_not_made
class Cpu(CacheCalls, AreaCalls):
    """One simulated CPU."""

    def alloc_pages(self, gfp: str | int, order: Order = 0) -> Allocating:
        """Allocate a block of 2^order pages here; `gfp` as the kernel writes it. None where there is no page.

        ValueError for flags that the kernel would warn of, or an order above max_page_order.
        """
        return (yield from self._pages(gfp, order, NUMA_NO_NODE))

    def alloc_pages_node(self, nid: NodeIdx, gfp: str | int, order: Order = 0) -> Allocating:
        """The same near a node, whatever the thread's policy (kernel: alloc_pages_node).

        Other nodes help out if it is full, but for `__GFP_THISNODE`. ValueError for a node that the machine has not.
        """
        return (yield from self._pages(gfp, order, self._node(nid)))

    def _pages(self, gfp: str | int, order: Order, nid: NodeIdx) -> Allocating:
        flags = parse_gfp(gfp) if isinstance(gfp, str) else gfp
        highest = int(self.held.machine.params[0].max_page_order)
        if type(order) is not int or not 0 <= order <= highest:
            raise ValueError(f"an order is 0 to {highest}, not {order!r}")
        self._gfp(gfp, order=order, refuse=0)
        nr_bytes = 1 << (order + int(self.held.machine.params[0].page_shift))
        return (yield from self._allocate(Request(flags, order, nid=nid), nr_bytes))

    def free_pages(self, alloc: Alloc | int | None) -> Call:
        """Free a block here, wherever it was allocated; BadFree where it is no block, or freed already.

        None and the address 0 are nothing (kernel: free_pages).
        """
        if alloc is not None and alloc != 0:
            yield from self._free(self._to_free(alloc, PAGES))

    def alloc_pages_exact(self, nr_bytes: int, gfp: str | int = "GFP_KERNEL") -> Allocating:
        """Allocate as many pages as the bytes take, one after the other (kernel: alloc_pages_exact).

        None for 0 bytes: the kernel's get_order(0) is an order that no machine has.
        """
        return (yield from self._exact(nr_bytes, gfp, NUMA_NO_NODE))

    def alloc_pages_exact_nid(self, nid: int, nr_bytes: int, gfp: str | int = "GFP_KERNEL") -> Allocating:
        """The same near a node, whatever the thread's policy (kernel: alloc_pages_exact_nid).

        ValueError for a node that the machine has not.
        """
        return (yield from self._exact(nr_bytes, gfp, self._node(nid)))

    def _exact(self, nr_bytes: int, gfp: str | int, nid: NodeIdx) -> Allocating:
        if is_zero(nr_bytes):
            return None
        check_size(nr_bytes)
        order = get_order(nr_bytes, self._page_shift)
        flags = self._gfp(gfp, order=order, refuse=GFP_COMP | GFP_HIGHMEM)
        return (yield from self._allocate(Request(flags, order, EXACT, nid=nid), nr_bytes))

    def _node(self, nid: NodeIdx) -> NodeIdx:
        """A node of the machine, with memory or without; ValueError else."""
        last = len(self.held.machine.nodes) - 1
        if type(nid) is not int or not 0 <= nid <= last:
            raise ValueError(f"a node is 0 to {last}, not {nid!r}")
        return nid

    def free_pages_exact(self, alloc: Alloc | int, nr_bytes: int) -> Call:
        """Give exact pages back (kernel: free_pages_exact).

        BadFree for a wrong size: if it is too large, and pages behind the end would have been freed, nothing is;
        if it is too small, after the free, as the rest is left behind: allocated, and nobody's.
        """
        check_size(nr_bytes)
        alloc = self._to_free(alloc, EXACT)
        slot = self.held.core.slots[alloc.slot]
        excess = -(-nr_bytes // self._page_size) - int(slot.detail)
        if excess > 0:
            problem = f"Wrong size: {excess} pages behind its end would be freed, whoever has them"
            raise alloc.refused(problem, self._site())
        slot.detail = int(slot.detail) + excess
        asked = self._site()
        yield from self._free(alloc)
        if excess < 0:
            raise alloc.refused(f"Wrong size: {-excess} pages are left behind, allocated and nobody's", asked)

    def drain_all_pages(self) -> Call:
        """Give the pages on all CPUs' lists back to the zones, from here (kernel: drain_all_pages)."""
        yield from self._turn(DRAIN, NO_SLOT, None)
