"""Reports of other kernels and other machines explained: whose rules hold, which zones count, what stays unknown."""

from pathlib import Path

import pytest

from kmsim.procfs.mem_report import MemReport, parse
from kmsim.procfs.typed_lists import of_report
from kmsim.session.explain import lines_of
from kmsim.study.explain import Explanation, explain
from kmsim.study.report_machine import simulated

REPORTS = Path(__file__).parents[1] / "procfs" / "reports"
TAINTED = (
    "Tainted: G           OE  ------------ T 3.10.0-1160.el7.x86_64 #1",
    "Tainted: G        W  OE    --------- -  - 4.18.0-372.el8.x86_64 #1",
    "Tainted: P           OE    --------- -t - 4.18.0-513.el8.x86_64 #1",
    "Tainted: G           OE    --------  ---  5.14.0-162.el9.x86_64 #1",
    "Tainted: G        W  O       6.12.3 #1",
    "Not tainted 2.6.32-431.el6.x86_64 #1",
)


def read(name: str, *changes: tuple[str, str]) -> MemReport:
    text = (REPORTS / f"{name}.txt").read_text(encoding="utf-8")
    for old, new in changes:
        assert old in text, old
        text = text.replace(old, new)
    (report,) = parse(text)
    return report


def explained(name: str, *changes: tuple[str, str]) -> Explanation:
    return explain(read(name, *changes))


@pytest.mark.parametrize("tainted", TAINTED)
def test_the_release_stands_behind_whatever_taints_it(tainted: str) -> None:
    report = read("order5-6.7", ("Not tainted 6.7.0 #1", tainted))
    assert report.release == tainted.rpartition(" #")[0].split()[-1]


def test_a_release_may_stand_above_the_report_and_not_behind_the_next_boot() -> None:
    text = (REPORTS / "order5-6.7.txt").read_text(encoding="utf-8").replace("Not tainted 6.7.0", "x")
    booted = "[ 0.0] Linux version {} (gcc) #1 SMP\n"
    first, second = parse(booted.format("6.1.9") + text + booted.format("6.12.1") + text)
    assert (first.release, second.release) == ("6.1.9", "6.12.1")


@pytest.mark.parametrize(
    ("mode", "release", "waits"),
    [("0x1040d0", (3, 10), True), ("0x24040c0", (4, 4), True), ("0x2280020", (4, 4), False)],
)
def test_a_mode_without_names_is_read_by_its_own_bits(mode: str, release: tuple[int, int], waits: bool) -> None:
    names = "0x40dc0(GFP_KERNEL|__GFP_COMP|__GFP_ZERO)"
    found = explained("order5-6.7", ("Not tainted 6.7.0", "x"), (names, mode))
    assert (found.release, found.asked.may_reclaim) == (release, waits)
    assert found.unknown[0].startswith("the kernel's release: the rules of")
    named = explained("order5-6.7", ("Not tainted 6.7.0", "x"))
    assert named.release == (6, 12)


@pytest.mark.parametrize(
    ("name", "caller"),
    [
        ("order9-64k-5.14", "dm_table_create"),
        ("order4-two-nodes-3.10", "ring_alloc"),
        ("order8-cma-6.1", "frame_alloc"),
    ],
)
def test_a_function_that_the_compiler_has_split_keeps_its_name(name: str, caller: str) -> None:
    assert explained(name).traced.caller == caller


def test_the_slab_allocator_of_before_slub_is_not_who_asked() -> None:
    frames = "kmem_getpages+0x62/0x170\n fallback_alloc+0x1ba/0x270\n cache_grow+0x2cf/0x320\n rx_fill+0x1/0x2\n"
    assert explained("atomic-3.10", ("Mem-Info:", f"{frames}Mem-Info:")).traced.caller == "rx_fill"


