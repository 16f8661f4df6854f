"""/proc/slabinfo: the kernel's bytes, and back; and procps' slabtop reads ours."""

import os
import shutil
import subprocess
from pathlib import Path

import pytest

from kmsim.procfs import slabinfo
from kmsim.procfs.recorded import read
from kmsim.procfs.slabinfo import CacheLine
from kmsim.study.slab_tables import slabinfo_text
from tests.patience import PATIENCE_S
from tests.sim.stories import finished
from tests.studies import study

needs_slabtop = pytest.mark.skipif(shutil.which("slabtop") is None, reason="procps is not installed")
needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root may lay a file over /proc/slabinfo")

RECORDINGS = sorted((Path(__file__).parents[1] / "validation" / "recordings").glob("*.json.gz"))

ONE = CacheLine("mine", 40, 42, 96, 42, 1, active_slabs=1, num_slabs=1)
LINE = "mine                  40     42     96   42    1 : tunables    0    0    0 : slabdata      1      1      0\n"
HEAD = f"{slabinfo.VERSION}\n{slabinfo.HEADINGS}\n"


def test_a_line_is_the_kernels() -> None:
    assert slabinfo.text([ONE]) == HEAD + LINE


@pytest.mark.parametrize("path", RECORDINGS, ids=lambda path: path.name)
def test_a_recorded_file_reads_back_as_it_is(path: Path) -> None:
    content = read(path).files["fresh.slabinfo"]
    lines = slabinfo.parse(content)
    assert slabinfo.text(lines) == content
    assert len(lines) > 60
    assert lines[-1].name == "kmem_cache"


def test_long_names_and_wide_counts_are_not_cut() -> None:
    wide = CacheLine("x" * 30, 12345678, 87654321, 4 << 20, 1, 1024, active_slabs=9, num_slabs=87654321)
    assert slabinfo.parse(slabinfo.text([wide, ONE])) == (wide, ONE)


@pytest.mark.parametrize(
    ("content", "why"),
    [
        ("", "line 1: nothing there"),
        ("slabinfo - version: 1.1\n", "line 1: not 'slabinfo - version: 2.1': 'slabinfo - version: 1.1'"),
        (f"{slabinfo.VERSION}\n", "line 2: no headings"),
        (HEAD + LINE[:-1], "line 3: cut off (no newline at its end)"),
        (HEAD + LINE + "mine 1 2\n", "line 4: not 'NAME COUNTS : tunables COUNTS : slabdata COUNTS': 'mine 1 2'"),
        (HEAD + LINE.replace(" 96 ", " -1 "), "line 3: '-1' is not a count"),
        (HEAD + LINE.replace(" 96 ", " "), "line 3: 4, 3 and 3 counts, not 5, 3 and 3"),
        (HEAD + LINE.replace(" 96 ", " 0 "), "line 3: no slab holds 42 objects of 0 bytes in 1 pages"),
        (HEAD + LINE.replace("   1 : t", "   3 : t"), "line 3: no slab holds 42 objects of 96 bytes in 3 pages"),
    ],
)
def test_what_is_no_slabinfo_is_refused_with_its_line(content: str, why: str) -> None:
    with pytest.raises(ValueError, match=r"^line") as caught:
        slabinfo.parse(content)
    assert str(caught.value) == why


def slabtop(content: str, folder: Path) -> str:
    """What the real program prints of a file laid over /proc/slabinfo in a mount namespace of its own."""
    ours = folder / "slabinfo"
    ours.write_text(content)
    script = f"mount --bind {ours} /proc/slabinfo && exec slabtop -o -s c"
    done = subprocess.run(
        ["unshare", "-m", "sh", "-c", script],
        capture_output=True,
        text=True,
        check=False,
        env=os.environ | {"TERM": "dumb", "COLUMNS": "100", "LINES": "50"},
        timeout=PATIENCE_S,
    )
    if "unshare" in done.stderr or "mount" in done.stderr:
        pytest.skip(f"nothing can be laid over /proc/slabinfo here: {done.stderr.strip()}")
    assert done.returncode == 0, done.stderr
    return done.stdout


@needs_slabtop
@needs_root
def test_slabtop_shows_our_caches(tmp_path: Path) -> None:
    big = CacheLine("large_objects", 3, 8, 8192, 4, 8, active_slabs=2, num_slabs=2)
    shown = slabtop(slabinfo.text([ONE, big]), tmp_path).splitlines()
    rows = [line.split() for line in shown if line.split()[-1:] in (["mine"], ["large_objects"])]
    assert rows == [
        ["8", "3", "37%", "8.00K", "2", "4", "64K", "large_objects"],
        ["42", "40", "95%", "0.09K", "1", "42", "4K", "mine"],
    ]
    assert any(line.split(":")[1].split() == ["43", "/", "50", "(86.0%)"] for line in shown if "Objects" in line)


@needs_slabtop
@needs_root
def test_slabtop_shows_the_caches_of_a_run(tmp_path: Path) -> None:
    requests = [{"api": "kmalloc", "bytes": {"uniform": {"low": "8B", "high": "8KiB"}}}]
    content = slabinfo_text(finished(study({"operations": 300, "live": 100, "requests": requests})))
    assert content is not None
    lines = slabinfo.parse(content)
    shown = slabtop(content, tmp_path).splitlines()
    rows = {line.split()[-1]: line.split()[:-1] for line in shown if line.split()[-1:] and "%" in line}
    used = [line for line in lines if line.num_slabs]
    assert {"kmalloc-512", "kmalloc-4k", "kmalloc-8k"} <= {line.name for line in used}
    for line in used:
        objs, active, _, _, slabs, objs_per_slab, _ = rows[line.name]
        found = (int(active), int(objs), int(slabs), int(objs_per_slab))
        assert found == (line.active_objs, line.num_objs, line.num_slabs, line.objperslab), line.name
    active, total = sum(line.active_objs for line in lines), sum(line.num_objs for line in lines)
    (summary,) = [line.split(":")[1].split() for line in shown if "Objects" in line]
    assert summary[:3] == [str(active), "/", str(total)]
