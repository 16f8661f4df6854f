"""Compiled code is kept where the user wants it, or for one run alone, which is said; a tiny entry stands for all."""

import os
import subprocess
from pathlib import Path

import pytest

from kmsim.jit_cache_root import VARIABLE, cache_root
from tests.taken import BOUND_PYTHON

TINY = """\
from kmsim import jit, jit_cache
from kmsim.compile_watch import watching

@jit.entry
def add(a, b):
    return a + b

with watching(lambda line: None, 0.0) as watch:
    assert add(1, 2) == 3
print(len(watch.names), repr(str(jit_cache.cache_directory())), jit_cache.CACHE_PROBLEM)
"""


def started(folder: Path, **changes: str | None) -> "subprocess.Popen[str]":
    """A process that compiles a function, or loads it."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "tiny.py").write_text(TINY)
    env = {name: value for name, value in (os.environ | changes).items() if value is not None}
    command = [*BOUND_PYTHON, str(folder / "tiny.py")]
    return subprocess.Popen(command, env=env, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def ended(process: "subprocess.Popen[str]") -> str:
    out, err = process.communicate()
    assert process.returncode == 0, err
    return out


@pytest.mark.slow
def test_two_first_runs_at_once_on_an_empty_cache_in_a_folder_of_any_name(tmp_path: Path) -> None:
    cache = tmp_path / "a cache\nof mine"
    both = [started(tmp_path / "with blanks\nand more", **{VARIABLE: str(cache)}) for _ in range(2)]
    for out in map(ended, both):
        assert repr(str(cache))[1:-1] in out
    assert ended(started(tmp_path / "with blanks\nand more", **{VARIABLE: str(cache)})).startswith("0 "), "it is kept"


def test_without_a_folder_that_can_be_written_a_run_compiles_for_itself_and_says_so(tmp_path: Path) -> None:
    out = ended(started(tmp_path, **{VARIABLE: "/proc/nothing"}))
    assert "'/proc/nothing': must be a folder that can be written" in out
    folder = out.split("'")[1]
    assert not Path(folder).exists(), "it is removed at the end"


@pytest.mark.slow
def test_what_is_kept_in_a_folder_that_is_read_only_now_is_left_as_it_is_and_that_is_said(tmp_path: Path) -> None:
    cache = tmp_path / "cache"
    ended(started(tmp_path, **{VARIABLE: str(cache)}))
    before = sorted(cache.rglob("*"))
    assert len(before) > 3
    (cache / "kmsim").chmod(0o555)
    out = ended(started(tmp_path, **{VARIABLE: str(cache)}))
    (cache / "kmsim").chmod(0o755)
    assert f"'{cache}': must be a folder that can be written" in out
    assert "; Permission denied" in out
    assert sorted(cache.rglob("*")) == before


@pytest.mark.parametrize("home", ["", None])
def test_without_home_it_is_the_password_file_s(
    home: str | None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Entry:
        pw_dir = str(tmp_path / "home")

    for name in (VARIABLE, "XDG_CACHE_HOME", "HOME"):
        monkeypatch.delenv(name, raising=False)
    if home is not None:
        monkeypatch.setenv("HOME", home)
    monkeypatch.setattr("kmsim.jit_cache_root.pwd.getpwuid", lambda _: Entry)
    assert cache_root() == (tmp_path / "home" / ".cache", "")


def test_without_any_home_it_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    def nobody(_: int) -> None:
        raise KeyError

    for name in (VARIABLE, "XDG_CACHE_HOME", "HOME"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr("kmsim.jit_cache_root.pwd.getpwuid", nobody)
    root, said = cache_root()
    assert "there is no home folder" in said
    assert os.environ.pop(VARIABLE) == str(root)