def test_a_reserve_that_is_not_printed_is_unknown_and_not_0() -> None:
    rows = [(f"lowmem_reserve[]: {row}", "x") for row in ("0 2305 15744 15744 15744", "0 0 13439 13439 13439")]
    found = explained("order5-6.7", *rows)
    assert [verdict.passes for verdict in found.zones] == [None, None, False]
    assert found.fails is None
    assert [what.partition(" (")[0] for what in found.unknown] == [
        "node 0, zone DMA: its lowmem reserve", "node 0, zone DMA32: its lowmem reserve",
    ]  # fmt: skip
    assert "lowmem reserve not printed" in "\n".join(lines_of(found))
    others = {other.what: other.served for other in found.others}
    assert others["any order below 5"] is None
    assert others["kvmalloc, by single pages of vmalloc"] is None
    highest = explained("order5-6.7", ("lowmem_reserve[]: 0 0 0 0 0", "x"))
    assert (highest.fails, highest.unknown) == (True, ())  # no zone lies above: nothing to reserve for


def test_no_lower_order_is_surely_refused_where_free_highatomic_pages_are_unknown() -> None:
    found = explained("order5-6.7", ("6.7.0", "6.12.3"))
    assert {other.what: other.served for other in found.others}["any order below 5"] is None


WAITS, ATOMIC = "0x24040c0(GFP_KERNEL|__GFP_COMP)", "0x2084020(GFP_ATOMIC|__GFP_COMP)"


def on_nodes(mask: str, mode: str, release: str = "6.1.0", trace: str = "x") -> Explanation:
    request = f"mode:{mode}, nodemask={mask},cpuset=/,mems_allowed=1"
    changes = (("mode:0x1040d0", request), ("3.10.0-1127.el7.x86_64", release), ("process_one_work", trace))
    return explained("order4-two-nodes-3.10", *changes)


@pytest.mark.slow
def test_the_machine_is_that_of_a_node_that_the_request_may_use() -> None:
    for found in (on_nodes("1", WAITS), on_nodes("(null)", WAITS)):
        assert [verdict.zone.node for verdict in found.zones] == [1]
        asked = simulated(found)
        assert any("node 1 is simulated" in note for note in asked.notes)
        assert asked.answers[0].where.startswith("zone Normal")
    assert simulated(on_nodes("7", WAITS)).why_not.startswith("the report has no free lists of a zone that")


@pytest.mark.parametrize(
    ("mode", "release", "trace", "nodes"),
    [
        (WAITS, "6.1.0", "x", {1}),
        (ATOMIC, "6.1.0", "x", {0, 1}),
        (ATOMIC, "6.12.1", "x", {0, 1}),
        ("0x1(GFP_NOWAIT)", "6.12.1", "x", {1}),
        ("0x1(GFP_NOWAIT)", "6.12.1", "handle_softirqs", {0, 1}),  # an interrupt has no cpuset
    ],
)
def test_a_cpuset_holds_for_who_may_wait(mode: str, release: str, trace: str, nodes: set[int]) -> None:
    assert {verdict.zone.node for verdict in on_nodes("(null)", mode, release, trace).zones} == nodes


def test_a_machine_of_64_kib_pages_and_cma_comes_out_to_the_page() -> None:
    found = explained("order9-64k-5.14")
    assert [(v.zone.name, v.zone.free, v.held.cma, v.held.needed, v.passes) for v in found.zones] == [
        ("DMA", 5960, 5760, 96 + 368, False),
        ("Normal", 9615, 0, 320, False),
    ]
    assert found.report.page_size == 65536
    movable = explained("order9-64k-5.14", ("(GFP_KERNEL|__GFP_COMP)", "(GFP_HIGHUSER_MOVABLE|__GFP_COMP)"))
    assert (movable.zones[0].held.cma, movable.zones[0].passes) == (0, True)
    assert simulated(found).answers[0].served is False


def test_most_of_a_zone_may_be_cma() -> None:
    found = explained("order8-cma-6.1")
    (dma,) = found.zones
    assert (dma.zone.free, dma.held.cma, dma.held.missing) == (108698, 108614, 5120 + 1 + 171)
    assert found.out_of_reach == ("node 0, zone Normal",)


