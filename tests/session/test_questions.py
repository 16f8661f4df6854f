"""`kmsim limits` and `kmsim waste`, as a user asks them."""

import json
import re
from pathlib import Path

import pytest

from kmsim.plots.waste import title_of
from kmsim.study.waste import WasteRow
from kmsim.units import format_size
from tests.commands import Shell

MACHINE = "x86-612-4k-256M-c2"


@pytest.fixture
def kmsim(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Shell:
    return Shell(tmp_path, monkeypatch, capsys)


def test_limits_of_a_machine_with_what_the_order_was_called(kmsim: Shell) -> None:
    done = kmsim("limits", MACHINE)
    assert done.code == 0
    assert re.search(r"kmalloc +4MiB +4MiB MAX_PAGE_ORDER 10 +kvmalloc", done.out)
    assert re.search(r"vmalloc +[\d.]+MiB +[\d.]+MiB the min watermark", done.out)
    assert "KMALLOC_MAX_SIZE 4MiB = 4KiB << MAX_PAGE_ORDER 10" in done.out
    assert "KMALLOC_MAX_CACHE_SIZE 8KiB" in done.out
    assert done.out.splitlines()[-3:] == [
        "before Linux 6.4: MAX_ORDER 11, one more than the largest order",
        "Linux 6.4 to 6.7: MAX_ORDER 10, the largest order",
        "from Linux 6.8 on: MAX_PAGE_ORDER 10, the largest order; MAX_ORDER is gone",
    ]
    assert max(map(len, done.out.splitlines())) <= 80
    assert kmsim.files() == []


def test_limits_of_a_study_a_state_and_flags(kmsim: Shell) -> None:
    (row,) = json.loads(kmsim("limits", kmsim.write("small.yaml"), "--json").out)
    assert row["kmalloc_max_size"] == row["largest_success"] == 4 << 20
    aged = ("--state", "{aged: {order: 9, unusable_index: 0.9}}", "--gfp", "GFP_ATOMIC")
    (row,) = json.loads(kmsim("limits", "small.yaml", *aged, "--json").out)
    assert row["largest_success"] < row["kmalloc_max_size"]
    assert (row["gfp"], row["apis"][3]["now"]) == ("GFP_ATOMIC", 0)


def test_limits_of_all_page_sizes_and_orders(kmsim: Shell) -> None:
    done = kmsim("limits")
    assert done.code == 0
    rows = re.findall(r"^ +(\d+) +(\d+) +(\S+) +(\S+) +(\S+) *$", done.out, re.MULTILINE)
    assert len(rows) == 13
    assert rows[7] == ("10", "11", "4MiB*", "16MiB", "64MiB")
    assert rows[-1] == ("15", "16", "128MiB", "-", "-")
    assert max(map(len, done.out.splitlines()[:17])) <= 80
    for line in ("before Linux 6.4: MAX_ORDER", "Linux 6.4 to 6.7: MAX_ORDER", "from Linux 6.8 on: MAX_PAGE_ORDER"):
        assert re.search(f"^{line}", done.out, re.MULTILINE)
    as_json = json.loads(kmsim("limits", "--json").out)
    on_paper = {(row["max_page_order"], row["page_size"]): row["kmalloc_max_size"] for row in as_json}
    assert len(on_paper) == 35
    for order, _, *cells in rows:
        for page_size, cell in zip((4096, 16384, 65536), cells, strict=True):
            expected = on_paper.get((int(order), page_size))
            assert cell.rstrip("*") == ("-" if expected is None else format_size(expected))


def test_limits_of_all_say_each_number_once(kmsim: Shell) -> None:
    """A kernel's largest size is three limits, and one size is the same for all orders: neither is repeated."""
    out, rows = kmsim("limits").out, json.loads(kmsim("limits", "--json").out)
    lines = out.splitlines()
    (end,) = (n for n, line in enumerate(lines) if line.startswith("* the default"))
    table, below = lines[:end], "\n".join(lines[end:])
    limits = [format_size(row["kmalloc_max_size"]) for row in rows]
    assert sorted(re.findall(r"\d+[KMG]iB(?=[* ]|$)", "\n".join(table[3:]))) == sorted(limits)
    for row in rows:
        assert row["kmalloc_max_size"] == row["page_size"] << row["max_page_order"]
        assert row["kmalloc_max_order"] == row["max_page_order"]
        assert len([line for line in table if re.match(rf" +{row['max_page_order']} ", line)]) == 1
    caches = {(row["page_size"], row["kmalloc_max_cache_size"]) for row in rows}
    said = [f"{format_size(size)} with {format_size(page)} pages" for page, size in sorted(caches)]
    assert len(caches) == 3
    assert below.count(f"up to {', '.join(said)}") == 1
    assert [below.count(text) for text in said] == [1, 1, 1]


def test_waste_of_some_sizes(kmsim: Shell) -> None:
    done = kmsim("waste", "100", "2200100", "4200100", "--machine", MACHINE)
    assert done.code == 0
    lines = [re.split(r" {2,}|(?<=\d) (?=\D)", line.strip()) for line in done.out.splitlines() if line.strip()]
    assert ["100", "kmalloc", "128", "128", "21.9", "kmalloc-128"] in lines
    assert re.search(r"^ *2,200,100 kmalloc +4,194,304 4,194,304 +47\.5 order 10", done.out, re.MULTILINE)
    assert re.search(r"^ *4,200,100 kmalloc +fails +- +- order 11", done.out, re.MULTILINE)
    assert re.search(r"^ +vmalloc +4,202,496 4,223,389 +0\.6 1,026 pages", done.out, re.MULTILINE)
    assert "% of taken" in done.out
    assert max(map(len, done.out.splitlines())) <= 80


def test_waste_of_a_range_has_a_line_for_each_size(kmsim: Shell) -> None:
    done = kmsim("waste", "--from", "33KiB", "--to", "68KiB", "--step", "35KiB", "--machine", MACHINE)
    assert done.code == 0
    assert "% of the memory taken" in done.out
    assert re.findall(r"^ +([\d,]+) +([\d,]+) +(\S+) +(\S+) +(\S+) +(\S+)", done.out, re.MULTILINE) == [
        ("33,792", "65,536", "48.4", "48.4", "48.4", "8.3"),
        ("69,632", "131,072", "46.9", "46.9", "46.9", "0.0"),
    ]


def test_waste_draws_the_saw_tooth(kmsim: Shell) -> None:
    for name, head in (("saw.png", b"\x89PNG"), ("saw.pdf", b"%PDF")):
        done = kmsim("waste", "--from", "1", "--to", "64KiB", "--plot", name, "--machine", MACHINE)
        assert (done.code, done.out.split(":")[0]) == (0, f"wrote {name}")
        assert (kmsim.folder / name).read_bytes().startswith(head)
    assert kmsim.files() == ["saw.pdf", "saw.png"]


def test_the_saw_tooth_is_titled_with_what_is_wasted_of_the_sizes_that_it_shows() -> None:
    rows = [
        WasteRow(1, "alloc_pages", 4096, 4096, 100 * 4095 / 4096, ""),
        WasteRow(4096, "alloc_pages", 4096, 4096, 0, ""),
        WasteRow(4097, "alloc_pages", 8192, 8192, 100 * 4095 / 8192, ""),
        WasteRow(4097, "vmalloc", 4097, 8400, 51.2, ""),
        WasteRow(8192, "kmalloc", 0, 0, 0, ""),
    ]
    assert title_of(rows) == "From 4 KiB on, up to 51 % of the memory taken is wasted, most by vmalloc"
    assert title_of(rows[:1]) == "From 1 B on, up to 100 % of the memory taken is wasted, most by alloc_pages"
    assert title_of(rows[4:]) == "No request is served"


def test_waste_as_json(kmsim: Shell) -> None:
    rows = json.loads(kmsim("waste", "4KiB", "--machine", MACHINE, "--json").out)
    taken = {"usable_bytes": 4096, "taken_bytes": 4096, "waste_percent": 0}
    assert rows[0] == {"size": 4096, "api": "kmalloc", **taken, "source": "kmalloc-4k"}


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("waste", "4KB"), "kmsim waste: SIZE: must be a size such as 16GiB, found '4KB'"),
        (("waste", "0"), "kmsim waste: SIZE: must be at least 1B, found '0'"),
        (("waste", "100", "--machine", "missing.yaml"), "must be a file that exists"),
        (("waste", "100", "--machine", "nosuch"), "kmsim waste: --machine: must be a shipped name"),
        (("waste", "100", "--plot", "saw.jpg"), "kmsim waste: --plot: must be one of .png, .pdf, found '.jpg'"),
        (("waste", "100", "--plot", "small.yaml/saw.png"), "small.yaml/saw.png"),
        (("waste",), "kmsim waste: SIZE: must come with at least one size, or --from and --to"),
        (("limits", "--gfp", "GFP_KERNEl"), "kmsim limits: --gfp: must be the kernel's GFP flags"),
        (("limits", "x86-laptop", "--gfp", "__GFP_DMA|__GFP_DMA32"), "kmsim limits: --gfp: must have at most one of"),
        (
            ("limits", "x86-laptop", "--state", "{aged: {order: 9}}"),
            "--state {aged: {order: 9}}: machine.state.aged",
        ),
        (("waste", "100", "--state", "nosuch"), "--state nosuch: machine.state: must be fresh"),
        (("limits", "--state", "fresh"), "kmsim limits: --state: must come with MACHINE, found 'fresh'"),
        (("limits", "--gfp", "GFP_ATOMIC"), "kmsim limits: --gfp: must come with MACHINE, found 'GFP_ATOMIC'"),
        (("limits", "x86-laptob"), "did you mean 'x86-laptop'?"),
        (("limits", ""), "kmsim limits: MACHINE: must be a shipped name"),
        (("limits", "no/file"), "no/file: must be a file that exists"),
        (("bench", "fast"), "kmsim bench: NAME: must be a shipped name"),
        (("bench", "no/file"), "no/file: must be a file that exists"),
        (("limits", "missing.yaml"), "missing.yaml: must be a file that exists"),
    ],
)
def test_a_wrong_question_is_refused_in_a_line(kmsim: Shell, arguments: tuple[str, ...], message: str) -> None:
    kmsim.write("small.yaml")
    done = kmsim(*arguments)
    assert (done.code, done.out) == (2, "")
    assert len(done.err.splitlines()) == 1
    assert message in done.err
