"""Reports of failed allocations and of OOM kills, as kernels write them and as people paste them."""

import random
from collections.abc import Callable
from pathlib import Path

import pytest

from kmsim.procfs.mem_report import Blocks, MemReport, parse

REPORTS = Path(__file__).parent / "reports"


def text_of(name: str) -> str:
    return (REPORTS / f"{name}.txt").read_text(encoding="utf-8")


def one(text: str) -> MemReport:
    (report,) = parse(text)
    return report


def test_a_report_holds_the_request_and_each_zone_to_the_page() -> None:
    report = one(text_of("order5-6.7"))
    assert (report.request.comm, report.request.order, report.request.mode) == ("app", 5, 0x40DC0)
    assert report.request.names == ("GFP_KERNEL", "__GFP_COMP", "__GFP_ZERO")
    assert (report.release, report.page_size) == ("6.7.0", 4096)
    assert [zone.name for zone in report.zones] == ["DMA", "DMA32", "Normal"]
    normal = report.zones[2]
    assert (normal.free, normal.min, normal.low, normal.high) == (37444, 36935, 40536, 44137)
    assert (normal.boost, normal.reserved_highatomic, normal.present, normal.managed) == (22528, 512, 3524608, 3442470)
    assert report.zones[1].lowmem_reserve == (0, 0, 13439, 13439, 13439)
    assert normal.blocks[5] == Blocks(197, "UMH", at_least=False)
    assert normal.blocks[7] == Blocks(0, "", at_least=False)
    assert len(normal.blocks) == 11


def test_kernels_before_names_of_flags_say_bits_and_no_boost() -> None:
    report = one(text_of("atomic-3.10"))
    assert (report.request.comm, report.request.order, report.request.names) == ("swapper/2", 2, ())
    assert report.release.startswith("3.10.0-1160")
    (zone,) = report.zones
    assert (zone.free, zone.min, zone.boost, zone.reserved_highatomic) == (2250, 2000, None, None)
    assert zone.blocks[3] == Blocks(8, "R", at_least=False)
    assert report.trace == ("dump_stack", "warn_alloc_failed", "__alloc_pages_nodemask")


def test_an_oom_report_holds_its_tasks_and_who_was_killed() -> None:
    report = one(text_of("oom-5.15"))
    assert report.request.is_oom
    assert report.release == "5.15.0-91-generic"
    assert [(task.pid, task.comm, task.rss, task.swap, task.pgtables, task.score_adj) for task in report.tasks] == [
        (300, "systemd-journal", 500, 20, 40960, 0),
        (4242, "java", 120000, 50000, 2048000, 0),
        (4300, "helper", 10000, 0, 204800, 600),
        (310, "sshd", 4000, 0, 61440, -1000),
    ]
    assert report.killed == (4300, "helper")
    assert report.total_pages == 258048 - 8048 + 100000
    assert report.cgroup is None


def test_the_oom_of_a_memory_cgroup_is_told_apart() -> None:
    report = one(text_of("cgroup-6.1"))
    assert report.cgroup is not None
    assert report.cgroup._asdict() == {"name": "/docker/abc", "usage_kb": 524288, "limit_kb": 524288}
    assert (report.request.comm, report.zones) == ("worker", ())


PASTED: dict[str, Callable[[str], str]] = {
    "crlf": lambda text: text.replace("\n", "\r\n"),
    "no last newline": lambda text: text.rstrip("\n"),
    "quoted": lambda text: "".join(f"> {line}\n" for line in text.splitlines()),
    "indented": lambda text: "".join(f"    {line}\n" for line in text.splitlines()),
    "blank lines": lambda text: text.replace("\n", "\n\n"),
    "journal": lambda text: "".join(f"Nov 29 10:00:00 host kernel: {line}\n" for line in text.splitlines()),
    "level": lambda text: "".join(f"<4>{line}\n" for line in text.splitlines()),
    "other lines": lambda text: text.replace("Mem-Info", "usb 1-1: new device\nMem-Info"),
}


