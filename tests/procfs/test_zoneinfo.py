"""/proc/zoneinfo: the kernel's lines, and back."""

import re

import pytest

from kmsim.mm.memblock import boot_machine
from kmsim.procfs import zoneinfo
from kmsim.procfs.pasted import pasted
from tests.procfs.recordings import NAMES, file, machine, x86_boot


def form(content: str) -> list[str]:
    """The lines with every number replaced, so that names, order and blanks are left."""
    return [re.sub(r"[0-9]+", "N", line) for line in content.split("\n")]


@pytest.mark.parametrize("name", NAMES)
def test_every_line_has_the_kernels_form_at_the_kernels_place(name: str) -> None:
    assert form(zoneinfo.show(machine(name))) == form(file(name, "fresh.zoneinfo"))


@pytest.mark.parametrize("name", NAMES)
def test_marks_sizes_and_lists_are_what_the_kernel_showed(name: str) -> None:
    shown = zoneinfo.parse(zoneinfo.show(machine(name)))
    seen = zoneinfo.parse(file(name, "fresh.zoneinfo"))
    for ours, theirs in zip(shown, seen, strict=True):
        if theirs.start_pfn is None:
            continue  # an empty zone is in no recorded state
        assert ours.sizes == theirs.sizes
        assert ours.start_pfn == theirs.start_pfn
        for pageset, other in zip(ours.pagesets, theirs.pagesets, strict=True):
            assert pageset.stat_threshold == other.stat_threshold
            assert pageset.counters["batch"] == other.counters["batch"]


@pytest.mark.parametrize("name", NAMES)
def test_what_the_kernel_wrote_is_written_again_to_the_byte(name: str) -> None:
    content = file(name, "fresh.zoneinfo")
    assert zoneinfo.text(zoneinfo.parse(content)) == content


def test_a_booted_machine_shows_its_empty_zones_without_lists() -> None:
    m = boot_machine(x86_boot(64))
    shown = zoneinfo.show(m)
    infos = zoneinfo.parse(shown)
    assert infos == zoneinfo.rows(m)
    assert [(info.zone, bool(info.pagesets)) for info in infos] == [
        ("DMA", True),
        ("DMA32", True),
        ("Normal", False),
        ("Movable", False),
    ]
    assert [info.zone for info in infos if info.node_stats] == ["DMA"]
    assert infos[3].sizes["min"] == 32


def test_the_boost_is_in_every_mark() -> None:
    m = machine("x86-4k-256M")
    plain = zoneinfo.rows(m)[1].sizes
    m.zones[1].watermark_boost = 100
    boosted = zoneinfo.rows(m)[1].sizes
    marks = ("boost", "min", "low", "high", "promo")
    assert [boosted[name] - plain[name] for name in marks] == [100] * 5


def test_counters_of_numa_kernels_and_list_sizes_of_later_ones_are_read() -> None:
    content = file("x86-4k-256M", "fresh.zoneinfo")
    content = content.replace("      nr_free_cma  0\n", "      nr_free_cma  0\n      numa_hit     7\n")
    content = content.replace("batch: 15\n", "batch: 15\n              high_min: 3\n              high_max: 4\n")
    infos = zoneinfo.parse(content)
    assert infos[1].stats["numa_hit"] == 7
    assert infos[1].pagesets[0].counters["high_max"] == 4


@pytest.mark.parametrize(
    ("old", "new", "why"),
    [
        ("Node 0, zone      DMA\n", "", "line 1: not 'Node N, zone NAME'"),
        ("        spanned  4095\n", "", "zone DMA ends before its spanned"),
        ("        managed  3840\n", "", "zone DMA ends before its managed"),  # a kernel with a boost prints it
        ("        protection: (0, 222, 222, 222)\n", "", "zone DMA ends before its protection"),
        ("  start_pfn:           1\n", "", "line 78: zone DMA ends before its start_pfn"),
        ("zone   Normal", "zone      DMA", "node 0, zone DMA for the second time"),
        (
            "              high:  0\n",
            "              count: 0\n",
            "not a line of this file, or not at its place",
        ),
        ("    cpu: 1\n", "    cpu: 0\n", "not a line of this file, or not at its place"),
        ("        boost    0\n", "        boost    -3\n", "line 47: '-3' is not a count"),
    ],
)
def test_what_is_no_zoneinfo_is_refused(old: str, new: str, why: str) -> None:
    content = file("x86-4k-256M", "fresh.zoneinfo")
    assert old in content
    with pytest.raises(ValueError, match=r"^line") as caught:
        zoneinfo.parse(content.replace(old, new, 1))
    assert why in str(caught.value)


def test_a_counter_without_a_name_is_passed_over() -> None:
    content = file("x86-4k-256M", "fresh.zoneinfo")
    line = next(line for line in content.splitlines(keepends=True) if line.startswith("      nr_written"))
    assert zoneinfo.parse(content.replace(line, line + f"{'537792':>25}\n", 1)) == zoneinfo.parse(content)


def test_a_zoneinfo_of_2_6_is_read_and_so_is_one_without_its_indentation() -> None:
    content = (
        "Node 0, zone      DMA\n  pages free     3975\n        min      33\n        low      41\n        high     49\n"
        "        scanned  0 (aa: 13 ia: 12)\n        spanned  4095\n        present  3858\n    nr_free_pages 3975\n"
        "        protection: (0, 3828, 7894, 7894)\n  pagesets\n    cpu: 0 pcp: 0\n              count: 0\n"
        "              high:  0\n              batch: 1\n  vm stats threshold: 6\n  all_unreclaimable: 1\n"
        "  prev_priority:     12\n  start_pfn:         1\n  inactive_ratio:    1\n"
    )
    (info,) = zoneinfo.parse(content)
    assert (info.free, info.sizes["present"], info.start_pfn) == (3975, 3858, 1)
    assert "managed" not in info.sizes
    assert info.pagesets[0].counters == {"count": 0, "high": 0, "batch": 1}
    assert zoneinfo.parse(zoneinfo.text([info])) == [info]
    quoted = "\r\n".join(f"> {line.strip()}" for line in content.splitlines())
    assert zoneinfo.parse(pasted(quoted, "zoneinfo")) == [info]
