"""vmalloc: pages, the array that names them, and their mapping (kernel: __vmalloc_node_range, __vmalloc_area_node).

The way of a request, behind its addresses (`mm.vm_space`):
    the array of page pointers: from kmalloc, beyond a page of it from vmalloc itself
    order-0 pages, 100 at a time from the bulk allocator, the rest (before 5.14 all) one by one; or blocks of the
        PMD's order, split at once
    page tables where they are missing, then the entries
    any failure frees everything through vfree; a huge mapping is tried once more with small pages
The pages are a chain through their own records (`mm.page_chain`), in the array's order.

Leaves out __GFP_NOFAIL's endless tries, fatal signals, and mappings larger than a PMD; 6.12's vmalloc does not use
contiguous PTEs (arm64). Lock order: one lock at a time; see the parts.
"""

from kmsim.jit import core, small
from kmsim.mm.gfp import (
    GFP_DMA,
    GFP_DMA32,
    GFP_FS,
    GFP_HIGHMEM,
    GFP_IO,
    GFP_KERNEL,
    GFP_NOFAIL,
    GFP_NOWARN,
    GFP_RECLAIM_MASK,
    GFP_ZERO,
)
from kmsim.mm.indices import ContextIdx, Gfp
from kmsim.mm.locks import PAGE_TABLE_LOCK
from kmsim.mm.mmzone import NO_PAGE, Machine
from kmsim.mm.page_chain import append_pages, append_split
from kmsim.mm.slub_records import NO_OBJECT
from kmsim.mm.vm_frame import (
    AREA_ARRAY_AREA,
    AREA_ARRAY_OBJ,
    AREA_BULK,
    AREA_BULK_HAVE,
    AREA_HAS_SPACE,
    AREA_MAP,
    AREA_MAPPED,
    AREA_NO_SPACE,
    AREA_PAGES_DONE,
    AREA_SINGLE,
    AREA_SINGLE_HAVE,
    AREA_START,
    AREA_TABLE_CLEARED,
    AREA_TABLE_HAVE,
    AREA_TABLE_SET,
    AREA_UNDONE,
    CHAIN_ALLOC,
    FREE_START,
    NOTHING,
    RETURN,
    SPACE_STRUCT,
    VMAP_START,
    WAIT,
    frame_of,
    must_release,
    own_lock,
    pages_alloc,
    pages_free,
    push_frame,
    slab_alloc,
    wait,
)
from kmsim.mm.vm_purge import flush_range
from kmsim.mm.vm_records import (
    EXCEEDS_MEMORY,
    HUGE_FALLBACKS,
    NO_AREA,
    NO_ARRAY,
    NO_PAGES,
    NO_TABLE,
    POINTER_BYTES,
    VM_ALLOC,
    VM_ALLOCATED,
    VM_ALLOW_HUGE_VMAP,
    VM_FAILED,
    VM_MAP,
    VM_UNINITIALIZED,
    Vm,
)
from kmsim.mm.vm_table import missing_level, set_table, table_end, table_pfn, table_slot

BULK_CHUNK = 100  # pages asked for at once, so that interrupts are not off for long


@small
def step_of_area(m: Machine, vm: Vm, ac: ContextIdx, step: int) -> int:
    """Take one step of a vmalloc or vmap; returns what the next one needs."""
    if step == AREA_BULK:
        return ask_for_pages(vm, ac)
    if step == AREA_BULK_HAVE:
        return bulk_have(m, vm, ac)
    if step == AREA_PAGES_DONE:
        return pages_done(vm, ac)
    if step == AREA_MAP:
        return map_pages(vm, ac)
    if step == AREA_MAPPED:
        return mapped(vm, ac)
    if step == AREA_START:
        return start_vmalloc(m, vm, ac)
    if step == AREA_HAS_SPACE:
        return has_space(vm, ac)
    if step in (AREA_ARRAY_OBJ, AREA_ARRAY_AREA):
        return array_have(m, vm, ac, step)
    if step in (AREA_SINGLE, AREA_SINGLE_HAVE):
        return single_page(m, vm, ac, step)
    return step_of_rest(m, vm, ac, step)


