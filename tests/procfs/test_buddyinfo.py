"""/proc/buddyinfo: the kernel's bytes, and back."""

import pytest

from kmsim.mm.memblock import boot_machine
from kmsim.procfs import buddyinfo
from kmsim.procfs.buddyinfo import FreeBlocks
from tests.procfs.recordings import NAMES, WITH_SCRIPT, file, machine, x86_boot


@pytest.mark.parametrize("name", NAMES)
def test_a_recorded_machine_shows_what_its_kernel_showed(name: str) -> None:
    assert buddyinfo.show(machine(name)) == file(name, "fresh.buddyinfo")


@pytest.mark.parametrize("name", WITH_SCRIPT)
def test_pages_in_per_cpu_lists_are_not_counted(name: str) -> None:
    before, after = machine(name, "script.mix_all", "before"), machine(name, "script.mix_all", "after")
    assert buddyinfo.show(before) == file(name, "pre.script.mix_all.buddyinfo")
    assert after.pcps["count"].sum() > 0
    assert buddyinfo.show(after) != file(name, "post.script.mix_all.buddyinfo")


def test_what_is_shown_is_what_is_read() -> None:
    m = boot_machine(x86_boot(64))
    rows = buddyinfo.parse(buddyinfo.show(m))
    assert rows == buddyinfo.rows(m)
    assert [row.zone for row in rows] == ["DMA", "DMA32"]
    assert rows[1].nr_free == tuple(m.zones[1].nr_free[:11])


def test_many_nodes_and_wide_counts_are_read() -> None:
    content = "Node 0, zone   Normal      1 1234567890 \nNode 1, zone  Movable      2      3 \n"
    rows = (FreeBlocks(0, "Normal", (1, 1234567890)), FreeBlocks(1, "Movable", (2, 3)))
    assert buddyinfo.parse(content) == rows
    assert buddyinfo.text(rows) == content


def test_a_text_whose_trailing_blanks_an_editor_took_away_is_read() -> None:
    content = file("x86-4k-256M", "fresh.buddyinfo")
    assert buddyinfo.parse(content.replace(" \n", "\n")) == buddyinfo.parse(content)


@pytest.mark.parametrize(
    ("content", "why"),
    [
        ("Node 0, zone DMA\n", "line 1: no counts"),
        ("Node 0, zone DMA 1 2\nNode 0, zone DMA32 1\n", "line 2: 1 orders where line 1 has 2"),
        ("Node 0, zone DMA" + " 1" * 33 + "\n", "line 1: 33 orders, more than any kernel has"),
        ("Node 0, zone DMA 1\nNode 0, zone DMA 1\n", "line 2: node 0, zone DMA for the second time"),
        ("Node x, zone DMA 1\n", "line 1: not 'Node N, zone NAME COUNTS': 'Node x, zone DMA 1'"),
    ],
)
def test_what_is_no_buddyinfo_is_refused_with_its_line(content: str, why: str) -> None:
    with pytest.raises(ValueError, match=r"^line") as caught:
        buddyinfo.parse(content)
    assert str(caught.value) == why
