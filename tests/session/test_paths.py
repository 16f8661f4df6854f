"""Every path that a command takes, as a user may name it: what cannot be read or written is refused in one line.

Before anything is simulated, and nothing that is there is changed. What can be written into stays what it is: a link,
a pipe, a device.
"""

import os
import shutil
import threading
from collections.abc import Callable
from pathlib import Path

import pytest

from kmsim.study.checksums import CHECKSUMS_FILE
from kmsim.study.runner import run_study
from tests.commands import SMALL, Done, Shell
from tests.studies import study

REPORT = Path(__file__).parents[1] / "procfs" / "reports" / "order5-6.7.txt"
PATH = "PATH"  # in the words of a command

# The commands that write, with what they are told to write; a folder, or a file.
FOLDERS = (
    "run small.yaml --out PATH",
    "merge PATH one",
    "compare one one --out PATH",
    "bundle one --out PATH",
    "sensitivity small.yaml --out PATH",
    "plot one --out PATH",
)
FILES = (
    "run small.yaml --timeline PATH",
    "report one --out PATH",
    "calibrate x86-laptop points.csv --out PATH",
    "new PATH",
    "machine report.txt --out PATH",
    "explain report.txt --page PATH",
    "waste --from 1KiB --to 5KiB --plot PATH",
)
# The commands that read, with what they are told to read.
INPUTS = (
    "run PATH",
    "check PATH",
    "check extends.yaml",
    "check state.yaml",
    "check small.yaml --set costs=PATH.yaml",
    "check small.yaml --set machine=PATH.yaml",
    "sensitivity PATH",
    "limits PATH.yaml",
    "calibrate x86-laptop PATH",
    "compare one PATH.csv",
    "compare PATH one",
    "show PATH",
    "bundle PATH",
    "bundle --check PATH",
    "validate PATH",
    "validate --against PATH PATH",
    "machine PATH",
    "explain PATH",
)