@core
def step_of_rest(m: Machine, vm: Vm, ac: ContextIdx, step: int) -> int:
    """Take one step of a rare path: new tables, failures, vmap."""
    frame = vm.frames[frame_of(vm, ac)]
    if step in (AREA_TABLE_HAVE, AREA_TABLE_SET):
        return new_table(vm, ac, step)
    if step == AREA_TABLE_CLEARED:
        return pages_free(vm, ac, int(frame.table_pfn), 0, AREA_MAP)
    if step in (AREA_NO_SPACE, AREA_UNDONE):
        return try_small(m, vm, ac)
    assert step == VMAP_START, "a frame without a step"
    frame.order = 0
    if frame.nr_pages > vm.params[0].total_pages:
        return failed(vm, ac, EXCEEDS_MEMORY)
    frame.gfp = GFP_KERNEL
    frame.step = SPACE_STRUCT
    return NOTHING


@small
def start_vmalloc(m: Machine, vm: Vm, ac: ContextIdx) -> int:
    """Look at the size: too large, or large enough for huge mappings (kernel: __vmalloc_node_range)."""
    frame = vm.frames[frame_of(vm, ac)]
    page_shift = int(m.params[0].page_shift)
    params = vm.params[0]
    if frame.nr_bytes >> page_shift > params.total_pages:
        return failed(vm, ac, EXCEEDS_MEMORY)
    pmd_order = int(params.pmd_order)
    bytes_per_node = frame.nr_bytes // len(m.nodes)
    is_huge = frame.vm_flags & VM_ALLOW_HUGE_VMAP and bytes_per_node >= 1 << (page_shift + pmd_order)
    frame.order = pmd_order if params.allow_huge and is_huge else 0
    frame.vm_flags |= VM_ALLOC | VM_UNINITIALIZED
    set_nr_pages(m, vm, ac)
    frame.step = SPACE_STRUCT
    return NOTHING


@small
def set_nr_pages(m: Machine, vm: Vm, ac: ContextIdx) -> None:
    """How many pages will be mapped: whole mappings of the chosen order."""
    frame = vm.frames[frame_of(vm, ac)]
    unit = 1 << (int(m.params[0].page_shift) + int(frame.order))
    frame.nr_pages = (frame.nr_bytes + unit - 1) // unit << int(frame.order)


@small
def failed(vm: Vm, ac: ContextIdx, reason: int) -> int:
    """The whole request has failed."""
    vm.contexts[ac].failure = reason
    vm.contexts[ac].area = NO_AREA
    vm.events[VM_FAILED + reason] += 1
    return RETURN


@small
def try_small(m: Machine, vm: Vm, ac: ContextIdx) -> int:
    """The try has failed: try again without huge mappings, or fail (kernel: __vmalloc_node_range, fail)."""
    frame = vm.frames[frame_of(vm, ac)]
    if frame.order == 0:
        return failed(vm, ac, int(vm.contexts[ac].failure))
    vm.events[HUGE_FALLBACKS] += 1
    frame.order = 0
    set_nr_pages(m, vm, ac)
    frame.step = SPACE_STRUCT
    return NOTHING


@small
def undo(vm: Vm, ac: ContextIdx, reason: int) -> int:
    """Free everything, through vfree; as it never was the caller's, no vfree is counted."""
    frame = vm.frames[frame_of(vm, ac)]
    vm.contexts[ac].failure = reason
    frame.step = AREA_UNDONE
    area = int(frame.area)
    vm.areas[area].vm_flags = int(vm.areas[area].vm_flags) | VM_UNINITIALIZED
    vm.frames[push_frame(vm, ac, FREE_START)].area = area
    return NOTHING


