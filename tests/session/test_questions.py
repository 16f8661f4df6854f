"""`kmsim limits` and `kmsim waste`, as a user asks them."""

import json
import re
from pathlib import Path

import pytest

from tests.commands import Shell

MACHINE = "x86-612-4k-256M-c2"


@pytest.fixture
def kmsim(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Shell:
    return Shell(tmp_path, monkeypatch, capsys)


def test_limits_of_a_machine_with_what_the_order_was_called(kmsim: Shell) -> None:
    done = kmsim("limits", MACHINE)
    assert done.code == 0
    assert re.search(r"KMALLOC_MAX_SIZE +4MiB +4KiB << MAX_PAGE_ORDER 10", done.out)
    assert re.search(r"KMALLOC_MAX_CACHE_SIZE +8KiB", done.out)
    assert re.search(r"largest success +4MiB +MAX_PAGE_ORDER", done.out)
    assert done.out.splitlines()[-3:] == [
        "before Linux 6.4: MAX_ORDER 11, one more than the largest order",
        "Linux 6.4 to 6.7: MAX_ORDER 10, the largest order",
        "from Linux 6.8 on: MAX_PAGE_ORDER 10, the largest order; MAX_ORDER is gone",
    ]
    assert max(map(len, done.out.splitlines())) <= 80
    assert kmsim.files() == []


def test_limits_of_a_study(kmsim: Shell) -> None:
    (row,) = json.loads(kmsim("limits", kmsim.write("small.yaml"), "--json").out)
    assert row["kmalloc_max_size"] == row["largest_success"] == 4 << 20


def test_limits_of_all_page_sizes_and_orders(kmsim: Shell) -> None:
    done = kmsim("limits")
    assert done.code == 0
    rows = re.findall(r"^ *(\w+KiB) +(\d+) +(\d+) +(\w+) +(\w+) +(\w+) *$", done.out, re.MULTILINE)
    assert len(rows) == 35
    assert [row for row in rows if row[4] == "1MiB"] == [
        ("4KiB", "8", "9", "no", "1MiB", "8KiB"),
        ("16KiB", "6", "7", "no", "1MiB", "32KiB"),
        ("64KiB", "4", "5", "no", "1MiB", "128KiB"),
    ]
    assert max(map(len, done.out.splitlines())) <= 80
    as_json = json.loads(kmsim("limits", "--json").out)
    assert [row["kmalloc_max_order"] for row in as_json] == [int(row[1]) for row in rows]


def test_waste_of_some_sizes(kmsim: Shell) -> None:
    done = kmsim("waste", "100", "2200100", "4200100", "--machine", MACHINE)
    assert done.code == 0
    lines = [re.split(r" {2,}|(?<=\d) (?=\D)", line.strip()) for line in done.out.splitlines() if line.strip()]
    assert ["100", "kmalloc", "128", "28.0", "kmalloc-128"] in lines
    assert re.search(r"^ *2,200,100 kmalloc +4,194,304 +90\.6 order 10", done.out, re.MULTILINE)
    assert re.search(r"^ *4,200,100 kmalloc +fails +- order 11", done.out, re.MULTILINE)
    assert re.search(r"^ +vmalloc +4,202,496 +0\.1 1,026 pages", done.out, re.MULTILINE)
    assert max(map(len, done.out.splitlines())) <= 80


def test_waste_as_json(kmsim: Shell) -> None:
    rows = json.loads(kmsim("waste", "4KiB", "--machine", MACHINE, "--json").out)
    assert rows[0] == {"size": 4096, "api": "kmalloc", "taken_bytes": 4096, "waste_percent": 0, "source": "kmalloc-4k"}


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("waste", "4KB"), "kmsim waste: SIZE: must be a size such as 16GiB, found '4KB'"),
        (("waste", "0"), "kmsim waste: SIZE: must be at least 1B, found '0'"),
        (("waste", "100", "--machine", "missing.yaml"), "must be a file that exists"),
        (("waste", "100", "--machine", "nosuch"), "kmsim waste: --machine: must be a shipped name"),
        (("limits", "x86-laptob"), "did you mean 'x86-laptop'?"),
        (("limits", ""), "kmsim limits: MACHINE: must be a shipped name"),
        (("limits", "no/file"), "no/file: must be a file that exists"),
        (("bench", "fast"), "kmsim bench: NAME: must be a shipped name"),
        (("bench", "no/file"), "no/file: must be a file that exists"),
        (("limits", "missing.yaml"), "missing.yaml: must be a file that exists"),
    ],
)
def test_a_wrong_question_is_refused_in_a_line(kmsim: Shell, arguments: tuple[str, ...], message: str) -> None:
    done = kmsim(*arguments)
    assert (done.code, done.out) == (2, "")
    assert len(done.err.splitlines()) == 1
    assert message in done.err


def test_waste_needs_a_size(kmsim: Shell) -> None:
    done = kmsim("waste")
    assert (done.code, done.out) == (2, "")
    assert "SIZE..." in done.err
