"""The kernel's page tables below vmalloc's space: which are there, and what is set in them.

A table is a page of its own, taken when the first mapping needs it and kept for ever, but for one case: a huge
mapping takes the place of a whole table of PTEs, which is flushed out of the TLBs and freed. Level 1 holds PTEs.
Entries are only counted. x86-64's space has the level below the top from the boot on.

Invariant: a table's slot holds its page frame + 1, an empty one NO_PAGE + 1, which is 0.
Lock: init_mm.page_table_lock, to link a table in.
"""

from kmsim.jit import core, small
from kmsim.mm.indices import Order, Pfn, Vpn
from kmsim.mm.mmzone import NO_PAGE
from kmsim.mm.vm_records import Vm


@small
def table_slot(vm: Vm, level: int, vpn: Vpn) -> int:
    """Where the table of a level that covers an address is in `tables`."""
    params = vm.params[0]
    return int(params.table_first[level - 1]) + (vpn >> int(level * params.table_bits))


@small
def table_pfn(vm: Vm, slot: int) -> Pfn:
    """The page frame of the table in a slot, or NO_PAGE."""
    return int(vm.tables[slot]) - 1


@small
def set_table(vm: Vm, slot: int, pfn: Pfn) -> None:
    """Link a table into a slot, or take it out (NO_PAGE)."""
    vm.tables[slot] = pfn + 1
    vm.params[0].nr_tables += 1 if pfn != NO_PAGE else -1


@small
def missing_level(vm: Vm, vpn: Vpn, lowest: int) -> int:
    """The highest level, down to `lowest`, whose table is missing at an address; 0 where none is."""
    level = int(vm.params[0].nr_table_levels)
    while level >= lowest:
        if table_pfn(vm, table_slot(vm, level, vpn)) == NO_PAGE:
            return level
        level -= 1
    return 0


@small
def table_end(vm: Vm, vpn: Vpn, end: int) -> int:
    """Where a walk has to look at the next table of PTEs, or ends."""
    bits = int(vm.params[0].table_bits)
    return min(((vpn >> bits) + 1) << bits, end)


@core
def count_cleared(vm: Vm, start: int, end: int, page_order: Order) -> int:
    """How many entries are cleared for a range, its guard page included (kernel: vunmap_range_noflush)."""
    nr = 0
    vpn = start
    while vpn < end:
        following = table_end(vm, vpn, end)
        if table_pfn(vm, table_slot(vm, 1, vpn)) != NO_PAGE:
            nr += following - vpn
        elif page_order:
            nr += 1
        vpn = following
    return nr