@small
def has_space(vm: Vm, ac: ContextIdx) -> int:
    """The addresses are allocated: ask for the array of pages; a vmap has its pages, and goes on to the mapping."""
    f = frame_of(vm, ac)
    frame = vm.frames[f]
    frame.nr_got = 0
    frame.next_vpn = frame.start_vpn
    if frame.vm_flags & VM_ALLOC == 0:
        frame.step = AREA_MAP
        return NOTHING
    nr_pages = int(frame.nr_pages)
    gfp = int(frame.gfp) & GFP_RECLAIM_MASK | GFP_ZERO
    if nr_pages < len(vm.kmalloc_caches):
        return slab_alloc(vm, ac, int(vm.kmalloc_caches[nr_pages]), gfp, AREA_ARRAY_OBJ)
    frame.step = AREA_ARRAY_AREA
    inner = vm.frames[push_frame(vm, ac, AREA_START)]
    inner.nr_bytes = nr_pages * POINTER_BYTES
    inner.gfp = gfp
    inner.vm_flags = 0
    return NOTHING


@small
def array_have(m: Machine, vm: Vm, ac: ContextIdx, step: int) -> int:
    """The array was allocated, or not: ask for the pages, or undo."""
    frame = vm.frames[frame_of(vm, ac)]
    area = vm.areas[frame.area]
    context = vm.contexts[ac]
    if step == AREA_ARRAY_OBJ:
        area.pages_obj = context.obj
    else:
        area.pages_area = context.area
    if area.pages_obj == NO_OBJECT and area.pages_area == NO_AREA:
        return undo(vm, ac, NO_ARRAY)
    area.page_order = frame.order
    if frame.gfp & (GFP_DMA | GFP_DMA32) == 0:
        frame.gfp |= GFP_HIGHMEM
    frame.step = AREA_BULK if frame.order == 0 and m.params[0].vmalloc_bulk else AREA_SINGLE
    return NOTHING


@small
def ask_for_pages(vm: Vm, ac: ContextIdx) -> int:
    """Ask the bulk allocator for the next pages (kernel: vm_area_alloc_pages)."""
    frame = vm.frames[frame_of(vm, ac)]
    context = vm.contexts[ac]
    context.gfp = frame.gfp | GFP_NOWARN
    context.nr = min(BULK_CHUNK, int(frame.nr_pages - frame.nr_got))
    frame.step = AREA_BULK_HAVE
    return CHAIN_ALLOC


@small
def bulk_have(m: Machine, vm: Vm, ac: ContextIdx) -> int:
    """Append the pages to those that are there; if there were too few, go on one by one."""
    frame = vm.frames[frame_of(vm, ac)]
    area = vm.areas[frame.area]
    nr = int(m.contexts[ac].nr_populated)
    if nr:
        area.first_pfn = append_pages(m, ac, int(area.first_pfn), int(frame.last_pfn))
        frame.last_pfn = m.contexts[ac].chain_tail
        frame.nr_got += nr
    vm.work[0].pages_taken += nr
    if frame.nr_got == frame.nr_pages:
        frame.step = AREA_PAGES_DONE
    else:
        frame.step = AREA_BULK if nr == vm.contexts[ac].nr else AREA_SINGLE
    return NOTHING


@core
def single_page(m: Machine, vm: Vm, ac: ContextIdx, step: int) -> int:
    """Ask for one page or block; or split the one that was allocated, and append its pages."""
    frame = vm.frames[frame_of(vm, ac)]
    area = vm.areas[frame.area]
    order = int(frame.order)
    if step == AREA_SINGLE_HAVE:
        pfn = int(vm.contexts[ac].pfn)
        if pfn == NO_PAGE:
            frame.step = AREA_PAGES_DONE
            return NOTHING
        if order and must_release(vm, ac):
            return WAIT
        area.first_pfn = append_split(m, ac, int(area.first_pfn), int(frame.last_pfn), pfn, order)
        frame.last_pfn = pfn + (1 << order) - 1
        frame.nr_got += 1 << order
        vm.work[0].pages_taken += 1 << order
    if frame.nr_got == frame.nr_pages or order > m.params[0].max_page_order:
        frame.step = AREA_PAGES_DONE
        return NOTHING
    gfp = int(frame.gfp) | GFP_NOWARN
    return pages_alloc(vm, ac, gfp & ~GFP_NOFAIL if order else gfp, order, AREA_SINGLE_HAVE)


