"""Questions to the machine of a report: each is answered by the model's own allocator, and names its numbers."""

from pathlib import Path

import pytest

from kmsim.procfs.mem_report import MemReport, parse
from kmsim.session.explain import lines_of_simulated
from kmsim.study.explain import explain
from kmsim.study.report_machine import Answer, Simulated, as_counted, simulated

REPORTS = Path(__file__).parents[1] / "procfs" / "reports"
SMALL = """\
[  1.0] app: page allocation failure: order:4, mode:0x40dc0(GFP_KERNEL|__GFP_COMP|__GFP_ZERO), nodemask=(null)
[  1.0] CPU: 0 PID: 1 Comm: app Not tainted 6.12.0 #1
[  1.0] Mem-Info:
[  1.0] Node 0 DMA32 free:10000kB boost:4000kB min:8000kB low:8500kB high:9000kB reserved_highatomic:0KB \
present:262144kB managed:240000kB mlocked:0kB bounce:0kB free_pcp:0kB local_pcp:0kB free_cma:0kB
[  1.0] lowmem_reserve[]: 0 0 0 0
[  1.0] Node 0 DMA32: 500*4kB (UM) 300*8kB (UME) 200*16kB (UM) 50*32kB (M) 10*64kB (H) 1*128kB (H) 0*256kB \
0*512kB 0*1024kB 0*2048kB 0*4096kB = 10016kB
"""


def answers(text: str) -> dict[str, Answer]:
    (report,) = parse(text)
    return {answer.what: answer for answer in asked(report).answers}


def asked(report: MemReport) -> Simulated:
    return simulated(explain(report))


def test_a_type_that_the_request_may_not_take_is_why_it_fails_and_a_smaller_block_is_served() -> None:
    found = answers(SMALL)
    same = found["the same request, order 4"]
    assert same == Answer(
        same.what, False, "zone DMA32 is above its mark, without a free block of order 4 or more for it"
    )
    assert found["order 3"] == Answer("order 3", True, "from zone DMA32")
    assert found["kvmalloc"].served
    assert found["GFP_ATOMIC"] == Answer("GFP_ATOMIC", True, "from zone DMA32")  # the blocks are highatomic


def test_a_number_that_crosses_a_mark_changes_the_answers() -> None:
    tight = SMALL.replace("min:8000kB low:8500kB high:9000kB", "min:9990kB low:9995kB high:9999kB")
    found = answers(tight)
    assert found["order 3"].where == "zone DMA32: 205 pages too few"
    assert not found["order 3"].served
    assert found["without the boost"].where.startswith("zone DMA32 is above its mark, without a free block of order 4")
    looser = answers(tight.replace("min:9990kB", "min:8000kB"))
    assert looser["order 3"].served


def test_a_larger_reserve_makes_the_marks_higher_and_says_who_could_help() -> None:
    found = answers(SMALL)
    (more,) = (answer for what, answer in found.items() if what.startswith("min_free_kbytes"))
    assert more.what == "min_free_kbytes 8,000, 2 times as much"
    assert more.where.endswith("only what kswapd would have kept free for it can help")
    assert not more.served


def test_a_report_without_zones_or_of_a_group_asks_no_machine() -> None:
    (group,) = parse((REPORTS / "cgroup-6.1.txt").read_text(encoding="utf-8"))
    assert asked(group).why_not == "the machine was not short of memory"
    assert answers_of_cut() == "the report has no free lists"


def answers_of_cut() -> str:
    (report,) = parse("".join(line for line in SMALL.splitlines(keepends=True) if "DMA32:" not in line))
    return asked(report).why_not


@pytest.mark.parametrize("name", ["order5-6.7", "atomic-3.10", "oom-5.15"])
def test_every_report_has_a_machine_that_answers(name: str) -> None:
    (report,) = parse((REPORTS / f"{name}.txt").read_text(encoding="utf-8"))
    found = asked(report)
    assert found.why_not == ""
    assert found.release == {"order5-6.7": "6.1"}.get(name, "5.10")
    assert found.notes
    assert found.answers[0].what.startswith("the same request")


@pytest.mark.parametrize(
    ("release", "built_in", "words"),
    [
        ("2.6.32", "5.10", "the oldest built in"),
        ("5.4.1", "5.10", "the oldest built in"),
        ("5.15.0-91", "5.10", "the oldest built in"),
        ("6.11.0", "6.1", "the nearest built in"),
        ("6.12.3", "6.12", "the nearest built in"),
        ("7.1.2-rc3+", "6.12", "the nearest built in"),
    ],
)
def test_the_release_that_is_asked_is_the_nearest_that_is_not_newer(release: str, built_in: str, words: str) -> None:
    (report,) = parse(SMALL.replace("6.12.0", release))
    found = asked(report)
    assert found.release == built_in
    assert f"(Linux {built_in}, {words})" in lines_of_simulated(found, fails=True)[0]


def test_what_the_zones_say_is_free_counts_where_the_lists_have_more() -> None:
    (report,) = parse((REPORTS / "order5-6.7.txt").read_text(encoding="utf-8"))
    found = asked(report)
    assert [answer.served for answer in found.answers] == [False, False, False, True, False, True]
    assert found.answers[0].where == "zone Normal: 35 pages too few"
    normal = as_counted(report.zones[2])
    assert sum(block.number << order for order, block in enumerate(normal.blocks)) == normal.free
    assert as_counted(normal) == normal
    fewer = normal._replace(free=normal.free + 5)
    assert as_counted(fewer) == fewer


@pytest.mark.slow
def test_movable_memory_lies_behind_the_rest_of_its_node() -> None:
    text = (REPORTS / "order4-two-nodes-3.10.txt").read_text(encoding="utf-8")
    request = "mode:0x14200ca(GFP_HIGHUSER_MOVABLE), nodemask=1"
    movable = text.replace("Node 0 Normal", "Node 1 Movable").replace("mode:0x1040d0", request)
    rows = {"3.10.0-1127.el7.x86_64": "6.1.0", "[]: 0 1830 15867 15867": "[]: 0 1830 1830 1830"}
    for old, new in rows.items():
        movable = movable.replace(old, new)
    (report,) = parse(movable)
    found = asked(report)
    assert found.why_not == ""
    assert any("zone Movable begins at page frame" in note for note in found.notes)