@pytest.mark.parametrize("how", PASTED)
def test_a_report_is_read_as_people_paste_it(how: str) -> None:
    for name in ("order5-6.7", "oom-5.15"):
        plain, pasted = one(text_of(name)), one(PASTED[how](text_of(name)))
        lines = [zone._replace(line=0) for zone in pasted.zones]
        assert lines == [zone._replace(line=0) for zone in plain.zones]
        assert pasted.request._replace(line=0) == plain.request._replace(line=0)
        assert (pasted.release, pasted.tasks, pasted.killed) == (plain.release, plain.tasks, plain.killed)


def test_a_log_may_have_several() -> None:
    reports = parse(text_of("order5-6.7") + text_of("cgroup-6.1") + text_of("oom-5.15"))
    assert [report.request.comm for report in reports] == ["app", "worker", "java"]
    assert [len(report.zones) for report in reports] == [3, 0, 1]


def test_memory_that_was_printed_without_a_failure_is_read_with_a_request_for_a_page() -> None:
    """By sysrq-m: the report without the request, the trace and the release before it."""
    whole = text_of("order5-6.7")
    printed = whole[whole.rindex("\n", 0, whole.index("Mem-Info:")) + 1 :]
    bare = one(printed)
    assert bare.zones == tuple(zone._replace(line=zone.line - 2) for zone in one(whole).zones)
    assert (bare.request.has_failed, bare.request.order, bare.request.names) == (False, 0, ("GFP_KERNEL",))
    assert bare.release == ""
    both = parse(printed + whole + printed)
    assert [report.request.has_failed for report in both] == [False, True, False]
    assert len({report.zones[0].free for report in both}) == 1


@pytest.mark.parametrize(
    ("change", "why"),
    [
        (lambda text: text.replace("page allocation failure", "x").replace("Mem-Info", "x"), "line 14: no report"),
        (lambda text: text.replace("order:5, ", ""), "line 1: a report without order and mode"),
        (lambda text: text.replace("order:5", "order:77"), "line 1: an order of 77"),
        (lambda text: text.replace("Normal free", "HighMem free"), "line 8: a zone HighMem"),
        (lambda text: text.replace("min:147740kB ", ""), "line 8: zone Normal without min"),
        (lambda text: text.replace("6*256kB (MH)", "6*256kB (MX)"), "line 12: blocks of type X"),
        (lambda text: text.replace("830*64kB", "830*63kB"), "line 12: blocks of 63 kB"),
    ],
)
def test_what_is_no_report_is_refused_with_its_line(change: Callable[[str], str], why: str) -> None:
    with pytest.raises(ValueError, match=why):
        parse(change(text_of("order5-6.7")))


def refusal_of(text: str) -> str:
    """What the reader has against a text; empty where it reads it."""
    try:
        parse(text)
    except ValueError as error:
        return str(error)
    return ""


def test_reports_changed_at_random_are_read_or_refused() -> None:
    rng = random.Random(1)
    texts = [text_of(path.stem) for path in sorted(REPORTS.glob("*.txt"))]
    nr_refused = 0
    for _ in range(300):
        text = list(rng.choice(texts))
        for _ in range(rng.randrange(1, 40)):
            text[rng.randrange(len(text))] = chr(rng.choice((*range(32, 127), 10, 0, 0x1B, 0x20AC)))
        found = refusal_of("".join(text))
        assert not found or found.startswith("line "), found
        nr_refused += found != ""
    assert 0 < nr_refused < 300


def test_random_bytes_are_read_or_refused_with_a_line() -> None:
    rng = random.Random(2)
    words = ("Mem-Info:", "a: page allocation failure: order:0, mode:0x1", " Node 0 DMA free:", ": 1*4kB = 4kB", "\n")
    for n in range(200):
        noise = rng.randbytes(rng.randrange(1, 5000)).decode("utf-8" if n % 2 else "latin-1", "replace")
        pieces = [noise[at : at + 200] + rng.choice(words) for at in range(0, len(noise), 200)]
        found = refusal_of("".join(pieces))
        assert not found or found.startswith("line "), found
