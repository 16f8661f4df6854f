"""Sections `kv.*`: from which size on kvmalloc leaves the slab, and what vmalloc then gives, asked of `mm.kvmalloc`.

A row: size, ok, is it vmalloc's, the order of its mappings, its pages, and whether kmalloc with __GFP_NORETRY has the
size. Each size is asked of a machine of its own in the state of that moment, `fresh.state` or `frag.do`, with the
caches of the recorded build, no slabs and an empty vmalloc space; kmalloc is asked of another one. Every column is
the compiled allocators' answer. Of most moments the counts of free blocks were recorded and not the lists
(`validate.counted`), and memory had moved by a few hundred pages when kvmalloc was measured. So a row is scored where
the recorded counts leave no doubt, and is at the edge, and skipped, elsewhere, whatever the allocators answer:
    kmalloc has a block     two or more of its order could be cut, watermarks and reserves left alone; of an order that
                            per-CPU lists hold, more than one refill takes at once
    kmalloc has none        the largest free block is more than one order too small
    huge mappings           half as many blocks again as are needed, or none at all: what earlier rows freed waits,
                            page by page, in per-CPU lists
Sizes up to KMALLOC_MAX_CACHE_SIZE are not scored: a slab that exists may serve them. `by_order` is not, either.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from kmsim.jit import entry
from kmsim.mm.getorder import get_order
from kmsim.mm.gfp import GFP_KERNEL, GFP_NORETRY
from kmsim.mm.kvmalloc import kvmalloc_begin
from kmsim.mm.limits import INT_MAX
from kmsim.mm.mmzone import PAGE_ALLOC_COSTLY_ORDER, WMARK_HIGH, ZONE_NAMES, ZONE_NORMAL, Machine
from kmsim.mm.slab_common import Caches
from kmsim.mm.slub_records import NO_CACHE, Slub, new_slub
from kmsim.mm.snapshot import copy_machine
from kmsim.mm.vm_layout import vmalloc_space
from kmsim.mm.vm_records import KV_FAILED, KV_VMALLOC, Vm, create_vm_caches, new_vm
from kmsim.mm.vmalloc import vm_resume, vmalloc_begin
from kmsim.procfs.recorded import Recording
from kmsim.sim.core.ask import can_kmalloc
from kmsim.validate.counted import machine_in
from kmsim.validate.report import Section, skipped
from kmsim.validate.slab import build_of

MOMENTS = {"kv.fresh": "fresh.state", "kv.frag": "frag.do", "kv.frag60": "frag60.do"}
COLUMNS = 6
NOT_TRIED = "skipped"
NO_ORDER = -1
VMALLOC = -2  # in the place of a cache: vmalloc is asked, not kvmalloc
CPU = 0
NR_AREAS = 64  # at once: one, its array of pages, and that one's
GFP_KMALLOC = GFP_KERNEL | GFP_NORETRY


@entry
def allocate_kv(m: Machine, sl: Slub, vm: Vm, ac: int, request: tuple[int, int, int]) -> int:
    """A whole kvmalloc of cache, bytes and flags, where every lock is free, or a whole vmalloc; kvmalloc's outcome."""
    if request[0] == VMALLOC:
        wanted = vmalloc_begin(m, sl, vm, ac, request[1], request[2], 0)
    else:
        wanted = kvmalloc_begin(m, sl, vm, ac, request[0], request[1], request[2])
    while wanted:
        wanted = vm_resume(m, sl, vm, ac)
    return int(vm.contexts[ac].outcome)


@dataclass(frozen=True)
class Moment:
    """A machine in a state that is never changed, an empty vmalloc space, and the recorded build's caches."""

    m: Machine
    vm: Vm
    caches: Caches

    def answer(self, size: int) -> list[int]:
        """The row that the allocators give, from `ok` on."""
        has = int(can_kmalloc(copy_machine(self.m), self.caches, size, GFP_KMALLOC))
        m = copy_machine(self.m)
        sl = new_slub(m, self.caches.geometries)
        vm = Vm._make(records.copy() for records in self.vm)
        cache = self.caches.kmalloc_index(size, GFP_KERNEL)
        outcome = allocate_kv(m, sl, vm, CPU, (NO_CACHE if cache is None else cache, size, GFP_KERNEL))
        if outcome != KV_VMALLOC:
            return [int(outcome != KV_FAILED), 0, NO_ORDER, 0, has]
        area = vm.areas[vm.contexts[CPU].area]
        order = int(area.page_order) if self.m.params[0].vmalloc_huge else NO_ORDER  # which is not recorded there
        return [1, 1, order, int(area.nr_pages), has]


def moment_of(recording: Recording, state: list[dict[str, Any]]) -> Moment:
    """What is asked: a machine in the recorded state."""
    caches = Caches(build_of(recording))
    create_vm_caches(caches)
    m = machine_in(recording, state)
    space = vmalloc_space(recording.arch, int(m.params[0].page_shift))
    vm = new_vm(m, caches, space=space, nr_list_locks=len(caches.geometries), nr_areas=NR_AREAS)
    return Moment(m, vm, caches)