def test_two_nodes_and_a_zone_dma_with_a_hole_come_out_to_the_page() -> None:
    found = explained("order4-two-nodes-3.10")
    assert [(v.zone.node, v.zone.name, v.held.most_usable, v.held.needed, v.held.below_at) for v in found.zones] == [
        (0, "DMA", 3962 - 15, 5 + 15867, None),
        (0, "DMA32", 14468 - 15, 672 + 14036, 2),
        (0, "Normal", 10000 - 15, 5156, 1),
        (1, "Normal", 52951 - 15, 5923, 2),
    ]
    assert found.traced.context == "a kernel thread"
    assert simulated(found).why_not == ""


H_ONLY = " (UMEH)", " (UME)", " (UMH)", " (UM)", " (MH)", " (M)", " (U)"


@pytest.mark.parametrize(
    ("release", "gfp", "expected"),
    [
        ("6.1.0", "GFP_ATOMIC", False),
        ("6.7.0", "GFP_ATOMIC", None),
        ("6.12.1", "GFP_ATOMIC", True),
        ("6.12.1", "GFP_KERNEL", False),
    ],
)
def test_single_pages_of_the_highatomic_reserve(release: str, gfp: str, expected: bool | None) -> None:
    mode = ("order:5, mode:0x40dc0(GFP_KERNEL|__GFP_COMP|__GFP_ZERO)", f"order:0, mode:0x1({gfp})")
    letters = [(old, " (H)") for old in H_ONLY if old not in (" (UME)",)]
    found = explained("order5-6.7", ("6.7.0", release), mode, ("reserved_highatomic:2048KB", "reserved_highatomic:0KB"),
                      ("min:147740kB", "min:100000kB"), *letters)  # fmt: skip
    assert found.zones[2].passes is expected
    if expected is False and gfp == "GFP_KERNEL":
        assert found.cause == "no free page of a type that the request may take"


def test_gfp_dma_falls_to_normal_where_there_is_no_zone_dma() -> None:
    mode = ("(GFP_KERNEL|__GFP_COMP|__GFP_ZERO)", "(GFP_KERNEL|GFP_DMA)")
    assert [v.zone.name for v in explained("order5-6.7", mode).zones] == ["DMA"]
    lone = explained("order8-cma-6.1", ("DMA free:", "gone:"), ("DMA: ", "gone: "))
    assert [v.zone.name for v in lone.zones] == ["Normal"]


def test_zone_lines_without_lists_lack_the_size_of_a_page() -> None:
    text = (REPORTS / "order5-6.7.txt").read_text(encoding="utf-8")
    (report,) = parse("".join(line for line in text.splitlines(keepends=True) if "*4kB" not in line))
    assert explain(report).unknown == ("the size of a page (no list of free blocks)",)
    (bare,) = parse(text.splitlines()[0])
    assert "the zones" in explain(bare).unknown


def test_letters_of_a_report_give_lists_of_each_type() -> None:
    """The case of types that were lost: where a report has letters, highatomic blocks are told apart."""
    plain = (Path(__file__).parents[1] / "survey" / "cases" / "06-types-lost.txt").read_text(encoding="utf-8")
    row = next(line for line in plain.splitlines() if "Normal" in line)
    blocks = [int(word) for word in row.split()[4:]]
    order = max(n for n, number in enumerate(blocks) if number)
    words = " ".join(
        f"{n}*{4 << o}kB" + (" (H)" if o == order else " (UMH)" if n else "") for o, n in enumerate(blocks)
    )
    free = sum(n << o for o, n in enumerate(blocks)) * 4
    zone = (
        f"Node 0 Normal free:{free}kB min:64kB low:80kB high:96kB reserved_highatomic:{64 << 10}KB present:33554432kB"
    )
    (report,) = parse(f"Mem-Info:\n{zone}\nNode 0 Normal: {words} = {free}kB\n")
    (lists,) = of_report(report).zones
    assert lists.nr_free["HighAtomic"][order] == blocks[order]
    assert lists.nr_pages == free // 4
    assert sum(map(sum, lists.nr_free.values())) == sum(blocks)
