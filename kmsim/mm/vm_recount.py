"""Recount vmalloc's space, and stop where two records disagree (slow: it looks at every record in use).

Checked: both trees (see `check_tree`), no address in two ranges, each range in exactly the place that its state
names, counts of busy, lazy and pooled ranges and of lazily freed pages, areas against their ranges and their
pages, tables, free records. Only between requests: a range in a request's hands is in no place.
"""

from kmsim.jit import core
from kmsim.mm.mmzone import NO_PAGE, PG_BUDDY, PG_PCP, Machine
from kmsim.mm.slub_records import NO_OBJECT
from kmsim.mm.vm_records import (
    DECAY_TREE,
    FREE_TREE,
    MAX_VA_SIZE_PAGES,
    NO_AREA,
    NO_VA,
    VA_BUSY,
    VA_FREE,
    VA_LAZY,
    VA_NEW,
    VA_POOL,
    VA_PRELOADED,
    VA_UNUSED,
    VM_ALLOC,
    Vm,
)
from kmsim.mm.vm_table import table_pfn
from kmsim.mm.vmap_node import addr_to_node, home_node, pool_of
from kmsim.mm.vmap_tree import check_tree


@core
def validate_vm(m: Machine, vm: Vm) -> None:
    """Recount the space; AssertionError names what is inconsistent."""
    nr_free = check_tree(vm.vas, vm.trees, FREE_TREE)
    assert vm.trees[DECAY_TREE].nr == 0, "ranges were left in a purge's hands"
    nr_pages = recount_ranges(vm, nr_free)
    nr_pages += recount_nodes(vm)
    whole = 0
    va = int(vm.trees[FREE_TREE].first)
    while va != NO_VA:
        whole += int(vm.vas[va].end - vm.vas[va].start)
        va = int(vm.vas[va].next)
    assert whole + nr_pages == (1 << (64 - int(m.params[0].page_shift))) - 1, "addresses are lost, or there twice"
    recount_areas(m, vm)
    nr_tables = 0
    for slot in range(len(vm.tables)) if len(vm.tables) < 1 << 16 else range(0):
        nr_tables += int(table_pfn(vm, slot) != NO_PAGE)
    assert len(vm.tables) >= 1 << 16 or nr_tables == vm.params[0].nr_tables, "tables differ from their count"
    for cpu in range(len(vm.cpus)):
        preload = int(vm.cpus[cpu].preload)
        assert preload == NO_VA or int(vm.vas[preload].state) == VA_PRELOADED, "a preloaded object is in use"


@core
def recount_ranges(vm: Vm, nr_free: int) -> int:
    """Count the ranges by state; how many pages are busy."""
    nr_pages, nr_listed, nr_unused = 0, 0, 0
    for va in range(vm.params[0].va_fresh):
        state = int(vm.vas[va].state)
        assert state != VA_NEW, "a range that no place and no request holds"
        nr_listed += int(state == VA_FREE)
        nr_unused += int(state == VA_UNUSED)
        if state == VA_BUSY:
            nr_pages += int(vm.vas[va].end - vm.vas[va].start)
            area = int(vm.vas[va].area)
            assert int(vm.areas[area].va) == va, "a range and its area disagree"
            assert vm.areas[area].in_use, "a busy range of an area that is not there"
    assert nr_listed == nr_free, "a range says that it is free but is not in the tree"
    va = int(vm.params[0].va_unused)
    while va != NO_VA:
        nr_unused -= 1
        va = int(vm.vas[va].next)
    assert nr_unused == 0, "records are lost"
    return nr_pages


@core
def recount_nodes(vm: Vm) -> int:
    """Check each node's counts and lists; how many pages are lazily freed or ready."""
    nr_lazy_pages, nr_pool_pages = 0, 0
    for n in range(vm.params[0].nr_nodes):
        nr_busy, nr_lazy = 0, 0
        for va in range(vm.params[0].va_fresh):
            if int(vm.vas[va].state) == VA_BUSY:
                nr_busy += int(addr_to_node(vm, int(vm.vas[va].start)) == n)
        assert nr_busy == vm.nodes[n].nr_busy, "nr_busy differs from the ranges"
        va = int(vm.nodes[n].lazy)
        while va != NO_VA:
            assert int(vm.vas[va].state) == VA_LAZY, "a range is on a list that its state does not name"
            assert home_node(vm, va) == n, "a range is lazily freed to another node"
            nr_lazy += 1
            nr_lazy_pages += int(vm.vas[va].end - vm.vas[va].start)
            va = int(vm.vas[va].next)
        assert nr_lazy == vm.nodes[n].nr_lazy, "nr_lazy differs from the list"
        for size in range(1, MAX_VA_SIZE_PAGES + 1):
            pool = vm.pools[pool_of(n, size)]
            va, last, nr = int(pool.head), NO_VA, 0
            while va != NO_VA:
                assert int(vm.vas[va].state) == VA_POOL, "a range is in a pool that its state does not name"
                assert int(vm.vas[va].end - vm.vas[va].start) == size, "a range in the pool of another length"
                nr += 1
                last = va
                va = int(vm.vas[va].next)
            assert int(pool.tail) == last, "a pool's tail is not its last range"
            assert nr == int(pool.len), "a pool's length differs from its list"
            nr_pool_pages += nr * size
    assert nr_lazy_pages == vm.params[0].vmap_lazy_nr, "vmap_lazy_nr differs from the lists"
    return nr_lazy_pages + nr_pool_pages


@core
def recount_areas(m: Machine, vm: Vm) -> None:
    """Check the areas against their ranges and their pages."""
    for area in range(vm.params[0].area_fresh):
        record = vm.areas[area]
        if not record.in_use:
            continue
        assert int(vm.vas[record.va].area) == area, "an area and its range disagree"
        nr_pages, pfn = 0, int(record.first_pfn)
        while pfn != NO_PAGE:
            assert int(m.pages[pfn].page_flags) & (PG_BUDDY | PG_PCP) == 0, "a page of an area is free"
            nr_pages += 1
            pfn = int(m.pages[pfn].next)
        assert nr_pages == int(record.nr_pages), "an area's pages differ from their count"
        has_array = int(record.pages_obj) != NO_OBJECT or int(record.pages_area) != NO_AREA
        assert has_array == (int(record.vm_flags) & VM_ALLOC != 0), "an area's array of pages"
