"""What `kmsim --version`, `cache` and `doctor` say: what runs here, what is kept, and what is in the way."""

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

import kmsim as package
from kmsim import jit_cache
from kmsim.session import doctor
from tests.commands import Shell

HASH = "0123456789abcdef"
COMMIT = "89abcdef" * 5


@pytest.fixture
def kmsim(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Shell:
    return Shell(tmp_path, monkeypatch, capsys)


def test_the_version_and_on_what_it_runs(kmsim: Shell) -> None:
    done = kmsim("--version")
    first, second, third = done.out.splitlines()
    assert re.fullmatch(rf"kmsim {re.escape(package.__version__)}(, commit [0-9a-f]{{12}})?", first)
    assert re.fullmatch(r"Python [\d.]+, numba [\d.]+, numpy [\d.]+, pandas [\d.]+, simpy [\d.]+", second)
    assert third.endswith(str(jit_cache.cache_directory()))
    with pytest.raises(AttributeError, match="'nosuch'"):
        _ = package.nosuch


def test_the_commit_of_a_checkout_of_a_worktree_and_of_none(tmp_path: Path) -> None:
    assert doctor.commit_of(tmp_path) == ""
    git = tmp_path / "checkout" / ".git"
    (git / "refs" / "heads").mkdir(parents=True)
    (git / "HEAD").write_text("ref: refs/heads/main\n")
    assert doctor.commit_of(git.parent) == "", "packed, or not there yet"
    (git / "refs" / "heads" / "main").write_text(COMMIT + "\n")
    assert doctor.commit_of(git.parent) == COMMIT
    tree = tmp_path / "tree"
    tree.mkdir()
    ours = git / "worktrees" / "tree"
    ours.mkdir(parents=True)
    (tree / ".git").write_text(f"gitdir: {ours}\n")
    (ours / "HEAD").write_text("ref: refs/heads/main\n")
    (ours / "commondir").write_text("../..\n")
    assert doctor.commit_of(tree) == COMMIT
    (ours / "HEAD").write_text(COMMIT)
    assert doctor.commit_of(tree) == COMMIT
    (ours / "HEAD").write_text("\x1b[31m")
    assert doctor.commit_of(tree) == ""


def test_the_cache_is_listed_and_pruned_but_for_what_is_not_ours(kmsim: Shell, monkeypatch: pytest.MonkeyPatch) -> None:
    root = kmsim.folder / "cache" / "kmsim"
    own = root / ("f" * 16)
    monkeypatch.setattr(jit_cache, "cache_directory", lambda: own)
    for folder in (own, root / HASH, root / "notes"):
        folder.mkdir(parents=True)
    (root / HASH / "a-1.py311.nbi").write_bytes(bytes(2_000_000))
    assert kmsim("cache").out.splitlines()[1:] == [
        f"{HASH}      2.0 MB  another version, last used 0 days ago",
        f"{own.name}      0.0 MB  this version",
    ]
    assert kmsim("cache", "--prune").out.splitlines()[1:] == [
        f"{own.name}      0.0 MB  this version",
        "thrown away: 2.0 MB of 1 other version",
    ]
    assert sorted(path.name for path in root.iterdir()) == [own.name, "notes"]


def test_a_computer_that_has_all_is_fine(kmsim: Shell) -> None:
    done = kmsim("doctor")
    lines = done.out.splitlines()
    assert len(lines) == 6
    assert [line.split()[0] for line in lines if "cores" in line or "results can be written" in line] == ["fine"] * 2
    assert done.code == int(any(line.startswith("problem") for line in lines))


def test_what_is_missing_is_a_problem(kmsim: Shell, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(jit_cache, "CACHE_PROBLEM", "'there': must be a folder; read-only")
    monkeypatch.setattr(shutil, "disk_usage", lambda _: Usage())
    monkeypatch.setattr(os, "access", lambda _, __: False)
    done = kmsim("doctor")
    problems = [line.split("  ")[-1] for line in done.out.splitlines() if line.startswith("problem")]
    assert problems[0] == "'there': must be a folder; read-only"
    assert problems[-2].startswith("0.5 GB free in")
    assert problems[-1].startswith("results can be written into")
    assert done.code == 1


@pytest.mark.slow
def test_a_cache_that_cannot_be_kept_is_said_in_one_line(kmsim: Shell) -> None:
    (kmsim.folder / "file").write_text("in the way")
    environment = os.environ | {"KMSIM_CACHE_DIR": str(kmsim.folder / "file")}
    for arguments in (("cache",), ("cache", "--prune")):
        command = [sys.executable, "-m", "kmsim", *arguments]
        done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
        assert (done.returncode, done.stdout) == (2, "")
        (line,) = done.stderr.splitlines()
        assert "must be a folder that can be written" in line


class Usage:
    """A disk that is nearly full."""

    free = 500_000_000


@pytest.mark.parametrize("arguments", [("--versio",), ("cache", "--prun"), ("cache", "x"), ("doctor", "x")])
def test_a_wrong_argument_is_said_with_code_2(kmsim: Shell, arguments: tuple[str, ...]) -> None:
    done = kmsim(*arguments)
    assert done.code == 2
    assert arguments[-1] in done.err
    assert done.out == ""


def test_help_has_a_short_name(kmsim: Shell) -> None:
    assert kmsim("limits", "-h").out == kmsim("limits", "--help").out != ""
