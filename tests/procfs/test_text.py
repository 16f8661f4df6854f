"""What every reader of the kernel's text refuses, and how it says where."""

from pathlib import Path

import pytest

from kmsim.procfs import buddyinfo, indices, pagetypeinfo, vmstat, zoneinfo
from kmsim.procfs.text import read_text
from tests.procfs.recordings import file

READERS = {
    "fresh.buddyinfo": buddyinfo.parse,
    "fresh.pagetypeinfo": pagetypeinfo.parse,
    "fresh.zoneinfo": zoneinfo.parse,
    "fresh.vmstat": vmstat.parse,
    "frag.extfrag_index": indices.parse,
}
readers = pytest.mark.parametrize("name", READERS)


@readers
@pytest.mark.parametrize("content", ["", "\n", " \n \n"])
def test_nothing_is_refused(name: str, content: str) -> None:
    with pytest.raises(ValueError, match=r"^line 1: nothing there$"):
        READERS[name](content)


@readers
def test_a_text_cut_inside_any_line_is_refused(name: str) -> None:
    whole = file("x86-4k-256M", name)
    for length in range(1, len(whole) - 1, 7):
        if whole[length - 1] != "\n":
            with pytest.raises(ValueError, match=r"^line \d+: "):
                READERS[name](whole[:length])


@readers
@pytest.mark.parametrize("junk", ["\x00", "\x1b[2J", "é", "-1", "1e3", "0x10", "9" * 21, "\u0661"])
def test_junk_in_the_place_of_a_count_is_refused_with_its_line(name: str, junk: str) -> None:
    lines = file("x86-4k-256M", name).splitlines(keepends=True)
    head, _, tail = lines[-1].rstrip().rpartition(" ")
    lines[-1] = f"{head} {junk}\n"
    with pytest.raises(ValueError, match=rf"^line {len(lines)}: ") as caught:
        READERS[name]("".join(lines))
    assert tail
    assert str(caught.value).isprintable()


@readers
def test_a_count_beyond_an_unsigned_long_is_refused(name: str) -> None:
    content = file("x86-4k-256M", name).rstrip()
    head, _, _ = content.rpartition(" ")
    with pytest.raises(ValueError, match="not a"):
        READERS[name](f"{head} {1 << 64}\n")


@readers
def test_a_line_of_a_hundred_megabytes_is_refused_at_once(name: str) -> None:
    with pytest.raises(ValueError, match="more than 8 MiB of text"):
        READERS[name]("9" * (100 << 20))


@readers
def test_the_same_zone_or_name_twice_is_refused(name: str) -> None:
    content = file("x86-4k-256M", name)
    with pytest.raises(ValueError, match=r"second time|not one line for each|not a line of this file|not 'Page"):
        READERS[name](content + content.splitlines(keepends=True)[-2])


def test_a_binary_file_is_named_with_the_line_of_its_first_strange_byte(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"Node 0\nzone \xff\n")
    with pytest.raises(ValueError, match=r"^line 2: not text"):
        read_text(tmp_path / "file")


def test_a_huge_file_is_not_read_whole(tmp_path: Path) -> None:
    with (tmp_path / "file").open("wb") as sparse:
        sparse.truncate(1 << 40)
    with pytest.raises(OSError, match="more than 8MiB"):
        read_text(tmp_path / "file")
