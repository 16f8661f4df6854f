"""The scripts that measure a machine: they print points that are read as they come, or say why there are none.

In place of the kernel: what one round takes, and the files of /proc.
"""

import importlib.util
import os
import re
import sys
from argparse import Namespace
from collections.abc import Callable
from contextlib import nullcontext
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from kmsim.study.measured import read_points

MEASURE = Path(__file__).parents[2] / "configs" / "measure"
BUDDYINFO = "Node 0, zone      DMA      0      0      0      0      0      0      0      0      1      1      3\n"
OTHERS = "0x0-0x1    8192 acpi_os_map_iomem+0x1bc/0x1e0 phys=0x0 ioremap\n"
RING = "0x2-0x3 16781312 packet_set_ring+0x2a5/0x9c0 pages=4096 vmalloc N0=4096\n"
SECONDS_MAX = 60  # of a test that would hang: whoever waits for the others waits for ever


@pytest.fixture
def pages(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    """The script as a module, on a kernel of orders 0 to 10 that has given nobody vmalloc memory."""
    spec = importlib.util.spec_from_file_location("pages", MEASURE / "pages.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    monkeypatch.setattr(sys, "dont_write_bytecode", True)
    spec.loader.exec_module(module)
    for name, text in (("BUDDYINFO", BUDDYINFO), ("VMALLOCINFO", OTHERS)):
        (tmp_path / name).write_text(text)
        monkeypatch.setattr(module, name, tmp_path / name)
    monkeypatch.setattr(os, "sched_setaffinity", lambda *_: None)
    return module


def rounds_of(get: float, put: float) -> Callable[..., tuple[float, float]]:
    """Rounds on a CPU: all alike but for a little."""
    times = iter(range(1000))

    def round_of(*_: object) -> tuple[float, float]:
        return get + next(times) % 3, put + next(times) % 3

    return round_of


def test_what_pages_prints_is_read_as_it_comes(
    pages: ModuleType, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    monkeypatch.setattr(pages, "of_one_round", rounds_of(700, 60))
    pages.main(["--order", "2", "--cpus", "2", "--blocks", "1000"])
    (tmp_path / "points.csv").write_text(capsys.readouterr().out)
    get, put = read_points(tmp_path / "points.csv")
    assert (get.workload, get.order, get.cpus, get.blocks, get.gfp) == ("get", 2, 2, 1000, pages.GFP)
    assert (get.ns, put.ns) == (pytest.approx(701, abs=1), pytest.approx(61, abs=1))
    assert 0 < get.error_percent < put.error_percent < 2


def failed(pages: ModuleType, capsys: pytest.CaptureFixture[str], *arguments: str) -> str:
    """Why there are no points; nothing may be printed that looks like some."""
    with pytest.raises(SystemExit) as stopped:
        pages.main(list(arguments))
    shown = capsys.readouterr()
    assert shown.out == ""
    assert stopped.value.code not in (0, None)
    return f"{stopped.value.code} {shown.err}"


@pytest.mark.parametrize(
    ("error", "why"),
    [
        (PermissionError(1, "Operation not permitted"), "must be run as root"),
        (OSError(12, "Cannot allocate memory"), "CPU 1: [Errno 12] Cannot allocate memory"),
        (SystemExit(3), "CPU 1: its process ended"),
    ],
    ids=["no root", "no memory", "ended"],
)
def test_a_cpu_that_cannot_go_on_stops_all(
    pages: ModuleType,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    tmp_path: Path,
    error: BaseException,
    why: str,
) -> None:
    """The other CPU waits for it, and is let go."""

    monkeypatch.setattr(os, "sched_setaffinity", lambda _, cpus: (tmp_path / f"{os.getpid()}").write_text(f"{cpus}"))

    def round_of(_: Namespace, together: Any) -> tuple[float, float]:
        if (tmp_path / f"{os.getpid()}").read_text() == "{1}":
            raise error
        together.wait(SECONDS_MAX)
        return 1.0, 1.0

    monkeypatch.setattr(pages, "of_one_round", round_of)
    assert why in failed(pages, capsys, "--cpus", "2")


def test_nothing_is_printed_where_one_of_the_two_tells_nothing(
    pages: ModuleType, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(pages, "of_one_round", rounds_of(700, -1))
    assert "put: 0 ns with an error of" in failed(pages, capsys)


def test_orders_that_the_kernel_does_not_have_are_refused(
    pages: ModuleType, capsys: pytest.CaptureFixture[str]
) -> None:
    assert "order must be at most 10, the largest that this kernel has" in failed(pages, capsys, "--order", "11")


def test_vmalloc_memory_in_place_of_blocks_is_refused(
    pages: ModuleType, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """The kernel falls back to it, and the call succeeds; a ring that somebody else had before is none of ours."""
    pages.VMALLOCINFO.write_text(OTHERS + RING)

    def ring_of(_: object, order: int, blocks: int) -> int:
        pages.VMALLOCINFO.write_text(OTHERS + RING + (RING if blocks > 1 else ""))
        return 100 * blocks + order

    monkeypatch.setattr(pages, "timed", ring_of)
    monkeypatch.setattr(pages.socket, "socket", lambda *_: nullcontext())
    monkeypatch.setattr(pages.socket, "AF_PACKET", 17, raising=False)
    assert "no free block of order 9: the kernel took vmalloc memory" in failed(pages, capsys, "--order", "9")


def test_calls_prints_what_is_read(tmp_path: Path) -> None:
    """bpftrace prints a map of stats() as `@name: count N, average N, total N`; the names are the script's."""
    text = (MEASURE / "calls.bt").read_text(encoding="utf-8")
    (head,) = re.findall(r'printf\("(.*)%s\\n", str\(\$4\)\)', text)
    call, empty = re.findall(r"print\(@(\w+)\);", text)
    rounds = [f"@{call}: count 10, average 90, total 900", f"@{empty}: count 10, average 30, total 300"] * 2
    point = "workload=kmalloc,bytes=256,operation=alloc,cpus=1"
    (tmp_path / "points.txt").write_text("\n".join(["Attaching 6 probes...", head + point, *rounds, ""]))
    (read,) = read_points(tmp_path / "points.txt")
    assert (read.workload, read.bytes, read.ns) == ("kmalloc", 256, 60.0)
