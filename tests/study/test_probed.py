"""What bpftrace prints of a function and of an empty one: the point that it is, and what is refused."""

from pathlib import Path

import pytest

from kmsim.study.measured import read_points
from kmsim.study.store import NotAResult

HEAD = "kmsim: workload=kmalloc,bytes=256,operation=alloc,cpus=1\n"
CALLS = "@call: count 1000, average 750, total 750000\n@call: count 2000, average 752, total 1504000\n"
EMPTY = "@empty: count 1000, average 700, total 700000\n@empty: count 500, average 702, total 351000\n"
HISTOGRAM = (
    "@usecs:\n[256, 512)             12 |@@@@                |\n[512, 1K)              90 |@@@@@@@@@@@@@@@@@@@@|\n"
)


def refusal(folder: Path, text: str) -> str:
    path = folder / "points.txt"
    path.write_text(text)
    with pytest.raises(NotAResult) as refused:
        read_points(path)
    return str(refused.value).removeprefix(str(path))


def test_a_point_is_what_a_call_takes_without_its_probes(tmp_path: Path) -> None:
    path = tmp_path / "points.txt"
    path.write_text("Attaching 6 probes...\n" + HEAD + CALLS + "\n\n" + EMPTY)
    (point,) = read_points(path)
    assert (point.curve, point.cpus) == ("kmalloc 256 bytes alloc", 1)
    assert point.ns == pytest.approx(751 - 701)
    # Of call and of empty: rounds of 750, 752 and 700, 702; and a twentieth of what the probes take.
    assert point.error_percent * point.ns / 100 == pytest.approx((1 + 1 + (0.05 * 701) ** 2) ** 0.5)
    assert point.where == f"{path}:2"


def test_a_long_path_needs_no_empty_function(tmp_path: Path) -> None:
    path = tmp_path / "points.txt"
    path.write_text(HEAD + CALLS.replace("750000", "7500000").replace("1504000", "15040000"))
    assert read_points(path)[0].ns == pytest.approx(7510)


@pytest.mark.parametrize(
    ("text", "why"),
    [
        (HEAD + HISTOGRAM, ":3: must be means: a histogram in powers of two tells a time to within a factor of two"),
        (
            HEAD + CALLS,
            ": must have @empty, the same probes on an empty function: a probe takes as long as a path under",
        ),
        (HEAD + EMPTY, ": must have 2 rounds or more, lines of @call; found 0"),
        (CALLS + EMPTY, ": must have one line that says what is measured"),
        (HEAD + CALLS + EMPTY.replace("700", "740").replace("351", "370"), ": must take longer than an empty function"),
        (HEAD.replace("cpus=1", "cpus") + CALLS + EMPTY, ":1: 'cpus' must be a column and its value"),
        (HEAD.replace("cpus", "cores") + CALLS + EMPTY, ":1: must begin with the columns"),
        (HEAD.replace("256", "256B") + CALLS + EMPTY, ":1: bytes: must be a whole number"),
    ],
)
def test_what_tells_no_mean_is_refused(tmp_path: Path, text: str, why: str) -> None:
    assert refusal(tmp_path, text).startswith(why)
