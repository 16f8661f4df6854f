"""/proc/pagetypeinfo: the kernel's bytes, and back."""

import numpy as np
import pytest

from kmsim.mm.memblock import boot_machine
from kmsim.mm.mmzone import MIGRATE_MOVABLE, MIGRATE_TYPES, PG_BUDDY
from kmsim.mm.snapshot import link
from kmsim.procfs import pagetypeinfo
from tests.procfs.recordings import NAMES, file, machine, x86_boot


@pytest.mark.parametrize("name", NAMES)
def test_a_recorded_machine_shows_what_its_kernel_showed(name: str) -> None:
    assert pagetypeinfo.show(machine(name)) == file(name, "fresh.pagetypeinfo")


def test_the_sections_of_a_hole_are_not_counted() -> None:
    m = machine("x86-4k-4G")  # DMA32 ends at 4 GiB, its memory at 2 GiB
    assert m.zones[1].end_pfn - m.zones[1].start_pfn > 2 * m.zones[1].present_pages - 8192
    assert sum(pagetypeinfo.pageblock_counts(m, 1)) == 1016


@pytest.mark.parametrize("name", NAMES)
def test_what_is_shown_is_what_is_read(name: str) -> None:
    m = machine(name)
    assert pagetypeinfo.parse(pagetypeinfo.show(m)) == pagetypeinfo.rows(m)


def test_a_list_of_a_hundred_thousand_is_capped_as_the_kernel_caps_it() -> None:
    m = boot_machine(x86_boot(1024))
    head = int(m.zones[1].free_list) + MIGRATE_MOVABLE
    pfns = np.arange(8193, 8193 + 2 * 99_999, 2)  # odd: none is the head of a free block
    link(m, head, pfns, 0, PG_BUDDY)
    assert " 99999 " in pagetypeinfo.show(m)
    link(m, head, np.append(pfns, 8191), 0, PG_BUDDY)
    shown = pagetypeinfo.show(m)
    assert "type      Movable >100000      0 " in shown
    (node,) = pagetypeinfo.parse(shown)
    (row,) = [row for row in node.free if row.zone == "DMA32" and row.migratetype == "Movable"]
    assert row.nr_free[0] == 100_000
    assert row.capped == (True, *[False] * 10)
    assert pagetypeinfo.text((node,)) == shown


def test_each_node_has_its_own_heads_and_mixed_blocks_are_passed_over() -> None:
    one = file("x86-4k-256M", "fresh.pagetypeinfo")
    mixed = "\nNumber of mixed blocks    Unmovable      Movable  Reclaimable   HighAtomic \n"
    mixed += "Node 0, zone      DMA            0            0            0            0 \n"
    other = one.replace("Node 0", "Node 1").replace("Node    0", "Node    1")
    nodes = pagetypeinfo.parse(one + mixed + other)
    assert [node.pageblocks[0].node for node in nodes] == [0, 1]
    assert pagetypeinfo.text(nodes) == one + other


def test_types_of_other_kernels_are_read() -> None:
    content = file("x86-4k-256M", "fresh.pagetypeinfo")
    lines = content.splitlines()
    free = [line.replace("  HighAtomic", "         CMA") for line in lines if "HighAtomic" in line and "type" in line]
    assert len(free) == 3
    assert pagetypeinfo.parse(content.replace("HighAtomic", "       CMA"))[0].migratetypes[3] == "CMA"


@pytest.mark.parametrize(
    ("old", "new", "why"),
    [
        ("Page block order: 9", "Page block order: 8", "line 2: 512 pages in a pageblock of order 8"),
        ("     9     10 \n", "     9     11 \n", "line 4: not the orders from 0 on"),
        ("type      Movable", "type     Unmovable", "line 6: zone DMA, type Unmovable for the second time"),
        ("type  Reclaimable", "type  Reclaimed", "for zone DMA, type Reclaimed"),
        ("DMA            1            7", "DMA            7", "line 15: 3 counts for 4 types"),
        ("Number of blocks type", "Number of", "line 14: not 'Node N, zone NAME, type NAME COUNTS'"),
    ],
)
def test_what_is_no_pagetypeinfo_is_refused_with_its_line(old: str, new: str, why: str) -> None:
    content = file("x86-4k-256M", "fresh.pagetypeinfo")
    assert old in content
    with pytest.raises(ValueError, match=r"^line") as caught:
        pagetypeinfo.parse(content.replace(old, new, 1))
    assert why in str(caught.value)


def test_a_file_that_ends_before_the_blocks_is_refused() -> None:
    content = file("x86-4k-256M", "fresh.pagetypeinfo")
    with pytest.raises(ValueError, match="cut off"):
        pagetypeinfo.parse(content[: content.index("Number of blocks")])
    with pytest.raises(ValueError, match="cut off"):
        pagetypeinfo.parse(content[: content.index("\nNode 0, zone      DMA            1") + 1])


def test_a_machine_has_as_many_migrate_types_as_are_named() -> None:
    assert len(pagetypeinfo.rows(machine("x86-4k-256M"))[0].migratetypes) == MIGRATE_TYPES
