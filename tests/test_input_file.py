"""Files that users hand in: only regular ones are read, and never more than the limit."""

import gzip
import os
import socket
from collections.abc import Callable
from pathlib import Path

import pytest

from kmsim.input_file import MUST, BrokenGzip, InputFileError, check_input, read_input, read_unzipped

LIMIT = 1000


def a_fifo(path: Path) -> None:
    os.mkfifo(path)


def a_socket(path: Path) -> None:
    server = socket.socket(socket.AF_UNIX)
    server.bind(os.path.relpath(path))
    server.close()


def a_device(path: Path) -> None:
    path.symlink_to("/dev/zero")


def a_directory(path: Path) -> None:
    path.mkdir()


def nothing(path: Path) -> None:
    assert not path.exists()


def a_link_to_itself(path: Path) -> None:
    path.symlink_to(path)


def an_endless_hole(path: Path) -> None:
    path.touch()
    os.truncate(path, 1 << 40)


def a_byte_too_many(path: Path) -> None:
    path.write_bytes(b"a" * (LIMIT + 1))


KINDS: dict[Callable[[Path], None], str] = {
    a_fifo: "special",
    a_socket: "special",
    a_device: "special",
    a_directory: "directory",
    nothing: "missing",
    a_link_to_itself: "missing",
    an_endless_hole: "size",
    a_byte_too_many: "size",
}


@pytest.mark.parametrize("read", [read_input, read_unzipped])
@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.__name__)
def test_what_is_no_regular_file_within_the_limit_is_refused(
    kind: Callable[[Path], None],
    read: Callable[[Path, int], bytes],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(tmp_path)  # the path of a socket is short
    kind(tmp_path / "input")
    with pytest.raises(InputFileError) as refused:
        read(tmp_path / "input", LIMIT)
    assert refused.value.rule == KINDS[kind]
    assert refused.value.must == MUST[KINDS[kind]].format(limit="1000B")
    assert refused.value.strerror
    if KINDS[kind] != "size":
        with pytest.raises(InputFileError):
            check_input(tmp_path / "input")


@pytest.mark.parametrize("name", ["a\0b", "a\ud800b", "a" * 5000])
def test_a_name_that_no_file_can_have_is_missing(name: str) -> None:
    with pytest.raises(InputFileError) as refused:
        read_input(name, LIMIT)
    assert refused.value.rule == "missing"


def test_what_takes_a_file_s_place_after_it_was_looked_at_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    os.mkfifo(tmp_path / "fifo")
    (tmp_path / "file").touch()
    seen = os.stat(tmp_path / "file")
    monkeypatch.setattr("kmsim.input_file.os.stat", lambda _: seen)
    with pytest.raises(InputFileError, match="no regular file"):
        read_input(tmp_path / "fifo", LIMIT)


def test_a_whole_file_is_read_also_where_it_says_no_size(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"a" * LIMIT)
    (tmp_path / "link").symlink_to("file")
    assert read_input(tmp_path / "link", LIMIT) == b"a" * LIMIT
    assert read_unzipped(tmp_path / "file", LIMIT) == b"a" * LIMIT
    assert os.stat("/proc/self/status").st_size == 0
    assert b"VmRSS" in read_input("/proc/self/status", 1 << 20)
    with pytest.raises(InputFileError, match="more than 64B"):
        read_input("/proc/self/status", 64)


def test_zipped_bytes_are_bounded_before_and_after(tmp_path: Path) -> None:
    path = tmp_path / "file.gz"
    path.write_bytes(gzip.compress(b"a" * LIMIT))
    assert read_unzipped(path, LIMIT) == b"a" * LIMIT
    path.write_bytes(gzip.compress(b"a" * (LIMIT + 1)))
    with pytest.raises(InputFileError, match="more than 1000B"):
        read_unzipped(path, LIMIT)
    path.write_bytes(gzip.compress(b"a")[:-3])
    with pytest.raises(BrokenGzip):
        read_unzipped(path, LIMIT)
