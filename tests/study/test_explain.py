"""Reports explained: the arithmetic of each zone, what would have been served, and what the report does not say."""

from pathlib import Path

import pytest

from kmsim.config import ConfigError
from kmsim.procfs.mem_report import MemReport, parse
from kmsim.session.explain import explain_and_show, lines_of
from kmsim.study.explain import Explanation, explain, facts, reserve_of
from kmsim.study.oom_badness import scored
from kmsim.study.report_trace import Traced, traced

REPORTS = Path(__file__).parents[1] / "procfs" / "reports"


def read(name: str, **changes: str) -> MemReport:
    text = (REPORTS / f"{name}.txt").read_text(encoding="utf-8")
    for old, new in changes.values():
        assert old in text
        text = text.replace(old, new)
    (report,) = parse(text)
    return report


def order5(*changes: tuple[str, str]) -> Explanation:
    return explain(read("order5-6.7", **{str(n): change for n, change in enumerate(changes)}))


def test_each_zone_says_by_how_many_pages_it_refuses() -> None:
    found = order5()
    assert found.fails is True
    assert [(v.zone.name, v.held.most_usable, v.held.needed, v.held.missing) for v in found.zones] == [
        ("DMA", 3327 - 31, 16 + 15744, 12465),
        ("DMA32", 15902 - 31, 2471 + 13439, 40),
        ("Normal", 37444 - 31 - 512, 36935, 35),
    ]
    assert found.cause.startswith("lack of memory: no zone is above its mark (the one with most free pages has a block")
    assert found.tried[-1] == "without an OOM kill, as order 5 is above 3"
    assert found.unknown == ()


def test_a_number_that_crosses_a_mark_changes_the_verdict() -> None:
    at_mark = order5(("Node 0 Normal free:149776kB", "Node 0 Normal free:149912kB"))  # 34 pages more: as many as needed
    assert at_mark.fails is True
    assert at_mark.zones[2].held.missing == 1
    above = order5(("Node 0 Normal free:149776kB", "Node 0 Normal free:149916kB"))
    assert above.fails is False
    assert "written after the failure" in above.zones[2].why


def test_what_would_have_been_served_is_asked_of_the_same_zones() -> None:
    others = {other.what: other for other in order5().others}
    assert others["marks without their boost"].served is True
    assert others["any order below 5"].served is False
    assert others["kvmalloc, by single pages of vmalloc"].served is False
    assert others["GFP_ATOMIC, from the reserves"].served is True
    roomy = {other.what: other.served for other in order5(("min:147740kB", "min:147700kB")).others}
    assert roomy["order 2"] is True  # 36,929 pages, where order 3 leaves 36,925, as many as are needed
    assert roomy["kvmalloc, by single pages of vmalloc"] is True


def test_blocks_that_a_request_may_not_take_are_named() -> None:
    changes = [("min:147740kB", "min:100000kB"), ("197*128kB (UMH) 6*256kB (MH)", "197*128kB (H) 6*256kB (H)")]
    normal = order5(*changes).zones[2]
    assert normal.why == "above the mark, but without a free block of order 5 or more: those of type H are not for it"
    assert order5(*changes).cause.startswith("fragmentation")


def test_what_a_report_does_not_hold_is_said() -> None:
    nameless = order5(("6.7.0", ""))
    assert any("release" in what for what in nameless.unknown)
    untyped = order5(("min:147740kB", "min:100000kB"), (" (UMH)", ""), (" (MH)", ""))
    assert untyped.zones[2].passes is None
    assert untyped.fails is None
    assert any("types of its free blocks" in what for what in untyped.unknown)
    no_zones = explain(read("cgroup-6.1"))
    assert no_zones.fails is None


def test_3_10_takes_smaller_blocks_off() -> None:
    found = explain(read("atomic-3.10"))
    (zone,) = found.zones
    assert (found.asked.high, found.asked.atomic, found.asked.may_reclaim) == (True, True, False)
    assert (zone.held.needed, zone.passes) == (750, False)
    assert zone.held.below_at == 1
    assert found.tried == (
        "to wake kswapd and to take from each zone down to its reserve, and nothing more, as it may not wait",
    )


def test_who_has_most_points_is_who_was_killed() -> None:
    report = read("oom-5.15")
    ranks = scored(report, (5, 15))
    assert [(one.task.comm, one.points) for one in ranks] == [
        ("helper", 10000 + 50 + 600 * 350),
        ("java", 120000 + 50000 + 500),
        ("systemd-journal", 500 + 20 + 10),
    ]
    assert report.killed == (ranks[0].task.pid, ranks[0].task.comm)


