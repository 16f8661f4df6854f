"""A running machine's free blocks, put into a booted one."""

import re
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from kmsim.mm.memblock import Boot, boot_machine, recount
from kmsim.mm.mm_init import PfnRange
from kmsim.mm.mmzone import MIGRATE_HIGHATOMIC, Machine
from kmsim.mm.snapshot import save
from kmsim.procfs import buddyinfo, mem_report, pagetypeinfo
from kmsim.procfs.typed_lists import ListsError, of_node, of_report, read_lists
from kmsim.procfs.user_machine import WRITES, room_for
from kmsim.workload.ageing import age
from tests.procfs.recordings import apply_files, arm64_boot, file, x86_boot

REPORTS = Path(__file__).parent / "reports"
X86 = "Node 0, zone      DMA {} \nNode 0, zone    DMA32 {} \n"


def applied(boot: Boot, free: str, types: str | None = None, seed: int = 1) -> Machine:
    m = boot_machine(boot)
    apply_files(m, free, types, np.random.default_rng(seed))
    recount(m)
    return m


def refusal(boot: Boot, free: str, types: str | None = None) -> tuple[str, str]:
    m = boot_machine(boot)
    with pytest.raises(ListsError) as caught:
        apply_files(m, free, types, np.random.default_rng(1))
    return caught.value.file, str(caught.value)


def orders(*nr_free: int, nr_orders: int = 11) -> str:
    return " ".join(map(str, [*nr_free, *[0] * (nr_orders - len(nr_free))]))


def test_the_machine_then_shows_the_file() -> None:
    free = X86.format(orders(3, 2, 1, 1), orders(500, 200, 100, 50, 20, 10, 5, 4, 3, 2, 3))
    m = applied(x86_boot(64), free)
    assert buddyinfo.parse(buddyinfo.show(m)) == buddyinfo.parse(free)
    assert {migratetype for state in save(m) for _, migratetype in state.lists} == {1}
    assert m.zones[1].nr_free_pages == 500 + 400 + 400 + 400 + 320 + 320 + 320 + 512 + 768 + 1024 + 3072
    assert not m.pcps["count"].any()


