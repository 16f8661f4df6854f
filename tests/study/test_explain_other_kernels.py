"""Reports of other kernels and other machines explained: whose rules hold, which zones count, what stays unknown."""

from pathlib import Path

import pytest

from kmsim.procfs.mem_report import MemReport, parse
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