@dataclass(frozen=True)
class FreeBlocks:
    """The free blocks of a moment, by zone that GFP_KERNEL may use: what can be had for certain, and at most."""

    zones: list[dict[str, Any]]

    def surely(self, order: int) -> int:
        """So many blocks of an order can be had, whichever blocks the reserves are."""
        return sum(max(_usable(zone, order), 0) for zone in self.zones)

    def of_a_refill(self, order: int) -> int:
        """How many blocks of an order one refill of a per-CPU list takes at once, at most."""
        batch = max(int(pcp["batch"]) for zone in self.zones for pcp in zone["pcp"])
        return max(batch >> order, 2)

    def at_most(self, order: int) -> int:
        """No more blocks of an order than this are free."""
        return sum(_blocks(zone, order) for zone in self.zones)


def _blocks(zone: dict[str, Any], order: int) -> int:
    """Blocks of an order that a zone's free blocks make."""
    return sum(count << (larger - order) for larger, count in enumerate(zone["nr_free"]) if larger >= order)


def _usable(zone: dict[str, Any], order: int) -> int:
    """Blocks that a GFP_KERNEL request may take without the highatomic reserve and above the high watermark."""
    kept = int(zone["wm"][WMARK_HIGH]) + int(zone["boost"]) + int(zone["lowmem_reserve"][ZONE_NORMAL])
    by_pages = (int(zone["free"]) - int(zone["highatomic"]) - kept) >> order
    by_blocks = ((_blocks(zone, order) << order) - int(zone["highatomic"])) >> order
    return min(by_pages, by_blocks)


@dataclass(frozen=True)
class Build:
    """The recorded kernel, as far as kvmalloc sees it."""

    page_shift: int
    pmd_order: int
    max_page_order: int
    nr_nodes: int

    def kmalloc_has(self, blocks: FreeBlocks, size: int) -> bool | None:
        """Does kmalloc have the size? None: at the edge."""
        order = get_order(size, self.page_shift)
        if order > self.max_page_order:
            return False
        nr_enough = 2 if order > PAGE_ALLOC_COSTLY_ORDER else blocks.of_a_refill(order) + 1
        if blocks.surely(order) >= nr_enough:
            return True
        return False if blocks.at_most(order - 1) == 0 else None

    def mapping_order(self, blocks: FreeBlocks, size: int) -> int | None:
        """The order of vmalloc's mappings. None: at the edge."""
        if size // self.nr_nodes < 1 << (self.page_shift + self.pmd_order) or self.pmd_order > self.max_page_order:
            return 0
        nr_wanted = -(-size >> (self.page_shift + self.pmd_order))
        if 2 * blocks.surely(self.pmd_order) >= 3 * nr_wanted:
            return self.pmd_order
        return 0 if blocks.at_most(self.pmd_order) == 0 else None

    def at_edge(self, blocks: FreeBlocks, size: int) -> bool:
        """Do the counts leave a doubt of what kvmalloc gives?"""
        has = self.kmalloc_has(blocks, size)
        if has is None:
            return True
        if has or size > INT_MAX:
            return False
        enough = blocks.surely(0) << self.page_shift >= size + size // 2
        return not enough or self.mapping_order(blocks, size) is None


def kv_sections(recording: Recording, name: str) -> list[Section]:
    """Every row of one section."""
    moment = recording.lab.get(MOMENTS.get(name, ""))
    if moment is None:
        return [skipped(name, "the free blocks of that moment were not recorded")]
    blocks = FreeBlocks([zone for zone in moment["state"] if ZONE_NAMES.index(zone["name"]) <= ZONE_NORMAL])
    consts = recording.consts
    asked = moment_of(recording, moment["state"])
    nr_nodes = len(asked.m.nodes)
    build = Build(int(consts["PAGE_SHIFT"]), recording.pmd_order, int(consts["max_order_inclusive"]), nr_nodes)
    section = Section(name)
    edges: list[int] = []
    for row in recording.lab[name]["rows"]:
        size = int(row[0])
        if size <= int(consts["KMALLOC_MAX_CACHE_SIZE"]) or row[1] == NOT_TRIED:
            section.skipped += 1
            continue
        if build.at_edge(blocks, size):
            section.skipped += 1
            edges.append(size)
            continue
        wanted = [int(value) for value in row[1:COLUMNS]]
        got = asked.answer(size)
        section.rows += 1
        section.equal += got == wanted
        if got != wanted:
            section.why = f"size {size}: recorded {wanted}, kmsim {got}"
    if edges and not section.why:
        section.why = f"{len(edges)} sizes at the edge of what was free, from {edges[0]} on, are not scored"
    return [section]