@small
def pages_done(vm: Vm, ac: ContextIdx) -> int:
    """All pages are allocated, or no more can be."""
    frame = vm.frames[frame_of(vm, ac)]
    vm.areas[frame.area].nr_pages = frame.nr_got
    if frame.nr_got != frame.nr_pages:
        return undo(vm, ac, NO_PAGES)
    frame.step = AREA_MAP
    return NOTHING


@small
def map_pages(vm: Vm, ac: ContextIdx) -> int:
    """Set entries up to where a table is missing, or a table of PTEs takes their place (kernel: vmap_pages_range)."""
    f = frame_of(vm, ac)
    if must_release(vm, ac):
        return WAIT
    frame = vm.frames[f]
    order = int(frame.order)
    end = int(frame.start_vpn + frame.nr_pages)
    while frame.next_vpn < end:
        vpn = int(frame.next_vpn)
        level = missing_level(vm, vpn, 2 if order else 1)
        if level:
            frame.table_level = level
            return pages_alloc(vm, ac, table_gfp(int(frame.gfp)), 0, AREA_TABLE_HAVE)
        if order:
            slot = table_slot(vm, 1, vpn)
            if table_pfn(vm, slot) != NO_PAGE:
                frame.table_pfn = table_pfn(vm, slot)
                set_table(vm, slot, NO_PAGE)
                return flush_range(vm, ac, vpn, vpn + 1, AREA_TABLE_CLEARED)
            vm.work[0].ptes_set += 1
            frame.next_vpn = vpn + (1 << order)
        else:
            following = table_end(vm, vpn, end)
            vm.work[0].ptes_set += following - vpn
            frame.next_vpn = following
    frame.step = AREA_MAPPED
    return NOTHING


@small
def table_gfp(gfp: Gfp) -> int:
    """The mask for page tables: of the caller's only __GFP_IO and __GFP_FS count (kernel: memalloc_noio_save)."""
    if gfp & (GFP_FS | GFP_IO) == GFP_IO:
        return (GFP_KERNEL | GFP_ZERO) & ~GFP_FS
    if gfp & (GFP_FS | GFP_IO) == 0:
        return (GFP_KERNEL | GFP_ZERO) & ~(GFP_FS | GFP_IO)
    return GFP_KERNEL | GFP_ZERO


@small
def new_table(vm: Vm, ac: ContextIdx, step: int) -> int:
    """A table's page was allocated, or not; under page_table_lock it is linked in (kernel: __pte_alloc_kernel)."""
    frame = vm.frames[frame_of(vm, ac)]
    if step == AREA_TABLE_HAVE:
        if vm.contexts[ac].pfn == NO_PAGE:
            return undo(vm, ac, NO_TABLE)
        frame.table_pfn = vm.contexts[ac].pfn
        return wait(vm, ac, own_lock(vm, PAGE_TABLE_LOCK), AREA_TABLE_SET)
    slot = table_slot(vm, int(frame.table_level), int(frame.next_vpn))
    if table_pfn(vm, slot) != NO_PAGE:
        return pages_free(vm, ac, int(frame.table_pfn), 0, AREA_MAP)  # somebody was faster
    set_table(vm, slot, int(frame.table_pfn))
    vm.work[0].tables_new += 1
    frame.step = AREA_MAP
    return NOTHING


@small
def mapped(vm: Vm, ac: ContextIdx) -> int:
    """The mapping is complete: the area is the result."""
    frame = vm.frames[frame_of(vm, ac)]
    area = vm.areas[frame.area]
    area.vm_flags = int(area.vm_flags) & ~VM_UNINITIALIZED
    if frame.vm_flags & VM_ALLOC == 0:
        area.vm_flags = int(area.vm_flags) | VM_MAP
    vm.contexts[ac].area = frame.area
    vm.contexts[ac].failure = 0
    vm.events[VM_ALLOCATED] += 1
    vm.work[0].areas_new += 1
    return RETURN