def test_types_and_pageblocks_are_those_of_pagetypeinfo() -> None:
    free, types = file("x86-4k-256M", "frag.buddyinfo"), file("x86-4k-256M", "fresh.pagetypeinfo")
    boot = x86_boot(256)
    m = applied(boot, free, types)
    assert buddyinfo.show(m) == free
    (node,) = pagetypeinfo.parse(types)
    for z, row in enumerate(node.pageblocks):
        counts = pagetypeinfo.pageblock_counts(m, z)
        assert [counts[0], *counts[2:]] == [row.counts[0], *row.counts[2:]]
        assert sum(counts) == -(-int(m.zones[z].end_pfn - m.zones[z].start_pfn) // 512)


def test_two_files_of_one_moment_come_out_as_they_were() -> None:
    donor = applied(x86_boot(64), X86.format(orders(9, 9, 9), orders(900, 300, 100, 50, 20, 10, 5, 4, 3, 2, 3)))
    donor.pageblocks[::3] = 0
    free, types = buddyinfo.show(donor), pagetypeinfo.show(donor)
    head, blocks = types.split("Number of blocks")
    moved = re.sub(r"(zone    DMA32, type    Unmovable      0 )", r"\g<1>", head)
    rows = [line.split() for line in moved.splitlines() if "DMA32, type" in line]
    unmovable, movable = rows[0], rows[1]
    for column in range(6, 17):  # half of each order's movable blocks become unmovable
        half = int(movable[column]) // 2
        unmovable[column], movable[column] = str(half), str(int(movable[column]) - half)
    for name, row in (("Unmovable", unmovable), ("Movable", movable)):
        line = f"Node    0, zone    DMA32, type {name:>12} {''.join(f'{int(n):6d} ' for n in row[6:])}"
        moved = re.sub(rf"Node    0, zone    DMA32, type +{name} [ 0-9]+", line, moved)
    types = moved + "Number of blocks" + blocks
    m = applied(x86_boot(64), free, types)
    assert buddyinfo.show(m) == free
    assert pagetypeinfo.show(m) == types


def test_highatomic_blocks_are_reserved() -> None:
    types = pagetypeinfo.show(boot_machine(x86_boot(64)))
    types = re.sub("DMA32, type      Movable [ 0-9]+", f"DMA32, type      Movable {'     0 ' * 11}", types)
    types = types.replace("DMA32, type   HighAtomic      0      0", "DMA32, type   HighAtomic      7      5")
    dma32 = next(line for line in types.splitlines() if line.startswith("Node 0, zone    DMA32"))
    fewer = f"Node 0, zone    DMA32 {0:12d} {21:12d} {0:12d} {3:12d} "
    types = types.replace(dma32, fewer)
    m = applied(x86_boot(64), X86.format(orders(0), orders(7, 5)), types)
    zone = m.zones[1]
    assert zone.nr_free_highatomic == 17
    assert zone.nr_reserved_highatomic == 3 * 512
    assert np.count_nonzero(m.pageblocks == MIGRATE_HIGHATOMIC) == 3


def test_the_same_seed_gives_the_same_blocks_and_another_gives_others() -> None:
    free = X86.format(orders(1), orders(100, 50, 20))
    one, same, other = (applied(x86_boot(64), free, seed=seed) for seed in (1, 1, 2))
    assert np.array_equal(one.pages, same.pages)
    assert not np.array_equal(one.pages, other.pages)


def test_blocks_are_scattered_over_the_zone() -> None:
    m = applied(x86_boot(256), X86.format(orders(0), orders(200)))
    pfns = next(iter(save(m)[1].lists.values()))
    assert len({pfn >> 10 for pfn in pfns.tolist()}) > 40
    m = applied(x86_boot(256), X86.format(orders(0), orders(0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 10)))
    pfns = next(iter(save(m)[1].lists.values()))
    assert np.ptp(pfns) > 20 << 10


@pytest.mark.parametrize("seed", range(5))
def test_a_last_part_of_a_pageblock_that_the_kernel_does_not_count_is_movable(seed: int) -> None:
    start = (1 << 14) + 100
    ram = (PfnRange(start, start + 2 * 8192 - 50),)  # ends in a third pageblock, and counts for two
    boot = arm64_boot(64, page_shift=16, max_page_order=13)._replace(ram=ram, reserved=(PfnRange(start, start + 9),))
    types = pagetypeinfo.show(boot_machine(boot))
    counted = f"{0:12d} {2:12d} {0:12d} {0:12d} "
    assert counted in types
    types = types.replace(counted, f"{1:12d} {0:12d} {1:12d} {0:12d} ")
    types = re.sub("type      Movable [ 0-9]+", f"type      Movable {'     0 ' * 14}", types)
    m = applied(boot, f"Node 0, zone      DMA {orders(nr_orders=14)}\n", types, seed)
    assert pagetypeinfo.show(m) == types
    assert sorted(m.pageblocks[2:5].tolist()) == [0, 1, 2]
    assert m.pageblocks[4] == 1


def test_a_capped_count_takes_the_rest_of_buddyinfo() -> None:
    boot = x86_boot(1024)
    types = pagetypeinfo.show(boot_machine(boot))
    row = "DMA32, type      Movable "
    types = re.sub(rf"{row}[ 0-9]+\n", f"{row}>100000{'      0 ' * 10}\n", types)
    row = "DMA32, type  Reclaimable "
    types = re.sub(rf"{row}[ 0-9]+\n", f"{row}    10 {'      0 ' * 10}\n", types)
    dma32 = next(line for line in types.splitlines() if line.startswith("Node 0, zone    DMA32"))
    types = types.replace(dma32, f"Node 0, zone    DMA32 {0:12d} {503:12d} {1:12d} {0:12d} ")
    m = applied(boot, X86.format(orders(0), orders(120_000)), types)
    assert m.zones[1].nr_free[0] == 120_000
    assert len(save(m)[1].lists[0, 2]) == 10


def test_a_few_blocks_that_moved_between_the_two_files_do_no_harm() -> None:
    types = file("x86-4k-256M", "fresh.pagetypeinfo")
    boot = x86_boot(256)
    free = X86.format(orders(2, 0, 1), orders(5, 0, 3, 1, 2, 2, 2, 6, 3, 2, 40))
    assert buddyinfo.parse(buddyinfo.show(applied(boot, free, types))) == buddyinfo.parse(free)


def test_all_of_memory_free_is_the_booted_machine_again() -> None:
    m = boot_machine(x86_boot(64))
    free = buddyinfo.show(m)
    assert buddyinfo.show(applied(x86_boot(64), free)) == free


def test_no_memory_free_is_a_machine_with_nothing_on_its_lists() -> None:
    m = applied(x86_boot(64), X86.format(orders(), orders()))
    assert not m.zones["nr_free_pages"].any()


@pytest.mark.parametrize(
    ("free", "file_name", "why"),
    [
        ("Node 0, zone Normal 1\n", "buddyinfo", f"zones Normal, where the machine has DMA, DMA32; {WRITES}"),
        (
            X86.format(orders(), orders()).replace("Node 0, zone    DMA32", "Node 1, zone    DMA32"),
            "buddyinfo",
            f"zones DMA, where the machine has DMA, DMA32; {WRITES}",
        ),
        (
            X86.format("1 2", "1 2"),
            "buddyinfo",
            "line 1: 2 orders, where a max_page_order of 10 makes 11",
        ),
        (
            X86.format(orders(), orders(20_000)),
            "buddyinfo",
            "line 2: zone DMA32: 20000 free pages, where the machine manages 10285; "
            f"machine.memory_map says where its RAM lies (/proc/iomem, System RAM), and {WRITES}",
        ),
        (
            X86.format(orders(), orders(6000)),
            "buddyinfo",
            "zone DMA32: 6000 free blocks of order 0, type Movable, where at most 5143 can be free",
        ),
        (
            X86.format(orders(), orders(0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 10)),
            "buddyinfo",
            "zone DMA32: 10 free blocks of order 10, where at most 9 can be free",
        ),
        ("junk\n", "buddyinfo", "line 1: not 'Node N, zone NAME COUNTS': 'junk'"),
    ],
)
def test_a_buddyinfo_that_is_not_this_machines_is_refused(free: str, file_name: str, why: str) -> None:
    assert refusal(x86_boot(64), free) == (file_name, why)


@pytest.mark.parametrize(
    ("old", "new", "why"),
    [
        (
            "Page block order: 9\nPages per block:  512",
            "Page block order: 8\nPages per block:  256",
            "order 8, where",
        ),
        ("zone    DMA32", "zone   Normal", "zones DMA, Normal, in buddyinfo DMA, DMA32"),
        ("Node", "node", "line 5: not 'Node N, zone NAME, type NAME COUNTS'"),
        (
            "            0 \nNode 0, zone    DMA32            0",
            "            0 \nNode 0, zone    DMA32           99",
            "pageblocks",
        ),
    ],
)
def test_a_pagetypeinfo_that_is_not_this_machines_is_refused(old: str, new: str, why: str) -> None:
    types = pagetypeinfo.show(boot_machine(x86_boot(64)))
    assert old in types
    file_name, reason = refusal(x86_boot(64), X86.format(orders(), orders()), types.replace(old, new))
    assert file_name == "pagetypeinfo"
    assert why in reason


def test_free_cma_blocks_count_as_in_use_and_are_said() -> None:
    types = pagetypeinfo.show(boot_machine(x86_boot(64))).replace("HighAtomic", "       CMA")
    free = X86.format(orders(), orders(10, 3))
    types = types.replace("DMA32, type          CMA      0      0", "DMA32, type          CMA      1      2")
    m = applied(x86_boot(64), free, types)
    assert m.zones[1].nr_free_pages == 10 + 6 - 5
    note = "zone DMA32: 5 free pages of the type CMA are not simulated: taken as in use"
    assert read_lists(free, types).notes == (note,)


def test_blocks_of_the_reserve_of_old_kernels_are_taken_as_movable() -> None:
    types = pagetypeinfo.show(boot_machine(x86_boot(64))).replace("HighAtomic", "   Reserve")
    types = types.replace("DMA32, type      Reserve      0", "DMA32, type      Reserve      4")
    lists = read_lists(None, types)
    free = pagetypeinfo.parse(types)[0].free
    movable = next(row for row in free if (row.zone, row.migratetype) == ("DMA32", "Movable"))
    assert lists.zones[1].nr_free["Movable"][0] == movable.nr_free[0] + 4
    assert any("Reserve are taken as Movable" in note for note in lists.notes)


def test_pagetypeinfo_alone_is_enough() -> None:
    donor = applied(x86_boot(64), X86.format(orders(3), orders(900, 300, 100)))
    types = pagetypeinfo.show(donor)
    m = boot_machine(x86_boot(64))
    apply_files(m, None, types, np.random.default_rng(1))
    recount(m)
    assert pagetypeinfo.show(m) == types
    assert read_lists(None, types).file == "pagetypeinfo"


def test_a_report_gives_every_type_that_it_names_a_block_and_keeps_its_counts() -> None:
    (report,) = mem_report.parse((REPORTS / "order5-6.7.txt").read_text(encoding="ascii"))
    lists = of_report(report)
    for said, zone in zip(report.zones, lists.zones, strict=True):
        for order, block in enumerate(said.blocks):
            counted = {name: blocks[order] for name, blocks in zone.nr_free.items() if blocks[order]}
            assert sum(counted.values()) == block.number
            most = {mem_report.LETTERS[letter] for letter in block.types}
            assert set(counted) <= most
            assert {*counted, "HighAtomic"} >= most or block.number < len(most)
    highatomic = lists.zones[-1].nr_free["HighAtomic"]
    assert sum(blocks << order for order, blocks in enumerate(highatomic)) <= report.zones[-1].reserved_highatomic


def test_one_of_several_nodes_is_chosen() -> None:
    free = X86.format(orders(), orders()) + f"Node 1, zone   Normal {orders(5)} \n"
    lists = read_lists(free, None)
    assert [zone.zone for zone in of_node(lists, 1).zones] == ["Normal"]
    assert [zone.zone for zone in of_node(lists, None).zones] == ["DMA", "DMA32"]
    assert "of the nodes 0, 1 node 0 is taken; machine.state.node says another" in of_node(lists, None).notes
    with pytest.raises(ListsError, match=r"nodes 0, 1; machine.state.node is 2"):
        of_node(lists, 2)


def test_a_zone_with_more_free_pages_than_a_boot_leaves_keeps_nothing_reserved() -> None:
    free = X86.format(orders(0, 1, 1, 0, 2, 1, 1, 0, 1, 1, 3), orders(5))  # Linux 5.4
    boot, notes = room_for(x86_boot(64), read_lists(free, None))
    assert [note.partition(":")[0] for note in notes] == ["zone DMA"]
    m = boot_machine(boot)
    apply_files(m, free, None, np.random.default_rng(1))
    recount(m)
    assert buddyinfo.parse(buddyinfo.show(m)) == buddyinfo.parse(free)


def test_too_few_pageblocks_of_a_type_for_its_free_blocks_are_refused() -> None:
    types = pagetypeinfo.show(boot_machine(x86_boot(64)))
    types = types.replace("DMA32, type  Reclaimable      0", "DMA32, type  Reclaimable    300")
    dma32 = next(line for line in types.splitlines() if line.startswith("Node 0, zone    DMA32"))
    types = types.replace(dma32, f"Node 0, zone    DMA32 {0:12d} {23:12d} {1:12d} {0:12d} ")
    file_name, why = refusal(x86_boot(64), X86.format(orders(), orders(300)), types)
    assert file_name == "pagetypeinfo"
    assert why == "zone DMA32: 1 pageblocks of type Reclaimable, where its free blocks need 2"


BOOTS = {
    "x86-64": x86_boot(64),
    "x86-64, pageblocks larger than a zone": x86_boot(256, max_page_order=13, thp=False),
    "x86-64, small blocks": x86_boot(64, max_page_order=3, thp=False),
    "arm64, 64 KiB": arm64_boot(256, page_shift=16, max_page_order=13),
    "arm64, 16 KiB": arm64_boot(128, page_shift=14, max_page_order=11),
}


@given(
    name=st.sampled_from(sorted(BOOTS)),
    order=st.integers(1, 3),
    unusable_index=st.floats(0, 1),
    seed=st.integers(0, 2**32),
)
def test_what_an_aged_machine_shows_another_can_be_given(
    name: str, order: int, unusable_index: float, seed: int
) -> None:
    boot = BOOTS[name]
    first = boot_machine(boot)
    age(first, order, unusable_index, np.random.default_rng(seed))
    second = applied(boot, buddyinfo.show(first), pagetypeinfo.show(first), seed=seed)
    assert buddyinfo.show(second) == buddyinfo.show(first)
    assert pagetypeinfo.show(second) == pagetypeinfo.show(first)
