"""Reports in logs of any form: who asked behind any prefix, lines that a mail has broken, numbers that cannot be."""

from pathlib import Path

import pytest

from kmsim.procfs.log_lines import comm_before
from kmsim.procfs.mem_report import MemReport, parse

REPORTS = Path(__file__).parent / "reports"
ORDER5 = (REPORTS / "order5-6.7.txt").read_text(encoding="utf-8")
PREFIXES = (
    *("", "[  859.563156] ", "<4>[  859.563156] ", "[    1.2][T1000@C3] ", "[ 3511.201712][    C5] ", "> ", "| "),
    *("[Mon May  6 10:11:12 2024] ", "2024-05-06T10:11:12,000000+02:00 ", "kern  :warn  : [  859.56] ", "kernel: "),
    *("May 06 10:11:12 host kernel: ", "May  6 10:11:12 host kernel: [ 85.6] ", "May 06 10:11:12 host kernel[1]: "),
    *("2024-05-06T10:11:12+0200 host kernel: ", "2024-05-06 10:11:12.5 host kernel: [ 85.6] "),
    *("Mon May  6 10:11:12 2024 ", "6. Mai 10:11:12 host kernel: "),
)


def one(text: str) -> MemReport:
    (report,) = parse(text)
    return report


@pytest.mark.parametrize("prefix", PREFIXES)
@pytest.mark.parametrize("comm", ["app", "kworker/u48:2", "swapper/0", "Web Content", "a: b", "x-[y]"])
def test_who_asked_stands_behind_the_prefix_of_the_log(prefix: str, comm: str) -> None:
    assert comm_before(f"{prefix}{comm}: ") == comm or (prefix.startswith("6.") and ": " in comm)
    assert comm_before(f"{prefix}{comm} ") == comm or (prefix.startswith("6.") and ": " in comm)


def test_a_pid_behind_the_name_is_no_part_of_it() -> None:
    assert comm_before("[ 1.0] kworker/0:1(1234): ") == "kworker/0:1"


def wrapped(text: str, width: int) -> str:
    """As a mail breaks lines: at blanks."""
    lines = []
    for line in text.splitlines():
        words, at = line.split(" "), ""
        for word in words:
            if at and len(at) + len(word) >= width:
                lines.append(at + " ")
                at = word
            else:
                at = f"{at} {word}" if at else word
        lines.append(at)
    return "".join(f"{line}\n" for line in lines)


@pytest.mark.parametrize("name", ["order5-6.7", "order9-64k-5.14", "order4-two-nodes-3.10"])
@pytest.mark.parametrize("quote", ["", "> "])
def test_a_report_that_a_mail_has_broken_is_whole_again(name: str, quote: str) -> None:
    plain = (REPORTS / f"{name}.txt").read_text(encoding="utf-8")
    broken = wrapped(plain, 76)
    assert len(broken.splitlines()) > len(plain.splitlines())
    a, b = one(plain), one("".join(f"{quote}{line}\n" for line in broken.splitlines()))
    assert b.request._replace(line=0) == a.request._replace(line=0)
    assert [zone._replace(line=0) for zone in b.zones] == [zone._replace(line=0) for zone in a.zones]
    assert b.release == a.release


@pytest.mark.parametrize(
    ("said", "order", "words"),
    [
        ("page allocation stalls for 10500ms, order:3, mode:0x14200ca(GFP_HIGHUSER)", 3, "stalls for 10500ms"),
        ("vmalloc: allocation failure: 4 bytes, mode:0xcc0(GFP_KERNEL)", 0, "vmalloc: allocation failure: 4 bytes"),
        (
            "vmalloc: allocation failure, allocated 409600 of 4198400 bytes, mode:0xcc0(GFP_KERNEL)", 0,
            "vmalloc: allocation failure, allocated 409600 of 4198400 bytes",
        ),
        (
            "vmalloc error: size 16384, page order 9, failed to allocate pages, mode:0xcc2(GFP_KERNEL)", 9,
            "vmalloc error: size 16384, page order 9, failed to allocate pages",
        ),
    ],
)  # fmt: skip
def test_a_request_that_waits_for_long_and_those_of_vmalloc_are_reports(said: str, order: int, words: str) -> None:
    request = "page allocation failure: order:5, mode:0x40dc0(GFP_KERNEL|__GFP_COMP|__GFP_ZERO)"
    assert request in ORDER5
    report = one(ORDER5.replace(request, said))
    assert (report.request.comm, report.request.order, report.request.said) == ("app", order, words)
    assert report.release == "6.7.0"
    assert len(report.zones) == 3


def test_zones_that_are_not_there_are_no_zones_of_32_bits() -> None:
    empty = "Node 0 HighMem free:0kB min:128kB low:128kB high:128kB present:0kB\nlowmem_reserve[]: 0 0 0 0\n"
    report = one(f"{ORDER5}{empty}Node 0 HighMem: empty\n")
    assert [zone.name for zone in report.zones] == ["DMA", "DMA32", "Normal"]


@pytest.mark.parametrize(
    "line",
    [" unwind_backtrace from show_stack+0x10/0x14", "EIP: 0060:[<c0123456>]", "[<8010f7f0>] (f) from [<8010bcf4>]"],
)
def test_a_kernel_of_32_bits_without_high_memory_is_refused_by_its_trace(line: str) -> None:
    with pytest.raises(ValueError, match=r"^line \d+: a trace of a kernel of 32 bits"):
        parse(ORDER5.replace("Mem-Info:", f"{line}\nMem-Info:"))


@pytest.mark.parametrize(
    ("old", "line"), [("free:149776kB", 8), ("min:147740kB", 8), ("1922*8kB", 12), ("2305 15744", 5), ("pages RAM", 13)]
)
@pytest.mark.parametrize("digits", [16, 400, 5000])
def test_a_number_that_no_machine_has_is_refused_with_its_line(old: str, line: int, digits: int) -> None:
    number = next(word for word in ("149776", "147740", "1922", "15744", "pages RAM") if word in old)
    huge = "9" * digits
    text = ORDER5.replace(old, old.replace(number, f"{huge} {number}" if number == "pages RAM" else huge), 1)
    with pytest.raises(ValueError, match=rf"^line {line}: a number of more than 15 digits"):
        parse(text)