def test_a_memory_cgroup_at_its_limit_says_nothing_of_zones() -> None:
    lines = lines_of(explain(read("cgroup-6.1")))
    at_limit = "the memory cgroup /docker/abc was at its limit: 524,288 kB used of 524,288 kB"
    assert lines[1] == f"{at_limit}; the machine was not short of memory"
    assert lines[2:] == ["killed: worker, pid 77: why that one: not known, without the table of tasks"]


@pytest.mark.parametrize(
    ("highest", "expected"), [("Normal", [15744, 13439, 0]), ("DMA32", [2305, 0, 0]), ("DMA", [0, 0, 0])]
)
def test_a_reserve_is_that_of_the_highest_zone_that_the_request_may_use(highest: str, expected: list[int]) -> None:
    zones = order5().report.zones
    assert [reserve_of(zone, zones, highest) for zone in zones] == expected


def test_the_screen_and_json_say_the_same(capsys: pytest.CaptureFixture[str]) -> None:
    path = REPORTS / "order5-6.7.txt"
    explain_and_show(path, 1, as_json=False)
    said = capsys.readouterr().out
    found = facts(order5())
    assert found["fails"] is True
    for zone in found["zones"]:
        assert f"needs more than {zone['needed']:,}" in said
    assert all(other["what"] in said for other in found["others"])
    assert len(said.splitlines()) <= 24


def test_the_trace_says_who_asked_and_in_which_context(capsys: pytest.CaptureFixture[str]) -> None:
    explain_and_show(REPORTS / "atomic-3.10.txt", 1, as_json=False)
    assert "asked by" not in capsys.readouterr().out, "the trace is cut off behind the allocator"
    net = " skb_page_frag_refill+0x1/0x2\n net_rx_action+0x1/0x2\n __do_softirq+0x1/0x2\n do_IRQ+0x1/0x2\nMem-Info:"
    found = explain(read("atomic-3.10", net=("Mem-Info:", net)))
    assert found.traced == Traced("skb_page_frag_refill", "a softirq", ())
    assert lines_of(found)[1].endswith("asked by skb_page_frag_refill, in a softirq")


@pytest.mark.parametrize(
    ("trace", "expected"),
    [
        (
            ("dump_stack", "warn_alloc", "__alloc_pages", "kmalloc_order", "mine", "do_syscall_64"),
            ("mine", "a process"),
        ),
        (("__kmalloc", "mine", "handle_irq_event", "do_idle"), ("mine", "an interrupt")),
        (("__vmalloc_node_range", "mine", "worker_thread", "kthread"), ("mine", "a kernel thread")),
        ((), ("", "")),
    ],
)
def test_the_caller_is_the_first_that_is_no_allocator(trace: tuple[str, ...], expected: tuple[str, str]) -> None:
    assert traced(trace)[:2] == expected


def test_the_trace_shows_how_far_the_allocator_had_gone() -> None:
    steps = (
        "out_of_memory",
        "__alloc_pages_may_oom",
        "try_to_free_pages",
        "__alloc_pages_direct_compact",
        "mine",
        "el0_svc",
    )
    assert traced(steps) == Traced("mine", "a process", ("reclaim", "compaction", "the OOM killer"))


def test_memory_without_a_failed_request_says_what_it_would_give(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "sysrq.txt"
    lines = (REPORTS / "order5-6.7.txt").read_text(encoding="utf-8").splitlines(keepends=True)
    roomy = "".join(lines[2:]).replace("boost:90112kB min:147740kB", "boost:0kB min:57628kB")
    path.write_text(f"sysrq: Show Memory\n{roomy}", encoding="utf-8")
    explain_and_show(path, 1, tmp_path / "page.html", as_json=False)
    said = capsys.readouterr().out
    assert said.startswith("no failed request, but the memory as it was")
    assert "node 0 Normal serves: 37,444 free" in said
    assert "so it would fail: no\n" in said
    assert "the kernel tried" not in said
    assert "GFP_KERNEL, before it reclaims: order 6, the largest: yes (node 0, zone Normal" in said
    assert "<title>Memory as it was</title>" in (tmp_path / "page.html").read_text(encoding="utf-8")


def test_a_file_without_a_report_is_refused_in_one_line(tmp_path: Path) -> None:
    path = tmp_path / "log.txt"
    path.write_text("nothing\n", encoding="utf-8")
    with pytest.raises(ConfigError, match=r"log.txt:1: must be a kernel log with a report"):
        explain_and_show(path, 1, as_json=False)
    with pytest.raises(ConfigError, match=r"--which: must be the number of a report in the log, 1 to 1, found 2"):
        explain_and_show(REPORTS / "order5-6.7.txt", 2, as_json=False)