@pytest.fixture(scope="module")
def kept(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A result."""
    folder = tmp_path_factory.mktemp("kept") / "one"
    run_study(study(), folder)
    return folder


@pytest.fixture
def kmsim(tmp_path: Path, kept: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Shell:
    shell = Shell(tmp_path, monkeypatch, capsys)
    shell.write("small.yaml")
    shell.write("points.csv", "workload,order,ns\nalloc,0,100\n")
    shell.write("extends.yaml", "extends: PATH.yaml\n" + SMALL)
    shell.write("state.yaml", SMALL.replace("cpus: 2", "cpus: 2\n  state: {buddyinfo: PATH}"))
    shutil.copy(REPORT, tmp_path / "report.txt")
    shutil.copytree(kept, tmp_path / "one")
    return shell


def contents(folder: Path) -> dict[str, bytes | str | None]:
    """Every file's content, by its name; of a link where it leads, of anything else nothing."""
    return {
        str(path.relative_to(folder)): os.readlink(path)
        if path.is_symlink()
        else path.read_bytes()
        if path.is_file() and path.stat().st_size < 1 << 24
        else None
        for path in folder.rglob("*")
    }


def is_refused(done: Done) -> bool:
    """Exit code 2, and one line that says what must hold."""
    return done.code == 2 and done.out == "" and len(done.err.splitlines()) == 1 and "must be" in done.err


def words(command: str, path: str) -> list[str]:
    return [word.replace(PATH, path) for word in command.split()]


def no_way_there(folder: Path) -> list[str]:
    """Names under which nothing can be written, whatever it is."""
    (folder / "loop").symlink_to("loop")
    (folder / "file").write_text("mine")
    return ["", "loop", "loop/below", "file/below", "x" * 300, "a\0b", "/proc/nothing/here"]


@pytest.mark.parametrize("command", [*FOLDERS, *FILES])
def test_what_cannot_be_written_is_refused_before_anything_is_done(command: str, kmsim: Shell) -> None:
    names = no_way_there(kmsim.folder)
    before = contents(kmsim.folder)
    for name in names:
        done = kmsim(*words(command, name))
        assert is_refused(done), (name, done)
        assert contents(kmsim.folder) == before, name


@pytest.mark.parametrize("command", FOLDERS)
def test_what_is_no_folder_is_left_as_it_is(command: str, kmsim: Shell) -> None:
    os.mkfifo(kmsim.folder / "fifo")
    (kmsim.folder / "link").symlink_to("small.yaml")
    before = contents(kmsim.folder)
    for name in ("fifo", "link", "small.yaml", "/dev/null"):
        done = kmsim(*words(command, name))
        assert is_refused(done), (name, done)
        assert contents(kmsim.folder) == before, name


@pytest.mark.parametrize("command", ["report one --out PATH", "machine report.txt --out PATH"])
def test_links_pipes_and_devices_stay_what_they_are(command: str, kmsim: Shell) -> None:
    (kmsim.folder / "target").write_text("earlier")
    (kmsim.folder / "link").symlink_to("target")
    assert kmsim(*words(command, "link")).code == 0
    assert os.readlink(kmsim.folder / "link") == "target"
    written = (kmsim.folder / "target").read_bytes()
    assert written != b"earlier"
    assert kmsim(*words(command, "/dev/null")).code == 0
    assert Path("/dev/null").is_char_device()
    assert is_refused(kmsim(*words(command, "one"))), "a folder"
    assert into_pipe(kmsim, command) == written


def into_pipe(kmsim: Shell, command: str) -> bytes:
    """What a command writes into a pipe that somebody reads."""
    pipe = kmsim.folder / "fifo"
    os.mkfifo(pipe)
    found: list[bytes] = []
    with os.fdopen(os.open(pipe, os.O_RDONLY | os.O_NONBLOCK), "rb") as file:
        os.set_blocking(file.fileno(), True)
        reader = threading.Thread(target=lambda: found.append(file.read()), daemon=True)
        with os.fdopen(os.open(pipe, os.O_WRONLY), "wb"):  # so that it does not end before there is anything
            reader.start()
            done = kmsim(*words(command, "fifo"))
        reader.join()
    assert done.code == 0, done.err
    assert pipe.is_fifo()
    return found[0]


@pytest.mark.parametrize("command", [command for command in (*FILES, *FOLDERS, *INPUTS) if PATH in command.split()])
def test_no_name_is_refused_as_what_the_command_wants(command: str, kmsim: Shell) -> None:
    done = kmsim(*words(command, ""))
    assert is_refused(done), done
    kind = "a folder that can be written" if command in FOLDERS else "a file that can be"
    if not command.startswith(("merge", "show", "compare PATH", "bundle")):
        assert f"an empty name: must be {kind}" in done.err


def a_fifo(path: Path) -> None:
    os.mkfifo(path)


def a_device(path: Path) -> None:
    path.symlink_to("/dev/zero")


def an_endless_hole(path: Path) -> None:
    path.touch()
    os.truncate(path, 1 << 40)


def nothing(path: Path) -> None:
    assert not path.exists()


@pytest.mark.parametrize("make", [a_fifo, a_device, an_endless_hole, nothing])
@pytest.mark.parametrize("command", INPUTS)
def test_what_is_no_file_that_can_be_read_is_refused_and_not_waited_for(
    command: str, make: Callable[[Path], None], kmsim: Shell
) -> None:
    for name in (PATH, f"{PATH}.yaml", f"{PATH}.csv"):
        make(kmsim.folder / name)
    before = contents(kmsim.folder)
    done = kmsim(*command.split())
    assert done.code == 2, done
    assert 1 <= len(done.err.splitlines()) <= 2, done
    assert PATH in done.err
    assert contents(kmsim.folder) == before


def test_a_folder_of_devices_in_place_of_a_bundle_is_refused(kmsim: Shell) -> None:
    (kmsim.folder / "bundle").mkdir()
    (kmsim.folder / "bundle" / CHECKSUMS_FILE).symlink_to("/dev/zero")
    assert is_refused(kmsim("bundle", "--check", "bundle"))
