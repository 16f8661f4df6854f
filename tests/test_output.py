"""What kmsim writes damages nothing that is there, and what is wrong with a path is said before anything is done."""

import os
import socket
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from kmsim.output import (
    OutputError,
    check_file,
    check_folder,
    is_stream,
    named,
    our_folder,
    partial_of,
    remove_leftovers,
    replacing,
    write_below,
    write_file,
)


def names(folder: Path) -> list[str]:
    return sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*"))


def test_a_link_is_followed_and_stays_a_link(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("old")
    (tmp_path / "link").symlink_to("file")
    (tmp_path / "dangling").symlink_to("new/file")
    for name in ("link", "dangling"):
        write_file(tmp_path / name, b"new")
        assert (tmp_path / name).is_symlink()
    assert [(tmp_path / name).read_text() for name in ("file", "new/file")] == ["new", "new"]
    assert names(tmp_path) == ["dangling", "file", "link", "new", "new/file"]


def test_a_pipe_is_written_into(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "fifo")
    end = os.open(tmp_path / "fifo", os.O_RDONLY | os.O_NONBLOCK)
    write_file(tmp_path / "fifo", b"page" * 1_000)  # a pipe takes 64 KiB before anybody reads
    assert os.read(end, 1 << 16) == b"page" * 1_000
    os.close(end)
    assert (tmp_path / "fifo").is_fifo()


def test_a_pipe_that_nobody_reads_is_refused_and_not_waited_for(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "fifo")
    with pytest.raises(OutputError, match="fifo: must be a file that can be written; No such device or address"):
        write_file(tmp_path / "fifo", b"page")
    assert (tmp_path / "fifo").is_fifo()


@pytest.mark.parametrize("name", ["/dev/stdout", "/dev/fd/1"])
def test_what_the_shell_has_opened_is_written_behind_what_is_there(name: str, tmp_path: Path) -> None:
    (tmp_path / "log").write_text("earlier\n")
    lines = ("from pathlib import Path", "from kmsim.output import write_file", "print('first')")
    write = "\n".join([*lines, f"write_file(Path('{name}'), b'page')"])
    with (tmp_path / "log").open("a") as log:
        subprocess.run([sys.executable, "-c", write], stdout=log, check=True)
    assert (tmp_path / "log").read_text() == "earlier\nfirst\npage"


def test_a_device_is_written_into_and_stays_one() -> None:
    write_file(Path("/dev/null"), b"page")
    assert Path("/dev/null").is_char_device()
    assert all(is_stream(Path(path)) for path in ("/dev/null", "/dev/stdout", "/dev/fd/1"))


def a_folder(path: Path) -> None:
    path.mkdir()


def a_socket(path: Path) -> None:
    with socket.socket(socket.AF_UNIX) as one:
        one.bind(os.path.relpath(path))


def a_loop(path: Path) -> None:
    path.symlink_to(path.name)


def a_link_to_a_folder(path: Path) -> None:
    (path.parent / "folder").mkdir()
    path.symlink_to("folder")


@pytest.mark.parametrize("make", [a_folder, a_socket, a_loop, a_link_to_a_folder])
def test_what_cannot_be_written_is_refused_and_left(
    make: Callable[[Path], None], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)  # the path of a socket is short
    make(tmp_path / "out")
    before, kind = names(tmp_path), (tmp_path / "out").lstat()
    with pytest.raises(OutputError, match="out: must be a file that can be written; "):
        write_file(tmp_path / "out", b"page")
    assert (names(tmp_path), (tmp_path / "out").lstat().st_mode) == (before, kind.st_mode)


PATHS = {
    "x" * 300: "File name too long",
    "/".join(["x" * 200] * 30): "File name too long",
    "a\0b": "must not contain NUL",
    "a\ud800b": "unpaired surrogates",
    "file/below": "Not a directory",
}


@pytest.mark.parametrize("check", [check_file, check_folder])
@pytest.mark.parametrize("name", PATHS, ids=lambda name: repr(name)[:12])
def test_a_name_that_nothing_can_have_is_refused_beforehand(
    name: str, check: Callable[[Path], None], tmp_path: Path
) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(OutputError, match=PATHS[name]) as refused:
        check(tmp_path / name)
    assert "\ud800" not in str(refused.value)
    assert names(tmp_path) == ["file"]


def test_a_folder_whose_files_names_are_too_long_is_refused_beforehand(tmp_path: Path) -> None:
    room = 4_000 - len(str(tmp_path))
    deep = Path(f"{tmp_path}{('/' + 'x' * 99) * (room // 100)}/{'x' * (room % 100)}")
    with pytest.raises(OutputError, match="File name too long"):
        check_folder(deep)
    assert names(tmp_path) == []


def test_the_root_is_neither_a_file_nor_a_folder_of_ours(tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to("/")
    for root in (Path("/"), Path("/.."), tmp_path / "link"):
        with pytest.raises(OutputError, match="it is the root of all folders"):
            check_folder(root)
        for refuse in (check_file, lambda path: write_file(path, b"page")):
            with pytest.raises(OutputError, match="Is a directory"):
                refuse(root)


@pytest.mark.parametrize("make", [a_loop, a_link_to_a_folder, Path.touch])
def test_only_a_folder_is_a_folder_of_ours(make: Callable[[Path], None], tmp_path: Path) -> None:
    make(tmp_path / "runs")
    before = names(tmp_path)
    with pytest.raises(OutputError, match="runs: must be a folder that can be written; "):
        our_folder(tmp_path / "runs")
    assert names(tmp_path) == before
    assert our_folder(tmp_path / "new") == our_folder(tmp_path / "new")


@pytest.mark.parametrize("name", ["a b", "a\nb", "ä", "-", "a\x1bb", "x" * 255])
def test_any_name_that_a_file_can_have_is_written(name: str, tmp_path: Path) -> None:
    write_file(tmp_path / name, b"page")
    check_folder(tmp_path / "folder" / name)
    assert (tmp_path / name).read_bytes() == b"page"


def test_what_a_message_quotes_of_a_path_is_one_line(tmp_path: Path) -> None:
    (tmp_path / "a\n\x1b[31mb").mkdir()
    with pytest.raises(OutputError) as refused:
        check_file(tmp_path / "a\n\x1b[31mb")
    assert str(refused.value).isprintable()


def test_no_name_is_no_folder() -> None:
    with pytest.raises(OutputError, match="is a variable of the shell not set"):
        named("")
    assert named(".") == Path()


@pytest.mark.parametrize("make", [a_folder, a_loop])
def test_below_a_folder_of_ours_only_files_are_replaced(make: Callable[[Path], None], tmp_path: Path) -> None:
    make(tmp_path / "config.yaml")
    kind = (tmp_path / "config.yaml").lstat().st_mode
    with pytest.raises(OutputError):
        write_below(tmp_path / "config.yaml", b"mine")
    assert (tmp_path / "config.yaml").lstat().st_mode == kind


def test_a_link_that_somebody_has_laid_is_not_followed(tmp_path: Path) -> None:
    (tmp_path / "precious").write_text("mine")
    (tmp_path / "design.json").symlink_to("precious")
    with pytest.raises(OutputError, match="it is not a regular file"):
        write_below(tmp_path / "design.json", b"{}")
    assert (tmp_path / "precious").read_text() == "mine"


def test_nothing_is_left_of_what_failed(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("old")
    with pytest.raises(ZeroDivisionError), replacing(tmp_path / "file") as partial:
        assert partial.write_text("half") / 0
    assert names(tmp_path) == ["file"]
    assert (tmp_path / "file").read_text() == "old"


def test_only_our_leftovers_are_removed(tmp_path: Path) -> None:
    mine = [".notes.partial", ".a.1.partial", "kmsim-1-00000000.partial", ".kmsim-1-0.partial", "x.partial"]
    for name in mine:
        (tmp_path / name).write_text("mine")
    (tmp_path / ".kmsim-1-00000000.partial").mkdir()
    partial_of(tmp_path / "design.json").write_text("half")
    remove_leftovers(tmp_path)
    assert names(tmp_path) == sorted([*mine, ".kmsim-1-00000000.partial"])
