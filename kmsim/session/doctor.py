"""What `kmsim --version`, `cache` and `doctor` say: what runs here, what is kept, and what is in the way."""

from __future__ import annotations

import os
import platform
import re
import shutil
import time
from collections.abc import Iterator
from contextlib import suppress
from importlib.metadata import version
from pathlib import Path
from typing import NamedTuple

from kmsim import jit_cache
from kmsim.session.console import stdout
from kmsim.study.store import NotAResult
from kmsim.text import nr_of

PACKAGES = ("numba", "numpy", "pandas", "simpy")
DISK_BYTES_MIN = 1 << 30  # below which a study of some thousand runs may not fit
MEMORY_BYTES_MIN = 1 << 30  # what compiling may take
_COMMIT = re.compile(r"[0-9a-f]{40}")


class Finding(NamedTuple):
    """One thing that was looked at."""

    is_fine: bool
    text: str


def say_version() -> None:
    """The version, on what it runs, and where compiled code is kept."""
    commit = commit_of(Path(__file__).parents[2])
    stdout.print(f"kmsim {version('kmsim')}" + (f", commit {commit[:12]}" if commit else ""))
    packages = ", ".join(f"{name} {version(name)}" for name in PACKAGES)
    stdout.print(f"Python {platform.python_version()}, {packages}", soft_wrap=True)
    stdout.print(f"compiled code: {jit_cache.cache_directory()}", markup=False, soft_wrap=True)


def commit_of(checkout: Path) -> str:
    """The commit that a git checkout is of, read from its files; empty where it is none, or cannot be told."""
    try:
        git = checkout / ".git"
        if git.is_file():  # a worktree
            git = checkout / git.read_text().removeprefix("gitdir:").strip()
        head = (git / "HEAD").read_text().strip()
        name = head.removeprefix("ref:").strip()
        common = git / "commondir"
        whole = git / common.read_text().strip() if common.exists() else git
        found = head if name == head else (whole / name).read_text().strip()
    except (OSError, ValueError):
        return ""
    return found if _COMMIT.fullmatch(found) else ""


def show_cache(*, prune: bool) -> None:
    """What compiled code is kept, and how large it is; with `prune`, that of other versions goes."""
    if jit_cache.CACHE_PROBLEM:
        raise NotAResult(jit_cache.CACHE_PROBLEM)
    kept, now = jit_cache.cache_directory(), time.time()
    before = _sizes(kept.parent)
    if prune:
        jit_cache.prune(kept, float("inf"))
    left = _sizes(kept.parent)
    stdout.print(f"compiled code in {kept.parent}: {sum(left.values()) / 1e6:,.1f} MB", markup=False, soft_wrap=True)
    for folder, nr_bytes in left.items():
        with suppress(OSError):  # another process prunes, too
            days = max(0.0, now - jit_cache.last_used(folder)) / 86_400
            which = "this version" if folder == kept else f"another version, last used {days:.0f} days ago"
            stdout.print(f"{folder.name}  {nr_bytes / 1e6:7.1f} MB  {which}", markup=False)
    if prune:
        gone = sum(before.values()) - sum(left.values())
        others = nr_of(len(before) - len(left), "other version")
        stdout.print(f"thrown away: {gone / 1e6:,.1f} MB of {others}", markup=False)


def _sizes(root: Path) -> dict[Path, int]:
    """The bytes in each directory of compiled code."""
    sizes: dict[Path, int] = {}
    for folder in sorted(root.iterdir()):
        with suppress(OSError):
            if jit_cache.is_ours(folder):
                sizes[folder] = sum(file.stat().st_size for file in folder.rglob("*") if file.is_file())
    return sizes


def show_findings() -> bool:
    """Look at what kmsim needs of this computer; whether all is fine."""
    found = list(findings(Path.cwd()))
    for finding in found:
        stdout.print(f"{'fine   ' if finding.is_fine else 'problem'}  {finding.text}", markup=False, soft_wrap=True)
    return all(finding.is_fine for finding in found)


def findings(folder: Path) -> Iterator[Finding]:
    """What was looked at; results would be written into `folder`."""
    problem = jit_cache.CACHE_PROBLEM
    yield Finding(not problem, problem or f"compiled code can be kept in {jit_cache.ROOT}")
    kinds = sorted(path.name.partition(".")[0] for path in jit_cache.cache_directory().glob("*.compiled"))
    yield Finding(
        True, f"compiled for: {', '.join(kinds)}" if kinds else "nothing is compiled yet; the first run does it"
    )
    yield Finding(True, f"{len(os.sched_getaffinity(0))} cores; a study uses them all, unless --jobs says otherwise")
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    yield Finding(memory >= MEMORY_BYTES_MIN, f"{memory / 1e9:.1f} GB of memory; compiling takes up to 1 GB")
    free = shutil.disk_usage(folder).free
    yield Finding(free >= DISK_BYTES_MIN, f"{free / 1e9:.1f} GB free in {folder}")
    yield Finding(os.access(folder, os.W_OK), f"results can be written into {folder}")
