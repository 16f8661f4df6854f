"""Directories of compiled code: one for each state of the sources, and none for long that nobody uses."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from kmsim import jit_cache
from kmsim.jit_cache import KEPT_S, USED, is_ours, prune, source_hash, use

NOW = 2_000_000_000.0
LONG_AGO = NOW - KEPT_S - 1
PACKAGE = Path(jit_cache.__file__).parent
MINE = "0123456789abcdef"
OTHER = "fedcba9876543210"


def directory(root: Path, name: str, last_used: float, *files: str) -> Path:
    """A directory of compiled code of some sources; without files, one as numba and kmsim leave it."""
    folder = root / name
    for file in files or (USED, "pages-fresh.znver3.compiled", "pages-fresh.znver3.compiled.lock", "mm_0a/f-1.nbi"):
        (folder / file).parent.mkdir(parents=True, exist_ok=True)
        (folder / file).touch()
    for path in [folder, *folder.rglob("*")]:
        os.utime(path, (last_used, last_used))
    return folder


def left(root: Path) -> list[str]:
    return sorted(path.name for path in root.iterdir())


def test_a_directory_that_was_not_used_for_long_goes(tmp_path: Path) -> None:
    mine = directory(tmp_path, MINE, NOW)
    directory(tmp_path, OTHER, LONG_AGO)
    prune(mine, NOW)
    assert left(tmp_path) == [MINE]


def test_one_that_was_used_lately_stays_however_old_its_code_is(tmp_path: Path) -> None:
    mine, other = directory(tmp_path, MINE, NOW), directory(tmp_path, OTHER, LONG_AGO)
    os.utime(other / USED, (NOW - KEPT_S + 1, NOW - KEPT_S + 1))
    prune(mine, NOW)
    assert left(tmp_path) == [MINE, OTHER]


def test_ones_own_directory_stays(tmp_path: Path) -> None:
    prune(directory(tmp_path, MINE, LONG_AGO), NOW)
    assert left(tmp_path) == [MINE]


@pytest.mark.parametrize(("age", "stays"), [(KEPT_S - 1, True), (KEPT_S + 1, False)])
def test_without_the_marker_the_youngest_file_counts(age: float, stays: bool, tmp_path: Path) -> None:
    mine, other = directory(tmp_path, MINE, NOW), directory(tmp_path, OTHER, LONG_AGO, "mm_0a/f.nbi", "mm_0a/f.1.nbc")
    os.utime(other / "mm_0a" / "f.1.nbc", (NOW - age, NOW - age))
    prune(mine, NOW)
    assert (OTHER in left(tmp_path)) is stays


@pytest.mark.parametrize("name", ["results", "0123", MINE.upper(), f"{OTHER}.old", f"{OTHER}0", f"{OTHER}.gone-"])
def test_a_directory_of_another_name_is_not_ours(name: str, tmp_path: Path) -> None:
    mine, other = directory(tmp_path, MINE, NOW), directory(tmp_path, name, LONG_AGO)
    prune(mine, NOW)
    assert not is_ours(other)
    assert left(tmp_path) == sorted([MINE, name])


@pytest.mark.parametrize("file", ["notes.txt", "mm_0a/notes.txt", "a/b/c", "mm_0a/f.nbi.bak", ".hidden"])
def test_a_directory_with_anything_else_in_it_stays_whole(file: str, tmp_path: Path) -> None:
    mine, other = directory(tmp_path, MINE, NOW), directory(tmp_path, OTHER, LONG_AGO, USED, "mm_0a/f.nbi", file)
    prune(mine, NOW)
    assert (other / file).exists()
    assert (other / "mm_0a" / "f.nbi").exists()


def test_links_are_neither_followed_nor_thrown_away(tmp_path: Path) -> None:
    root = tmp_path / "root"
    mine, elsewhere = directory(root, MINE, NOW), directory(tmp_path, OTHER, LONG_AGO)
    (root / OTHER).symlink_to(elsewhere)
    inside = directory(root, "a" * 16, LONG_AGO)
    (inside / "mm_0b").symlink_to(elsewhere)
    prune(mine, NOW)
    assert left(root) == sorted([MINE, "a" * 16, OTHER])
    assert (elsewhere / USED).exists()


def test_what_a_process_moved_away_and_did_not_empty_goes(tmp_path: Path) -> None:
    mine = directory(tmp_path, MINE, NOW)
    directory(tmp_path, f"{OTHER}.gone-123", NOW)
    prune(mine, NOW)
    assert left(tmp_path) == [MINE]


def test_what_a_process_that_died_while_writing_left_is_ours(tmp_path: Path) -> None:
    assert is_ours(directory(tmp_path, OTHER, NOW, "mm_0a/f-1.py311.nbi.tmp.0a1b2c3d4e5f6789"))


def test_a_process_says_that_it_uses_its_directory_and_prunes_only_when_it_is_new(tmp_path: Path) -> None:
    other = directory(tmp_path, OTHER, NOW)
    mine = tmp_path / MINE
    use(mine, NOW)
    assert (mine / USED).stat().st_mtime == NOW
    assert other.exists()
    later = NOW + KEPT_S + 1
    use(mine, later)
    assert (mine / USED).stat().st_mtime == later
    assert other.exists()
    use(tmp_path / ("b" * 16), later)
    assert left(tmp_path) == [MINE, "b" * 16]


def test_where_nothing_can_be_kept_nothing_happens(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    use(tmp_path / "file" / MINE, NOW)
    assert left(tmp_path) == ["file"]


@pytest.mark.slow
def test_processes_that_begin_together_leave_what_is_used(tmp_path: Path) -> None:
    root = tmp_path / "kmsim"
    for n in range(8):
        directory(root, f"{n:016x}", 0.0 if n % 2 else 4e9)  # in 1970, and in 2096
    command = [sys.executable, "-c", "import kmsim.jit"]
    env = os.environ | {"KMSIM_CACHE_DIR": str(tmp_path)}
    begun = [subprocess.Popen(command, env=env, cwd=Path(__file__).parents[1]) for _ in range(4)]
    assert [process.wait() for process in begun] == [0] * 4
    assert left(root) == sorted([source_hash(), *(f"{n:016x}" for n in range(0, 8, 2))])


# ---- the directory is another one as soon as anything that is compiled in has changed


@pytest.fixture
def package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A copy of the package, which is hashed instead."""
    for path in PACKAGE.rglob("*.py"):
        copied = tmp_path / path.relative_to(PACKAGE)
        copied.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(path, copied)
    monkeypatch.setattr(jit_cache, "_PACKAGE", tmp_path)
    return tmp_path


def changes(package: Path, name: str) -> bool:
    """Is the hash another one when this file has changed?"""
    before = source_hash()
    with (package / name).open("a") as file:
        file.write("# changed\n")
    return source_hash() != before


@pytest.mark.parametrize(
    "name",
    ["mm/buddy.py", "mm/mmzone.py", "sim/core/records.py", "workload/request.py", "metrics/histogram.py", "jit.py"],
)
def test_what_is_compiled_in_is_hashed(package: Path, name: str) -> None:
    assert changes(package, name)


@pytest.mark.parametrize("name", ["sim/simulation.py", "plots/style.py", "config/door.py", "study/tables.py"])
def test_what_is_not_compiled_in_is_not(package: Path, name: str) -> None:
    assert not changes(package, name)
