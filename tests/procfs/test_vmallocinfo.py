"""/proc/vmallocinfo: the kernel's bytes, and back."""

from dataclasses import replace
from pathlib import Path

import pytest

from kmsim.procfs import vmallocinfo
from kmsim.procfs.recorded import read
from kmsim.procfs.vmallocinfo import UNPURGED, Area

RECORDINGS = sorted((Path(__file__).parents[1] / "validation" / "recordings").glob("*.json.gz"))


@pytest.mark.parametrize("path", RECORDINGS, ids=lambda path: path.name)
def test_a_recorded_file_is_read_and_written_back(path: Path) -> None:
    content = read(path).files["fresh.vmallocinfo"]
    areas = vmallocinfo.parse(content)
    assert vmallocinfo.text(areas) == content
    assert {flag for area in areas for flag in area.flags} >= {"vmalloc", "vmap", "ioremap"}
    assert sum(area.nr_pages for area in areas) > 10


PLAIN = Area(0xFFFFC90000000000, 0xFFFFC90000005000, 20480, "kernel_clone+0xa8/0x360", 4, flags=("vmalloc",))


@pytest.mark.parametrize(
    ("area", "line"),
    [
        (PLAIN, "0xffffc90000000000-0xffffc90000005000   20480 kernel_clone+0xa8/0x360 pages=4 vmalloc"),
        (
            replace(PLAIN, flags=("vmalloc", "user", "vpages"), pages_by_node=((0, 3), (1, 1)), caller="f+0x1/0x2 [m]"),
            "0xffffc90000000000-0xffffc90000005000   20480 f+0x1/0x2 [m] pages=4 vmalloc user vpages N0=3 N1=1",
        ),
        (
            replace(PLAIN, nr_pages=0, phys=0xFED00000, flags=("ioremap",), caller=""),
            "0xffffc90000000000-0xffffc90000005000   20480 phys=0x00000000fed00000 ioremap",
        ),
        (
            Area(0xFFFFC90000000000, 0xFFFFC90000005000, 20480, kind=UNPURGED),
            "0xffffc90000000000-0xffffc90000005000   20480 unpurged vm_area",
        ),
    ],
)
def test_lines_of_all_kinds(area: Area, line: str) -> None:
    assert vmallocinfo.line(area) == line + "\n"
    assert vmallocinfo.parse(line + "\n") == (area,)


START = "0xffffc90000000000-0xffffc90000005000   "


@pytest.mark.parametrize(
    ("content", "why"),
    [
        ("hello\n", "line 1: not '0xSTART-0xEND BYTES ...': 'hello'"),
        (f"{START}20480 vmalloc vmalloc\n", "line 1: 'vmalloc' is nothing that stands there"),
        (f"{START}20480 vmap vmalloc\n", "line 1: 'vmalloc' is nothing that stands there"),
        (f"{START}20480 pages=x vmalloc\n", "line 1: 'x' is not a count"),
        (f"{START}20480 vmalloc\n{START}0 vmalloc\n", "line 2: an area of 0 bytes"),
        (f"{START}20480 vmalloc", "line 1: cut off (no newline at its end)"),
    ],
)
def test_what_is_no_vmallocinfo_is_refused_with_its_line(content: str, why: str) -> None:
    with pytest.raises(ValueError, match=r"^line") as caught:
        vmallocinfo.parse(content)
    assert str(caught.value) == why
